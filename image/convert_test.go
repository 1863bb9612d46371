package image

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/image/output"
	"vmbuild/rootfs"
	"vmbuild/rootfs/offers"
)

// convertible returns a directory with a raw disk, a.img, and its content.
func convertible(t *testing.T) (dir string, disk []byte) {
	t.Helper()
	dir, disk = t.TempDir(), make([]byte, 1<<20)
	copy(disk, "boot code")
	copy(disk[500000:], strings.Repeat("data ", 1000))
	if err := os.WriteFile(filepath.Join(dir, "a.img"), disk, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, disk
}

// filesIn lists a directory.
func filesIn(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// A disk goes through every form and stays what it is; what was in the way is replaced.
func TestConvert(t *testing.T) {
	dir, disk := convertible(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("c.qcow2"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	var last rootfs.Event
	for _, o := range []ConvertOptions{
		{In: at("a.img"), Out: at("b.qcow2")},
		{In: at("b.qcow2"), Out: at("c.qcow2"), Compression: "zlib"},
		{In: at("c.qcow2"), Out: at("d"), Format: "qcow2", Compression: "zstd"},
		{In: at("d"), Out: at("e.raw"), Compression: "none"},
		{In: at("e.raw"), Out: at("f"), Format: "raw"},
	} {
		o.Event = func(e rootfs.Event) { last = e }
		if err := Convert(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(at("f"))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(disk) {
		t.Errorf("the last of %q has %d bytes with other data", filesIn(t, dir), len(got))
	}
	want := rootfs.Event{Stage: "convert", Done: 1 << 20, Total: 1 << 20, Unit: rootfs.Bytes}
	if d := cmp.Diff(want, last); d != "" {
		t.Error(d)
	}
}

func TestConvertRefuses(t *testing.T) {
	dir, _ := convertible(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.Symlink("a.img", at("link.img")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(at("dir.img"), 0o700); err != nil {
		t.Fatal(err)
	}
	header := make([]byte, 512)
	copy(header, "QFI\xfb\x00\x00\x00\x01")
	for name, content := range map[string]string{
		"v1.qcow2": string(header), "x.vmdk": "KDMV" + strings.Repeat("\x00", 600), "cut.qcow2": "QFI\xfb", "empty.img": "",
	} {
		if err := os.WriteFile(at(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := filesIn(t, dir)
	for _, test := range []struct {
		o     ConvertOptions
		usage bool
		want  string
	}{
		{ConvertOptions{In: "a.img", Out: "b.vmdk"}, true, `--format: the name of "DIR/b.vmdk" ends in none of .img, .raw, .qcow2, which would say what it is`},
		{ConvertOptions{In: "a.img", Out: "b", Format: "tar"}, true, `--format: format "tar" is not one of raw, qcow2`},
		{ConvertOptions{In: "a.img", Out: "b.raw", Compression: "zstd"}, true, "--compression=zstd: a raw image is not compressed"},
		{ConvertOptions{In: "a.img", Out: "b.qcow2", Compression: "xz"}, true, `--compression=xz: qcow2 compression "xz" is not one of none, zlib, zstd`},
		{ConvertOptions{In: "a.img", Out: "a.img"}, true, "DIR/a.img and DIR/a.img are the same file: name another one to write"},
		{ConvertOptions{In: "a.img", Out: "link.img", Format: "qcow2"}, true, "DIR/a.img and DIR/link.img are the same file: name another one to write"},
		{ConvertOptions{In: "none", Out: "b.img"}, false, "open image: open DIR/none: no such file or directory"},
		{ConvertOptions{In: "dir.img", Out: "b.img"}, false, `open disk "DIR/dir.img": it is neither a file nor a block device`},
		{ConvertOptions{In: "v1.qcow2", Out: "b.img"}, false, `open qcow2 "DIR/v1.qcow2": it is a qcow of version 1: only 2 and 3 can be read`},
		{ConvertOptions{In: "cut.qcow2", Out: "b.img"}, false, `open qcow2 "DIR/cut.qcow2": it has no qcow2 header`},
		{ConvertOptions{In: "x.vmdk", Out: "b.img"}, false, `open image "DIR/x.vmdk": it is a vmdk image: only raw and qcow2 can be read`},
		{ConvertOptions{In: "empty.img", Out: "b.qcow2"}, false, "convert DIR/empty.img: write qcow2: the disk has 0 bytes"},
		{ConvertOptions{In: "a.img", Out: "dir.img"}, false, "create output DIR/dir.img: it is there and is not a regular file"},
		{ConvertOptions{In: "a.img", Out: "no/b.img"}, false, "create output DIR/no/b.img: open DIR/no: no such file or directory"},
	} {
		test.o.In, test.o.Out = at(test.o.In), at(test.o.Out)
		err := Convert(t.Context(), test.o)
		var refused *RefusedError
		if want := strings.ReplaceAll(test.want, "DIR", dir); err == nil || err.Error() != want || errors.As(err, &refused) != test.usage {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if d := cmp.Diff(before, filesIn(t, dir)); d != "" {
		t.Errorf("something was left or taken: %s", d)
	}
}

// An image that cannot be read to its end leaves nothing, and what was there stays.
func TestConvertFails(t *testing.T) {
	dir, _ := convertible(t)
	in, out := filepath.Join(dir, "b.qcow2"), filepath.Join(dir, "c.img")
	if err := Convert(t.Context(), ConvertOptions{In: filepath.Join(dir, "a.img"), Out: in}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Truncate(in, 5<<16), os.WriteFile(out, []byte("old"), 0o600)); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(in, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{0x7f}, 3<<16+5); err != nil { // where the first cluster is
		t.Fatal(err)
	}
	err = Convert(t.Context(), ConvertOptions{In: in, Out: out})
	if want := "convert " + in + ": write raw: read byte 0 of the disk: the file is cut off or damaged"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if got, err := os.ReadFile(out); err != nil || string(got) != "old" {
		t.Errorf("what was there is %q, %v", got, err)
	}
	if d := cmp.Diff([]string{"a.img", "b.qcow2", "c.img"}, filesIn(t, dir)); d != "" {
		t.Error(d)
	}
}

// QEMU finds in every form what was in the first.
func TestConvertForeign(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "qemu-img")
	dir, _ := convertible(t)
	in := filepath.Join(dir, "a.img")
	for _, f := range output.Disks() {
		out := filepath.Join(dir, "b"+f.Suffixes[0])
		if err := Convert(t.Context(), ConvertOptions{In: in, Out: out}); err != nil {
			t.Fatal(err)
		}
		if said, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", f.Name, in, out).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, said)
		}
	}
}
