package ext4

const superStart = 1024 // byte of the superblock in the filesystem; what is before is left to boot code

// putSuper writes the superblock, or its copy in a group:
//
//	offset  bytes  field
//	0       4      inodes
//	4, 336  4      blocks, low and high half
//	8, 340  4      blocks reserved for root
//	12, 344 4      free blocks
//	16      4      free inodes
//	24, 28  4      log2 of the size of a block / 1 KiB: 2
//	32, 36  4      blocks of a group
//	40      4      inodes of a group
//	48      4      time of the last write
//	54      2      mounts before a check: -1, any number
//	56      2      magic number
//	58      2      state: 1, clean; 0 in a copy
//	60      2      on errors: 1, go on
//	64      4      time of the last check
//	76      4      revision, 1
//	84      4      first inode that is not reserved
//	88      2      size of an inode
//	90      2      group of this copy
//	92      12     features
//	104     16     UUID
//	120     16     label
//	206     2      blocks for descriptors to come
//	224     4      inode of the journal
//	236     16     seed of the hashes of names
//	252     1      hash of names: 1, half of MD4
//	253     1      268 has a copy of the journal's inode
//	254     2      length of a descriptor
//	256     4      options of a mount: attributes of users, access control lists
//	264     4      time of creation
//	268     68     of the journal's inode: pointers, size with its high half first
//	348     2, 2   bytes of the inodes behind the first 128
//	352     4      flags: 1, names are hashed as signed characters
//	372     1      log2 of the groups of a flexible group
//	373     1      kind of checksums: 1, CRC-32C
//	376     8      KiB written so far: of what is not zero
//	584     4      blocks that files cannot have
//	624     4      seed of checksums
//	628     4      high bytes of the times: write, mount, creation, check
//	640     4      inode of the orphans
//	1020    4      checksum
func (v *Volume) putSuper(b []byte, group int64) {
	used := v.usedIn(extent{0, v.blocks})
	created := v.options.Created.Unix()
	put := func(low, high int, x int64) {
		le.PutUint32(b[low:], uint32(x))
		le.PutUint32(b[high:], uint32(x>>32))
	}
	le.PutUint32(b[0:], uint32(v.perTable*v.count))
	put(4, 336, v.blocks)
	put(8, 340, v.reserved)
	put(12, 344, v.blocks-used)
	le.PutUint32(b[16:], uint32(v.perTable*v.count-int64(len(v.inodes)-1)))
	le.PutUint32(b[24:], 2)
	le.PutUint32(b[28:], 2)
	le.PutUint32(b[32:], uint32(v.perGroup))
	le.PutUint32(b[36:], uint32(v.perGroup))
	le.PutUint32(b[40:], uint32(v.perTable))
	le.PutUint32(b[48:], uint32(created))
	le.PutUint16(b[54:], 0xffff)
	le.PutUint16(b[56:], 0xef53)
	if group == 0 {
		le.PutUint16(b[58:], 1)
	}
	le.PutUint16(b[60:], 1)
	le.PutUint32(b[64:], uint32(created))
	le.PutUint32(b[76:], 1)
	le.PutUint32(b[84:], lostFoundNode)
	le.PutUint16(b[88:], inodeSize)
	le.PutUint16(b[90:], uint16(group))
	le.PutUint32(b[92:], v.compatible)
	le.PutUint32(b[96:], v.incompatible)
	le.PutUint32(b[100:], v.readOnly)
	copy(b[104:], v.uuid[:])
	copy(b[120:], v.options.Label)
	le.PutUint16(b[206:], uint16(v.growth))
	copy(b[236:], v.uuid[:])
	b[252] = 1
	if v.descriptorLength() > 32 {
		le.PutUint16(b[254:], uint16(v.descriptorLength()))
	}
	le.PutUint32(b[256:], 0x4|0x8)
	le.PutUint32(b[264:], uint32(created))
	le.PutUint16(b[348:], 32)
	le.PutUint16(b[350:], 32)
	le.PutUint32(b[352:], 1)
	b[372] = 4
	le.PutUint64(b[376:], uint64(v.written*(blockSize/1024)))
	le.PutUint32(b[584:], uint32(v.overhead()))
	if v.incompatible&hasCsumSeed != 0 {
		le.PutUint32(b[624:], v.seed)
	}
	for _, at := range []int{628, 630, 631} {
		b[at] = byte(created >> 32)
	}
	v.putSpecials(b)
	if v.checksums() {
		b[373] = 1
		le.PutUint32(b[1020:], crc(^uint32(0), b[:1020]))
	}
}

// putSpecials writes what the superblock says of the filesystem's own files.
func (v *Volume) putSpecials(b []byte) {
	if n := v.special.journal; n != nil {
		le.PutUint32(b[224:], n.number)
		b[253] = 1
		n.putPointers(b[268:328])
		le.PutUint32(b[328:], uint32(n.size>>32))
		le.PutUint32(b[332:], uint32(n.size))
	}
	if n := v.special.orphans; n != nil {
		le.PutUint32(b[640:], n.number)
	}
}

// overhead counts the blocks of groups and journal.
func (v *Volume) overhead() int64 {
	blocks := v.journalSize + v.count*(2+v.table)
	for group := range v.count {
		blocks += v.superBlocks(group).count
	}
	return blocks
}
