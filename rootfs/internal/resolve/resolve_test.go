package resolve

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/internal/control"
)

// archive makes an archive of stanzas; Version and Architecture are "1" and "amd64" where they are left out.
func archive(t *testing.T, stanzas string) Archive {
	t.Helper()
	packages, err := control.ParseIndex([]byte(complete(t, stanzas)))
	if err != nil {
		t.Fatal(err)
	}
	return Archive{Packages: packages, Suite: "stable", Codename: "trixie"}
}

// complete adds to stanzas what they leave out, and what makes them installable for apt.
func complete(t *testing.T, stanzas string) string {
	t.Helper()
	var b strings.Builder
	for p, err := range control.Paragraphs([]byte(stanzas)) {
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range p.Fields() {
			fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
		}
		for name, value := range map[string]string{"Version": "1", "Architecture": "amd64"} {
			if p.Get(name) == "" {
				fmt.Fprintf(&b, "%s: %s\n", name, value)
			}
		}
		sum := sha256.Sum256([]byte(p.Get("Package") + p.Get("Version") + p.Get("Architecture")))
		fmt.Fprintf(&b, "Filename: pool/%s.deb\nSize: 1\nSHA256: %x\n\n", p.Get("Package"), sum)
	}
	return b.String()
}

// show lists choices as words: name, :arch if it is foreign, =version if it is not 1, + if it is not automatic.
func show(choices []Choice) string {
	var words []string
	for _, c := range choices {
		word := c.Name
		if c.Architecture != "amd64" && c.Architecture != "all" {
			word += ":" + c.Architecture
		}
		if c.Version != "1" {
			word += "=" + c.Version
		}
		if !c.Auto {
			word += "+"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

var rules = []struct {
	name      string
	archive   string
	request   Request
	installed string // names, separated by blanks
	want      string // see show
	err       string
}{
	{
		name:    "dependencies come first, each once",
		archive: "Package: a\nDepends: b, c\n\nPackage: b\nDepends: c\nPre-Depends: d\n\nPackage: c\n\nPackage: d\n",
		request: Request{Packages: []string{"a", "a"}},
		want:    "d c b a+",
	},
	{
		name:    "a cycle",
		archive: "Package: a\nDepends: b\n\nPackage: b\nDepends: c\n\nPackage: c\nDepends: a\n",
		request: Request{Packages: []string{"b"}},
		want:    "a c b+",
	},
	{
		name:    "the first alternative",
		archive: "Package: a\nDepends: b | c\n\nPackage: b\n\nPackage: c\n",
		request: Request{Packages: []string{"a"}},
		want:    "b a+",
	},
	{
		name:    "an alternative that is requested, in whatever order",
		archive: "Package: a\nDepends: b | c\n\nPackage: b\n\nPackage: c\n",
		request: Request{Packages: []string{"a", "c"}},
		want:    "c+ a+",
	},
	{
		name:      "an alternative that is installed",
		archive:   "Package: a\nDepends: b | c\n\nPackage: b\n\nPackage: c\n",
		request:   Request{Packages: []string{"a"}},
		installed: "c",
		want:      "a+",
	},
	{
		name:    "an alternative that is not there, or too old",
		archive: "Package: a\nDepends: b | c (>= 2) | d\n\nPackage: c\n\nPackage: d\n",
		request: Request{Packages: []string{"a"}},
		want:    "d a+",
	},
	{
		name:    "an alternative whose dependencies are missing",
		archive: "Package: a\nDepends: b | d\n\nPackage: b\nDepends: x, y\n\nPackage: x\n\nPackage: d\n",
		request: Request{Packages: []string{"a"}},
		want:    "d a+",
	},
	{
		name: "what an alternative brought before it failed is not left over",
		archive: "Package: a\nDepends: b | d\n\nPackage: b\nDepends: x, y\n\nPackage: x\n\nPackage: y\nDepends: z\n\n" +
			"Package: z\nConflicts: a\n\nPackage: d\n",
		request: Request{Packages: []string{"a"}},
		want:    "d a+",
	},
	{
		name:    "an alternative that conflicts with the request",
		archive: "Package: a\nDepends: b | c\n\nPackage: b\nConflicts: d\n\nPackage: c\n\nPackage: d\n",
		request: Request{Packages: []string{"a", "d"}},
		want:    "c a+ d+",
	},
	{
		name:    "an alternative that the request breaks",
		archive: "Package: a\nDepends: b | c\nBreaks: b (<< 2)\n\nPackage: b\n\nPackage: c\n",
		request: Request{Packages: []string{"a"}},
		want:    "c a+",
	},
	{
		name:    "a conflict with other versions is none",
		archive: "Package: a\nDepends: b\nConflicts: b (>= 2)\nBreaks: b (<< 1)\n\nPackage: b\n",
		request: Request{Packages: []string{"a"}},
		want:    "b a+",
	},
	{
		name:    "the package of the name before those that provide it",
		archive: "Package: a\nDepends: mta\n\nPackage: b\nProvides: mta\nPriority: required\n\nPackage: mta\nPriority: optional\n",
		request: Request{Packages: []string{"a"}},
		want:    "mta a+",
	},
	{
		name: "of providers the essential one, then the highest priority, then the last mentioned",
		archive: "Package: a\nDepends: one, two, three\n\n" +
			"Package: b\nProvides: one\nPriority: required\n\nPackage: c\nProvides: one\nEssential: yes\nPriority: optional\n\n" +
			"Package: d\nProvides: two\nPriority: optional\n\nPackage: e\nProvides: two\nPriority: standard\n\n" +
			"Package: f\nProvides: three\nPriority: optional\n\nPackage: g\nProvides: three\nPriority: optional\n",
		request: Request{Packages: []string{"a"}},
		want:    "c e g a+",
	},
	{
		name:    "mentioned in a relation counts",
		archive: "Package: z\nSuggests: c\n\nPackage: a\nDepends: v\n\nPackage: b\nProvides: v\n\nPackage: c\nProvides: v\n",
		request: Request{Packages: []string{"a"}},
		want:    "b a+",
	},
	{
		name:    "a Provides without a version satisfies no versioned dependency",
		archive: "Package: a\nDepends: v (>= 1)\n\nPackage: b\nProvides: v\n\nPackage: c\nProvides: v (= 0.9)\n\nPackage: d\nProvides: v (= 1)\n",
		request: Request{Packages: []string{"a"}},
		want:    "d a+",
	},
	{
		name:    "a package may conflict with what it provides itself",
		archive: "Package: a\nProvides: mta\nConflicts: mta\n\nPackage: b\nDepends: mta\n",
		request: Request{Packages: []string{"b"}},
		want:    "a b+",
	},
	{
		name:    "two that conflict with what they both provide",
		archive: "Package: a\nProvides: mta\nConflicts: mta\n\nPackage: b\nProvides: mta\nConflicts: mta\n",
		request: Request{Packages: []string{"a", "b"}},
		err:     `resolve packages: package "a" cannot be installed: a conflicts with b, which is requested too`,
	},
	{
		name:    "Recommends are not followed",
		archive: "Package: a\nRecommends: b\n\nPackage: b\n",
		request: Request{Packages: []string{"a"}},
		want:    "a+",
	},
	{
		name:    "Recommends are followed when asked, Suggests never",
		archive: "Package: a\nRecommends: b, missing\nSuggests: c\n\nPackage: b\nRecommends: d\n\nPackage: c\n\nPackage: d\n",
		request: Request{Packages: []string{"a"}, Recommends: true},
		want:    "a+ b d",
	},
	{
		name:      "Recommends of what is installed are not followed",
		archive:   "Package: a\nRecommends: b\n\nPackage: b\n\nPackage: c\nDepends: a\n",
		request:   Request{Packages: []string{"c"}, Recommends: true},
		installed: "a",
		want:      "c+",
	},
	{
		name:    "a Recommends gives way to a conflict",
		archive: "Package: a\nRecommends: b\n\nPackage: b\n\nPackage: c\nConflicts: b\n",
		request: Request{Packages: []string{"a", "c"}, Recommends: true},
		want:    "a+ c+",
	},
	{
		name:    "excluded",
		archive: "Package: a\nDepends: b | c | d\n\nPackage: b\n\nPackage: c\n\nPackage: d\n",
		request: Request{Packages: []string{"a", "b-"}, Exclude: []string{"c", "unknown"}},
		want:    "d a+",
	},
	{
		name:    "excluded but needed",
		archive: "Package: a\nDepends: b\n\nPackage: b\n",
		request: Request{Packages: []string{"a", "b-"}},
		err:     `resolve packages: package "a" cannot be installed: a depends on b, which is excluded`,
	},
	{
		name: "omitted: not requested, but a dependency brings it",
		archive: "Package: a\nPriority: required\nDepends: b\n\nPackage: b\nPriority: required\n\n" +
			"Package: c\nPriority: required\n\nPackage: d\nPriority: required\n",
		request: Request{Packages: []string{"d"}, Priorities: []string{"required"}, Omit: []string{"b", "[cd]", "unknown"}},
		want:    "b a+",
	},
	{
		name:    "a name that ends in a hyphen is a name",
		archive: "Package: a-\n\nPackage: a\n",
		request: Request{Packages: []string{"a-"}},
		want:    "a-+",
	},
	{
		name: "Essential and Priorities",
		archive: "Package: a\nEssential: yes\nDepends: b\nPriority: required\n\nPackage: b\nPriority: optional\n\n" +
			"Package: c\nPriority: required\n\nPackage: d\nPriority: important\n\nPackage: e\nPriority: standard\n\n" +
			"Package: f\nArchitecture: i386\nPriority: required\nEssential: yes\n",
		request: Request{Essential: true, Priorities: []string{"required", "important"}},
		want:    "b a+ c+ d+",
	},
	{
		name: "on top of the essential packages",
		archive: "Package: a\nEssential: yes\nDepends: b\nPriority: required\n\nPackage: b\nPriority: optional\n\n" +
			"Package: c\nPriority: required\nDepends: b, d\n\nPackage: d\n",
		request:   Request{Packages: []string{"d"}, Priorities: []string{"required"}},
		installed: "a b",
		want:      "d+ c+",
	},
	{
		name:      "a conflict with what is installed",
		archive:   "Package: a\nDepends: b\n\nPackage: b\nConflicts: c\n\nPackage: c\n",
		request:   Request{Packages: []string{"a"}},
		installed: "c",
		err:       `resolve packages: package "a" cannot be installed: a depends on b, which conflicts with c, which is installed`,
	},
	{
		name:    "a virtual package with one provider",
		archive: "Package: a\nProvides: v\n\nPackage: b\n",
		request: Request{Packages: []string{"v", "b"}},
		want:    "a+ b+",
	},
	{
		name:    "a virtual package of which a provider is requested",
		archive: "Package: a\nProvides: v\n\nPackage: b\nProvides: v\n",
		request: Request{Packages: []string{"v", "b"}},
		want:    "b+",
	},
	{
		name:      "a virtual package of which a provider is installed",
		archive:   "Package: a\nProvides: v\n\nPackage: b\nProvides: v\n",
		request:   Request{Packages: []string{"v", "b"}},
		installed: "b",
	},
	{
		name:    "a virtual package with a provider of higher priority",
		archive: "Package: gawk\nProvides: awk\nPriority: optional\n\nPackage: mawk\nProvides: awk\nPriority: required\n",
		request: Request{Packages: []string{"awk"}},
		want:    "mawk+",
	},
	{
		name:    "a virtual package with providers alike",
		archive: "Package: b\nProvides: v\nPriority: optional\n\nPackage: a\nProvides: v\nPriority: optional\n",
		request: Request{Packages: []string{"v"}},
		err:     `resolve packages: package "v" cannot be installed: it is a virtual package; name one that provides it: a, b`,
	},
	{
		name:    "an unknown package",
		archive: "Package: vim\n\nPackage: vim-nox\n\nPackage: nvi\n\nPackage: emacs\n",
		request: Request{Packages: []string{"vi"}},
		err:     `resolve packages: there is no package "vi"; the nearest names are nvi, vim`,
	},
	{
		name:    "an unknown package with nothing near",
		archive: "Package: vim\n",
		request: Request{Packages: []string{"emacs"}},
		err:     `resolve packages: there is no package "emacs"`,
	},
	{
		name: "the chain to what is missing",
		archive: "Package: vim\nVersion: 2:9.1\nDepends: vim-runtime (= 2:9.1)\n\nPackage: vim-runtime\nVersion: 2:9.1\n" +
			"Pre-Depends: libx (>= 2)\n\nPackage: libx\nVersion: 1.0\n",
		request: Request{Packages: []string{"vim"}},
		err: `resolve packages: package "vim" cannot be installed: vim depends on vim-runtime (= 2:9.1), ` +
			`which pre-depends on libx (>= 2), of which there is only 1.0`,
	},
	{
		name:    "the chain through alternatives",
		archive: "Package: a\nDepends: b | c\n\nPackage: b\nDepends: x\n",
		request: Request{Packages: []string{"a"}},
		err:     `resolve packages: package "a" cannot be installed: a depends on b | c; b depends on x, which is in none of the archives`,
	},
	{
		name:    "alternatives of which there is none",
		archive: "Package: a\nDepends: b | c\n",
		request: Request{Packages: []string{"a"}},
		err:     `resolve packages: package "a" cannot be installed: a depends on b | c, none of which can be installed`,
	},
	{
		name:    "a relation field that cannot be parsed",
		archive: "Package: a\nDepends: b (\n\nPackage: b\n",
		request: Request{Packages: []string{"a"}},
		err:     `resolve packages: package "a" cannot be installed: a depends on b (, which is in none of the archives`,
	},
	{
		name: "a contradiction that only going back solves",
		archive: "Package: a\nDepends: b | c, d\n\nPackage: b\n\nPackage: c\n\nPackage: d\nDepends: e\n\n" +
			"Package: e\nConflicts: b\n",
		request: Request{Packages: []string{"a"}},
		want:    "c e d a+",
	},
	{
		name:    "a dependency of the native architecture only",
		archive: "Package: a\nDepends: b\n\nPackage: b\nArchitecture: i386\n",
		request: Request{Packages: []string{"a"}},
		err:     `resolve packages: package "a" cannot be installed: a depends on b, of which there is only 1 for i386`,
	},
	{
		name: "Multi-Arch: foreign, allowed and same",
		archive: "Package: a\nDepends: b, c:any, d:i386\n\nPackage: b\nArchitecture: i386\nMulti-Arch: foreign\n\n" +
			"Package: c\nArchitecture: i386\nMulti-Arch: allowed\n\n" +
			"Package: d\nMulti-Arch: same\n\nPackage: d\nArchitecture: i386\nMulti-Arch: same\nDepends: e\n\n" +
			"Package: e\nArchitecture: all\nMulti-Arch: foreign\n",
		request: Request{Packages: []string{"a", "d"}},
		want:    "b:i386 c:i386 e d:i386 a+ d+",
	},
	{
		name:    "without Multi-Arch: allowed there is no :any",
		archive: "Package: a\nDepends: c:any\n\nPackage: c\n",
		request: Request{Packages: []string{"a"}},
		err:     `resolve packages: package "a" cannot be installed: a depends on c:any, of which there is only 1 without Multi-Arch: allowed`,
	},
	{
		name:    "one architecture at a time",
		archive: "Package: a\n\nPackage: a\nArchitecture: i386\n",
		request: Request{Packages: []string{"a", "a:i386"}},
		err:     `resolve packages: package "a" cannot be installed: a conflicts with a:i386, which is requested too`,
	},
}

func TestRules(t *testing.T) {
	for _, test := range rules {
		t.Run(test.name, func(t *testing.T) {
			a := archive(t, test.archive)
			for _, p := range a.Packages {
				if slices.Contains(strings.Fields(test.installed), p.Name) {
					test.request.Installed = append(test.request.Installed, Choice{Package: &p})
				}
			}
			got, err := NewUniverse("amd64", []Archive{a}).Resolve(test.request)
			message := ""
			if err != nil {
				message = err.Error()
			}
			if diff := cmp.Diff([]string{test.want, test.err}, []string{show(got), message}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestArchives covers what several archives, pins and requests for versions mean.
func TestArchives(t *testing.T) {
	stable := archive(t, "Package: a\nVersion: 1\nDepends: b\n\nPackage: b\nVersion: 1\n\nPackage: c\nVersion: 3\n")
	updates := archive(t, "Package: b\nVersion: 1.1\n\nPackage: c\nVersion: 2\n")
	updates.Suite, updates.Codename = "stable-updates", "trixie-updates"
	backports := archive(t, "Package: a\nVersion: 2\nDepends: b (>= 2)\n\nPackage: b\nVersion: 2\n\nPackage: d\n")
	backports.Suite, backports.Codename, backports.Priority = "stable-backports", "trixie-backports", 100
	hidden := archive(t, "Package: a\nVersion: 9\n\nPackage: e\n")
	hidden.Suite, hidden.Codename, hidden.Priority = "experimental", "rc-buggy", -1
	u := NewUniverse("amd64", []Archive{stable, updates, backports, hidden})
	for _, test := range []struct {
		packages, want, err string
	}{
		{packages: "a c d", want: "b=1.1@1 a+@0 c=3+@0 d+@2"},
		{packages: "a/trixie-backports", want: "b=2@2 a=2+@2"},
		{packages: "a/stable-backports c", want: "b=2@2 a=2+@2 c=3+@0"},
		{packages: "b=1 c=2", want: "b+@0 c=2+@1"},
		{packages: "a=9", want: "a=9+@3"},
		{packages: "a/rc-buggy", want: "a=9+@3"},
		{packages: "a=7", err: `resolve packages: package "a" has no version 7, only 9, 2, 1`},
		{packages: "c/sid", err: `resolve packages: package "c" is not in suite "sid", only in versions 3, 2`},
		{packages: "a=2", err: `resolve packages: package "a" cannot be installed: a depends on b (>= 2), but b 1.1 is to be installed, not 2`},
		{packages: "e", err: `resolve packages: package "e" cannot be installed: it is pinned below 0 in all archives that have it`},
	} {
		got, err := u.Resolve(Request{Packages: strings.Fields(test.packages)})
		var words []string
		for i, word := range strings.Fields(show(got)) {
			words = append(words, fmt.Sprintf("%s@%d", word, got[i].Archive))
		}
		message := ""
		if err != nil {
			message = err.Error()
		}
		if diff := cmp.Diff([]string{test.want, test.err}, []string{strings.Join(words, " "), message}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.packages, diff)
		}
	}
}

func TestErrorTypes(t *testing.T) {
	u := NewUniverse("amd64", []Archive{archive(t, "Package: a\nDepends: b\n")})
	var unknown *UnknownPackageError
	if _, err := u.Resolve(Request{Packages: []string{"b"}}); !errors.As(err, &unknown) {
		t.Errorf("%v is no UnknownPackageError", err)
	} else if diff := cmp.Diff(&UnknownPackageError{Name: "b", Nearest: []string{"a"}}, unknown); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var unsatisfiable *UnsatisfiableError
	if _, err := u.Resolve(Request{Packages: []string{"a"}}); !errors.As(err, &unsatisfiable) {
		t.Errorf("%v is no UnsatisfiableError", err)
	}
}
