package filesystem

import (
	"fmt"
	"strings"

	"vmbuild/rootfs/tree"
)

// How mke2fs.conf(5) and mke2fs(8) lay an ext filesystem of 4 KiB blocks out, in bytes.
const (
	extInode      = 256
	extSmall      = 512 << 20 // smaller filesystems have an inode for each 4 KiB, others for each 16 KiB
	extInodes     = 4 << 10
	extManyInodes = 16 << 10
	extGroup      = 128 << 20 // a block group, with bitmaps, and with copies of the descriptors in some
	extGroupCost  = 64 << 10
	extFixed      = 1 << 20  // superblock, lost+found, blocks kept for growing
	extLeast      = 16 << 20 // below 8 MiB there is no journal
	extInline     = 60       // a symlink that is shorter lies in its inode
	extDirent     = 8        // and the name, filled up to 4
)

// FitExt returns the size in bytes of an ext2, ext3 or ext4 that a tree fills to about nine tenths, as mmdebstrap makes
// them: a multiple of the block, with inodes for all entries. Where the files are many and small there is more room.
func FitExt(t *tree.Tree) (int64, error) {
	c := extContent{directories: map[string]int64{}}
	if err := t.Walk(c.add); err != nil {
		return 0, fmt.Errorf("size filesystem: %w", err)
	}
	used := c.bytes()
	for size := int64(extLeast); ; size += size/64/extBlock*extBlock + extBlock {
		if used+extOverhead(size) <= size/10*9 && c.inodes+c.inodes/32+64 <= size/inodeRatio(size) {
			return size, nil
		}
	}
}

// extOverhead is what a filesystem of that size takes for itself.
func extOverhead(size int64) int64 {
	return size/inodeRatio(size)*extInode + extJournal(size) + (size/extGroup+1)*extGroupCost + extFixed
}

func inodeRatio(size int64) int64 {
	if size < extSmall {
		return extInodes
	}
	return extManyInodes
}

// extJournal gives the size that mke2fs chooses for a journal (ext2fs_default_journal_size of libext2fs).
func extJournal(size int64) int64 {
	for _, row := range []struct{ below, journal int64 }{
		{128 << 20, 4 << 20}, {1 << 30, 16 << 20}, {2 << 30, 32 << 20}, {16 << 30, 64 << 20}, {32 << 30, 128 << 20},
		{64 << 30, 256 << 20}, {128 << 30, 512 << 20},
	} {
		if size < row.below {
			return row.journal
		}
	}
	return 1 << 30
}

// extContent counts what a tree takes of an ext filesystem.
type extContent struct {
	inodes      int64
	blocks      int64            // of files and what belongs to them
	directories map[string]int64 // bytes of names in each
}

func (c *extContent) add(e tree.Entry) error {
	if e.Path != "/" {
		parent := e.Path[:strings.LastIndexByte(e.Path, '/')]
		c.directories[parent] += int64(extDirent + (len(e.Path)-len(parent)-1+3)/4*4)
	}
	if e.HardLink != "" {
		return nil
	}
	c.inodes++
	if len(e.Xattrs) > 0 {
		c.blocks++
	}
	switch e.Type {
	case tree.Directory:
		c.blocks++
	case tree.Symlink:
		if len(e.Target) >= extInline {
			c.blocks++
		}
	case tree.File:
		data := (e.Size + extBlock - 1) / extBlock
		c.blocks += data + data/512 // ext2 has a pointer of 4 bytes for each block, in blocks of their own
	}
	return nil
}

func (c *extContent) bytes() int64 {
	blocks := c.blocks
	for _, names := range c.directories {
		blocks += names / (extBlock - 300) // a name does not go across blocks: up to 263 bytes of each stay empty
	}
	return blocks * extBlock
}
