package control

import (
	"errors"
	"fmt"
	"iter"
	"strings"
)

// Op is the operator of a version restriction, as policy 7.1 writes it.
type Op string

const (
	Any            Op = "" // no restriction
	Earlier        Op = "<<"
	EarlierOrEqual Op = "<="
	Equal          Op = "="
	LaterOrEqual   Op = ">="
	Later          Op = ">>"
)

// Matches says whether version satisfies a restriction to versions that stand in relation op to limit.
func (op Op) Matches(version, limit string) bool {
	if op == Any {
		return true
	}
	c := CompareVersions(version, limit)
	switch op {
	case Earlier:
		return c < 0
	case EarlierOrEqual:
		return c <= 0
	case Equal:
		return c == 0
	case LaterOrEqual:
		return c >= 0
	case Later:
		return c > 0
	}
	return false
}

// Relation names one package that a relation field asks for: name:arch (op version) [architectures] <profiles>.
type Relation struct {
	Name          string
	Arch          string // qualifier: "", "any", "native" or an architecture
	Op            Op
	Version       string
	Architectures string // restriction to architectures as written, without the brackets: "amd64 !linux-any"
	Profiles      string // build profiles as written, with the angle brackets: "<!nocheck> <cross>"
}

// String writes the relation as policy 7.1 does, without restrictions to architectures and build profiles.
func (r Relation) String() string {
	s := r.Name
	if r.Arch != "" {
		s += ":" + r.Arch
	}
	if r.Op != Any {
		s += " (" + string(r.Op) + " " + r.Version + ")"
	}
	return s
}

// Applies says whether the relation holds for packages of the named architecture when no build profile is active.
// Binary packages have no such restrictions; source packages and tables written by hand have.
func (r Relation) Applies(arch string) bool {
	return (r.Architectures == "" || listsArchitecture(r.Architectures, arch)) &&
		(r.Profiles == "" || appliesWithoutProfiles(r.Profiles))
}

// listsArchitecture reads a list that either names architectures or, with exclamation marks, excludes them.
func listsArchitecture(list, arch string) bool {
	negative := false
	for name := range strings.FieldsSeq(list) {
		wildcard, negated := strings.CutPrefix(name, "!")
		if MatchesArchitecture(wildcard, arch) {
			return !negated
		}
		negative = negated
	}
	return negative
}

// MatchesArchitecture says whether arch, such as amd64 or hurd-i386, is one that the wildcard names: itself, "any",
// "linux-any", "any-amd64" (policy 11.1.1).
func MatchesArchitecture(wildcard, arch string) bool {
	if wildcard == "any" || wildcard == arch {
		return true
	}
	kernel, cpu, found := strings.Cut(arch, "-")
	if !found {
		kernel, cpu = "linux", arch
	}
	wildcardKernel, wildcardCPU, found := strings.Cut(wildcard, "-")
	if !found {
		return false
	}
	return (wildcardKernel == "any" || wildcardKernel == kernel) && (wildcardCPU == "any" || wildcardCPU == cpu)
}

// appliesWithoutProfiles reads a formula in disjunctive normal form: one of the bracketed lists must have negated
// profiles only.
func appliesWithoutProfiles(formula string) bool {
	for list := range strings.SplitSeq(formula, ">") {
		list = strings.TrimLeft(list, "< ")
		positive := false
		for term := range strings.FieldsSeq(list) {
			positive = positive || term[0] != '!'
		}
		if list != "" && !positive {
			return true
		}
	}
	return false
}

// Group is a list of alternatives, one of which is asked for: a | b.
type Group []Relation

// String writes the alternatives as policy 7.1 does.
func (g Group) String() string {
	texts := make([]string, len(g))
	for i, r := range g {
		texts[i] = r.String()
	}
	return strings.Join(texts, " | ")
}

// ParseRelations reads a relation field such as Depends or Provides: groups separated by commas, each of alternatives
// separated by bars. Empty groups, as a comma too many makes them, are left out.
func ParseRelations(field string) ([]Group, error) {
	if field == "" {
		return nil, nil
	}
	relations := make([]Relation, 0, strings.Count(field, ",")+strings.Count(field, "|")+1)
	groups := make([]Group, 0, strings.Count(field, ",")+1)
	start := 0
	for r, err := range Relations(field) {
		if err != nil {
			return nil, err
		}
		relations = append(relations, r.Relation)
		if !r.Or {
			groups = append(groups, relations[start:len(relations):len(relations)])
			start = len(relations)
		}
	}
	return groups, nil
}

// Alternative is a relation in its place in a field.
type Alternative struct {
	Relation
	Or bool // another alternative of the same group follows
}

// Relations yields the relations of a field one by one, without collecting them. It ends with the first error.
func Relations(field string) iter.Seq2[Alternative, error] {
	return func(yield func(Alternative, error) bool) {
		p := relationParser{rest: field}
		for p.skip(blank | comma); p.rest != ""; p.skip(blank | comma) {
			a, err := p.alternative()
			if err != nil {
				yield(Alternative{}, fmt.Errorf("parse relation field %q: %w", field, err))
				return
			}
			if !yield(a, nil) {
				return
			}
		}
	}
}

// class tells the bytes that mean something in a relation field from those of names and versions.
type class uint8

const (
	blank class = 1 << iota
	comma
	delimiter
)

var classes = [256]class{
	' ': blank, '\t': blank, '\r': blank, '\n': blank, ',': comma, '|': delimiter,
	'(': delimiter, ')': delimiter, '[': delimiter, ']': delimiter, '<': delimiter, '>': delimiter,
}

// relationParser cuts a relation field from the front.
type relationParser struct{ rest string }

// skip cuts bytes of the given classes.
func (p *relationParser) skip(c class) {
	for p.rest != "" && classes[p.rest[0]]&c != 0 {
		p.rest = p.rest[1:]
	}
}

// word cuts what stands before the next byte of any class.
func (p *relationParser) word() string {
	end := 0
	for end < len(p.rest) && classes[p.rest[end]] == 0 {
		end++
	}
	word := p.rest[:end]
	p.rest = p.rest[end:]
	return word
}

// alternative reads one relation and what separates it from the next.
func (p *relationParser) alternative() (Alternative, error) {
	var a Alternative
	name := p.word()
	if a.Name = name; name == "" {
		return a, fmt.Errorf("a package name is missing before %q", p.rest)
	}
	if colon := strings.IndexByte(name, ':'); colon >= 0 {
		a.Name, a.Arch = name[:colon], name[colon+1:]
		if a.Name == "" || a.Arch == "" {
			return a, fmt.Errorf("%q is not a package name", name)
		}
	}
	p.skip(blank)
	if err := p.restrictions(&a.Relation); err != nil {
		return a, err
	}
	switch {
	case p.rest == "":
	case p.rest[0] == ',':
		p.rest = p.rest[1:]
	case p.rest[0] == '|':
		a.Or = true
		p.rest = p.rest[1:]
		p.skip(blank)
		if p.rest == "" || p.rest[0] == ',' {
			return a, fmt.Errorf("no alternative follows the bar after %q", name)
		}
	default:
		return a, fmt.Errorf("%q follows %q without a comma", p.rest, name)
	}
	return a, nil
}

// restrictions reads the bracketed parts behind a name: each at most once, but for the profiles' lists.
func (p *relationParser) restrictions(r *Relation) error {
	for p.rest != "" {
		var err error
		switch p.rest[0] {
		case '(':
			err = p.version(r)
		case '[':
			r.Architectures, err = p.bracketed(']')
		case '<':
			var list string
			if list, err = p.bracketed('>'); r.Profiles != "" {
				r.Profiles += " "
			}
			r.Profiles += "<" + list + ">"
		default:
			return nil
		}
		if err != nil {
			return err
		}
		p.skip(blank)
	}
	return nil
}

// version reads "(op version)". A version without an operator is meant exactly, and the operators < and > of very old
// packages mean <= and >= (policy 7.1).
func (p *relationParser) version(r *Relation) error {
	content, err := p.bracketed(')')
	if err != nil {
		return err
	}
	length := 0
	for length < len(content) && strings.IndexByte("<=>", content[length]) >= 0 {
		length++
	}
	if r.Op, err = parseOp(content[:length]); err != nil {
		return err
	}
	if r.Version = trim(content[length:]); r.Version == "" {
		return errors.New("a version restriction has no version")
	}
	return nil
}

func parseOp(text string) (Op, error) {
	switch text {
	case ">=":
		return LaterOrEqual, nil
	case "=", "", "==":
		return Equal, nil
	case "<<":
		return Earlier, nil
	case "<=", "<":
		return EarlierOrEqual, nil
	case ">>":
		return Later, nil
	case ">":
		return LaterOrEqual, nil
	}
	return Any, fmt.Errorf("%q is not a relation between versions", text)
}

// bracketed reads up to the closing bracket what stands after the opening one.
func (p *relationParser) bracketed(closing byte) (string, error) {
	end := strings.IndexByte(p.rest, closing)
	if end < 0 {
		return "", fmt.Errorf("%q has no closing %q", p.rest, closing)
	}
	content := trim(p.rest[1:end])
	p.rest = p.rest[end+1:]
	return content, nil
}

// trim cuts blanks from both ends. It does what strings.Trim does, without setting up a set of bytes for each call.
func trim(s string) string {
	for s != "" && classes[s[0]]&blank != 0 {
		s = s[1:]
	}
	for s != "" && classes[s[len(s)-1]]&blank != 0 {
		s = s[:len(s)-1]
	}
	return s
}
