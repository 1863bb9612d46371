package filesystem

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"time"

	"vmbuild/partition/filesystem/extfs"
	"vmbuild/rootfs/tree"
)

// xfsVolume changes inodes of an XFS that nothing else uses. Numbers in it are big-endian; the source is the document "XFS
// Algorithms & Data Structures" of the kernel's XFS documentation.
type xfsVolume struct {
	image       extfs.Disk
	block       int64 // bytes
	inodeLength int64
	groupBlocks uint64 // of an allocation group
	inodeBits   uint8  // of an inode's number: its place in its block
	blockBits   uint8  // and the block in its group
	root        uint64 // inodes
	own         []uint64
}

// openXFS reads the superblock.
func openXFS(image extfs.Disk) (*xfsVolume, error) {
	super := make([]byte, 512)
	if _, err := image.ReadAt(super, 0); err != nil {
		return nil, err
	}
	be := binary.BigEndian
	v := &xfsVolume{
		image: image, block: int64(be.Uint32(super[4:])), inodeLength: int64(be.Uint16(super[104:])),
		groupBlocks: uint64(be.Uint32(super[84:])), inodeBits: super[123], blockBits: super[124], root: be.Uint64(super[56:]),
	}
	v.own = []uint64{be.Uint64(super[64:]), be.Uint64(super[72:])} // bitmap and summary of the realtime section
	if string(super[:4]) != "XFSB" || v.inodeLength < xfsInodeCore || v.inodeLength > 2048 || v.inodeBits > 16 || v.blockBits > 32 {
		return nil, errors.New("mkfs.xfs has made no XFS")
	}
	return v, nil
}

const (
	xfsInodeCore = 176
	xfsChunk     = 64 // inodes that are made at once
	xfsBigTime   = 1 << 3
	xfsLocal     = 1 // format of an inode whose contents are in it
)

// finish sets what the prototype could not say in all inodes.
func (v *xfsVolume) finish(j Job, entries []tree.Entry, inodes map[string]uint64) error {
	wanted, links := map[uint64]tree.Entry{}, map[uint64]uint32{}
	for _, e := range entries {
		if linkedLater(e) {
			links[inodes[e.HardLink]]++
			continue
		}
		if e.Type == tree.Socket {
			continue
		}
		number, ok := inodes[e.Path]
		if !ok {
			return fmt.Errorf("%s did not get into the filesystem", e.Path)
		}
		wanted[number] = e
		links[number]++
	}
	chunks := map[uint64]bool{} // a chunk goes across two multiples of its size if inodes are not made sparsely
	for _, number := range slices.Concat(v.own, slices.Collect(maps.Keys(wanted))) {
		for _, n := range []uint64{number - xfsChunk, number, number + xfsChunk} {
			chunks[n/xfsChunk*xfsChunk] = true
		}
	}
	for first := range chunks {
		for number := first; number < first+xfsChunk; number++ {
			e, ok := wanted[number]
			if !ok {
				e = tree.Entry{ModTime: j.Epoch}
			}
			if err := v.change(number, func(inode []byte) error { return finishInode(j, inode, e, links[number]) }); err != nil {
				return fmt.Errorf("finish inode %d %s: %w", number, e.Path, err)
			}
		}
	}
	return nil
}

// change has an inode changed, and its checksum. What is no inode stays.
func (v *xfsVolume) change(number uint64, fn func([]byte) error) error {
	place, block := number&(1<<v.inodeBits-1), number>>v.inodeBits
	group := block >> v.blockBits
	at := int64(group*v.groupBlocks+block&(1<<v.blockBits-1))*v.block + int64(place)*v.inodeLength
	inode := make([]byte, v.inodeLength)
	if _, err := v.image.ReadAt(inode, at); err == io.EOF {
		return nil
	} else if err != nil {
		return err
	}
	if string(inode[:2]) != "IN" || binary.BigEndian.Uint64(inode[152:]) != number {
		return nil
	}
	if err := fn(inode); err != nil {
		return err
	}
	copy(inode[100:], []byte{0, 0, 0, 0})
	sum := crc32.Checksum(inode, crc32.MakeTable(crc32.Castagnoli))
	binary.LittleEndian.PutUint32(inode[100:], sum)
	_, err := v.image.WriteAt(inode, at)
	return err
}

// finishInode changes these fields:
//
//	offset  bytes  field
//	2       2      type and mode
//	16      4      links; is read only
//	32      8      time of last access
//	40      8      of last modification
//	48      8      of last change
//	92      4      generation, a random number of mkfs.xfs
//	144     8      time of creation
//	176            target of a short symbolic link
//
// An inode that is not in use has mode 0.
func finishInode(j Job, inode []byte, e tree.Entry, links uint32) error {
	be := binary.BigEndian
	be.PutUint32(inode[92:], 1)
	mode := be.Uint16(inode[2:])
	if mode == 0 {
		return nil
	}
	if e.Path != "" {
		be.PutUint16(inode[2:], mode&^0o7777|uint16(e.Mode&0o7777))
	}
	if got := be.Uint32(inode[16:]); e.Path != "" && e.Type != tree.Directory && got != links {
		return fmt.Errorf("it has %d links instead of %d", got, links)
	}
	if e.Type == tree.Symlink && linkWord(e.Target) != e.Target {
		if inode[5] != xfsLocal {
			return fmt.Errorf("mkfs.xfs cannot be told the target %q", e.Target)
		}
		copy(inode[xfsInodeCore:], e.Target)
	}
	for _, at := range []int{32, 40, 48, 144} {
		putXFSTime(inode, at, j.clamp(e.ModTime))
	}
	return nil
}

// putXFSTime writes a time: nanoseconds since the year 1901, or seconds and nanoseconds since 1970. Without one mkfs.xfs's
// stays.
func putXFSTime(inode []byte, at int, t time.Time) {
	if t.IsZero() {
		return
	}
	be := binary.BigEndian
	if be.Uint64(inode[120:])&xfsBigTime != 0 {
		be.PutUint64(inode[at:], uint64(t.Unix()+1<<31)*1e9+uint64(t.Nanosecond()))
		return
	}
	be.PutUint32(inode[at:], uint32(t.Unix()))
	be.PutUint32(inode[at+4:], uint32(t.Nanosecond()))
}
