package extfs

import (
	"errors"
	"fmt"
)

// blockMap is where the blocks of a file are.
type blockMap struct {
	file   *File
	blocks []int64 // by their place in the file; 0: a hole, or reserved
	read   int     // blocks of the map itself
}

func (f *File) readMap() (*blockMap, error) {
	m := &blockMap{file: f}
	return m, m.readAll()
}

func (m *blockMap) readAll() error {
	f := m.file
	count := (f.Size() + f.volume.block - 1) / f.volume.block
	if f.Size() < 0 || count > mostBlocks {
		return fmt.Errorf("%d bytes are too many", f.Size())
	}
	m.blocks = make([]int64, count)
	pointers := f.inode[0x28:0x64]
	switch {
	case f.flags()&inlineData != 0:
		return errors.New("its data is in the inode")
	case f.flags()&hasExtents != 0:
		return m.addExtents(pointers, mostDepth)
	}
	return m.addPointers(pointers)
}

// readBlock reads a block of the map itself. A damaged map could lead to itself.
func (m *blockMap) readBlock(number int64) ([]byte, error) {
	if m.read++; m.read > mostNodes {
		return nil, errors.New("its map is damaged")
	}
	return m.file.volume.readBlock(number)
}

const (
	extentMagic  = 0xf30a
	extentLength = 12      // bytes of header, entry of an index and extent alike
	mostDepth    = 5       // levels of an extent tree
	mostExtent   = 1 << 15 // blocks; more mean a reserved extent
)

// addExtents reads a node of a tree of extents:
//
//	offset  bytes  field
//	0       2      magic number
//	2       2      entries
//	4       2      room for entries
//	6       2      depth, 0: entries are extents
//	12             entries
func (m *blockMap) addExtents(node []byte, depth int) error {
	entries, level := int(le.Uint16(node[2:])), int(le.Uint16(node[6:]))
	if le.Uint16(node) != extentMagic || (1+entries)*extentLength > len(node) || level > depth {
		return errors.New("its extents are damaged")
	}
	for e := node[extentLength : (1+entries)*extentLength]; len(e) > 0; e = e[extentLength:] {
		if level == 0 {
			m.addExtent(e)
		} else if err := m.addIndex(e, level-1); err != nil {
			return err
		}
	}
	return nil
}

// addIndex reads an entry of an index:
//
//	offset  bytes  field
//	0       4      first block of the file
//	4       4      block of the node, low half
//	8       2      and high half
func (m *blockMap) addIndex(e []byte, depth int) error {
	node, err := m.readBlock(int64(le.Uint32(e[4:])) | int64(le.Uint16(e[8:]))<<32)
	if err != nil {
		return err
	}
	return m.addExtents(node, depth)
}

// addExtent reads an extent:
//
//	offset  bytes  field
//	0       4      first block of the file
//	4       2      blocks; above 32768: reserved, which holds no data
//	6       2      block on the disk, high half
//	8       4      and low half
func (m *blockMap) addExtent(e []byte) {
	first, count := int64(le.Uint32(e)), int64(le.Uint16(e[4:]))
	start := int64(le.Uint32(e[8:])) | int64(le.Uint16(e[6:]))<<32
	if count > mostExtent {
		return
	}
	for i := first; i < min(first+count, int64(len(m.blocks))); i++ {
		m.blocks[i] = start + i - first
	}
}

// addPointers reads the map of ext2: 12 blocks, then blocks of pointers of one, two and three levels.
func (m *blockMap) addPointers(pointers []byte) error {
	const direct = 12
	next := 0
	for i := range direct + 3 {
		if err := m.addPointer(le.Uint32(pointers[4*i:]), max(0, i-direct+1), &next); err != nil {
			return err
		}
	}
	return nil
}

// addPointer adds what a pointer leads to over so many levels, from the place next of the file on.
func (m *blockMap) addPointer(pointer uint32, levels int, next *int) error {
	switch {
	case *next >= len(m.blocks):
		return nil
	case levels == 0:
		m.blocks[*next] = int64(pointer)
		*next++
		return nil
	case pointer == 0:
		holes := 1
		for range levels {
			holes *= int(m.file.volume.block / 4)
		}
		*next += holes
		return nil
	}
	block, err := m.readBlock(int64(pointer))
	if err != nil {
		return err
	}
	for ; len(block) > 0; block = block[4:] {
		if err := m.addPointer(le.Uint32(block), levels-1, next); err != nil {
			return err
		}
	}
	return nil
}
