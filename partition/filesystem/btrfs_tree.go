package filesystem

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"path"

	"vmbuild/partition/filesystem/extfs"
)

// btrfsVolume is the tree of files in a btrfs of one device that nothing else uses. Its source is the on-disk format in
// the documentation of btrfs-progs. Numbers are little-endian, and addresses logical: chunks say where these are.
type btrfsVolume struct {
	image    extfs.Disk
	nodeSize int
	chunks   []btrfsChunk
	leaves   []btrfsNode // of the tree of files
}

// btrfsChunk is a range of logical addresses, and where its copies are on the device.
type btrfsChunk struct {
	start, length uint64
	copies        []uint64
}

// btrfsNode is a block of a tree.
type btrfsNode struct {
	address uint64
	data    []byte
}

// btrfsItem is an item of a leaf. Its data can be changed.
type btrfsItem struct {
	object uint64
	kind   byte
	offset uint64
	data   []byte
}

// btrfsName is an entry of a directory.
type btrfsName struct {
	entry []byte
	inode uint64
	name  string
}

var le = binary.LittleEndian

const (
	btrfsSuper = 64 << 10

	// Types of items.
	btrfsInode    = 1
	btrfsDirItem  = 84
	btrfsDirIndex = 96
	btrfsRoot     = 132
	btrfsChunkMap = 228

	btrfsFiles     = 5   // object of the tree of files
	btrfsRootDir   = 256 // object of the root directory
	btrfsHeader    = 101 // bytes before the items of a node
	btrfsKey       = 17  // object of 8 bytes, type, offset of 8
	btrfsItemSize  = btrfsKey + 8
	btrfsPointer   = btrfsKey + 16
	btrfsInodeSize = 160
	btrfsNameHead  = 30 // bytes before the name in an entry of a directory
	btrfsNameType  = 29
	btrfsMostDepth = 8
)

// openBtrfs reads the tree of files. The superblock has:
//
//	offset  bytes  field
//	0x40    8      magic number
//	0x50    8      address of the tree of roots
//	0x58    8      and of that of chunks
//	0x94    4      bytes of a node
//	0xa0    4      bytes of the list of the first chunks
//	0xc4    2      kind of checksum, 0: CRC-32C
//	0x32b          list of keys and chunks
func openBtrfs(image extfs.Disk) (*btrfsVolume, error) {
	super := make([]byte, 4096)
	if _, err := image.ReadAt(super, btrfsSuper); err != nil {
		return nil, err
	}
	v := &btrfsVolume{image: image, nodeSize: int(le.Uint32(super[0x94:]))}
	first := int(le.Uint32(super[0xa0:]))
	if string(super[0x40:0x48]) != "_BHRfS_M" || le.Uint16(super[0xc4:]) != 0 || v.nodeSize < 4096 || v.nodeSize > 1<<16 || first > 2048 {
		return nil, errors.New("mkfs.btrfs has not made a btrfs that is known here")
	}
	if err := v.addChunks(super[0x32b:][:first], le.Uint64(super[0x58:])); err != nil {
		return nil, fmt.Errorf("read the chunks: %w", err)
	}
	if err := v.readFiles(le.Uint64(super[0x50:])); err != nil {
		return nil, fmt.Errorf("read the tree of files: %w", err)
	}
	return v, nil
}

// addChunks takes the chunks of the superblock's list, by which the tree of all is read.
func (v *btrfsVolume) addChunks(list []byte, all uint64) error {
	for len(list) > btrfsKey {
		n, err := v.addChunk(le.Uint64(list[9:]), list[btrfsKey:])
		if err != nil {
			return err
		}
		list = list[btrfsKey+n:]
	}
	return v.walk(all, btrfsMostDepth, func(leaf btrfsNode) error {
		for _, item := range leaf.items() {
			if item.kind != btrfsChunkMap {
				continue
			}
			if _, err := v.addChunk(item.offset, item.data); err != nil {
				return err
			}
		}
		return nil
	})
}

// addChunk reads a chunk: its length of 8 bytes, at 44 the number of its copies, and from 48 on these, of 32 bytes each
// with their address on the device at 8. It returns how long that is.
func (v *btrfsVolume) addChunk(start uint64, data []byte) (int, error) {
	const head, perCopy = 48, 32
	if len(data) < head || len(data) < head+int(le.Uint16(data[44:]))*perCopy {
		return 0, errors.New("a chunk is cut off")
	}
	c := btrfsChunk{start: start, length: le.Uint64(data)}
	n := head + int(le.Uint16(data[44:]))*perCopy
	for copied := data[head:n]; len(copied) > 0; copied = copied[perCopy:] {
		c.copies = append(c.copies, le.Uint64(copied[8:]))
	}
	v.chunks = append(v.chunks, c)
	return n, nil
}

// readFiles finds the root of the tree of files, at 176 of its item in the tree of roots, and reads its leaves.
func (v *btrfsVolume) readFiles(roots uint64) error {
	var files uint64
	err := v.walk(roots, btrfsMostDepth, func(leaf btrfsNode) error {
		for _, item := range leaf.items() {
			if item.object == btrfsFiles && item.kind == btrfsRoot && len(item.data) >= 184 {
				files = le.Uint64(item.data[176:])
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return v.walk(files, btrfsMostDepth, func(leaf btrfsNode) error {
		v.leaves = append(v.leaves, leaf)
		return nil
	})
}

// walk calls fn for the leaves below a node in their order. The header of a node ends with the number of its items, of 4
// bytes, and its level, 0 for a leaf. Items of others are a key and the address of a node.
func (v *btrfsVolume) walk(address uint64, depth int, fn func(btrfsNode) error) error {
	node, err := v.read(address)
	if err != nil {
		return err
	}
	level, count := int(node.data[100]), int(le.Uint32(node.data[96:]))
	switch {
	case level > depth || le.Uint64(node.data[48:]) != address || count > (v.nodeSize-btrfsHeader)/btrfsItemSize:
		return fmt.Errorf("node %d is damaged", address)
	case level == 0:
		return fn(node)
	case btrfsHeader+count*btrfsPointer > v.nodeSize:
		return fmt.Errorf("node %d is damaged", address)
	}
	for i := range count {
		child := le.Uint64(node.data[btrfsHeader+i*btrfsPointer+btrfsKey:])
		if err := v.walk(child, level-1, fn); err != nil {
			return err
		}
	}
	return nil
}

// places gives the bytes of the image where the copies of a node are.
func (v *btrfsVolume) places(address uint64) ([]int64, error) {
	var places []int64
	for _, c := range v.chunks {
		if address < c.start || address-c.start >= c.length {
			continue
		}
		for _, place := range c.copies {
			places = append(places, int64(place+address-c.start))
		}
		return places, nil
	}
	return nil, fmt.Errorf("address %d is in no chunk", address)
}

func (v *btrfsVolume) read(address uint64) (btrfsNode, error) {
	node := btrfsNode{address, make([]byte, v.nodeSize)}
	places, err := v.places(address)
	if err == nil {
		_, err = v.image.ReadAt(node.data, places[0])
	}
	return node, err
}

// write writes all copies of a node, which begins with the checksum of what follows the room for that, 32 bytes.
func (v *btrfsVolume) write(node btrfsNode) error {
	le.PutUint32(node.data, crc32.Checksum(node.data[32:], crc32.MakeTable(crc32.Castagnoli)))
	places, err := v.places(node.address)
	if err != nil {
		return err
	}
	for _, place := range places {
		if _, err := v.image.WriteAt(node.data, place); err != nil {
			return err
		}
	}
	return nil
}

// items gives the items of a leaf, but for such as are cut off: a key, where the data is from the end of the header on,
// and how long, of 4 bytes each.
func (n btrfsNode) items() []btrfsItem {
	var items []btrfsItem
	for i := range int(le.Uint32(n.data[96:])) {
		head := n.data[btrfsHeader+i*btrfsItemSize:]
		from, length := int64(le.Uint32(head[btrfsKey:]))+btrfsHeader, int64(le.Uint32(head[btrfsKey+4:]))
		if from+length > int64(len(n.data)) {
			continue
		}
		items = append(items, btrfsItem{le.Uint64(head), head[8], le.Uint64(head[9:]), n.data[from : from+length]})
	}
	return items
}

// names gives the entries of a directory in an item, of those with the same hash: the key of an inode, 8 bytes of no
// interest, the lengths of data and name of 2 bytes each, a type, name and data.
func (i btrfsItem) names() iter.Seq[btrfsName] {
	return func(yield func(btrfsName) bool) {
		for data := i.data; len(data) >= btrfsNameHead; {
			end := btrfsNameHead + int(le.Uint16(data[27:]))
			all := end + int(le.Uint16(data[25:]))
			if all > len(data) || !yield(btrfsName{data[:all], le.Uint64(data), string(data[btrfsNameHead:end])}) {
				return
			}
			data = data[all:]
		}
	}
}

// paths gives the numbers of the inodes by their paths.
func (v *btrfsVolume) paths() map[string]uint64 {
	children := map[uint64][]btrfsName{}
	for _, leaf := range v.leaves {
		for _, item := range leaf.items() {
			if item.kind != btrfsDirIndex {
				continue
			}
			for name := range item.names() {
				children[item.object] = append(children[item.object], name)
			}
		}
	}
	paths := map[string]uint64{"/": btrfsRootDir}
	var visit func(dir string)
	visit = func(dir string) {
		names := children[paths[dir]]
		delete(children, paths[dir]) // a damaged directory could be in itself
		for _, name := range names {
			paths[path.Join(dir, name.name)] = name.inode
			visit(path.Join(dir, name.name))
		}
	}
	visit("/")
	return paths
}
