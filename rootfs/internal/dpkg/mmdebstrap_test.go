package dpkg

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vmbuild/rootfs/tree"
)

// TestLikeMmdebstrap has mmdebstrap make a root, installs the same package files in the same order, and compares the
// two, path by path, dpkg's database included.
func TestLikeMmdebstrap(t *testing.T) {
	needMachine(t, []string{"build", "net"}, "mmdebstrap", "apt-get", "unshare", "tar")
	ref := mmdebstrap(t, "openssh-server,systemd-resolved,libpam-systemd,man-db")
	first, rest := ref.packages(t)

	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	skeleton(t, dir)
	r := unshareRunner{dir}
	o := Options{Root: dir}
	extracted, err := Extract(t.Context(), o, first)
	if err != nil {
		t.Fatal(err)
	}
	policy := filepath.Join(dir, "usr/sbin/policy-rc.d")
	if err := os.WriteFile(policy, []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := extracted.Configure(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := Install(t.Context(), o, r, rest); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(policy); err != nil {
		t.Fatal(err)
	}
	got, err := tree.Listing(&tree.Tree{Dir: dir, Devices: tree.StandardDevices()})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range tree.Diff(ref.listing(t), got) {
		path, _, _ := strings.Cut(line, ": ")
		if !slices.ContainsFunc(notDpkgs, func(re *regexp.Regexp) bool { return re.MatchString(path) }) {
			t.Error(line)
		}
	}
}

// notDpkgs are the paths that may differ, because somebody other than dpkg and this package writes them.
var notDpkgs = []*regexp.Regexp{
	regexp.MustCompile(`^/etc/apt(/|$)|^/var/(cache|lib|log)/apt(/|$)`),                // apt, its settings and logs
	regexp.MustCompile(`^/etc/(hostname|fstab|resolv.conf|\.resolv.conf.*)$`),          // mmdebstrap's skeleton, the host's files
	regexp.MustCompile(`^/run/|^/tmp/`),                                                // mmdebstrap empties them
	regexp.MustCompile(`^/var/log/(dpkg|alternatives).log$|^/var/cache/ldconfig/`),     // mmdebstrap removes them
	regexp.MustCompile(`^/etc/machine-id$|^/var/lib/dbus/machine-id$`),                 // random; mmdebstrap removes them
	regexp.MustCompile(`^/etc/ssh/ssh_host_`),                                          // random keys
	regexp.MustCompile(`^/var/cache/man/index.db$|^/var/cache/man/.*/index.db$`),       // holds times
	regexp.MustCompile(`^/var/lib/dpkg/diversions-old$|^/var/lib/dpkg/lock-frontend$`), // mmdebstrap's of start-stop-daemon; apt's
}

// skeleton makes what mmdebstrap makes before it unpacks anything.
func skeleton(t *testing.T, dir string) {
	t.Helper()
	if err := Skeleton(dir, nativeArch(t)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"etc/apt/apt.conf.d", "etc/apt/sources.list.d", "etc/apt/preferences.d", "var/cache/apt",
		"var/lib/apt/lists/partial", "var/log/apt", "tmp",
	} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "tmp"), 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
}

func nativeArch(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("dpkg", "--print-architecture").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// reference is what mmdebstrap made.
type reference struct{ dir string }

// mmdebstrap makes a root of trixie's important packages and keeps the package files and dpkg's log.
func mmdebstrap(t *testing.T, include string) reference {
	t.Helper()
	mirror, err := exec.Command("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages").Output()
	if err != nil {
		t.Fatal(err)
	}
	uri, _, _ := strings.Cut(string(mirror), "\n")
	dir := t.TempDir()
	c := exec.Command("mmdebstrap", "--variant=important", "--include="+include,
		"--skip=essential/unlink,cleanup/apt/cache",
		`--customize-hook=cp "$1"/var/log/dpkg.log `+dir,
		`--customize-hook=mv "$1"/var/cache/apt/archives/*.deb `+dir,
		"trixie", filepath.Join(dir, "root.tar"), uri)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return reference{dir}
}

func (r reference) listing(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join(r.dir, "root.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	listing, err := tree.TarListing(f)
	if err != nil {
		t.Fatal(err)
	}
	return listing
}

// packages returns the package files in the order in which dpkg unpacked them: those of its first run, then the rest.
func (r reference) packages(t *testing.T) (first, rest []Deb) {
	t.Helper()
	log, err := os.Open(filepath.Join(r.dir, "dpkg.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	runs := 0
	for lines := bufio.NewScanner(log); lines.Scan(); {
		words := strings.Fields(lines.Text()) // date, time, action, …
		switch {
		case len(words) > 2 && words[2] == "startup":
			runs++
		case len(words) == 6 && words[2] == "install": // package:arch, <none>, version
			name, arch, _ := strings.Cut(words[3], ":")
			file := fmt.Sprintf("%s_%s_%s.deb", name, strings.ReplaceAll(words[5], ":", "%3a"), arch)
			deb := Deb{Path: filepath.Join(r.dir, file)}
			if runs == 1 {
				first = append(first, deb)
			} else {
				rest = append(rest, deb)
			}
		}
	}
	return first, rest
}
