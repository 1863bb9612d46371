package image

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"vmbuild/image/output"
)

// targets are the outputs of a build: its products in their order, then the lists of packages if they are wanted. They
// become visible when all of them are complete.
type targets struct {
	list  []output.Target
	paths []string
}

func openTargets(p *Plan) (*targets, error) {
	t := &targets{}
	for _, product := range p.Products {
		format, err := output.Lookup(product.Format)
		if err == nil {
			err = t.open(product.Path, format)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", product.Option, err), t.close())
		}
	}
	for _, path := range p.lists() {
		if err := t.open(path, output.Format{}); err != nil {
			return nil, errors.Join(fmt.Errorf("--pkglist: %w", err), t.close())
		}
	}
	return t, nil
}

func (t *targets) open(path string, f output.Format) error {
	target, err := output.Open(path, f)
	if err == nil {
		t.list, t.paths = append(t.list, target), append(t.paths, path)
	}
	return err
}

// lists are the paths of --pkglist: dpkg.list, as dpkg --list prints it, and a manifest with a name and a version in each
// line.
func (p *Plan) lists() []string {
	if !p.PkgList {
		return nil
	}
	first := filepath.Clean(p.Name())
	return []string{filepath.Join(filepath.Dir(first), "dpkg.list"), first + ".manifest"}
}

func (t *targets) handles() []*os.File {
	var files []*os.File
	for _, target := range t.list {
		files = append(files, target.Handle())
	}
	return files
}

// finish gives what was written its owner and its room on the disk, and syncs it.
func (t *targets) finish(p *Plan) error {
	for i, target := range t.list {
		if err := t.own(i, p); err != nil {
			return err
		}
		if i < len(p.Products) && p.Products[i].Format == rawDisk && p.Allocate {
			if err := unix.Fallocate(int(target.Handle().Fd()), 0, 0, p.Layout.Size); err != nil {
				return fmt.Errorf("--no-sparse: allocate %s: %w", t.paths[i], os.NewSyscallError("fallocate", err))
			}
		}
		if err := target.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// own gives an output to the owner that the plan names. The owners in a tree are the tree's.
func (t *targets) own(i int, p *Plan) error {
	if p.Owner == "" || i < len(p.Products) && p.Products[i].Format == plainTree {
		return nil
	}
	uid, gid, err := lookupOwner(p.Owner)
	if err != nil {
		return err
	}
	handle := t.list[i].Handle()
	if err := handle.Chown(uid, gid); err != nil {
		return fmt.Errorf("--owner=%s: %w", p.Owner, err)
	}
	if i >= len(p.Products) || p.Products[i].Format != liveTree {
		return nil
	}
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", handle.Fd()))
	if err != nil {
		return fmt.Errorf("--owner=%s: %w", p.Owner, err)
	}
	defer root.Close()
	return ownBelow(root, ".", uid, gid)
}

// ownBelow gives all that is in a directory to an owner; links are not followed.
func ownBelow(root *os.Root, dir string, uid, gid int) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	entries, err := d.ReadDir(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if err := root.Lchown(name, uid, gid); err != nil {
			return err
		}
		if e.IsDir() {
			if err := ownBelow(root, name, uid, gid); err != nil {
				return err
			}
		}
	}
	return nil
}

// lookupOwner finds a user's number and that of the user's own group.
func lookupOwner(name string) (uid, gid int, err error) {
	u, err := user.Lookup(name)
	if err == nil {
		uid, err = strconv.Atoi(u.Uid)
	}
	if err == nil {
		gid, err = strconv.Atoi(u.Gid)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("--owner=%s: %w", name, err)
	}
	return uid, gid, nil
}

// commit makes the outputs appear.
func (t *targets) commit(p *Plan) (*Result, error) {
	r := &Result{}
	for i, target := range t.list {
		info, err := target.Handle().Stat()
		if err != nil {
			return nil, err
		}
		if err := target.Commit(); err != nil {
			return nil, err
		}
		made := Output{Path: t.paths[i]}
		if info.Mode().IsRegular() {
			made.Size = info.Size()
		}
		r.Outputs = append(r.Outputs, made)
	}
	return r, nil
}

// close gives up what was not committed.
func (t *targets) close() error {
	var err error
	for _, target := range t.list {
		err = errors.Join(err, target.Close())
	}
	t.list = nil
	return err
}
