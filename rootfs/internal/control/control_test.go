package control

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParagraphs(t *testing.T) {
	for _, test := range []struct {
		name, input string
		want        [][]Field
		err         string
	}{
		{name: "empty"},
		{name: "blank lines only", input: "\n \n\t\r\n"},
		{
			name:  "two paragraphs",
			input: "Package: a\nVersion: 1\n\n \t\nPackage: b",
			want:  [][]Field{{{"Package", "a"}, {"Version", "1"}}, {{"Package", "b"}}},
		},
		{
			name:  "continuation lines keep their first blank",
			input: "Description: short\n long  \n .\n\ttab\nConffiles:\n /etc/a 0\n  /etc/b 1\n",
			want:  [][]Field{{{"Description", "short\n long\n .\n\ttab"}, {"Conffiles", "\n /etc/a 0\n  /etc/b 1"}}},
		},
		{
			name:  "CRLF",
			input: "A: 1\r\nB: x\r\n y\r\n z\r\n\r\nC:\r\n",
			want:  [][]Field{{{"A", "1"}, {"B", "x\n y\n z"}}, {{"C", ""}}},
		},
		{
			name:  "comments, also within a field and alone in a paragraph",
			input: "# top\n\n# A: 0\nA: 1\n# between\n 2\n#end\nB: 3 # not one\n",
			want:  [][]Field{{{"A", "1\n 2"}, {"B", "3 # not one"}}},
		},
		{
			name:  "blanks around values, and none",
			input: "A:1\nB:\t 2 \t\nC: \nD::\n",
			want:  [][]Field{{{"A", "1"}, {"B", "2"}, {"C", ""}, {"D", ":"}}},
		},
		{name: "no colon", input: "A: 1\nB\n", err: `line 2: "B" is neither a field nor the continuation of one`},
		{name: "no name", input: ": 1\n", err: `line 1: field name "" is empty`},
		{name: "hyphen", input: "-A: 1\n", err: `line 1: field name "-A" begins with a hyphen`},
		{name: "blank in a name", input: "\n\nA B: 1\n", err: `line 3: field name "A B" has a character that is not printable ASCII`},
		{name: "twice", input: "A: 1\nb: 2\na: 3\n", err: `line 3: field "a" is given twice`},
		{name: "continuation of nothing", input: "A: 1\n\n 2\n", want: [][]Field{{{"A", "1"}}},
			err: "line 3: continuation line without a field before it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got [][]Field
			var message string
			for p, err := range Paragraphs([]byte(test.input)) {
				if err != nil {
					message = err.Error()
					continue
				}
				got = append(got, p.Fields())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("paragraphs (-want +got):\n%s", diff)
			}
			if message != test.err {
				t.Errorf("error %q, want %q", message, test.err)
			}
		})
	}
}

func TestParseParagraph(t *testing.T) {
	p, err := ParseParagraph([]byte("\nPackage: a\nConffiles:\n /etc/a 0\n /etc/b 1\nDescription: short\n long\n\n"))
	if err != nil {
		t.Fatal(err)
	}
	conffiles, _ := p.Lookup("CONFFILES")
	description, _ := p.Lookup("description")
	_, found := p.Lookup("Version")
	got := []any{p.Get("package"), p.Get("Version"), found, conffiles.Lines(), description.Lines()}
	want := []any{"a", "", false, []string{"/etc/a 0", "/etc/b 1"}, []string{"short", "long"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for input, want := range map[string]string{
		"":               "parse control paragraph: there are 0 paragraphs instead of one",
		"A: 1\n\nA: 2\n": "parse control paragraph: there are 2 paragraphs instead of one",
		"A: 1\n?\n":      `parse control paragraph: line 2: "?" is neither a field nor the continuation of one`,
	} {
		if _, err := ParseParagraph([]byte(input)); err == nil || err.Error() != want {
			t.Errorf("ParseParagraph(%q): %v, want %q", input, err, want)
		}
	}
}

// TestLongField guards against copying a value once for each of its lines: Release files have fields of 150 KB.
func TestLongField(t *testing.T) {
	line := "\n 0123456789abcdef 42 main/binary-amd64/Packages"
	input := []byte("SHA256:" + strings.Repeat(line, 2000) + "\n")
	allocated := testing.AllocsPerRun(1, func() {
		p, err := ParseParagraph(input)
		if err != nil || len(p.Get("sha256")) != 2000*len(line) {
			t.Errorf("%d bytes, %v", len(p.Get("sha256")), err)
		}
	})
	if allocated > 50 {
		t.Errorf("%v allocations", allocated)
	}
}

func FuzzParagraphs(f *testing.F) {
	for _, seed := range []string{"A: 1\n 2\n\nB:\n", "# c\r\nA:1\r\n\tx\r\n", "A\n", "A: 1\nA: 2\n", " x\n", "-: \n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for p, err := range Paragraphs(data) {
			if err != nil {
				return
			}
			if len(p.Fields()) == 0 {
				t.Error("a paragraph without fields")
			}
			// What was read, written again, reads the same.
			var written strings.Builder
			for _, field := range p.Fields() {
				written.WriteString(field.Name + ": " + field.Value + "\n")
			}
			again, err := ParseParagraph([]byte(written.String()))
			if err != nil {
				t.Fatalf("%q: %v", written.String(), err)
			}
			if diff := cmp.Diff(p.Fields(), again.Fields()); diff != "" {
				t.Errorf("%q (-first +again):\n%s", written.String(), diff)
			}
		}
	})
}
