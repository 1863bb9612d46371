package filesystem

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/tree"
)

func syscallSetxattr(path, name, value string) error {
	return syscall.Setxattr(path, name, []byte(value), 0)
}

// odd are entries of each kind, some with names that are hard to tell.
var odd = []tree.Entry{
	{Path: "/", Type: tree.Directory, Mode: 0o755},
	{Path: "/a", Type: tree.Directory, Mode: 0o2755, UID: 1, GID: 2, Xattrs: map[string]string{"user.x": "1", "system.posix_acl_default": "\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff"}},
	{Path: "/a/b", Type: tree.Directory, Mode: 0o1777},
	{Path: "/a/b/:c:", Type: tree.File, Mode: 0o4711},
	{Path: "/a/two words", Type: tree.File, Mode: 0o600, Xattrs: map[string]string{"security.capability": "by mkfs.xfs", "system.posix_acl_access": "\x02\x00\x00\x00"}},
	{Path: "/a/zz", Type: tree.File, HardLink: "/a/two words"},
	{Path: "/c d", Type: tree.File, HardLink: "/a/two words", Mode: 0o600},
	{Path: "/link", Type: tree.Symlink, Mode: 0o777, Target: "to some\twords"},
	{Path: "/null", Type: tree.CharDevice, Mode: 0o666, Major: 1, Minor: 3},
	{Path: "/pipe", Type: tree.FIFO, Mode: 0o640},
	{Path: "/sda", Type: tree.BlockDevice, Mode: 0o660, GID: 6, Major: 8},
	{Path: "/socket", Type: tree.Socket},
}

func TestXFSPrototype(t *testing.T) {
	s := &scratch{dir: t.TempDir()}
	if err := writePrototype(s, odd); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(s.dir, xfsPrototype))
	if err != nil {
		t.Fatal(err)
	}
	want := `vmbuild
0 0
d--755 0 0
a d-g755 1 2
b d--777 0 0
stand-in.3 -u-711 0 0 /source/a/b/:c:
$
two/words ---600 0 0 /scratch/4
$
c/d ---600 0 0 /scratch/6
link l--777 0 0 to_some_words
null c--666 0 0 1 3
pipe p--640 0 0
sda b--660 0 6 8 0
$
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{"4": "/source/a/two words", "6": "/source/c d"} {
		if got, err := os.Readlink(filepath.Join(s.dir, name)); got != want {
			t.Errorf("%s leads to %q (%v)", name, got, err)
		}
	}
}

func TestXFSScript(t *testing.T) {
	s := &scratch{dir: t.TempDir()}
	inodes := map[string]uint64{"/": 128, "/a": 131, "/a/b": 132, "/a/b/:c:": 133, "/a/two words": 134, "/c d": 135, "/link": 136}
	got, err := xfsScript(s, odd, inodes)
	if err != nil {
		t.Fatal(err)
	}
	want := `inode 131
attr_set -r -V /scratch/1-0 SGI_ACL_DEFAULT
inode 131
attr_set -u -V /scratch/1-1 x
inode 132
link -i 133 :c:
unlink stand-in.3
inode 134
attr_remove -u system.posix_acl_access
attr_set -r -V /scratch/4-1 SGI_ACL_FILE
inode 131
link -i 134 zz
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{
		"1-0": "\x00\x00\x00\x01\x00\x00\x00\x01\xff\xff\xff\xff\x00\x07\x00\x00", "1-1": "1", "4-1": "\x00\x00\x00\x00",
	} {
		if got, err := os.ReadFile(filepath.Join(s.dir, name)); string(got) != want {
			t.Errorf("%s: %q (%v)", name, got, err)
		}
	}
}

func TestXFSErrors(t *testing.T) {
	s := &scratch{dir: t.TempDir()}
	for _, test := range []struct {
		entry tree.Entry
		want  string
	}{
		{tree.Entry{Path: "/a\tb", Type: tree.File}, `mkfs.xfs cannot be told the file name "/a\tb"`},
		{tree.Entry{Path: "/:dir", Type: tree.Directory}, `mkfs.xfs cannot be told the file name "/:dir"`},
		{tree.Entry{Path: "/$ x", Type: tree.File}, `mkfs.xfs cannot be told the file name "/$ x"`},
		{tree.Entry{Path: "/d", Type: tree.Directory, Xattrs: map[string]string{"user.a b": ""}}, `/d: xfs_db cannot set the extended attribute "user.a b"`},
		{tree.Entry{Path: "/d", Type: tree.Directory, Xattrs: map[string]string{"system.posix_acl_access": "1"}}, `/d: its access control list is not one of version 2`},
	} {
		err := writePrototype(s, []tree.Entry{test.entry})
		if err == nil {
			_, err = xfsScript(s, []tree.Entry{test.entry}, nil)
		}
		if got := fmt.Sprint(err); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

// tinyXFS has a block of 8 inodes of 512 bytes, the first with number 128, of which two are in use.
func tinyXFS() memory {
	be := binary.BigEndian
	m := make(memory, 20<<12)
	copy(m, "XFSB")
	be.PutUint32(m[4:], 4096)
	be.PutUint64(m[56:], 128)
	be.PutUint64(m[64:], 129)
	be.PutUint64(m[72:], 130)
	be.PutUint32(m[84:], 20)
	be.PutUint16(m[104:], 512)
	m[123], m[124] = 3, 5
	for i := range 8 {
		inode := m[16<<12+i*512:]
		copy(inode, "IN")
		be.PutUint32(inode[92:], 0xdeadbeef)
		be.PutUint64(inode[152:], uint64(128+i))
	}
	be.PutUint16(m[16<<12+2:], 0o40755)
	file := m[16<<12+3*512:]
	be.PutUint16(file[2:], 0o100600)
	file[5] = 2
	be.PutUint32(file[16:], 1)
	be.PutUint64(file[120:], xfsBigTime)
	return m
}

func TestFinishXFS(t *testing.T) {
	be := binary.BigEndian
	m := tinyXFS()
	v, err := openXFS(m)
	if err != nil {
		t.Fatal(err)
	}
	entries := []tree.Entry{
		{Path: "/", Type: tree.Directory, Mode: 0o1777, ModTime: time.Unix(1000, 5)},
		{Path: "/file", Type: tree.File, Mode: 0o4600, ModTime: epoch.Add(time.Hour)},
	}
	inodes := map[string]uint64{"/": 128, "/file": 131}
	if err := v.finish(Job{Epoch: epoch}, entries, inodes); err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range 8 {
		inode := m[16<<12+i*512:]
		got = append(got, fmt.Sprintf("%o %x %x %d", be.Uint16(inode[2:]), be.Uint64(inode[40:]), be.Uint64(inode[144:]), be.Uint32(inode[92:])))
	}
	unused := "0 0 0 1"
	want := []string{"41777 3e800000005 3e800000005 1", unused, unused, "104600 35a69a05dbdb0000 35a69a05dbdb0000 1", unused, unused, unused, unused}
	want[3] = fmt.Sprintf("104600 %x %[1]x 1", uint64(epoch.Unix()+1<<31)*1e9)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	root := append([]byte(nil), m[16<<12:][:512]...)
	sum := le.Uint32(root[100:])
	copy(root[100:], []byte{0, 0, 0, 0})
	if want := crc32.Checksum(root, crc32.MakeTable(crc32.Castagnoli)); sum != want {
		t.Errorf("the checksum is %#x, not %#x", sum, want)
	}
	entries = append(entries, tree.Entry{Path: "/other", Type: tree.File, HardLink: "/file"})
	if got, want := fmt.Sprint(v.finish(Job{}, entries, inodes)), "finish inode 131 /file: it has 1 links instead of 2"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := fmt.Sprint(v.finish(Job{}, []tree.Entry{{Path: "/x"}}, inodes)), "/x did not get into the filesystem"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// judgeXFS has xfs_repair check what was made, and xfs_db read what was meant. It is the same each time.
func judgeXFS(t *testing.T, j Job) {
	at := part(t, image(t, "xfs", j), j)
	run(t, "cmp", at, part(t, image(t, "xfs", j), j))
	run(t, "xfs_repair", "-n", "-f", at)
	for path, facts := range map[string][]string{
		"/tmp":         {"core.mode = 041777", `"dir"`},
		"/bin/sh":      {"core.mode = 0104755", "core.nlinkv2 = 2", "core.mtime.sec = Sun Sep  9 01:46:40 2001", `"file"`},
		"/etc/empty":   {"core.uid = 3", "core.gid = 4", "v3.crtime.nsec = 0"},
		"/dev/null":    {"core.mode = 020666", "u3.dev = 0x40003"},
		"/tmp/link":    {`u3.symlink = "to two words"`},
		"/tmp/zz":      {"core.nlinkv2 = 2", "core.size = 1"},
		"/etc/:colon:": {"core.nlinkv2 = 1", "core.mode = 0100600"},
		"/boot/efi":    {"core.nlinkv2 = 2"},
	} {
		about := run(t, "env", "TZ=UTC", "xfs_db", "-r", "-f", "-c", "path "+path, "-c", "print", at)
		for _, fact := range facts {
			if !strings.Contains(about, fact) {
				t.Errorf("%s: no %q in\n%s", path, fact, about)
			}
		}
	}
}
