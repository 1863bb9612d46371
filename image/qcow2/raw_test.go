package qcow2

import (
	"bytes"
	"io"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// anyDisk hides what a disk is made of.
type anyDisk struct{ Disk }

// What the kernel copies and what is copied by hand is the same, with no less holes.
func TestCopyRaw(t *testing.T) {
	for _, d := range disks {
		source := d.write(t)
		for name, from := range map[string]Disk{"kernel": rawOf(t, source), "hand": anyDisk{rawOf(t, source)}} {
			out := newFile(t)
			if err := WriteRaw(t.Context(), out, from, nil); err != nil {
				t.Fatal(err)
			}
			if err := sameData(rawOf(t, source), rawOf(t, out)); err != nil || sizeOf(t, out) != d.size {
				t.Errorf("%s by %s: %d bytes, want %d; %v", d.name, name, sizeOf(t, out), d.size, err)
			}
			if got, most := blocks(t, out), blocks(t, source); got > most {
				t.Errorf("%s by %s: it takes %d bytes, and its source %d", d.name, name, 512*got, 512*most)
			}
		}
	}
}

func blocks(t *testing.T, f *os.File) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks
}

// A disk that is written to its own file stays: nothing is written, which this one would not allow.
func TestCopyToItself(t *testing.T) {
	source := disks[1].write(t)
	want := content(t, source)
	again, err := os.Open(source.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := WriteRaw(t.Context(), again, rawOf(t, source), nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, content(t, source)) {
		t.Error("it has changed")
	}
}

// writes keeps where something is written.
type writes struct{ got [][2]int64 }

func (w *writes) WriteAt(p []byte, offset int64) (int, error) {
	w.got = append(w.got, [2]int64{offset, int64(len(p))})
	return len(p), nil
}

func TestWriteSparse(t *testing.T) {
	data := make([]byte, 5*block+100)
	for _, at := range []int{block, 2*block + 5, 4*block - 1, 5*block + 99} {
		data[at] = 1
	}
	var w writes
	if err := writeSparse(&w, data, 1<<20); err != nil {
		t.Fatal(err)
	}
	want := [][2]int64{{1<<20 + block, 3 * block}, {1<<20 + 5*block, 100}}
	if d := cmp.Diff(want, w.got); d != "" {
		t.Error(d)
	}
}

func TestRawRefuses(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		dir:         `open disk "` + dir + `": it is neither a file nor a block device`,
		"/dev/null": `open disk "/dev/null": it is neither a file nor a block device`,
	} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Raw(f); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
		f.Close()
	}
}

// A disk that has become shorter is not taken for one with zeroes at its end.
func TestShortDisk(t *testing.T) {
	f := disks[1].write(t)
	d := rawOf(t, f)
	if err := f.Truncate(1000); err != nil {
		t.Fatal(err)
	}
	want := "the disk ends at 1000 bytes, 1047576 short of its size"
	if err := read(d, make([]byte, 4096), 0); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if _, _, err := d.Data(t.Context(), 2000); err != io.EOF {
		t.Errorf("data after the end: %v", err)
	}
}
