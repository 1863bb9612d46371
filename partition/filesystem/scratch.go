package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/tree"
)

// scratch is a directory for programs that make filesystems only at the beginning of a file: they make it in one of its
// own there, and what they have written of it is copied to its place.
type scratch struct {
	dir   string   // on the host
	image *os.File // of j.Size bytes
}

const (
	scratchDir   = "/scratch" // where the toolbox sees it
	scratchImage = "image"
)

func newScratch(j Job) (_ *scratch, err error) {
	dir, err := os.MkdirTemp(j.Temp, "filesystem-")
	if err != nil {
		return nil, err
	}
	s := &scratch{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.image, err = os.Create(filepath.Join(dir, scratchImage)); err != nil {
		return nil, err
	}
	return s, s.image.Truncate(j.Size)
}

func (s *scratch) Close() error {
	var err error
	if s.image != nil {
		err = s.image.Close()
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// in is a path in the directory, as the toolbox sees it.
func (s *scratch) in(name string) string { return scratchDir + "/" + name }

func (s *scratch) bind() chroot.Bind { return chroot.Bind{Source: s.dir, Target: scratchDir} }

// enter calls fn with a runner for programs of the toolbox, which see the scratch directory and the binds.
func (s *scratch) enter(ctx context.Context, j Job, binds []chroot.Bind, fn func(chroot.Runner) error) (err error) {
	tools, leave, err := j.Toolbox.Enter(ctx, append([]chroot.Bind{s.bind()}, binds...)...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, leave.Close()) }()
	return fn(tools)
}

// copyTo copies the data of the image to its place on the disk. Holes stay holes.
func (s *scratch) copyTo(j Job) error {
	for at := int64(0); ; {
		data, err := unix.Seek(int(s.image.Fd()), at, unix.SEEK_DATA)
		if err == unix.ENXIO {
			return nil
		}
		if err != nil {
			return fmt.Errorf("look for data: %w", err)
		}
		if at, err = unix.Seek(int(s.image.Fd()), data, unix.SEEK_HOLE); err != nil {
			return fmt.Errorf("look for a hole: %w", err)
		}
		if err := copyRange(j.Disk, j.Offset+data, s.image, data, at-data); err != nil {
			return err
		}
	}
}

// copyRange copies n bytes. The kernel does it, where it can without reading them.
func copyRange(to *os.File, toAt int64, from *os.File, fromAt, n int64) error {
	if _, err := from.Seek(fromAt, io.SeekStart); err != nil {
		return err
	}
	if _, err := to.Seek(toAt, io.SeekStart); err != nil {
		return err
	}
	_, err := io.Copy(to, io.LimitReader(from, n))
	return err
}

// entries lists what the filesystem shall hold: paths are those within it, a mount point is an empty directory.
func (j Job) entries() ([]tree.Entry, error) {
	var entries []tree.Entry
	links := map[string]string{}
	err := j.Tree.Walk(func(e tree.Entry) error {
		below, ok := within(e.Path, j.Dir)
		if !ok || j.leftOut(e.Path) && !j.excluded(e.Path) {
			return nil
		}
		e.Path = "/" + below
		if e.ModTime.IsZero() {
			e.ModTime = j.Epoch
		}
		first, inside := within(e.HardLink, j.Dir)
		switch {
		case e.HardLink == "":
		case inside && !j.leftOut(e.HardLink):
			e.HardLink = "/" + first
		case links[e.HardLink] != "":
			e.HardLink = links[e.HardLink]
		default: // the other name is on another filesystem
			links[e.HardLink], e.HardLink = e.Path, ""
		}
		entries = append(entries, e)
		return nil
	})
	return entries, err
}

// onHost is where the content of an entry's file is.
func (j Job) onHost(e tree.Entry) string { return filepath.Join(j.Tree.Dir, j.Dir, e.Path) }
