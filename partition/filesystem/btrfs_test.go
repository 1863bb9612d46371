package filesystem

import (
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/partition/filesystem/extfs"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/offers"
	"vmbuild/rootfs/tree"
)

// memory is an image of so many bytes.
type memory []byte

func (m memory) ReadAt(b []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(b)) > int64(len(m)) {
		return 0, io.EOF
	}
	return copy(b, m[at:]), nil
}

func (m memory) WriteAt(b []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(b)) > int64(len(m)) {
		return 0, io.ErrShortWrite
	}
	return copy(m[at:], b), nil
}

const tinyNode = 4096

// tinyItem is an item of a leaf.
type tinyItem struct {
	object uint64
	kind   byte
	offset uint64
	data   []byte
}

// tinyBtrfs has addresses from 1 MiB on at byte 128 KiB and, as a copy, at 192 KiB: the trees of chunks, roots and files,
// the last with a node above its leaf. Its root has a file, and an inode to become a device.
func tinyBtrfs() memory {
	const start = 1 << 20
	m := make(memory, 256<<10)
	chunk := make([]byte, 48+2*32)
	le.PutUint64(chunk, 64<<10)
	le.PutUint16(chunk[44:], 2)
	le.PutUint64(chunk[48+8:], 128<<10)
	le.PutUint64(chunk[48+32+8:], 192<<10)
	super := m[btrfsSuper:]
	copy(super[0x40:], "_BHRfS_M")
	le.PutUint64(super[0x50:], start+tinyNode)
	le.PutUint64(super[0x58:], start)
	le.PutUint32(super[0x94:], tinyNode)
	le.PutUint32(super[0xa0:], uint32(btrfsKey+len(chunk)))
	le.PutUint64(super[0x32b+9:], start)
	copy(super[0x32b+btrfsKey:], chunk)

	root := make([]byte, 439)
	le.PutUint64(root[176:], start+2*tinyNode)
	inode := make([]byte, 160)
	m.addLeaf(start, tinyItem{256, btrfsChunkMap, start, chunk})
	m.addLeaf(start+tinyNode, tinyItem{btrfsFiles, btrfsRoot, 0, root})
	m.addLeaf(start+3*tinyNode,
		tinyItem{256, btrfsInode, 0, inode},
		tinyItem{256, btrfsDirItem, 1, append(tinyName(257, "file"), tinyName(258, "null")...)},
		tinyItem{256, btrfsDirIndex, 2, tinyName(257, "file")},
		tinyItem{256, btrfsDirIndex, 3, tinyName(258, "null")},
		tinyItem{257, btrfsInode, 0, inode},
		tinyItem{258, btrfsInode, 0, inode},
	)
	node := m[128<<10+2*tinyNode:]
	le.PutUint64(node[48:], start+2*tinyNode)
	le.PutUint32(node[96:], 1)
	node[100] = 1
	le.PutUint64(node[btrfsHeader+btrfsKey:], start+3*tinyNode)
	return m
}

// addLeaf writes a leaf to the first copy: keys from the begin, data from the end.
func (m memory) addLeaf(address uint64, items ...tinyItem) {
	leaf := m[128<<10+address-1<<20:][:tinyNode]
	le.PutUint64(leaf[48:], address)
	le.PutUint32(leaf[96:], uint32(len(items)))
	end := tinyNode
	for i, item := range items {
		head := leaf[btrfsHeader+i*btrfsItemSize:]
		end -= len(item.data)
		copy(leaf[end:], item.data)
		le.PutUint64(head, item.object)
		head[8] = item.kind
		le.PutUint64(head[9:], item.offset)
		le.PutUint32(head[17:], uint32(end-btrfsHeader))
		le.PutUint32(head[21:], uint32(len(item.data)))
	}
}

func tinyName(inode uint64, name string) []byte {
	entry := make([]byte, btrfsNameHead)
	le.PutUint64(entry, inode)
	le.PutUint16(entry[27:], uint16(len(name)))
	entry[btrfsNameType] = 1
	return append(entry, name...)
}

func TestFinishBtrfs(t *testing.T) {
	m := tinyBtrfs()
	v, err := openBtrfs(m)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]uint64{"/": 256, "/file": 257, "/null": 258}, v.paths()); diff != "" {
		t.Error(diff)
	}
	entries := []tree.Entry{
		{Path: "/", Type: tree.Directory, ModTime: time.Unix(1000, 5)},
		{Path: "/file", Type: tree.File, ModTime: epoch.Add(time.Hour)},
		{Path: "/null", Type: tree.CharDevice, Mode: 0o640, UID: 7, GID: 8, Major: 1, Minor: 3},
	}
	if err := v.finish(Job{Epoch: epoch}, entries); err != nil {
		t.Fatal(err)
	}
	if v, err = openBtrfs(m); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, item := range v.leaves[0].items() {
		if item.kind == btrfsInode {
			d := item.data
			got = append(got, fmt.Sprintf("%d: %d:%d %o %#x", item.object, le.Uint32(d[44:]), le.Uint32(d[48:]), le.Uint32(d[52:]), le.Uint64(d[56:])))
			for at := 112; at < 160; at += 12 {
				got = append(got, fmt.Sprintf("%d.%d", le.Uint64(d[at:]), le.Uint32(d[at+8:])))
			}
			continue
		}
		for name := range item.names() {
			got = append(got, fmt.Sprint(name.name, " ", name.entry[btrfsNameType]))
		}
	}
	late := fmt.Sprint(epoch.Unix(), ".0")
	want := []string{
		"256: 0:0 0 0x0", "1000.5", "1000.5", "1000.5", "1000.5", "file 1", "null 3", "file 1", "null 3",
		"257: 0:0 0 0x0", late, late, late, late,
		"258: 7:8 20640 0x100003", "0.0", "0.0", "0.0", "0.0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	leaf := m[128<<10+3*tinyNode:][:tinyNode]
	if want := crc32.Checksum(leaf[32:], crc32.MakeTable(crc32.Castagnoli)); le.Uint32(leaf) != want {
		t.Errorf("the checksum is %#x, not %#x", le.Uint32(leaf), want)
	}
	if diff := cmp.Diff(leaf, m[192<<10+3*tinyNode:][:tinyNode]); diff != "" {
		t.Error("the copies differ")
	}
}

func TestBtrfsErrors(t *testing.T) {
	for _, test := range []struct {
		harm func(memory)
		want string
	}{
		{func(m memory) { m[btrfsSuper+0x40] = 0 }, "mkfs.btrfs has not made a btrfs that is known here"},
		{func(m memory) { m[btrfsSuper+0xc4] = 1 }, "mkfs.btrfs has not made a btrfs that is known here"},
		{func(m memory) { m[btrfsSuper+0xa0] = 30 }, "read the chunks: a chunk is cut off"},
		{func(m memory) { m[btrfsSuper+0x5b] = 1 }, "read the chunks: address 17825792 is in no chunk"},
		{func(m memory) { m[128<<10+2*tinyNode+100] = 9 }, "read the tree of files: node 1056768 is damaged"},
	} {
		m := tinyBtrfs()
		test.harm(m)
		_, err := openBtrfs(m)
		if got := fmt.Sprint(err); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
	v, err := openBtrfs(tinyBtrfs())
	if err != nil {
		t.Fatal(err)
	}
	err = v.finish(Job{}, []tree.Entry{{Path: "/lost", Type: tree.File}})
	if got, want := fmt.Sprint(err), "/lost did not get into the filesystem"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Damage gives errors, whatever is damaged.
func FuzzBtrfs(f *testing.F) {
	f.Add(uint32(btrfsSuper+0x50), []byte{0, 0x20})
	f.Add(uint32(128<<10+3*tinyNode), []byte("damage"))
	f.Fuzz(func(_ *testing.T, at uint32, damage []byte) {
		m := tinyBtrfs()
		copy(m[min(int(at), len(m)):], damage)
		if v, err := openBtrfs(m); err == nil {
			_ = v.finish(Job{}, []tree.Entry{{Path: "/null", Type: tree.CharDevice}})
		}
	})
}

// toolbox has programs of the suite that makes images.
func toolbox(t *testing.T, packages string) chroot.Tools {
	t.Helper()
	offers.Programs(t, "mmdebstrap")
	dir := t.TempDir()
	run(t, "mmdebstrap", "--quiet", "--variant=extract", "--include="+packages, "stable", dir, offers.Mirror(t))
	return chroot.Tools{Dir: dir}
}

// fullTree has what filesystems differ in.
func fullTree(t *testing.T) Job {
	j := extJob(t, 400<<20)
	in := func(name string) string { return filepath.Join(j.Tree.Dir, name) }
	long := strings.Repeat("l", 200)
	for _, err := range []error{
		os.Mkdir(in("tmp"), 0o777),
		os.Chmod(in("tmp"), 0o777|os.ModeSticky),
		os.Symlink("to two words", in("tmp/link")),
		os.Symlink(long, in("tmp/long")),
		os.WriteFile(in("tmp/with space"), []byte("x"), 0o600),
		os.Link(in("tmp/with space"), in("tmp/zz")),
		os.WriteFile(in("etc/:colon:"), []byte("x"), 0o600),
		os.WriteFile(in("etc/großer Name"), []byte(strings.Repeat("\x00", 10000)+"x"), 0o600),
		os.Chown(in("etc/empty"), 3, 4),
		syscallSetxattr(in("tmp"), "user.dir", "1"),
		syscallSetxattr(in("bin/sh"), "user.file", "2"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return j
}

// What is made by programs of the suite that makes images, not by the host's, is judged by the host's.
func TestForeign(t *testing.T) {
	offers.Need(t, "net", "build")
	offers.Programs(t, "btrfs", "xfs_repair", "xfs_db", "cmp")
	j := fullTree(t)
	j.Toolbox = toolbox(t, "btrfs-progs,xfsprogs")
	t.Run("btrfs", func(t *testing.T) { judgeBtrfs(t, j) })
	t.Run("xfs", func(t *testing.T) { judgeXFS(t, j) })
}

// judgeBtrfs has btrfs check what was made, and read back what was meant.
func judgeBtrfs(t *testing.T, j Job) {
	at := part(t, image(t, "btrfs", j), j)
	run(t, "btrfs", "check", "--readonly", at)
	items := run(t, "btrfs", "inspect-internal", "dump-tree", "-t", "5", at)
	v := openedBtrfs(t, at)
	for path, facts := range map[string][]string{
		"/tmp":         {"mode 41777 links 1 uid 0 gid 0", "name: user.dir"},
		"/bin/sh":      {"mode 104755 links 2", "mtime 1000000000.0", "otime 1000000000.0", "name: user.file"},
		"/etc/empty":   {"mode 100644 links 1 uid 3 gid 4", fmt.Sprintf("ctime %d.0", epoch.Unix())},
		"/dev/null":    {"mode 20666 links 1 uid 0 gid 0 rdev 1048579"},
		"/dev/sda":     {"mode 60660 links 1 uid 0 gid 6 rdev 8388608"},
		"/boot/efi":    {"size 0 nbytes 0"},
		"/tmp/link":    {"mode 120777"},
		"/tmp/zz":      {"links 2"},
		"/etc/:colon:": {"mode 100600"},
	} {
		about := itemsOf(items, v.paths()[path])
		for _, fact := range facts {
			if !strings.Contains(about, fact) {
				t.Errorf("%s: no %q in\n%s", path, fact, about)
			}
		}
	}
	restored := t.TempDir()
	run(t, "btrfs", "restore", "--symlinks", at, restored)
	for _, name := range []string{"boot/vmlinuz", "etc/großer Name", "tmp/with space", "bin/dash"} {
		want, err := os.ReadFile(filepath.Join(j.Tree.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(restored, name)); err != nil || string(got) != string(want) {
			t.Errorf("%s has another content (%v)", name, err)
		}
	}
}

func openedBtrfs(t *testing.T, path string) *btrfsVolume {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	v, err := openBtrfs(extfs.Disk(f))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// itemsOf gives the items of an inode in what dump-tree says.
func itemsOf(said string, inode uint64) string {
	var about strings.Builder
	for _, item := range strings.Split(said, "\titem ") {
		if strings.Contains(item, fmt.Sprintf(" key (%d ", inode)) {
			about.WriteString(item)
		}
	}
	return about.String()
}

// part copies a filesystem out of its disk, for programs that know no offset.
func part(t *testing.T, disk *os.File, j Job) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "part"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := scratch{image: disk}
	if err := copyRange(f, 0, s.image, j.Offset, j.Size); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}
