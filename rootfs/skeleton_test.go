package rootfs

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"vmbuild/rootfs/tree"
)

// plant makes files below a directory: "a/" is a directory, "a -> b" a link to b, all else a file with that content.
// Directories above them need not be given.
func plant(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		name, target, link := strings.Cut(name, " -> ")
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case err != nil:
		case link:
			err = os.Symlink(target, path)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		default:
			err = os.WriteFile(path, []byte(files[name]), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// planted is plant in a new directory.
func planted(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	plant(t, dir, files)
	return dir
}

// listing lists a tree without the owners that whoever runs the tests is: "file 0644 e3b0c442".
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	lines, err := tree.Listing(&tree.Tree{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	own := fmt.Sprintf(" %d:%d", os.Getuid(), os.Getgid())
	for path, line := range lines {
		lines[path] = strings.Replace(line, own, "", 1)
	}
	return lines
}

// file is the line of a file in a listing.
func file(mode int, content string) string {
	return fmt.Sprintf("file %04o %.4x", mode, sha256.Sum256([]byte(content)))
}

const aDir = "dir 0755"

func link(target string) string { return "symlink 0777 -> " + target }

// wantTree compares a tree with a listing.
func wantTree(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	if lines := tree.Diff(want, listing(t, dir)); len(lines) > 0 {
		t.Errorf("the tree is not as it should be:\n%s", strings.Join(lines, "\n"))
	}
}

// wantError compares an error's message.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("error\n%v\nwant\n%s", err, want)
	}
}

func TestMakeSkeleton(t *testing.T) {
	l := newLock()
	l.Sources = append(l.Sources, Source{URI: "http://s.example/debian-security", Suite: "trixie-security", Components: []string{"main", "contrib"}})
	want := map[string]string{
		"/": aDir, "/etc": aDir, "/etc/apt": aDir, "/etc/apt/apt.conf.d": aDir, "/etc/apt/preferences.d": aDir,
		"/etc/apt/sources.list": file(0o644, "deb http://m.example/debian trixie main\n"+
			"deb http://s.example/debian-security trixie-security main contrib\n"),
		"/etc/apt/sources.list.d": aDir, "/etc/dpkg": aDir, "/etc/dpkg/dpkg.cfg.d": aDir,
		"/etc/fstab": file(0o644, "# UNCONFIGURED FSTAB FOR BASE SYSTEM\n"), "/tmp": "dir 1777",
		"/var": aDir, "/var/cache": aDir, "/var/cache/apt": aDir, "/var/cache/apt/archives": aDir,
		"/var/cache/apt/archives/partial": aDir, "/var/lib": aDir, "/var/lib/apt": aDir, "/var/lib/apt/lists": aDir,
		"/var/lib/apt/lists/partial": aDir, "/var/lib/dpkg": aDir, "/var/lib/dpkg/alternatives": aDir,
		"/var/lib/dpkg/arch": file(0o644, "amd64\n"), "/var/lib/dpkg/info": aDir,
		"/var/lib/dpkg/info/format": file(0o644, "1\n"), "/var/lib/dpkg/status": file(0o644, ""),
		"/var/lib/dpkg/triggers": aDir, "/var/lib/dpkg/updates": aDir, "/var/log": aDir, "/var/log/apt": aDir,
	}
	for _, merged := range []bool{false, true} {
		l.MergeUsr = merged
		if merged {
			want["/usr"] = aDir
			for _, name := range []string{"bin", "lib", "lib32", "lib64", "libx32", "sbin"} {
				want["/"+name], want["/usr/"+name] = link("usr/"+name), aDir
			}
		}
		dir := planted(t, nil)
		if err := makeSkeleton(dir, l); err != nil {
			t.Fatal(err)
		}
		wantTree(t, dir, want)
	}
	dir := planted(t, map[string]string{"etc": ""})
	wantError(t, makeSkeleton(dir, l), "make skeleton: mkdir "+dir+"/etc: not a directory")
}

// TestMergeUsr has the links that each architecture's base-files had before it came with them itself.
func TestMergeUsr(t *testing.T) {
	for arch, want := range map[string][]string{
		"amd64":    {"bin", "lib", "lib32", "lib64", "libx32", "sbin"},
		"arm64":    {"bin", "lib", "sbin"},
		"armhf":    {"bin", "lib", "sbin"},
		"i386":     {"bin", "lib", "lib64", "libx32", "sbin"},
		"s390x":    {"bin", "lib", "lib64", "libx32", "sbin"},
		"ppc64el":  {"bin", "lib", "lib64", "sbin"},
		"mips64el": {"bin", "lib", "lib64", "sbin"},
		"loong64":  {"bin", "lib", "lib64", "sbin"},
		"riscv64":  {"bin", "lib", "sbin"},
	} {
		dir := planted(t, nil)
		if err := mergeUsr(dir, arch); err != nil {
			t.Fatal(err)
		}
		lines := map[string]string{"/": aDir, "/usr": aDir}
		for _, name := range want {
			lines["/"+name], lines["/usr/"+name] = link("usr/"+name), aDir
		}
		if diff := cmp.Diff(lines, listing(t, dir)); diff != "" {
			t.Errorf("%s:\n%s", arch, diff)
		}
	}
}

func TestExtendedStates(t *testing.T) {
	l := &Lock{Arch: "arm64", Packages: []Package{
		{Name: "asked", Arch: "arm64"}, {Name: "lib", Arch: "arm64", Auto: true}, {Name: "data", Arch: "all", Auto: true},
	}}
	want := "Package: lib\nArchitecture: arm64\nAuto-Installed: 1\n\nPackage: data\nArchitecture: arm64\nAuto-Installed: 1\n\n"
	if got := extendedStates(l); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := extendedStates(&Lock{}); got != "" {
		t.Errorf("of nothing: %q", got)
	}
}

func TestUserID(t *testing.T) {
	dir := planted(t, map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\n_aptitude:x:7:7::/:/bin/sh\nshort:x\n_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\nodd:x:y:0::/:\n",
	})
	for name, want := range map[string]int{"_apt": 42, "root": 0, "nobody": 0, "short": 0} {
		if got, err := userID(dir, name); err != nil || got != want {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
	_, err := userID(dir, "odd")
	wantError(t, err, `strconv.Atoi: parsing "y": invalid syntax`)
}

func TestNoteApt(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may give directories away")
	}
	files := map[string]string{
		"etc/passwd":                 "_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n",
		"var/lib/apt/lists/partial/": "", "var/cache/apt/archives/partial/": "",
	}
	dir := planted(t, files)
	l := newLock()
	if err := noteApt(dir, l); err != nil {
		t.Fatal(err)
	}
	wantTree(t, dir, map[string]string{
		"/": aDir, "/etc": aDir, "/etc/passwd": file(0o644, files["etc/passwd"]),
		"/var": aDir, "/var/cache": aDir, "/var/cache/apt": aDir, "/var/cache/apt/archives": aDir,
		"/var/cache/apt/archives/lock": file(0o640, ""), "/var/cache/apt/archives/partial": "dir 0700 42:0",
		"/var/lib": aDir, "/var/lib/apt": aDir, "/var/lib/apt/extended_states": file(0o644, extendedStates(l)),
		"/var/lib/apt/lists": aDir, "/var/lib/apt/lists/lock": file(0o640, ""), "/var/lib/apt/lists/partial": "dir 0700 42:0",
	})
}

func TestCleanUp(t *testing.T) {
	kept := map[string]string{
		"etc/machine-id": "", "run/lock/": "", "tmp/": "", "var/tmp/": "", "var/lib/dbus/": "",
		"var/log/apt/": "", "var/log/lastlog": "", "var/log/dpkg.log.1": "", "var/cache/ldconfig/": "",
		"var/cache/apt/archives/lock": "", "var/cache/apt/archives/partial/": "", "var/cache/apt/archives/a.txt": "",
		"var/lib/apt/lists/lock": "", "var/lib/apt/lists/partial/": "",
	}
	removed := map[string]string{
		"etc/machine-id": "0123456789abcdef\n", "run/lock/sub/x": "", "run/.hidden": "", "run/systemd/y": "", "tmp/a/b/c": "",
		"tmp/out -> /nonexistent": "", "var/tmp/.x": "", "var/lib/dbus/machine-id -> /etc/machine-id": "",
		"var/log/apt/history.log": "x", "var/log/apt/term.log": "x", "var/log/apt/eipp.log.xz": "x", "var/log/dpkg.log": "x",
		"var/log/bootstrap.log": "", "var/log/alternatives.log": "", "var/cache/ldconfig/aux-cache": "",
		"var/cache/apt/pkgcache.bin": "", "var/cache/apt/srcpkgcache.bin": "", "var/cache/apt/archives/a_1_all.deb": "",
		"var/lib/apt/lists/auxfiles/z": "", "var/lib/apt/lists/m.example_debian_dists_trixie_InRelease": "",
	}
	want := listing(t, planted(t, kept))
	want["/run/lock/sub"], want["/run/lock/sub/x"] = aDir, file(0o644, "") // /run/lock stays as it is
	dir := planted(t, kept)
	plant(t, dir, removed)
	for range 2 { // a clean tree stays as it is
		if err := cleanUp(dir, nil); err != nil {
			t.Fatal(err)
		}
		wantTree(t, dir, want)
	}
	empty := planted(t, nil)
	if err := cleanUp(empty, nil); err != nil {
		t.Fatal(err)
	}
	wantTree(t, empty, map[string]string{"/": aDir})
}

// TestCleanUpStaysInTheTree has links where directories are, as a hook may make them: they lead to places of the tree, as
// for the programs in it, and never to the host's.
func TestCleanUpStaysInTheTree(t *testing.T) {
	host := planted(t, map[string]string{
		"dpkg.log": "the host's", "x": "the host's", "machine-id": "the host's", "archives/a.deb": "the host's",
		"m_InRelease": "the host's",
	})
	before := listing(t, host)
	for _, parent := range []string{"tmp", "run", "var/tmp", "var/log", "var/cache/apt", "var/lib/apt/lists", "etc"} {
		dir := planted(t, map[string]string{parent + " -> " + host: ""})
		if err := cleanUp(dir, nil); err != nil {
			t.Errorf("%s: %v", parent, err)
		}
		if diff := cmp.Diff(before, listing(t, host)); diff != "" {
			t.Fatalf("with %s being a link, the host's files are cleaned up:\n%s", parent, diff)
		}
	}
	dir := planted(t, map[string]string{"nonexistent/tmp/x": "", "var/tmp -> /nonexistent/tmp": "", "srv/log/dpkg.log": "", "srv/log/y": "", "var/log -> ../srv/log": "",
		"var/cache -> cache": "", "run": "a file"})
	if err := cleanUp(dir, nil); err != nil {
		t.Fatal(err)
	}
	wantTree(t, dir, map[string]string{
		"/": aDir, "/run": file(0o644, "a file"), "/srv": aDir, "/srv/log": aDir, "/srv/log/y": file(0o644, ""),
		"/nonexistent": aDir, "/nonexistent/tmp": aDir,
		"/var": aDir, "/var/cache": link("cache"), "/var/log": link("../srv/log"), "/var/tmp": link("/nonexistent/tmp"),
	})
}

func TestResetMachineID(t *testing.T) {
	const other = "/nonexistent/machine-id"
	for name, c := range map[string]struct{ files, want map[string]string }{
		"missing": {map[string]string{"etc/": ""}, map[string]string{}},
		"empty":   {map[string]string{"etc/machine-id": ""}, map[string]string{"/etc/machine-id": file(0o644, "")}},
		"set":     {map[string]string{"etc/machine-id": "abc\n"}, map[string]string{"/etc/machine-id": file(0o644, "")}},
		"link":    {map[string]string{"etc/machine-id -> " + other: ""}, map[string]string{"/etc/machine-id": file(0o644, "")}},
	} {
		dir := planted(t, c.files)
		if err := cleanUp(dir, nil); err != nil {
			t.Fatal(err)
		}
		c.want["/"], c.want["/etc"] = aDir, aDir
		if diff := cmp.Diff(c.want, listing(t, dir)); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
	dir := planted(t, map[string]string{"etc/machine-id/x": ""})
	if err := cleanUp(dir, nil); err == nil || !strings.HasPrefix(err.Error(), "reset the machine id: ") {
		t.Errorf("a directory in its place: %v", err)
	}
}

// setTimes gives a path, not what it may link to, a modification time.
func setTimes(t *testing.T, path string, when time.Time) {
	t.Helper()
	at := unix.NsecToTimespec(when.UnixNano())
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		t.Fatal(err)
	}
}

// times returns the modification time of each path of a tree.
func times(t *testing.T, dir string) map[string]time.Time {
	t.Helper()
	found := map[string]time.Time{}
	err := (&tree.Tree{Dir: dir}).Walk(func(e tree.Entry) error {
		found[e.Path] = e.ModTime.UTC()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestClampTimes(t *testing.T) {
	limit := time.Date(2025, 6, 1, 12, 0, 0, 500, time.UTC)
	old, young := limit.Add(-time.Hour), limit.Add(time.Nanosecond)
	outside := filepath.Join(planted(t, map[string]string{"file": ""}), "file")
	setTimes(t, outside, young)
	dir := planted(t, map[string]string{"a/young": "", "a/old": "", "a/limit": "", "link -> " + outside: "", "old -> a": "", "z/": ""})
	for path, when := range map[string]time.Time{
		"a/young": young, "a/old": old, "a/limit": limit, "link": young, "old": old, "z": young, "a": old, ".": young,
	} {
		setTimes(t, filepath.Join(dir, path), when)
	}
	if err := clampTimes(t.Context(), dir, dir, limit); err != nil {
		t.Fatal(err)
	}
	want := map[string]time.Time{
		"/": limit, "/a": old, "/a/young": limit, "/a/old": old, "/a/limit": limit, "/link": limit, "/old": old, "/z": limit,
	}
	if diff := cmp.Diff(want, times(t, dir)); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Stat(outside); err != nil || !info.ModTime().Equal(young) {
		t.Errorf("the target of a link was changed: %s, %v", info.ModTime(), err)
	}
	err := clampTimes(t.Context(), dir, dir+"/none", limit)
	wantError(t, err, "clamp times: open "+dir+"/none: no such file or directory")
}

// TestClampTimesOfOverlay looks at what the upper directory has and changes it in the tree, where what was removed is not.
func TestClampTimesOfOverlay(t *testing.T) {
	limit := time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)
	young := limit.Add(time.Hour)
	upper := planted(t, map[string]string{"changed": ""})
	whiteout(t, filepath.Join(upper, "removed"))
	root := planted(t, map[string]string{"changed": "", "below": ""})
	for _, path := range []string{upper, upper + "/changed", root + "/changed", root + "/below", root} {
		setTimes(t, path, young)
	}
	if err := clampTimes(t.Context(), root, upper, limit); err != nil {
		t.Fatal(err)
	}
	want := map[string]time.Time{"/": limit, "/changed": limit, "/below": young}
	if diff := cmp.Diff(want, times(t, root)); diff != "" {
		t.Error(diff)
	}
}

// whiteout makes what an overlay has in its upper directory for a file that was removed: a device that anybody may make.
func whiteout(t *testing.T, path string) {
	t.Helper()
	if err := unix.Mknod(path, unix.S_IFCHR, 0); err != nil {
		t.Fatal(err)
	}
}

// A system must not show whether its initramfs was made or came from the cache.
func TestResetEmptied(t *testing.T) {
	root := t.TempDir()
	for _, dir := range emptied {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Unix(1700000000, 0)
	if err := resetEmptied(root, at); err != nil {
		t.Fatal(err)
	}
	for _, dir := range emptied {
		if info, err := os.Stat(filepath.Join(root, dir)); err != nil || !info.ModTime().Equal(at) {
			t.Errorf("/%s: %v, %v", dir, info.ModTime(), err)
		}
	}
}
