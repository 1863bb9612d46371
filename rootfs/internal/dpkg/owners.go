package dpkg

import (
	"fmt"
	"hash/maphash"
	"sync"
)

// owners knows to which package each path belongs, and settles who gets a path that several packages have. Packages
// are unpacked at the same time; so that the result does not depend on who comes first, a path is claimed and made
// under one lock.
type owners struct {
	seed   maphash.Seed
	shards [64]ownerShard

	mu   sync.Mutex
	lost map[*record][]string // paths that went to another package
}

type ownerShard struct {
	sync.Mutex
	paths map[string]*record
}

// verdict says what becomes of a path that a package has.
type verdict int

const (
	unpackIt  verdict = iota
	listOnly          // what is there stays, and is the package's too
	leaveItTo         // it belongs to another package, which replaces this one
)

func newOwners() *owners {
	o := &owners{seed: maphash.MakeSeed(), lost: map[*record][]string{}}
	for i := range o.shards {
		o.shards[i].paths = map[string]*record{}
	}
	return o
}

func (o *owners) shard(place string) *ownerShard {
	return &o.shards[maphash.String(o.seed, place)%uint64(len(o.shards))]
}

// note says that an installed package has a path.
func (o *owners) note(place string, r *record) {
	o.shard(place).paths[place] = r
}

// claim calls create if the path place is r's, and returns what became of it. create must leave the path made; the
// content may follow.
func (o *owners) claim(place string, r *record, create func() error) (verdict, error) {
	s := o.shard(place)
	s.Lock()
	defer s.Unlock()
	old := s.paths[place]
	v, err := settle(place, r, old)
	if err != nil || v != unpackIt {
		return v, err
	}
	if err := create(); err != nil {
		return v, err
	}
	s.paths[place] = r
	if old != nil && old != r {
		o.mu.Lock()
		o.lost[old] = append(o.lost[old], place)
		o.mu.Unlock()
	}
	return unpackIt, nil
}

// settle applies dpkg's rule: a package may take over the files of those it replaces, and loses them to those that
// replace it. Where both hold, the one that is installed later wins.
func settle(place string, r, old *record) (verdict, error) {
	switch {
	case old == nil || old == r:
		return unpackIt, nil
	case r.shared && old.shared && r.name == old.name:
		return listOnly, nil
	case r.mayReplace(old) && (r.order > old.order || !old.mayReplace(r)):
		return unpackIt, nil
	case old.mayReplace(r):
		return leaveItTo, nil
	}
	return unpackIt, fmt.Errorf("%q is also in package %s (%s)", place, old.id(), old.version)
}
