package resolve

import (
	"fmt"
	"slices"
	"strings"
)

// requested returns the slots that a request names, each once: Packages in the order given, then Essential and
// Priorities in the order of the indexes. What it excludes is ruled out, and the versions it names become candidates.
func (s *solver) requested(r Request) ([]*slot, error) {
	included, excluded := s.split(r)
	for _, text := range excluded {
		if err := s.exclude(text); err != nil {
			return nil, err
		}
	}
	named := make([]*slot, len(included))
	for i, text := range included {
		slot, err := s.named(text)
		if err != nil {
			return nil, err
		}
		named[i] = slot
	}
	for i, text := range included { // virtual ones last: they look at what else is requested
		if named[i] == nil {
			slot, err := s.providing(text, named)
			if err != nil {
				return nil, err
			}
			named[i] = slot
		}
	}
	seen := make([]bool, len(s.states))
	var roots []*slot
	for _, slot := range append(named, s.group(r)...) {
		if !seen[slot.id] {
			seen[slot.id] = true
			roots = append(roots, slot)
		}
	}
	return roots, nil
}

// split separates what is requested from what is excluded. "name-" excludes, unless it is a package's name itself.
func (s *solver) split(r Request) (included, excluded []string) {
	excluded = slices.Clone(r.Exclude)
	for _, text := range r.Packages {
		name, hyphen := strings.CutSuffix(text, "-")
		if _, exists := s.names[text]; hyphen && !exists {
			excluded = append(excluded, name)
		} else {
			included = append(included, text)
		}
	}
	return included, excluded
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

// exclude rules a package out. A name that no package has excludes nothing.
func (s *solver) exclude(text string) error {
	n, arch := s.splitName(text)
	if n == nil || n.forArch(arch) == nil {
		return nil
	}
	st := &s.states[n.forArch(arch).id]
	if st.installed {
		return fmt.Errorf("exclude package %q: it is installed already", text)
	}
	st.candidate, st.fixed, st.excluded = nil, true, true
	return nil
}

// splitName reads "name" or "name:arch"; the name is nil if it is neither a package nor provided by one.
func (s *solver) splitName(text string) (*name, string) {
	text, arch, _ := strings.Cut(text, ":")
	if arch == "" || arch == "native" {
		arch = s.native
	}
	return s.names[text], arch
}

// named returns the slot that one word of a request means, with the version it wants as the candidate. For the name of
// a virtual package it returns nil.
func (s *solver) named(text string) (*slot, error) {
	text, wanted, _ := strings.Cut(text, "=")
	text, suite, _ := strings.Cut(text, "/")
	n, arch := s.splitName(text)
	if n == nil {
		return nil, &UnknownPackageError{text, s.nearest(text)}
	}
	slot := n.forArch(arch)
	switch {
	case slot == nil:
		return nil, nil
	case wanted != "":
		return slot, s.setVersion(slot, wanted)
	case suite != "":
		return slot, s.setSuite(slot, suite)
	case s.states[slot.id].excluded:
		return nil, &UnsatisfiableError{text, "it is requested and excluded at once"}
	case slot.candidate != nil:
		return slot, nil
	case len(n.providers) > 0:
		return nil, nil
	}
	return nil, &UnsatisfiableError{text, "it is pinned below 0 in all archives that have it"}
}

// setVersion makes the version with the given number the candidate.
func (s *solver) setVersion(slot *slot, wanted string) error {
	for _, v := range slot.versions {
		if v.Version == wanted {
			return s.setCandidate(v)
		}
	}
	return fmt.Errorf("package %q has no version %s, only %s", slot.text, wanted, versions(slot))
}

// setSuite makes the version of an archive the candidate and, as apt does, those of its dependencies that otherwise
// could not be satisfied.
func (s *solver) setSuite(slot *slot, suite string) error {
	for _, v := range slot.versions {
		if s.fromSuite(v, suite) {
			if err := s.setCandidate(v); err != nil {
				return err
			}
			s.followSuite(v, suite)
			return nil
		}
	}
	return fmt.Errorf("package %q is not in suite %q, only in versions %s", slot.text, suite, versions(slot))
}

func (s *solver) fromSuite(v *version, suite string) bool {
	is := func(archive int) bool {
		return s.archives[archive].Suite == suite || s.archives[archive].Codename == suite
	}
	return is(v.archive) || slices.ContainsFunc(v.archives, is)
}

func (s *solver) followSuite(v *version, suite string) {
	for _, d := range s.of(v) {
		if s.satisfiable(d) {
			continue
		}
		for _, targets := range d.targets {
			i := slices.IndexFunc(targets, func(t *version) bool { return s.fromSuite(t, suite) && s.setCandidate(t) == nil })
			if i >= 0 {
				s.followSuite(targets[i], suite)
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
	n, arch := s.splitName(text)
	var providers []*version
	for _, p := range n.providers {
		if s.reaches("", arch, p.by, p.arch) && s.eligible(p.by) && !slices.Contains(providers, p.by) {
			providers = append(providers, p.by)
		}
	}
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
