package extfs

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// memory is a disk of so many bytes.
type memory []byte

func (m memory) ReadAt(b []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(b)) > int64(len(m)) {
		return 0, io.ErrUnexpectedEOF
	}
	return copy(b, m[at:]), nil
}

func (m memory) WriteAt(b []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(b)) > int64(len(m)) {
		return 0, io.ErrShortWrite
	}
	return copy(m[at:], b), nil
}

const (
	start = 3 << 10 // of the filesystem on the disk
	block = 1 << 10

	inodeTable  = 5 // block
	directory   = 8
	pointers    = 9
	extentNode  = 10
	firstFree   = 20
	mappedFile  = 12 // inodes
	extentFile  = 13
	reservedOne = 14
	holedFile   = 15
	shortLink   = 16
	longLink    = 17
	linkBlock   = 18 // block
	tinyBlocks  = 64
)

// tiny is an ext4 of 64 blocks of 1 KiB with checksums. Its root has a file of each kind of map.
func tiny() memory {
	m := make(memory, start+tinyBlocks*block)
	super := m[start+1024:]
	le.PutUint32(super[0x00:], 32) // inodes
	le.PutUint32(super[0x04:], tinyBlocks)
	le.PutUint32(super[0x14:], 1)  // block of the superblock
	le.PutUint32(super[0x28:], 32) // inodes of a group
	le.PutUint16(super[0x38:], magic)
	le.PutUint32(super[0x4c:], 1)
	le.PutUint16(super[0x58:], 128)
	le.PutUint32(super[0x60:], hasCsumSeed)
	le.PutUint32(super[0x64:], hasMetadataCsum)
	le.PutUint32(super[0x270:], 0x12345678)
	le.PutUint32(m[start+2*block+8:], inodeTable)

	root := m.addInode(rootInode, 0x41ed, block, 0)
	le.PutUint32(root, directory)
	entries := m[start+directory*block:][:block]
	for _, e := range []struct {
		inode  uint32
		name   string
		length int
	}{
		{rootInode, ".", 12}, {0, "gone", 12}, {0, "mapped", 16}, {mappedFile, "mapped", 16}, {extentFile, "extents", 16},
		{reservedOne, "reserved", 16}, {holedFile, "holed", 16},
		{shortLink, "short", 16}, {longLink, "long", block - 120},
	} {
		le.PutUint32(entries, e.inode)
		le.PutUint16(entries[4:], uint16(e.length))
		entries[6] = byte(len(e.name))
		copy(entries[8:], e.name)
		entries = entries[e.length:]
	}

	// Twelve blocks backwards, then two by a block of pointers.
	mapped := m.addInode(mappedFile, 0x81a4, 13*block+600, 0)
	for i := range 12 {
		le.PutUint32(mapped[4*i:], uint32(firstFree+12-i))
	}
	le.PutUint32(mapped[48:], pointers)
	le.PutUint32(m[start+pointers*block:], 40)
	le.PutUint32(m[start+pointers*block+4:], 42)

	// An index with a node of two extents.
	index := m.addInode(extentFile, 0x81a4, 5*block, hasExtents)
	header(index, 1, 4, 1)
	le.PutUint32(index[16:], extentNode)
	node := m[start+extentNode*block:][:block]
	header(node, 2, 84, 0)
	extent(node[12:], 0, 2, 50)
	extent(node[24:], 2, 3, 45)

	reserved := m.addInode(reservedOne, 0x81a4, 3*block, hasExtents)
	header(reserved, 2, 4, 0)
	extent(reserved[12:], 0, 1, 55)
	extent(reserved[24:], 1, mostExtent+2, 57)
	copy(m[start+57*block:], "rubbish")

	holed := m.addInode(holedFile, 0x81a4, 3*block, hasExtents)
	header(holed, 1, 4, 0)
	extent(holed[12:], 0, 1, 55)
	copy(m[start+55*block:], "beginning")

	copy(m.addInode(shortLink, 0xa1ff, 59, 0), strings.Repeat("s", 59))
	long := m.addInode(longLink, 0xa1ff, 60, hasExtents)
	header(long, 1, 4, 0)
	extent(long[12:], 0, 1, linkBlock)
	copy(m[start+linkBlock*block:], strings.Repeat("l", 60))
	return m
}

// addInode makes an inode and returns its map.
func (m memory) addInode(number int, mode uint16, size, flags uint32) []byte {
	inode := m[start+inodeTable*block+(number-1)*128:][:128]
	le.PutUint16(inode, mode)
	le.PutUint32(inode[0x04:], size)
	le.PutUint32(inode[0x20:], flags)
	le.PutUint32(inode[0x64:], 0xabcd) // generation
	return inode[0x28:]
}

func header(node []byte, entries, room, depth uint16) {
	for i, n := range []uint16{extentMagic, entries, room, depth} {
		le.PutUint16(node[2*i:], n)
	}
}

func extent(e []byte, first uint32, count uint16, at uint32) {
	le.PutUint32(e, first)
	le.PutUint16(e[4:], count)
	le.PutUint32(e[8:], at)
}

func TestSectors(t *testing.T) {
	v, err := Open(tiny(), start)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"/mapped":   "[64 65 62 63 60 61 58 59 56 57 54 55 52 53 50 51 48 49 46 47 44 45 42 43 80 81 84 85]",
		"extents":   "[100 101 102 103 90 91 92 93 94 95]",
		"/reserved": "inode 14 has a hole at byte 1024",
		"/holed":    "inode 15 has a hole at byte 1024",
		"/none":     `look up /none: there is no "none"`,
		"/gone":     `look up /gone: there is no "gone"`,
		"/mapped/x": "look up /mapped/x: not a directory",
	} {
		var sectors []int64
		f, err := v.Lookup(name)
		if err == nil {
			sectors, err = f.Sectors()
		}
		got := fmt.Sprint(sectors)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// Contents are the blocks in their order; holes and reserved extents are zeroes, and the last block ends with the file.
func TestContents(t *testing.T) {
	m := tiny()
	for i := range 44 {
		copy(m[start+(firstFree+i)*block:], fmt.Sprintf("block %d;", firstFree+i))
	}
	v, err := Open(m, start)
	if err != nil {
		t.Fatal(err)
	}
	zeroes := func(n int) string { return strings.Repeat("\x00", n) }
	blocks := func(numbers ...int) string {
		var text strings.Builder
		for _, n := range numbers {
			text.Write(m[start+n*block:][:block])
		}
		return text.String()
	}
	for name, want := range map[string]string{
		"/mapped":   blocks(32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 40, 42)[:13*block+600],
		"/extents":  blocks(50, 51, 45, 46, 47),
		"/reserved": blocks(55) + zeroes(2*block),
		"/holed":    blocks(55) + zeroes(2*block),
		"/short":    "read inode 16: it is no regular file",
		"/":         "read inode 2: it is no regular file",
	} {
		f, err := v.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		n, err := f.WriteTo(&text)
		got := text.String()
		switch {
		case err != nil:
			got = err.Error()
		case n != f.Size():
			t.Errorf("%s: %d bytes of %d", name, n, f.Size())
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestLinksAndNames(t *testing.T) {
	v, err := Open(tiny(), start)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"/short":  strings.Repeat("s", 59),
		"long":    strings.Repeat("l", 60),
		"/mapped": "inode 12 is no symbolic link",
		"/":       "inode 2 is no symbolic link",
	} {
		f, err := v.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.Link()
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"/":       "[extents holed long mapped reserved short] <nil>",
		"/mapped": "[] read the directory in inode 12: not a directory",
	} {
		f, err := v.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		names, err := f.Names()
		if got := fmt.Sprint(names, " ", err); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// What is changed is the flag and a checksum: bytes that are other ones afterwards.
func TestChanges(t *testing.T) {
	m := tiny()
	v, err := Open(m, start)
	if err != nil {
		t.Fatal(err)
	}
	inode := func(number int) int { return start + inodeTable*block + (number-1)*128 }
	const checksum = 0x7c
	before := append(memory(nil), m...)
	f, err := v.Lookup("/mapped")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.SetImmutable(); err != nil {
		t.Fatal(err)
	}
	got := map[int]byte{}
	for i := range m {
		if m[i] != before[i] {
			got[i] = m[i]
		}
	}
	want := map[int]byte{
		inode(mappedFile) + 0x20: immutable, inode(mappedFile) + checksum: 0x75, inode(mappedFile) + checksum + 1: 0xb6,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOpenErrors(t *testing.T) {
	for _, test := range []struct {
		break_ func(super []byte)
		want   string
	}{
		{func(s []byte) { s[0x38] = 0 }, "there is none"},
		{func(s []byte) { le.PutUint32(s[0x60:], hasMetaBG) }, "it has the feature meta_bg, which is not read here"},
		{func(s []byte) { le.PutUint32(s[0x18:], 9) }, "its superblock is damaged"},
		{func(s []byte) { le.PutUint32(s[0x28:], 0) }, "its superblock is damaged"},
		{func(s []byte) { le.PutUint32(s, 1<<31); le.PutUint32(s[0x28:], 1) }, "it has too many block groups"},
	} {
		m := tiny()
		test.break_(m[start+1024:])
		_, err := Open(m, start)
		if got, want := fmt.Sprint(err), "open ext filesystem at byte 3072: "+test.want; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// A damaged filesystem gives errors, whatever is damaged.
func FuzzLookup(f *testing.F) {
	for _, name := range []string{"/extents", "/mapped", "/reserved", "/short", "/long", "/"} {
		f.Add(uint16(start+2*1024), []byte{0, 0, 0, 0}, name)
	}
	f.Fuzz(func(t *testing.T, at uint16, damage []byte, name string) {
		m := tiny()
		copy(m[min(int(at), len(m)):], damage)
		v, err := Open(m, start)
		if err != nil {
			return
		}
		file, err := v.Lookup(name)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "look up ") {
				t.Error(err)
			}
			return
		}
		_, _ = file.WriteTo(io.Discard)
		_, _ = file.Link()
		_, _ = file.Names()
		_, _ = file.Sectors()
		_ = file.SetImmutable()
	})
}
