// Package resolve chooses packages as apt-get install does: from a request and the indexes of some archives, the exact
// set of packages that apt would install on top of what is there.
//
// A request is made of words as apt-get install takes them (request.go), patterns included (pattern.go has their syntax,
// matcher.go their meaning); apt_preferences(5) and the default release give versions their priorities (policy.go).
//
// The reference is the classic solver of apt 2.x and 3.0. Its rules, in the order in which they bite: the candidate of
// a package is its version with the highest priority, then the highest version; what was requested is settled before any
// dependency is looked at; dependencies are followed depth first, in the order Pre-Depends, Depends, Recommends; a
// group of alternatives that is already satisfied asks for nothing more; otherwise the first alternative that can be
// installed is taken, the package of that name before those that provide it; an alternative that turns out not to be
// installable, because something below it is missing or conflicts with what was chosen, is given up for the next.
// Where this greedy walk (mark.go) ends in contradictions, the less important packages give way (repair.go), what was
// chosen on behalf of something given up is removed, and if that does not help although there is a solution, a complete
// search finds one (complete.go), where apt 2.x gives up and apt 3.0 turns to its new solver.
//
// The package computes and does nothing else: it reads no file, fetches nothing and never proposes to remove or to
// upgrade what is installed. The same request to the same indexes always has the same answer.
package resolve

import (
	"fmt"
	"slices"

	"vmbuild/rootfs/internal/control"
)

// Archive is what one source offers and what apt would know about it. How it is read in parts does not matter to what
// is chosen, unless preferences or patterns ask for components.
type Archive struct {
	Indexes  []Index
	Packages []control.Package // more of them, of no component

	Suite, Codename                    string // of its Release file, as are the next two lines
	Origin, Label, Version             string
	NotAutomatic, ButAutomaticUpgrades bool

	Site     string // host of its URI; empty if it is on this machine
	Priority int    // of its versions, instead of apt's default; 0: that default
}

// Index is one Packages file.
type Index struct {
	Component, Arch string
	Packages        []control.Package
}

// Choice is a package that was chosen.
type Choice struct {
	*control.Package
	Archive int  // index of the archive it comes from, in the order given to NewUniverse
	Auto    bool // only a dependency asked for it
}

// Request says what is to be installed.
type Request struct {
	// Packages are words as apt-get install takes them: names, with an architecture if it is not the native one
	// (name:arch), a version (name=version) or an archive's suite, codename or version (name/suite); tasks (name^);
	// globs; regular expressions; patterns of apt-patterns(7). A hyphen behind one of them (name-) excludes what it
	// means, a plus sign (name+) changes nothing. A word that could be a package's name is never taken for a regular
	// expression: apt-get, other than apt, takes "python3.1" for one.
	Packages   []string
	Exclude    []string // words; what they mean must not be installed, and they may mean nothing
	Omit       []string // the same, but a dependency may bring it (debootstrap's --exclude)
	Essential  bool     // all packages of the native architecture that are Essential: yes
	Priorities []string // all packages of the native architecture with one of these priorities
	Recommends bool     // follow Recommends as apt does by default
	Installed  []Choice // what is there already
}

// Resolve returns what must be installed to fulfil the request on top of r.Installed, packages after what they depend
// on as far as there are no cycles. It returns an *UnsatisfiableError if this cannot be done, and an
// *UnknownPackageError if a name means nothing to it.
func (u *Universe) Resolve(r Request) ([]Choice, error) {
	s, err := newSolver(u, r)
	if err != nil {
		return nil, fmt.Errorf("resolve packages: %w", err)
	}
	roots, err := s.requested(r)
	if err != nil {
		return nil, fmt.Errorf("resolve packages: %w", err)
	}
	initial := slices.Clone(s.states)
	s.greedy(roots)
	if s.consistent() || s.repair() {
		s.sweep(roots)
	} else if err := s.complete(roots, initial); err != nil {
		return nil, fmt.Errorf("resolve packages: %w", err)
	}
	return s.choices(roots), nil
}
