package ext4

import (
	"cmp"
	"slices"

	"vmbuild/rootfs/tree"
)

// describe lists what is where, now that everything has its place.
func (v *Volume) describe() {
	v.orderInodes()
	directories := make([]int64, v.count)
	for number, n := range v.inodes {
		if n != nil && n.directory() {
			directories[int64(number-1)/v.perTable]++
		}
	}
	length := v.descriptorLength()
	v.groups = make([]byte, v.count*length)
	for group := range v.count {
		v.putDescriptor(v.groups[group*length:(group+1)*length], group, directories[group])
	}
	v.describeGroups()
	v.describeOwn()
	for _, n := range v.inodes {
		if n != nil {
			v.describeNode(n)
		}
	}
	for _, p := range v.pieces {
		v.written += p.count
	}
	slices.SortFunc(v.pieces, func(a, b piece) int { return cmp.Compare(a.start, b.start) })
}

// orderInodes makes the list of inodes one by number.
func (v *Volume) orderInodes() {
	last := uint32(0)
	for _, n := range v.inodes {
		last = max(last, n.number)
	}
	ordered := make([]*node, last+1)
	for _, n := range v.inodes {
		ordered[n.number] = n
	}
	v.inodes = ordered
}

// add adds a piece that is written as a whole, over zeroes.
func (v *Volume) add(where extent, put func(b []byte)) {
	if where.count == 0 {
		return
	}
	v.pieces = append(v.pieces, piece{where, func(p []byte, at int64) error {
		if int64(len(p)) == where.count*blockSize {
			clear(p)
			put(p)
			return nil
		}
		all := make([]byte, where.count*blockSize)
		put(all)
		copy(p, all[at:])
		return nil
	}})
}

// addBlocks adds a piece that is written block by block, over zeroes.
func (v *Volume) addBlocks(where extent, put func(b []byte, index int64)) {
	if where.count == 0 {
		return
	}
	v.pieces = append(v.pieces, piece{where, func(p []byte, at int64) error {
		var block [blockSize]byte
		for len(p) > 0 {
			clear(block[:])
			put(block[:], at/blockSize)
			n := copy(p, block[at%blockSize:])
			p, at = p[n:], at+int64(n)
		}
		return nil
	}})
}

func (v *Volume) describeGroups() {
	for group := range v.count {
		if start := v.superBlocks(group); start.count > 0 {
			v.add(extent{start.start, 1 + v.descriptors}, func(b []byte) {
				super := b
				if group == 0 {
					super = b[superStart:]
				}
				v.putSuper(super[:1024], group)
				copy(b[blockSize:], v.groups)
			})
		}
		if !v.checksums() || !v.blocksUninit(group) {
			v.add(extent{v.blockBitmap(group), 1}, func(b []byte) { v.putBlockBitmap(b, group) })
		}
		if !v.checksums() || v.usedInodes(group) > 0 {
			v.add(extent{v.inodeBitmap(group), 1}, func(b []byte) { v.putInodeBitmap(b, group) })
		}
		table := extent{v.inodeTable(group), ceil(v.usedInodes(group)*inodeSize, blockSize)}
		v.addBlocks(table, func(b []byte, index int64) { v.putInodes(b, group, index) })
	}
}

// putInodes writes a block of the table of inodes.
func (v *Volume) putInodes(b []byte, group, index int64) {
	first := group*v.perTable + index*(blockSize/inodeSize)
	for i := range int64(blockSize / inodeSize) {
		number := uint32(first + i + 1)
		one := b[i*inodeSize : (i+1)*inodeSize]
		switch {
		case int(number) >= len(v.inodes):
		case v.inodes[number] != nil:
			v.putInode(one, v.inodes[number])
		case number == resizeInode && v.resizes():
			v.putResizeInode(one)
		default:
			v.signInode(one, number)
		}
	}
}

func (v *Volume) describeOwn() {
	if v.resizes() {
		v.add(extent{v.special.resize, 1}, v.putResizeMap)
		if len(v.backups()) > 0 {
			v.addBlocks(extent{1 + v.descriptors, v.growth}, v.putResizeCopies)
		}
	}
	if n := v.special.journal; n != nil {
		v.add(extent{n.where[0].start, 1}, v.putJournal)
	}
	if n := v.special.orphans; n != nil {
		for _, e := range n.where {
			v.addBlocks(e, func(b []byte, index int64) { v.putOrphans(b, e.start+index) })
		}
	}
}

// describeNode lists what belongs to an inode: its content in as many pieces as there are extents.
func (v *Volume) describeNode(n *node) {
	for _, of := range n.branches {
		v.add(extent{of.block, 1}, func(b []byte) { v.putBranch(b, n, of) })
	}
	if n.attributes != 0 {
		v.add(extent{n.attributes, 1}, func(b []byte) { v.putAttributeBlock(b, n) })
	}
	switch {
	case v.own(n):
	case n.directory():
		v.describeDirectory(n)
	case n.entry.Type == tree.Symlink && n.mapped():
		v.add(n.where[0], func(b []byte) { copy(b, n.entry.Target) })
	case n.entry.Type == tree.File:
		for i, e := range n.where {
			v.pieces = append(v.pieces, piece{e, func(p []byte, at int64) error {
				return readFile(p, v.options.File(n.entry), n.starts[i]*blockSize+at, n.size)
			}})
		}
	}
}

// describeDirectory lists the pieces of a directory, which is written as a whole.
func (v *Volume) describeDirectory(n *node) {
	if len(n.where) == 1 {
		v.add(n.where[0], func(b []byte) { v.putDirectory(b, n) })
		return
	}
	for i, e := range n.where {
		v.add(e, func(b []byte) {
			all := make([]byte, n.size)
			v.putDirectory(all, n)
			copy(b, all[n.starts[i]*blockSize:])
		})
	}
}
