package tree

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// newTree makes a small tree that needs no privileges.
func newTree(t *testing.T) *Tree {
	dir := t.TempDir()
	for _, d := range []string{"dev", "usr/bin", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "usr/bin/z"), []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.Link(filepath.Join(dir, "usr/bin/z"), filepath.Join(dir, "etc/same")),
		os.Symlink("usr/bin", filepath.Join(dir, "bin")),
		os.WriteFile(filepath.Join(dir, "dev/null"), nil, 0o600),
		os.Chmod(dir, 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return &Tree{Dir: dir, Devices: []Entry{
		{Path: "/dev/null", Type: CharDevice, Mode: 0o666, Major: 1, Minor: 3},
		{Path: "/dev/pts", Type: Directory, Mode: 0o755},
		{Path: "/dev/pts/0", Type: CharDevice, Mode: 0o620, GID: 5, Major: 136},
	}}
}

func TestWalkOrder(t *testing.T) {
	var got []string
	links := map[string]string{}
	err := newTree(t).Walk(func(e Entry) error {
		got = append(got, e.Path+" "+string(e.Type))
		if e.HardLink != "" {
			links[e.Path] = e.HardLink
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"/ dir", "/bin symlink", "/dev dir", "/dev/null char", "/dev/pts dir", "/dev/pts/0 char", "/etc dir",
		"/etc/same file", "/usr dir", "/usr/bin dir", "/usr/bin/z file",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"/usr/bin/z": "/etc/same"}, links); diff != "" {
		t.Error(diff)
	}
}

func TestWalkMissing(t *testing.T) {
	err := (&Tree{Dir: "/nonexistent"}).Walk(func(Entry) error { return nil })
	const want = `read tree "/nonexistent": lstat /nonexistent: no such file or directory`
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestListing(t *testing.T) {
	tree := newTree(t)
	got, err := Listing(tree)
	if err != nil {
		t.Fatal(err)
	}
	id := owner(t, tree.Dir)
	want := map[string]string{
		"/":          "dir 0755 " + id,
		"/bin":       "symlink 0777 " + id + " -> usr/bin",
		"/dev":       "dir 0755 " + id,
		"/dev/null":  "char 0666 0:0 1:3",
		"/dev/pts":   "dir 0755 0:0",
		"/dev/pts/0": "char 0620 0:5 136:0",
		"/etc":       "dir 0755 " + id,
		"/etc/same":  "file 0755 " + id + " 2d711642",
		"/usr":       "dir 0755 " + id,
		"/usr/bin":   "dir 0755 " + id,
		"/usr/bin/z": "file 0755 " + id + " 2d711642 = /etc/same",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestTarListing holds the same files in two orders: the listings are equal.
func TestTarListing(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []*tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./usr/bin/z", Typeflag: tar.TypeReg, Mode: 0o4755, Size: 1,
			PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b"}},
		{Name: "etc/same", Typeflag: tar.TypeLink, Linkname: "./usr/bin/z"},
		{Name: "bin", Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: "usr/bin"},
		{Name: "dev/sda", Typeflag: tar.TypeBlock, Mode: 0o660, Gid: 6, Devmajor: 8},
		{Name: "run/p", Typeflag: tar.TypeFifo, Mode: 0o600},
	} {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size == 1 {
			w.Write([]byte("x"))
		}
	}
	w.Close()
	got, err := TarListing(&b)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"/":          "dir 0755 0:0",
		"/usr/bin/z": "file 4755 0:0 2d711642 user.a=0x62 = /etc/same",
		"/etc/same":  "file 4755 0:0 2d711642 user.a=0x62",
		"/bin":       "symlink 0777 0:0 -> usr/bin",
		"/dev/sda":   "block 0660 0:6 8:0",
		"/run/p":     "fifo 0600 0:0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDiff(t *testing.T) {
	got := Diff(
		map[string]string{"/a": "file 0644 0:0 1", "/b": "dir 0755 0:0", "/d": "fifo 0600 0:0"},
		map[string]string{"/a": "file 0600 0:0 1", "/c": "dir 0755 0:0", "/d": "fifo 0600 0:0"})
	want := []string{
		"/a: file 0600 0:0 1, want file 0644 0:0 1",
		"/b: missing, want dir 0755 0:0",
		"/c: unwanted dir 0755 0:0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func owner(t *testing.T, dir string) string {
	e, err := (&walker{tree: &Tree{Dir: dir}}).read("/")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d:%d", e.UID, e.GID)
}
