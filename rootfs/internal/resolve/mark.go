package resolve

import (
	"cmp"
	"slices"
)

// caller says on whose behalf a package is installed.
type caller int

const (
	dependent caller = iota // another package needs it
	request                 // the user asked for it: nothing stops the attempt early
)

// greedy fulfils the request as apt's MarkInstall does; consistent tells how that ended. All that was requested is
// chosen before any dependency is followed, so that it satisfies them where it can.
func (s *solver) greedy(roots []*slot) {
	for _, root := range roots {
		s.take(root, request)
		s.states[root.id].fixed = true
	}
	for _, root := range roots {
		s.install(root, request)
	}
}

// consistent says whether all critical dependencies of what is to be installed are satisfied.
func (s *solver) consistent() bool {
	for _, st := range s.states {
		if st.chosen != nil && !st.installed {
			if _, broken := s.broken(st.chosen); broken {
				return false
			}
		}
	}
	return true
}

// take chooses the candidate of a slot without looking at what it needs.
func (s *solver) take(slot *slot, by caller) {
	st := &s.states[slot.id]
	if st.chosen == nil {
		st.auto = by != request
	}
	st.chosen = st.candidate
}

// install chooses the candidate of a slot and what it needs, and says whether all could be had. If not, the slot is
// given up together with its candidate, unless it is fixed or requested. What was chosen for it so far stays chosen.
func (s *solver) install(slot *slot, by caller) bool {
	st := &s.states[slot.id]
	v := st.candidate
	if v == nil || st.fixed && st.chosen == nil && by == dependent {
		return false
	}
	if !st.fixed && st.chosen == v && s.settled(v) {
		return true
	}
	if !s.installable(v) {
		return false
	}
	mayFail := !st.fixed && by == dependent
	a := attempt{v: v, lasting: st.fixed, eager: mayFail}
	a.collect(s)
	ok := s.avoid(a)
	if !ok && mayFail {
		return false
	}
	s.take(slot, by)

	// While its dependencies are followed nothing may give the package up.
	st.fixed = true
	ok = s.fulfil(a) && ok
	st.fixed = a.lasting
	if !ok && mayFail {
		s.giveUp(slot)
	}
	return ok
}

// installable says whether the candidates can satisfy every critical dependency of v. If not, v is no candidate any
// more, so that nothing is tried twice and what depends on it is not installable either.
func (s *solver) installable(v *version) bool {
	st := s.state(v)
	if st.installed {
		return true
	}
	for _, d := range s.of(v) {
		if d.critical() && !s.satisfiable(d) {
			s.blame(v, failure{by: v, dependency: d})
			if !st.fixed {
				st.candidate, st.chosen = nil, nil
			}
			return false
		}
	}
	return true
}

// attempt to install one version.
type attempt struct {
	v                *version
	lasting          bool // v is fixed for good: what it needs beyond doubt is fixed too, what it excludes is ruled out
	eager            bool // the first failure ends it
	wanted, unwanted []dependency
}

// collect lists the dependencies to be looked at: those not satisfied, and all if the package is fixed for good.
func (a *attempt) collect(s *solver) {
	for _, d := range s.of(a.v) {
		switch {
		case s.satisfied(d) && !a.lasting:
		case d.negative():
			a.unwanted = append(a.unwanted, d)
		default:
			a.wanted = append(a.wanted, d)
		}
	}
}

// avoid gives up what the version cannot be installed with, and says whether that was possible.
func (s *solver) avoid(a attempt) bool {
	ok := true
	for _, d := range a.unwanted {
		for _, other := range d.targets[0] {
			st := s.state(other)
			if st.candidate != other {
				continue
			}
			if st.installed || st.chosen == other && st.fixed {
				s.blame(a.v, failure{by: a.v, dependency: d, with: other})
				ok = false
				if a.eager {
					return false
				}
				continue
			}
			if st.chosen == other {
				st.chosen = nil
				s.discarded = true
			}
			if a.lasting {
				st.candidate, st.fixed = nil, true
				s.blame(other, failure{by: a.v, dependency: d, with: other})
			}
		}
	}
	return ok
}

// fulfil follows the wanted dependencies of the version and says whether the critical ones are satisfied.
func (s *solver) fulfil(a attempt) bool {
	ok := true
	for _, d := range a.wanted {
		switch {
		case s.satisfied(d):
			if a.lasting && d.critical() {
				ok = s.fixOnly(d) && ok
			}
		case !d.critical() && s.state(a.v).installed:
			// Recommends count when a package is installed; this one was there before.
		case !s.installOne(a, d) && d.critical():
			s.blame(a.v, failure{by: a.v, dependency: d})
			ok = false
			if a.eager {
				return false
			}
		}
	}
	return ok
}

// fixOnly fixes the package that satisfies a dependency if no other could.
func (s *solver) fixOnly(d dependency) bool {
	only := s.only(d)
	if only == nil || s.states[only.id].fixed {
		return true
	}
	s.states[only.id].fixed = true
	return s.install(only, dependent)
}

// only returns the slot whose candidate is the only one to satisfy d, nil if there is a choice or nothing.
func (s *solver) only(d dependency) *slot {
	var only *slot
	for _, targets := range d.targets {
		for _, v := range targets {
			switch {
			case !s.eligible(v) || only == v.slot:
			case only == nil:
				only = v.slot
			default:
				return nil
			}
		}
	}
	return only
}

// installOne installs the first alternative that can be.
func (s *solver) installOne(a attempt, d dependency) bool {
	var only *slot
	if a.lasting && d.critical() {
		only = s.only(d)
	}
	for i := range d.targets {
		for _, v := range s.solutions(d, i) {
			if !s.isCandidate(v) {
				continue
			}
			if only != nil {
				s.take(only, dependent)
				s.states[only.id].fixed = true
			}
			if s.install(v.slot, dependent) {
				return true
			}
		}
	}
	return false
}

// solutions returns the candidates that satisfy alternative i of d in the order of preference.
func (s *solver) solutions(d dependency, i int) []*version {
	var found []*version
	for _, v := range d.targets[i] {
		if s.eligible(v) && !slices.Contains(found, v) {
			found = append(found, v)
		}
	}
	slices.SortStableFunc(found, func(a, b *version) int { return s.prefer(d.group[i].Name, a, b) })
	return found
}

// eligible says whether v is a candidate that has not been ruled out.
func (s *solver) eligible(v *version) bool {
	st := s.state(v)
	return st.candidate == v && !(st.fixed && st.chosen == nil)
}

// prefer orders two versions that satisfy a dependency on the named package as apt's CompareProviders does: fixed ones
// first, then the package of that name, essential and protected ones, those of the native architecture, those with
// the higher priority and at last those that the indexes mention later.
func (s *solver) prefer(wanted string, a, b *version) int {
	if c := cmp.Or(
		yesFirst(s.state(a).fixed, s.state(b).fixed),
		yesFirst(a.Name == wanted, b.Name == wanted),
		yesFirst(a.slot.essential, b.slot.essential),
		yesFirst(a.slot.protected, b.slot.protected),
		yesFirst(a.slot.arch == s.native, b.slot.arch == s.native),
		cmp.Compare(priorityRank(a.Package), priorityRank(b.Package)),
	); c != 0 {
		return c
	}
	s.ranks.Do(s.setRanks)
	return cmp.Compare(b.slot.rank, a.slot.rank)
}

func yesFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// giveUp undoes the choice of a slot and rules its candidate out.
func (s *solver) giveUp(slot *slot) {
	st := &s.states[slot.id]
	if st.installed {
		return
	}
	st.chosen, st.candidate = nil, nil
	s.discarded = true
}

// sweep removes what was chosen on behalf of something that was given up: all that cannot be reached from the request or
// from essential packages, by dependencies of any strength.
func (s *solver) sweep(roots []*slot) {
	if !s.discarded {
		return
	}
	reached := make([]bool, len(s.states))
	var visit func(v *version)
	visit = func(v *version) {
		if reached[v.slot.id] {
			return
		}
		reached[v.slot.id] = true
		for _, d := range s.weak(v) {
			for _, targets := range d.targets {
				for _, t := range targets {
					if s.isChosen(t) {
						visit(t)
					}
				}
			}
		}
	}
	for _, root := range roots {
		visit(s.states[root.id].chosen)
	}
	for id, st := range s.states {
		if st.chosen != nil && (st.installed || !st.auto || s.packages[id].essential || s.packages[id].protected) {
			visit(st.chosen)
		}
	}
	for id := range s.states {
		if !reached[id] {
			s.states[id].chosen = nil
		}
	}
}

// weak returns the positive dependencies of v of all kinds, whether they are followed or not.
func (s *solver) weak(v *version) []dependency {
	list := s.parsePositive(nil, v, preDepends, v.PreDepends)
	list = s.parsePositive(list, v, depends, v.Depends)
	list = s.parsePositive(list, v, recommends, v.Recommends)
	return s.parsePositive(list, v, suggests, v.Suggests)
}
