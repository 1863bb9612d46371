package resolve

import (
	"slices"
	"strings"
	"sync"

	"vmbuild/rootfs/internal/control"
)

// Universe is all that could be installed. It is not changed by resolving, so several goroutines can use it at once.
type Universe struct {
	native   string
	indexes  []index
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

	one [1]*slot // where slots begin: most names have one
}

// slot is what can be installed at most once: a name in one architecture.
type slot struct {
	*name
	id        int
	arch      string     // never "all"; such packages count as native
	versions  []*version // the newest first
	candidate *version   // nil if all versions are pinned below 0
	essential bool       // at least one version is
	protected bool

	one [1]*version // where versions begin: most packages have one
}

// version is one version of a package.
type version struct {
	*control.Package
	slot    *slot
	id      int
	index   int   // the one it is taken from: the first of those with the highest priority
	indexes []int // the others that have it
	pin     int   // priority of its own, 0 if it has none
}

// index is an Index in its Archive.
type index struct {
	Index
	*Archive
	archive  int // its place among the archives
	priority int
}

// priority of an archive that no preference is about.
func (a *Archive) priority() int {
	switch {
	case a.Priority != 0:
		return a.Priority
	case a.ButAutomaticUpgrades:
		return backportsPriority
	case a.NotAutomatic:
		return manualPriority
	}
	return defaultPriority
}

// provider is a Provides entry as seen from the name that is provided.
type provider struct {
	by      *version
	arch    string // the entry's qualifier, usually empty
	version string // empty if the entry has none
}

// NewUniverse indexes the packages of the archives under apt's own policy. Relation fields it cannot parse are taken as
// empty here and make Resolve fail when they matter.
func NewUniverse(nativeArch string, archives []Archive) *Universe {
	u := collect(nativeArch, archives)
	u.choose()
	return u
}

// NewPinnedUniverse indexes the packages of the archives under a policy. It fails if the policy's expressions cannot be
// read or its default release is that of none of the archives.
func NewPinnedUniverse(nativeArch string, archives []Archive, p Policy) (*Universe, error) {
	u := collect(nativeArch, archives)
	if err := u.apply(p); err != nil {
		return nil, err
	}
	u.choose()
	return u, nil
}

// collect indexes all versions.
func collect(nativeArch string, archives []Archive) *Universe {
	indexes, total := split(archives)
	u := &Universe{
		native:   nativeArch,
		indexes:  indexes,
		names:    make(map[string]*name, 2*total),
		ordered:  make([]*name, 0, 2*total),
		packages: make([]*slot, 0, total),
	}
	for i, in := range u.indexes {
		for j := range in.Index.Packages {
			u.add(&in.Index.Packages[j], i)
		}
	}
	return u
}

// choose sets the candidates, and what they and the other versions provide.
func (u *Universe) choose() {
	for _, s := range u.packages {
		u.settle(s)
		for _, v := range s.versions {
			u.addProvides(v)
		}
	}
}

// split lists the indexes of all archives, and the number of packages in them.
func split(archives []Archive) (list []index, total int) {
	for i := range archives {
		a := &archives[i]
		for _, in := range append(slices.Clip(a.Indexes), Index{Packages: a.Packages}) {
			if len(in.Packages) > 0 {
				list = append(list, index{Index: in, Archive: a, archive: i, priority: a.priority()})
				total += len(in.Packages)
			}
		}
	}
	return list, total
}

func (u *Universe) add(p *control.Package, index int) {
	s := u.slot(p.Name, u.arch(p))
	s.essential = s.essential || p.Essential
	s.protected = s.protected || p.Protected
	for _, v := range s.versions {
		if v.Version == p.Version && v.SHA256 == p.SHA256 {
			v.indexes = append(v.indexes, index)
			return
		}
	}
	v := u.newVersion.next()
	*v = version{Package: p, slot: s, id: u.versions, index: index}
	if s.versions == nil {
		s.versions = s.one[:0]
	}
	s.versions = append(s.versions, v)
	u.versions++
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
	if n.slots == nil {
		n.slots = n.one[:0]
	}
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

// settle sorts the versions of s, the newest first, and sets the candidate: the newest of those with the highest
// priority, if that is not below 0.
func (u *Universe) settle(s *slot) {
	if len(s.versions) > 1 {
		slices.SortStableFunc(s.versions, func(a, b *version) int { return control.CompareVersions(b.Version, a.Version) })
	}
	highest := -1
	for _, v := range s.versions {
		u.settleIndex(v)
		if p := u.priority(v); p > highest {
			s.candidate, highest = v, p
		}
	}
}

// settleIndex makes the first of the indexes with the highest priority the one that v is taken from.
func (u *Universe) settleIndex(v *version) {
	for i, other := range v.indexes {
		if u.indexes[other].priority > u.indexes[v.index].priority {
			v.index, v.indexes[i] = other, v.index
		}
	}
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
	for _, in := range u.indexes {
		for i := range in.Index.Packages {
			p := &in.Index.Packages[i]
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
