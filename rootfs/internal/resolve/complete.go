package resolve

import "slices"

// maxSteps bounds the complete search; a choice is a step. Debian's archives need a few thousand.
const maxSteps = 50_000

// complete searches for a set that fulfils the request where apt's way found none, beginning again with the initial
// states. It takes alternatives in the same order of preference, but goes back to earlier ones when it meets a
// contradiction. Recommends are taken along only where they fit.
func (s *solver) complete(roots []*slot, initial []state) error {
	failed := s.states
	s.states = initial
	x := &search{solver: s, barred: make([]int, s.versions)}
	for _, st := range s.states {
		if st.installed {
			x.bar(st.chosen, 1)
		}
	}
	for _, root := range roots {
		if !x.choose(s.states[root.id].candidate, request) {
			s.states = failed
			return s.explain(roots)
		}
	}
	if !x.settle() {
		s.states = failed
		return s.explain(roots)
	}
	x.addRecommends()
	return nil
}

// search is the state of the complete search. What it chose and what is open only grows on a branch and is cut back
// when the branch ends.
type search struct {
	*solver
	steps  int
	chosen []*version   // in order
	barred []int        // by version: how many chosen ones exclude it
	open   []dependency // critical, with a choice, not satisfied when they were met
	next   int          // the first open one that was not yet settled
}

// mark is a point to go back to.
type mark struct{ chosen, open, next int }

func (x *search) mark() mark { return mark{len(x.chosen), len(x.open), x.next} }

func (x *search) undo(m mark) {
	for _, v := range x.chosen[m.chosen:] {
		x.state(v).chosen = nil
		x.bar(v, -1)
	}
	x.chosen, x.open, x.next = x.chosen[:m.chosen], x.open[:m.open], m.next
}

// bar counts what v excludes.
func (x *search) bar(v *version, by int) {
	for _, d := range x.of(v) {
		if d.negative() {
			for _, other := range d.targets[0] {
				x.barred[other.id] += by
			}
		}
	}
}

// choose takes v and all that it leaves no choice about, and says whether that is free of contradictions.
func (x *search) choose(v *version, by caller) bool {
	if v != nil && x.isChosen(v) {
		return true
	}
	x.steps++
	if x.steps > maxSteps || v == nil || !x.compatible(v) {
		return false
	}
	x.take(v.slot, by)
	x.chosen = append(x.chosen, v)
	x.bar(v, 1)
	for _, d := range x.of(v) {
		if d.negative() || !d.critical() || x.satisfied(d) {
			continue
		}
		solutions := x.viable(d)
		switch len(solutions) {
		case 0:
			return false
		case 1:
			if !x.choose(solutions[0], dependent) {
				return false
			}
		default:
			x.open = append(x.open, d)
		}
	}
	return true
}

// settle decides what is open, going back where a decision leads to a contradiction.
func (x *search) settle() bool {
	for ; x.next < len(x.open); x.next++ {
		d := x.open[x.next]
		if x.satisfied(d) {
			continue
		}
		start := x.mark()
		for _, v := range x.viable(d) {
			if x.choose(v, dependent) {
				x.next++
				if x.settle() {
					return true
				}
			}
			x.undo(start)
			if x.steps > maxSteps {
				return false
			}
		}
		return false
	}
	return true
}

// viable returns the solutions of d that do not contradict what is chosen.
func (x *search) viable(d dependency) []*version {
	var found []*version
	for i := range d.targets {
		for _, v := range x.solutions(d, i) {
			if x.compatible(v) && !slices.Contains(found, v) {
				found = append(found, v)
			}
		}
	}
	return found
}

// compatible says whether v is a candidate and nothing that is chosen and v exclude each other.
func (x *search) compatible(v *version) bool {
	if !x.eligible(v) || x.barred[v.id] > 0 {
		return false
	}
	for _, d := range x.of(v) {
		if d.negative() && !x.satisfied(d) {
			return false
		}
	}
	return true
}

// addRecommends follows the Recommends of what was chosen, each for itself.
func (x *search) addRecommends() {
	for i := 0; i < len(x.chosen); i++ {
		for _, d := range x.of(x.chosen[i]) {
			if d.critical() || x.satisfied(d) {
				continue
			}
			for _, v := range x.viable(d) {
				start := x.mark()
				if x.choose(v, dependent) && x.settle() {
					break
				}
				x.undo(start)
			}
		}
	}
}
