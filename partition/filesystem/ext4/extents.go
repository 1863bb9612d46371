package ext4

const (
	extentMagic  = 0xf30a
	extentLength = 12 // bytes of the header, and of each entry
	inRoot       = pointerLength/extentLength - 1
	inBranch     = blockSize/extentLength - 1
)

// branch is a block of the tree of extents, and what it holds of the level below: entries, or extents.
type branch struct {
	block       int64
	level       int // 0: extents
	first, last int // of the entries, in n.where or, from the first of that level on, in n.branches
}

// branchBlocks is how many blocks a tree of that many extents has.
func branchBlocks(extents int64) int64 {
	blocks := int64(0)
	for extents > inRoot {
		extents = ceil(extents, inBranch)
		blocks += extents
	}
	return blocks
}

// grow gives the tree of extents its blocks, level by level.
func (n *node) grow(blocks []int64) {
	entries, below := len(n.where), 0
	for level := 0; entries > inRoot; level++ {
		first := len(n.branches)
		for at := 0; at < entries; at += inBranch {
			n.branches = append(n.branches, branch{
				block: blocks[len(n.branches)], level: level, first: below + at, last: below + min(at+inBranch, entries),
			})
		}
		entries, below = len(n.branches)-first, first
		n.levels = level + 1
	}
}

// putRoot writes the root of the tree of extents.
func (n *node) putRoot(b []byte) {
	if n.levels == 0 {
		n.putEntries(b, branch{last: len(n.where)}, inRoot)
		return
	}
	top := len(n.branches)
	for top > 0 && n.branches[top-1].level == n.levels-1 {
		top--
	}
	n.putEntries(b, branch{level: n.levels, first: top, last: len(n.branches)}, inRoot)
}

// putEntries writes a node of the tree of extents:
//
//	offset  bytes  field
//	0       2      magic number
//	2       2      entries
//	4       2      room for entries
//	6       2      level
//	8       4      generation, 0
//	12             entries
//
// Those of level 0 are
//
//	0       4      first block of the file
//	4       2      blocks
//	6       2      block of the filesystem, high half
//	8       4      and low half
//
// and others
//
//	0       4      first block of the file
//	4       4      block of the node below, low half
//	8       2      and high half
func (n *node) putEntries(b []byte, of branch, room int) {
	le.PutUint16(b[0:], extentMagic)
	le.PutUint16(b[2:], uint16(of.last-of.first))
	le.PutUint16(b[4:], uint16(room))
	le.PutUint16(b[6:], uint16(of.level))
	for i := of.first; i < of.last; i++ {
		b = b[extentLength:]
		if of.level == 0 {
			e := n.where[i]
			le.PutUint32(b[0:], uint32(n.starts[i]))
			le.PutUint16(b[4:], uint16(e.count))
			le.PutUint16(b[6:], uint16(e.start>>32))
			le.PutUint32(b[8:], uint32(e.start))
			continue
		}
		below := n.branches[i]
		le.PutUint32(b[0:], uint32(n.startOf(below)))
		le.PutUint32(b[4:], uint32(below.block))
		le.PutUint16(b[8:], uint16(below.block>>32))
	}
}

// startOf is the first block of the file that a branch leads to.
func (n *node) startOf(b branch) int64 {
	for b.level > 0 {
		b = n.branches[b.first]
	}
	return n.starts[b.first]
}

// putBranch writes a block of the tree. The checksum follows the room for entries.
func (v *Volume) putBranch(b []byte, n *node, of branch) {
	n.putEntries(b, of, inBranch)
	if v.checksums() {
		end := (1 + inBranch) * extentLength
		le.PutUint32(b[end:], crc(v.inodeSeed(n.number), b[:end]))
	}
}

// locate gives what was placed for a piece of the file's data its place in the file, in extents that a tree can hold.
func (n *node) locate(file int64, where []extent) {
	for _, e := range where {
		for e.count > 0 {
			count := min(e.count, mostExtent)
			n.where = append(n.where, extent{e.start, count})
			n.starts = append(n.starts, file)
			file += count
			e.start, e.count = e.start+count, e.count-count
		}
	}
}
