package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/archivetest"
)

// bench is vmbuild with a directory to work in, a cache of its own and archives on loopback. In arguments, files and
// results a word with "$" before it stands for a text that is another one in each run.
type bench struct {
	program
	dir   string
	words map[string]string
}

// newBench sets one up for the caller that may do least.
func newBench(t *testing.T) bench {
	t.Helper()
	return needProgram(t, "build").callers(t)["user"].bench(t)
}

func (p program) bench(t *testing.T) bench {
	t.Helper()
	b := bench{program: p, dir: p.workDir(t)}
	b.cache = filepath.Join(b.dir, "cache")
	owner := fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
	if p.user != nil {
		owner = p.user.Uid + ":" + p.user.Gid
	}
	b.words = map[string]string{"DIR": b.dir, "OWNER": owner}
	return b
}

// serve serves an archive as $NAME; its keyring is the file $NAMEKEY.
func (b bench) serve(t *testing.T, name string, a archivetest.Archive) *archivetest.Server {
	t.Helper()
	site, err := archivetest.New(a)
	if err != nil {
		t.Fatal(err)
	}
	return b.serveSite(t, name, site)
}

func (b bench) serveSite(t *testing.T, name string, site *archivetest.Site) *archivetest.Server {
	t.Helper()
	server := site.Start(t)
	b.words[name] = server.URL
	b.words[name+"KEY"] = filepath.Join(b.dir, name+".gpg")
	b.write(t, map[string]string{name + ".gpg": string(site.Keyring())})
	return server
}

// write makes files of the user's below the directory. What begins with "#!" is a program.
func (b bench) write(t *testing.T, files map[string]string) {
	t.Helper()
	for name, content := range files {
		b.mkdir(t, path.Dir(name))
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(content, "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(b.expand(content)), mode); err != nil {
			t.Fatal(err)
		}
		b.own(t, name)
	}
}

// mkdir makes a directory of the user's, with those above it.
func (b bench) mkdir(t *testing.T, name string) {
	t.Helper()
	if name == "." {
		return
	}
	b.mkdir(t, path.Dir(name))
	if err := os.Mkdir(filepath.Join(b.dir, name), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	b.own(t, name)
}

func (b bench) own(t *testing.T, name string) {
	t.Helper()
	if b.user == nil {
		return
	}
	if err := os.Chown(filepath.Join(b.dir, name), id(t, b.user.Uid), id(t, b.user.Gid)); err != nil {
		t.Fatal(err)
	}
}

// longestFirst are the words in an order in which $URLKEY comes before $URL.
func (b bench) longestFirst() []string {
	return slices.SortedFunc(maps.Keys(b.words), func(x, y string) int { return len(y) - len(x) })
}

func (b bench) expand(text string) string {
	for _, word := range b.longestFirst() {
		text = strings.ReplaceAll(text, "$"+word, b.words[word])
	}
	return text
}

func (b bench) contract(text string) string {
	for _, word := range b.longestFirst() {
		text = strings.ReplaceAll(text, b.words[word], "$"+word)
	}
	return text
}

// request is a command line in its surroundings.
type request struct {
	args  []string
	stdin string
	env   []string
	see   []string // patterns of files: standard output has a tar, of which these are looked at
}

// ran is what a run has printed, or what of the files it has written is to be looked at.
type ran struct {
	Status   int
	Out, Err string
}

func (b bench) do(t *testing.T, r request) ran {
	t.Helper()
	args := make([]string, len(r.args))
	for i, a := range r.args {
		args[i] = b.expand(a)
	}
	cmd := b.command(t.Context(), b.dir, args...)
	cmd.Env = append(cmd.Env, r.env...)
	cmd.Stdin = strings.NewReader(b.expand(r.stdin))
	var out, diagnosis bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diagnosis
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	made := ran{cmd.ProcessState.ExitCode(), out.String(), b.contract(diagnosis.String())}
	if r.see != nil && made.Status == 0 {
		made.Out = listing(t, &out, r.see)
	}
	made.Out = b.contract(made.Out)
	return made
}

// listing is a tar archive's entries that one of the patterns means, one in a line: mode, owner, name, and what is in it.
func listing(t *testing.T, archive io.Reader, patterns []string) string {
	t.Helper()
	var b strings.Builder
	for reader := tar.NewReader(archive); ; {
		h, err := reader.Next()
		if err == io.EOF {
			return b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		name := strings.Trim(strings.TrimPrefix(h.Name, "."), "/")
		if !slices.ContainsFunc(patterns, func(p string) bool { ok, _ := path.Match(p, name); return ok }) {
			continue
		}
		fmt.Fprintf(&b, "%s %d:%d %s", h.FileInfo().Mode(), h.Uid, h.Gid, name)
		switch h.Typeflag {
		case tar.TypeReg:
			content, err := io.ReadAll(reader)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, " %q", content)
		case tar.TypeSymlink, tar.TypeLink:
			fmt.Fprintf(&b, " -> %s", h.Linkname)
		case tar.TypeChar:
			fmt.Fprintf(&b, " %d:%d", h.Devmajor, h.Devminor)
		}
		b.WriteByte('\n')
	}
}

// named is a package with a file that says which one it is.
func named(p archivetest.Package) archivetest.Package {
	p.Files = append([]archivetest.File{{Path: "/opt/" + p.Name, Content: p.Name + " " + or(p.Version, "1")}}, p.Files...)
	return p
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// versioned is a package of a name, a version and dependencies.
func versioned(name, version, depends string) archivetest.Package {
	return named(archivetest.Package{Name: name, Version: version, Depends: depends})
}

// TestBootstrapChoice has debootstrap's defects, and what apt would choose.
func TestBootstrapChoice(t *testing.T) {
	b := newBench(t)
	provider := func(name, version, provides string) archivetest.Package {
		return archivetest.Package{Name: name, Version: version, Provides: provides}
	}
	type packages = []archivetest.Package
	for _, c := range []struct {
		name     string
		packages packages
		args     []string
		want     string // NAME=VERSION…
		err      string // the message after "resolve packages: "
	}{
		{name: "essential packages first, then what is included", packages: packages{
			{Name: "base", Essential: true, Depends: "libbase"}, versioned("libbase", "1", ""), versioned("a", "1", "b"),
			versioned("b", "1", ""), versioned("c", "1", ""),
		}, args: []string{"--include=a"}, want: "libbase=1 base=1 b=1 a=1"},
		{name: "virtual package", packages: packages{versioned("a", "1", "mta"), provider("exim", "1", "mta")},
			want: "exim=1 a=1"},
		{name: "versioned provides", packages: packages{
			versioned("a", "1", "api (>= 2)"), provider("old", "1", "api (= 1)"), provider("new", "1", "api (= 2)"),
		}, want: "new=1 a=1"},
		{name: "unversioned provides do not satisfy a version", packages: packages{
			versioned("a", "1", "api (>= 2)"), provider("new", "2", "api"),
		}, err: `package "a" cannot be installed: a depends on api (>= 2), which nothing provides like that`},
		{name: "second alternative", packages: packages{versioned("a", "1", "none | b"), versioned("b", "1", "")},
			want: "b=1 a=1"},
		{name: "first alternative cannot be installed", packages: packages{
			versioned("a", "1", "broken | b"), versioned("broken", "1", "none"), versioned("b", "1", ""),
		}, want: "b=1 a=1"},
		{name: "several versions in one index", packages: packages{versioned("a", "2", ""), versioned("a", "10", ""),
			versioned("a", "1", "")},
			want: "a=10"},
		{name: "several versions in one index, one with an epoch", packages: packages{versioned("a", "1:1", ""),
			versioned("a", "9", "")},
			want: "a=1:1"},
		{name: "conflict", packages: packages{versioned("a", "1", ""), {Name: "b", Conflicts: "a"}},
			args: []string{"--include=a,b"},
			err:  `package "b" cannot be installed: b conflicts with a, which is requested too`},
		{name: "breaks decide between alternatives", packages: packages{
			versioned("a", "1", "b | c"), {Name: "b", Breaks: "a"}, versioned("c", "1", ""),
		}, want: "c=1 a=1"},
		{name: "version of a dependency", packages: packages{versioned("a", "1", "b (>= 2)"), versioned("b", "1", "")},
			err: `package "a" cannot be installed: a depends on b (>= 2), of which there is only 1`},
		{name: "dependency of a dependency is missing", packages: packages{versioned("a", "1", "b"), versioned("b", "1",
			"none (>= 2)")},
			err: `package "a" cannot be installed: a depends on b, which depends on none (>= 2), which is in none of the archives`},
		{name: "unknown package", packages: packages{versioned("vim", "1", "")}, args: []string{"--include=vi"},
			err: `there is no package "vi"; the nearest names are vim`},
		{name: "recommends are left out", packages: packages{{Name: "a", Recommends: "b"}, versioned("b", "1", "")},
			want: "a=1"},
		{name: "recommends", packages: packages{{Name: "a", Recommends: "b"}, versioned("b", "1", "")},
			args: []string{"--include=a", "--recommends"}, want: "a=1 b=1"},
		{name: "recommends, says apt.conf", packages: packages{{Name: "a", Recommends: "b"}, versioned("b", "1", "")},
			args: []string{"--include=a", `--aptopt=APT::Install-Recommends "true"`}, want: "a=1 b=1"},

		{name: "names with commas, blanks and nothing between them",
			packages: packages{versioned("a", "1", ""), versioned("b", "1", ""), versioned("c", "1", "")},
			args:     []string{"--include=c,, b\t", "--include=,a"}, want: "c=1 b=1 a=1"},
		{name: "version", packages: packages{versioned("a", "1", ""), versioned("a", "2", "")},
			args: []string{"--include=a=1"}, want: "a=1"},
		{name: "version that is not there", packages: packages{versioned("a", "1", ""), versioned("a", "2", "")},
			args: []string{"--include=a=3"}, err: `package "a" has no version 3, only 2, 1`},
		{name: "suite", packages: packages{versioned("a", "1", "")}, args: []string{"--include=a/trixie"}, want: "a=1"},
		{name: "suite that is not there", packages: packages{versioned("a", "1", "")}, args: []string{"--include=a/sid"},
			err: `package "a" is not in suite "sid", only in versions 1`},
		{name: "glob", packages: packages{versioned("lib1", "1", ""), versioned("lib2", "1", ""), versioned("a", "1", "")},
			args: []string{"--include=lib*"}, want: "lib1=1 lib2=1"},
		{name: "pattern is one item", packages: packages{versioned("a", "1", ""), versioned("ab", "1", ""),
			versioned("b", "1", "")},
			args: []string{"--include=?and(?name(^a), ?not(?name(b)))"}, want: "a=1"},
		{name: "short pattern", packages: packages{versioned("a", "1", ""), {Name: "b", Section: "games"}},
			args: []string{"--include=~sgames"}, want: "b=1"},
		{name: "minus", packages: packages{versioned("a", "1", "b | c"), versioned("b", "1", ""), versioned("c", "1", "")},
			args: []string{"--include=a,b-"}, want: "c=1 a=1"},
		{name: "exclude", packages: packages{versioned("a", "1", "b | c"), versioned("b", "1", ""), versioned("c", "1", "")},
			args: []string{"--include=a", "--exclude=b,x"}, want: "c=1 a=1"},
		{name: "exclude what is needed", packages: packages{versioned("a", "1", "b"), versioned("b", "1", "")},
			args: []string{"--include=a", "--exclude=b"},
			err:  `package "a" cannot be installed: a depends on b, which is excluded`},

		{name: "component is not asked for", packages: packages{versioned("a", "1", ""), {Name: "b", Component: "contrib"}},
			args: []string{"--include=b"}, err: `there is no package "b"; the nearest names are a`},
		{name: "components", packages: packages{versioned("a", "1", ""), {Name: "b", Component: "contrib"}},
			args: []string{"--include=b", "--components=main contrib,main"}, want: "b=1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.serve(t, "URL", archivetest.Archive{Packages: c.packages})
			if c.args == nil {
				c.args = []string{"--include=a"}
			}
			args := append([]string{"bootstrap", "--simulate", "--variant=essential", "--architectures=amd64",
				"--keyring=$URLKEY"}, c.args...)
			want := ran{Out: installs(c.want)}
			if c.err != "" {
				want = ran{Status: 1, Err: "vmbuild: resolve packages: " + c.err + "\n"}
			}
			got := b.do(t, request{args: append(args, "-q", "trixie", "-", "$URL")})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// installs is what --simulate prints of packages, given as NAME=VERSION or NAME=VERSION/SUITE.
func installs(packages string) string {
	var b strings.Builder
	for _, p := range strings.Fields(packages) {
		name, version, _ := strings.Cut(p, "=")
		version, suite, _ := strings.Cut(version, "/")
		fmt.Fprintf(&b, "Inst %s (%s %s [amd64])\n", name, version, or(suite, "trixie"))
	}
	return b.String()
}

// TestBootstrapVariants has the packages of each variant, where the archive has one of each kind.
func TestBootstrapVariants(t *testing.T) {
	b := newBench(t)
	var packages []archivetest.Package
	for _, priority := range []string{"required", "important", "standard", "optional"} {
		packages = append(packages, archivetest.Package{Name: priority, Priority: priority})
	}
	packages = append(packages, archivetest.Package{Name: "base", Essential: true, Priority: "required"},
		versioned("apt", "1", ""),
		versioned("build-essential", "1", ""), versioned("x", "1", ""), versioned("dpkg", "1", ""))
	b.serve(t, "URL", archivetest.Archive{Packages: packages})
	for variant, want := range map[string]string{
		"extract":     "dpkg=1 x=1",
		"custom":      "dpkg=1 x=1",
		"essential":   "base=1 dpkg=1 x=1",
		"apt":         "base=1 dpkg=1 x=1 apt=1",
		"required":    "base=1 dpkg=1 x=1 apt=1 required=1",
		"minbase":     "base=1 dpkg=1 x=1 apt=1 required=1",
		"buildd":      "base=1 dpkg=1 x=1 apt=1 build-essential=1",
		"important":   "base=1 dpkg=1 x=1 apt=1 required=1 important=1",
		"debootstrap": "base=1 dpkg=1 x=1 apt=1 required=1 important=1",
		"-":           "base=1 dpkg=1 x=1 apt=1 required=1 important=1",
		"standard":    "base=1 dpkg=1 x=1 apt=1 required=1 important=1 standard=1",
	} {
		got := b.do(t, request{args: []string{"bootstrap", "-q", "--simulate", "--include=dpkg,x", "--variant=" + variant,
			"--architectures=amd64", "--keyring=$URLKEY", "trixie", "-", "$URL"}})
		if diff := cmp.Diff(ran{Out: installs(want)}, got); diff != "" {
			t.Errorf("%s:\n%s", variant, diff)
		}
	}
}

// TestBootstrapSuites has several archives at once: the newest version wins, unless pins say something else.
func TestBootstrapSuites(t *testing.T) {
	b := newBench(t)
	b.serve(t, "ONE", archivetest.Archive{Packages: []archivetest.Package{versioned("a", "1", ""), versioned("b", "3", "")}})
	b.serve(t, "TWO", archivetest.Archive{Codename: "sid", Suite: "unstable",
		Packages: []archivetest.Package{versioned("a", "2", "c"), versioned("b", "2", ""), versioned("c", "2", "")}})
	pin := "#!/bin/sh\nprintf 'Package: *\\nPin: release n=sid\\nPin-Priority: 1001\\n' >$1/etc/apt/preferences.d/pin\n"
	b.write(t, map[string]string{
		"keys/one.gpg": string(readFile(t, b.words["ONEKEY"])),
		"keys/two.gpg": string(readFile(t, b.words["TWOKEY"])),
		"pin":          pin,
	})
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"newest":          {want: "c=2/sid a=2/sid b=3"},
		"default release": {args: []string{`--aptopt=APT::Default-Release "trixie"`}, want: "a=1 b=3"},
		"suite of a name": {args: []string{"--include=b/unstable"}, want: "c=2/sid a=2/sid b=2/sid"},
	} {
		args := append([]string{"bootstrap", "-q", "--simulate", "--variant=essential", "--include=a,b",
			"--architectures=amd64",
			"--keyring=keys"}, c.args...)
		got := b.do(t, request{args: append(args, "trixie", "-", "$ONE", "deb $TWO sid main")})
		if diff := cmp.Diff(ran{Out: installs(c.want)}, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
	got := b.do(t, request{args: []string{"bootstrap", "-q", "--variant=extract", "--include=a,b", "--architectures=amd64",
		"--keyring=keys", "--setup-hook=$DIR/pin", "trixie", "-", "$ONE", "deb $TWO sid main"}, see: []string{"opt/*"}})
	want := "-rw-r--r-- 0:0 opt/a \"a 2\"\n-rw-r--r-- 0:0 opt/b \"b 2\"\n-rw-r--r-- 0:0 opt/c \"c 2\"\n"
	if diff := cmp.Diff(ran{Out: want}, got); diff != "" {
		t.Errorf("pins of a setup hook:\n%s", diff)
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
