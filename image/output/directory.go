package output

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"vmbuild/rootfs/tree"
)

// writeDirectory copies the tree into a directory. If that fails, what was not in it before is removed again. Where the
// kernel refuses to make devices, which are real root's, they are left out.
func writeDirectory(ctx context.Context, j Job) (err error) {
	defer runtime.KeepAlive(j.Out) // what follows has its path only
	sweepBeside(j.Out)
	to := handlePath(j.Out)
	before, err := os.ReadDir(to)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, empty(to, before))
		}
	}()
	c := tree.Copier{From: j.Tree.Dir, To: to, SkipDevices: true, Merge: true}
	if err := j.walk(ctx, c.Add); err != nil {
		return err
	}
	return c.Close()
}

// empty removes what is in a directory, but for what was there before.
func empty(dir string, before []fs.DirEntry) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if !slices.ContainsFunc(before, func(b fs.DirEntry) bool { return b.Name() == e.Name() }) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}
