package ext4

import "encoding/binary"

// putJournal writes the first block of a journal, the superblock of the kernel's fs/jbd2, whose integers are big endian:
//
//	offset  bytes  field
//	0       4      magic number
//	4       4      4: a superblock of version 2
//	12      4      size of a block
//	16      4      blocks
//	20      4      first block of the log
//	24      4      first transaction
//	28      4      block where the log starts; 0: it is empty
//	48      16     UUID
//	64      4      filesystems that use it
func (v *Volume) putJournal(b []byte) {
	be := binary.BigEndian
	be.PutUint32(b[0:], 0xc03b3998)
	be.PutUint32(b[4:], 4)
	be.PutUint32(b[12:], blockSize)
	be.PutUint32(b[16:], uint32(v.journalSize))
	be.PutUint32(b[20:], 1)
	be.PutUint32(b[24:], 1)
	copy(b[48:], v.uuid[:])
	be.PutUint32(b[64:], 1)
}

// putOrphans writes a block of the file that lists inodes to be removed, which lists none: numbers, a magic number and a
// checksum, that of the block's place and what is in it.
func (v *Volume) putOrphans(b []byte, block int64) {
	end := blockSize - 8
	le.PutUint32(b[end:], 0x0b10ca04)
	if v.checksums() {
		le.PutUint32(b[end+4:], crc(crc(v.inodeSeed(orphanInode), le.AppendUint64(nil, uint64(block))), b[:end]))
	}
}

// backups are the groups that have copies of the descriptors.
func (g geometry) backups() []int64 {
	var list []int64
	for group := int64(1); group < g.count; group++ {
		if hasSuper(group) {
			list = append(list, group)
		}
	}
	return list
}

// putResizeInode writes the inode that owns the blocks kept for descriptors, mapped as in ext2: a block of pointers leads
// to the blocks behind the first descriptors, each of which leads to its copies in other groups (the kernel's
// fs/ext4/resize.c). Its size is what such a map can reach.
func (v *Volume) putResizeInode(b []byte) {
	size := int64(12+pointers+pointers*pointers) * blockSize
	blocks := 1 + v.growth*int64(1+len(v.backups()))
	le.PutUint16(b[0:], 0x8000|0o600)
	le.PutUint32(b[4:], uint32(size&0xffffffff))
	le.PutUint16(b[26:], 1)
	le.PutUint32(b[28:], uint32(blocks*(blockSize/sectorSize)))
	le.PutUint32(b[40+13*4:], uint32(v.special.resize))
	le.PutUint32(b[108:], uint32(size>>32))
	v.putTimes(b, v.options.Created)
	v.signInode(b, resizeInode)
}

// putResizeMap writes the resize inode's first block of pointers.
func (v *Volume) putResizeMap(b []byte) {
	for i := range v.growth {
		le.PutUint32(b[(v.descriptors+i)%pointers*4:], uint32(1+v.descriptors+i))
	}
}

// putResizeCopies writes the pointers to the copies of one of the blocks behind the descriptors.
func (v *Volume) putResizeCopies(b []byte, index int64) {
	for i, group := range v.backups() {
		le.PutUint32(b[i*4:], uint32(group*v.perGroup+1+v.descriptors+index))
	}
}
