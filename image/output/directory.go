package output

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"

	"vmbuild/rootfs/tree"
)

// writeDirectory copies the tree into a directory that holds nothing but perhaps lost+found, and empties it again if
// that fails. Where the kernel refuses to make devices, which are real root's, they are left out.
func writeDirectory(ctx context.Context, j Job) (err error) {
	defer runtime.KeepAlive(j.Out) // what follows has its path only
	sweepBeside(j.Out)
	to := handlePath(j.Out)
	entries, err := j.entries(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, empty(to))
		}
	}()
	c := tree.Copier{From: j.Tree.Dir, To: to, SkipDevices: true}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.Add(e); err != nil {
			return err
		}
	}
	return c.Close()
}

// empty removes what is in a directory.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.Name() != lostFound {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}
