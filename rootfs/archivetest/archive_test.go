package archivetest

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/offers"
)

var sample = Archive{
	Suite:    "stable",
	Codename: "trixie",
	Date:     time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	Packages: []Package{
		{Name: "base-files", Version: "13", Essential: true, Files: []File{
			{Path: "/etc/", Mode: 0o755},
			{Path: "/etc/debian_version", Content: "13\n"},
			{Path: "/usr/bin/tool", Mode: 0o4755, Content: "#!/bin/sh\n", GID: 4},
			{Path: "/usr/bin/twin", Hardlink: "/usr/bin/tool"},
			{Path: "/bin", Symlink: "usr/bin"},
		}, Conffiles: []string{"/etc/debian_version"}, Scripts: map[string]string{
			"postinst": "#!/bin/sh\nset -e\n", "triggers": "interest-noawait /usr/bin\n",
		}},
		{Name: "libfoo1", Version: "1:2.0-1", Source: "libfoo", Architecture: "all", Depends: "base-files (>= 12)",
			Component: "contrib", Compression: ".zst", Fields: map[string]string{"Task": "test"}},
		{Name: "plain", Compression: "none"},
		{Name: "zipped", Compression: ".gz", Files: []File{{Path: "/usr/share/zipped", Content: "x"}}},
	},
}

func TestPathsAndDeterminism(t *testing.T) {
	one, err := New(sample)
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, name := range slices.Sorted(maps.Keys(one.Files)) {
		if !strings.Contains(name, "by-hash") && !strings.HasPrefix(name, "dists/stable/") {
			named = append(named, name)
		}
	}
	want := []string{
		"dists/trixie/InRelease",
		"dists/trixie/Release",
		"dists/trixie/Release.gpg",
		"dists/trixie/contrib/binary-amd64/Packages",
		"dists/trixie/contrib/binary-amd64/Packages.gz",
		"dists/trixie/contrib/binary-amd64/Packages.xz",
		"dists/trixie/main/binary-amd64/Packages",
		"dists/trixie/main/binary-amd64/Packages.gz",
		"dists/trixie/main/binary-amd64/Packages.xz",
		"pool/contrib/libf/libfoo/libfoo1_2.0-1_all.deb",
		"pool/main/b/base-files/base-files_13_amd64.deb",
		"pool/main/p/plain/plain_1_amd64.deb",
		"pool/main/z/zipped/zipped_1_amd64.deb",
	}
	if diff := cmp.Diff(want, named); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	again := sample
	again.Keys = one.Keys
	two, err := New(again)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range one.Files {
		signed := strings.HasSuffix(name, "InRelease") || strings.HasSuffix(name, ".gpg")
		if !signed && !bytes.Equal(data, two.Files[name]) {
			t.Errorf("%s differs the second time", name)
		}
	}
}

func TestIndex(t *testing.T) {
	site, err := New(sample)
	if err != nil {
		t.Fatal(err)
	}
	got := string(site.Files["dists/trixie/contrib/binary-amd64/Packages"])
	got, _, _ = strings.Cut(got, "Size: ")
	want := `Package: libfoo1
Source: libfoo
Version: 1:2.0-1
Architecture: all
Maintainer: Archive Test <archivetest@example.org>
Installed-`
	if got != want {
		t.Errorf("index is\n%s\nnot\n%s", got, want)
	}
}

// TestDpkg has dpkg-deb read the packages.
func TestDpkg(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "dpkg-deb")
	dir := t.TempDir()
	for _, p := range sample.Packages {
		data, err := p.Deb()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, p.Name+".deb")
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		run(t, "dpkg-deb", "--info", file)
		if name := run(t, "dpkg-deb", "--field", file, "Package"); strings.TrimSpace(name) != p.Name {
			t.Errorf("dpkg-deb reads name %q from the package %q", name, p.Name)
		}
		if p.Name != "base-files" {
			run(t, "dpkg-deb", "--contents", file)
			continue
		}
		want := `drwxr-xr-x root/root         0 2025-01-01 00:00 ./
drwxr-xr-x root/root         0 2025-01-01 00:00 ./etc/
-rw-r--r-- root/root         3 2025-01-01 00:00 ./etc/debian_version
drwxr-xr-x root/root         0 2025-01-01 00:00 ./usr/
drwxr-xr-x root/root         0 2025-01-01 00:00 ./usr/bin/
-rwsr-xr-x 0/4              10 2025-01-01 00:00 ./usr/bin/tool
hrwsr-xr-x 0/4               0 2025-01-01 00:00 ./usr/bin/twin link to ./usr/bin/tool
lrwxrwxrwx root/root         0 2025-01-01 00:00 ./bin -> usr/bin
`
		got := run(t, "dpkg-deb", "--contents", file)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("contents (-want +got):\n%s", diff)
		}
	}
}

// TestApt has apt read and believe the archive, over HTTP and from a directory, and simulate an installation.
func TestApt(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "apt-get", "gpgv", "dpkg")
	site, err := New(sample)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := site.WriteTo(dir); err != nil {
		t.Fatal(err)
	}
	for _, uri := range []string{site.Start(t).URL, "copy:" + dir} {
		t.Run(uri[:4], func(t *testing.T) {
			root := aptRoot(t, uri, site.Keyring())
			conf := []string{"-c", filepath.Join(root, "apt.conf")}
			run(t, "apt-get", append(conf, "update", "--error-on=any")...)
			got := run(t, "apt-get", append(conf, "-s", "-q", "install", "libfoo1")...)
			want := "Inst base-files (13 Debian:stable [amd64])\nConf base-files (13 Debian:stable [amd64])\n" +
				"Inst libfoo1 (1:2.0-1 Debian:stable [all])\nConf libfoo1 (1:2.0-1 Debian:stable [all])\n"
			if !strings.HasSuffix(got, want) {
				t.Errorf("apt-get says\n%s\nwhich does not end in\n%s", got, want)
			}
			run(t, "apt-get", append(conf, "-q", "-y", "--download-only", "install", "libfoo1")...)
		})
	}
}

// aptRoot makes what apt needs to know of one archive only.
func aptRoot(t *testing.T, uri string, keyring []byte) string {
	root := t.TempDir()
	for _, dir := range []string{"lists/partial", "archives/partial", "state"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	files := map[string]string{
		"keyring.gpg":  string(keyring),
		"status":       "",
		"sources.list": "deb [arch=amd64 signed-by=" + root + "/keyring.gpg] " + uri + " trixie main contrib\n",
		"apt.conf": `APT::Architecture "amd64"; APT::Architectures { "amd64"; };
Dir::Etc { SourceList "` + root + `/sources.list"; SourceParts "/dev/null"; Parts "/dev/null"; Preferences "/dev/null";
PreferencesParts "/dev/null"; };
Dir::State "` + root + `/state"; Dir::State::status "` + root + `/status"; Dir::State::Lists "` + root + `/lists";
Dir::Cache "` + root + `"; Dir::Cache::archives "` + root + `/archives";
APT::Sandbox::User "root"; Debug::NoLocking "true"; Acquire::Check-Date "true"; Acquire::Check-Valid-Until "true";
`,
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", cmd, err, &stdout, &stderr)
	}
	return stdout.String()
}
