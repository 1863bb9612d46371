package resolve

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// UnknownPackageError says that a name in a request is not a package of the archives.
type UnknownPackageError struct {
	Name    string
	Nearest []string // names of packages that differ least, the nearest first
}

func (e *UnknownPackageError) Error() string {
	if len(e.Nearest) == 0 {
		return fmt.Sprintf("there is no package %q", e.Name)
	}
	return fmt.Sprintf("there is no package %q; the nearest names are %s", e.Name, strings.Join(e.Nearest, ", "))
}

// UnsatisfiableError says why a requested package cannot be installed.
type UnsatisfiableError struct {
	Package string // as requested
	Reason  string // the chain that leads to what is missing or contradictory, beginning with the package
}

func (e *UnsatisfiableError) Error() string {
	return fmt.Sprintf("package %q cannot be installed: %s", e.Package, e.Reason)
}

// failure is why something could not be had: a dependency of by could not be satisfied or, if with is set, by and with
// exclude each other.
type failure struct {
	by         *version
	dependency dependency
	with       *version
}

// blame records the first failure of v, which is the one nearest to the cause.
func (s *solver) blame(v *version, f failure) {
	if st := s.state(v); st.why == nil {
		st.why = &f
	}
}

// explain tells why the requested slots could not be had together.
func (s *solver) explain(roots []*slot) error {
	for _, root := range roots {
		if why := s.states[root.id].why; why != nil {
			return &UnsatisfiableError{s.full(root), s.chain(root, why, nil)}
		}
	}
	for _, st := range s.states {
		if st.chosen == nil {
			continue
		}
		if d, broken := s.broken(st.chosen); broken {
			f := failure{by: st.chosen, dependency: d}
			if d.negative() {
				i := slices.IndexFunc(d.targets[0], s.isChosen)
				f.with = d.targets[0][i]
			}
			return &UnsatisfiableError{s.full(roots[0]), s.chain(st.chosen.slot, &f, nil)}
		}
	}
	return &UnsatisfiableError{s.full(roots[0]), "its dependencies contradict each other"}
}

// chain words a failure of a slot and what it comes from: "a depends on b, which depends on c (>= 2), …".
func (s *solver) chain(of *slot, why *failure, seen []*slot) string {
	seen = append(seen, of)
	if why.with != nil {
		return s.conflict(of, why)
	}
	text := fmt.Sprintf("%s %s %s", s.full(of), verb(why.dependency.kind), why.dependency.group)
	for _, v := range slices.Concat(why.dependency.targets...) {
		next := s.state(v).why
		if next == nil || slices.Contains(seen, v.slot) {
			continue
		}
		rest := s.chain(v.slot, next, seen)
		if group := why.dependency.group; len(group) == 1 && v.Name == group[0].Name {
			return text + ", which" + strings.TrimPrefix(rest, s.full(v.slot))
		}
		return text + "; " + rest
	}
	return text + ", " + s.absence(why.dependency)
}

// conflict words that two packages exclude each other, from the side that was looked at.
func (s *solver) conflict(of *slot, why *failure) string {
	if why.by.slot == of {
		return fmt.Sprintf("%s %s %s, which %s",
			s.full(of), verb(why.dependency.kind), s.full(why.with.slot), s.presence(why.with))
	}
	return fmt.Sprintf("%s is excluded by %s, which %s and %s %s",
		s.full(of), s.full(why.by.slot), s.presence(why.by), verb(why.dependency.kind), why.dependency.group)
}

// presence says why v is there.
func (s *solver) presence(v *version) string {
	switch st := s.state(v); {
	case st.installed:
		return "is installed"
	case !st.auto:
		return "is requested too"
	}
	for _, st := range s.states {
		if st.chosen == nil {
			continue
		}
		for _, d := range s.of(st.chosen) {
			if !d.negative() && slices.Contains(slices.Concat(d.targets...), v) {
				return fmt.Sprintf("%s %s", s.full(st.chosen.slot), verb(d.kind))
			}
		}
	}
	return "is needed"
}

// absence says of a dependency that nothing satisfies what there is instead.
func (s *solver) absence(d dependency) string {
	if len(d.group) > 1 {
		return "none of which can be installed"
	}
	n := s.names[d.group[0].Name]
	switch {
	case n == nil:
		return "which is in none of the archives"
	case len(d.targets[0]) > 0:
		return s.refusal(d.targets[0][0])
	case len(n.slots) == 0:
		return "which nothing provides like that"
	}
	var there []string
	for _, slot := range n.slots {
		for _, v := range slot.versions {
			words := v.Version
			if slot.arch != s.native {
				words += " for " + slot.arch
			}
			if d.group[0].Arch == "any" && v.MultiArch != "allowed" {
				words += " without Multi-Arch: allowed"
			}
			there = append(there, words)
		}
	}
	return "of which there is only " + strings.Join(there, ", ")
}

// refusal says why a version that satisfies a dependency is no candidate.
func (s *solver) refusal(v *version) string {
	switch st := s.state(v); {
	case st.excluded:
		return "which is excluded"
	case st.candidate != nil && st.candidate != v:
		return fmt.Sprintf("but %s %s is to be installed, not %s", s.full(v.slot), st.candidate.Version, v.Version)
	case v.slot.candidate == nil:
		return "which is pinned below 0 in all archives that have it"
	}
	return "which cannot be installed"
}

// full is the name of a slot, with its architecture if that is not the native one.
func (s *solver) full(slot *slot) string {
	if slot.arch == s.native {
		return slot.text
	}
	return slot.text + ":" + slot.arch
}

func verb(k kind) string {
	switch k {
	case preDepends:
		return "pre-depends on"
	case depends:
		return "depends on"
	case recommends:
		return "recommends"
	case suggests:
		return "suggests"
	case conflicts:
		return "conflicts with"
	case breaks:
		return "breaks"
	}
	return string(k)
}

// nearest returns the names of real packages that differ least from the given one, at most three.
func (u *Universe) nearest(text string) []string {
	type near struct {
		name     string
		distance int
	}
	limit := len(text)/3 + 1
	var found []near
	for _, n := range u.ordered {
		if len(n.slots) == 0 || abs(len(n.text)-len(text)) > limit {
			continue
		}
		if d := distance(n.text, text); d <= limit {
			found = append(found, near{n.text, d})
		}
	}
	slices.SortFunc(found, func(a, b near) int {
		return cmp.Or(a.distance-b.distance, strings.Compare(a.name, b.name))
	})
	var names []string
	for _, f := range found[:min(3, len(found))] {
		names = append(names, f.name)
	}
	return names
}

// distance is the number of bytes to insert, delete or replace to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func abs(n int) int { return max(n, -n) }
