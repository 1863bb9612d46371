package tree

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// Directories calls fn for a directory and all that are below it, several at once and in no order, with its path and what is in it,
// by name. Links are not followed. The first error, of fn, of reading or of ctx, ends it.
func Directories(ctx context.Context, top string, fn func(dir string, entries []fs.DirEntry) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	var visit func(dir string) error
	visit = func(dir string) error {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		if err := fn(dir, entries); err != nil {
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
