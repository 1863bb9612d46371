package resolve

import (
	"errors"
	"fmt"
	"strings"
)

// node is a term of a pattern as it was written (apt-patterns(7)), or a word among the arguments of one. What terms
// mean is told by the table in matcher.go.
type node struct {
	term      string // without the question mark; empty for a word
	word      string
	list      bool // it has an argument list, though that may be empty
	arguments []node
}

// isPattern says whether a word of a request is a pattern. apt-get itself knows only those that begin with ? and ~.
func isPattern(text string) bool { return text != "" && strings.IndexByte("?~!(", text[0]) >= 0 }

// shortTerms are the letters behind a tilde, apt's own and complete. Those that begin like another one come before it.
var shortTerms = []struct {
	short, term string
	argument    bool
}{
	{"r", "architecture", true}, {"A", "archive", true}, {"M", "automatic", false}, {"b", "broken", false},
	{"c", "config-files", false}, {"E", "essential", false}, {"F", "false", false}, {"g", "garbage", false},
	{"i", "installed", false}, {"n", "name", true}, {"o", "obsolete", false}, {"O", "origin", true},
	{"p", "priority", true}, {"s", "section", true}, {"e", "source-package", true}, {"T", "true", false},
	{"U", "upgradable", false}, {"V", "version", true}, {"v", "virtual", false},
	{"DDepends:", "depends", true}, {"DPre-Depends:", "pre-depends", true}, {"DSuggests:", "suggests", true},
	{"DRecommends:", "recommends", true}, {"DConflicts:", "conflicts", true}, {"DReplaces:", "replaces", true},
	{"DObsoletes:", "obsoletes", true}, {"DBreaks:", "breaks", true}, {"DEnhances:", "enhances", true},
	{"D", "depends", true},
	{"RDepends:", "reverse-depends", true}, {"RPre-Depends:", "reverse-pre-depends", true},
	{"RSuggests:", "reverse-suggests", true}, {"RRecommends:", "reverse-recommends", true},
	{"RConflicts:", "reverse-conflicts", true}, {"RReplaces:", "reverse-replaces", true},
	{"RObsoletes:", "reverse-obsoletes", true}, {"RBreaks:", "reverse-breaks", true},
	{"REnhances:", "reverse-enhances", true}, {"R", "reverse-depends", true},
}

// parsePattern reads a whole pattern.
func parsePattern(text string) (node, error) {
	p := patternParser{text: text}
	n, err := p.either()
	if err == nil {
		if p.skip(); p.rest() != "" {
			err = fmt.Errorf("%q follows a complete pattern", p.rest())
		}
	}
	if err != nil {
		return node{}, fmt.Errorf("parse pattern %q: %w", text, err)
	}
	return n, nil
}

// patternParser reads a pattern from left to right. The grammar, from loose to tight:
//
//	either:  both { "|" both }
//	both:    unary { unary }
//	unary:   [ "!" ] ( "(" either ")" | "~" letter [ argument ] | "?" name [ "(" argument { "," argument } [ "," ] ")" ] )
//	argument: a quoted word, a word, or a pattern
type patternParser struct {
	text  string
	next  int
	depth int
}

// maxDepth of parentheses; patterns that people write have a handful.
const maxDepth = 100

// errNoPattern says that there is something else, or nothing, where a pattern could stand.
var errNoPattern = errors.New("a pattern is missing")

func (p *patternParser) rest() string { return p.text[p.next:] }

func (p *patternParser) skip() {
	p.next += len(p.rest()) - len(strings.TrimLeft(p.rest(), " \t\r\n"))
}

// accept goes past c if it is next.
func (p *patternParser) accept(c byte) bool {
	if !strings.HasPrefix(p.rest(), string(c)) {
		return false
	}
	p.next++
	return true
}

// take goes past the characters that are in the set and returns them.
func (p *patternParser) take(in func(c byte) bool) string {
	start := p.next
	for p.next < len(p.text) && in(p.text[p.next]) {
		p.next++
	}
	return p.text[start:p.next]
}

func (p *patternParser) either() (node, error) {
	list, err := p.list(p.both, func() bool { p.skip(); return p.accept('|') })
	return join("or", list), err
}

func (p *patternParser) both() (node, error) {
	list, err := p.list(p.unary, func() bool { p.skip(); return isPattern(p.rest()) })
	return join("and", list), err
}

// list reads as many terms as there are.
func (p *patternParser) list(read func() (node, error), more func() bool) ([]node, error) {
	var list []node
	for {
		n, err := read()
		if err != nil {
			return nil, err
		}
		if list = append(list, n); !more() {
			return list, nil
		}
	}
}

func join(term string, list []node) node {
	if len(list) == 1 {
		return list[0]
	}
	return node{term: term, list: true, arguments: list}
}

func (p *patternParser) unary() (node, error) {
	p.skip()
	if p.accept('!') {
		n, err := p.primary()
		return node{term: "not", list: true, arguments: []node{n}}, err
	}
	return p.primary()
}

func (p *patternParser) primary() (node, error) {
	if p.depth++; p.depth > maxDepth {
		return node{}, errors.New("it is nested too deeply")
	}
	defer func() { p.depth-- }()
	switch {
	case p.accept('~'):
		return p.short()
	case p.accept('?'):
		return p.long()
	case p.accept('('):
		n, err := p.either()
		if err != nil {
			return node{}, err
		}
		if p.skip(); !p.accept(')') {
			return node{}, fmt.Errorf("a closing parenthesis is missing before %q", p.rest())
		}
		return n, nil
	}
	return node{}, fmt.Errorf("%w before %q", errNoPattern, p.rest())
}

func (p *patternParser) short() (node, error) {
	for _, s := range shortTerms {
		if !strings.HasPrefix(p.rest(), s.short) {
			continue
		}
		p.next += len(s.short)
		n := node{term: s.term, list: s.argument}
		if s.argument {
			argument, err := p.argument("!?~|,() ")
			if err != nil {
				return node{}, err
			}
			n.arguments = []node{argument}
		}
		return n, nil
	}
	return node{}, fmt.Errorf(`"~%.1s" is no short pattern`, p.rest())
}

func (p *patternParser) long() (node, error) {
	n := node{term: p.take(func(c byte) bool { return c == '-' || isAlphanumeric(c) })}
	if n.term == "" {
		return node{}, errors.New("a name is missing after the question mark")
	}
	if p.skip(); !p.accept('(') {
		return n, nil
	}
	n.list = true
	for p.skip(); !p.accept(')'); p.skip() {
		argument, err := p.argument("|,()")
		if err != nil {
			return node{}, err
		}
		n.arguments = append(n.arguments, argument)
		if p.skip(); !p.accept(',') && !strings.HasPrefix(p.rest(), ")") {
			return node{}, fmt.Errorf("a comma or a closing parenthesis is missing before %q", p.rest())
		}
	}
	return n, nil
}

// argument reads a quoted word, a word that ends before one of the given characters, or a pattern.
func (p *patternParser) argument(end string) (node, error) {
	switch {
	case p.accept('"'):
		n := node{word: p.take(func(c byte) bool { return c != '"' })}
		if !p.accept('"') {
			return node{}, errors.New("a quoted word has no end")
		}
		return n, nil
	case p.rest() != "" && strings.IndexByte("!?~|,() ", p.rest()[0]) < 0:
		return node{word: p.take(func(c byte) bool { return strings.IndexByte(end, c) < 0 })}, nil
	}
	n, err := p.either()
	if errors.Is(err, errNoPattern) {
		err = fmt.Errorf("an argument is missing before %q", p.rest())
	}
	return n, err
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// String writes the pattern in its long form, words in quotes.
func (n node) String() string {
	if n.term == "" {
		return `"` + n.word + `"`
	}
	if !n.list {
		return "?" + n.term
	}
	var arguments []string
	for _, a := range n.arguments {
		arguments = append(arguments, a.String())
	}
	return "?" + n.term + "(" + strings.Join(arguments, ",") + ")"
}
