package sources

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const key = keyHeader + "\n\nmDMEYCQjIxYJKwYBBAHaRw8BAQdAD/P5Nvvnvk66SxBB\n=IE0r\n-----END PGP PUBLIC KEY BLOCK-----\n"

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		file, text string
		want       []Entry
	}{
		"lines": {"sources.list", "# a comment\n\n  deb http://m.example/debian trixie main contrib # mine\r\n" +
			"deb-src\thttp://m.example/debian/\ttrixie-updates\tmain", []Entry{
			{Deb: true, URIs: []string{"http://m.example/debian"}, Suites: []string{"trixie"}, Components: []string{"main", "contrib"}},
			{DebSrc: true, URIs: []string{"http://m.example/debian/"}, Suites: []string{"trixie-updates"}, Components: []string{"main"}},
		}},
		"options of a line": {"x.list", `deb [ arch=amd64,i386 lang-=de signed-by=/a.gpg,0123456789ABCDEF0123456789ABCDEF01234567! ` +
			`trusted=yes trusted=no by-hash=force x-mine="a # b" ] http://m.example/debian sid main`, []Entry{
			{Deb: true, URIs: []string{"http://m.example/debian"}, Suites: []string{"sid"}, Components: []string{"main"}, Options: []Option{
				{"Architectures", "amd64 i386"}, {"Languages-Remove", "de"},
				{"Signed-By", "/a.gpg 0123456789ABCDEF0123456789ABCDEF01234567!"}, {"Trusted", "no"}, {"By-Hash", "force"},
				{"x-mine", "a # b"},
			}},
		}},
		"brackets": {"x.list", "deb [] http://[::1]:8080/debian sid main\ndeb [arch+=armhf]   http://m.example sid main", []Entry{
			{Deb: true, URIs: []string{"http://[::1]:8080/debian"}, Suites: []string{"sid"}, Components: []string{"main"}},
			{Deb: true, URIs: []string{"http://m.example"}, Suites: []string{"sid"}, Components: []string{"main"},
				Options: []Option{{"Architectures-Add", "armhf"}}},
		}},
		"words of a line": {"x.list", `deb "cdrom:[Debian GNU/Linux 12]/" "bookworm" ma%69n 100%`, []Entry{
			{Deb: true, URIs: []string{"cdrom:[Debian GNU/Linux 12]/"}, Suites: []string{"bookworm"}, Components: []string{"main", "100%"}},
		}},
		"a flat archive": {"x.list", "deb [trusted=yes] file:/srv/debs ./\ndeb http://m.example $(ARCH)/", []Entry{
			{Deb: true, URIs: []string{"file:/srv/debs"}, Suites: []string{"./"}, Options: []Option{{"Trusted", "yes"}}},
			{Deb: true, URIs: []string{"http://m.example"}, Suites: []string{"$(ARCH)/"}},
		}},
		"stanzas": {"debian.sources", "# made by hand\n\nTypes: deb deb-src\nURIs: http://m.example/debian\n http://n.example/debian\n" +
			"# SUITES\nSUITES: trixie\ttrixie-updates\nComponents: main\narchitectures-ADD: armhf,armel\nX-Repolib-Name: Two  words\n" +
			" \n\nTypes: deb\nEnabled: off\nSuites: sid\n\n# the end", []Entry{
			{Deb: true, DebSrc: true, URIs: []string{"http://m.example/debian", "http://n.example/debian"},
				Suites: []string{"trixie", "trixie-updates"}, Components: []string{"main"},
				Options: []Option{{"Architectures-Add", "armhf armel"}, {"X-Repolib-Name", "Two words"}}},
			{Deb: true, Suites: []string{"sid"}, Disabled: true},
		}},
		"a key": {"x.sources", "Types: deb\nURIs: https://m.example\nSuites: /\nSigned-By:\n " + keyHeader +
			"\n .\n mDMEYCQjIxYJKwYBBAHaRw8BAQdAD/P5Nvvnvk66SxBB\n =IE0r\n -----END PGP PUBLIC KEY BLOCK-----\nEnabled: maybe\n", []Entry{
			{Deb: true, URIs: []string{"https://m.example"}, Suites: []string{"/"}, Options: []Option{{"Signed-By", key}}},
		}},
		"lines by content":   {"mine", "\n#Types: x\n # nothing\ndeb copy:/d ./", []Entry{{Deb: true, URIs: []string{"copy:/d"}, Suites: []string{"./"}}}},
		"stanzas by content": {"mine", "# deb \nTypes: deb\nURIs: copy:/d\nSuites: ./\n", []Entry{{Deb: true, URIs: []string{"copy:/d"}, Suites: []string{"./"}}}},
		"nothing":            {"x.list", "# nothing\n", nil},
		"no stanza":          {"x.sources", "\n# nothing\n\n#\n", nil},
	} {
		f, err := Parse(c.file, []byte(c.text))
		if diff := cmp.Diff(File{c.file, c.text, c.want}, f); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

func TestParseErrors(t *testing.T) {
	const prefix = "read apt sources "
	for _, c := range []struct{ file, text, want string }{
		{"x.list", "\nrpm http://m.example sid main", `x.list: line 2: type "rpm" is neither deb nor deb-src`},
		{"x.list", "deb[arch=amd64] http://m.example sid main", `x.list: line 1: type "deb[arch=amd64]" is neither deb nor deb-src`},
		{"x.list", "deb", `x.list: line 1: it has no URI`},
		{"x.list", "deb http://m.example", `x.list: line 1: it has no suite`},
		{"x.list", "deb m.example sid main", `x.list: line 1: "m.example" is no URI`},
		{"x.list", "deb http://m.example sid", `x.list: line 1: suite sid has no component`},
		{"x.list", "deb http://m.example sid/ main", `x.list: line 1: suite sid/ ends in a slash, which means that it has no components`},
		{"x.list", "deb [arch=amd64 http://m.example sid main", `x.list: line 1: option "http://m.example" is not NAME=VALUE`},
		{"x.list", "deb [arch=amd64", `x.list: line 1: its options have no closing bracket`},
		{"x.list", "deb [arch=amd64]http://m.example sid main", `x.list: line 1: option "sid" is not NAME=VALUE`},
		{"x.list", "deb [trusted=] http://m.example sid main", `x.list: line 1: option "trusted=" is not NAME=VALUE`},
		{"x.list", "deb [Trusted=yes] http://m.example sid main", `x.list: line 1: option Trusted is called trusted in this form`},
		{"x.list", "deb [ARCH+=amd64] http://m.example sid main", `x.list: line 1: option ARCH+ is called arch+ in this form`},
		{"x.list", "deb [architectures=amd64] http://m.example sid main", `x.list: line 1: option architectures is called arch in this form`},
		{"x.list", "deb [signed-by=k.gpg] http://m.example sid main",
			`x.list: line 1: "k.gpg" in Signed-By is neither an absolute path nor a fingerprint of 40 digits`},
		{"x.list", `deb "http://m.example sid main`, `x.list: line 1: "http://m.example sid main has no closing "`},
		{"x.list", `deb x: "" main`, `x.list: line 1: "" is an empty word`},
		{"x.sources", "Types: deb\nURIs: x:\nSuites: /\n\n\nTypes: deb\nURIs: http://m.example", `x.sources: stanza at line 6: it has no suite`},
		{"x.sources", "Types: deb rpm\n", `x.sources: stanza at line 1: type "rpm" is neither deb nor deb-src`},
		{"x.sources", "# a\n\nEnabled: no\n", `x.sources: stanza at line 3: it has no type, deb or deb-src`},
		{"x.sources", "Types: deb\nURIs: x:\nSuites: /\n\nTypes: deb\nnonsense\n", `x.sources: line 6: "nonsense" is neither a field nor the continuation of one`},
		{"mine", "# deb http://m.example sid main\n", `mine: no line begins with deb, deb-src or the name of a field and a colon`},
	} {
		_, err := Parse(c.file, []byte(c.text))
		if err == nil || err.Error() != prefix+c.want {
			t.Errorf("Parse(%q):\n%v; want\n%s", c.text, err, prefix+c.want)
		}
	}
}

// What comes before a mistake is of use to who only looks for a mirror.
func TestParseReturnsWhatComesBeforeAMistake(t *testing.T) {
	for name, text := range map[string]string{
		"x.list":    "deb x: /\nnonsense\ndeb y: /\n",
		"x.sources": "Types: deb\nURIs: x:\nSuites: /\n\nTypes: rpm\n\nTypes: deb\nURIs: y:\nSuites: /\n",
	} {
		f, err := Parse(name, []byte(text))
		if diff := cmp.Diff([]Entry{{Deb: true, URIs: []string{"x:"}, Suites: []string{"/"}}}, f.Entries); err == nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

func TestEntry(t *testing.T) {
	e := Entry{URIs: []string{"http://m.example/$(ARCH)"}, Suites: []string{"$(ARCH)/"}, Options: []Option{
		{"Trusted", "On"}, {"Check-Valid-Until", "no"}, {"Check-Date", "perhaps"}, {"trusted", "no"},
		{"Signed-By", "/a.gpg /b.asc"}, {"Architectures-Add", "armhf amd64"}, {"Architectures-Remove", "i386"},
	}}
	for _, c := range []struct {
		name         string
		value, given bool
	}{{"Trusted", true, true}, {"Check-Valid-Until", false, true}, {"Check-Date", false, false}, {"Allow-Weak", false, false}} {
		if value, given := e.Flag(c.name); value != c.value || given != c.given {
			t.Errorf("Flag(%s) = %v, %v", c.name, value, given)
		}
	}
	own := Entry{Options: []Option{{"Architectures", "arm64"}, {"Architectures-Add", "armhf"}, {"Signed-By", key}}}
	for name, c := range map[string]struct{ got, want any }{
		"signed by":     {e.SignedBy(), []string{"/a.gpg", "/b.asc"}},
		"key":           {own.SignedBy(), []string{key}},
		"no key":        {len(Entry{}.SignedBy()), 0},
		"architectures": {e.Architectures([]string{"amd64", "i386"}), []string{"amd64", "armhf"}},
		"own":           {own.Architectures([]string{"amd64", "i386"}), []string{"arm64", "armhf"}},
		"none":          {Entry{}.Architectures([]string{"amd64"}), []string{"amd64"}},
		"expanded":      {append(e.Expand("arm64").URIs, e.Expand("arm64").Suites...), []string{"http://m.example/arm64", "arm64/"}},
		"not expanded":  {e.Suites, []string{"$(ARCH)/"}},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestText(t *testing.T) {
	all := Entry{Deb: true, DebSrc: true, URIs: []string{"http://m.example/debian", "cdrom:[Debian 12]/#1"}, Suites: []string{"sid"},
		Components: []string{"main", "contrib"}, Options: []Option{{"Architectures", "amd64 i386"}, {"Trusted", "yes"}, {"X-Mine", "a b]"}}}
	for name, c := range map[string]struct {
		e             Entry
		lines, stanza string
	}{
		"all": {all, `deb [arch=amd64,i386 trusted=yes X-Mine=a%20b%5d] http://m.example/debian sid main contrib
deb [arch=amd64,i386 trusted=yes X-Mine=a%20b%5d] cdrom:[Debian%2012]/%231 sid main contrib
deb-src [arch=amd64,i386 trusted=yes X-Mine=a%20b%5d] http://m.example/debian sid main contrib
deb-src [arch=amd64,i386 trusted=yes X-Mine=a%20b%5d] cdrom:[Debian%2012]/%231 sid main contrib
`, `error: "cdrom:[Debian 12]/#1" in field URIs has a blank`},
		"disabled": {Entry{Deb: true, URIs: []string{"file:/a"}, Suites: []string{"b/"}, Disabled: true},
			"# deb file:/a b/\n", "Enabled: no\nTypes: deb\nURIs: file:/a\nSuites: b/\n"},
		"key": {Entry{DebSrc: true, URIs: []string{"x:"}, Suites: []string{"/"}, Options: []Option{{"Signed-By", key}}},
			"error: option Signed-By is a key, which has no place in a line",
			"Types: deb-src\nURIs: x:\nSuites: /\nSigned-By:\n " + keyHeader + "\n .\n mDMEYCQjIxYJKwYBBAHaRw8BAQdAD/P5Nvvnvk66SxBB\n" +
				" =IE0r\n -----END PGP PUBLIC KEY BLOCK-----\n"},
		"percent": {Entry{Deb: true, URIs: []string{"http://m.example/a%20b%"}, Suites: []string{"100%/"}},
			"deb http://m.example/a%2520b% 100%/\n", "Types: deb\nURIs: http://m.example/a%20b%\nSuites: 100%/\n"},
		"name": {Entry{Deb: true, URIs: []string{"x:"}, Suites: []string{"/"}, Options: []Option{{"a:b", "c"}}},
			"deb [a:b=c] x: /\n", `error: an option cannot be a field with the name "a:b"`},
		"field": {Entry{Deb: true, URIs: []string{"x:"}, Suites: []string{"/"}, Options: []Option{{"components", "main"}}},
			"deb [components=main] x: /\n", `error: an option cannot be a field with the name "components"`},
		"twice": {Entry{Deb: true, URIs: []string{"x:"}, Suites: []string{"/"}, Options: []Option{{"a", "b"}, {"A", "c"}}},
			"deb [a=b A=c] x: /\n", `error: an option cannot be a field with the name "A"`},
		"ignored in a stanza only": {Entry{Deb: true, URIs: []string{"x:"}, Suites: []string{"/"}, Options: []Option{{"arch", "i386"}}},
			"error: option arch would be another one in a line", "Types: deb\nURIs: x:\nSuites: /\narch: i386\n"},
	} {
		lines, err := c.e.Lines()
		if err != nil {
			lines = "error: " + err.Error()
		}
		stanza, err := c.e.Stanza()
		if err != nil {
			stanza = "error: " + err.Error()
		}
		if diff := cmp.Diff([]string{c.lines, c.stanza}, []string{lines, stanza}); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestReadTree(t *testing.T) {
	etc := fstest.MapFS{}
	for name, text := range map[string]string{
		"sources.list.d/b.sources":    "Types: deb\nURIs: http://b.example\nSuites: /\n",
		"sources.list.d/a.list":       "deb http://a.example /\n",
		"sources.list.d/B.list":       "deb http://B.example /\n",
		"sources.list.d/.hidden.list": "not read",
		"sources.list.d/c.list.save":  "not read",
		"sources.list.d/c d.list":     "not read",
		"sources.list.d/c.list/x":     "not read",
		"sources.list":                "deb http://first.example /\n",
	} {
		etc[name] = &fstest.MapFile{Data: []byte(text)}
	}
	files, err := ReadTree(etc)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		got = append(got, f.Name+" "+f.Entries[0].URIs[0])
	}
	want := []string{"sources.list http://first.example", "sources.list.d/B.list http://B.example",
		"sources.list.d/a.list http://a.example", "sources.list.d/b.sources http://b.example"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if files, err := ReadTree(fstest.MapFS{}); err != nil || len(files) > 0 {
		t.Errorf("a tree without sources: %v, %v", files, err)
	}
	etc["sources.list.d/z.list"] = &fstest.MapFile{Data: []byte("deb\n")}
	if _, err := ReadTree(etc); err == nil || err.Error() != "read apt sources sources.list.d/z.list: line 1: it has no URI" {
		t.Errorf("a file with a mistake: %v", err)
	}
}

// apt would refuse to work in a tree with such sources: better now than there.
func TestSourcesThatContradictEachOther(t *testing.T) {
	for _, c := range []struct{ a, b, err string }{
		{"deb [trusted=yes] http://m.example sid main", "deb-src http://m.example/ sid main",
			`option Trusted for http://m.example/ sid is "" and was "yes" before`},
		{"deb [signed-by=/k.gpg] http://m.example sid main", "deb http://m.example sid contrib",
			`option Signed-By for http://m.example sid is "" and was "/k.gpg" before`},
		{"deb http://m.example sid main", "deb [signed-by=/k.gpg] http://m.example sid contrib", ""},
		{"deb http://m.example sid main\ndeb [signed-by=/k.gpg] http://m.example sid main", "deb http://m.example sid contrib",
			`option Signed-By for http://m.example sid is "" and was "/k.gpg" before`},
		{"deb [allow-weak=no] http://m.example sid main", "deb http://m.example sid contrib", ""},
		{"deb [allow-weak=yes] http://m.example sid main", "deb http://m.example sid contrib",
			`option Allow-Weak for http://m.example sid is "" and was "yes" before`},
		{"deb [trusted=yes] http://m.example sid main", "deb [trusted=true] http://m.example sid main", ""},
		{"deb [trusted=yes] http://m.example sid main", "deb http://m.example trixie main", ""},
		{"deb [arch=amd64] http://m.example sid main", "deb http://m.example sid main", ""},
	} {
		_, err := ReadTree(fstest.MapFS{"sources.list": {Data: []byte(c.a + "\n" + c.b)}})
		if c.err == "" && err != nil || c.err != "" && (err == nil || err.Error() != "read apt sources sources.list: "+c.err) {
			t.Errorf("%s\n%s\n%v; want %s", c.a, c.b, err, c.err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("x.list", []byte("deb [arch=amd64,i386 signed-by=/a.gpg x=\"a b\"] http://m.example/debian trixie main # x\n"))
	f.Add("x.list", []byte("deb-src cdrom:[Debian GNU/Linux]/%20 $(ARCH)/ \n"))
	f.Add("x.sources", []byte("Types: deb deb-src\nEnabled: no\nURIs: http://m.example\nSuites: sid\nComponents: main\nArchitectures: a,b\n"))
	f.Add("x.sources", []byte("Types: deb\nURIs: x:\nSuites: /\nSigned-By: \n "+strings.ReplaceAll(key, "\n", "\n ")))
	f.Add("x", []byte("# deb\n"))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		file, err := Parse(name, data)
		if err != nil {
			return
		}
		for _, e := range file.Entries {
			if text, err := e.Stanza(); err == nil {
				same(t, "x.sources", text, e)
			}
			if text, err := e.Lines(); err == nil && len(e.URIs) == 1 && len(e.Suites) == 1 && !e.Disabled && e.Deb != e.DebSrc {
				same(t, "x.list", text, e)
			}
		}
	})
}

// same reads what was written of an entry.
func same(t *testing.T, name, text string, e Entry) {
	t.Helper()
	f, err := Parse(name, []byte(text))
	if diff := cmp.Diff([]Entry{e}, f.Entries, cmpopts.EquateEmpty()); err != nil || diff != "" {
		t.Errorf("%q: %v\n%s", text, err, diff)
	}
}
