package resolve

import "slices"

// choices returns what was chosen and not there before: each package after those it depends on, unless it is part of
// a cycle, before those it recommends, and otherwise in the order of the request and of the relation fields.
func (s *solver) choices(roots []*slot) []Choice {
	var list []Choice
	seen := make([]bool, len(s.states))
	var visit func(v *version)
	follow := func(v *version, critical bool) {
		for _, d := range s.of(v) {
			if d.negative() || d.critical() != critical {
				continue
			}
			for _, t := range slices.Concat(d.targets...) {
				if s.isChosen(t) {
					visit(t)
				}
			}
		}
	}
	visit = func(v *version) {
		if seen[v.slot.id] {
			return
		}
		seen[v.slot.id] = true
		follow(v, true)
		if st := s.state(v); !st.installed {
			list = append(list, Choice{Package: v.Package, Archive: s.indexes[v.index].archive, Auto: st.auto})
		}
		follow(v, false)
	}
	for _, root := range roots {
		visit(s.states[root.id].chosen)
	}
	for _, st := range s.states {
		if st.chosen != nil {
			visit(st.chosen)
		}
	}
	return slices.Clip(list)
}
