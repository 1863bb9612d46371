package yarns

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// parseCases are texts of the language and what they say, as describe writes it.
var parseCases = []struct {
	name, text, want string
}{
	{"nothing", "", ""},
	{"prose", "SCENARIO of prose\n\n1. SCENARIO\n", ""},
	{"steps", "Prose.\n\n    SCENARIO one   story\n    ASSUMING this\n    GIVEN  that\n    WHEN x\n    THEN y\n    FINALLY z\n",
		"SCENARIO one story\nASSUMING this\nGIVEN that\nWHEN x\nTHEN y\nFINALLY z\n"},
	{"and", "    SCENARIO s\n    WHEN x\n    AND y\n    THEN z\n    AND more\n\nProse.\n\n    AND still more\n",
		"SCENARIO s\nWHEN x\nWHEN y\nTHEN z\nTHEN more\nTHEN still more\n"},
	{"continued", "    SCENARIO s\n    WHEN x\n    ...   and\n    ... y\n", "SCENARIO s\nWHEN x and y\n"},
	{"two scenarios in a block", "    SCENARIO s\n    THEN x\n\n    SCENARIO t\n    THEN y\n", "SCENARIO s\nTHEN x\nSCENARIO t\nTHEN y\n"},
	{"tabs", "\tSCENARIO s\n\tTHEN x\ty\n", "SCENARIO s\nTHEN x y\n"},
	{"carriage returns", "    SCENARIO s\r\n    THEN x\r\n", "SCENARIO s\nTHEN x\n"},
	{"below a heading", "# Title\n    SCENARIO s\n\nTitle\n=====\n    THEN x\n", "SCENARIO s\nTHEN x\n"},
	{"lazy prose", "    SCENARIO s\n\nprose\n    THEN is prose\n\n    THEN x\n", "SCENARIO s\nTHEN x\n"},
	{"lists", "    SCENARIO s\n\n* item\n\n    THEN is of the item\n\n1.  item\n\n        as this\n\nprose\n\n    THEN x\n",
		"SCENARIO s\nTHEN x\n"},
	{"a list's second line", "    SCENARIO s\n\n1. item\nthat goes on\n\n    THEN is of the item\n\nprose\n\n    THEN x\n", "SCENARIO s\nTHEN x\n"},
	{"tabs in code", "\tIMPLEMENTS WHEN a\n\tif\n\t\tx\ty\n", "IMPLEMENTS WHEN a\n| if\n|     x   y\n"},
	{"carriage returns in code", "    IMPLEMENTS WHEN a\r\n    x\r\n    y\r\n", "IMPLEMENTS WHEN a\n| x\n| y\n"},
	{"code", "    IMPLEMENTS WHEN a  (.*) b\n    if x; then\n        y\n    fi\n", "IMPLEMENTS WHEN a (.*) b\n| if x; then\n|     y\n| fi\n"},
	{"code with empty lines", "    IMPLEMENTS WHEN a\n    x\n\n\n    y\n", "IMPLEMENTS WHEN a\n| x\n| \n| \n| y\n"},
	{"two in a block", "    IMPLEMENTS WHEN a\n    x\n    IMPLEMENTS THEN b\n    y\n", "IMPLEMENTS WHEN a\n| x\nIMPLEMENTS THEN b\n| y\n"},
	{"no code", "    IMPLEMENTS WHEN a\n    IMPLEMENTS THEN b\n", "IMPLEMENTS WHEN a\nIMPLEMENTS THEN b\n"},
	{"code of the next block", "    IMPLEMENTS WHEN a\n\nprose\n\n    x\n", "IMPLEMENTS WHEN a\n| x\n"},
	{"a scenario in a block of code is code", "    IMPLEMENTS WHEN a\n    x\n\n    SCENARIO s\n", "IMPLEMENTS WHEN a\n| x\n| \n| SCENARIO s\n"},
	{"an example", "    EXAMPLE of a scenario\n    SCENARIO s\n    nonsense\n\nprose\n\n    SCENARIO t\n", "SCENARIO t\n"},
	{"an example in the next block", "    EXAMPLE\n\nprose\n\n    nonsense\n\nprose\n\n    SCENARIO t\n", "SCENARIO t\n"},
}

func TestParse(t *testing.T) {
	for _, c := range parseCases {
		t.Run(c.name, func(t *testing.T) {
			suite, err := read(File{"a.yarn", []byte(c.text)})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, describe(suite)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// describe writes what a suite has, one line each; code begins with "| ".
func describe(s *Suite) string {
	var b strings.Builder
	for _, c := range s.Scenarios {
		fmt.Fprintf(&b, "SCENARIO %s\n", c.Name)
		for _, step := range c.Steps {
			fmt.Fprintln(&b, step)
		}
	}
	for _, i := range s.Implementations {
		fmt.Fprintln(&b, i)
		if i.Shell != "" {
			fmt.Fprintf(&b, "| %s\n", strings.ReplaceAll(strings.TrimRight(i.Shell, "\n"), "\n", "\n| "))
		}
	}
	return b.String()
}

// TestParseConnects has how steps find their implementations.
func TestParseConnects(t *testing.T) {
	suite, err := Parse(
		File{"a.yarn", []byte("    SCENARIO s\n    GIVEN Two APPLES and a pear\n    THEN two apples\n")},
		File{"b.yarn", []byte("    IMPLEMENTS GIVEN (one|two) apples( and a (pear)| and a (plum))?\n    true\n\n" +
			"    IMPLEMENTS THEN two apples\n    true\n")})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, step := range suite.Scenarios[0].Steps {
		got = append(got, fmt.Sprintf("%s: %s %q", step, step.Implementation, step.Matches))
	}
	want := []string{
		`GIVEN Two APPLES and a pear: IMPLEMENTS GIVEN (one|two) apples( and a (pear)| and a (plum))? ["Two" " and a pear" "pear" ""]`,
		`THEN two apples: IMPLEMENTS THEN two apples []`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestParseErrors has each error, with the place that it names.
func TestParseErrors(t *testing.T) {
	const then = "    IMPLEMENTS THEN x\n    true\n"
	for _, c := range []struct {
		name, text, want string
	}{
		{"nothing", "prose\n", `read scenarios: there are none`},
		{"unknown step", "prose\n\n    SCENARIO s\n    IF x\n",
			`a.yarn:4: "IF" begins no step; steps begin with ASSUMING, GIVEN, WHEN, THEN, FINALLY, AND, ...`},
		{"keyword in another case", "    Scenario s\n",
			`a.yarn:1: "Scenario" begins no step; steps begin with ASSUMING, GIVEN, WHEN, THEN, FINALLY, AND, ...`},
		{"step outside", "    THEN x\n", `a.yarn:1: THEN before the first SCENARIO`},
		{"and outside", "    AND x\n", `a.yarn:1: AND before the first SCENARIO`},
		{"nothing to continue", "    ... x\n", `a.yarn:1: ... before the first SCENARIO`},
		{"and first", "    SCENARIO s\n    AND x\n", `a.yarn:2: AND before the first step of the scenario`},
		{"continued scenario", "    SCENARIO s\n    ... x\n", `a.yarn:2: ... before the first step of the scenario`},
		{"implements nothing", "    IMPLEMENTS\n", `a.yarn:1: IMPLEMENTS needs one of ASSUMING, GIVEN, WHEN, THEN, FINALLY, and a regular expression`},
		{"implements anything", "    IMPLEMENTS THEN\n", `a.yarn:1: IMPLEMENTS needs one of ASSUMING, GIVEN, WHEN, THEN, FINALLY, and a regular expression`},
		{"implements and", "    IMPLEMENTS AND x\n", `a.yarn:1: IMPLEMENTS needs one of ASSUMING, GIVEN, WHEN, THEN, FINALLY, and a regular expression`},
		{"pattern", "    IMPLEMENTS THEN (x\n", "a.yarn:1: IMPLEMENTS THEN (x: error parsing regexp: missing closing ): `(?i)\\A(?:(x)`"},
		{"same name", "    SCENARIO s\n    THEN x\n\nprose\n\n    SCENARIO s\n    THEN x\n\nprose\n\n" + then,
			`a.yarn:6: scenario "s" is in a.yarn:1 already`},
		{"no then", "    SCENARIO s\n    WHEN x\n", `a.yarn:1: scenario "s" has no THEN`},
		{"not implemented", "    SCENARIO s\n    THEN it works\n\nprose\n\n" + then, `a.yarn:2: "THEN it works" has no implementation`},
		{"not the longest match", "    SCENARIO s\n    THEN it works\n\nprose\n\n    IMPLEMENTS THEN it|it works\n    true\n",
			`a.yarn:2: "THEN it works" has no implementation`},
		{"another keyword", "    SCENARIO s\n    WHEN x\n    THEN x\n\nprose\n\n" + then, `a.yarn:2: "WHEN x" has no implementation`},
		{"twice", "    SCENARIO s\n    THEN x\n\nprose\n\n" + then + "    IMPLEMENTS THEN [xy]\n    true\n",
			`a.yarn:2: "THEN x" is implemented twice: IMPLEMENTS THEN x and IMPLEMENTS THEN [xy]`},
		{"unused", "    SCENARIO s\n    THEN x\n\nprose\n\n" + then + "    IMPLEMENTS THEN y\n    true\n",
			`a.yarn:8: IMPLEMENTS THEN y: no step uses it`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(File{"a.yarn", []byte(c.text)})
			if diff := cmp.Diff(c.want, fmt.Sprint(err)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// FuzzParse: what the parser takes has steps that their implementations match, all of the text's own words.
func FuzzParse(f *testing.F) {
	f.Add([]byte("# Title\n\n    SCENARIO s\n    WHEN x\n    AND y\n    ... z\n    THEN v\n\n*  l\n\n\tEXAMPLE\n\nprose\n\n" +
		"    IMPLEMENTS WHEN (x|y z)\n    true\n\n    false\n    IMPLEMENTS THEN v\n"))
	for _, c := range parseCases {
		f.Add([]byte(c.text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		suite, err := Parse(File{"a.yarn", data})
		if err != nil {
			return
		}
		for _, s := range suite.Scenarios {
			for _, step := range s.Steps {
				if step.Implementation.Keyword != step.Keyword || step.Text != strings.Join(strings.Fields(step.Text), " ") {
					t.Errorf("%q is implemented by %q", step, step.Implementation)
				}
			}
		}
	})
}
