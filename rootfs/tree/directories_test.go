package tree

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestDirectories(t *testing.T) {
	top := t.TempDir()
	for _, name := range []string{"a/b/c", "a/d", "e"} {
		if err := os.MkdirAll(filepath.Join(top, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"file", "a/b/file", "a/b/another"} {
		if err := os.WriteFile(filepath.Join(top, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("..", top+"/a/d/link"); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	got := map[string]string{}
	err := Directories(t.Context(), top, func(dir *os.File, entries []fs.DirEntry) error {
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		mu.Lock()
		defer mu.Unlock()
		got[strings.TrimPrefix(dir.Name(), top)] += strings.Join(names, " ")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"": "a e file", "/a": "b d", "/a/b": "another c file", "/a/b/c": "", "/a/d": "link", "/e": ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	wrong := errors.New("no")
	err = Directories(t.Context(), top, func(dir *os.File, _ []fs.DirEntry) error {
		if dir.Name() == top+"/a/b" {
			return wrong
		}
		return nil
	})
	if !errors.Is(err, wrong) {
		t.Errorf("an error of the function: %v", err)
	}
	nothing := func(*os.File, []fs.DirEntry) error { return nil }
	if err := Directories(t.Context(), top+"/none", nothing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such directory: %v", err)
	}
	if err := Directories(t.Context(), top+"/a/d/link", nothing); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a link: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Directories(ctx, top, nothing); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
}
