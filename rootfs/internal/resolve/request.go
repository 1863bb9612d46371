package resolve

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// requested returns the slots that a request names, each once: Packages in the order given, then Essential and
// Priorities in the order of the indexes, without those it omits. What it excludes is ruled out, and the versions it names
// become candidates.
func (s *solver) requested(r Request) ([]*slot, error) {
	included, excluded := s.split(r)
	for _, text := range excluded {
		if err := s.exclude(text); err != nil {
			return nil, err
		}
	}
	named := make([][]*slot, len(included))
	for i, text := range included {
		var err error
		if named[i], err = s.named(text); err != nil {
			return nil, err
		}
	}
	for i, text := range included { // virtual ones last: they look at what else is requested
		if named[i] == nil {
			slot, err := s.providing(text, slices.Concat(named...))
			if err != nil {
				return nil, err
			}
			named[i] = append(named[i], slot)
		}
	}
	seen := make([]bool, len(s.states))
	for _, text := range r.Omit {
		slots, err := s.meanIfAny(text)
		if err != nil {
			return nil, err
		}
		for _, slot := range slots {
			seen[slot.id] = true
		}
	}
	var roots []*slot
	for _, slot := range append(slices.Concat(named...), s.group(r)...) {
		if !seen[slot.id] {
			seen[slot.id] = true
			roots = append(roots, slot)
		}
	}
	return roots, nil
}

// split separates what is requested from what is excluded. The sign at the end of "name-" and "name+" is cut, unless it
// belongs to the name or the version.
func (s *solver) split(r Request) (included, excluded []string) {
	excluded = slices.Clone(r.Exclude)
	for _, text := range r.Packages {
		sign := ""
		if text != "" && !s.isKnown(text) {
			sign = text[len(text)-1:]
		}
		switch sign {
		case "-":
			excluded = append(excluded, text[:len(text)-1])
		case "+":
			included = append(included, text[:len(text)-1])
		default:
			included = append(included, text)
		}
	}
	return included, excluded
}

// isKnown says whether there is a package, in the version wanted, that the word names.
func (s *solver) isKnown(text string) bool {
	w := cutWord(text)
	n, slot := s.find(w.what)
	if n == nil || w.mark == 0 {
		return n != nil
	}
	if slot == nil {
		return false
	}
	v, err := s.wanted(slot, w)
	return v != nil && err == nil
}

// group returns the native packages that a request means by their kind.
func (s *solver) group(r Request) []*slot {
	var found []*slot
	for _, slot := range s.packages {
		v := s.states[slot.id].candidate
		if v == nil || slot.arch != s.native {
			continue
		}
		if r.Essential && slot.essential || slices.Contains(r.Priorities, v.Priority) {
			found = append(found, slot)
		}
	}
	return found
}

// exclude rules out what a word means.
func (s *solver) exclude(text string) error {
	slots, err := s.meanIfAny(text)
	if err != nil {
		return err
	}
	for _, slot := range slots {
		st := &s.states[slot.id]
		if st.installed {
			return fmt.Errorf("exclude package %q: it is installed already", s.full(slot))
		}
		st.candidate, st.fixed, st.excluded = nil, true, true
	}
	return nil
}

// word of a request: what, what=version or what/release.
type word struct {
	what   string // a name, a task, a glob, a regular expression or a pattern
	mark   byte   // '=', '/' or 0
	wanted string // what follows the mark
}

// cutWord cuts at the last mark, as apt does; in a pattern only behind the parentheses.
func cutWord(text string) word {
	i := strings.LastIndexAny(text, "/=")
	if i < 0 || isPattern(text) && i < strings.LastIndexByte(text, ')') {
		return word{what: text}
	}
	return word{what: text[:i], mark: text[i], wanted: text[i+1:]}
}

// cutArch cuts the architecture from name:arch.
func cutArch(text string) (name, arch string) {
	if i := strings.LastIndexByte(text, ':'); i >= 0 {
		return text[:i], text[i+1:]
	}
	return text, ""
}

// find reads "name" or "name:arch". The name is nil if it is neither a package nor provided by one, the slot if no
// package has it in such an architecture.
func (s *solver) find(text string) (*name, *slot) {
	text, arch := cutArch(text)
	n := s.names[text]
	if n == nil {
		return nil, nil
	}
	return n, s.inArch(n, arch)
}

// inArch returns the slot of a name in an architecture, which can be a wildcard. If none is wanted, it is the native one
// or else the first.
func (s *solver) inArch(n *name, arch string) *slot {
	switch arch {
	case "", "all":
		if slot := n.forArch(s.native); slot != nil || arch != "" || len(n.slots) == 0 {
			return slot
		}
		return n.slots[0]
	}
	for _, slot := range n.slots {
		if s.isArch(slot.arch, arch) {
			return slot
		}
	}
	return nil
}

// named returns the slots that one word of a request means, with the versions it wants as candidates. For the name of a
// virtual package it returns nil.
func (s *solver) named(text string) ([]*slot, error) {
	w := cutWord(text)
	if n, one := s.find(w.what); n != nil {
		if one == nil {
			return nil, nil
		}
		ok, err := s.single(one, w)
		if !ok || err != nil {
			return nil, err
		}
		return []*slot{one}, nil
	}
	slots, err := s.mean(w.what)
	if err != nil {
		return nil, err
	}
	chosen := make([]*slot, 0, len(slots))
	for _, slot := range slots {
		if w.mark != 0 {
			err = s.pick(slot, w)
		}
		if err == nil && s.states[slot.id].candidate != nil {
			chosen = append(chosen, slot)
		}
	}
	if len(chosen) == 0 && err != nil {
		return nil, err
	}
	return chosen, nil
}

// single prepares the one slot that a name means. It is not ok if a package that provides the name must stand for it.
func (s *solver) single(slot *slot, w word) (ok bool, err error) {
	switch {
	case s.states[slot.id].excluded:
		return false, &UnsatisfiableError{w.what, "it is requested and excluded at once"}
	case w.mark != 0:
		return true, s.pick(slot, w)
	case slot.candidate != nil:
		return true, nil
	case len(slot.providers) > 0:
		return false, nil
	}
	return false, &UnsatisfiableError{w.what, "it is pinned below 0 in all archives that have it"}
}

// mean returns the packages that a word without version means. Of a name that no package has, but one provides, it is
// that one where nothing else is meant, and no one where there are several.
func (s *solver) mean(what string) ([]*slot, error) {
	if isPattern(what) {
		m, err := s.matcher(what)
		if err != nil {
			return nil, err
		}
		return s.matching(m), nil
	}
	if n, one := s.find(what); n != nil {
		if one == nil {
			return nil, nil
		}
		return []*slot{one}, nil
	}
	text, arch := cutArch(what)
	if task, ok := strings.CutSuffix(text, "^"); ok {
		return s.task(task, arch)
	}
	if !isName(text) {
		if found, err := s.namedLike(text, arch); len(found) > 0 || err != nil {
			return found, err
		}
	}
	return nil, &UnknownPackageError{what, s.nearest(text)}
}

// meanIfAny is mean for a word that may mean nothing. A version it names is of no account.
func (s *solver) meanIfAny(text string) ([]*slot, error) {
	slots, err := s.mean(cutWord(text).what)
	var unknown *UnknownPackageError
	if errors.As(err, &unknown) {
		return nil, nil
	}
	return slots, err
}

// isName says whether a text could be the name of a package (policy 5.6.1).
func isName(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool {
		return r > '~' || !isAlphanumeric(byte(r)) && !strings.ContainsRune("+-._", r)
	}) < 0
}

// task returns the packages whose candidates belong to a task.
func (s *solver) task(task, arch string) ([]*slot, error) {
	var found []*slot
	for _, slot := range s.packages {
		v := s.states[slot.id].candidate
		if v == nil || v.Task == "" || slot != s.inArch(slot.name, arch) {
			continue
		}
		if slices.Contains(strings.FieldsFunc(v.Task, func(r rune) bool { return r == ',' || r == ' ' }), task) {
			found = append(found, slot)
		}
	}
	if len(found) == 0 {
		return nil, &UnknownPackageError{Name: task + "^"}
	}
	return found, nil
}

// namedLike returns the packages whose names match a glob or, if there are none, a regular expression.
func (s *solver) namedLike(text, arch string) ([]*slot, error) {
	if strings.ContainsAny(text, "*?[") {
		re, err := newGlob(text)
		if err != nil {
			return nil, err
		}
		if found := s.matchingName(re, arch); len(found) > 0 {
			return found, nil
		}
	}
	re, err := newRegexp(text)
	if err != nil {
		return nil, err
	}
	return s.matchingName(re, arch), nil
}

// matchingName returns the packages whose names match, with the only providers of virtual names that do.
func (s *solver) matchingName(re *regexp.Regexp, arch string) []*slot {
	var found []*slot
	for _, n := range s.ordered {
		if !re.MatchString(n.text) {
			continue
		}
		slot := s.inArch(n, arch)
		if slot == nil {
			slot = s.onlyProvider(n)
		}
		if slot != nil {
			found = append(found, slot)
		}
	}
	return found
}

// matching returns the packages that match a pattern, with the only providers of virtual names that do.
func (s *solver) matching(m matcher) []*slot {
	var found []*slot
	for _, real := range s.packages {
		if m.slot(real) {
			found = append(found, real)
		}
	}
	virtual := slot{arch: s.native}
	for _, n := range s.ordered {
		virtual.name = n
		if len(n.slots) > 0 || !m.slot(&virtual) {
			continue
		}
		if only := s.onlyProvider(n); only != nil {
			found = append(found, only)
		}
	}
	return found
}

// onlyProvider returns the only candidate that provides a virtual name in the native architecture, nil if there is no
// such one or several.
func (s *solver) onlyProvider(n *name) *slot {
	providers := s.providers(n, s.native)
	if len(providers) != 1 {
		return nil
	}
	return providers[0].slot
}

// wanted returns the version of a slot that a word wants, nil if there is none: the newest that matches.
func (s *solver) wanted(slot *slot, w word) (*version, error) {
	if w.mark == '/' {
		r, err := newRelease(w.wanted)
		if err != nil {
			return nil, err
		}
		return newest(slot, func(v *version) bool { return s.fromRelease(v, r) }), nil
	}
	switch w.wanted {
	case "candidate":
		return slot.candidate, nil
	case "newest":
		return slot.versions[0], nil
	case "installed":
		return newest(slot, func(v *version) bool { return s.isChosen(v) && s.state(v).installed }), nil
	}
	if exact := newest(slot, func(v *version) bool { return v.Version == w.wanted }); exact != nil {
		return exact, nil
	}
	e, err := newExpression(w.wanted)
	return newest(slot, func(v *version) bool { return e.matches(v.Version) }), err
}

func newest(slot *slot, is func(*version) bool) *version {
	if i := slices.IndexFunc(slot.versions, is); i >= 0 {
		return slot.versions[i]
	}
	return nil
}

// fromRelease says whether one of the archives that have v is of a release.
func (s *solver) fromRelease(v *version, r release) bool {
	return r.matches(&s.indexes[v.index]) ||
		slices.ContainsFunc(v.indexes, func(i int) bool { return r.matches(&s.indexes[i]) })
}

// pick makes the version that a word wants the candidate and, if it is wanted from a release, as apt does, those of
// its dependencies that otherwise could not be satisfied.
func (s *solver) pick(slot *slot, w word) error {
	v, err := s.wanted(slot, w)
	switch {
	case err != nil:
		return fmt.Errorf("package %q: %w", s.full(slot), err)
	case v == nil && w.mark == '/':
		return fmt.Errorf("package %q is not in suite %q, only in versions %s", s.full(slot), w.wanted, versions(slot))
	case v == nil:
		return fmt.Errorf("package %q has no version %s, only %s", s.full(slot), w.wanted, versions(slot))
	}
	if err := s.setCandidate(v); err != nil || w.mark == '=' {
		return err
	}
	r, err := newRelease(w.wanted)
	s.followRelease(v, r)
	return err
}

func (s *solver) followRelease(v *version, r release) {
	for _, d := range s.of(v) {
		if s.satisfiable(d) {
			continue
		}
		for _, targets := range d.targets {
			i := slices.IndexFunc(targets, func(t *version) bool { return s.fromRelease(t, r) && s.setCandidate(t) == nil })
			if i >= 0 {
				s.followRelease(targets[i], r)
				break
			}
		}
	}
}

func (s *solver) setCandidate(v *version) error {
	st := s.state(v)
	switch {
	case st.installed && st.chosen != v:
		return fmt.Errorf("package %q is installed in version %s, not %s", v.Name, st.chosen.Version, v.Version)
	case st.fixed && st.chosen == nil:
		return &UnsatisfiableError{v.Name, "it is requested and excluded at once"}
	}
	st.candidate = v
	return nil
}

// providing returns the package that stands for a virtual one: a provider that is installed or requested beside it,
// else the only one there is, else the only one of the highest priority if that is above optional. Where apt would
// refuse to choose this does too, but for the last case: awk is provided by three packages, of which Debian's own
// priorities settle for mawk.
func (s *solver) providing(text string, requested []*slot) (*slot, error) {
	text, arch := cutArch(cutWord(text).what)
	if arch == "" || arch == "all" {
		arch = s.native
	}
	n := s.names[text]
	providers := s.providers(n, arch)
	for _, v := range providers {
		if s.isChosen(v) || slices.Contains(requested, v.slot) {
			return v.slot, nil
		}
	}
	slices.SortStableFunc(providers, func(a, b *version) int { return priorityRank(a.Package) - priorityRank(b.Package) })
	switch {
	case len(providers) == 0:
		return nil, &UnknownPackageError{text, s.nearest(n.text)}
	case len(providers) == 1, stands(providers[0], providers[1]):
		return providers[0].slot, nil
	}
	var names []string
	for _, v := range providers {
		names = append(names, v.Name)
	}
	slices.Sort(names)
	return nil, &UnsatisfiableError{text, "it is a virtual package; name one that provides it: " + strings.Join(names, ", ")}
}

// providers returns the candidates that provide a name in an architecture.
func (s *solver) providers(n *name, arch string) []*version {
	var found []*version
	for _, p := range n.providers {
		if s.reaches("", arch, p.by, p.arch) && s.eligible(p.by) && !slices.Contains(found, p.by) {
			found = append(found, p.by)
		}
	}
	return found
}

// stands says whether a provider stands out from the next best by a priority above optional.
func stands(best, next *version) bool {
	rank := priorityRank(best.Package)
	return rank < slices.Index(priorities, "optional") && rank < priorityRank(next.Package)
}

func versions(slot *slot) string {
	var list []string
	for _, v := range slot.versions {
		list = append(list, v.Version)
	}
	return strings.Join(list, ", ")
}
