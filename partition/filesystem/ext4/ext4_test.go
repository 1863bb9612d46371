package ext4

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/partition/filesystem/extfs"
	"vmbuild/rootfs/tree"
)

var created = time.Unix(1750000000, 0)

const testUUID = "11111111-2222-3333-4444-555555555555"

// file is an entry with its content.
type file struct {
	tree.Entry
	content string
}

// options gives those for a filesystem of some files. Directories come before what is in them.
func options(t *testing.T, size int64, files ...file) Options {
	t.Helper()
	dir := t.TempDir()
	o := Options{Size: size, UUID: testUUID, Created: created, Entries: []tree.Entry{
		{Path: "/", Type: tree.Directory, Mode: 0o755, ModTime: created},
	}}
	names := map[string]string{}
	for i, f := range files {
		f.Size = int64(len(f.content))
		if f.ModTime.IsZero() {
			f.ModTime = created
		}
		names[f.Path] = filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(names[f.Path], []byte(f.content), 0o600); err != nil {
			t.Fatal(err)
		}
		o.Entries = append(o.Entries, f.Entry)
	}
	o.File = func(e tree.Entry) string { return names[e.Path] }
	return o
}

func mustPlan(t *testing.T, o Options) *Volume {
	t.Helper()
	v, err := Plan(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// all reads a filesystem.
func all(t *testing.T, v *Volume) []byte {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(v, 0, v.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// image is a filesystem in memory, for extfs.
type image []byte

func (m image) ReadAt(p []byte, at int64) (int, error) { return bytes.NewReader(m).ReadAt(p, at) }

func (m image) WriteAt([]byte, int64) (int, error) { return 0, errors.New("it is not to be written") }

// access is an access control list of version 2 as getxattr(2) gives it: of the owner, user 1000, the group, group 50, the mask and
// others.
var access = string([]byte{
	2, 0, 0, 0,
	0x01, 0, 7, 0, 0xff, 0xff, 0xff, 0xff,
	0x02, 0, 5, 0, 0xe8, 3, 0, 0,
	0x04, 0, 5, 0, 0xff, 0xff, 0xff, 0xff,
	0x08, 0, 4, 0, 50, 0, 0, 0,
	0x10, 0, 5, 0, 0xff, 0xff, 0xff, 0xff,
	0x20, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
})

// striped is a file in which every other block is a hole, if it may have any.
func striped(blocks int) string {
	return strings.Repeat(strings.Repeat("d", blockSize)+strings.Repeat("\x00", blockSize), blocks)
}

// manyThings has one of each thing that a tree can hold.
func manyThings() []file {
	files := []file{
		{tree.Entry{Path: "/bin", Type: tree.Directory, Mode: 0o755}, ""},
		{tree.Entry{Path: "/bin/capable", Type: tree.File, Mode: 0o755, Xattrs: map[string]string{
			"security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		}}, "capable"},
		{tree.Entry{Path: "/bin/sh", Type: tree.File, Mode: 0o4755, ModTime: time.Unix(1e9, 123456789)}, "a shell"},
		{tree.Entry{Path: "/bin/dash", Type: tree.File, HardLink: "/bin/sh"}, ""},
		{tree.Entry{Path: "/block", Type: tree.BlockDevice, Mode: 0o660, GID: 70000, Major: 8, Minor: 1}, ""},
		{tree.Entry{Path: "/deep", Type: tree.File, Mode: 0o600, UID: 100000}, striped(2000)},
		{tree.Entry{Path: "/dense", Type: tree.File, Mode: 0o600}, striped(200)},
		{tree.Entry{Path: "/empty", Type: tree.File, Mode: 0o600, ModTime: time.Unix(1<<33, 5)}, ""},
		{tree.Entry{Path: "/fifo", Type: tree.FIFO, Mode: 0o600, ModTime: time.Unix(-5, 0)}, ""},
		{tree.Entry{Path: "/great", Type: tree.CharDevice, Mode: 0o600, Major: 300, Minor: 70000}, ""},
		{tree.Entry{Path: "/listed", Type: tree.Directory, Mode: 0o700, Xattrs: map[string]string{
			"system.posix_acl_access": access, "system.posix_acl_default": access,
			"user.empty": "", "user.long": strings.Repeat("v", 3000),
			"trusted.abc": "12345", "btrfs.compression": "zstd", "system.nfs4_acl": "x",
			"user.b": strings.Repeat("b", 99), "user.aa": strings.Repeat("a", 100),
		}}, ""},
		{tree.Entry{Path: "/long", Type: tree.Symlink, Mode: 0o777, Target: strings.Repeat("t", 60)}, ""},
		{tree.Entry{Path: "/lost+found", Type: tree.Directory, Mode: 0o711}, ""},
		{tree.Entry{Path: "/lost+found/x", Type: tree.File, Mode: 0o600}, "found"},
		{tree.Entry{Path: "/many", Type: tree.Directory, Mode: 0o755}, ""},
	}
	for i := range 300 {
		name := fmt.Sprintf("/many/%03d%s", i, strings.Repeat("n", i%253))
		files = append(files, file{tree.Entry{Path: name, Type: tree.File, Mode: 0o644}, name})
	}
	return append(files,
		file{tree.Entry{Path: "/short", Type: tree.Symlink, Mode: 0o777, Target: strings.Repeat("t", 59)}, ""},
		file{tree.Entry{Path: "/small", Type: tree.File, Mode: 0o600}, striped(4)},
		file{tree.Entry{Path: "/socket", Type: tree.Socket, Mode: 0o600}, ""},
	)
}

func manyOptions(t *testing.T) Options {
	o := options(t, 40<<20, manyThings()...)
	o.Label = "root"
	o.Dense = func(e tree.Entry) bool { return e.Path == "/dense" }
	return o
}

// What package extfs reads is what was meant.
func TestRead(t *testing.T) {
	o := manyOptions(t)
	volume, err := extfs.Open(image(all(t, mustPlan(t, o))), 0)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string][]string{}
	for _, f := range manyThings() {
		names[path.Dir(f.Path)] = append(names[path.Dir(f.Path)], path.Base(f.Path))
		got, err := volume.Lookup(f.Path)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case f.Type == tree.Symlink:
			if target, err := got.Link(); err != nil || target != f.Target {
				t.Errorf("%s leads to %q, %v", f.Path, target, err)
			}
		case f.Type == tree.File && f.HardLink == "":
			var content strings.Builder
			if _, err := got.WriteTo(&content); err != nil || content.String() != f.content {
				t.Errorf("%s has %d bytes of other content, %v", f.Path, content.Len(), err)
			}
			if _, err := got.Sectors(); (err != nil) != (f.Path == "/deep") {
				t.Errorf("%s: holes: %v", f.Path, err)
			}
		}
	}
	for dir, want := range names {
		f, err := volume.Lookup(dir)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.Names()
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(want)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", dir, d)
		}
	}
}

// The bytes are the same on every host; who changes them on purpose takes the new sum.
func TestSameBytes(t *testing.T) {
	sum := sha256.Sum256(all(t, mustPlan(t, manyOptions(t))))
	if got, want := fmt.Sprintf("%.8x", sum), "672a892374a30b1c"; got != want {
		t.Errorf("the filesystem has the sum %s, want %s", got, want)
	}
}

// However a filesystem is read, it is the same, and what is not said to be data is zero.
func TestRanges(t *testing.T) {
	v := mustPlan(t, manyOptions(t))
	whole := all(t, v)
	for i, r := range [][2]int64{
		{0, 1}, {1023, 3}, {4095, 2}, {4096, 100000}, {1 << 20, 1<<20 + 77}, {v.Size() - 5, 5}, {12345, 3 << 20},
		{v.pieces[len(v.pieces)-1].end()*blockSize - 1, 2},
	} {
		got := bytes.Repeat([]byte{0xaa}, int(r[1]))
		if n, err := v.ReadAt(got, r[0]); n != len(got) || err != nil {
			t.Errorf("%d: %d bytes, %v", i, n, err)
		}
		if !bytes.Equal(got, whole[r[0]:r[0]+r[1]]) {
			t.Errorf("%d bytes from %d on are others than in the whole", r[1], r[0])
		}
	}
	if n, err := v.ReadAt(make([]byte, 10), v.Size()-3); n != 3 || err != io.EOF {
		t.Errorf("at the end: %d bytes, %v", n, err)
	}
	if n, err := v.ReadAt(make([]byte, 10), v.Size()+3); n != 0 || err != io.EOF {
		t.Errorf("behind the end: %d bytes, %v", n, err)
	}
	next, ranges := int64(0), 0
	for {
		start, end, err := v.Data(t.Context(), next)
		if err == io.EOF {
			break
		}
		if err != nil || start < next || end <= start {
			t.Fatal(start, end, err)
		}
		if len(bytes.Trim(whole[next:start], "\x00")) > 0 {
			t.Errorf("from %d to %d there is data", next, start)
		}
		next = end
		ranges++
	}
	if len(bytes.Trim(whole[next:], "\x00")) > 0 {
		t.Errorf("from %d on there is data", next)
	}
	if ranges < 4 {
		t.Errorf("%d ranges of data: what is free, and the journal, are none", ranges)
	}
	if start, end, err := v.Data(t.Context(), 100); start != 100 || end <= 100 || err != nil {
		t.Errorf("data from within a range: %d to %d, %v", start, end, err)
	}
}

// Geometry as mke2fs 1.47.2 has it: mke2fs -t ext4 -b 4096 FILE, dumpe2fs FILE, and debugfs -R "stat <12>" FILE for the last.
func TestGeometry(t *testing.T) {
	const mib = 1 << 20
	for _, test := range []struct {
		size int64
		want geometry
	}{
		{1 * mib, geometry{256, 12, 32768, 1, 1, 0, 128, 8, 0, 0}},
		{6 * mib, geometry{1536, 76, 32768, 1, 1, 0, 1536, 96, 0, 0}},
		{9 * mib, geometry{2304, 115, 32768, 1, 1, 1, 2304, 144, 1024, 32}},
		{16 * mib, geometry{4096, 204, 32768, 1, 1, 1, 4096, 256, 1024, 32}},
		{129 * mib, geometry{33024, 1596, 31920, 2, 1, 16, 16512, 1032, 4096, 32}},
		{130 * mib, geometry{33280, 1608, 32168, 2, 1, 16, 16640, 1040, 4096, 32}},
		{257 * mib, geometry{65792, 3218, 32184, 3, 1, 32, 21936, 1371, 4096, 32}},
		{260 * mib, geometry{66560, 3256, 32560, 3, 1, 32, 22192, 1387, 4096, 32}},
		{513 * mib, geometry{131072, 6553, 32768, 4, 1, 63, 8208, 513, 4096, 32}},
		{1 << 30, geometry{262144, 13107, 32768, 8, 1, 127, 8192, 512, 8192, 64}},
		{3 << 30, geometry{786432, 39321, 32768, 24, 1, 383, 8192, 512, 16384, 192}},
		{100 << 30, geometry{26214400, 1310720, 32768, 800, 13, 1024, 8192, 512, 131072, 512}},
	} {
		f, err := newFeatures(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := newGeometry(test.size/blockSize, &f)
		if err != nil || got != test.want {
			t.Errorf("%d bytes:\ngot  %+v, %v\nwant %+v", test.size, got, err, test.want)
		}
	}
}

// The words as dumpe2fs(8) translates them; what needs another feature goes with it.
func TestFeatures(t *testing.T) {
	for _, test := range []struct {
		without string
		want    features
	}{
		{"", features{0x103c, 0x22c2, 0x46b}},
		{"metadata_csum_seed orphan_file", features{0x3c, 0x2c2, 0x46b}},
		{"metadata_csum 64bit metadata_csum_seed orphan_file", features{0x3c, 0x242, 0x6b}},
		{"metadata_csum", features{0x103c, 0x2c2, 0x6b}},
		{"has_journal", features{0x38, 0x22c2, 0x46b}},
		{"quota", features{0x103c, 0x22c2, 0x46b}},
	} {
		if got, err := newFeatures(strings.Fields(test.without)); err != nil || got != test.want {
			t.Errorf("without %q: %#x, %v, want %#x", test.without, got, err, test.want)
		}
	}
}

func TestPlanErrors(t *testing.T) {
	entry := func(e tree.Entry) func(*Options) {
		return func(o *Options) { o.Entries = append(o.Entries, e) }
	}
	for _, test := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.UUID = "x" }, `"x" is not a UUID`},
		{func(o *Options) { o.Label = "seventeen letters" }, `label "seventeen letters" is longer than 16 bytes`},
		{func(o *Options) { o.Without = []string{"extent"} }, "feature extent cannot be left out"},
		{func(o *Options) { o.Entries = nil }, "it has no root directory"},
		{func(o *Options) { o.Size = 100 }, "0 bytes are too few"},
		{func(o *Options) { o.Size = 40960 }, "the files need 8192 bytes more than the 40960 have room for"},
		{func(o *Options) { o.Size = 1 << 44 }, "17592186044416 bytes are too many: 16 TiB are the most"},
		{func(o *Options) {
			o.Size = 1 << 20
			o.Entries[1].Size = 2 << 20
			o.Dense = func(tree.Entry) bool { return true }
		},
			"the files need 1122304 bytes more than the 1048576 have room for"},
		{func(o *Options) {
			for i := range 130 {
				o.Entries = append(o.Entries, tree.Entry{Path: fmt.Sprint("/", i), Type: tree.FIFO})
			}
			o.Size = 1 << 20
		}, "133 files and directories need 14 inodes more than the 128 of 1048576 bytes"},
		{entry(tree.Entry{Path: "/a/b", Type: tree.FIFO}), "/a/b: it is in no directory"},
		{entry(tree.Entry{Path: "/x/b", Type: tree.FIFO}), "/x/b: it is in no directory"},
		{entry(tree.Entry{Path: "/b", HardLink: "/nowhere"}), "/b: it is a link to /nowhere, which is not there"},
		{entry(tree.Entry{Path: "/b", Type: "door"}), "/b: it is of no known type"},
		{entry(tree.Entry{Path: "/b", Type: tree.Symlink, Target: strings.Repeat("t", 4096)}),
			"/b: its target has 4096 bytes"},
		{entry(tree.Entry{Path: "/" + strings.Repeat("n", 256), Type: tree.FIFO}),
			"/" + strings.Repeat("n", 256) + ": the name is longer than 255 bytes"},
		{entry(tree.Entry{Path: "/lost+found", Type: tree.FIFO}), "/lost+found: it is no directory"},
		{entry(tree.Entry{Path: "/b", Type: tree.FIFO, Xattrs: map[string]string{"user.x": strings.Repeat("v", 5000)}}),
			"/b: its extended attributes are 960 bytes too large for ext4"},
		{entry(tree.Entry{Path: "/b", Type: tree.FIFO, Xattrs: map[string]string{"system.posix_acl_access": "x"}}),
			"/b: extended attribute system.posix_acl_access: not an access control list of version 2"},
	} {
		o := options(t, 16<<20, file{tree.Entry{Path: "/x", Type: tree.File}, "x"})
		test.change(&o)
		_, err := Plan(t.Context(), o)
		if got, want := fmt.Sprint(err), "lay out ext4: "+test.want; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// A file that is shorter than it was, or no longer there, is not filled up with zeroes.
func TestReadErrors(t *testing.T) {
	o := options(t, 16<<20, file{tree.Entry{Path: "/x", Type: tree.File}, strings.Repeat("x", 10000)})
	v := mustPlan(t, o)
	name := o.File(o.Entries[1])
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	_, err := v.ReadAt(make([]byte, v.Size()), 0)
	if want := "read ext4: open " + name + ": no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if err := os.WriteFile(name, make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = v.ReadAt(make([]byte, v.Size()), 0)
	if want := "read ext4: " + name + " became shorter while it was copied"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// Planning ends when it is told to.
func TestCancelled(t *testing.T) {
	o := options(t, 16<<20, file{tree.Entry{Path: "/x", Type: tree.File}, strings.Repeat("x", 2<<20)})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Plan(ctx, o); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Blocks that the groups take themselves are never given away, and none twice.
func TestAllocator(t *testing.T) {
	f, err := newFeatures(nil)
	if err != nil {
		t.Fatal(err)
	}
	g, err := newGeometry(3<<30/blockSize, &f)
	if err != nil {
		t.Fatal(err)
	}
	a := newAllocator(g)
	fixed := int64(0)
	for _, e := range a.used {
		fixed += e.count
	}
	taken := map[int64]bool{}
	for group := range g.count {
		for _, e := range []extent{
			g.superBlocks(group), {g.blockBitmap(group), 1}, {g.inodeBitmap(group), 1}, {g.inodeTable(group), g.table},
		} {
			for b := e.start; b < e.end(); b++ {
				if taken[b] {
					t.Fatalf("block %d belongs to two", b)
				}
				taken[b] = true
			}
		}
	}
	if int64(len(taken)) != fixed {
		t.Errorf("%d blocks are fixed, want %d", fixed, len(taken))
	}
	for got := a.take(1000); len(got) > 0; got = a.take(1000) {
		for _, e := range got {
			for b := e.start; b < e.end(); b++ {
				if taken[b] {
					t.Fatalf("block %d was given away twice", b)
				}
				taken[b] = true
			}
		}
	}
	if int64(len(taken)) != g.blocks || !cmp.Equal(a.used, []extent{{0, g.blocks}}, cmp.AllowUnexported(extent{})) {
		t.Errorf("%d blocks of %d were taken: %v", len(taken), g.blocks, a.used)
	}
	if a.takeOne() != 0 || a.lack == 0 {
		t.Error("there was one more")
	}
}

func FuzzStoredACL(f *testing.F) {
	f.Add([]byte(access))
	f.Add([]byte{2, 0, 0, 0})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		stored, err := storedACL(b)
		if err == nil && (len(stored) > len(b) || binary.LittleEndian.Uint32(stored) != 1) {
			t.Errorf("%x is stored as %x", b, stored)
		}
	})
}

// Trees of extents of all heights lead to the extents in their order.
func TestExtentTree(t *testing.T) {
	for _, test := range []struct{ extents, blocks, levels int }{
		{0, 0, 0}, {4, 0, 0}, {5, 1, 1}, {1360, 4, 1}, {1361, 6, 2}, {462400, 1364, 2}, {500000, 1477, 3},
	} {
		n := &node{}
		for i := range test.extents {
			n.locate(int64(2*i), []extent{{int64(3*i + 1), 1}})
		}
		var blocks []int64
		for i := range branchBlocks(int64(test.extents)) {
			blocks = append(blocks, 1<<33+i)
		}
		n.grow(blocks)
		if len(blocks) != test.blocks || len(n.branches) != test.blocks || n.levels != test.levels {
			t.Errorf("%d extents: %d blocks, of which %d are used, in %d levels",
				test.extents, len(blocks), len(n.branches), n.levels)
		}
		var root [pointerLength]byte
		n.putRoot(root[:])
		next := 0
		walkExtents(t, n, root[:], &next)
		if next != test.extents {
			t.Errorf("%d extents: %d were found", test.extents, next)
		}
	}
}

// walkExtents reads what is below a node of a tree of extents; next is the extent that has to come.
func walkExtents(t *testing.T, n *node, b []byte, next *int) {
	t.Helper()
	entries, level := le.Uint16(b[2:]), le.Uint16(b[6:])
	for i := range int(entries) {
		e := b[(1+i)*extentLength:]
		if start := int(le.Uint32(e)); start != 2**next {
			t.Fatalf("an entry of level %d begins with block %d, want %d", level, start, 2**next)
		}
		if level == 0 {
			if at := int(le.Uint32(e[8:])); at != 3**next+1 {
				t.Fatalf("block %d is at %d, want %d", 2**next, at, 3**next+1)
			}
			*next++
			continue
		}
		block := int64(le.Uint32(e[4:])) | int64(le.Uint16(e[8:]))<<32
		of := n.branches[block-1<<33]
		below := make([]byte, blockSize)
		(&Volume{}).putBranch(below, n, of)
		if of.level != int(level)-1 {
			t.Fatalf("a node of level %d is below one of level %d", of.level, level)
		}
		walkExtents(t, n, below, next)
	}
}

// The stored form of acl(5)'s lists has identifiers for named users and groups only.
func TestStoredACL(t *testing.T) {
	got, err := storedACL([]byte(access))
	want := []byte{1, 0, 0, 0, 1, 0, 7, 0, 2, 0, 5, 0, 0xe8, 3, 0, 0, 4, 0, 5, 0, 8, 0, 4, 0, 50, 0, 0, 0, 0x10, 0, 5, 0, 0x20, 0, 4, 0}
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%x, %v, want %x", got, err, want)
	}
}
