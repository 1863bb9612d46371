// Package extfs finds where files lie in an ext2, ext3 or ext4 that is a range of an image, for boot code that is told
// sectors and not names. It reads the layout that the kernel's Documentation/filesystems/ext4 describes.
//
// It reads files, too, for who starts a kernel that is in an image. It makes no filesystem and allocates nothing; what it
// changes are single fields, with the checksums over them. It must be the only one that looks at the image meanwhile.
package extfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// Disk is an image.
type Disk interface {
	io.ReaderAt
	io.WriterAt
}

// Volume is a filesystem.
type Volume struct {
	disk        Disk
	start       int64 // byte of the disk where it begins
	block       int64 // bytes
	blocks      int64
	groups      []byte // descriptors of the block groups
	groupLength int64
	perGroup    uint32 // inodes
	inodes      uint32
	inodeLength int64
	checksums   bool
	seed        uint32 // of checksums
}

// File is a file or directory of a Volume.
type File struct {
	volume *Volume
	number uint32 // of its inode
	at     int64  // byte of the disk where that is
	inode  []byte
}

var le = binary.LittleEndian

const (
	magic      = 0xef53
	leastBlock = 1 << 10
	mostBlock  = 1 << 16
	mostBlocks = 1 << 17 // of a file
	mostListed = 1 << 16 // sectors of a file
	mostNodes  = 1 << 12 // blocks of the block map of a file
	mostGroups = 1 << 25 // bytes of descriptors
	rootInode  = 2

	// Features: of what cannot be read without knowing them (incompat), and of what cannot be written (ro_compat).
	has64Bit        = 0x80
	hasMetaBG       = 0x10
	hasCsumSeed     = 0x2000
	hasMetadataCsum = 0x400

	// Flags of an inode.
	immutable  = 0x10
	hasExtents = 0x80000
	inlineData = 0x10000000
)

// Open reads superblock and group descriptors of the filesystem that begins at a byte of the disk.
func Open(disk Disk, start int64) (*Volume, error) {
	v := &Volume{disk: disk, start: start}
	if err := v.open(); err != nil {
		return nil, fmt.Errorf("open ext filesystem at byte %d: %w", start, err)
	}
	return v, nil
}

func (v *Volume) open() error {
	super := make([]byte, 1024)
	if _, err := v.disk.ReadAt(super, v.start+1024); err != nil {
		return err
	}
	if le.Uint16(super[0x38:]) != magic || le.Uint32(super[0x4c:]) < 1 {
		return errors.New("there is none")
	}
	incompatible := le.Uint32(super[0x60:])
	if incompatible&hasMetaBG != 0 {
		return errors.New("it has the feature meta_bg, which is not read here")
	}
	v.inodes = le.Uint32(super)
	v.blocks = int64(le.Uint32(super[0x04:]))
	v.block = leastBlock << min(le.Uint32(super[0x18:]), 16)
	v.perGroup = le.Uint32(super[0x28:])
	v.inodeLength = int64(le.Uint16(super[0x58:]))
	v.groupLength = 32
	if incompatible&has64Bit != 0 {
		v.groupLength = int64(le.Uint16(super[0xfe:]))
		v.blocks |= int64(le.Uint16(super[0x150:])) << 32
	}
	v.checksums = le.Uint32(super[0x64:])&hasMetadataCsum != 0
	v.seed = crc(^uint32(0), super[0x68:0x78])
	if incompatible&hasCsumSeed != 0 {
		v.seed = le.Uint32(super[0x270:])
	}
	if v.block > mostBlock || v.perGroup == 0 || v.inodes == 0 || v.inodeLength < 128 || v.inodeLength > v.block ||
		v.groupLength < 32 || v.groupLength > v.block {
		return errors.New("its superblock is damaged")
	}
	return v.readGroups(int64(le.Uint32(super[0x14:])))
}

// readGroups reads the descriptors, which follow the block of the superblock.
func (v *Volume) readGroups(superblock int64) error {
	groups := (int64(v.inodes) + int64(v.perGroup) - 1) / int64(v.perGroup)
	if groups*v.groupLength > mostGroups {
		return errors.New("it has too many block groups")
	}
	v.groups = make([]byte, groups*v.groupLength)
	_, err := v.disk.ReadAt(v.groups, v.start+(superblock+1)*v.block)
	return err
}

// Lookup finds a file by its path in the filesystem. Links are not followed.
func (v *Volume) Lookup(name string) (*File, error) {
	f, err := v.file(rootInode)
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '/' }) {
		if err == nil {
			f, err = f.child(part)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", name, err)
	}
	return f, nil
}

// file reads an inode.
func (v *Volume) file(number uint32) (*File, error) {
	if number == 0 || number > v.inodes {
		return nil, fmt.Errorf("inode %d does not exist", number)
	}
	group := v.groups[int64((number-1)/v.perGroup)*v.groupLength:]
	table := int64(le.Uint32(group[0x08:]))
	if v.groupLength >= 64 {
		table |= int64(le.Uint16(group[0x28:])) << 32
	}
	f := &File{volume: v, number: number, inode: make([]byte, v.inodeLength)}
	f.at = v.start + table*v.block + int64((number-1)%v.perGroup)*v.inodeLength
	_, err := v.disk.ReadAt(f.inode, f.at)
	return f, err
}

// readBlock reads a block of the filesystem.
func (v *Volume) readBlock(number int64) ([]byte, error) {
	if number <= 0 || number >= v.blocks {
		return nil, fmt.Errorf("block %d does not exist", number)
	}
	block := make([]byte, v.block)
	_, err := v.disk.ReadAt(block, v.start+number*v.block)
	return block, err
}

func (f *File) flags() uint32 { return le.Uint32(f.inode[0x20:]) }

// Size is the length in bytes.
func (f *File) Size() int64 {
	return int64(uint64(le.Uint32(f.inode[0x6c:]))<<32 | uint64(le.Uint32(f.inode[0x04:])))
}

// child looks in a directory for a name.
func (f *File) child(name string) (*File, error) {
	inode, err := f.find(func(entry string) bool { return entry == name })
	switch {
	case err != nil:
		return nil, err
	case inode == 0:
		return nil, fmt.Errorf("there is no %q", name)
	}
	return f.volume.file(inode)
}

// find returns the inode of the first entry of a directory that is wanted, 0 if none is. It looks in all blocks, since
// those of an index look like an empty entry.
func (f *File) find(wanted func(name string) bool) (inode uint32, err error) {
	if f.kind() != kindDirectory {
		return 0, errors.New("not a directory")
	}
	m, err := f.readMap()
	if err != nil {
		return 0, err
	}
	for _, number := range m.blocks {
		block, err := f.volume.readBlock(number)
		if err != nil {
			return 0, err
		}
		if inode := findEntry(block, wanted); inode != 0 {
			return inode, nil
		}
	}
	return 0, nil
}

// findEntry looks for a name in a block of a directory, a list of
//
//	offset  bytes  field
//	0       4      inode; 0: none
//	4       2      length of the entry
//	6       1      length of the name
//	7       1      type
//	8              name
func findEntry(block []byte, wanted func(name string) bool) (inode uint32) {
	for len(block) >= 8 {
		length, nameLength := int(le.Uint16(block[4:])), int(block[6])
		if length < 8+nameLength || length > len(block) {
			return 0
		}
		if inode := le.Uint32(block); inode != 0 && wanted(string(block[8:8+nameLength])) {
			return inode
		}
		block = block[length:]
	}
	return 0
}

// Sectors gives the sectors of 512 bytes of a file, counted from the filesystem's first. A hole is an error.
func (f *File) Sectors() ([]int64, error) {
	const sector = 512
	if f.Size() > mostListed*sector {
		return nil, fmt.Errorf("inode %d has %d bytes, too many to list their sectors", f.number, f.Size())
	}
	m, err := f.readMap()
	if err != nil {
		return nil, fmt.Errorf("read the blocks of inode %d: %w", f.number, err)
	}
	var sectors []int64
	for at := int64(0); at < f.Size(); at += sector {
		block := m.blocks[at/f.volume.block]
		if block <= 0 || block >= f.volume.blocks {
			return nil, fmt.Errorf("inode %d has a hole at byte %d", f.number, at)
		}
		sectors = append(sectors, (block*f.volume.block+at%f.volume.block)/sector)
	}
	return sectors, nil
}

// SetImmutable sets the flag by which the kernel neither moves nor removes a file (chattr +i).
func (f *File) SetImmutable() error {
	le.PutUint32(f.inode[0x20:], f.flags()|immutable)
	if err := f.write(); err != nil {
		return fmt.Errorf("make inode %d immutable: %w", f.number, err)
	}
	return nil
}

// write writes the inode back, signed: with the CRC-32C of its number, its generation and itself, where the checksum is
// taken for zero. Its high half is there in inodes that are large enough.
func (f *File) write() error {
	if f.volume.checksums {
		large := len(f.inode) > 128 && le.Uint16(f.inode[0x80:]) >= 4
		le.PutUint16(f.inode[0x7c:], 0)
		if large {
			le.PutUint16(f.inode[0x82:], 0)
		}
		sum := crc(f.checksum(), f.inode)
		le.PutUint16(f.inode[0x7c:], uint16(sum))
		if large {
			le.PutUint16(f.inode[0x82:], uint16(sum>>16))
		}
	}
	_, err := f.volume.disk.WriteAt(f.inode, f.at)
	return err
}

// checksum is what those of the inode and of its extents begin with.
func (f *File) checksum() uint32 {
	return crc(crc(f.volume.seed, le.AppendUint32(nil, f.number)), f.inode[0x64:0x68])
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc goes on with a CRC-32C without the inversion at begin and end, which ext4 leaves out.
func crc(sum uint32, data []byte) uint32 { return ^crc32.Update(^sum, castagnoli, data) }
