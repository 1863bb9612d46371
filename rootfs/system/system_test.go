package system

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/chroot"
)

// recorder notes the programs it is asked to run, with what they read.
type recorder struct {
	lines []string
	fail  string // a command that begins so fails
}

func (r *recorder) Run(_ context.Context, c chroot.Command) error {
	line := strings.Join(c.Args, " ")
	if c.Stdin != nil {
		in, _ := io.ReadAll(c.Stdin)
		line += " < " + string(in)
	}
	r.lines = append(r.lines, line)
	if r.fail != "" && strings.HasPrefix(line, r.fail) {
		return errors.New("exit status 1")
	}
	return nil
}

func openRoot(t *testing.T) (*os.Root, string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "etc/apt"), 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root, dir
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var full = Config{
	Hostname: "cherry",
	Mounts: []Mount{
		{"UUID=6d2f", "/", "ext4", "errors=remount-ro", 1},
		{"UUID=12AB-34CD", "/boot/efi", "vfat", "umask=0077", 2},
		{"UUID=77", "none", "swap", "sw", 0},
	},
	Sources: []Source{
		{"http://m.example/debian", []string{"trixie", "trixie-updates"}, []string{"main", "contrib"}, "/usr/share/k.gpg"},
		{"http://s.example/security", []string{"trixie-security"}, []string{"main"}, ""},
	},
	Root:     Password{Hash: "$y$root"},
	Users:    []User{{"ann", Password{Hash: "$y$ann"}}, {"bob", Password{}}, {"eve", Password{Locked: true}}},
	Sudo:     true,
	Networkd: true,
	Resolved: true,
}

func TestPrepare(t *testing.T) {
	root, dir := openRoot(t)
	outside := filepath.Join(t.TempDir(), "hostname")
	if err := os.WriteFile(outside, []byte("host"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "etc/hostname")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "etc/apt/sources.list"), []byte("deb x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Prepare(root, full); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"etc/fstab": "# <file system> <mount point> <type> <options>         <dump> <pass>\n" +
			"UUID=6d2f       /             ext4   errors=remount-ro 0      1\n" +
			"UUID=12AB-34CD  /boot/efi     vfat   umask=0077        0      2\n" +
			"UUID=77         none          swap   sw                0      0\n",
		"etc/hostname": "cherry\n",
		"etc/hosts": "127.0.0.1\tlocalhost\n127.0.1.1\tcherry\n\n# The following lines are desirable for IPv6 capable hosts\n" +
			"::1     localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n",
		"etc/apt/sources.list.d/debian.sources": "Types: deb\nURIs: http://m.example/debian\nSuites: trixie trixie-updates\n" +
			"Components: main contrib\nSigned-By: /usr/share/k.gpg\n\nTypes: deb\nURIs: http://s.example/security\n" +
			"Suites: trixie-security\nComponents: main\n",
		"etc/systemd/network/99-dhcp.network": "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n",
	}
	got := map[string]string{}
	for name := range want {
		got[name] = read(t, dir, name)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	if host := read(t, filepath.Dir(outside), "hostname"); host != "host" {
		t.Errorf("an edit followed a link out of the tree: %q", host)
	}
	if _, err := os.Lstat(filepath.Join(dir, "etc/apt/sources.list")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old apt source is still there: %v", err)
	}
	if fi, err := os.Stat(filepath.Join(dir, "boot/efi")); err != nil || !fi.IsDir() {
		t.Errorf("no mount point /boot/efi: %v", err)
	}
}

func TestApply(t *testing.T) {
	var r recorder
	if err := Apply(t.Context(), &r, full); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"adduser --quiet --disabled-password --gecos  ann", "adduser --quiet ann sudo",
		"adduser --quiet --disabled-password --gecos  bob", "adduser --quiet bob sudo",
		"adduser --quiet --disabled-password --gecos  eve", "adduser --quiet eve sudo",
		"passwd --quiet --delete bob", "passwd --quiet --lock eve",
		"chpasswd --encrypted < root:$y$root\nann:$y$ann\n",
		"systemctl --quiet enable systemd-networkd.service systemd-resolved.service",
	}
	if d := cmp.Diff(want, r.lines); d != "" {
		t.Errorf("programs (-want +got):\n%s", d)
	}
}

func TestApplyZeroValueGivesRootAnEmptyPassword(t *testing.T) {
	var r recorder
	if err := Apply(t.Context(), &r, Config{}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"passwd --quiet --delete root"}, r.lines); d != "" {
		t.Errorf("programs (-want +got):\n%s", d)
	}
}

func TestApplyNamesWhatFailed(t *testing.T) {
	for fail, want := range map[string]string{
		"adduser --quiet --disabled": `add user "ann": exit status 1`,
		"adduser --quiet ann":        `add user "ann" to group sudo: exit status 1`,
		"passwd":                     `set the password of "bob": exit status 1`,
		"chpasswd":                   `set passwords: exit status 1`,
		"systemctl":                  `enable the network: exit status 1`,
	} {
		err := Apply(t.Context(), &recorder{fail: fail}, full)
		if err == nil || err.Error() != want {
			t.Errorf("%s fails: %v, want %s", fail, err, want)
		}
	}
}

func TestSettle(t *testing.T) {
	root, dir := openRoot(t)
	resolv := filepath.Join(dir, "etc/resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver 192.0.2.1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Settle(root, Config{}); err != nil || read(t, dir, "etc/resolv.conf") == "" {
		t.Fatalf("without systemd-resolved the file stays: %v", err)
	}
	if err := Settle(root, full); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(resolv); err != nil || to != "../run/systemd/resolve/stub-resolv.conf" {
		t.Errorf("resolv.conf -> %q, %v", to, err)
	}
}
