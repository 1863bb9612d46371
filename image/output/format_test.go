package output

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"vmbuild/image/qcow2"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/offers"
	"vmbuild/rootfs/tree"
)

func TestChoose(t *testing.T) {
	for _, test := range []struct {
		format, target string
		at             Facts
		want           string // the format, and the compression after a slash
	}{
		{"", "x.tar", Facts{}, "tar/"},
		{"auto", "x.tar.gz", Facts{}, "tar/gzip"},
		{"", "x.tgz", Facts{Kind: Regular}, "tar/gzip"},
		{"", "x.taz", Facts{}, "tar/gzip"},
		{"", "x.Z", Facts{}, "tar/compress"},
		{"", "x.tar.z", Facts{}, "directory/"},
		{"", "x.tbz2", Facts{}, "tar/bzip2"},
		{"", "x.lz", Facts{}, "tar/lzip"},
		{"", "x.tlz", Facts{}, "tar/lzma"},
		{"", "x.lzo", Facts{}, "tar/lzop"},
		{"", "x.lz4", Facts{}, "tar/lz4"},
		{"", "x.txz", Facts{}, "tar/xz"},
		{"", "x.tar.zst", Facts{}, "tar/zstd"},
		{"", "x.sqfs", Facts{}, "squashfs/"},
		{"", "x.squashfs", Facts{Kind: Regular}, "squashfs/"},
		{"", "x.ext2", Facts{}, "ext2/"},
		{"", "x.ext4", Facts{}, "ext4/"},
		{"", "x", Facts{}, "directory/"},
		{"", "x.tar", Facts{Kind: Directory}, "directory/"},
		{"", "", Facts{}, "tar/"},
		{"", "-", Facts{Kind: FIFO}, "tar/"},
		{"", "-", Facts{Kind: CharDevice, Null: true}, "null/"},
		{"", "/dev/null", Facts{Kind: CharDevice, Null: true}, "null/"},
		{"", "/dev/tape", Facts{Kind: CharDevice}, "tar/"},
		{"", "fifo", Facts{Kind: FIFO}, "tar/"},
		{"", "fifo.xz", Facts{Kind: FIFO}, "tar/xz"},
		{"dir", "x.tar", Facts{}, "directory/"},
		{"sqfs", "x.img", Facts{}, "squashfs/"},
		{"tar", "x", Facts{}, "tar/"},
		{"tar", "/dev/vdb", Facts{Kind: BlockDevice}, "tar/"},
		{"null", "/", Facts{Kind: Directory, Root: true, Holds: "bin"}, "null/"},
		{"null", "", Facts{Kind: CharDevice, Terminal: true}, "null/"},

		{"iso", "x", Facts{}, `format "iso" is not one of directory, tar, squashfs, ext2, ext4, null`},
		{"squashfs", "-", Facts{}, "format squashfs cannot be written to standard output: name a target"},
		{"dir", "", Facts{}, "format directory cannot be written to standard output: name a target"},
		{"", "", Facts{Kind: CharDevice, Terminal: true}, "standard output is a terminal: redirect it, or name a target"},
		{"", "/", Facts{Kind: Directory, Root: true, Holds: "bin"}, "target / is the root of this host"},
		{"", "a/b/x", Facts{NoParent: "a/b"}, "target a/b/x: a/b is not a directory: make it first"},
		{"", "x.tar", Facts{NoParent: "a"}, "target x.tar: a is not a directory: make it first"},
		{"", "x", Facts{Kind: Regular}, "target x is there and is not a directory"},
		{"", "/dev/vdb", Facts{Kind: BlockDevice}, "target /dev/vdb is there and is not a directory"},
		{"", "x", Facts{Kind: Directory, Holds: "etc"}, "target x is not empty: it has etc"},
		{"tar", "x", Facts{Kind: Directory}, "target x is a directory, which format tar cannot be written to"},
		{"ext4", "p", Facts{Kind: FIFO}, "target p is a FIFO, which format ext4 cannot be written to"},
		{"ext4", "/dev/vdb", Facts{Kind: BlockDevice}, "target /dev/vdb is a block device, which format ext4 cannot be written to"},
		{"tar", "s", Facts{Kind: Other}, "target s is there and is not a file"},
	} {
		f, c, err := Choose(test.format, test.target, test.at)
		got := f.Name + "/" + c.Name
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("format %q of %q, %+v:\n got %s\nwant %s", test.format, test.target, test.at, got, test.want)
		}
	}
}

func TestTables(t *testing.T) {
	seen := map[string]bool{}
	unique := func(word string) {
		if seen[word] {
			t.Errorf("%q stands in two rows", word)
		}
		seen[word] = true
	}
	for _, f := range Formats() {
		for _, word := range slices.Concat([]string{f.Name}, f.Aliases, f.Suffixes) {
			unique(word)
		}
		for _, name := range append(f.Aliases, f.Name) {
			if got, err := Lookup(name); err != nil || got.Name != f.Name {
				t.Errorf("%q is %q, %v", name, got.Name, err)
			}
		}
	}
	for _, c := range Compressions() {
		for _, word := range append(c.Suffixes, c.Name) {
			unique(word)
		}
		if got, err := LookupCompression(c.Name); err != nil || got.Name != c.Name {
			t.Errorf("%q is %q, %v", c.Name, got.Name, err)
		}
		if (c.encode == nil) == (c.command == nil) || (c.command == nil) != (c.tool == "") {
			t.Errorf("%s is neither written by Go nor by the program of a package", c.Name)
		}
	}
	const want = `compression "rar" is not one of gzip, zstd, xz, bzip2, lzma, lz4, lzip, lzop, compress`
	if _, err := LookupCompression("rar"); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if c, err := LookupCompression(""); err != nil || c.Name != "" {
		t.Errorf("none is %q, %v", c.Name, err)
	}
}

func TestPackages(t *testing.T) {
	for _, test := range []struct{ format, compression, want string }{
		{"tar", "", ""}, {"tar", "gzip", ""}, {"tar", "xz", "xz-utils"}, {"tar", "compress", "ncompress"},
		{"squashfs", "", "squashfs-tools"}, {"ext2", "", "e2fsprogs"}, {"directory", "", ""},
	} {
		f, err := Lookup(test.format)
		if err != nil {
			t.Fatal(err)
		}
		c, err := LookupCompression(test.compression)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(f.Packages(c), " "); got != test.want {
			t.Errorf("%s %s takes %q, want %q", test.format, test.compression, got, test.want)
		}
	}
}

func TestWriteNeedsAnEpoch(t *testing.T) {
	f, err := Lookup("tar")
	if err != nil {
		t.Fatal(err)
	}
	const want = "write tar: the job has no epoch"
	if err := f.Write(context.Background(), Job{}); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// hostTools is a Toolbox whose programs are the host's.
type hostTools struct{}

func (h hostTools) Enter(context.Context, ...chroot.Bind) (chroot.Runner, io.Closer, error) {
	return h, io.NopCloser(nil), nil
}

func (hostTools) Run(ctx context.Context, c chroot.Command) error {
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Stdin, cmd.Stdout, cmd.ExtraFiles = c.Stdin, c.Stdout, c.Files
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%v: %w\n%s", c.Args, err, said.Bytes())
	}
	return nil
}

// What Go compresses is what was there, twice the same.
func TestCompressInGo(t *testing.T) {
	source := newTree(t)
	plain := read(t, toFile(t, "", "x.tar", Job{Tree: source}))
	for name, open := range map[string]func(io.Reader) (io.Reader, error){
		"x.tar.gz":  func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		"x.tar.zst": func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r) },
	} {
		packed := read(t, toFile(t, "", name, Job{Tree: source}))
		if !bytes.Equal(packed, read(t, toFile(t, "", name, Job{Tree: source}))) {
			t.Errorf("%s differs from one time to the next", name)
		}
		r, err := open(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s unpacks to %d bytes, want %d: %v", name, len(got), len(plain), err)
		}
	}
}

// What each program has written, it or another one reads.
func TestCompressForeign(t *testing.T) {
	offers.Need(t, "build")
	source := newTree(t)
	plain := read(t, toFile(t, "", "x.tar", Job{Tree: source}))
	for name, reader := range map[string]string{
		"x.gz": "gzip -dc", "x.zst": "zstd -dc", "x.xz": "xz -dc", "x.bz2": "bzip2 -dc",
		"x.lzma": "xz -F lzma -dc", "x.lz4": "lz4 -dc",
	} {
		program := strings.Fields(reader)
		offers.Programs(t, program[0])
		path := toFile(t, "", name, Job{Tree: source, Toolbox: hostTools{}})
		if got := run(t, program[0], append(program[1:], path)...); got != string(plain) {
			t.Errorf("%s gives %d bytes, want %d", reader, len(got), len(plain))
		}
		if again := toFile(t, "", name, Job{Tree: source, Toolbox: hostTools{}}); !bytes.Equal(read(t, path), read(t, again)) {
			t.Errorf("%s differs from one time to the next", name)
		}
	}
}

// xz writes the same with however many threads.
func TestXZThreads(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "xz")
	data := bytes.Repeat([]byte("some of the 24 MiB that make a block\n"), 1<<20)
	var outputs []string
	for _, threads := range []string{"-T2", "-T5"} {
		cmd := exec.Command("xz", threads, "-c", "-0")
		cmd.Stdin = bytes.NewReader(data)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		outputs = append(outputs, string(out))
	}
	if outputs[0] != outputs[1] {
		t.Error("two and five threads write different bytes")
	}
	if got := xz()[1]; got < "-T2" {
		t.Errorf("xz runs with %s", got)
	}
}

// What lzop 1.04 writes for "a\n" at two times becomes the same, however it comes, and lzop -t finds its sum right.
func TestLzopHeader(t *testing.T) {
	const (
		before = "\x89LZO\x00\r\n\x1a\n\x10\x40\x20\xa0\x09\x40\x01\x05\x03\x00\x00\x0d\x00\x00\x00\x00"
		after  = "\x00\x00\x00\x02\x00\x00\x00\x02\x00\xce\x00\x6c" + "a\n\x00\x00\x00\x00"
		want   = before + "\x00\x00\x00\x00\x00\x00\x00\x00\x00" + "\x1f\x5c\x01\x70" + after
	)
	for _, stamp := range []string{
		"\x6b\x01\x9a\x2a\x00\x00\x00\x00\x00\x28\x59\x02\xa0",
		"\x6b\x01\x9a\x2b\x00\x00\x00\x00\x00\x28\x63\x02\xa1",
	} {
		for _, size := range []int{1, 7, 38, 1000} {
			var b bytes.Buffer
			w := &lzopHeader{w: &b}
			for chunk := range slices.Chunk([]byte(before+stamp+after), size) {
				if n, err := w.Write(chunk); n != len(chunk) || err != nil {
					t.Fatal(n, err)
				}
			}
			if d := cmp.Diff(want, b.String()); d != "" {
				t.Error(d)
			}
		}
	}
}

// breaker is a Toolbox whose program ends before it has read anything.
type breaker struct{ err error }

func (b breaker) Enter(context.Context, ...chroot.Bind) (chroot.Runner, io.Closer, error) {
	return b, io.NopCloser(nil), nil
}
func (b breaker) Run(context.Context, chroot.Command) error { return b.err }

func TestPipeErrors(t *testing.T) {
	no := errors.New("no luck")
	endless := func(w io.Writer) error {
		for {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return err
			}
		}
	}
	for _, test := range []struct {
		box     chroot.Toolbox
		produce func(io.Writer) error
		want    string
	}{
		{breaker{no}, endless, "no luck"},
		{breaker{no}, func(io.Writer) error { return errors.New("nothing to write") }, "no luck"},
		{breaker{}, func(io.Writer) error { return no }, "no luck"},
		{breaker{}, endless, "write |1: broken pipe"},
	} {
		err := pipe(context.Background(), test.box, chroot.Command{}, test.produce)
		if err == nil || err.Error() != test.want {
			t.Errorf("%v, want %s", err, test.want)
		}
	}
}

// unsquashfs lists what the tree has.
func TestSquashfs(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "mksquashfs", "unsquashfs")
	source := newTree(t)
	os.Remove(filepath.Join(source.Dir, "etc/old"))                                  // squashfs has no times before 1970
	if err := os.Chmod(filepath.Join(source.Dir, "etc/passwd"), 0o711); err != nil { // unsquashfs gives setuid to root only
		t.Fatal(err)
	}
	job := Job{Tree: source, Toolbox: sourceTools{source.Dir}}
	path := toFile(t, "", "x.squashfs", job)
	facts := run(t, "unsquashfs", "-s", path)
	for _, want := range []string{
		"Creation or last append time Sun Jun 15 15:06:40 2025", "Compression xz", "Block size 1048576",
		"Filesystem is exportable via NFS", "Xattrs are compressed",
	} {
		if !strings.Contains(facts, want) {
			t.Errorf("no %q in\n%s", want, facts)
		}
	}
	var list []string // columns are as wide as the file is large
	for line := range strings.Lines(run(t, "unsquashfs", "-llnumeric", path)) {
		list = append(list, strings.Join(strings.Fields(line), " "))
	}
	own := fmt.Sprintf(" %d/%d ", os.Getuid(), os.Getgid())
	for _, want := range []string{
		"crw-rw-rw- 0/0 1, 3 2025-06-15 15:06 squashfs-root/dev/null",
		"drwxr-xr-x 0/0 3 2025-06-15 15:06 squashfs-root/dev/pts",
		"lrwxrwxrwx 0/0 13 2025-06-15 15:06 squashfs-root/dev/fd -> /proc/self/fd",
		"-rwx--x--x" + own + "1100 2025-06-15 15:06 squashfs-root/etc/passwd",
		"drwxr-xr-x" + own + "3 1970-01-01 00:00 squashfs-root/é",
	} {
		if !slices.Contains(list, want) {
			t.Errorf("no %q in\n%s", want, strings.Join(list, "\n"))
		}
	}
	unpacked := filepath.Join(t.TempDir(), "x")
	run(t, "unsquashfs", "-no-progress", "-excludes", "-dest", unpacked, path, "dev")
	if !bytes.Equal(read(t, path), read(t, toFile(t, "", "x.sqfs", job))) {
		t.Error("it differs from one time to the next")
	}
	source.Devices = nil
	want, got := listing(t, source), listing(t, &tree.Tree{Dir: unpacked})
	for name := range want {
		if strings.HasPrefix(name, "/dev") || name == "/lost+found" {
			delete(want, name)
		}
	}
	if d := tree.Diff(want, got); len(d) > 0 {
		t.Error(strings.Join(d, "\n"))
	}
}

func listing(t testing.TB, source *tree.Tree) map[string]string {
	t.Helper()
	l, err := tree.Listing(source)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestExt(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "mke2fs", "debugfs", "e2fsck", "dumpe2fs")
	source := newTree(t)
	for _, name := range []string{"x.ext2", "x.ext4"} {
		path := toFile(t, "", name, Job{Tree: source, Toolbox: sourceTools{source.Dir}})
		run(t, "e2fsck", "-fn", path)
		facts := run(t, "dumpe2fs", "-h", path)
		for _, want := range []string{
			"Filesystem UUID:          b46cf33d-0403-5b72-8d5b-5df6b3750d2b",
			"Directory Hash Seed:      b46cf33d-0403-5b72-8d5b-5df6b3750d2b",
		} {
			if !strings.Contains(facts, want) {
				t.Errorf("%s: no %q in\n%s", name, want, facts)
			}
		}
		null := run(t, "debugfs", "-R", "stat /dev/null", path)
		if !strings.Contains(null, "Type: character special    Mode:  0666") {
			t.Errorf("%s: /dev/null is\n%s", name, null)
		}
	}
}

// sourceTools are the host's programs, which see the tree where the toolbox would show it.
type sourceTools struct{ dir string }

func (s sourceTools) Enter(context.Context, ...chroot.Bind) (chroot.Runner, io.Closer, error) {
	return s, io.NopCloser(nil), nil
}

func (s sourceTools) Run(ctx context.Context, c chroot.Command) error {
	c.Args = slices.Clone(c.Args)
	for i, arg := range c.Args {
		if arg == "/source" {
			c.Args[i] = s.dir
		}
	}
	return hostTools{}.Run(ctx, c)
}

// The identifier as Python has it: uuid5(uuid5(NAMESPACE_DNS, "mister-muffin.de"), "1750000000")
func TestEpochUUID(t *testing.T) {
	if d := cmp.Diff("b46cf33d-0403-5b72-8d5b-5df6b3750d2b", epochUUID(1750000000)); d != "" {
		t.Error(d)
	}
}

// Images of disks are not chosen for a tree, by their names or by their suffixes, and trees not for a disk.
func TestDisks(t *testing.T) {
	for _, test := range []struct{ format, path, want string }{
		{"", "x.img", "raw"},
		{"", "x.raw", "raw"},
		{"", "x.tar.qcow2", "qcow2"},
		{"qcow2", "x.img", "qcow2"},
		{"", "x.tar", `the name of "x.tar" ends in none of .img, .raw, .qcow2, which would say what it is`},
		{"", "img", `the name of "img" ends in none of .img, .raw, .qcow2, which would say what it is`},
		{"tar", "x.img", `format "tar" is not one of raw, qcow2`},
	} {
		f, err := ChooseDisk(test.format, test.path)
		got := f.Name
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("format %q of %q: %s, want %s", test.format, test.path, got, test.want)
		}
	}
	for _, f := range Disks() {
		want := `format "` + f.Name + `" is not one of directory, tar, squashfs, ext2, ext4, null`
		if _, _, err := Choose(f.Name, "x", Facts{}); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		for _, suffix := range f.Suffixes {
			if tree, _, err := Choose("", "x"+suffix, Facts{}); err != nil || tree.Name != "directory" {
				t.Errorf("x%s is %s, %v", suffix, tree.Name, err)
			}
		}
	}
	tar, err := Lookup("tar")
	if err == nil {
		err = tar.WriteDisk(t.Context(), nil, nil, qcow2.Options{})
	}
	if want := "write tar: it is no format of disks"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// A job's disk is written in every form; where the output is the disk, it is left alone.
func TestWriteDisks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	want := make([]byte, 1<<20)
	copy(want[600000:], "some data")
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	disk, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	whole, err := qcow2.Raw(disk)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range Disks() {
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		if err := f.Write(t.Context(), Job{Disk: whole, Out: out}); err != nil {
			t.Fatal(err)
		}
		got, err := openDisk(out)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(io.NewSectionReader(got, 0, got.Size()))
		if err != nil || !bytes.Equal(data, want) {
			t.Errorf("%s: %d bytes with other data, %v", f.Name, len(data), err)
		}
	}
	raw, err := Lookup("raw")
	if err == nil {
		err = raw.Write(t.Context(), Job{Disk: whole, Out: disk})
	}
	if err != nil || !bytes.Equal(read(t, path), want) {
		t.Errorf("the disk has changed by being written to itself, %v", err)
	}
}

func openDisk(f *os.File) (qcow2.Disk, error) {
	if d, err := qcow2.Open(f); err == nil {
		return d, nil
	}
	return qcow2.Raw(f)
}
