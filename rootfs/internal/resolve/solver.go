package resolve

import (
	"fmt"
	"slices"

	"vmbuild/rootfs/internal/control"
)

// solver is the state of one Resolve.
type solver struct {
	*Universe
	recommends   bool
	states       []state        // by slot
	dependencies [][]dependency // by version, nil until they are needed
	discarded    bool           // something that had been chosen was given up: its dependencies may be left over
}

// state of a slot.
type state struct {
	candidate *version // what can be chosen; nil if there is nothing, or not any more
	chosen    *version // what is or is to be installed
	installed bool     // it was there before
	fixed     bool     // neither chosen nor given up any more, except by the request
	auto      bool     // a dependency brought it
	excluded  bool     // the request rules it out
	why       *failure // why the candidate was given up or not taken, for explanations
}

// kind of a dependency, named as the field that has it.
type kind string

const (
	preDepends kind = "Pre-Depends"
	depends    kind = "Depends"
	recommends kind = "Recommends"
	suggests   kind = "Suggests"
	conflicts  kind = "Conflicts"
	breaks     kind = "Breaks"
)

// dependency is a group of alternatives of a version, or one package it cannot be installed with.
type dependency struct {
	kind
	group   control.Group
	targets [][]*version // for each alternative, the versions that satisfy it
}

func (d dependency) negative() bool { return d.kind == conflicts || d.kind == breaks }
func (d dependency) critical() bool { return d.kind != recommends && d.kind != suggests }

func newSolver(u *Universe, r Request) (*solver, error) {
	s := &solver{
		Universe:     u,
		recommends:   r.Recommends,
		states:       make([]state, len(u.packages)),
		dependencies: make([][]dependency, u.versions),
	}
	for i, p := range u.packages {
		s.states[i].candidate = p.candidate
	}
	for _, c := range r.Installed {
		v := u.find(c.Package)
		if v == nil {
			return nil, fmt.Errorf("installed package %s %s is in none of the archives", c.Name, c.Version)
		}
		*s.state(v) = state{candidate: v, chosen: v, installed: true, auto: c.Auto}
	}
	return s, nil
}

// find returns the version that p is.
func (u *Universe) find(p *control.Package) *version {
	n := u.names[p.Name]
	if n == nil {
		return nil
	}
	if slot := n.forArch(u.arch(p)); slot != nil {
		for _, v := range slot.versions {
			if v.Version == p.Version && v.SHA256 == p.SHA256 {
				return v
			}
		}
	}
	return nil
}

func (s *solver) state(v *version) *state { return &s.states[v.slot.id] }

// isChosen and isCandidate say whether exactly this version of its package is.
func (s *solver) isChosen(v *version) bool    { return s.state(v).chosen == v }
func (s *solver) isCandidate(v *version) bool { return s.state(v).candidate == v }

// of returns what v asks for in apt's order: Pre-Depends, Depends, Conflicts, Breaks and, if they are followed,
// Recommends; at last the conflict with its siblings of other architectures.
func (s *solver) of(v *version) []dependency {
	if s.dependencies[v.id] == nil {
		s.dependencies[v.id] = s.parse(v)
	}
	return s.dependencies[v.id]
}

func (s *solver) parse(v *version) []dependency {
	list := make([]dependency, 0, 16)
	list = s.parsePositive(list, v, preDepends, v.PreDepends)
	list = s.parsePositive(list, v, depends, v.Depends)
	list = s.parseNegative(list, v, conflicts, v.Conflicts)
	list = s.parseNegative(list, v, breaks, v.Breaks)
	if s.recommends {
		list = s.parsePositive(list, v, recommends, v.Recommends)
	}
	if len(v.slot.slots) > 1 {
		self := control.Group{{Name: v.Name}}
		list = append(list, dependency{conflicts, self, [][]*version{s.siblings(v)}})
	}
	return list
}

func (s *solver) parsePositive(list []dependency, v *version, k kind, field string) []dependency {
	for _, group := range s.relations(field) {
		targets := make([][]*version, len(group))
		for i, r := range group {
			targets[i] = s.satisfying(r, v.slot.arch)
		}
		list = append(list, dependency{k, group, targets})
	}
	return list
}

// parseNegative leaves out what no archive has anyway.
func (s *solver) parseNegative(list []dependency, v *version, k kind, field string) []dependency {
	for _, group := range s.relations(field) {
		for _, r := range group {
			if others := s.conflicting(r, v); len(others) > 0 {
				list = append(list, dependency{k, control.Group{r}, [][]*version{others}})
			}
		}
	}
	return list
}

// relations reads a field. One that cannot be parsed asks for a package that cannot exist, named as the field's text,
// so that the package which has it is not installable and the explanation shows why.
func (s *solver) relations(field string) []control.Group {
	groups, err := control.ParseRelations(field)
	if err != nil {
		return []control.Group{{{Name: field}}}
	}
	return groups
}

// satisfied says whether what is chosen fulfils d; for a negative dependency, whether nothing chosen is in conflict.
func (s *solver) satisfied(d dependency) bool {
	return s.any(d, s.isChosen) != d.negative()
}

// satisfiable says whether d is satisfied or the candidates could satisfy it.
func (s *solver) satisfiable(d dependency) bool {
	return d.negative() || s.any(d, s.isChosen) || s.any(d, s.isCandidate)
}

func (s *solver) any(d dependency, is func(*version) bool) bool {
	for _, targets := range d.targets {
		if slices.ContainsFunc(targets, is) {
			return true
		}
	}
	return false
}

// broken returns a critical dependency of v that is not satisfied.
func (s *solver) broken(v *version) (dependency, bool) {
	for _, d := range s.of(v) {
		if d.critical() && !s.satisfied(d) {
			return d, true
		}
	}
	return dependency{}, false
}

// settled says whether all dependencies of v, Recommends included if they are followed, are satisfied.
func (s *solver) settled(v *version) bool {
	for _, d := range s.of(v) {
		if !s.satisfied(d) {
			return false
		}
	}
	return true
}
