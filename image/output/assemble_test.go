package output

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
)

// fileOf makes a file of so many bytes in a directory, of which no two segments are the same, and returns its path and bytes.
func fileOf(t *testing.T, dir string, number, size int) (path string, data []byte) {
	t.Helper()
	path = fmt.Sprintf("/%d", number)
	data = bytes.Repeat([]byte(fmt.Sprintf("%7d\n", number)), size/8+1)[:size]
	for at := 0; at < size; at += segmentSize {
		copy(data[at:], fmt.Sprint(at))
	}
	if err := os.WriteFile(filepath.Join(dir, path), data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path, data
}

// assemble writes what add says that a stream consists of.
func assemble(ctx context.Context, dir string, w io.Writer, add func(*assembler) error) error {
	a, err := newAssembler(ctx, dir, w)
	if err != nil {
		return err
	}
	return a.close(add(a))
}

func TestAssemble(t *testing.T) {
	dir := t.TempDir()
	sizes := []int{0, 1, segmentSize - 1, segmentSize, segmentSize + 1, 3*segmentSize + 5, 0}
	for range 2 * segmentsAhead {
		sizes = append(sizes, segmentSize/2+100)
	}
	var want []byte
	var paths []string
	for i, size := range sizes {
		path, data := fileOf(t, dir, i, size)
		paths = append(paths, path)
		want = append(want, path...)
		want = append(want, data...)
	}
	long := bytes.Repeat([]byte("long"), segmentSize)
	want = append(want, long...)
	add := func(a *assembler) error {
		for i, path := range paths {
			if err := errors.Join(a.add([]byte(path)), a.addFile(path, int64(sizes[i]))); err != nil {
				return err
			}
		}
		return a.add(long)
	}
	for name, c := range map[string]struct {
		flags int
		first string // what is in the file before
		plain bool
	}{
		"file":      {0, "", true},
		"goes on":   {0, "before", true},
		"at an end": {os.O_APPEND, "before", false},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := os.OpenFile(filepath.Join(t.TempDir(), "out"), os.O_CREATE|os.O_RDWR|c.flags, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if got := isPlain(f); got != c.plain {
				t.Errorf("isPlain is %v", got)
			}
			_, err = f.WriteString(c.first)
			err = errors.Join(err, assemble(t.Context(), dir, f, add))
			if _, more := f.WriteString("after"); err != nil || more != nil {
				t.Fatal(err, more)
			}
			if got := read(t, f.Name()); !bytes.Equal(got, []byte(c.first+string(want)+"after")) {
				t.Errorf("%d other bytes are written", len(got))
			}
		})
	}
	t.Run("stream", func(t *testing.T) {
		var got bytes.Buffer
		if err := assemble(t.Context(), dir, &got, add); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%d other bytes are written, %v", got.Len(), err)
		}
	})
}

// TestAssembleErrors: whatever goes wrong ends the stream with its reason, not with what came of that.
func TestAssembleErrors(t *testing.T) {
	full := errors.New("no room")
	ended := errors.New("ended")
	for name, c := range map[string]struct {
		change func(path string) error
		add    error
		write  error
		want   string
	}{
		"shorter": {change: func(path string) error { return os.Truncate(path, 99) }, want: "/1 became shorter while it was read"},
		"gone":    {change: os.Remove, want: "no such file or directory"},
		"a link": {change: func(path string) error {
			return errors.Join(os.Remove(path), os.Symlink("0", path))
		}, want: "too many levels of symbolic links"},
		"nothing more to say": {add: ended, want: "ended"},
		"cannot be written":   {write: full, want: "no room"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for i := range 3 {
				fileOf(t, dir, i, 100)
			}
			if c.change != nil {
				if err := c.change(filepath.Join(dir, "1")); err != nil {
					t.Fatal(err)
				}
			}
			add := func(a *assembler) error {
				for range 100 * segmentSize / 300 { // more than waits
					for _, path := range []string{"/0", "/1", "/2"} {
						if err := a.addFile(path, 100); err != nil {
							return err
						}
					}
				}
				return c.add
			}
			err := assemble(t.Context(), dir, failingWriter{c.write}, add)
			if err == nil || !strings.HasSuffix(err.Error(), c.want) {
				t.Errorf("stream: error %v, want %s", err, c.want)
			}
			if c.write != nil {
				return
			}
			f, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := assemble(t.Context(), dir, f, add); err == nil || !strings.HasSuffix(err.Error(), c.want) {
				t.Errorf("file: error %v, want %s", err, c.want)
			}
		})
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write(p []byte) (int, error) { return len(p), w.err }

// TestAssembleIsEnded in the middle: whoever says more gets to know why, and nothing is left running.
func TestAssembleIsEnded(t *testing.T) {
	dir := t.TempDir()
	path, _ := fileOf(t, dir, 0, 100)
	why := errors.New("enough")
	for _, out := range []string{"stream", "file"} {
		t.Run(out, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			var w io.Writer = io.Discard
			if out == "file" {
				f, err := os.Create(filepath.Join(t.TempDir(), out))
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				w = f
			}
			err := assemble(ctx, dir, w, func(a *assembler) error {
				for n := 0; ; n++ {
					if n == 10*segmentSize/100 {
						cancel(why)
					}
					if err := a.addFile(path, 100); err != nil {
						return err
					}
				}
			})
			if !errors.Is(err, why) {
				t.Errorf("error %v, want %v", err, why)
			}
		})
	}
}
