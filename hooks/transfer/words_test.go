package transfer

import (
	"errors"
	"reflect"
	"testing"
)

// The wanted words are those of
//
//	perl -MText::ParseWords=shellwords -e 'print "[", join("|", shellwords($_)), "]\n" for @ARGV' TEXT...
func TestSplit(t *testing.T) {
	for text, want := range map[string][]string{
		``:                                 nil,
		` `:                                nil,
		`copy-in a b`:                      {"copy-in", "a", "b"},
		"  a\tb\nc  ":                      {"a", "b", "c"},
		`copy-in a\ b "c d"e 'f\'g' ""`:    {"copy-in", "a b", "c de", `f\'g`, ""},
		`a 'b\\c' "d\q\""`:                 {"a", `b\\c`, `dq"`},
		`upload "it's" '"' \'\"\\`:         {"upload", "it's", `"`, `'"\`},
		`tar-in a"b"'c'd $x *.tar ~ a#b;c`: {"tar-in", "abcd", "$x", "*.tar", "~", "a#b;c"},
	} {
		if got, err := split(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("split(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{`a "b`, `a 'b`, `a\`, `"a\"`, `"`} {
		if got, err := split(text); !errors.Is(err, errQuote) {
			t.Errorf("split(%q) = %q, %v, want %v", text, got, err, errQuote)
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add(`copy-in a\ b "c d"e 'f\'g' ""`)
	f.Add("a\\\n'")
	f.Fuzz(func(t *testing.T, text string) {
		words, err := split(text)
		size := 0
		for _, w := range words {
			size += len(w)
		}
		if err == nil && size > len(text) {
			t.Errorf("split(%q) = %q: more than there was", text, words)
		}
	})
}
