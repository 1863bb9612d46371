package chroot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Tools is the Toolbox that a tools tree makes.
type Tools struct {
	Dir     string // the tree
	Options Options
}

// Enter implements Toolbox.
func (t Tools) Enter(ctx context.Context, binds ...Bind) (Runner, io.Closer, error) {
	o := t.Options
	o.Binds = slices.Concat(o.Binds, binds)
	r, err := EnterTools(ctx, t.Dir, o)
	if err != nil {
		return nil, nil, err
	}
	return r, r, nil
}

// EnterTools makes a root of its own, a tmpfs, in which the tools tree at dir can be seen but not changed, and enters
// it: usr, etc, and bin, sbin, lib… as links or directories are the tree's, read-only; /proc and /dev are as Enter makes
// them, /tmp and /var/tmp are empty; then come the binds, whose targets are made. Options.Network and
// Options.BlockDaemons mean nothing here. The same tree may be entered several times at once.
func EnterTools(ctx context.Context, dir string, o Options) (*Root, error) {
	tree, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("enter tools %q: %w", dir, err)
	}
	point, err := os.MkdirTemp(o.Temp, "vmbuild-tools-")
	if err != nil {
		return nil, fmt.Errorf("enter tools %q: %w", dir, err)
	}
	r, err := newRoot(ctx, point, o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("enter tools %q: %w", dir, err), os.Remove(point))
	}
	r.made = append(r.made, r.dir)
	if err := r.furnishTools(tree); err != nil {
		return nil, errors.Join(fmt.Errorf("enter tools %q: %w", dir, err), r.Close())
	}
	return r, nil
}

func (r *Root) furnishTools(tree string) error {
	if err := unix.Mount("tmpfs", r.dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount a tmpfs: %w", err)
	}
	// A bind of a directory that has the mount point in it does not show this root, neither in itself nor in another
	// root, which would keep it busy.
	if err := unix.Mount("", r.dir, "", unix.MS_UNBINDABLE, ""); err != nil {
		return fmt.Errorf("make the tmpfs unbindable: %w", err)
	}
	root, err := openDir(r.dir)
	if err != nil {
		return err
	}
	r.root.Close() // it is now below the tmpfs
	r.root = root
	for _, step := range []func() error{
		func() error { return r.showTools(tree) }, r.mountProc, r.mountDev, r.makeTemps, r.mountBinds,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// showTools makes the tree's top level directories and links visible, those that hold programs and their data. A tree
// that was unpacked but not configured may lack the links of merged /usr; they are made.
func (r *Root) showTools(tree string) error {
	entries, err := os.ReadDir(tree)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if name != "usr" && name != "etc" && !isMerged(name) {
			continue
		}
		source, target := filepath.Join(tree, name), filepath.Join(r.dir, name)
		if e.Type()&fs.ModeSymlink != 0 {
			link, err := os.Readlink(source)
			if err == nil {
				err = os.Symlink(link, target)
			}
			if err != nil {
				return err
			}
			continue
		}
		if err := os.Mkdir(target, 0o755); err != nil {
			return err
		}
		if err := r.bind(source, "/"+name, true); err != nil {
			return err
		}
	}
	return r.linkMerged(tree)
}

// isMerged says whether a top level name is one that merged /usr makes a link.
func isMerged(name string) bool {
	return name == "bin" || name == "sbin" || strings.HasPrefix(name, "lib")
}

func (r *Root) linkMerged(tree string) error {
	entries, err := os.ReadDir(filepath.Join(tree, "usr"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !isMerged(e.Name()) || e.Name() == "libexec" {
			continue
		}
		err := os.Symlink("usr/"+e.Name(), filepath.Join(r.dir, e.Name()))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

func (r *Root) makeTemps() error {
	for _, name := range []string{"tmp", "var/tmp"} {
		path := filepath.Join(r.dir, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(path, 0o777|fs.ModeSticky); err != nil {
			return err
		}
	}
	return nil
}
