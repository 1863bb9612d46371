package multistrap

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// files are configuration files by name.
type files map[string]string

func (f files) read(name string) ([]byte, error) {
	text, ok := f[filepath.Clean(name)]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}

// minimal is a configuration that is complete.
const minimal = "[General]\nbootstrap=debian\n[Debian]\nsource=http://m\nsuite=s\n"

// changed is what minimal says, and more.
func changed(change func(*Config)) *Config {
	c := &Config{Files: []string{"a.conf"}, Bootstrap: []string{"debian"},
		Sections: []Section{{Name: "debian", Source: "http://m", Suite: "s"}}}
	change(c)
	return c
}

// setting is a piece of a configuration and what it changes.
type setting struct {
	text   string
	change func(*Config)
}

func nothing(*Config) {}

// TestGeneral has a row for each key of [General].
func TestGeneral(t *testing.T) {
	for _, s := range []setting{
		{"", nothing},
		{"arch=armhf", func(c *Config) { c.Arch = "armhf" }},
		{"directory=a=b c", func(c *Config) { c.Directory = "a=b c" }},
		{"tarballname=x.tgz", func(c *Config) { c.Tarball = "x.tgz" }},
		{"configscript=c", func(c *Config) { c.ConfigScript = "c" }},
		{"setupscript=s", func(c *Config) { c.SetupScript = "s" }},
		{"aptpreferences=p", func(c *Config) { c.Preferences = "p" }},
		{"retainsources=r", func(c *Config) { c.RetainSources = "r" }},
		{"aptdefaultrelease=testing", func(c *Config) { c.DefaultRelease = "testing" }},
		{"multiarch=amd64 armhf", func(c *Config) { c.MultiArch = []string{"amd64", "armhf"} }},
		{"debconfseed=a  b", func(c *Config) { c.DebconfSeeds = []string{"a", "b"} }},
		{"hookdir=h1\th2", func(c *Config) { c.HookDirs = []string{"h1", "h2"} }},
		{"debootstrap=DEBIAN\naptsources=debian Debian", func(c *Config) { c.AptSources = []string{"debian"} }},
		{"omitrequired=TRUE", func(c *Config) { c.OmitRequired = true }},
		{"addimportant=True", func(c *Config) { c.AddImportant = true }},
		{"markauto=tRUE", func(c *Config) { c.MarkAuto = true }},
		{"ignorenativearch=true", func(c *Config) { c.IgnoreNative = true }},
		{"omitrequired=yes\naddimportant=1\nmarkauto=false\nignorenativearch=", nothing},
		{"omitpreinst=true", func(c *Config) { c.OmitPreinst = true }},
		{"cleanup=true \t", func(c *Config) { c.Cleanup = true }},
		{"noauth=true", func(c *Config) { c.NoAuth = true }},
		{"explicitsuite=true", func(c *Config) { c.ExplicitSuite = true }},
		{"allowrecommends=true", func(c *Config) { c.AllowRecommends = true }},
		{"omitpreinst=True\ncleanup=TRUE\nnoauth=yes\nexplicitsuite=1\nallowrecommends=True", nothing},
		{"unpack=true\nforceunpack=TRUE", nothing},
		{"unpack=True", func(c *Config) { c.NoUnpack = true }},
		{"unpack=", func(c *Config) { c.NoUnpack = true }},
		{"forceunpack=False\nunpack=true", func(c *Config) { c.NoUnpack = true }},
		{"arch=<<END\n armhf\nEND", func(c *Config) { c.Arch = "armhf" }},
		{"Arch=armhf\nfoo=x\nfoo=y", func(c *Config) {
			c.Warnings = []string{
				"a.conf:2: Arch is ignored: keys are in lower case (arch)",
				"a.conf:3: foo is not a key of [general]: it is ignored",
				"a.conf:4: foo is not a key of [general]: it is ignored",
			}
		}},
	} {
		got, err := Parse("a.conf", files{"a.conf": general(s.text)}.read)
		if diff := cmp.Diff(changed(s.change), got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", s.text, err, diff)
		}
	}
}

// general is minimal with more in [General].
func general(text string) string {
	return strings.Replace(minimal, "[General]\n", "[General]\n"+text+"\n", 1)
}

// TestSections has a row for each key of another section.
func TestSections(t *testing.T) {
	const multiArch = "[general]\nmultiarch=armhf\n[debian]\n"
	for _, s := range []setting{
		{"components=main contrib", func(c *Config) { c.Sections[0].Components = "main contrib" }},
		{"keyring=k", func(c *Config) { c.Sections[0].Keyring = "k" }},
		{"omitdebsrc=true", func(c *Config) { c.Sections[0].OmitSource = true }},
		{"omitdebsrc=True", nothing},
		{"additional=x y", func(c *Config) { c.Sections[0].Additional = []string{"x", "y"} }},
		{"reinstall=z", func(c *Config) { c.Sections[0].Reinstall = []string{"z"} }},
		{"packages=a\npackages=b  c", func(c *Config) { c.Sections[0].Packages = []string{"a", "b", "c"} }},
		{"packages=<<END\na\n b\nEND", func(c *Config) { c.Sections[0].Packages = []string{"a", "b"} }},
		{multiArch + "architecture=armhf", func(c *Config) {
			c.MultiArch, c.Sections[0].Architecture = []string{"armhf"}, "armhf"
		}},
		{"[Other]\npackages=a", func(c *Config) {
			c.Sections = append(c.Sections, Section{Name: "other", Packages: []string{"a"}})
		}},
		{"[flat]\nsource=[trusted=yes] http://f ./\n[general]\naptsources=flat", func(c *Config) {
			c.AptSources = []string{"flat"}
			c.Sections = append(c.Sections, Section{Name: "flat", Source: "[trusted=yes] http://f ./"})
		}},
		{"arch=armhf\nPackages=x", func(c *Config) {
			c.Warnings = []string{
				"a.conf:6: arch is not a key of [debian]: it is ignored",
				"a.conf:7: Packages is ignored: keys are in lower case (packages)",
			}
		}},
	} {
		got, err := Parse("a.conf", files{"a.conf": minimal + s.text}.read)
		if diff := cmp.Diff(changed(s.change), got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", s.text, err, diff)
		}
	}
}

// TestLayout are ways to write one and the same file.
func TestLayout(t *testing.T) {
	for _, text := range []string{
		minimal,
		"\ufeff" + strings.ReplaceAll(minimal, "\n", "\r\n"),
		strings.ReplaceAll(minimal, "\n", "\r"),
		strings.ReplaceAll(minimal, "\n", "\n\n  # x = [y]\n\t; z\n"),
		"[ GENERAL ] \n bootstrap = Debian \n [DEBIAN]\n\tsource\t=\thttp://m \nsuite=s",
		"[general]\n[debian]\nsource=http://m\n[General]\nbootstrap=debian\n[debian]\nsuite=s",
	} {
		got, err := Parse("a.conf", files{"a.conf": text}.read)
		if diff := cmp.Diff(changed(nothing), got); diff != "" || err != nil {
			t.Errorf("%q: %v\n%s", text, err, diff)
		}
	}
}

// TestCascade has a row for each way in which an included file adds to [General].
func TestCascade(t *testing.T) {
	for _, c := range []struct {
		first, second string
		change        func(*Config)
	}{
		{"arch=a", "arch=b", func(c *Config) { c.Arch = "a" }},
		{"", "arch=b", func(c *Config) { c.Arch = "b" }},
		{"directory=a", "directory=b", func(c *Config) { c.Directory = "a" }},
		{"tarballname=a", "tarballname=b", func(c *Config) { c.Tarball = "a" }},
		{"configscript=a", "configscript=b", func(c *Config) { c.ConfigScript = "a" }},
		{"setupscript=a", "setupscript=b", func(c *Config) { c.SetupScript = "a" }},
		{"aptpreferences=a", "aptpreferences=b", func(c *Config) { c.Preferences = "a" }},
		{"aptdefaultrelease=a", "aptdefaultrelease=b", func(c *Config) { c.DefaultRelease = "b" }},
		{"retainsources=a", "retainsources=b", func(c *Config) { c.RetainSources = "b" }},
		{"aptsources=debian", "bootstrap=debian", func(c *Config) { c.AptSources = []string{"debian"} }},
		{"multiarch=a", "multiarch=b", func(c *Config) { c.MultiArch = []string{"a", "b"} }},
		{"debconfseed=a", "debconfseed=b", func(c *Config) { c.DebconfSeeds = []string{"a", "b"} }},
		{"hookdir=a", "hookdir=b", func(c *Config) { c.HookDirs = []string{"a", "b"} }},
		{"omitrequired=true", "omitrequired=false", func(c *Config) { c.OmitRequired = true }},
		{"cleanup=true", "cleanup=false", func(c *Config) { c.Cleanup = true }},
		{"unpack=false", "unpack=true", func(c *Config) { c.NoUnpack = true }},
		{"unpack=true", "unpack=false", func(c *Config) { c.NoUnpack = true }},
		{"", "include=a.conf b.conf", nothing},
	} {
		got, err := Parse("a.conf", files{
			"a.conf": general("include=b.conf\n" + c.first),
			"b.conf": "[General]\n" + c.second,
		}.read)
		want := changed(c.change)
		want.Files = []string{"a.conf", "b.conf"}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s and %s: %v\n%s", c.first, c.second, err, diff)
		}
	}
}

// TestSameSection is a section of two files: source and packages are those of the later one, suite, components and
// keyring those of the earlier.
func TestSameSection(t *testing.T) {
	got, err := Parse("conf/a.conf", files{
		"conf/a.conf": "[General]\ninclude=b.conf /x/c.conf\nbootstrap=debian\n[Debian]\n" +
			"source=http://a\nsuite=a\ncomponents=ca\nkeyring=ka\npackages=pa\nadditional=aa\n",
		"conf/b.conf":     "[General]\ninclude=sub/d.conf\n[debian]\nsource=http://b\nsuite=b\ncomponents=cb\nkeyring=kb\npackages=pb\nadditional=ab\n",
		"/x/c.conf":       "[Third]\nsource=http://c\nsuite=c\n",
		"conf/sub/d.conf": "[general]\nbootstrap=third\n[third]\nsource=http://d\nsuite=d\n",
	}.read)
	const twice = " is in an earlier file, too: suite, components and keyring count there, source and packages here"
	want := &Config{
		Files:     []string{"conf/a.conf", "conf/b.conf", "/x/c.conf", "conf/sub/d.conf"},
		Bootstrap: []string{"debian", "third"},
		Sections: []Section{
			{Name: "debian", Source: "http://b", Suite: "a", Components: "ca", Keyring: "ka", Packages: []string{"pb"},
				Additional: []string{"aa", "ab"}},
			{Name: "third", Source: "http://d", Suite: "c"},
		},
		Warnings: []string{"conf/b.conf:3: [debian]" + twice, "conf/sub/d.conf:3: [third]" + twice},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestWrongConfigurations(t *testing.T) {
	const separated = "they are separated by blanks, and comments have lines of their own"
	for text, want := range map[string]string{
		"":                            "read configuration: a.conf: there is no [section]",
		"# only this":                 "read configuration: a.conf: there is no [section]",
		"arch=x":                      "read configuration: a.conf:1: arch stands before the first [section]",
		"[General]\nfoo":              `read configuration: a.conf:2: "foo" is neither a [section] nor key=value`,
		"[General]\n=x":               `read configuration: a.conf:2: "=x" is neither a [section] nor key=value`,
		"[General]\n[]":               `read configuration: a.conf:2: "[]" is neither a [section] nor key=value`,
		"[General]\narch=<<X\nY":      `read configuration: a.conf:2: there is no line "X" to end arch`,
		"[General]\ninclude=n.conf":   `read configuration: a.conf:2: include "n.conf": no such file, neither here nor in .`,
		"[General]\narch=a\narch=a":   "read configuration: a.conf:3: arch is given twice in [general]",
		minimal + "source=x":          "read configuration: a.conf:6: source is given twice in [debian]",
		minimal + "packages=a # b":    `read configuration: a.conf:3: [debian] has "#" among its packages: ` + separated,
		minimal + "additional=a,b":    `read configuration: a.conf:3: [debian] has "a,b" among its packages: ` + separated,
		"[General]\narch=a":           "a.conf: bootstrap= names no section",
		"[General]\nbootstrap=a b":    "a.conf: there is no section [a]\na.conf: there is no section [b]",
		minimal + "architecture=i386": "a.conf: [debian] has architecture=i386, which is not in multiarch",
		"[General]\nbootstrap=a\naptsources=b\n[a]\nsuite=s\n[b]\nsource=http://m":             "a.conf: [a] has no source\na.conf: [b] has no suite",
		"[General]\nomitrequired=true\naddimportant=true\nbootstrap=a\n[a]\nsource=x\nsuite=s": "a.conf: omitrequired and addimportant exclude each other",
	} {
		_, err := Parse("a.conf", files{"a.conf": text}.read)
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := Parse("none.conf", files{}.read); err == nil || err.Error() != "read configuration: open none.conf: file does not exist" {
		t.Error(err)
	}
}

func TestText(t *testing.T) {
	c, err := Parse("a.conf", files{"a.conf": minimal + "packages=a b\n" +
		"[General]\narch=armhf\ndirectory=/d\ncleanup=true\nunpack=false\naptsources=flat\n" +
		"[flat]\nsource=http://f ./\n[unused]\n"}.read)
	const want = `files:             a.conf
architecture:      armhf
directory:         /d
bootstrap:         debian
aptsources:        flat
switched on:       unpack=false cleanup

[debian]
source:            http://m
suite:             s
packages:          a b

[flat]
source:            http://f ./
`
	if diff := cmp.Diff(want, c.Text()); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

// FuzzParse has no text crash the parser; what it accepts is complete.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		minimal, "[General]\ninclude=a.conf\n", "[a]\nb=<<c\nd\nc\n", "[x]\r\ny = z\r", "\ufeff[General]", "; [a\n[ b ]\n=",
		"[General]\nbootstrap=a\nmultiarch=i386\n[a]\nsource=[x] y z/\narchitecture=i386\npackages=p",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("a.conf", files{"a.conf": text}.read)
		if err != nil {
			return
		}
		for _, name := range append(c.Bootstrap, c.AptSources...) {
			if s, ok := c.Section(name); !ok || s.Source == "" || s.Suite == "" && !s.flat() {
				t.Errorf("section %q is %+v", name, s)
			}
		}
		if len(c.packages()) == 0 && !c.OmitRequired {
			t.Error("no packages")
		}
		c.Text()
	})
}
