package disk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// memory is a filesystem in memory, of which the second half is zero.
type memory []byte

func (m memory) Size() int64 { return int64(len(m)) }

func (m memory) ReadAt(p []byte, at int64) (int, error) { return bytes.NewReader(m).ReadAt(p, at) }

func (m memory) Data(_ context.Context, offset int64) (start, end int64, err error) {
	if offset >= int64(len(m)/2) {
		return 0, 0, io.EOF
	}
	return offset, int64(len(m) / 2), nil
}

func random(size int) memory {
	m := make(memory, size)
	for i := range m[:size/2] {
		m[i] = byte(rand.Uint32()) | 1
	}
	return m
}

const (
	size        = 1 << 20
	firstStart  = 512 * 3
	secondStart = 300000 / 512 * 512
)

func newDisk(t *testing.T) (*Disk, *os.File) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	d, err := New(f, size)
	if err != nil {
		t.Fatal(err)
	}
	return d, f
}

// The disk is what it would be if all were written to one file, however it is written and read.
func TestDisk(t *testing.T) {
	d, _ := newDisk(t)
	want := make([]byte, size)
	put := func(start int64, m memory) {
		d.Put(start, m)
		copy(want[start:], m)
	}
	put(secondStart, random(100000))
	put(firstStart, random(200000))
	for _, w := range []struct {
		at     int64
		length int
	}{
		{0, 440}, {firstStart, 512}, {firstStart + 4000, 200}, {firstStart - 100, 9000}, {secondStart - 10, 100020},
		{firstStart + 150001, 7}, {firstStart + 199999, 3}, {size - 7, 7}, {secondStart + 90000, 1}, {firstStart, 1},
	} {
		p := random(2 * w.length)[:w.length]
		if n, err := d.WriteAt(p, w.at); n != len(p) || err != nil {
			t.Fatalf("%d bytes of %d written, %v", n, len(p), err)
		}
		copy(want[w.at:], p)
	}
	got, err := io.ReadAll(io.NewSectionReader(d, 0, d.Size()))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the whole disk: %d bytes with other content, %v", len(got), err)
	}
	for range 200 {
		at := rand.Int64N(size)
		got := make([]byte, 1+rand.Int64N(size-at))
		if n, err := d.ReadAt(got, at); n != len(got) || err != nil {
			t.Fatalf("%d bytes of %d at %d, %v", n, len(got), at, err)
		}
		if !bytes.Equal(got, want[at:at+int64(len(got))]) {
			t.Fatalf("%d bytes at %d have other content", len(got), at)
		}
	}
	if n, err := d.ReadAt(make([]byte, 10), size-4); n != 4 || err != io.EOF {
		t.Errorf("at the end: %d bytes, %v", n, err)
	}
	checkData(t, d, want)
}

// checkData makes sure that what is in no range of data is zero.
func checkData(t *testing.T, d *Disk, want []byte) {
	t.Helper()
	next := int64(0)
	for {
		start, end, err := d.Data(t.Context(), next)
		if err == io.EOF {
			break
		}
		if err != nil || start < next || end <= start || end > size {
			t.Fatal(start, end, err)
		}
		if len(bytes.Trim(want[next:start], "\x00")) > 0 {
			t.Errorf("%d to %d is no data", next, start)
		}
		next = end
	}
	if len(bytes.Trim(want[next:], "\x00")) > 0 {
		t.Errorf("from %d on is no data", next)
	}
}

// What is over a content, or under none, is told from holes.
func TestData(t *testing.T) {
	d, f := newDisk(t)
	if _, _, err := d.Data(t.Context(), 0); err != io.EOF {
		t.Errorf("an empty disk: %v", err)
	}
	d.Put(128<<10, random(256<<10))
	if _, err := d.WriteAt([]byte("x"), 128<<10+200<<10); err != nil { // behind the content's data
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("x"), 800<<10); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ at, start, end int64 }{
		{0, 128 << 10, 256 << 10},
		{200 << 10, 200 << 10, 256 << 10},
		{256 << 10, 328 << 10, 332 << 10},
		{332 << 10, 800 << 10, 804 << 10},
	} {
		start, end, err := d.Data(t.Context(), test.at)
		if start != test.start || end != test.end || err != nil {
			t.Errorf("from %d on: %d to %d, %v, want %d to %d", test.at, start, end, err, test.start, test.end)
		}
	}
	if _, _, err := d.Data(t.Context(), 900<<10); err != io.EOF {
		t.Errorf("behind all of it: %v", err)
	}
}

// broken is a filesystem whose tree has changed.
type broken struct{ memory }

var errChanged = errors.New("a file became shorter")

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errChanged }

func (broken) Data(context.Context, int64) (start, end int64, err error) { return 0, 0, errChanged }

func TestErrors(t *testing.T) {
	d, _ := newDisk(t)
	d.Put(4096, broken{make(memory, 8192)})
	if n, err := d.ReadAt(make([]byte, 10000), 0); n != 4096 || err != errChanged {
		t.Errorf("reading: %d bytes, %v", n, err)
	}
	if n, err := d.WriteAt(make([]byte, 10000), 0); n != 4096 || err != errChanged {
		t.Errorf("writing: %d bytes, %v", n, err)
	}
	if _, _, err := d.Data(t.Context(), 0); err != errChanged {
		t.Errorf("looking for data: %v", err)
	}
}
