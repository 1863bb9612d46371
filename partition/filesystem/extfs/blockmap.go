package extfs

import (
	"errors"
	"fmt"
)

// blockMap is where the blocks of a file are.
type blockMap struct {
	file   *File
	blocks []int64 // by their place in the file; 0: a hole, or reserved
	fill   bool    // reserved extents get data: see Fill
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
		_, err := m.addExtents(pointers, mostDepth)
		return err
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
//
// changed says that the node itself, but not one below it, is another now.
func (m *blockMap) addExtents(node []byte, depth int) (changed bool, err error) {
	entries, level := int(le.Uint16(node[2:])), int(le.Uint16(node[6:]))
	if le.Uint16(node) != extentMagic || (1+entries)*extentLength > len(node) || level > depth {
		return false, errors.New("its extents are damaged")
	}
	for e := node[extentLength : (1+entries)*extentLength]; len(e) > 0; e = e[extentLength:] {
		if level == 0 {
			filled, err := m.addExtent(e)
			if err != nil {
				return false, err
			}
			changed = changed || filled
		} else if err := m.addIndex(e, level-1); err != nil {
			return false, err
		}
	}
	return changed, nil
}

// addIndex reads an entry of an index:
//
//	offset  bytes  field
//	0       4      first block of the file
//	4       4      block of the node, low half
//	8       2      and high half
func (m *blockMap) addIndex(e []byte, depth int) error {
	number := int64(le.Uint32(e[4:])) | int64(le.Uint16(e[8:]))<<32
	node, err := m.readBlock(number)
	if err != nil {
		return err
	}
	changed, err := m.addExtents(node, depth)
	if err != nil || !changed {
		return err
	}
	return m.file.writeNode(number, node)
}

// writeNode writes a node of the tree of extents back, signed: the checksum follows the room for entries.
func (f *File) writeNode(number int64, node []byte) error {
	end := (1 + int(le.Uint16(node[4:]))) * extentLength
	if f.volume.checksums {
		if end+4 > len(node) {
			return errors.New("its extents are damaged")
		}
		le.PutUint32(node[end:], crc(f.checksum(), node[:end]))
	}
	_, err := f.volume.disk.WriteAt(node, f.volume.start+number*f.volume.block)
	return err
}

// addExtent reads an extent:
//
//	offset  bytes  field
//	0       4      first block of the file
//	4       2      blocks; above 32768: reserved, and 32768 fewer
//	6       2      block on the disk, high half
//	8       4      and low half
func (m *blockMap) addExtent(e []byte) (filled bool, err error) {
	first, count := int64(le.Uint32(e)), int64(le.Uint16(e[4:]))
	start := int64(le.Uint32(e[8:])) | int64(le.Uint16(e[6:]))<<32
	if count > mostExtent {
		if !m.fill {
			return false, nil
		}
		count -= mostExtent
		if err := m.file.volume.zero(start, count); err != nil {
			return false, err
		}
		le.PutUint16(e[4:], uint16(count))
		filled = true
	}
	for i := first; i < min(first+count, int64(len(m.blocks))); i++ {
		m.blocks[i] = start + i - first
	}
	return filled, nil
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

// Fill makes zeroes of extents that are reserved for a file but hold no data: not every boot loader can read those. The
// kernel makes them by fallocate(2).
func (f *File) Fill() error {
	m := &blockMap{file: f, fill: true}
	if err := f.fill(m); err != nil {
		return fmt.Errorf("fill inode %d: %w", f.number, err)
	}
	return nil
}

func (f *File) fill(m *blockMap) error {
	if f.flags()&hasExtents == 0 {
		return nil
	}
	if err := m.readAll(); err != nil {
		return err
	}
	return f.write()
}

// zero overwrites blocks of the filesystem.
func (v *Volume) zero(first, count int64) error {
	if first <= 0 || first+count > v.blocks {
		return fmt.Errorf("blocks %d and the %d after it do not exist", first, count-1)
	}
	_, err := v.disk.WriteAt(make([]byte, count*v.block), v.start+first*v.block)
	return err
}
