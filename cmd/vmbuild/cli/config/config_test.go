package config

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// said is what a file says of a setting, however it is asked.
type said struct {
	Name   string
	Line   int
	Text   string
	Switch string
	List   []string
}

// sayings asks all settings for everything; an error stands for the value that there is not.
func sayings(settings []Setting) []said {
	var all []said
	for _, s := range settings {
		one := said{Name: s.Name, Line: s.Where.Line}
		var err error
		if one.Text, err = s.Text(); err != nil {
			one.Text = err.Error()
		}
		on, err := s.Switch()
		if one.Switch = fmt.Sprint(on); err != nil {
			one.Switch = err.Error()
		}
		if one.List, err = s.List(); err != nil {
			one.List = []string{err.Error()}
		}
		all = append(all, one)
	}
	return all
}

// TestINI reads what Python's ConfigParser and cliapp read.
func TestINI(t *testing.T) {
	none := func(text string) string { return fmt.Sprintf("%q is neither yes nor no", text) }
	for text, want := range map[string][]said{
		"":                         nil,
		"# only\n; comments\n":     nil,
		"[config]\n":               nil,
		"[config]\nsize = 2G\n":    {{"size", 2, "2G", none("2G"), []string{"2G"}}},
		"[config]\r\nGRUB: On\r\n": {{"grub", 2, "On", "true", []string{"On"}}},
		"\ufeff[config]\n\n#c\n  image=a b=c:d  \n": {{"image", 4, "a b=c:d", none("a b=c:d"), []string{"a b=c:d"}}},
		"[config]\nmirror: http://m.example:80/x\n": {
			{"mirror", 2, "http://m.example:80/x", none("http://m.example:80/x"), []string{"http://m.example:80/x"}},
		},
		"[config]\npackage = less, \"a,b\" ,\n    \" c\"\"\",\n\n# between\n\td e,\nverbose = no": {
			{"package", 2, "less, \"a,b\" ,\n\" c\"\"\",\nd e,", none("less, \"a,b\" ,\n\" c\"\"\",\nd e,"), []string{"less", "a,b", ` c"`, "d e"}},
			{"verbose", 7, "no", "false", []string{"no"}},
		},
		"[config]\na =\nb = \"\"\nc = ;x\nd = y ; z\ne =\n  y ; z\nf=y;z\ng = 100%\n": {
			{"a", 2, "", none(""), []string{}}, {"b", 3, "", none(""), []string{}}, {"c", 4, "", none(""), []string{}},
			{"d", 5, "y", none("y"), []string{"y"}}, {"e", 6, "y ; z", none("y ; z"), []string{"y ; z"}},
			{"f", 8, "y;z", none("y;z"), []string{"y;z"}}, {"g", 9, "100%", none("100%"), []string{"100%"}},
		},
		"[config]\nx = a,,b\ny = \"a\nz = x\"y,z\"\n": {
			{"x", 2, "a,,b", none("a,,b"), []string{"an item of the list is empty"}},
			{"y", 3, `"a`, none(`"a`), []string{`a quote (") is not closed`}},
			{"z", 4, `x"y,z"`, none(`x"y,z"`), []string{"xy,z"}},
		},
	} {
		settings, err := readINI("f", []byte(text))
		if diff := cmp.Diff(want, sayings(settings)); err != nil || diff != "" {
			t.Errorf("%q: %v\n%s", text, err, diff)
		}
	}
}

func TestYAML(t *testing.T) {
	none := func(text string) string { return fmt.Sprintf("%q is neither yes nor no", text) }
	const (
		list    = "a list stands where one value shall"
		mapping = "a mapping stands where one value shall"
		quotes  = " is yes or no in YAML: put a text that looks so in quotes"
		missing = `there is no value ("" is an empty one)`
	)
	for text, want := range map[string][]said{
		"":                   nil,
		"# only a comment\n": nil,
		"---\n":              nil,
		"size: 2G\n":         {{"size", 1, "2G", none("2G"), []string{"2G"}}},
		"a: 0644\nb: 1.10\nc: 1_000\nd: 2001-02-03\ne: 0x10\n": {
			{"a", 1, "0644", none("0644"), []string{"0644"}}, {"b", 2, "1.10", `"1.10" has the type !!float, which no setting has`, []string{"1.10"}},
			{"c", 3, "1_000", none("1_000"), []string{"1_000"}},
			{"d", 4, "2001-02-03", `"2001-02-03" has the type !!timestamp, which no setting has`, []string{"2001-02-03"}},
			{"e", 5, "0x10", none("0x10"), []string{"0x10"}},
		},
		"a: true\nb: yes\nc: 'off'\nd: \"\"\n": {
			{"a", 1, "true" + quotes, "true", []string{"true" + quotes}}, {"b", 2, "yes", "true", []string{"yes"}},
			{"c", 3, "off", "false", []string{"off"}}, {"d", 4, "", none(""), []string{""}},
		},
		"a:\nb: ~\nc: !own x\n": {
			{"a", 1, missing, missing, []string{missing}}, {"b", 2, missing, missing, []string{missing}},
			{"c", 3, `"x" has the type !own, which no setting has`, `"x" has the type !own, which no setting has`, []string{`"x" has the type !own, which no setting has`}},
		},
		"a:\n- x\n- 1\n-  y, z \nb: []\nc: [x, [y]]\nd: {x: y}\n": {
			{"a", 1, list, list, []string{"x", "1", "y, z"}}, {"b", 5, list, list, []string{}},
			{"c", 6, list, list, []string{list}}, {"d", 7, mapping, mapping, []string{mapping}},
		},
		"a: &x less\nb: *x\nc: [*x]\n": {
			{"a", 1, "less", none("less"), []string{"less"}}, {"b", 2, "less", none("less"), []string{"less"}},
			{"c", 3, list, list, []string{"less"}},
		},
		"a: |\n  x\n  y\n":         {{"a", 1, "x\ny\n", none("x\ny\n"), []string{"x\ny\n"}}},
		"config:\n  size: 2G\n":    {{"size", 2, "2G", none("2G"), []string{"2G"}}},
		"config:\n":                {{"config", 1, missing, missing, []string{missing}}},
		"config: {}\n":             nil,
		"a: x\na: y\n":             {{"a", 1, "x", none("x"), []string{"x"}}, {"a", 2, "y", none("y"), []string{"y"}}},
		"a: \"\\xe9\\u00a0\\n\"\n": {{"a", 1, "é\u00a0\n", none("é\u00a0\n"), []string{"é\u00a0\n"}}},
	} {
		settings, err := readYAML("f", []byte(text))
		if diff := cmp.Diff(want, sayings(settings)); err != nil || diff != "" {
			t.Errorf("%q: %v\n%s", text, err, diff)
		}
	}
}

func TestWrongFiles(t *testing.T) {
	for _, c := range []struct{ form, text, want string }{
		{"ini", "size = 2G\n", "f:1: a setting stands before the line [config]"},
		{"ini", "[config]\n\nsize\n", `f:3: "size" is neither [config] nor NAME = VALUE`},
		{"ini", "[config]\n= 2G\n", `f:2: "= 2G" is neither [config] nor NAME = VALUE`},
		{"ini", "[config]\n[other]\n", "f:2: [other]: settings are in the section [config], and there is no other"},
		{"ini", "[config]\nx = %(y)s\n\n\nz = 1\n", "f:2: x: %(y)s is not replaced by another setting: write the value itself"},
		{"ini", "[config]\nx = \xff\n", "f: it is no text in UTF-8"},
		{"yaml", "a: x\n b: y\n", "f:2: this is no YAML: mapping values are not allowed in this context"},
		{"yaml", "- a\n", "f:1: this is not NAME: VALUE"},
		{"yaml", "just text\n", "f:1: this is not NAME: VALUE"},
		{"yaml", "? [a]\n: b\n", "f:1: this is not NAME: VALUE"},
		{"yaml", "a: x\n---\nb: y\n", "f:2: a second document begins: there can be one only"},
		{"yaml", "a: *x\n", "f: this is no YAML: yaml: unknown anchor 'x' referenced"},
	} {
		form, err := Lookup(c.form)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := form.Read("f", []byte(c.text)); err == nil || err.Error() != c.want {
			t.Errorf("%q: %v, %v, want %s", c.text, got, err, c.want)
		}
	}
	want := `"json" is not a form of configuration files (yaml, ini)`
	if _, err := Lookup("json"); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestOf(t *testing.T) {
	for name, want := range map[string]string{
		"a.yaml": "yaml", "a.yml": "yaml", "a.conf": "ini", "a": "ini", "yaml": "ini", ".yaml": "yaml", "a.yaml/b": "ini", "a.ini": "ini",
	} {
		if got := Of(name).Name; got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

func TestWrite(t *testing.T) {
	entries := []Entry{
		{"image", "a b"}, {"grub", true}, {"sparse", false}, {"hostname", ""}, {"package", []string{"less", "a,b", ` c"`, ""}},
		{"user", []string{}}, {"seed", "yes"}, {"log-mode", "0600"}, {"customize-hook", []string{"x ; y", "a\nb"}}, {"text", "a\nb"}, {"hook", []string{";a"}},
	}
	for form, want := range map[string]string{
		"ini": "[config]\nimage = a b\ngrub = yes\nsparse = no\nhostname =\npackage = less, \"a,b\", \" c\"\"\", \"\"\nuser =\n" +
			"seed = yes\nlog-mode = 0600\ncustomize-hook =\n\tx ; y, \"a\n\tb\"\ntext = a\n\tb\nhook = \";a\"\n",
		"yaml": "image: a b\ngrub: true\nsparse: false\nhostname: \"\"\npackage:\n    - less\n    - a,b\n    - ' c\"'\n    - \"\"\n" +
			"user: []\nseed: \"yes\"\nlog-mode: \"0600\"\ncustomize-hook:\n    - x ; y\n    - \"a\\nb\"\ntext: \"a\\nb\"\nhook:\n    - ;a\n",
	} {
		f, err := Lookup(form)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.Write(entries)
		if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", form, err, diff)
		}
	}
}

// TestCannotHold: a form refuses what it would lose.
func TestCannotHold(t *testing.T) {
	ini, err := Lookup("ini")
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []any{" a", "a ", "a\n", "a\n\nb", "a\n b", "a\n#b", "%(x)s", "\ufeff\xff", "#a", 1} {
		got, err := ini.Write([]Entry{{"x", value}})
		if value == "#a" { // behind a name it is no comment
			if err != nil {
				t.Errorf("%q: %v", value, err)
			}
			continue
		}
		if want := `write setting "x": the form ini cannot hold its value`; err == nil || err.Error() != want {
			t.Errorf("%#v: %q, %v", value, got, err)
		}
	}
}

// pieces are what texts are hard to write for.
var pieces = []string{
	"a", "b c", " ", "\t", "\n", ",", "\"", "\"\"", "'", "%", "%%", "%(a)s", "#", " #", ";", " ;", "=", ":", ": ", "- ", "[", "]", "[config]",
	"{", "}", "&x", "*x", "!", "|", ">", "~", "null", "yes", "no", "true", "0644", "1.10", "1e3", "2001-02-03", "é", "\u00a0", "\u2028",
	"\ufeff", "\r", "\r\n", "\x00", "\x7f", "\u0085", "\xff", "\\", "\\n", "<<", "---", "...", "?",
}

func randomText(r *rand.Rand) string {
	var text strings.Builder
	for range r.IntN(6) {
		text.WriteString(pieces[r.IntN(len(pieces))])
	}
	return text.String()
}

// TestRoundTrip writes random settings. What is written is read as it was; YAML holds everything that is UTF-8, INI every list
// and text that has no blanks at the edges of its lines, control characters or comments.
func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, form := range forms {
		written := 0
		for range 4000 {
			entry := Entry{Name: "x", Value: randomText(r)}
			if r.IntN(2) == 0 {
				items := []string{}
				for range r.IntN(4) {
					items = append(items, randomText(r))
				}
				entry.Value = items
			}
			data, err := form.Write([]Entry{entry, {"y", true}})
			if err != nil {
				if simple(entry.Value) || form.Name == "yaml" && !strings.Contains(fmt.Sprint(entry.Value), "\xff") {
					t.Errorf("%s: %q: %v", form.Name, entry.Value, err)
				}
				continue
			}
			written++
			settings, err := form.Read("f", data)
			if err != nil || len(settings) != 2 {
				t.Errorf("%s: %q: %q, %v", form.Name, entry.Value, data, err)
				continue
			}
			var got any
			if _, list := entry.Value.([]string); list {
				got, err = settings[0].List()
			} else {
				got, err = settings[0].Text()
			}
			if on, switchErr := settings[1].Switch(); err != nil || switchErr != nil || !on || !reflect.DeepEqual(got, entry.Value) {
				t.Errorf("%s: %q is read as %q, %v", form.Name, entry.Value, got, err)
			}
		}
		if written < 1000 {
			t.Errorf("%s holds %d of 4000 values", form.Name, written)
		}
	}
}

// simple says whether each form must hold a value.
func simple(value any) bool {
	texts, list := value.([]string)
	if !list {
		texts = []string{value.(string)}
	}
	for _, text := range texts {
		if strings.ContainsAny(text, "\n\r\t\x00\x7f\u0085\u00a0\u2028\ufeff") || strings.Contains(text, "%(") || strings.ContainsAny(text, "#;") || !utf8.ValidString(text) {
			return false
		}
		if !list && strings.TrimSpace(text) != text {
			return false
		}
	}
	return true
}

func FuzzINI(f *testing.F) {
	f.Add("[config]\nsize = 2G\npackage = less, \"a,b\",\n  c\n# comment\nverbose: yes ; really\n")
	f.Add("[config]\nx = \"a\"\"b\", ,\n")
	f.Add("x = %(y)s\n[other]\n")
	fuzz(f, "ini")
}

func FuzzYAML(f *testing.F) {
	f.Add("size: 2G\npackage: [less, 'a,b']\nlog-mode: 0644\nverbose: yes\n")
	f.Add("config: {a: &x b, c: *x}\n")
	f.Add("a: |\n  x\n---\nb: !!binary eA==\n")
	fuzz(f, "yaml")
}

// fuzz reads anything; what can be read and written is read as the same again.
func fuzz(f *testing.F, name string) {
	form, err := Lookup(name)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		settings, err := form.Read("f", []byte(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Errorf("%q does not begin with the file", err)
			}
			return
		}
		for _, s := range settings {
			if s.Where.Line < 1 || s.Where.Line > len(text)+1 {
				t.Errorf("%s is in line %d of %q", s.Name, s.Where.Line, text)
			}
			list, err := s.List()
			if err != nil {
				continue
			}
			data, err := form.Write([]Entry{{"x", list}})
			if err != nil {
				continue
			}
			again, err := form.Read("f", data)
			if err != nil || len(again) != 1 {
				t.Fatalf("%q was written as %q: %v", list, data, err)
			}
			if got, err := again[0].List(); err != nil || !reflect.DeepEqual(got, list) {
				t.Errorf("%q was written as %q and read as %q: %v", list, data, got, err)
			}
		}
	})
}
