package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"vmbuild/rootfs/chroot"
)

// Stack is a writable tree over a layer of the cache, which stays as it is. Where the kernel refuses overlayfs it is a
// copy of the layer.
type Stack struct {
	Dir   string // the tree
	upper string // what differs from the layer, in overlayfs's form; Dir itself where it is a copy
	layer string // key of the layer
	epoch time.Time
	mount bool
}

// Stack lays a writable tree over a base. Its own files are below work, an empty directory.
func (b *Builder) Stack(base *Base, work string) (*Stack, error) {
	s := &Stack{
		Dir: filepath.Join(work, "tree"), upper: filepath.Join(work, "upper"), layer: base.key,
		epoch: base.Epoch, mount: true,
	}
	scratch := filepath.Join(work, "overlay")
	for _, dir := range []string{s.Dir, s.upper, scratch} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, fmt.Errorf("lay a tree over the base: %w", err)
		}
	}
	err := chroot.Overlay([]string{base.Dir}, s.upper, scratch, s.Dir)
	if errors.Is(err, chroot.ErrNoOverlay) {
		s.upper, s.mount = s.Dir, false
		err = copyTree(base.Dir, s.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("lay a tree over the base: %w", err)
	}
	return s, nil
}

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
