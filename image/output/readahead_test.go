package output

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vmbuild/rootfs/tree"
)

// filesOfSizes makes files in a directory, of which no two chunks are the same, and returns their entries and all their bytes.
func filesOfSizes(t *testing.T, dir string, sizes ...int) (entries []tree.Entry, all []byte) {
	t.Helper()
	for i, size := range sizes {
		e := tree.Entry{Path: fmt.Sprintf("/%d", i), Type: tree.File, Size: int64(size)}
		data := bytes.Repeat([]byte(fmt.Sprintf("%7d\n", i)), size/8+1)[:size]
		for at := 0; at < size; at += chunkSize {
			copy(data[at:], fmt.Sprint(at))
		}
		if err := os.WriteFile(filepath.Join(dir, e.Path), data, 0o644); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e, tree.Entry{Path: e.Path + ".link", Type: tree.File, Size: e.Size, HardLink: e.Path})
		all = append(all, data...)
	}
	return entries, all
}

func TestReadAhead(t *testing.T) {
	dir := t.TempDir()
	sizes := []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 3*chunkSize + 5, 0}
	for range 2 * chunksAhead {
		sizes = append(sizes, 100)
	}
	entries, want := filesOfSizes(t, dir, sizes...)
	r := newReadAhead(t.Context(), dir, entries)
	defer r.Close()
	var got bytes.Buffer
	for _, e := range entries {
		if e.HardLink != "" {
			continue
		}
		if err := r.copy(&got, e); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Error("other bytes are read")
	}
	if err := r.copy(&got, tree.Entry{Path: "/more", Size: 1}); err == nil || err.Error() != "no file is left to be read" {
		t.Errorf("behind the last: %v", err)
	}
}

func TestReadAheadErrors(t *testing.T) {
	for name, c := range map[string]struct {
		change func(path string) error
		want   string
	}{
		"shorter": {func(path string) error { return os.Truncate(path, 99) }, "/1 became shorter while it was read"},
		"gone":    {os.Remove, "no such file or directory"},
		"a link": {func(path string) error {
			return errors.Join(os.Remove(path), os.Symlink("0", path))
		}, "too many levels of symbolic links"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			entries, _ := filesOfSizes(t, dir, 100, 100, 100)
			if err := c.change(filepath.Join(dir, "1")); err != nil {
				t.Fatal(err)
			}
			r := newReadAhead(t.Context(), dir, entries)
			defer r.Close()
			var got bytes.Buffer
			if err := r.copy(&got, entries[0]); err != nil || got.Len() != 100 {
				t.Errorf("%d bytes, %v", got.Len(), err)
			}
			if err := r.copy(&got, entries[2]); err == nil || !strings.HasSuffix(err.Error(), c.want) {
				t.Errorf("error %v, want %s", err, c.want)
			}
			if err := r.copy(&got, entries[2]); err == nil || err.Error() != "/2 is to be read next, not /1" {
				t.Errorf("out of order: %v", err)
			}
		})
	}
}

// TestReadAheadIsEnded in the middle: whoever waits gets to know why, and nothing is left running.
func TestReadAheadIsEnded(t *testing.T) {
	dir := t.TempDir()
	entries, _ := filesOfSizes(t, dir, 3*chunksAhead*chunkSize/8, 100)
	ctx, cancel := context.WithCancelCause(t.Context())
	r := newReadAhead(ctx, dir, entries)
	why := errors.New("enough")
	cancel(why)
	var got bytes.Buffer
	for range 2 {
		if err := r.copy(&got, entries[2]); err == nil { // what had been read already may still come
			t.Error("it goes on")
		} else if !errors.Is(err, why) && !strings.HasPrefix(err.Error(), "/0 is to be read next") {
			t.Error(err)
		}
	}
	r.Close()
}
