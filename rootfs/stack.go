package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/suite"
)

// Stack is a writable tree over a layer of the cache, which stays as it is. Where the kernel refuses overlayfs it is a
// copy of the layer.
type Stack struct {
	Dir      string // the tree
	RootType string // file system that it will be on, whose fsck the initramfs shall have; empty: it is not known
	upper    string // what differs from the layer, in overlayfs's form; Dir itself where it is a copy
	base     *Base  // nil: none
	epoch    time.Time
	skip     []string
	arch     string // Debian's name, where a layer is below
	mount    bool
	plain    *plainModules // of its kernels; nil: there are none
}

// Stack lays a writable tree over a base. Its own files are below work, an empty directory.
func (b *Builder) Stack(base *Base, work string) (*Stack, error) {
	s := &Stack{
		Dir: filepath.Join(work, "tree"), upper: filepath.Join(work, "upper"), base: base,
		epoch: base.Epoch, skip: base.skip, arch: base.arch, mount: true, plain: base.plain,
	}
	scratch := filepath.Join(work, "overlay")
	for _, dir := range []string{s.Dir, s.upper, scratch} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, fmt.Errorf("lay a tree over the base: %w", err)
		}
	}
	err := chroot.Overlay(base.Dirs, s.upper, scratch, s.Dir)
	if errors.Is(err, chroot.ErrNoOverlay) {
		s.upper, s.mount = s.Dir, false
		err = copyBase(base, s.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("lay a tree over the base: %w", err)
	}
	return s, nil
}

// Fresh makes the tree of a Lock's packages in the directory dir, which is there, for a caller with something to do between
// the steps. It is no layer and has none below it. Where Skeleton was called for dir, its files are kept.
func (b *Builder) Fresh(ctx context.Context, l *Lock, dir string, s Steps) (*Stack, error) {
	from := &source{builder: b, lock: l}
	defer from.Close()
	if err := b.fill(ctx, l, dir, s, from); err != nil {
		return nil, fmt.Errorf("make tree: %w", err)
	}
	return &Stack{Dir: dir, upper: dir, epoch: l.clamp(), skip: l.Skip, plain: from.plain()}, nil
}

// Skeleton makes in the directory dir, which is there, what a Spec has there before the first package.
func (b *Builder) Skeleton(s Spec, dir string) error {
	if Skips(s.Skip, skipSkeleton) {
		return nil
	}
	release, err := suite.Lookup(s.Suite)
	return makeSkeleton(dir, &Lock{
		Arch: s.Arch, Foreign: s.Foreign, Files: s.Files, MergeUsr: err == nil && release.SplitBins && !s.SplitUsr,
	})
}

// Epoch is the time that no file of the tree is younger than, once it is finished.
func (s *Stack) Epoch() time.Time { return s.epoch }

// Close unmounts the tree.
func (s *Stack) Close() error {
	if !s.mount {
		return nil
	}
	s.mount = false
	if err := unix.Unmount(s.Dir, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the tree: %w", err)
	}
	return nil
}
