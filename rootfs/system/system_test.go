package system

import (
	"context"
	"errors"
	"io"
	"maps"
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
		{"http://m.example/debian", []string{"trixie", "trixie-updates"}, []string{"main", "contrib"}, "/usr/share/k.gpg", false},
		{"http://ann:pw@s.example/security", []string{"trixie-security"}, []string{"main"}, "", true},
	},
	Root:       Password{Hash: "$y$root"},
	Users:      []User{{"ann", Password{Hash: "$y$ann"}}, {"bob", Password{}}, {"eve", Password{Locked: true}}},
	Sudo:       true,
	Networkd:   true,
	ResolvConf: "../run/x/resolv.conf",
	Getty:      Getty{"ttyAMA0", "/sbin/agetty -a root %I"},
}

const (
	fullTab = "# <file system> <mount point> <type> <options>         <dump> <pass>\n" +
		"UUID=6d2f       /             ext4   errors=remount-ro 0      1\n" +
		"UUID=12AB-34CD  /boot/efi     vfat   umask=0077        0      2\n" +
		"UUID=77         none          swap   sw                0      0\n"
	fullHosts = "127.0.0.1\tlocalhost\n127.0.1.1\tcherry\n\n# The following lines are desirable for IPv6 capable hosts\n" +
		"::1     localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n"
)

// old is a system of a release without systemd, and with an apt that reads lines.
var old = Config{
	Hostname: "cherry", OneLine: true, Ifupdown: true, DHCP: true, KernelNames: true, Getty: Getty{Port: "ttyS0"},
	Sources: full.Sources,
}

// Prepare is compared by all that is in the tree afterwards.
func TestPrepare(t *testing.T) {
	base := map[string]string{"etc/hostname": "cherry\n", "etc/hosts": fullHosts}
	for name, c := range map[string]struct {
		config Config
		before map[string]string
		want   map[string]string
	}{
		"full": {full, map[string]string{"etc/apt/sources.list": "deb x"}, map[string]string{
			"etc/fstab": fullTab,
			"etc/apt/sources.list.d/debian.sources": "Types: deb\nURIs: http://m.example/debian\nSuites: trixie trixie-updates\n" +
				"Components: main contrib\nSigned-By: /usr/share/k.gpg\n\nTypes: deb\nURIs: http://s.example/security\n" +
				"Suites: trixie-security\nComponents: main\nCheck-Valid-Until: no\n",
			"etc/systemd/network/99-dhcp.network":                             "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n",
			"etc/systemd/system/serial-getty@ttyAMA0.service.d/override.conf": "[Service]\nExecStart=\nExecStart=-/sbin/agetty -a root %I\n",
		}},
		"old": {old, map[string]string{
			"etc/apt/sources.list":   "deb x",
			"etc/inittab":            "id:2:initdefault:\nT0:23:respawn:/bin/old\n#T0:23:respawn:/sbin/getty -L ttyS0 9600 vt100",
			"etc/network/interfaces": "# source it yourself\n",
			"lib/udev/rules.d/75-persistent-net-generator.rules": "x",
		}, map[string]string{
			"etc/fstab": "# <file system> <mount point> <type> <options> <dump> <pass>\n",
			"etc/apt/sources.list": "deb http://m.example/debian trixie main contrib\ndeb http://m.example/debian trixie-updates main contrib\n" +
				"deb http://s.example/security trixie-security main\n",
			"etc/inittab": "id:2:initdefault:\n#T0:23:respawn:/sbin/getty -L ttyS0 9600 vt100\n" +
				"T0:23:respawn:/sbin/getty -L ttyS0 115200 vt100\n",
			"etc/network/interfaces":                             "# source it yourself\nsource /etc/network/interfaces.d/*\n",
			"etc/network/interfaces.d/setup":                     "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet dhcp\n",
			"etc/udev/rules.d/80-net-setup-link.rules":           "-> /dev/null",
			"etc/udev/rules.d/75-persistent-net-generator.rules": "-> /dev/null",
			"lib/udev/rules.d/75-persistent-net-generator.rules": "x",
		}},
		"first boot": {Config{Hostname: "cherry", Repart: true, CloudInit: &CloudInit{}}, nil, map[string]string{
			"etc/fstab":                          "# <file system> <mount point> <type> <options> <dump> <pass>\n",
			"etc/repart.d/50-root.conf":          "[Partition]\nType=root\n",
			"etc/cloud/cloud.cfg.d/50_image.cfg": "network:\n  config: disabled\n",
		}},
		"ifupdown without DHCP": {Config{Hostname: "cherry", Ifupdown: true, KernelNames: true}, map[string]string{
			"etc/network/interfaces": "source-directory /etc/network/interfaces.d\n",
		}, map[string]string{
			"etc/fstab":                                "# <file system> <mount point> <type> <options> <dump> <pass>\n",
			"etc/network/interfaces":                   "source-directory /etc/network/interfaces.d\n",
			"etc/network/interfaces.d/setup":           "auto lo\niface lo inet loopback\n",
			"etc/udev/rules.d/80-net-setup-link.rules": "-> /dev/null",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			root, dir := openRoot(t)
			put(t, dir, c.before)
			if err := Prepare(root, c.config); err != nil {
				t.Fatal(err)
			}
			maps.Copy(c.want, base)
			if d := cmp.Diff(c.want, list(t, dir)); d != "" {
				t.Errorf("files (-want +got):\n%s", d)
			}
		})
	}
}

func put(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// list gives the content of all files below a directory, and where links lead.
func list(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if e.Type() == os.ModeSymlink {
			to, err := os.Readlink(path)
			found[name] = "-> " + to
			return err
		}
		found[name] = read(t, dir, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestPrepareStaysInsideTheTree(t *testing.T) {
	root, dir := openRoot(t)
	outside := filepath.Join(t.TempDir(), "hostname")
	if err := os.WriteFile(outside, []byte("host"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "etc/hostname")); err != nil {
		t.Fatal(err)
	}
	if err := Prepare(root, full); err != nil {
		t.Fatal(err)
	}
	if host := read(t, filepath.Dir(outside), "hostname"); host != "host" {
		t.Errorf("an edit followed a link out of the tree: %q", host)
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
	for name, c := range map[string]struct {
		config Config
		before map[string]string
		want   map[string]string
	}{
		"nothing to settle": {Config{}, map[string]string{
			"etc/resolv.conf": "nameserver 192.0.2.1\n", "etc/ssh/ssh_host_rsa_key": "a client's", "etc/udev/rules.d/70-mine.rules": "x",
		}, map[string]string{
			"etc/resolv.conf": "nameserver 192.0.2.1\n", "etc/ssh/ssh_host_rsa_key": "a client's", "etc/udev/rules.d/70-mine.rules": "x",
		}},
		"systemd": {full, map[string]string{
			"etc/resolv.conf": "nameserver 192.0.2.1\n", "usr/sbin/sshd": "", "etc/ssh/sshd_config": "", "etc/ssh/ssh_host_rsa_key": "",
			"etc/ssh/ssh_host_ed25519_key.pub": "", "etc/udev/rules.d/70-persistent-net.rules": "", "etc/udev/rules.d/70-persistent-cd.rules": "",
		}, map[string]string{
			"etc/resolv.conf": "-> ../run/x/resolv.conf", "usr/sbin/sshd": "", "etc/ssh/sshd_config": "",
			"etc/systemd/system/ssh-host-keys.service":                   hostKeysText,
			"etc/systemd/system/ssh.service.wants/ssh-host-keys.service": "-> /etc/systemd/system/ssh-host-keys.service",
			"etc/systemd/system/ssh.socket.wants/ssh-host-keys.service":  "-> /etc/systemd/system/ssh-host-keys.service",
		}},
		"sysvinit": {old, map[string]string{
			"usr/sbin/sshd": "", "etc/inittab": "", "etc/default/ssh": "SSHD_OPTS=\n", "etc/ssh/ssh_host_dsa_key": "",
		}, map[string]string{
			"usr/sbin/sshd": "", "etc/inittab": "",
			"etc/default/ssh": "SSHD_OPTS=\n# Make missing SSH host keys.\n/usr/bin/ssh-keygen -A >/dev/null\n",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			root, dir := openRoot(t)
			put(t, dir, c.before)
			for range 2 { // settled twice is settled
				if err := Settle(root, c.config); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(c.want, list(t, dir)); d != "" {
				t.Errorf("files (-want +got):\n%s", d)
			}
		})
	}
}

func TestCheckGetty(t *testing.T) {
	for command, want := range map[string]string{
		DefaultGetty("ttyS0"):       "",
		"getty -L":                  "it begins with the path of a program, as in /sbin/getty -L ttyS0 115200 vt100",
		"":                          "it begins with the path of a program, as in /sbin/getty -L ttyS0 115200 vt100",
		"/sbin/getty\nExecStart=/x": "it is one line",
	} {
		got := ""
		if err := CheckGetty(command); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", command, got, want)
		}
	}
}

func TestWithoutPassword(t *testing.T) {
	for uri, want := range map[string]string{
		"http://ann:p%40w@m.example:8080/debian": "http://m.example:8080/debian",
		"https://ann@m.example/debian/":          "https://m.example/debian/",
		"http://m.example/debian":                "http://m.example/debian",
		"file:///srv/a@b":                        "file:///srv/a@b",
	} {
		if got := WithoutPassword(uri); got != want {
			t.Errorf("%s: %s, want %s", uri, got, want)
		}
	}
}
