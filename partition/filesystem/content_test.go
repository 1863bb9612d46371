package filesystem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vmbuild/rootfs/tree"
)

// stripes is a content of so many pieces and some bytes, in which every third block of a piece is zero, and every second
// piece is none.
type stripes struct {
	size int64
	fail error
}

func (s stripes) Size() int64 { return s.size }

func (s stripes) ReadAt(p []byte, at int64) (int, error) {
	for i := range p {
		p[i] = 0
		if (at+int64(i))/holeSize%3 != 0 && (at+int64(i))/pieceSize%2 == 0 {
			p[i] = byte(at + int64(i) + 1)
		}
	}
	return len(p), s.fail
}

func (s stripes) Data(_ context.Context, offset int64) (start, end int64, err error) {
	if piece := offset / pieceSize; piece%2 != 0 {
		offset = (piece + 1) * pieceSize
	}
	if offset >= s.size {
		return 0, 0, io.EOF
	}
	return offset, min(s.size, (offset/pieceSize+1)*pieceSize), nil
}

// What is written is the content, with holes for its zeroes, and nothing else of the disk changes.
func TestWriteContent(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := stripes{size: 5*pieceSize + 3*holeSize + 77}
	const offset = 1<<20 + 512*8
	if err := f.Truncate(offset + c.size + 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := writeContent(t.Context(), f, offset, c); err != nil {
		t.Fatal(err)
	}
	want := make([]byte, offset+c.size+1<<20)
	if _, err := c.ReadAt(want[offset:offset+c.size], 0); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("another content was written, %v", err)
	}
	if got, most := allocated(t, f), int64(2*pieceSize+20*holeSize); got > most {
		t.Errorf("%d bytes are allocated, want at most %d", got, most)
	}
}

func TestWriteContentErrors(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	failed := errors.New("a file became shorter")
	if err := writeContent(t.Context(), f, 0, stripes{20 * pieceSize, failed}); err != failed {
		t.Errorf("reading: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := writeContent(ctx, f, 0, stripes{size: 20 * pieceSize}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestExt4Errors(t *testing.T) {
	source := makeTree(t, map[string]string{"etc/x": "", "file": ""})
	for _, test := range []struct {
		dir, exclude string
		disable      []string
		size         int64
		want         string
	}{
		{"/", "/file", nil, 16 << 20, "leave out mount point /file: not a directory"},
		{"/", "/srv", nil, 16 << 20, "leave out mount point /srv: it is not there"},
		{"/", "", []string{"extent"}, 16 << 20, "lay out ext4: feature extent cannot be left out"},
		{"/nowhere", "", nil, 16 << 20, "lay out ext4: it has no root directory"},
		{"/", "", nil, 40 << 10, "lay out ext4: the files need 8192 bytes more than the 40960 have room for"},
	} {
		row, err := Lookup("ext4")
		if err != nil {
			t.Fatal(err)
		}
		j := Job{Size: test.size, UUID: testUUID, Dir: test.dir, Tree: source, Epoch: epoch, Disable: test.disable}
		if test.exclude != "" {
			j.Exclude = []string{test.exclude}
		}
		want := "make ext4 filesystem for " + test.dir + ": " + test.want
		if got := fmt.Sprint(row.Make(t.Context(), j)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if _, err := row.Plan(t.Context(), j); fmt.Sprint(err) != want {
			t.Errorf("planned: %v, want %s", err, want)
		}
	}
}

// The same tree gives the same bytes, whatever it is planned from: times, devices, mount points, and what has another name
// on another filesystem.
func TestExt4Same(t *testing.T) {
	var first []byte
	for range 2 {
		source := makeTree(t, map[string]string{"boot/efi/x": "x", "etc/y": strings.Repeat("y", 5000), "dev/": ""})
		if err := os.Link(filepath.Join(source.Dir, "boot/efi/x"), filepath.Join(source.Dir, "etc/same")); err != nil {
			t.Fatal(err)
		}
		source.Devices = tree.StandardDevices()
		row, err := Lookup("ext4")
		if err != nil {
			t.Fatal(err)
		}
		c, err := row.Plan(t.Context(), Job{
			Size: 16 << 20, UUID: testUUID, Tree: source, Dir: "/", Exclude: []string{"/boot/efi"}, Epoch: epoch,
		})
		if err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && !bytes.Equal(first, all) {
			t.Error("the filesystem has other bytes the second time")
		}
		first = all
	}
}
