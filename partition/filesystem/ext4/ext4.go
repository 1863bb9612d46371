// Package ext4 plans ext4 filesystems that hold a known tree. A Volume knows where everything will lie before a byte is
// written, and gives any range of its bytes on demand: metadata are computed, contents are read from the tree's files. So a
// disk can be written by several processors at once, in any order, and needs no file in between.
//
// The filesystem is the one that mke2fs(8) of e2fsprogs 1.47.2 makes by default: the same features, sizes of journal and
// inode tables, and blocks kept to grow into. The layout is that of the kernel's Documentation/filesystems/ext4. Other than
// there, files follow each other without gaps in the order of the tree, directories before all files; owners, modes, times to
// the nanosecond, links, devices and extended attributes are the tree's.
//
// It changes no filesystem and reads none (package extfs does), makes no blocks of other sizes than 4096 bytes, and no
// indexes of directories: the kernel makes them when a directory grows. Invariant: the same Options on the same tree give
// the same bytes, on every host. Memory depends on the number of files, not on their sizes.
package ext4

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"
	"strings"
	"time"

	"vmbuild/rootfs/tree"
)

// Options say what filesystem is made.
type Options struct {
	Size    int64     // bytes; what is more than a multiple of the block is left
	UUID    string    // RFC 9562 form; also the seed of the hashes of names
	Label   string    // at most 16 bytes; may be empty
	Created time.Time // of the filesystem, and of every inode
	Without []string  // features that are not to be there, by their names in ext4(5)

	// Entries are what it holds, in the order of tree.Walk, with paths in the filesystem. The first is the root directory.
	Entries []tree.Entry
	// File gives the path on the host of an entry's content.
	File func(tree.Entry) string
	// Dense says that a file gets all its blocks. Others have holes where a block is zero, if they are large; nil: all do.
	Dense func(tree.Entry) bool
}

const (
	blockSize   = 4096
	inodeSize   = 256
	sectorSize  = 512 // the unit of an inode's number of blocks
	mostExtent  = 1 << 15
	mostLinks   = 65000
	labelLength = 16

	rootInode     = 2
	resizeInode   = 7
	journalInode  = 8
	lostFoundNode = 11
	orphanInode   = 12
)

var le = binary.LittleEndian

// Volume is a planned filesystem. Its methods may be called by several goroutines at once.
type Volume struct {
	geometry
	features
	options Options
	uuid    [16]byte
	seed    uint32 // of checksums
	inodes  []*node
	special specials
	used    []extent // of the filesystem, sorted and joined
	groups  []byte   // descriptors
	pieces  []piece  // sorted
	written int64    // blocks of pieces
}

// specials are files of the filesystem itself.
type specials struct {
	journal, orphans *node // nil: none
	resize           int64 // block of pointers to blocks of pointers; 0: none
}

// piece is a range of blocks that holds something.
type piece struct {
	extent
	fill func(p []byte, at int64) error // sets p to the bytes from at on, counted from the piece's first
}

// extent is a range of blocks.
type extent struct{ start, count int64 }

func (e extent) end() int64 { return e.start + e.count }

// Plan lays a filesystem out. It looks into large files for blocks of zeroes.
//
// Errors: what does not fit, by how much; features that cannot be left out; files that cannot be read.
func Plan(ctx context.Context, o Options) (*Volume, error) {
	v := &Volume{options: o}
	if err := v.plan(ctx); err != nil {
		return nil, fmt.Errorf("lay out ext4: %w", err)
	}
	return v, nil
}

func (v *Volume) plan(ctx context.Context) error {
	uuid, err := hex.DecodeString(strings.ReplaceAll(v.options.UUID, "-", ""))
	if err != nil || len(uuid) != len(v.uuid) {
		return fmt.Errorf("%q is not a UUID", v.options.UUID)
	}
	v.uuid, v.seed = [16]byte(uuid), crc(^uint32(0), uuid)
	if len(v.options.Label) > labelLength {
		return fmt.Errorf("label %q is longer than %d bytes", v.options.Label, labelLength)
	}
	if v.features, err = newFeatures(v.options.Without); err != nil {
		return err
	}
	if v.geometry, err = newGeometry(v.options.Size/blockSize, &v.features); err != nil {
		return err
	}
	if err := v.number(); err != nil {
		return err
	}
	v.options.Entries = nil // the nodes have them
	if err := v.findHoles(ctx); err != nil {
		return err
	}
	if err := v.place(); err != nil {
		return err
	}
	v.describe()
	return nil
}

// Size is that of the filesystem, in bytes: what was asked for, less what is not used of it.
func (v *Volume) Size() int64 { return v.blocks * blockSize }

// ReadAt gives bytes of the filesystem.
func (v *Volume) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, errors.New("read ext4: negative offset")
	}
	wanted := len(p)
	p = p[:max(0, min(int64(wanted), v.Size()-offset))]
	at := offset
	rest := p
	for i := v.find(offset); len(rest) > 0; i++ {
		gap := int64(len(rest))
		if i < len(v.pieces) {
			gap = min(gap, max(0, v.pieces[i].start*blockSize-at))
		}
		clear(rest[:gap])
		rest, at = rest[gap:], at+gap
		if len(rest) == 0 {
			break
		}
		begin := v.pieces[i].start * blockSize
		n := min(int64(len(rest)), v.pieces[i].end()*blockSize-at)
		if err := v.pieces[i].fill(rest[:n], at-begin); err != nil {
			return int(at - offset), fmt.Errorf("read ext4: %w", err)
		}
		rest, at = rest[n:], at+n
	}
	if len(p) < wanted {
		return len(p), io.EOF
	}
	return len(p), nil
}

// find gives the first piece that ends after a byte.
func (v *Volume) find(offset int64) int {
	return sort.Search(len(v.pieces), func(i int) bool { return v.pieces[i].end()*blockSize > offset })
}

// Data gives the first range of bytes, at or after an offset, that may hold anything but zeroes; io.EOF if there is none.
func (v *Volume) Data(_ context.Context, offset int64) (start, end int64, err error) {
	i := v.find(offset)
	if i == len(v.pieces) {
		return 0, 0, io.EOF
	}
	start, next := max(offset, v.pieces[i].start*blockSize), v.pieces[i].end()
	for i++; i < len(v.pieces) && v.pieces[i].start == next; i++ {
		next = v.pieces[i].end()
	}
	return start, next * blockSize, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc goes on with a CRC-32C without the inversion at begin and end, which ext4 leaves out.
func crc(sum uint32, data []byte) uint32 { return ^crc32.Update(^sum, castagnoli, data) }

func ceil(n, unit int64) int64 { return (n + unit - 1) / unit }
