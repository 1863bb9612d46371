package ext4

import "vmbuild/rootfs/tree"

const (
	dirTail        = 12 // bytes of the checksum, in the form of an entry
	direntHeader   = 8
	lostFoundBlock = 4 // blocks of lost+found at least: e2fsck(8) can fill them without allocating any
)

// dirent is an entry of a directory with a place.
type dirent struct {
	child
	block  int64
	offset int
	length int // to the next entry
}

// dirents lays a directory out: "." and "..", then its names. None goes across blocks; the last of a block fills it.
func (v *Volume) dirents(n *node) []dirent {
	room := v.dirRoom()
	list := make([]dirent, 0, len(n.children)+2)
	at := dirent{}
	add := func(c child) {
		length := direntHeader + (len(c.name)+3)/4*4
		if at.offset+length > room {
			list[len(list)-1].length = room - list[len(list)-1].offset
			at.block, at.offset = at.block+1, 0
		}
		list = append(list, dirent{c, at.block, at.offset, length})
		at.offset += length
	}
	add(child{".", n})
	add(child{"..", n.parent})
	for _, c := range n.children {
		add(c)
	}
	list[len(list)-1].length = room - list[len(list)-1].offset
	return list
}

// dirRoom is how many bytes of a block are for entries.
func (v *Volume) dirRoom() int {
	if v.checksums() {
		return blockSize - dirTail
	}
	return blockSize
}

// dirBlocks is how many blocks a directory has.
func (v *Volume) dirBlocks(n *node) int64 {
	entries := v.dirents(n)
	blocks := entries[len(entries)-1].block + 1
	if n.number == lostFoundNode {
		blocks = max(blocks, lostFoundBlock)
	}
	return blocks
}

// putDirectory writes the blocks of a directory, from zeroes. An entry is
//
//	offset  bytes  field
//	0       4      inode; 0: none
//	4       2      bytes to the next entry
//	6       1      length of the name
//	7       1      type
//	8              name
//
// and a block's last one, where there are checksums, looks like an empty entry of the type 0xde that has one.
func (v *Volume) putDirectory(b []byte, n *node) {
	filled := int64(0)
	for _, d := range v.dirents(n) {
		e := b[d.block*blockSize+int64(d.offset):]
		le.PutUint32(e[0:], d.node.number)
		le.PutUint16(e[4:], uint16(d.length))
		e[6] = byte(len(d.name))
		e[7] = kinds[d.node.entry.Type].name
		copy(e[8:], d.name)
		filled = d.block + 1
	}
	for block := range int64(len(b) / blockSize) {
		one := b[block*blockSize : (block+1)*blockSize]
		if block >= filled {
			le.PutUint16(one[4:], uint16(v.dirRoom()))
		}
		if v.checksums() {
			tail := one[blockSize-dirTail:]
			le.PutUint16(tail[4:], dirTail)
			tail[7] = 0xde
			le.PutUint32(tail[8:], crc(v.inodeSeed(n.number), one[:blockSize-dirTail]))
		}
	}
}

// directory says whether a node is one.
func (n *node) directory() bool { return n.entry.Type == tree.Directory }
