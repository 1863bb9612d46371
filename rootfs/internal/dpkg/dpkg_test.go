package dpkg

import (
	"archive/tar"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/tree"
)

func sum8(content string) string { return fmt.Sprintf("%.4x", sha256.Sum256([]byte(content))) }

func TestExtractAndConfigure(t *testing.T) {
	r := newTestRoot(t)
	setuid := file("./usr/bin/b")
	setuid.Mode = 0o4755
	debs := r.write(
		testDeb{name: "libb", fields: "Multi-Arch: same\nArchitecture: amd64\nHomepage: h\n", noSums: true,
			members: []tar.Header{dir("./"), dir("./usr/"), dir("./usr/bin/"), setuid, hard("./usr/bin/c", "./usr/bin/b")},
			control: map[string]string{"triggers": "# x\ninterest-noawait /usr/share/x\ninterest y\nactivate-noawait ldconfig\n"}},
		testDeb{name: "a", fields: "Essential: yes\nSection: admin\nStatus: none\nOrigin: two \n lines \n",
			members: []tar.Header{dir("./"), dir("./etc/"), file("./etc/a.conf"), dir("./usr/"), dir("./usr/bin/"), link("./bin", "usr/bin"), file("./bin/a")},
			control: map[string]string{"conffiles": "/etc/a.conf\nremove-on-upgrade /etc/old\n", "preinst": "#!/bin/sh\n"}},
	)
	extracted, err := Extract(t.Context(), Options{Root: r.dir}, debs)
	if err != nil {
		t.Fatal(err)
	}
	content := "content of ./usr/bin/b"
	want := map[string]string{
		"/bin":        "symlink 0777 -> usr/bin",
		"/usr":        "dir 0755",
		"/usr/bin":    "dir 0755",
		"/usr/bin/a":  "file 0644 " + sum8("content of ./bin/a"),
		"/usr/bin/b":  "file 4755 " + sum8(content),
		"/usr/bin/c":  "file 4755 " + sum8(content) + " = /usr/bin/b",
		"/etc/a.conf": "file 0644 " + sum8("content of ./etc/a.conf"),
	}
	if diff := cmp.Diff(want, r.listing()); diff != "" {
		t.Error(diff)
	}
	digest := fmt.Sprintf("%x", md5.Sum([]byte(content)))
	database := map[string]string{
		statusFile: "Package: a\nEssential: yes\nStatus: install ok unpacked\nSection: admin\nOrigin: two \n lines\nArchitecture: all\n" +
			"Version: 1\nConffiles:\n /etc/a.conf " + fmt.Sprintf("%x", md5.Sum([]byte("content of ./etc/a.conf"))) +
			"\n /etc/old newconffile remove-on-upgrade\nDescription: test\n\n" +
			"Package: libb\nStatus: install ok unpacked\nArchitecture: amd64\nMulti-Arch: same\nVersion: 1\n" +
			"Description: test\nHomepage: h\n\n",
		infoDir + "/a.list":             "/.\n/etc\n/etc/a.conf\n/usr\n/usr/bin\n/bin\n/bin/a\n",
		infoDir + "/a.md5sums":          "",
		infoDir + "/libb:amd64.list":    "/.\n/usr\n/usr/bin\n/usr/bin/b\n/usr/bin/c\n",
		infoDir + "/libb:amd64.md5sums": digest + "  usr/bin/b\n" + digest + "  usr/bin/c\n",
		infoDir + "/libb.list":          "-",
		infoDir + "/a.control":          "-",
		infoDir + "/format":             "1\n",
		fileTriggers:                    "/usr/share/x libb:amd64/noawait\n",
		triggersDir + "/y":              "libb:amd64\n",
		adminDir + "/arch":              "amd64\n",
	}
	got := map[string]string{}
	for name := range database {
		got[name] = r.read(name)
	}
	if diff := cmp.Diff(database, got); diff != "" {
		t.Error(diff)
	}

	if err := extracted.Configure(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	wantLog := []string{
		"/var/lib/dpkg/tmp.ci/preinst install",
		"dpkg --force-unsafe-io --force-depends --configure libb:amd64 a:all",
	}
	if diff := cmp.Diff(wantLog, r.log); diff != "" {
		t.Error(diff)
	}
}

// TestHostile holds packages that try to write outside of the root. Each is either refused or ends inside.
func TestHostile(t *testing.T) {
	for _, test := range []struct {
		name    string
		members func(outside string) []tar.Header
		want    string // the error behind "extract packages: evil.deb: unpack "
	}{
		{"parent", func(string) []tar.Header { return []tar.Header{file("../evil")} },
			`"../evil": ".." or a line feed in its name`},
		{"parent inside", func(string) []tar.Header { return []tar.Header{file("./usr/../../evil")} },
			`"./usr/../../evil": ".." or a line feed in its name`},
		{"line feed", func(string) []tar.Header { return []tar.Header{file("a\n/etc/shadow")} },
			`"a\n/etc/shadow": ".." or a line feed in its name`},
		{"absolute name", func(outside string) []tar.Header { return []tar.Header{file(outside + "/evil")} }, ""},
		{"absolute link, file through it", func(outside string) []tar.Header {
			return []tar.Header{link("./out", outside), file("./out/evil")}
		}, `"./out/evil": open /out: no such file or directory`},
		{"relative link, file through it", func(string) []tar.Header {
			return []tar.Header{link("./up", "../../../../../../outside"), file("./up/evil")}
		}, `"./up/evil": open /up: no such file or directory`},
		{"link to directory inside, file through it", func(string) []tar.Header {
			return []tar.Header{dir("./outside"), link("./up", "../../../outside"), file("./up/evil")}
		}, ""},
		{"link, directory at it", func(outside string) []tar.Header {
			return []tar.Header{link("./out", outside), dir("./out/"), file("./out/evil")}
		}, ""},
		{"link, file in its place", func(outside string) []tar.Header {
			return []tar.Header{link("./secret", outside+"/secret"), file("./secret")}
		}, ""},
		{"link to link", func(outside string) []tar.Header {
			return []tar.Header{link("./a", outside), link("./b", "a"), file("./b/evil")}
		}, `"./b/evil": open /b: no such file or directory`},
		{"hard link to parent", func(string) []tar.Header { return []tar.Header{hard("./h", "../outside/secret")} },
			`"./h": ".." or a line feed in its name`},
		{"hard link to absolute", func(outside string) []tar.Header {
			return []tar.Header{hard("./h", outside+"/secret"), file("./h")}
		}, `"./h": open OUTSIDE: no such file or directory`},
		{"hard link through link", func(outside string) []tar.Header {
			return []tar.Header{link("./out", outside), hard("./h", "./out/secret")}
		}, `"./h": open /out: no such file or directory`},
		{"hard link to link, file at it", func(outside string) []tar.Header {
			return []tar.Header{link("./l", outside+"/secret"), hard("./h", "./l"), file("./h")}
		}, ""},
		{"database behind a link", func(outside string) []tar.Header {
			return []tar.Header{link("./var/lib/dpkg/info", outside)}
		}, ""},
		{"unknown type", func(string) []tar.Header { return []tar.Header{{Name: "x", Typeflag: 'Z'}} },
			`"x": unknown type 'Z'`},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newTestRoot(t)
			outside := filepath.Join(filepath.Dir(r.dir), "outside")
			if err := os.Mkdir(outside, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
				t.Fatal(err)
			}
			before := surroundings(t, r.dir)
			debs := r.write(testDeb{name: "evil", members: test.members(outside)})
			_, err := Extract(t.Context(), Options{Root: r.dir}, debs)
			want := test.want
			if want != "" {
				want = "extract packages: evil.deb: unpack " + strings.ReplaceAll(want, "OUTSIDE", outside)
			}
			if got := message(err); got != want {
				t.Errorf("error %q, want %q", got, want)
			}
			if diff := cmp.Diff(before, surroundings(t, r.dir)); diff != "" {
				t.Errorf("outside of the root: %s", diff)
			}
		})
	}
}

// surroundings lists what is beside the root, in the directory that holds it.
func surroundings(t *testing.T, root string) map[string]string {
	listing, err := tree.Listing(&tree.Tree{Dir: filepath.Dir(root)})
	if err != nil {
		t.Fatal(err)
	}
	for name := range listing {
		if strings.HasPrefix(name, "/root") {
			delete(listing, name)
		}
	}
	return listing
}

func TestChecksum(t *testing.T) {
	r := newTestRoot(t)
	deb := r.write(testDeb{name: "a", members: []tar.Header{file("./a")}})[0]
	data, err := os.ReadFile(deb.Path)
	if err != nil {
		t.Fatal(err)
	}
	deb.SHA256 = fmt.Sprintf("%x", sha256.Sum256(data))
	data[len(data)/2] ^= 1
	if err := os.WriteFile(deb.Path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = Extract(t.Context(), Options{Root: r.dir}, []Deb{deb})
	want := fmt.Sprintf("extract packages: a.deb: its bytes have SHA256 %x, not %s", sha256.Sum256(data), deb.SHA256)
	if message(err) != want {
		t.Errorf("error %q, want %q", message(err), want)
	}
	if got := r.listing(); len(got) != 0 {
		t.Errorf("unpacked all the same: %v", got)
	}
}

// TestRefetch: a file that was spoilt is asked for once more.
func TestRefetch(t *testing.T) {
	broken := errors.New("no network")
	for _, test := range []struct {
		name    string
		brings  func(good []byte) []byte
		err     error
		wants   string // end of the error
		fetches int
	}{
		{name: "brings the right file", brings: func(good []byte) []byte { return good }, fetches: 1},
		{name: "brings nothing", brings: func([]byte) []byte { return nil }, wants: ", not SUM", fetches: 1},
		{name: "fails", brings: func(good []byte) []byte { return good }, err: broken, wants: "no network", fetches: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newTestRoot(t)
			deb := r.write(testDeb{name: "a", members: []tar.Header{file("./a")}})[0]
			data, err := os.ReadFile(deb.Path)
			if err != nil {
				t.Fatal(err)
			}
			deb.SHA256 = fmt.Sprintf("%x", sha256.Sum256(data))
			fetches := 0
			deb.Refetch = func(context.Context) error {
				fetches++
				return errors.Join(os.WriteFile(deb.Path, test.brings(data), 0o644), test.err)
			}
			if err := os.WriteFile(deb.Path, []byte("spoilt"), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err = Extract(t.Context(), Options{Root: r.dir}, []Deb{deb})
			want := strings.ReplaceAll(test.wants, "SUM", deb.SHA256)
			if (err == nil) != (want == "") || !strings.HasSuffix(message(err), want) || fetches != test.fetches {
				t.Errorf("after %d fetches, error %q, want %q", fetches, message(err), want)
			}
		})
	}
}

// TestInstall holds what files packages leave when some are installed already.
func TestInstall(t *testing.T) {
	old := testDeb{name: "old", members: []tar.Header{dir("./usr"), file("./usr/f"), file("./usr/g")}}
	for _, test := range []struct {
		name string
		base []testDeb
		put  map[string]string // files of the root, written before
		debs []testDeb
		err  string
		want map[string]string // files of the root; "-" is a missing one
	}{
		{
			name: "conflict", base: []testDeb{old},
			debs: []testDeb{{name: "new", members: []tar.Header{file("./usr/f")}}},
			err:  `install packages: new.deb: unpack "./usr/f": "/usr/f" is also in package old (1)`,
		},
		{
			name: "replaces", base: []testDeb{old},
			debs: []testDeb{{name: "new", fields: "Replaces: old (<< 2)\n", members: []tar.Header{file("./usr/f")},
				content: map[string]string{"./usr/f": "new"}}},
			want: map[string]string{"/usr/f": "new", infoDir + "/old.list": "/usr\n/usr/g\n", infoDir + "/new.list": "/usr/f\n"},
		},
		{
			name: "replaces another version", base: []testDeb{old},
			debs: []testDeb{{name: "new", fields: "Replaces: old (>> 2)\n", members: []tar.Header{file("./usr/f")}}},
			err:  `install packages: new.deb: unpack "./usr/f": "/usr/f" is also in package old (1)`,
		},
		{
			name: "is replaced",
			base: []testDeb{{name: "old", fields: "Replaces: new\n", members: []tar.Header{file("./f")},
				content: map[string]string{"./f": "old"}}},
			debs: []testDeb{{name: "new", members: []tar.Header{file("./f"), file("./g")}}},
			want: map[string]string{"/f": "old", infoDir + "/old.list": "/f\n", infoDir + "/new.list": "/g\n"},
		},
		{
			name: "both replace each other, the later wins",
			debs: []testDeb{
				{name: "x", fields: "Replaces: y\n", members: []tar.Header{file("./f")}, content: map[string]string{"./f": "x"}},
				{name: "y", fields: "Replaces: x\n", members: []tar.Header{file("./f")}, content: map[string]string{"./f": "y"}},
			},
			want: map[string]string{"/f": "y", infoDir + "/x.list": "", infoDir + "/y.list": "/f\n"},
		},
		{
			name: "two architectures share",
			base: []testDeb{{name: "lib", fields: "Architecture: amd64\nMulti-Arch: same\n", members: []tar.Header{file("./doc")}}},
			debs: []testDeb{{name: "lib", fields: "Architecture: i386\nMulti-Arch: same\n", members: []tar.Header{file("./doc")}}},
			want: map[string]string{"/doc": "content of ./doc", infoDir + "/lib:amd64.list": "/doc\n", infoDir + "/lib:i386.list": "/doc\n"},
		},
		{
			name: "installed already", base: []testDeb{old}, debs: []testDeb{old},
			err: "install packages: package old is in the root already, version 1, installed",
		},
		{
			name: "nobody's file is replaced", put: map[string]string{"/f": "nobody's"},
			debs: []testDeb{{name: "new", members: []tar.Header{file("./f")}}},
			want: map[string]string{"/f": "content of ./f"},
		},
		{
			name: "link to directory is kept",
			base: []testDeb{{name: "base", members: []tar.Header{dir("./usr"), dir("./usr/lib"), link("./lib", "usr/lib")}}},
			debs: []testDeb{{name: "new", members: []tar.Header{dir("./lib"), file("./lib/f"), link("./lib", "usr/lib")}}},
			want: map[string]string{"/usr/lib/f": "content of ./lib/f", infoDir + "/new.list": "/lib\n/lib/f\n/lib\n"},
		},
		{
			name: "directory is not replaced by a link",
			base: []testDeb{{name: "base", members: []tar.Header{dir("./d"), file("./d/f")}}},
			debs: []testDeb{{name: "new", members: []tar.Header{link("./d", "elsewhere")}}},
			want: map[string]string{"/d/f": "content of ./d/f"},
		},
		{
			name: "conffile waits for dpkg", put: map[string]string{"/c": "edited"},
			debs: []testDeb{{name: "new", members: []tar.Header{file("./c"), hard("./d", "./c")},
				control: map[string]string{"conffiles": "/c\n"}}},
			want: map[string]string{"/c": "edited", "/c.dpkg-new": "content of ./c", "/d": "content of ./c",
				infoDir + "/new.list": "/c\n/d\n"},
		},
		{
			name: "diverted", put: map[string]string{adminDir + "/diversions": "/f\n/f.real\nother\n"},
			debs: []testDeb{
				{name: "new", members: []tar.Header{file("./f")}},
				{name: "other", members: []tar.Header{file("./f")}, content: map[string]string{"./f": "other's"}},
			},
			want: map[string]string{"/f": "other's", "/f.real": "content of ./f", infoDir + "/new.list": "/f\n"},
		},
		{
			name: "goal of a diversion", put: map[string]string{adminDir + "/diversions": "/f\n/f.real\nother\n"},
			debs: []testDeb{{name: "new", members: []tar.Header{file("./f.real")}}},
			err:  `install packages: new.deb: unpack "./f.real": it is where "/f" is diverted to by other`,
		},
		{
			name: "damaged diversions", put: map[string]string{adminDir + "/diversions": "/f\n/f.real\n"},
			debs: []testDeb{{name: "new"}},
			err:  `install packages: diversions: 2 lines, not a multiple of 3`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newTestRoot(t)
			r.installed(test.base...)
			for name, content := range test.put {
				r.put(name, content)
			}
			if got := message(r.install(test.debs...)); got != test.err {
				t.Errorf("error %q, want %q", got, test.err)
			}
			got := map[string]string{}
			for name := range test.want {
				got[name] = r.read(name)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestStatOverride(t *testing.T) {
	r := newTestRoot(t)
	r.put("/etc/passwd", fmt.Sprintf("me:x:%d:%d::/:/bin/sh\n", os.Getuid(), os.Getgid()))
	r.put("/etc/group", fmt.Sprintf("us:x:%d:\n", os.Getgid()))
	r.put(adminDir+"/statoverride", "me us 2755 /f\n#0 us 4711 /none\n")
	if err := r.install(testDeb{name: "a", members: []tar.Header{file("./f"), file("./g")}}); err != nil {
		t.Fatal(err)
	}
	got := r.listing()
	if got["/f"][:9] != "file 2755" || got["/g"][:9] != "file 0644" {
		t.Errorf("/f is %s, /g is %s", got["/f"], got["/g"])
	}
	r.put(adminDir+"/statoverride", "nobody us 2755 /f\n")
	err := r.install(testDeb{name: "b"})
	if want := `install packages: statoverride: "/f": no user or group "nobody"`; message(err) != want {
		t.Errorf("error %q, want %q", message(err), want)
	}
}

// TestDirectoryAttributes gives a directory to two packages: the attributes do not depend on which comes first on disk.
func TestDirectoryAttributes(t *testing.T) {
	narrow, wide := dir("./d"), dir("./d")
	narrow.Mode, wide.Mode = 0o700, 0o1777
	big := make([]tar.Header, 50)
	for i := range big {
		big[i] = file(fmt.Sprintf("./d/%d", i))
	}
	debs := []testDeb{
		{name: "a", members: []tar.Header{narrow}},
		{name: "b", members: append([]tar.Header{wide}, big...)}, // the larger one is unpacked first
	}
	r := newTestRoot(t)
	if err := r.install(debs...); err != nil {
		t.Fatal(err)
	}
	if got := r.listing()["/d"]; got != "dir 0700" {
		t.Errorf("installed: %s, want the first package's", got)
	}
	if err := r.install(testDeb{name: "c", members: []tar.Header{wide}}); err != nil {
		t.Fatal(err)
	}
	if got := r.listing()["/d"]; got != "dir 0700" {
		t.Errorf("installed over it: %s, want the first package's", got)
	}
	r = newTestRoot(t)
	r.installed(debs...)
	if got := r.listing()["/d"]; got != "dir 1777" {
		t.Errorf("extracted: %s, want the last package's", got)
	}
}

func TestTriggers(t *testing.T) {
	r := newTestRoot(t)
	r.installed(
		testDeb{name: "libc-bin", control: map[string]string{"triggers": "interest-await ldconfig\n"}},
		testDeb{name: "man", control: map[string]string{"triggers": "interest-noawait /usr/share/man\ninterest /etc/x\n"}},
	)
	var unpacked string
	r.onRun = func(chroot.Command) { unpacked = r.read(statusFile) }
	err := r.install(testDeb{name: "a", members: []tar.Header{dir("./usr/share/man/man1"), file("./usr/share/man/man1/a"), file("./etc/x")},
		control: map[string]string{"triggers": "activate ldconfig\n"}},
		testDeb{name: "b", control: map[string]string{"triggers": "activate-noawait ldconfig\n"}})
	if err != nil {
		t.Fatal(err)
	}
	want := "Package: a\nStatus: install ok unpacked\nArchitecture: all\nVersion: 1\nDescription: test\nTriggers-Awaited: libc-bin man\n\n" +
		"Package: b\nStatus: install ok unpacked\nArchitecture: all\nVersion: 1\nDescription: test\n\n" +
		"Package: libc-bin\nStatus: install ok triggers-pending\nArchitecture: all\nVersion: 1\nDescription: test\nTriggers-Pending: ldconfig\n\n" +
		"Package: man\nStatus: install ok triggers-pending\nArchitecture: all\nVersion: 1\nDescription: test\nTriggers-Pending: /etc/x /usr/share/man\n\n"
	if diff := cmp.Diff(want, unpacked); diff != "" {
		t.Error(diff)
	}
}

// TestPreDepends follows the order of programs when packages pre-depend on others that are installed with them.
func TestPreDepends(t *testing.T) {
	r := newTestRoot(t)
	preinst := map[string]string{"preinst": "#!/bin/sh\n"}
	var seen []string
	r.onRun = func(c chroot.Command) {
		if slices.Contains(c.Env, "DPKG_MAINTSCRIPT_PACKAGE=cron") {
			seen = append(seen, "cron is there: "+r.read("/cron"))
			seen = append(seen, r.read(scriptsDir+"/templates"))
			r.put(adminDir+"/diversions", "/cron\n/cron.real\nlocal\n")
		}
	}
	r.placed = func(all bool) error {
		seen = append(seen, fmt.Sprintf("all in place: %t, cron: %s", all, r.read("/cron.real")))
		return nil
	}
	cron := testDeb{name: "cron", fields: "Pre-Depends: none | cron-common (>= 1)\nDepends: other\n",
		members: []tar.Header{file("./cron")}, control: map[string]string{"preinst": "#!/bin/sh\n", "templates": "T"}}
	err := r.install(
		testDeb{name: "other", control: preinst},
		cron,
		testDeb{name: "init", fields: "Pre-Depends: sysv\n"},
		testDeb{name: "cron-common", fields: "Provides: x\nDepends: adduser, systemd | sysusers\n"},
		testDeb{name: "adduser", fields: "Depends: cron-common\n"},
		testDeb{name: "systemd", fields: "Provides: sysusers, sysv\n"},
		testDeb{name: "last", fields: "Pre-Depends: sysusers, x\n"},
	)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"/var/lib/dpkg/tmp.ci/preinst install",
		"dpkg --force-unsafe-io --no-triggers --configure adduser:all systemd:all cron-common:all",
		"/var/lib/dpkg/tmp.ci/preinst install",
		"dpkg --force-unsafe-io --configure --pending",
	}
	if diff := cmp.Diff(want, r.log); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{
		"all in place: false, cron: -", "cron is there: -", "T", "all in place: true, cron: content of ./cron",
	}, seen); diff != "" {
		t.Error(diff)
	}
	if got := r.read("/cron.real"); got != "content of ./cron" {
		t.Errorf("/cron.real holds %q", got)
	}
	if got := r.read(scriptsDir + "/templates"); got != "-" {
		t.Error("control members are left behind")
	}
}

// TestPlaced has the installation end with what its caller says when files are in place.
func TestPlaced(t *testing.T) {
	r := newTestRoot(t)
	r.placed = func(bool) error { return errors.New("no") }
	if err := r.install(testDeb{name: "a"}); err == nil || err.Error() != "install packages: no" || r.log != nil {
		t.Errorf("error %v after %q", err, r.log)
	}
}

// TestUnpacked looks, when it is told of a package, for its files and what dpkg's database has of it.
func TestUnpacked(t *testing.T) {
	r := newTestRoot(t)
	var mu sync.Mutex
	got := map[string]string{}
	seen := func(name string) {
		mu.Lock()
		defer mu.Unlock()
		got[name] = r.read("/"+name) + ", " + r.read(infoDir+"/"+name+".list") + r.read(infoDir+"/"+name+".postinst")
	}
	var debs []testDeb
	want := map[string]string{}
	for _, name := range []string{"a", "b", "c"} {
		debs = append(debs, testDeb{name: name, members: []tar.Header{file("./" + name)}, control: map[string]string{"postinst": "of " + name}})
		want[name] = "content of ./" + name + ", /" + name + "\nof " + name
	}
	if _, err := Extract(t.Context(), Options{Root: r.dir, Unpacked: seen}, r.write(debs...)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestLateDiversion diverts a path after the first packages were extracted.
func TestLateDiversion(t *testing.T) {
	r := newTestRoot(t)
	r.onRun = func(c chroot.Command) {
		if c.Args[0] != "dpkg" {
			r.put(adminDir+"/diversions", "/f\n/f.real\nb\n")
		}
	}
	r.installed(
		testDeb{name: "a", members: []tar.Header{file("./f")}, content: map[string]string{"./f": "a's"}},
		testDeb{name: "b", control: map[string]string{"preinst": "#!/bin/sh\n"}},
	)
	if got := r.read("/f.real"); got != "a's" {
		t.Errorf("/f.real holds %q", got)
	}
}

func TestPathRules(t *testing.T) {
	r := newTestRoot(t)
	debs := r.write(testDeb{name: "a", members: []tar.Header{
		dir("./usr"), dir("./usr/share"), dir("./usr/share/doc"), dir("./usr/share/doc/a"), file("./usr/share/doc/a/NEWS"),
		file("./usr/share/doc/a/copyright"), dir("./usr/share/man"), file("./usr/share/man/a.1"), link("./usr/share/doc/b", "a"),
	}})
	o := Options{Root: r.dir, PathRules: []PathRule{
		{Pattern: "/usr/share/doc/*"},
		{Include: true, Pattern: "/usr/share/doc/*/copyright"},
		{Pattern: "/usr/share/man/*.[0-9]"},
	}}
	if _, err := Extract(t.Context(), o, debs); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"/usr":                       "dir 0755",
		"/usr/share":                 "dir 0755",
		"/usr/share/doc":             "dir 0755",
		"/usr/share/doc/a":           "dir 0755",
		"/usr/share/doc/a/copyright": "file 0644 " + sum8("content of ./usr/share/doc/a/copyright"),
		"/usr/share/doc/b":           "symlink 0777 -> a",
		"/usr/share/man":             "dir 0755",
	}
	if diff := cmp.Diff(want, r.listing()); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(r.read(infoDir+"/a.list"), "/usr/share/man/a.1\n") {
		t.Error("excluded files are not listed, though dpkg lists them")
	}
}

func TestGlob(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"/usr/*", "/usr/a/b", true},
		{"/usr/?", "/usr/ab", false},
		{"/a[bc]d", "/abd", true},
		{"/a[!bc]d", "/abd", false},
		{"/a[!bc]d", "/axd", true},
		{"/a[]]", "/a]", true},
		{"/a[", "/a[", true},
		{`/a\*`, "/a*", true},
		{`/a\*`, "/ab", false},
		{"/a[[:digit:]]", "/a5", true},
		{"/a.b", "/axb", false},
		{`/a\`, `/a\`, true},
		{"/locale/*/x", "/locale/de/LC/x", true},
	} {
		f, err := newFilter([]PathRule{{Pattern: test.pattern}})
		if err != nil {
			t.Errorf("%s: %v", test.pattern, err)
			continue
		}
		if got := f.excludes(test.name, false); got != test.want {
			t.Errorf("%s matches %s: %v", test.pattern, test.name, got)
		}
	}
}

func TestParseTriggers(t *testing.T) {
	for _, bad := range []string{"interest\n", "interest a b\n", "watch a\n", "interest a/b\n"} {
		if _, err := parseTriggers([]byte(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func FuzzParsers(f *testing.F) {
	f.Add([]byte("Package: a\nVersion: 1\nArchitecture: all\nDescription: b \n c\n\nPackage: d\n"))
	f.Add([]byte("/a\n/b\n:\n"))
	f.Add([]byte("root #5 755 /a\n"))
	f.Add([]byte("interest-noawait /usr/x # y\nactivate z\n"))
	f.Add([]byte("/etc/a\nremove-on-upgrade /etc/b\n"))
	f.Add([]byte(`/usr/[!a-z[:alpha:]\]]*?`))
	f.Fuzz(func(t *testing.T, data []byte) {
		controlRecord(data)
		parseDiversions(data)
		parseOverrides(data, parseIDs(data), nil)
		parseTriggers(data)
		parseConffiles(data)
		if f, err := newFilter([]PathRule{{Pattern: string(data)}}); err == nil {
			f.excludes("/usr/x", true)
		}
	})
}
