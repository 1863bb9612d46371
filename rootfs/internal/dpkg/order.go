package dpkg

import (
	"fmt"

	"vmbuild/rootfs/internal/control"
)

// batch is a step of an installation.
type batch struct {
	before []*archive // to be configured first: what packages of the batch pre-depend on, and what that depends on
	unpack []*archive
}

// planBatches divides packages into as few steps as their Pre-Depends allow without changing their order. That is how
// apt divides its calls of dpkg, so for apt's order of packages the steps are apt's: scripts that add users do so in
// the same order.
func planBatches(installed []*record, archives []*archive) ([]batch, error) {
	p := &planner{provided: map[string][]*archive{}, configured: map[string]bool{}, done: map[*archive]bool{}}
	for _, r := range installed {
		if err := p.noteInstalled(r); err != nil {
			return nil, err
		}
	}
	for _, a := range archives {
		names, err := providedNames(&a.record)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			p.provided[name] = append(p.provided[name], a)
		}
	}
	for _, a := range archives {
		if err := p.visit(a, map[*archive]bool{}); err != nil {
			return nil, err
		}
	}
	p.flush()
	return p.batches, nil
}

type planner struct {
	provided   map[string][]*archive // by name of a package or of what it provides
	configured map[string]bool       // such names of packages that are configured by now
	done       map[*archive]bool     // planned to be unpacked
	batches    []batch
	current    batch
}

func (p *planner) noteInstalled(r *record) error {
	if !r.isConfigured() {
		return nil
	}
	names, err := providedNames(r)
	for _, name := range names {
		p.configured[name] = true
	}
	return err
}

func providedNames(r *record) ([]string, error) {
	names := []string{r.name}
	groups, err := control.ParseRelations(r.field("Provides"))
	if err != nil {
		return nil, fmt.Errorf("package %q: Provides: %w", r.id(), err)
	}
	for _, group := range groups {
		names = append(names, group[0].Name)
	}
	return names, nil
}

// visit plans a after what it pre-depends on. A circle of Pre-Depends, which policy forbids, is cut where it closes.
func (p *planner) visit(a *archive, above map[*archive]bool) error {
	if p.done[a] || above[a] {
		return nil
	}
	above[a] = true
	defer delete(above, a)

	var needed []*archive
	first, err := p.needs(a, "Pre-Depends")
	if err != nil {
		return err
	}
	seen := map[*archive]bool{a: true}
	for _, b := range first {
		if err := p.closure(b, seen, &needed); err != nil {
			return err
		}
	}
	for _, b := range needed {
		if err := p.visit(b, above); err != nil {
			return err
		}
	}
	needed = p.unconfigured(needed)
	if len(needed) > 0 {
		p.flush()
		p.current.before = needed
		for _, b := range needed {
			if err := p.noteConfigured(b); err != nil {
				return err
			}
		}
	}
	p.current.unpack = append(p.current.unpack, a)
	p.done[a] = true
	return nil
}

func (p *planner) noteConfigured(a *archive) error {
	names, err := providedNames(&a.record)
	for _, name := range names {
		p.configured[name] = true
	}
	return err
}

func (p *planner) unconfigured(archives []*archive) []*archive {
	var left []*archive
	for _, a := range archives {
		if p.done[a] && !p.configured[a.name] {
			left = append(left, a)
		}
	}
	return left
}

// closure appends to list what must be configured so that a is, in the order in which that is possible.
func (p *planner) closure(a *archive, seen map[*archive]bool, list *[]*archive) error {
	if seen[a] {
		return nil
	}
	seen[a] = true
	for _, field := range []string{"Pre-Depends", "Depends"} {
		direct, err := p.needs(a, field)
		if err != nil {
			return err
		}
		for _, b := range direct {
			if err := p.closure(b, seen, list); err != nil {
				return err
			}
		}
	}
	*list = append(*list, a)
	return nil
}

// needs returns the packages to be installed that a's field asks for and no configured package satisfies.
func (p *planner) needs(a *archive, field string) ([]*archive, error) {
	groups, err := control.ParseRelations(a.field(field))
	if err != nil {
		return nil, fmt.Errorf("package %q: %s: %w", a.id(), field, err)
	}
	var needed []*archive
	for _, group := range groups {
		if b := p.choose(group); b != nil {
			needed = append(needed, b)
		}
	}
	return needed, nil
}

// choose returns the package that satisfies the alternatives, nil if that is configured or is not to be installed.
func (p *planner) choose(group control.Group) *archive {
	for _, relation := range group {
		if p.configured[relation.Name] {
			return nil
		}
	}
	for _, relation := range group {
		if list := p.provided[relation.Name]; len(list) > 0 {
			return list[0]
		}
	}
	return nil
}

func (p *planner) flush() {
	if len(p.current.unpack) > 0 {
		p.batches = append(p.batches, p.current)
	}
	p.current = batch{}
}
