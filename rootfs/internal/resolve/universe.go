package resolve

import (
	"slices"
	"strings"
	"sync"

	"vmbuild/rootfs/internal/control"
)

// defaultPriority is the pin of an archive that nothing was said about (apt_preferences(5)).
const defaultPriority = 500

// Universe is all that could be installed. It is not changed by resolving, so several goroutines can use it at once.
type Universe struct {
	native   string
	archives []Archive
	names    map[string]*name
	ordered  []*name // in the order of the indexes
	packages []*slot
	versions int

	ranks sync.Once // guards rank of all names

	newName    slab[name]
	newSlot    slab[slot]
	newVersion slab[version]
}

// slab allocates values many at a time: an index has a hundred thousand of them.
type slab[T any] struct{ free []T }

func (s *slab[T]) next() *T {
	if len(s.free) == 0 {
		s.free = make([]T, 1024)
	}
	value := &s.free[0]
	s.free = s.free[1:]
	return value
}

// name is a package name that is real, provided, or both.
type name struct {
	text      string
	slots     []*slot // one per architecture; none if the name is virtual
	providers []provider
	rank      int // see setRanks
}

// slot is what can be installed at most once: a name in one architecture.
type slot struct {
	*name
	id        int
	arch      string // never "all"; such packages count as native
	versions  []*version
	candidate *version // nil if all versions are pinned below 0
	essential bool     // at least one version is
	protected bool
}

// version is one version of a package.
type version struct {
	*control.Package
	slot     *slot
	id       int
	archive  int   // the first of those with the best pin
	archives []int // the others that have it
}

// provider is a Provides entry as seen from the name that is provided.
type provider struct {
	by      *version
	arch    string // the entry's qualifier, usually empty
	version string // empty if the entry has none
}

// NewUniverse indexes the packages of the archives. Relation fields it cannot parse are taken as empty here and make
// Resolve fail when they matter.
func NewUniverse(nativeArch string, archives []Archive) *Universe {
	total := 0
	for _, a := range archives {
		total += len(a.Packages)
	}
	u := &Universe{
		native:   nativeArch,
		archives: archives,
		names:    make(map[string]*name, 2*total),
		ordered:  make([]*name, 0, 2*total),
		packages: make([]*slot, 0, total),
	}
	for i, a := range archives {
		for j := range a.Packages {
			u.add(&a.Packages[j], i)
		}
	}
	for _, s := range u.packages {
		u.choose(s)
		for _, v := range s.versions {
			u.addProvides(v)
		}
	}
	return u
}

func (u *Universe) add(p *control.Package, archive int) {
	s := u.slot(p.Name, u.arch(p))
	s.essential = s.essential || p.Essential
	s.protected = s.protected || p.Protected
	for _, v := range s.versions {
		if v.Version == p.Version && v.SHA256 == p.SHA256 {
			u.alsoIn(v, archive)
			return
		}
	}
	v := u.newVersion.next()
	*v = version{Package: p, slot: s, id: u.versions, archive: archive}
	s.versions = append(s.versions, v)
	u.versions++
}

// alsoIn records that a later archive has v too.
func (u *Universe) alsoIn(v *version, archive int) {
	if u.priority(archive) > u.priority(v.archive) {
		archive, v.archive = v.archive, archive
	}
	v.archives = append(v.archives, archive)
}

// arch is the architecture in which p counts.
func (u *Universe) arch(p *control.Package) string {
	if p.Architecture == "all" {
		return u.native
	}
	return p.Architecture
}

func (u *Universe) slot(text, arch string) *slot {
	n := u.name(text)
	if s := n.forArch(arch); s != nil {
		return s
	}
	s := u.newSlot.next()
	*s = slot{name: n, id: len(u.packages), arch: arch}
	n.slots = append(n.slots, s)
	u.packages = append(u.packages, s)
	return s
}

func (u *Universe) name(text string) *name {
	n := u.names[text]
	if n == nil {
		n = u.newName.next()
		n.text = text
		u.names[text] = n
		u.ordered = append(u.ordered, n)
	}
	return n
}

// forArch returns the name's slot for an architecture, nil if it has none.
func (n *name) forArch(arch string) *slot {
	for _, s := range n.slots {
		if s.arch == arch {
			return s
		}
	}
	return nil
}

// choose sorts the versions of s, best first, and sets the candidate.
func (u *Universe) choose(s *slot) {
	if len(s.versions) > 1 {
		slices.SortStableFunc(s.versions, func(a, b *version) int {
			if c := u.priority(b.archive) - u.priority(a.archive); c != 0 {
				return c
			}
			return control.CompareVersions(b.Version, a.Version)
		})
	}
	if best := s.versions[0]; u.priority(best.archive) >= 0 {
		s.candidate = best
	}
}

func (u *Universe) priority(archive int) int {
	if p := u.archives[archive].Priority; p != 0 {
		return p
	}
	return defaultPriority
}

func (u *Universe) addProvides(v *version) {
	if v.Provides == "" {
		return
	}
	for r, err := range control.Relations(v.Provides) {
		if err != nil {
			return
		}
		if r.Op != control.Any && r.Op != control.Equal {
			continue // apt and dpkg ignore these too
		}
		n := u.name(r.Name)
		n.providers = append(n.providers, provider{by: v, arch: r.Arch, version: r.Version})
	}
}

// satisfying returns the versions that can stand for relation r in a positive field of a package of architecture arch:
// the package of that name first, then those that provide it.
func (u *Universe) satisfying(r control.Relation, arch string) []*version {
	n := u.names[r.Name]
	if n == nil {
		return nil
	}
	var found []*version
	for _, s := range n.slots {
		for _, v := range s.versions {
			if u.reaches(r.Arch, arch, v, "") && r.Op.Matches(v.Version, r.Version) {
				found = append(found, v)
			}
		}
	}
	for _, p := range n.providers {
		if u.reaches(r.Arch, arch, p.by, p.arch) && p.matches(r) {
			found = append(found, p.by)
		}
	}
	return found
}

// matches says whether the provided version satisfies r: an entry without a version only satisfies relations without.
func (p provider) matches(r control.Relation) bool {
	return r.Op == control.Any || p.version != "" && r.Op.Matches(p.version, r.Version)
}

// reaches applies the rules of multi-arch: can a dependency with the given qualifier of a package of architecture from
// be satisfied by v? For a Provides entry with a qualifier of its own, as is that qualifier.
func (u *Universe) reaches(qualifier, from string, v *version, as string) bool {
	arch := v.slot.arch
	if as != "" {
		arch = as
	}
	switch qualifier {
	case "":
		return arch == from || as == "" && v.MultiArch == "foreign"
	case "any":
		return arch == "any" || as == "" && v.MultiArch == "allowed"
	case "native":
		return arch == u.native
	}
	return arch == qualifier
}

// conflicting returns the versions that relation r, in a Conflicts or Breaks field of v, excludes. It concerns all
// architectures unless it is qualified, but never the package itself nor, by way of their Provides, its siblings of
// other architectures.
func (u *Universe) conflicting(r control.Relation, v *version) []*version {
	n := u.names[r.Name]
	if n == nil {
		return nil
	}
	var found []*version
	for _, s := range n.slots {
		if s == v.slot || s.name == v.slot.name && v.MultiArch == "same" {
			continue
		}
		for _, other := range s.versions {
			if u.concerns(r.Arch, other) && r.Op.Matches(other.Version, r.Version) {
				found = append(found, other)
			}
		}
	}
	for _, p := range n.providers {
		if p.by.slot.name != v.slot.name && u.concerns(r.Arch, p.by) && p.matches(r) {
			found = append(found, p.by)
		}
	}
	return found
}

func (u *Universe) concerns(qualifier string, v *version) bool {
	switch qualifier {
	case "", "any":
		return true
	case "native":
		return v.slot.arch == u.native
	}
	return v.slot.arch == qualifier
}

// siblings returns the versions of the same package in other architectures that cannot be installed beside v: all, or
// only those of another version if v is Multi-Arch: same.
func (u *Universe) siblings(v *version) []*version {
	var found []*version
	for _, s := range v.slot.slots {
		for _, other := range s.versions {
			if s != v.slot && (v.MultiArch != "same" || other.Version != v.Version) {
				found = append(found, other)
			}
		}
	}
	return found
}

// setRanks numbers the names of providers that have rivals, in the order in which names are first mentioned in the
// indexes: as a package or in a relation field of one, read in apt's order. apt numbers packages so, and of providers
// that are equal in all else it takes the one mentioned last.
func (u *Universe) setRanks() {
	unranked := make(map[string]*name)
	for _, n := range u.ordered {
		if len(n.providers) > 1 {
			for _, p := range n.providers {
				unranked[p.by.Name] = p.by.slot.name
			}
		}
	}
	next := 1
	mention := func(text string) {
		if n := unranked[text]; n != nil && n.rank == 0 {
			n.rank = next
			next++
		}
	}
	for _, a := range u.archives {
		for i := range a.Packages {
			p := &a.Packages[i]
			mention(p.Name)
			for _, field := range [...]string{p.PreDepends, p.Depends, p.Conflicts, p.Breaks, p.Recommends, p.Suggests,
				p.Replaces, p.Enhances, p.Provides} {
				for r, err := range control.Relations(field) {
					if err == nil && r.Arch != "any" { // name:any is a package of its own in apt's count
						mention(r.Name)
					}
				}
			}
		}
	}
}

// priorities in apt's order of preference. A package without a priority is preferred to all others, one with a
// priority that Debian does not know counts as extra.
var priorities = []string{"", "required", "important", "standard", "optional"}

func priorityRank(p *control.Package) int {
	if i := slices.Index(priorities, strings.ToLower(p.Priority)); i >= 0 {
		return i
	}
	return len(priorities)
}
