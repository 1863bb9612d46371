package live

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/tree"
)

// tarball makes an archive whose files are their owner's who runs the test.
func tarball(t *testing.T, members ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range members {
		h.Uid, h.Gid, h.ModTime = os.Getuid(), os.Getgid(), newYear
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		h.Format = tar.FormatPAX
		content := ""
		if h.Typeflag == tar.TypeReg {
			content = "content"
			h.Size = int64(len(content))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unpacked(t *testing.T, archive []byte) (*tree.Tree, time.Time, string, error) {
	t.Helper()
	above := t.TempDir()
	name := filepath.Join(above, "x.tar")
	if err := os.WriteFile(name, archive, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	made, newest, err := unpackSource(t.Context(), f, filepath.Join(above, "tree"), plainTar)
	return made, newest, above, err
}

func TestUnpackSource(t *testing.T) {
	good := tarball(t,
		tar.Header{Typeflag: tar.TypeDir, Name: "./"},
		tar.Header{Typeflag: tar.TypeDir, Name: "./dev/"},
		tar.Header{Typeflag: tar.TypeChar, Name: "./dev/null", Mode: 0o600, Devmajor: 1, Devminor: 5}, // the later one counts
		tar.Header{Typeflag: tar.TypeChar, Name: "./dev/null", Mode: 0o666, Devmajor: 1, Devminor: 3},
		tar.Header{Typeflag: tar.TypeBlock, Name: "./dev/sda", Mode: 0o660, Devmajor: 8},
		tar.Header{Typeflag: tar.TypeReg, Name: "./usr/bin/su", Mode: 0o4755, PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"}},
		tar.Header{Typeflag: tar.TypeLink, Name: "./usr/bin/us", Linkname: "./usr/bin/su"},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "./bin", Linkname: "/usr/bin"},
		tar.Header{Typeflag: tar.TypeReg, Name: "./bin/sh"}, // by way of a link that leads out of the directory
		tar.Header{Typeflag: tar.TypeFifo, Name: "/run/x"},
	)
	own := fmt.Sprintf(" %d:%d", os.Getuid(), os.Getgid())
	want := map[string]string{
		"/":           "dir 0755" + own,
		"/bin":        "symlink 0777" + own + " -> /usr/bin",
		"/dev":        "dir 0755" + own,
		"/dev/null":   "char 0666" + own + " 1:3",
		"/dev/sda":    "block 0660" + own + " 8:0",
		"/run":        "dir 0755" + own,
		"/run/x":      "fifo 0755" + own,
		"/usr":        "dir 0755" + own,
		"/usr/bin":    "dir 0755" + own,
		"/usr/bin/sh": "file 0755" + own + " ed7002b4",
		"/usr/bin/su": "file 4755" + own + " ed7002b4 user.x=0x79",
		"/usr/bin/us": "file 4755" + own + " ed7002b4 user.x=0x79 = /usr/bin/su",
	}
	for name, archive := range map[string][]byte{"plain": good, "gzip": gzipped(t, good), "zstd": zstandard(t, good)} {
		made, newest, _, err := unpacked(t, archive)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := tree.Listing(made)
		if err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if len(made.Devices) != 2 {
			t.Errorf("%s: the devices are %+v", name, made.Devices)
		}
		if !newest.Equal(newYear) {
			t.Errorf("%s: the newest is of %v", name, newest)
		}
	}
}

// TestUnpackHostile: what is broken or wants to be somewhere else is an error, and nothing is written outside.
func TestUnpackHostile(t *testing.T) {
	file := tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd"}
	good := tarball(t, file, file, file)
	for name, test := range map[string]struct {
		archive []byte
		want    string
	}{
		"dots":        {tarball(t, tar.Header{Typeflag: tar.TypeReg, Name: "../evil"}), `unpack archive: unpack ../evil: the name has a ".."`},
		"link inside": {tarball(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "up", Linkname: "../.."}, tar.Header{Typeflag: tar.TypeReg, Name: "up/evil"}), ""},
		"hard link": {
			tarball(t, tar.Header{Typeflag: tar.TypeLink, Name: "evil", Linkname: "../x.tar"}),
			`unpack archive: unpack evil: the name has a ".."`,
		},
		"cut in a member":      {good[:515], "unpack archive: unpack etc/passwd: unexpected EOF"},
		"cut between members":  {good[:2048], "the archive lacks its end: it was cut off, or is none"},
		"empty":                {nil, "the archive lacks its end: it was cut off, or is none"},
		"text":                 {[]byte(strings.Repeat("no archive ", 100)), "unpack archive: it is not a tar archive, or a damaged or compressed one"},
		"gzip cut off":         {gzipped(t, good)[:40], "unpack archive: it is not a tar archive, or a damaged or compressed one"},
		"gzip without its sum": {gzipped(t, good)[:len(gzipped(t, good))-4], "unexpected EOF"},
	} {
		_, _, above, err := unpacked(t, test.archive)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, test.want)
		}
		if _, err := os.Lstat(filepath.Join(above, "evil")); err == nil {
			t.Errorf("%s: there is a file beside the tree", name)
		}
	}
}

func TestReadTree(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, at := range map[string]time.Time{"a": newYear.Add(time.Hour), "b": newYear, "": newYear} {
		if err := os.Chtimes(filepath.Join(dir, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	_, newest, err := readTree(t.Context(), dir)
	if err != nil || !newest.Equal(newYear.Add(time.Hour)) {
		t.Errorf("%v, %v", newest, err)
	}
	if err := os.Chmod(filepath.Join(dir, "b"), 0); err != nil {
		t.Fatal(err)
	}
	const want = "/b: permission denied: run vmbuild as root, or give it a tarball of the tree"
	if _, _, err := readTree(t.Context(), dir); os.Getuid() != 0 && (err == nil || !strings.HasSuffix(err.Error(), want)) {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestSquashRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "tree/etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("tree", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ source, dir, want string }{
		{"tree", "live", ""},
		{"tree", "tree2", ""},
		{"none.tar", "live", "source: stat DIR/none.tar: no such file or directory"},
		{"tree", "tree", "target DIR/tree lies in the tree DIR/tree: name one outside of it"},
		{"tree", "tree/live", "target DIR/tree/live lies in the tree DIR/tree: name one outside of it"},
		{"link", "tree/etc/live", "target DIR/tree/etc/live lies in the tree DIR/link: name one outside of it"},
		{"tree", "link/live", "target DIR/link/live lies in the tree DIR/tree: name one outside of it"},
	} {
		o := SquashOptions{Source: filepath.Join(dir, test.source), Dir: filepath.Join(dir, test.dir)}
		f, err := o.open()
		got := ""
		if err != nil {
			got = strings.ReplaceAll(err.Error(), dir, "DIR")
		} else {
			f.Close()
		}
		if got != test.want {
			t.Errorf("%s into %s:\n got %s\nwant %s", test.source, test.dir, got, test.want)
		}
	}
	o := SquashOptions{Source: os.DevNull}
	if _, err := o.open(); err == nil || err.Error() != "source /dev/null is neither a tarball nor a directory" {
		t.Error(err)
	}
}
