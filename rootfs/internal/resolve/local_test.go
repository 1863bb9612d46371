package resolve

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vmbuild/rootfs/internal/control"
	"vmbuild/rootfs/offers"
)

// repository is an archive that both apt and a Universe can be given.
type repository struct {
	site    string            // empty: it is read by way of file:, else from this host, on which the test serves it
	release string            // fields of its Release file
	indexes map[string]string // stanzas by "component/architecture"; see archive for what they may leave out
}

func (r repository) paragraph(t *testing.T) control.Paragraph {
	t.Helper()
	p, err := control.ParseParagraph([]byte(r.release))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (r repository) archive(t *testing.T) Archive {
	t.Helper()
	p := r.paragraph(t)
	a := Archive{
		Suite: p.Get("Suite"), Codename: p.Get("Codename"),
		Origin: p.Get("Origin"), Label: p.Get("Label"), Version: p.Get("Version"),
		NotAutomatic: p.Get("NotAutomatic") == "yes", ButAutomaticUpgrades: p.Get("ButAutomaticUpgrades") == "yes",
		Site: r.site,
	}
	for _, key := range slices.Sorted(maps.Keys(r.indexes)) {
		component, arch, _ := strings.Cut(key, "/")
		a.Indexes = append(a.Indexes, Index{component, arch, archive(t, r.indexes[key]).Packages})
	}
	return a
}

// write makes the files that apt wants and returns the line of sources.list.
func (r repository) write(t *testing.T, dir, uri string) string {
	t.Helper()
	p := r.paragraph(t)
	var sums strings.Builder
	var components []string
	for _, key := range slices.Sorted(maps.Keys(r.indexes)) {
		component, arch, _ := strings.Cut(key, "/")
		if !slices.Contains(components, component) {
			components = append(components, component)
		}
		name := component + "/binary-" + arch + "/Packages"
		data := []byte(complete(t, r.indexes[key]))
		fmt.Fprintf(&sums, " %x %d %s\n", sha256.Sum256(data), len(data), name)
		path := filepath.Join(dir, "dists", p.Get("Codename"), name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	release := fmt.Sprintf("%sDate: Sat, 15 Aug 2026 00:00:00 UTC\nComponents: %s\nArchitectures: amd64 i386\nSHA256:\n%s",
		r.release, strings.Join(components, " "), &sums)
	if err := os.WriteFile(filepath.Join(dir, "dists", p.Get("Codename"), "Release"), []byte(release), 0o644); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("deb [trusted=yes] %s %s %s\n", uri, p.Get("Codename"), strings.Join(components, " "))
}

var repositories = []repository{
	{
		release: "Origin: Debian\nLabel: Debian\nSuite: stable\nCodename: trixie\nVersion: 13.1\n",
		indexes: map[string]string{
			"main/amd64": "Package: base\nEssential: yes\nPriority: required\nSection: admin\n\n" +
				"Package: tool\nPriority: Important\nSection: utils\nDepends: libtool2 (>= 2)\nTask: toolbox, other\n\n" +
				"Package: tool-doc\nArchitecture: all\nPriority: optional\nSection: doc\nSource: tool (1.5)\nTask: toolbox\n\n" +
				"Package: libtool2\nVersion: 2.0-1\nPriority: optional\nSection: libs\nSource: libtool\nMulti-Arch: same\n\n" +
				"Package: libtool2-dev\nVersion: 2.0-1\nPriority: optional\nSection: libdevel\nSource: libtool\nDepends: libtool2 (= 2.0-1)\n\n" +
				"Package: g++\nPriority: optional\nSection: devel\nDepends: cc\n\n" +
				"Package: gcc\nPriority: optional\nSection: devel\nProvides: cc\nSuggests: g++\n\n" +
				"Package: one-mta\nPriority: optional\nProvides: mta\nConflicts: mta\n\n" +
				"Package: two-mta\nPriority: optional\nProvides: mta\nConflicts: mta\n\n",
			"main/i386": "Package: libtool2\nVersion: 2.0-1\nArchitecture: i386\nPriority: optional\nSection: libs\nMulti-Arch: same\n\n" +
				"Package: wine32\nArchitecture: i386\nPriority: optional\nSection: otherosfs\nDepends: libtool2\n\n" +
				"Package: base\nEssential: yes\nPriority: required\nArchitecture: i386\n\n",
			"contrib/amd64": "Package: blob\nPriority: optional\nSection: contrib/misc\n\nPackage: tool\nVersion: 0.9\nPriority: optional\n\n",
		},
	}, {
		release: "Origin: Debian Backports\nLabel: Debian Backports\nSuite: stable-backports\nCodename: trixie-backports\n" +
			"NotAutomatic: yes\nButAutomaticUpgrades: yes\n",
		indexes: map[string]string{"main/amd64": "Package: tool\nVersion: 2~bpo\nPriority: optional\nDepends: libtool2 (>= 3)\n\n" +
			"Package: libtool2\nVersion: 3~bpo\nPriority: optional\nProvides: libtool2-abi\n\n" +
			"Package: libtool2\nVersion: 3.0~bpo\nPriority: optional\nSource: libtool\n\n" +
			"Package: bpo-only\nPriority: optional\n\n"},
	}, {
		release: "Origin: Debian\nLabel: Debian\nSuite: experimental\nCodename: rc-buggy\nNotAutomatic: yes\n",
		indexes: map[string]string{"main/amd64": "Package: tool\nVersion: 3~exp\nPriority: optional\nDepends: base\n\n" +
			"Package: exp-only\nPriority: optional\n\n"},
	}, {
		site:    "127.0.0.1",
		release: "Origin: Vendor\nLabel: Vendor's own\nSuite: weekly\nCodename: weekly\nVersion: 42\n",
		indexes: map[string]string{"main/amd64": "Package: gcc\nVersion: 7\nPriority: optional\nProvides: cc\n\n" +
			"Package: tool\nVersion: 1.1\nPriority: optional\n\n"},
	},
}

func archives(t *testing.T) []Archive {
	var list []Archive
	for _, r := range repositories {
		list = append(list, r.archive(t))
	}
	return list
}

// newLocalApt gives apt the repositories above.
func newLocalApt(t *testing.T) *apt {
	t.Helper()
	offers.Need(t, "build")
	offers.Programs(t, "apt-get", "apt-cache")
	dir := t.TempDir()
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(server.Close)
	var sources strings.Builder
	for i, r := range repositories {
		name := fmt.Sprintf("repository%d", i)
		uri := "file:" + filepath.Join(dir, name)
		if r.site != "" {
			uri = server.URL + "/" + name
		}
		sources.WriteString(r.write(t, filepath.Join(dir, name), uri))
	}
	return newApt(t, filepath.Join(dir, "root"), sources.String(), "", "amd64", "i386")
}

// requests are words of all kinds, separated by two blanks, and what they come to: "refused" if they cannot be fulfilled.
var requests = []struct{ words, want string }{
	// Names, versions and releases.
	{"tool", "tool=1.1"},
	{"tool  tool-doc", "tool-doc=1 tool=1.1"},
	{"g++", "g++=1 gcc=7"},
	{"g+++", "g++=1 gcc=7"},
	{"gcc+", "gcc=7"},
	{"nothing", "refused"},
	{"tool=1", "libtool2=2.0-1 tool=1"},
	{"tool=2*", "refused"},
	{"tool=3~exp", "base=1 tool=3~exp"},
	{"tool=9", "refused"},
	{"tool=newest", "base=1 tool=3~exp"},
	{"tool=candidate", "tool=1.1"},
	{"tool/experimental", "base=1 tool=3~exp"},
	{"tool/rc-buggy", "base=1 tool=3~exp"},
	{"tool/stable-backports", "libtool2=3.0~bpo tool=2~bpo"},
	{"tool/trixie-backports", "libtool2=3.0~bpo tool=2~bpo"},
	{"tool/exp*", "base=1 tool=3~exp"},
	{"tool/42", "tool=1.1"},
	{"tool/13*", "libtool2=2.0-1 tool=1"},
	{"tool/bullseye", "refused"},
	{"exp-only", "exp-only=1"},
	{"bpo-only/stable", "refused"},
	{"tool/stable  g++-", "libtool2=2.0-1 tool=1"},
	// Architectures.
	{"wine32", "libtool2:i386=2.0-1 wine32:i386=1"},
	{"wine32:i386", "libtool2:i386=2.0-1 wine32:i386=1"},
	{"libtool2:i386", "libtool2:i386=2.0-1"},
	{"libtool2  libtool2:i386", "libtool2:i386=2.0-1 libtool2=2.0-1"},
	{"libtool2:native", "libtool2=2.0-1"},
	{"libtool2:all", "libtool2=2.0-1"},
	{"libtool2:arm64", "refused"},
	{"libtool2:any", "libtool2=2.0-1"},
	{"libtool2:i386=2.0-1", "libtool2:i386=2.0-1"},
	{"base:i386", "base:i386=1"},
	// What is not to be.
	{"tool  gcc-", "tool=1.1"},
	{"g++  gcc-", "refused"},
	{"tool  tool-doc-", "tool=1.1"},
	{"tool*-  base", "base=1"},
	// Virtual names.
	{"cc", "gcc=7"},
	{"mta", "refused"},
	{"libtool2-abi", "refused"},
	// Tasks, globs, regular expressions.
	{"toolbox^", "tool-doc=1"},
	{"other^", "refused"},
	{"tool^", "refused"},
	{"no^", "refused"},
	{"tool*", "tool-doc=1 tool=1.1"},
	{"lib*2", "libtool2=2.0-1"},
	{"libtool2-*", "libtool2-dev=2.0-1 libtool2=2.0-1"},
	{"*mta", "refused"},
	{"x*", "refused"},
	{"^tool", "tool-doc=1 tool=1.1"},
	{"mta$", "refused"},
	{"^(gcc|blob)$", "blob=1 gcc=7"},
	{"^cc$", "gcc=7"},
	{"lib.*dev", "libtool2-dev=2.0-1 libtool2=2.0-1"},
	{"lib*:i386", "libtool2:i386=2.0-1"},
	{"tool*/rc-buggy", "base=1 tool=3~exp"},
	{"gcc=7", "gcc=7"},
	{"[gb]*", "base=1 blob=1 bpo-only=1 g++=1 gcc=7"},
	{"[!a-t]*", "libtool2:i386=2.0-1 wine32:i386=1"},
	// Patterns.
	{"?essential", "refused"},
	{"~E", "refused"},
	{"?essential?architecture(amd64)", "base=1"},
	{"?narrow(?essential,?architecture(amd64))", "base=1"},
	{"?exact-name(tool)", "tool=1.1"},
	{"?name(^tool$)", "tool=1.1"},
	{"~n^tool", "tool-doc=1 tool=1.1"},
	{"?priority(important)", "tool=1.1"},
	{"~prequired", "refused"},
	{"~pImportant", ""},
	{"?section(^libs$)", "libtool2:i386=2.0-1 libtool2=2.0-1"},
	{`~s"contrib/misc"`, "refused"},
	{"?section(contrib)", "blob=1"},
	{"?version(bpo)", "libtool2=2.0-1 tool=1.1"},
	{"~V^7$", "gcc=7"},
	{"?source-package(^libtool$)", "libtool2-dev=2.0-1 libtool2=2.0-1"},
	{"~elibtool", "libtool2-dev=2.0-1 libtool2:i386=2.0-1 libtool2=2.0-1"},
	{"?source-version(^1\\.5$)", "tool-doc=1"},
	{"?archive(^stable$)~ntool", "libtool2-dev=2.0-1 libtool2:i386=2.0-1 libtool2=2.0-1 tool-doc=1 tool=1.1"},
	{"~Aexperimental", "exp-only=1 tool=1.1"},
	{"?codename(weekly)", "gcc=7 tool=1.1"},
	{"?origin(Vendor)", "gcc=7 tool=1.1"},
	{"~OVendor", "gcc=7 tool=1.1"},
	{"?architecture(i386)~nwine", "libtool2:i386=2.0-1 wine32:i386=1"},
	{"?architecture(any)~nwine", "libtool2:i386=2.0-1 wine32:i386=1"},
	{"~rlinux-i386~nwine", "libtool2:i386=2.0-1 wine32:i386=1"},
	{"?and(?version(^1$),?version(^3))", "tool=1.1"},
	{"?any-version(?and(?version(^3),?archive(exp)))", "tool=1.1"},
	{"?narrow(?version(^1$),?archive(exp))", "exp-only=1"},
	{"?false", ""},
	{"~F", ""},
	{"?not(~nt) ~sadmin", "base=1"},
	{"?or(~nblob,~nbase)~ramd64", "base=1 blob=1"},
	{"~nblob|~ngcc", "blob=1 gcc=7"},
	{"~n^TOOL", "tool-doc=1 tool=1.1"},
	{"?x-name-fnmatch(tool*)", "tool-doc=1 tool=1.1"},
	{"?narrow(?all-versions(?version(^2)))", "libtool2-dev=2.0-1 libtool2:i386=2.0-1 libtool2=2.0-1 tool=1.1"},
	{"~nblob ~F", ""},
	{"?and(~nblob,)", "blob=1"},
	{"?depends(?exact-name(cc))", "g++=1 gcc=7"},
	{"?depends(~nlibtool2)?section(utils)", "tool=1.1"},
	{"~D~nlibtool2 ~slibdevel", ""},
	{"?suggests(~n.)", "gcc=7"},
	{"?conflicts(?exact-name(mta))", "refused"},
	{"?reverse-depends(~ntool)?architecture(amd64)", "base=1 libtool2=2.0-1"},
	{"~R~ntool~ramd64", "base=1 libtool2=2.0-1"},
	{"?installed", ""},
	{"~i", ""},
	{"?automatic", ""},
	{"?garbage", ""},
	{"?config-files", ""},
	{"?obsolete", ""},
	{"?upgradable", ""},
	{"?broken", ""},
	{"?narrow(?or(?archive(^trixie$),?codename(^trixie$)),?architecture(amd64),?and(?priority(required),?not(?essential)))", ""},
	{"?narrow(?or(?archive(^trixie$),?codename(^trixie$)),?architecture(amd64),?essential)", "base=1"},
	{"~ntool-  base", "base=1"},
	{"?name(", "refused"},
	{"?foo", "refused"},
	{"~Z", "refused"},
	{"~n", "refused"},
	{"?and", "refused"},
	{"?essential()", "refused"},
	{"?name(a,b)", "refused"},
	{"?not(word)", "refused"},
	{"?name(?true)", "refused"},
}

// TestWords holds what Resolve makes of the requests against the table.
func TestWords(t *testing.T) {
	u := NewUniverse("amd64", archives(t))
	for _, test := range requests {
		got, err := resolved(u, test.words)
		if got != test.want {
			t.Errorf("%s: %s (%v), want %s", test.words, got, err, test.want)
		}
	}
}

// TestAptWords holds the same table against apt-get.
func TestAptWords(t *testing.T) {
	a := newLocalApt(t)
	for _, test := range requests {
		got, words := a.versions(test.words)
		if got != test.want {
			t.Errorf("%s: apt says %s, the table %s\n%s", test.words, got, test.want, words)
		}
	}
}

// resolved returns the names and versions that words come to, sorted, or "refused" and why.
func resolved(u *Universe, words string) (string, error) {
	choices, err := u.Resolve(Request{Packages: strings.Split(words, "  ")})
	if err != nil {
		return "refused", err
	}
	var list []string
	for _, c := range choices {
		name := c.Name
		if c.Architecture != "amd64" && c.Architecture != "all" {
			name += ":" + c.Architecture
		}
		list = append(list, name+"="+c.Version)
	}
	slices.Sort(list)
	return strings.Join(list, " "), nil
}

// TestBeyondApt has requests that apt refuses, or understands otherwise, and why Resolve does not.
func TestBeyondApt(t *testing.T) {
	a := newLocalApt(t)
	u := NewUniverse("amd64", archives(t))
	for _, test := range []struct{ words, apt, want, why string }{
		{"mta  one-mta", "refused", "one-mta=1", "a virtual package is there when one that provides it is requested"},
		{"(~nblob|~ngcc)", "refused", "blob=1 gcc=7", "apt list takes these two beginnings of a pattern, apt-get does not"},
		{"!~n^[^b] ~ramd64", "refused", "base=1 blob=1 bpo-only=1", "the same"},
		{"~nblob ~rnative", "", "blob=1", "apt knows this name of the native architecture elsewhere, but not in patterns"},
		{"?ool", "tool=1.1", "refused", "apt takes a pattern that it cannot read for a glob"},
		{"?x-name-fnmatch(lib*)", "refused", "libtool2-dev=2.0-1 libtool2:i386=2.0-1 libtool2=2.0-1",
			"apt stops at names that only packages which are no candidates provide"},
		{"?section(contrib/misc)", "refused", "blob=1", "apt takes what follows the slash for a release"},
		{"to.l", "libtool2-dev=2.0-1 libtool2=2.0-1 tool-doc=1 tool=1.1", "refused", "a name is no regular expression"},
	} {
		if got, words := a.versions(test.words); got != test.apt {
			t.Errorf("%s: apt says %s, not %s\n%s", test.words, got, test.apt, words)
		}
		if got, err := resolved(u, test.words); got != test.want {
			t.Errorf("%s: %s (%v), want %s: %s", test.words, got, err, test.want, test.why)
		}
	}
}

// versions returns the names and versions of what apt would install, or "refused", and apt's own words.
func (a *apt) versions(requested string) (what, words string) {
	args := append([]string{"--simulate", "-o", "APT::Install-Recommends=false", "install"},
		strings.Split(requested, "  ")...)
	out, err := a.command("apt-get", args...).CombinedOutput()
	if err != nil {
		return "refused", string(out)
	}
	var list []string
	for line := range strings.Lines(string(out)) {
		// Inst libtool2:i386 (2.0-1 Debian:13.1/stable [i386])
		if fields := strings.Fields(line); len(fields) > 2 && fields[0] == "Inst" {
			list = append(list, fields[1]+"="+strings.TrimPrefix(fields[2], "("))
		}
	}
	slices.Sort(list)
	return strings.Join(list, " "), string(out)
}

// pinned are packages, each with its candidate and its versions with their priorities where nothing is said.
var pinned = []string{
	"tool 1.1 3~exp:1 2~bpo:100 1.1:500 1:500 0.9:500",
	"tool-doc 1 1:500",
	"libtool2 2.0-1 3.0~bpo:100 3~bpo:100 2.0-1:500",
	"libtool2:i386 2.0-1 2.0-1:500",
	"gcc 7 7:500 1:500",
	"blob 1 1:500",
}

// pin writes a record of preferences.
func pin(packages, pin, priority string) string {
	return fmt.Sprintf("Package: %s\nPin: %s\nPin-Priority: %s\n\n", packages, pin, priority)
}

// pins are default releases and preferences, and the lines of pinned that they change.
var pins = []struct{ defaultRelease, preferences, want string }{
	{},
	{defaultRelease: "experimental", want: "tool 3~exp 3~exp:990 2~bpo:100 1.1:500 1:500 0.9:500"},
	{
		defaultRelease: "trixie-backports",
		want:           "tool 2~bpo 3~exp:1 2~bpo:990 1.1:500 1:500 0.9:500; libtool2 3.0~bpo 3.0~bpo:990 3~bpo:990 2.0-1:500",
	},
	{defaultRelease: "42", want: "tool 1.1 3~exp:1 2~bpo:100 1.1:990 1:500 0.9:500; gcc 7 7:990 1:500"},
	{defaultRelease: "o=Vendor", want: "tool 1.1 3~exp:1 2~bpo:100 1.1:990 1:500 0.9:500; gcc 7 7:990 1:500"},
	{defaultRelease: "exp*", want: "tool 3~exp 3~exp:990 2~bpo:100 1.1:500 1:500 0.9:500"},
	{defaultRelease: "/^rc-/", want: "tool 3~exp 3~exp:990 2~bpo:100 1.1:500 1:500 0.9:500"},
	{
		defaultRelease: "stable",
		preferences:    pin("*", "release a=stable", "50"),
		want: "tool 1 3~exp:1 2~bpo:100 1.1:500 1:990 0.9:990; tool-doc 1 1:990; " +
			"libtool2 2.0-1 3.0~bpo:100 3~bpo:100 2.0-1:990; libtool2:i386 2.0-1 2.0-1:990; gcc 1 7:500 1:990; " +
			"blob 1 1:990",
	},
	{
		preferences: pin("*", "release a=experimental", "600"),
		want:        "tool 3~exp 3~exp:600 2~bpo:100 1.1:500 1:500 0.9:500",
	},
	{
		preferences: pin("*", "release a=stable", "-1"),
		want: "tool 1.1 3~exp:1 2~bpo:100 1.1:500 1:-1 0.9:-1; tool-doc (none) 1:-1; " +
			"libtool2 3.0~bpo 3.0~bpo:100 3~bpo:100 2.0-1:-1; libtool2:i386 (none) 2.0-1:-1; gcc 7 7:500 1:-1; " +
			"blob (none) 1:-1",
	},
	{
		preferences: pin("*", "release n=trixie, c=contrib", "700"),
		want:        "tool 0.9 3~exp:1 2~bpo:100 1.1:500 1:500 0.9:700; blob 1 1:700",
	},
	{
		preferences: pin("*", "release o=Debian,l=Debian,a=stable", "700"),
		want: "tool 1 3~exp:1 2~bpo:100 1.1:500 1:700 0.9:700; tool-doc 1 1:700; " +
			"libtool2 2.0-1 3.0~bpo:100 3~bpo:100 2.0-1:700; libtool2:i386 2.0-1 2.0-1:700; gcc 1 7:500 1:700; " +
			"blob 1 1:700",
	},
	{
		preferences: pin("*", "release l=Vendor's own", "10"),
		want:        "tool 1 3~exp:1 2~bpo:100 1.1:10 1:500 0.9:500; gcc 1 7:10 1:500",
	},
	{preferences: pin("*", "release b=i386", "10"), want: "libtool2:i386 2.0-1 2.0-1:10"},
	{
		preferences: pin("*", "release v=13*", "10"),
		want: "tool 1.1 3~exp:1 2~bpo:100 1.1:500 1:10 0.9:10; tool-doc 1 1:10; " +
			"libtool2 3.0~bpo 3.0~bpo:100 3~bpo:100 2.0-1:10; libtool2:i386 2.0-1 2.0-1:10; gcc 7 7:500 1:10; " +
			"blob 1 1:10",
	},
	{
		preferences: pin("*", "release 13*", "10"),
		want: "tool 1.1 3~exp:1 2~bpo:100 1.1:500 1:10 0.9:10; tool-doc 1 1:10; " +
			"libtool2 3.0~bpo 3.0~bpo:100 3~bpo:100 2.0-1:10; libtool2:i386 2.0-1 2.0-1:10; gcc 7 7:500 1:10; " +
			"blob 1 1:10",
	},
	{
		preferences: pin("*", "release trixie", "10"),
		want: "tool 1.1 3~exp:1 2~bpo:100 1.1:500 1:10 0.9:10; tool-doc 1 1:10; " +
			"libtool2 3.0~bpo 3.0~bpo:100 3~bpo:100 2.0-1:10; libtool2:i386 2.0-1 2.0-1:10; gcc 7 7:500 1:10; " +
			"blob 1 1:10",
	},
	{
		preferences: pin("*", "release *", "10"),
		want: "tool 3~exp 3~exp:10 2~bpo:10 1.1:10 1:10 0.9:10; tool-doc 1 1:10; " +
			"libtool2 3.0~bpo 3.0~bpo:10 3~bpo:10 2.0-1:10; libtool2:i386 2.0-1 2.0-1:10; gcc 7 7:10 1:10; " +
			"blob 1 1:10",
	},
	{
		preferences: pin("*", "release N=TRIXIE", "10"),
		want: "tool 1.1 3~exp:1 2~bpo:100 1.1:500 1:10 0.9:10; tool-doc 1 1:10; " +
			"libtool2 3.0~bpo 3.0~bpo:100 3~bpo:100 2.0-1:10; libtool2:i386 2.0-1 2.0-1:10; gcc 7 7:500 1:10; " +
			"blob 1 1:10",
	},
	{
		preferences: pin("*", "release n=/^trixie/", "10"),
		want: "tool 1.1 3~exp:1 2~bpo:10 1.1:500 1:10 0.9:10; tool-doc 1 1:10; " +
			"libtool2 3.0~bpo 3.0~bpo:10 3~bpo:10 2.0-1:10; libtool2:i386 2.0-1 2.0-1:10; gcc 7 7:500 1:10; " +
			"blob 1 1:10",
	},
	{
		preferences: pin("*", "release a=stable,a=weekly", "10"),
		want:        "tool 1 3~exp:1 2~bpo:100 1.1:10 1:500 0.9:500; gcc 1 7:10 1:500",
	},
	{
		preferences: pin("*", `origin ""`, "999"),
		want: "tool 3~exp 3~exp:999 2~bpo:999 1.1:500 1:999 0.9:999; tool-doc 1 1:999; " +
			"libtool2 3.0~bpo 3.0~bpo:999 3~bpo:999 2.0-1:999; libtool2:i386 2.0-1 2.0-1:999; gcc 1 7:500 1:999; " +
			"blob 1 1:999",
	},
	{
		preferences: pin("*", "origin 127.0.0.1", "999"),
		want:        "tool 1.1 3~exp:1 2~bpo:100 1.1:999 1:500 0.9:500; gcc 7 7:999 1:500",
	},
	{
		preferences: pin("*", `origin "127.*"`, "999"),
		want:        "tool 1.1 3~exp:1 2~bpo:100 1.1:999 1:500 0.9:500; gcc 7 7:999 1:500",
	},
	{
		preferences: pin("*", "release a=experimental", "never") + pin("tool", "version 3*", "900"),
		want:        "tool 1.1 3~exp:-32768 2~bpo:100 1.1:500 1:500 0.9:500",
	},
	{
		preferences: pin("*", "release a=stable", "100") + pin("*", "release n=trixie", "900"),
		want: "tool 1.1 3~exp:1 2~bpo:100 1.1:500 1:100 0.9:100; tool-doc 1 1:100; " +
			"libtool2 3.0~bpo 3.0~bpo:100 3~bpo:100 2.0-1:100; libtool2:i386 2.0-1 2.0-1:100; gcc 7 7:500 1:100; " +
			"blob 1 1:100",
	},
	{preferences: pin("tool", "version 1", "1001"), want: "tool 1 3~exp:1 2~bpo:100 1.1:500 1:1001 0.9:500"},
	{preferences: pin("tool", "version 1*", "1001"), want: "tool 1.1 3~exp:1 2~bpo:100 1.1:1001 1:1001 0.9:500"},
	{
		preferences: pin("tool", "version /^[12]/", "1001"),
		want:        "tool 2~bpo 3~exp:1 2~bpo:1001 1.1:1001 1:1001 0.9:500",
	},
	{
		preferences: pin("tool gcc", "release a=weekly", "-10"),
		want:        "tool 1 3~exp:1 2~bpo:100 1.1:-10 1:500 0.9:500; gcc 1 7:-10 1:500",
	},
	{
		preferences: pin("tool*", "release a=stable", "600"),
		want:        "tool 1 3~exp:1 2~bpo:100 1.1:500 1:600 0.9:600; tool-doc 1 1:600",
	},
	{preferences: pin("TOOL", "release a=stable", "600"), want: ""},
	{
		preferences: pin("/ool/", "release a=stable", "600"),
		want: "tool 1 3~exp:1 2~bpo:100 1.1:500 1:600 0.9:600; tool-doc 1 1:600; " +
			"libtool2 2.0-1 3.0~bpo:100 3~bpo:100 2.0-1:600",
	},
	{
		preferences: pin("libtool2", "release a=stable", "600"),
		want:        "libtool2 2.0-1 3.0~bpo:100 3~bpo:100 2.0-1:600",
	},
	{
		preferences: pin("libtool2:any", "release a=stable", "600"),
		want:        "libtool2 2.0-1 3.0~bpo:100 3~bpo:100 2.0-1:600; libtool2:i386 2.0-1 2.0-1:600",
	},
	{preferences: pin("libtool2:i386", "release a=stable", "600"), want: "libtool2:i386 2.0-1 2.0-1:600"},
	{
		preferences: pin("lib*:any", "version *", "600"),
		want:        "libtool2 3.0~bpo 3.0~bpo:600 3~bpo:600 2.0-1:600; libtool2:i386 2.0-1 2.0-1:600",
	},
	{preferences: pin("src:libtool", "version 2*", "600"), want: "libtool2 2.0-1 3.0~bpo:100 3~bpo:100 2.0-1:600"},
	{
		preferences: pin("src:*tool*:any", "version *", "600"),
		want: "tool 3~exp 3~exp:600 2~bpo:600 1.1:600 1:600 0.9:600; tool-doc 1 1:600; " +
			"libtool2 3.0~bpo 3.0~bpo:600 3~bpo:600 2.0-1:600; libtool2:i386 2.0-1 2.0-1:600",
	},
	{
		preferences: pin("src:tool", "release c=main", "600"),
		want:        "tool 3~exp 3~exp:600 2~bpo:600 1.1:600 1:600 0.9:500; tool-doc 1 1:600",
	},
	{
		preferences: pin("tool", "release a=stable", "600") + pin("tool", "version 1", "700"),
		want:        "tool 1 3~exp:1 2~bpo:100 1.1:500 1:600 0.9:600",
	},
	{
		preferences: "# first\nExplanation: why\nPackage: tool\n# second\nPin: version 1\nPin-Priority: 600\n\n# last\n\n\nPackage: gcc\n",
		want:        "tool 1 3~exp:1 2~bpo:100 1.1:500 1:600 0.9:500",
	},
}

// TestPreferences holds what a Universe makes of the pins against the table.
func TestPreferences(t *testing.T) {
	for _, test := range pins {
		got, err := policy(archives(t), test.preferences, test.defaultRelease)
		if difference := changed(got); difference != test.want || err != nil {
			t.Errorf("%s%s: %s (%v), want %s", test.preferences, test.defaultRelease, difference, err, test.want)
		}
	}
}

// TestAptPreferences holds the same table against apt-cache.
func TestAptPreferences(t *testing.T) {
	a := newLocalApt(t)
	for _, test := range pins {
		got, words := a.policy(t, test.preferences, test.defaultRelease)
		if difference := changed(got); difference != test.want {
			t.Errorf("%s%s: apt says %s, the table %s\n%s", test.preferences, test.defaultRelease, difference, test.want, words)
		}
	}
}

// changed returns the lines that are not those of pinned.
func changed(lines []string) string {
	return strings.Join(slices.DeleteFunc(lines, func(line string) bool { return slices.Contains(pinned, line) }), "; ")
}

// pinnedNames are the packages that pinned is about.
func pinnedNames() []string {
	var names []string
	for _, line := range pinned {
		names = append(names, strings.Fields(line)[0])
	}
	return names
}

// policy returns for each package its candidate and then, the newest first, each version with its priority.
func (a *apt) policy(t *testing.T, preferences, defaultRelease string) (lines []string, words string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, "etc/apt/preferences"), []byte(preferences), 0o644); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-o", "APT::Default-Release=" + defaultRelease, "policy"}, pinnedNames()...)
	out, err := a.command("apt-cache", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("apt-cache policy: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		switch {
		case line[0] != ' ':
			lines = append(lines, strings.TrimSuffix(fields[0], ":"))
		case fields[0] == "Candidate:":
			lines[len(lines)-1] += " " + fields[1]
		case strings.HasPrefix(line, "     ") && line[5] != ' ':
			lines[len(lines)-1] += fmt.Sprintf(" %s:%s", fields[0], fields[1])
		}
	}
	return lines, string(out)
}

// policy returns the same from a Universe.
func policy(archives []Archive, preferences, defaultRelease string) (lines []string, err error) {
	p := Policy{DefaultRelease: defaultRelease}
	if p.Preferences, err = ParsePreferences([]byte(preferences)); err != nil {
		return nil, err
	}
	u, err := NewPinnedUniverse("amd64", archives, p)
	if err != nil {
		return nil, err
	}
	s, err := newSolver(u, Request{})
	if err != nil {
		return nil, err
	}
	for _, name := range pinnedNames() {
		_, slot := s.find(name)
		line := name + " (none)"
		if slot.candidate != nil {
			line = name + " " + slot.candidate.Version
		}
		for _, v := range slot.versions {
			line += fmt.Sprintf(" %s:%d", v.Version, u.priority(v))
		}
		lines = append(lines, line)
	}
	return lines, nil
}
