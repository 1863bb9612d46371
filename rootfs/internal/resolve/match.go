package resolve

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// expression is what apt matches names, versions and fields of Release files with where a plain text can stand too: a
// glob(7), a POSIX extended regular expression between slashes, or the text itself. Case does not matter.
type expression struct {
	text   string
	regexp *regexp.Regexp // nil for a plain text
}

func newExpression(text string) (expression, error) {
	e := expression{text: text}
	var err error
	switch {
	case len(text) > 1 && text[0] == '/' && text[len(text)-1] == '/':
		e.regexp, err = newRegexp(text[1 : len(text)-1])
	case strings.ContainsAny(text, `*?[\`):
		e.regexp, err = newGlob(text)
	}
	return e, err
}

func (e expression) matches(text string) bool {
	if e.regexp != nil {
		return e.regexp.MatchString(text)
	}
	return strings.EqualFold(e.text, text)
}

// plain says whether the expression is nothing but a text.
func (e expression) plain() bool { return e.regexp == nil }

// newRegexp compiles a regular expression as apt does, without regard to case.
func newRegexp(text string) (*regexp.Regexp, error) {
	re, err := regexp.Compile("(?is)" + text)
	if err != nil {
		return nil, fmt.Errorf("%q is not a regular expression: %w", text, err)
	}
	return re, nil
}

// newGlob compiles a glob without regard to case. Slashes are characters like all others.
func newGlob(text string) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString("(?is)^")
	for rest := text; rest != ""; {
		var piece string
		piece, rest = cutGlob(rest)
		b.WriteString(piece)
	}
	b.WriteString("$")
	re, err := regexp.Compile(b.String())
	if err != nil {
		return nil, fmt.Errorf("%q is not a glob: %w", text, err)
	}
	return re, nil
}

// cutGlob translates the first character, or set of characters, of a glob to a regular expression.
func cutGlob(glob string) (piece, rest string) {
	switch glob[0] {
	case '*':
		return ".*", glob[1:]
	case '?':
		return ".", glob[1:]
	case '\\':
		if len(glob) > 1 {
			return regexp.QuoteMeta(glob[1:2]), glob[2:]
		}
	case '[':
		if end := setEnd(glob); end > 0 {
			set := strings.ReplaceAll(glob[1:end], `\`, `\\`)
			if set[0] == '!' {
				set = "^" + set[1:]
			}
			return "[" + set + "]", glob[end+1:]
		}
	}
	return regexp.QuoteMeta(glob[:1]), glob[1:]
}

// setEnd returns where the bracket is that closes the set a glob begins with, 0 if there is none. A closing bracket
// that comes first in the set, perhaps after the exclamation mark, is part of it.
func setEnd(glob string) int {
	start := 1
	if start < len(glob) && (glob[start] == '!' || glob[start] == '^') {
		start++
	}
	if start+1 > len(glob) {
		return 0
	}
	if i := strings.IndexByte(glob[start+1:], ']'); i >= 0 {
		return start + 1 + i
	}
	return 0
}

// release is what a Pin of kind release, the default release and name/release say of an archive: conditions on fields
// of its Release file, all of which must hold, or one word that means its suite or its codename, or, if it begins with
// a digit, its version.
type release map[byte]expression // by apt's letters; 'r' is the word; no condition, written "*", means all archives

func newRelease(text string) (release, error) {
	r := make(release)
	switch {
	case text == "*":
		return r, nil
	case !strings.Contains(text, "="):
		letter := byte('r')
		if text != "" && '0' <= text[0] && text[0] <= '9' {
			letter = 'v'
		}
		return r, r.add(letter, text)
	}
	for condition := range strings.SplitSeq(text, ",") {
		letter, value, found := strings.Cut(strings.TrimSpace(condition), "=")
		if !found || len(letter) != 1 || !strings.Contains("vaoncblVAONCBL", letter) {
			return nil, fmt.Errorf("%q is not one of a=, n=, v=, c=, o=, l=, b=", condition)
		}
		if err := r.add(letter[0]|0x20, value); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// add sets a condition. Of several for one field the last counts.
func (r release) add(letter byte, text string) error {
	if text == "" {
		return errors.New("a release is named by nothing")
	}
	e, err := newExpression(text)
	r[letter] = e
	return err
}

func (r release) matches(in *index) bool {
	for letter, e := range r {
		if !in.is(letter, e) {
			return false
		}
	}
	return true
}

// is holds one field of the index's Release file against an expression. A field that is not there matches nothing.
func (in *index) is(letter byte, e expression) bool {
	has := func(field string) bool { return field != "" && e.matches(field) }
	switch letter {
	case 'v':
		return has(in.Version)
	case 'a':
		return has(in.Suite)
	case 'n':
		return has(in.Codename)
	case 'o':
		return has(in.Origin)
	case 'l':
		return has(in.Label)
	case 'c':
		return has(in.Component)
	case 'b':
		return has(in.Arch)
	}
	return has(in.Suite) || has(in.Codename)
}
