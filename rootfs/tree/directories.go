package tree

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Directories calls fn for a directory and all that are below it, several at once and in no order, with what is in it, by name.
// Links are not followed. The first error, of fn, of reading or of ctx, ends it.
func Directories(ctx context.Context, top string, fn func(dir *os.File, entries []fs.DirEntry) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	var visit func(dir string) error
	visit = func(dir string) error {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		entries, err := readDirectory(dir, fn)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !e.IsDir() {
				continue
			}
			below := filepath.Join(dir, e.Name())
			if group.TryGo(func() error { return visit(below) }) {
				continue
			}
			if err := visit(below); err != nil {
				return err
			}
		}
		return nil
	}
	group.Go(func() error { return visit(top) })
	return group.Wait()
}

func readDirectory(dir string, fn func(*os.File, []fs.DirEntry) error) ([]fs.DirEntry, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, fn(f, entries)
}
