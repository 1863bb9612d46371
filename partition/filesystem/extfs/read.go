package extfs

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// kinds of an inode, the highest bits of its mode.
const (
	kindBits      = 0xf000
	kindDirectory = 0x4000
	kindRegular   = 0x8000
	kindLink      = 0xa000
)

func (f *File) kind() uint16 { return le.Uint16(f.inode) & kindBits }

// Regular says whether it is a file with contents: no directory, link or device.
func (f *File) Regular() bool { return f.kind() == kindRegular }

// WriteTo writes the contents of a regular file.
func (f *File) WriteTo(w io.Writer) (int64, error) {
	n, err := f.writeTo(w)
	if err != nil {
		return n, fmt.Errorf("read inode %d: %w", f.number, err)
	}
	return n, nil
}

func (f *File) writeTo(w io.Writer) (int64, error) {
	if !f.Regular() {
		return 0, errors.New("it is no regular file")
	}
	m, err := f.readMap()
	if err != nil {
		return 0, err
	}
	left := f.Size()
	hole := make([]byte, f.volume.block)
	for _, number := range m.blocks {
		block := hole
		if number != 0 {
			if block, err = f.volume.readBlock(number); err != nil {
				return f.Size() - left, err
			}
		}
		n, err := w.Write(block[:min(left, f.volume.block)])
		left -= int64(n)
		if err != nil {
			return f.Size() - left, err
		}
	}
	return f.Size(), nil
}

// Link returns where a symbolic link leads. One of less than 60 bytes is in the inode, in place of the map of blocks.
func (f *File) Link() (string, error) {
	const inInode = 60
	switch {
	case f.kind() != kindLink:
		return "", fmt.Errorf("inode %d is no symbolic link", f.number)
	case f.Size() >= 0 && f.Size() < inInode:
		return string(f.inode[0x28:][:f.Size()]), nil
	case f.Size() > f.volume.block:
		return "", fmt.Errorf("the link of inode %d has %d bytes", f.number, f.Size())
	}
	m, err := f.readMap()
	if err != nil {
		return "", fmt.Errorf("read inode %d: %w", f.number, err)
	}
	block, err := f.volume.readBlock(m.blocks[0])
	if err != nil {
		return "", fmt.Errorf("read inode %d: %w", f.number, err)
	}
	return string(block[:f.Size()]), nil
}

// Names returns the names in a directory, sorted, without "." and "..".
func (f *File) Names() ([]string, error) {
	var names []string
	_, err := f.find(func(name string) bool {
		if name != "." && name != ".." {
			names = append(names, name)
		}
		return false
	})
	if err != nil {
		return nil, fmt.Errorf("read the directory in inode %d: %w", f.number, err)
	}
	slices.Sort(names)
	return names, nil
}
