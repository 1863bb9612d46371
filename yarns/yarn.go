// Package yarns is the readable specification of vmbuild, and what runs it: scenarios in the yarn language of Debian's
// package cmdtest, which are Markdown with prose for people and indented blocks for the machine.
//
//	SCENARIO an image is too small for a system
//	WHEN vmbuild plans --image=test.img --size=100M
//	THEN the plan is refused
//	AND the error says "too small"
//
// The steps are ASSUMING (without which the scenario is skipped), GIVEN, WHEN, THEN and FINALLY (run in any case); AND
// repeats the keyword before it, "..." continues a line, EXAMPLE begins a block that is passed over. What a step does
// stands in a block of its own: IMPLEMENTS, the keyword, a regular expression that the whole step has to match in any
// case of letters, and then shell code, which finds what the groups matched in $MATCH_1 and so on.
//
// The same files are read by yarn itself and by this package, which go test uses:
//
//	make yarns                                     # what needs neither network nor root
//	make yarns TESTS=build MIRROR=URL              # real builds too; MIRROR: take packages from there
//
//	yarn --shell-library=yarns/steps.sh yarns/*.yarn
//	yarn --shell-library=yarns/steps.sh --env=TESTS=build --env=MIRROR=URL --env=VMBUILD_CACHE=$HOME/.cache/vmbuild yarns/*.yarn
//
// yarn is run in the top directory and tries ./vmbuild there, as make build leaves it; --env=VMBUILD=PATH names another.
// It gives the steps a clean environment, and so does this package: PATH, what --env adds, a HOME of their own, DATADIR
// (an empty directory, the scenario's own) and SRCDIR (where it was started).
//
// This package demands more than yarn: an implementation that no step uses is an error, and so is a regular expression
// that Go does not know. It runs scenarios in parallel, which yarn does not, so that scenarios share nothing. It does not
// know all of Markdown: code is what is indented by four columns outside of a list.
package yarns

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// keywords begin the steps, and are what an implementation may be for.
var keywords = []string{"ASSUMING", "GIVEN", "WHEN", "THEN", "FINALLY"}

// File is the text of a file and its name, which errors give.
type File struct {
	Name string
	Data []byte
}

// Suite is what a set of files says; they are read as if they were one.
type Suite struct {
	Scenarios       []Scenario
	Implementations []Implementation
}

// Scenario is one story.
type Scenario struct {
	Name  string
	Steps []Step
	at    line
}

// Step is a line of a scenario.
type Step struct {
	Keyword        string // AND is resolved
	Text           string // words with one blank between them
	Implementation *Implementation
	Matches        []string // what the groups of the implementation's pattern matched
	at             line
}

func (s Step) String() string { return s.Keyword + " " + s.Text }

// Implementation is the meaning of all steps that match.
type Implementation struct {
	Keyword string
	Pattern string
	Shell   string // code; may be empty
	at      line
	regexp  *regexp.Regexp
}

func (i Implementation) String() string { return "IMPLEMENTS " + i.Keyword + " " + i.Pattern }

// SyntaxError says where a file is not in the language.
type SyntaxError struct {
	File   string
	Line   int // from 1
	Reason string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Reason) }

func (l line) errorf(format string, args ...any) error {
	return &SyntaxError{l.file, l.number, fmt.Sprintf(format, args...)}
}

// Parse reads files and gives each step its implementation. All errors are a *SyntaxError, but for files without any
// scenario.
func Parse(files ...File) (*Suite, error) {
	suite, err := read(files...)
	if err != nil {
		return nil, err
	}
	if len(suite.Scenarios) == 0 {
		return nil, fmt.Errorf("read scenarios: there are none")
	}
	if err := suite.check(); err != nil {
		return nil, err
	}
	return suite, suite.connect()
}

// read reads files without a look at what belongs together.
func read(files ...File) (*Suite, error) {
	var p parser
	for _, f := range files {
		p.blocks = append(p.blocks, codeBlocks(f.Name, f.Data)...)
	}
	for len(p.blocks) > 0 {
		if err := p.parse(p.line()); err != nil {
			return nil, err
		}
	}
	return &p.suite, nil
}

// parser takes lines from the front of the blocks.
type parser struct {
	blocks []block
	suite  Suite
}

// line takes the next line.
func (p *parser) line() line {
	first := p.blocks[0][0]
	if p.blocks[0] = p.blocks[0][1:]; len(p.blocks[0]) == 0 {
		p.blocks = p.blocks[1:]
	}
	return first
}

// block takes what is left of the block at hand. That is the next block if its own line was alone in one: so does yarn.
func (p *parser) block() block {
	if len(p.blocks) == 0 {
		return nil
	}
	first := p.blocks[0]
	p.blocks = p.blocks[1:]
	return first
}

func (p *parser) parse(l line) error {
	words := strings.Fields(l.text)
	if len(words) == 0 {
		return nil
	}
	rest := strings.Join(words[1:], " ")
	switch word := words[0]; word {
	case "SCENARIO":
		p.suite.Scenarios = append(p.suite.Scenarios, Scenario{Name: rest, at: l})
		return nil
	case "EXAMPLE":
		p.block()
		return nil
	case "IMPLEMENTS":
		return p.implements(l, words[1:])
	case "AND", "...":
		return p.again(l, word, rest)
	default:
		if !slices.Contains(keywords, word) {
			return l.errorf("%q begins no step; steps begin with %s, AND, ...", word, strings.Join(keywords, ", "))
		}
		if len(p.suite.Scenarios) == 0 {
			return l.errorf("%s before the first SCENARIO", word)
		}
		s := &p.suite.Scenarios[len(p.suite.Scenarios)-1]
		s.Steps = append(s.Steps, Step{Keyword: word, Text: rest, at: l})
		return nil
	}
}

// again parses a line that needs a step before it.
func (p *parser) again(l line, word, rest string) error {
	if len(p.suite.Scenarios) == 0 {
		return l.errorf("%s before the first SCENARIO", word)
	}
	s := &p.suite.Scenarios[len(p.suite.Scenarios)-1]
	if len(s.Steps) == 0 {
		return l.errorf("%s before the first step of the scenario", word)
	}
	last := &s.Steps[len(s.Steps)-1]
	if word == "AND" {
		s.Steps = append(s.Steps, Step{Keyword: last.Keyword, Text: rest, at: l})
	} else {
		last.Text += " " + rest
	}
	return nil
}

// implements parses an implementation, whose code ends with the block or before the next implementation.
func (p *parser) implements(l line, words []string) error {
	if len(words) < 2 || !slices.Contains(keywords, words[0]) {
		return l.errorf("IMPLEMENTS needs one of %s, and a regular expression", strings.Join(keywords, ", "))
	}
	i := Implementation{Keyword: words[0], Pattern: strings.Join(words[1:], " "), at: l}
	var err error
	if i.regexp, err = regexp.Compile(`(?i)\A(?:` + i.Pattern + `)`); err != nil {
		return l.errorf("%s: %v", i, err)
	}
	code := p.block()
	if next := slices.IndexFunc(code, func(l line) bool { return strings.HasPrefix(l.text, "IMPLEMENTS") }); next >= 0 {
		p.blocks = append([]block{code[next:]}, p.blocks...)
		code = code[:next]
	}
	for n, l := range code {
		if n > 0 {
			i.Shell += "\n"
		}
		i.Shell += l.text
	}
	p.suite.Implementations = append(p.suite.Implementations, i)
	return nil
}

// check refuses scenarios that share a name, and those that test nothing.
func (s *Suite) check() error {
	seen := map[string]line{}
	for _, c := range s.Scenarios {
		if first, ok := seen[c.Name]; ok {
			return c.at.errorf("scenario %q is in %s:%d already", c.Name, first.file, first.number)
		}
		seen[c.Name] = c.at
		if !slices.ContainsFunc(c.Steps, func(s Step) bool { return s.Keyword == "THEN" }) {
			return c.at.errorf("scenario %q has no THEN", c.Name)
		}
	}
	return nil
}

// connect gives each step its implementation. Each step has exactly one, each implementation at least one step.
func (s *Suite) connect() error {
	used := map[*Implementation]bool{}
	for _, c := range s.Scenarios {
		for n := range c.Steps {
			if err := s.implement(&c.Steps[n]); err != nil {
				return err
			}
			used[c.Steps[n].Implementation] = true
		}
	}
	for n := range s.Implementations {
		if i := &s.Implementations[n]; !used[i] {
			return i.at.errorf("%s: no step uses it", i)
		}
	}
	return nil
}

func (s *Suite) implement(step *Step) error {
	for n := range s.Implementations {
		i := &s.Implementations[n]
		matches := i.match(*step)
		switch {
		case matches == nil:
		case step.Implementation != nil:
			return step.at.errorf("%q is implemented twice: %s and %s", step, step.Implementation, i)
		default:
			step.Implementation, step.Matches = i, matches[1:]
		}
	}
	if step.Implementation == nil {
		return step.at.errorf("%q has no implementation", step)
	}
	return nil
}

// match returns what the pattern and its groups match, nil if the pattern does not match the whole step. As in yarn the
// first match that a search from the left finds counts: another one that would be longer does not.
func (i *Implementation) match(s Step) []string {
	if i.Keyword != s.Keyword {
		return nil
	}
	if m := i.regexp.FindStringSubmatch(s.Text); m != nil && m[0] == s.Text {
		return m
	}
	return nil
}
