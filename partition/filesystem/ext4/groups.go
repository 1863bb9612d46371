package ext4

import (
	"cmp"
	"slices"
)

// Flags of a block group.
const (
	inodesUninit = 0x1 // the bitmap of inodes is to be taken for empty
	blocksUninit = 0x2 // that of blocks too
	tableZeroed  = 0x4
)

// putDescriptor writes the descriptor of a block group, the high halves where it has 64 bytes:
//
//	offset  bytes  field
//	0, 32   4      block with the bitmap of blocks
//	4, 36   4      block with the bitmap of inodes
//	8, 40   4      first block of the table of inodes
//	12, 44  2      free blocks
//	14, 46  2      free inodes
//	16, 48  2      directories
//	18      2      flags
//	24, 56  2      checksum of the bitmap of blocks
//	26, 58  2      checksum of the bitmap of inodes
//	28, 50  2      inodes at the end of the table that were never used
//	30      2      checksum of the group's number and the descriptor
func (v *Volume) putDescriptor(b []byte, group int64, directories int64) {
	all := v.blocksOf(group)
	usedInodes := v.usedInodes(group)
	put4 := func(low, high int, x int64) {
		le.PutUint32(b[low:], uint32(x))
		if len(b) > high {
			le.PutUint32(b[high:], uint32(x>>32))
		}
	}
	put2 := func(low, high int, x int64) {
		le.PutUint16(b[low:], uint16(x))
		if len(b) > high {
			le.PutUint16(b[high:], uint16(x>>16))
		}
	}
	put4(0, 32, v.blockBitmap(group))
	put4(4, 36, v.inodeBitmap(group))
	put4(8, 40, v.inodeTable(group))
	put2(12, 44, all.count-v.usedIn(all))
	put2(14, 46, v.perTable-usedInodes)
	put2(16, 48, directories)
	if !v.checksums() {
		return
	}
	le.PutUint16(b[18:], tableZeroed)
	bitmap := make([]byte, blockSize)
	if v.blocksUninit(group) {
		b[18] |= blocksUninit
	} else {
		v.putBlockBitmap(bitmap, group)
		put2(24, 56, int64(crc(v.seed, bitmap[:v.perGroup/8])))
	}
	if usedInodes == 0 {
		b[18] |= inodesUninit
	} else {
		clear(bitmap)
		v.putInodeBitmap(bitmap, group)
		put2(26, 58, int64(crc(v.seed, bitmap[:v.perTable/8])))
	}
	put2(28, 50, v.perTable-usedInodes)
	le.PutUint16(b[30:], uint16(crc(crc(v.seed, le.AppendUint32(nil, uint32(group))), b)))
}

// blocksUninit says whether none of a group's blocks is used. The last group's bitmap has an end that must be written.
func (v *Volume) blocksUninit(group int64) bool {
	return group < v.count-1 && v.usedIn(v.blocksOf(group)) == 0
}

// usedInodes is how many inodes of a group are. Those of all groups follow each other.
func (v *Volume) usedInodes(group int64) int64 {
	return max(0, min(v.perTable, int64(len(v.inodes))-1-group*v.perTable))
}

// usedFrom gives the ranges of blocks that are used, from the first that ends after a block on.
func (v *Volume) usedFrom(block int64) []extent {
	i, _ := slices.BinarySearchFunc(v.used, block, func(e extent, b int64) int { return cmp.Compare(e.end()-1, b) })
	return v.used[i:]
}

// usedIn counts the blocks of a range that are used.
func (v *Volume) usedIn(in extent) int64 {
	count := int64(0)
	for _, e := range v.usedFrom(in.start) {
		if e.start >= in.end() {
			break
		}
		count += min(e.end(), in.end()) - max(e.start, in.start)
	}
	return count
}

// putBlockBitmap sets a bit for each used block of a group, and those for blocks that it does not have.
func (v *Volume) putBlockBitmap(b []byte, group int64) {
	in := v.blocksOf(group)
	for _, e := range v.usedFrom(in.start) {
		if e.start >= in.end() {
			break
		}
		setBits(b, max(e.start, in.start)-in.start, min(e.end(), in.end())-in.start)
	}
	setBits(b, in.count, bitsOfBlock)
}

// putInodeBitmap does the same for inodes.
func (v *Volume) putInodeBitmap(b []byte, group int64) {
	setBits(b, 0, v.usedInodes(group))
	setBits(b, v.perTable, bitsOfBlock)
}

func setBits(b []byte, from, to int64) {
	for ; from < to && from%8 != 0; from++ {
		b[from/8] |= 1 << (from % 8)
	}
	for ; from+8 <= to; from += 8 {
		b[from/8] = 0xff
	}
	for ; from < to; from++ {
		b[from/8] |= 1 << (from % 8)
	}
}
