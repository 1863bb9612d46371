package resolve

import (
	"cmp"
	"slices"
)

// maxRounds is how often repair goes over all packages; apt's limit is the same.
const maxRounds = 20

// repair removes the contradictions that the greedy walk left, as apt's problem resolver does, and says whether none
// remains. Packages are looked at from the most to the least important. One with a broken dependency is dropped; of
// two that exclude each other the less important one is; what the request insists on is upgraded from below instead.
func (s *solver) repair() bool {
	r := repair{solver: s, tried: make([]bool, len(s.states))}
	r.setScores()
	var order []*slot
	for id, st := range s.states {
		if st.chosen != nil {
			order = append(order, s.packages[id])
		}
	}
	slices.SortStableFunc(order, func(a, b *slot) int { return cmp.Compare(r.scores[b.id], r.scores[a.id]) })
	for r.round = 0; r.round < maxRounds; r.round++ {
		r.changed = false
		for _, slot := range order {
			if v := s.states[slot.id].chosen; v != nil {
				r.fix(v)
			}
		}
		if !r.changed {
			break
		}
	}
	return s.consistent()
}

// repair is the state of one repair.
type repair struct {
	*solver
	scores  []int  // by slot: how important a package is
	tried   []bool // by slot: include was called for it
	round   int
	changed bool
}

// priorityScores are what a package is worth by its Priority, indexed by priorityRank.
var priorityScores = [...]int{0, 3, 2, 1, -1, -2}

const (
	essentialScore = 100   // for an essential or protected package, inherited by what it depends on
	essentialBonus = 5000  // for the same, not inherited
	requestedBonus = 10000 // for a package of the request
)

// setScores rates all that is chosen: by its own importance, one point for each relation of a chosen package to it,
// negative for Conflicts and Breaks, and the positive score of each package that depends on it by its name.
func (r *repair) setScores() {
	own := make([]int, len(r.states))
	inherited := make([]int, len(r.states))
	for id, st := range r.states {
		if st.chosen == nil {
			continue
		}
		if slot := r.packages[id]; slot.essential || slot.protected {
			own[id] += essentialScore
		}
		own[id] += priorityScores[priorityRank(st.chosen.Package)]
		if st.installed {
			own[id]++
		}
		for _, d := range r.rated(st.chosen) {
			for _, id := range r.chosenSlots(d.targets) {
				if d.negative() {
					own[id]--
				} else {
					own[id]++
				}
			}
		}
	}
	for id, st := range r.states {
		if st.chosen == nil || own[id] <= 0 {
			continue
		}
		for _, d := range r.rated(st.chosen) {
			if d.negative() {
				continue
			}
			for _, relation := range d.group {
				if n := r.names[relation.Name]; n != nil && relation.Arch == "" {
					if slot := n.forArch(r.packages[id].arch); slot != nil {
						inherited[slot.id] += own[id]
					}
				}
			}
		}
	}
	r.scores = make([]int, len(r.states))
	for id, st := range r.states {
		r.scores[id] += own[id] + inherited[id]
		if st.chosen == nil {
			continue
		}
		if slot := r.packages[id]; slot.essential || slot.protected {
			r.scores[id] += essentialBonus
		}
		if !st.auto && !st.installed {
			r.scores[id] += requestedBonus
		}
		r.passOn(st.chosen, inherited)
	}
}

// passOn adds what a real package inherited to the provider of its name.
func (r *repair) passOn(provider *version, inherited []int) {
	for _, group := range r.relations(provider.Provides) {
		for _, relation := range group {
			if n := r.names[relation.Name]; n != nil && n != provider.slot.name {
				if slot := n.forArch(provider.slot.arch); slot != nil {
					r.scores[provider.slot.id] += inherited[slot.id]
				}
			}
		}
	}
}

// rated returns the dependencies that count in scores: all but Suggests, one alternative each.
func (r *repair) rated(v *version) []dependency {
	list := r.of(v)
	if !r.recommends {
		list = r.parsePositive(slices.Clip(list), v, recommends, v.Recommends)
	}
	return list
}

// chosenSlots returns the slots of the chosen versions among targets, each once for every alternative.
func (r *repair) chosenSlots(targets [][]*version) []int {
	var ids []int
	for _, alternative := range targets {
		start := len(ids)
		for _, v := range alternative {
			if r.isChosen(v) && !slices.Contains(ids[start:], v.slot.id) {
				ids = append(ids, v.slot.id)
			}
		}
	}
	return ids
}

// fix looks at the broken dependencies of a chosen version.
func (r *repair) fix(v *version) {
	var unwanted []*version
	for _, d := range r.of(v) {
		if !d.critical() || r.satisfied(d) {
			continue
		}
		switch {
		case d.negative():
			others, drop := r.weigh(v, d)
			if drop {
				r.drop(v)
				return
			}
			unwanted = append(unwanted, others...)
		case !r.state(v).fixed:
			r.drop(v)
			return
		default:
			r.supply(v, d)
		}
	}
	for _, other := range unwanted {
		r.yield(v, other)
	}
}

// weigh compares v with the chosen versions it excludes: it returns those that are less important, or drop if v is not
// more important than one of them.
func (r *repair) weigh(v *version, d dependency) (less []*version, drop bool) {
	for _, other := range d.targets[0] {
		switch {
		case !r.isChosen(other):
		case r.scores[v.slot.id] > r.scores[other.slot.id]:
			if !r.state(other).fixed {
				less = append(less, other)
			}
		case !r.state(v).fixed:
			return nil, true
		}
	}
	return less, false
}

// drop gives v up.
func (r *repair) drop(v *version) {
	if st := r.state(v); !st.installed && !st.fixed {
		st.chosen = nil
		r.changed, r.discarded = true, true
	}
}

// yield gives other up for v, or raises its score if that is not possible or happened too often.
func (r *repair) yield(v, other *version) {
	st := r.state(other)
	dropped := st.chosen == other && !st.installed && !st.fixed
	if dropped {
		r.drop(other)
	}
	if (!dropped || r.round > 1) && r.scores[v.slot.id] > r.scores[other.slot.id] {
		r.scores[other.slot.id] = r.scores[v.slot.id]
		r.changed = true
	}
}

// supply includes one of the packages that satisfy a dependency of the fixed version v.
func (r *repair) supply(v *version, d dependency) {
	for _, target := range slices.Concat(d.targets...) {
		if r.include(target.slot) {
			r.scores[target.slot.id] = min(r.scores[target.slot.id], r.scores[v.slot.id])
			r.changed = true
			return
		}
	}
}

// include chooses the candidate of a slot and, from below, what its dependencies need.
func (r *repair) include(slot *slot) bool {
	st := &r.states[slot.id]
	if r.tried[slot.id] || st.candidate == nil || st.fixed || st.installed {
		return false
	}
	r.tried[slot.id] = true
	before := st.chosen
	r.take(slot, dependent)
	for _, d := range r.of(st.chosen) {
		if d.critical() && !d.negative() && !r.satisfied(d) && !r.includeOne(d) {
			st.chosen = before
			return false
		}
	}
	return true
}

func (r *repair) includeOne(d dependency) bool {
	for _, targets := range d.targets {
		if i := slices.IndexFunc(targets, r.eligible); i >= 0 && r.include(targets[i].slot) {
			return true
		}
	}
	return false
}
