package ext4

import (
	"cmp"
	"fmt"
	"slices"

	"vmbuild/rootfs/tree"
)

// allocator gives blocks away, from the first on.
type allocator struct {
	free []extent // what is left, sorted
	used []extent // sorted and joined
	lack int64    // blocks that there were not
}

// newAllocator knows what the groups themselves take.
func newAllocator(g geometry) *allocator {
	a := &allocator{}
	var taken []extent
	for group := range g.count {
		if s := g.superBlocks(group); s.count > 0 {
			taken = append(taken, s)
		}
		if group%flexGroups == 0 {
			bitmaps, _, tables := g.flex(group)
			taken = append(taken, extent{bitmaps.start, tables.end() - bitmaps.start})
		}
	}
	slices.SortFunc(taken, func(a, b extent) int { return cmp.Compare(a.start, b.start) })
	next := int64(0)
	for _, t := range taken {
		if t.start > next {
			a.free = append(a.free, extent{next, t.start - next})
		}
		a.use(t)
		next = t.end()
	}
	if next < g.blocks {
		a.free = append(a.free, extent{next, g.blocks - next})
	}
	return a
}

// use notes that blocks are taken, in any order.
func (a *allocator) use(e extent) {
	i, _ := slices.BinarySearchFunc(a.used, e.start, func(u extent, start int64) int { return cmp.Compare(u.start, start) })
	if i > 0 && a.used[i-1].end() == e.start {
		i--
		a.used[i].count += e.count
	} else {
		a.used = slices.Insert(a.used, i, e)
	}
	if i+1 < len(a.used) && a.used[i].end() == a.used[i+1].start {
		a.used[i].count += a.used[i+1].count
		a.used = slices.Delete(a.used, i+1, i+2)
	}
}

// take gives so many blocks; fewer, and notes that, if there are no more.
func (a *allocator) take(count int64) []extent {
	var got []extent
	for count > 0 && len(a.free) > 0 {
		e := extent{a.free[0].start, min(count, a.free[0].count)}
		got = append(got, e)
		a.use(e)
		count -= e.count
		a.free[0] = extent{e.end(), a.free[0].count - e.count}
		if a.free[0].count == 0 {
			a.free = a.free[1:]
		}
	}
	a.lack += count
	return got
}

// takeOne gives a block; 0 if there are no more.
func (a *allocator) takeOne() int64 {
	if got := a.take(1); len(got) > 0 {
		return got[0].start
	}
	return 0
}

// place gives everything its blocks: the filesystem's own files first, then what is read to find files, then files.
func (v *Volume) place() error {
	a := newAllocator(v.geometry)
	if v.resizes() {
		v.special.resize = a.takeOne()
	}
	var files []*node
	for _, n := range v.inodes {
		switch {
		case n.directory():
			blocks := v.dirBlocks(n)
			n.size, n.data = blocks*blockSize, []extent{{0, blocks}}
		case v.own(n):
			n.data = []extent{{0, n.size / blockSize}}
		case n.entry.Type == tree.Symlink && n.mapped():
			n.data = []extent{{0, 1}}
		case n.entry.Type == tree.File:
			files = append(files, n)
		}
		if len(n.outside) > 0 {
			n.attributes = a.takeOne()
		}
		if n.entry.Type != tree.File || v.own(n) {
			a.place(n)
		}
	}
	for _, n := range files {
		a.place(n)
	}
	if a.lack > 0 {
		return fmt.Errorf("the files need %d bytes more than the %d have room for", a.lack*blockSize, v.options.Size)
	}
	v.used = a.used
	return nil
}

// own says whether a node is a file of the filesystem itself.
func (v *Volume) own(n *node) bool { return n == v.special.journal || n == v.special.orphans }

// place gives the data of a node their blocks, and after them those of its tree of extents.
func (a *allocator) place(n *node) {
	for _, piece := range n.data {
		n.locate(piece.start, a.take(piece.count))
	}
	var blocks []int64
	for range branchBlocks(int64(len(n.where))) {
		blocks = append(blocks, a.takeOne())
	}
	n.grow(blocks)
}
