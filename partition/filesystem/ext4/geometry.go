package ext4

import "fmt"

// geometry is what the size of a filesystem decides. All but bytes of descriptors are counted in blocks, where not said
// otherwise.
type geometry struct {
	blocks      int64
	reserved    int64 // for root
	perGroup    int64 // at most what a block of bits can say
	count       int64 // of groups
	descriptors int64
	growth      int64 // behind the descriptors, for more of them
	perTable    int64 // inodes of a group
	table       int64 // of inodes, of a group
	journalSize int64
	orphanSize  int64 // of the file that lists inodes to be removed
}

const (
	bitsOfBlock  = blockSize * 8
	pointers     = blockSize / 4 // of block numbers, in a block
	flexGroups   = 16            // whose bitmaps and tables lie together
	leastJournal = 2048          // blocks of a filesystem with one
	leastRoom    = 50            // blocks of data in the last group
)

// newGeometry follows mke2fs and ext2fs_initialize of libext2fs, step by step.
func newGeometry(blocks int64, f *features) (geometry, error) {
	if blocks < leastJournal {
		f.compatible &^= hasJournal | hasOrphanFile
	}
	if blocks >= 1<<32 {
		return geometry{}, fmt.Errorf("%d bytes are too many: 16 TiB are the most", blocks*blockSize)
	}
	inodes := blocks * blockSize / inodeRatio(blocks)
	g := geometry{blocks: blocks, perGroup: bitsOfBlock, reserved: blocks * 5 / 100}
	for {
		g.count = ceil(g.blocks, g.perGroup)
		if g.count == 0 {
			return g, fmt.Errorf("%d bytes are too few", blocks*blockSize)
		}
		g.descriptors = ceil(g.count*f.descriptorLength(), blockSize)
		wanted := ceil(max(inodes, lostFoundNode+1), g.count)
		if wanted > bitsOfBlock {
			g.perGroup -= 8 // smaller groups are more groups, which hold more inodes
			g.blocks = blocks
			continue
		}
		g.table = ceil(wanted*inodeSize, blockSize)
		g.perTable = g.table * (blockSize / inodeSize)
		g.growth = 0
		if f.resizes() {
			g.growth = g.growthBlocks(f.descriptorLength())
		}
		least := 2 + g.table
		if hasSuper(g.count - 1) {
			least += 1 + g.descriptors + g.growth
		}
		rest := g.blocks % g.perGroup
		switch {
		case g.count == 1 && g.blocks < least:
			return g, fmt.Errorf("%d bytes are too few", blocks*blockSize)
		case rest > 0 && rest < least+leastRoom && g.count > 1:
			g.blocks -= rest
			g.reserved = blocks * 5 / 100 * g.blocks / blocks
			continue
		}
		break
	}
	if f.journal() {
		g.journalSize = journalBlocks(g.blocks)
	}
	if f.orphans() {
		g.orphanSize = orphanBlocks(g.blocks)
	}
	return g, nil
}

// inodeRatio gives the bytes for which there is an inode (mke2fs.conf(5): the types small, default and big).
func inodeRatio(blocks int64) int64 {
	const mib = (1 << 20) / blockSize
	switch {
	case blocks < 3*mib:
		return 8192
	case blocks < 512*mib:
		return 4096
	case blocks < 4<<20*mib:
		return 16384
	}
	return 32768
}

// growthBlocks are kept for the descriptors of a filesystem that is 1024 times as large.
func (g geometry) growthBlocks(descriptor int64) int64 {
	most := min(g.blocks*1024, 1<<32-1)
	return min(ceil(ceil(most, g.perGroup), blockSize/descriptor)-g.descriptors, pointers)
}

// journalBlocks is ext2fs_default_journal_size of libext2fs.
func journalBlocks(blocks int64) int64 {
	for _, row := range []struct{ below, journal int64 }{
		{32 << 10, 1 << 10}, {256 << 10, 4 << 10}, {512 << 10, 8 << 10}, {4 << 20, 16 << 10}, {8 << 20, 32 << 10},
		{16 << 20, 64 << 10}, {32 << 20, 128 << 10},
	} {
		if blocks < row.below {
			return row.journal
		}
	}
	return 256 << 10
}

// orphanBlocks is ext2fs_default_orphan_file_blocks of libext2fs.
func orphanBlocks(blocks int64) int64 {
	switch {
	case blocks < 128<<10:
		return 32
	case blocks < 2<<20:
		return blocks / 4096
	}
	return 512
}

// hasSuper says whether a group has a copy of the superblock and the descriptors: 0, 1, and the powers of 3, 5 and 7.
func hasSuper(group int64) bool {
	if group <= 1 {
		return true
	}
	for _, base := range []int64{3, 5, 7} {
		power := base
		for power < group {
			power *= base
		}
		if power == group {
			return true
		}
	}
	return false
}

// superBlocks are those at the begin of a group that has a copy.
func (g geometry) superBlocks(group int64) extent {
	if !hasSuper(group) {
		return extent{group * g.perGroup, 0}
	}
	return extent{group * g.perGroup, 1 + g.descriptors + g.growth}
}

// blocksOf are those of a group.
func (g geometry) blocksOf(group int64) extent {
	start := group * g.perGroup
	return extent{start, min(g.perGroup, g.blocks-start)}
}

// flex is where the bitmaps and tables of up to flexGroups groups lie, from one of them on.
func (g geometry) flex(group int64) (blockBitmaps, inodeBitmaps, tables extent) {
	first := group / flexGroups * flexGroups
	groups := min(flexGroups, g.count-first)
	blockBitmaps = extent{g.superBlocks(first).end(), groups}
	inodeBitmaps = extent{blockBitmaps.end(), groups}
	return blockBitmaps, inodeBitmaps, extent{inodeBitmaps.end(), groups * g.table}
}

// blockBitmap, inodeBitmap and inodeTable are the first block of each, of a group.
func (g geometry) blockBitmap(group int64) int64 {
	bitmaps, _, _ := g.flex(group)
	return bitmaps.start + group%flexGroups
}

func (g geometry) inodeBitmap(group int64) int64 {
	_, bitmaps, _ := g.flex(group)
	return bitmaps.start + group%flexGroups
}

func (g geometry) inodeTable(group int64) int64 {
	_, _, tables := g.flex(group)
	return tables.start + group%flexGroups*g.table
}
