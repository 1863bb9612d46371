package resolve

import (
	"fmt"
	"regexp"
	"strings"

	"vmbuild/rootfs/internal/control"
)

// matcher is a pattern that was understood. apt asks it of packages first; only what narrows (?narrow, ?any-version)
// makes its parts look at one version at a time. A slot without versions stands for a virtual package.
type matcher struct {
	slot    func(*slot) bool
	version func(*version) bool
}

// ofPackages is a matcher that sees no difference between the versions of a package.
func ofPackages(f func(*slot) bool) matcher {
	return matcher{slot: f, version: func(v *version) bool { return f(v.slot) }}
}

// ofVersions is a matcher that matches a package if it matches any of its versions.
func ofVersions(f func(*version) bool) matcher {
	return matcher{slot: func(s *slot) bool { return s.anyVersion(f) }, version: f}
}

func (s *slot) anyVersion(f func(*version) bool) bool {
	for _, v := range s.versions {
		if f(v) {
			return true
		}
	}
	return false
}

// arguments says what a term takes in parentheses.
type arguments int

const (
	noArgument arguments = iota
	oneWord
	onePattern
	patterns // any number
)

// terms are those of apt-patterns(7) and their meaning. How to add one: a row here, its short form if it has one in
// pattern.go; then go test ./rootfs/internal/resolve.
var terms = []struct {
	name      string
	arguments arguments
	make      func(s *solver, word string, inner []matcher) (matcher, error)
}{
	{"true", noArgument, always(true)},
	{"false", noArgument, always(false)},
	{"and", patterns, func(_ *solver, _ string, inner []matcher) (matcher, error) { return and(inner), nil }},
	{"or", patterns, func(_ *solver, _ string, inner []matcher) (matcher, error) { return or(inner), nil }},
	{"not", onePattern, func(_ *solver, _ string, inner []matcher) (matcher, error) { return not(inner[0]), nil }},
	{"narrow", patterns, func(_ *solver, _ string, inner []matcher) (matcher, error) {
		return ofVersions(and(inner).version), nil
	}},
	{"any-version", onePattern, func(_ *solver, _ string, inner []matcher) (matcher, error) {
		return ofVersions(inner[0].version), nil
	}},
	{"all-versions", onePattern, func(_ *solver, _ string, inner []matcher) (matcher, error) {
		other := not(inner[0]).version
		return matcher{
			slot:    func(s *slot) bool { return !s.anyVersion(other) },
			version: inner[0].version,
		}, nil
	}},

	{"architecture", oneWord, func(s *solver, word string, _ []matcher) (matcher, error) {
		return ofPackages(func(slot *slot) bool { return s.isArch(slot.arch, word) }), nil
	}},
	{"exact-name", oneWord, func(_ *solver, word string, _ []matcher) (matcher, error) {
		return ofPackages(func(slot *slot) bool { return slot.text == word }), nil
	}},
	{"name", oneWord, byRegexp(func(re *regexp.Regexp) matcher {
		return ofPackages(func(slot *slot) bool { return re.MatchString(slot.text) })
	})},
	{"x-name-fnmatch", oneWord, func(_ *solver, word string, _ []matcher) (matcher, error) {
		re, err := newGlob(word)
		return ofPackages(func(slot *slot) bool { return re.MatchString(slot.text) }), err
	}},
	{"essential", noArgument, onPackages(func(_ *solver, slot *slot) bool { return slot.essential })},
	{"virtual", noArgument, onPackages(func(_ *solver, slot *slot) bool { return len(slot.versions) == 0 })},

	{"archive", oneWord, byRelease(func(in *index) string { return in.Suite })},
	{"codename", oneWord, byRelease(func(in *index) string { return in.Codename })},
	{"origin", oneWord, byRelease(func(in *index) string { return in.Origin })},
	{"priority", oneWord, func(_ *solver, word string, _ []matcher) (matcher, error) {
		return ofVersions(func(v *version) bool { return strings.ToLower(v.Priority) == word }), nil
	}},
	{"section", oneWord, byField(func(p *control.Package) string { return p.Section })},
	{"version", oneWord, byField(func(p *control.Package) string { return p.Version })},
	{"source-package", oneWord, byField(func(p *control.Package) string { name, _ := source(p); return name })},
	{"source-version", oneWord, byField(func(p *control.Package) string { _, number := source(p); return number })},

	{"installed", noArgument, func(s *solver, _ string, _ []matcher) (matcher, error) {
		return ofVersions(func(v *version) bool { return s.isChosen(v) && s.state(v).installed }), nil
	}},
	{"automatic", noArgument, ifInstalled(func(_ *slot, st state) bool { return st.auto })},
	{"upgradable", noArgument, ifInstalled(func(slot *slot, st state) bool {
		return slot.candidate != nil && control.CompareVersions(slot.candidate.Version, st.chosen.Version) > 0
	})},
	// What is installed here is always whole, in an archive and wanted.
	{"broken", noArgument, always(false)},
	{"config-files", noArgument, always(false)},
	{"garbage", noArgument, always(false)},
	{"obsolete", noArgument, always(false)},
	{"phasing", noArgument, always(false)},

	{"depends", onePattern, relatedBy(func(p *control.Package) string { return p.Depends })},
	{"pre-depends", onePattern, relatedBy(func(p *control.Package) string { return p.PreDepends })},
	{"recommends", onePattern, relatedBy(func(p *control.Package) string { return p.Recommends })},
	{"suggests", onePattern, relatedBy(func(p *control.Package) string { return p.Suggests })},
	{"enhances", onePattern, relatedBy(func(p *control.Package) string { return p.Enhances })},
	{"conflicts", onePattern, relatedBy(func(p *control.Package) string { return p.Conflicts })},
	{"breaks", onePattern, relatedBy(func(p *control.Package) string { return p.Breaks })},
	{"replaces", onePattern, relatedBy(func(p *control.Package) string { return p.Replaces })},
	{"obsoletes", onePattern, always(false)}, // no package has the field
	{"reverse-depends", onePattern, reverse(func(p *control.Package) string { return p.Depends })},
	{"reverse-pre-depends", onePattern, reverse(func(p *control.Package) string { return p.PreDepends })},
	{"reverse-recommends", onePattern, reverse(func(p *control.Package) string { return p.Recommends })},
	{"reverse-suggests", onePattern, reverse(func(p *control.Package) string { return p.Suggests })},
	{"reverse-enhances", onePattern, reverse(func(p *control.Package) string { return p.Enhances })},
	{"reverse-conflicts", onePattern, reverse(func(p *control.Package) string { return p.Conflicts })},
	{"reverse-breaks", onePattern, reverse(func(p *control.Package) string { return p.Breaks })},
	{"reverse-replaces", onePattern, reverse(func(p *control.Package) string { return p.Replaces })},
	{"reverse-obsoletes", onePattern, always(false)},
}

type maker = func(s *solver, word string, inner []matcher) (matcher, error)

func always(answer bool) maker {
	return func(*solver, string, []matcher) (matcher, error) {
		return ofPackages(func(*slot) bool { return answer }), nil
	}
}

// and is true of what no matcher is false of.
func and(inner []matcher) matcher {
	inverse := make([]matcher, len(inner))
	for i, m := range inner {
		inverse[i] = not(m)
	}
	return not(or(inverse))
}

func or(inner []matcher) matcher {
	return matcher{
		slot: func(s *slot) bool {
			for _, m := range inner {
				if m.slot(s) {
					return true
				}
			}
			return false
		},
		version: func(v *version) bool {
			for _, m := range inner {
				if m.version(v) {
					return true
				}
			}
			return false
		},
	}
}

func not(m matcher) matcher {
	return matcher{
		slot:    func(s *slot) bool { return !m.slot(s) },
		version: func(v *version) bool { return !m.version(v) },
	}
}

func onPackages(f func(s *solver, slot *slot) bool) maker {
	return func(s *solver, _ string, _ []matcher) (matcher, error) {
		return ofPackages(func(slot *slot) bool { return f(s, slot) }), nil
	}
}

func ifInstalled(f func(*slot, state) bool) maker {
	return onPackages(func(s *solver, slot *slot) bool {
		return len(slot.versions) > 0 && s.states[slot.id].installed && f(slot, s.states[slot.id])
	})
}

func byRegexp(f func(*regexp.Regexp) matcher) maker {
	return func(_ *solver, word string, _ []matcher) (matcher, error) {
		re, err := newRegexp(word)
		return f(re), err
	}
}

func byField(of func(*control.Package) string) maker {
	return byRegexp(func(re *regexp.Regexp) matcher {
		return ofVersions(func(v *version) bool { return re.MatchString(of(v.Package)) })
	})
}

// byRelease matches versions by a field of the Release files of the indexes that have them; each is looked at once.
func byRelease(field func(*index) string) maker {
	return func(s *solver, word string, _ []matcher) (matcher, error) {
		re, err := newRegexp(word)
		if err != nil {
			return matcher{}, err
		}
		matching := make([]bool, len(s.indexes))
		for i := range s.indexes {
			text := field(&s.indexes[i])
			matching[i] = text != "" && re.MatchString(text)
		}
		return ofVersions(func(v *version) bool {
			for _, i := range v.indexes {
				if matching[i] {
					return true
				}
			}
			return matching[v.index]
		}), nil
	}
}

// relatedBy matches versions that have a relation, in the given field, to a package that matches.
func relatedBy(field func(*control.Package) string) maker {
	return func(s *solver, _ string, inner []matcher) (matcher, error) {
		return ofVersions(func(v *version) bool {
			for r, err := range control.Relations(field(v.Package)) {
				if err == nil && inner[0].slot(s.target(r.Relation, v)) {
					return true
				}
			}
			return false
		}), nil
	}
}

// target returns the slot that a relation of v names; one without versions if it names a virtual package.
func (s *solver) target(r control.Relation, v *version) *slot {
	n := s.names[r.Name]
	if n == nil {
		n = &name{text: r.Name}
	}
	arch := targetArch(r, v)
	if real := n.forArch(arch); real != nil {
		return real
	}
	return &slot{name: n, arch: arch}
}

// targetArch is the architecture that a relation of v names.
func targetArch(r control.Relation, v *version) string {
	if r.Arch == "" || r.Arch == "any" || r.Arch == "native" {
		return v.slot.arch
	}
	return r.Arch
}

// reverse matches packages that a version which matches has a relation to.
func reverse(field func(*control.Package) string) maker {
	type target struct{ name, arch string }
	return func(s *solver, _ string, inner []matcher) (matcher, error) {
		related := make(map[target]bool)
		for _, slot := range s.packages {
			for _, v := range slot.versions {
				if !inner[0].version(v) {
					continue
				}
				for r, err := range control.Relations(field(v.Package)) {
					if err == nil {
						related[target{r.Name, targetArch(r.Relation, v)}] = true
					}
				}
			}
		}
		return ofPackages(func(slot *slot) bool { return related[target{slot.text, slot.arch}] }), nil
	}
}

// matcher understands a pattern.
func (s *solver) matcher(text string) (matcher, error) {
	n, err := parsePattern(text)
	if err != nil {
		return matcher{}, err
	}
	m, err := s.compile(n)
	if err != nil {
		return matcher{}, fmt.Errorf("pattern %q: %w", text, err)
	}
	return m, nil
}

func (s *solver) compile(n node) (matcher, error) {
	if n.term == "" {
		return matcher{}, fmt.Errorf("%q is a word where a pattern must be", n.word)
	}
	for _, t := range terms {
		if t.name != n.term {
			continue
		}
		word, inner, err := s.compileArguments(n, t.arguments)
		if err != nil {
			return matcher{}, err
		}
		return t.make(s, word, inner)
	}
	return matcher{}, fmt.Errorf("there is no pattern ?%s", n.term)
}

// compileArguments holds the arguments of a term against what it takes.
func (s *solver) compileArguments(n node, takes arguments) (word string, inner []matcher, err error) {
	switch {
	case takes == noArgument && n.list:
		return "", nil, fmt.Errorf("?%s takes no arguments", n.term)
	case takes == patterns && !n.list:
		return "", nil, fmt.Errorf("?%s lacks its arguments", n.term)
	case (takes == oneWord || takes == onePattern) && len(n.arguments) != 1:
		return "", nil, fmt.Errorf("?%s takes one argument, not %d", n.term, len(n.arguments))
	case takes == oneWord && n.arguments[0].term != "":
		return "", nil, fmt.Errorf("?%s takes a word, not a pattern", n.term)
	case takes == oneWord:
		return n.arguments[0].word, nil, nil
	}
	for _, a := range n.arguments {
		m, err := s.compile(a)
		if err != nil {
			return "", nil, err
		}
		inner = append(inner, m)
	}
	return "", inner, nil
}
