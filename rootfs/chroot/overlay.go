package chroot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"vmbuild/rootfs/namespace"
)

// ErrNoOverlay says that the kernel, or the file system of one of the directories, does not let overlays be mounted.
var ErrNoOverlay = errors.New("overlay file systems do not work here")

// Overlay mounts on target what the directories of lower, topmost first, are together, such that changes go to upper.
// The directories exist; work is empty, on the same file system as upper, and only for the kernel. Without an upper, and a
// work, nothing can be changed.
//
// The overlay never waits for a disk: what is to stay of upper is to be synced by whoever keeps it. In a user namespace
// upper marks what is removed by extended attributes user.overlay.*, elsewhere by trusted.overlay.* (the kernel's
// Documentation/filesystems/overlayfs.rst). The caller unmounts target.
func Overlay(lower []string, upper, work, target string) error {
	if err := overlay(lower, upper, work, target); err != nil {
		return fmt.Errorf("mount an overlay of %s on %q: %w", strings.Join(lower, ", "), target, err)
	}
	return nil
}

func overlay(lower []string, upper, work, target string) error {
	attribute, options := "trusted.overlay.", ""
	if !namespace.Initial() {
		attribute, options = "user.overlay.", "userxattr,"
	}
	// Directories are named by descriptors: their own names would have to be quoted, twice, and all of them together
	// have to fit into a page.
	var layers []string
	for _, dir := range lower {
		f, err := openDir(dir)
		if err != nil {
			return err
		}
		defer f.Close()
		layers = append(layers, procPath(f))
	}
	options += "lowerdir=" + strings.Join(layers, ":")
	if upper != "" {
		u, w, err := openUpper(upper, work, attribute+"vmbuild")
		if err != nil {
			return err
		}
		defer u.Close()
		defer w.Close()
		options += ",volatile,upperdir=" + procPath(u) + ",workdir=" + procPath(w)
	}
	switch err := unix.Mount("overlay", target, "overlay", 0, options); err {
	case unix.EPERM, unix.ENODEV, unix.EINVAL, unix.EOPNOTSUPP:
		return fmt.Errorf("%w: %w", ErrNoOverlay, err)
	default:
		return err
	}
}

// openUpper opens the directories that take changes, where an attribute can be set.
func openUpper(upper, work, attribute string) (u, w *os.File, err error) {
	// Without attributes the mount succeeds, but replacing a directory ends in EIO.
	if err := setsAttributes(upper, attribute); err != nil {
		return nil, nil, fmt.Errorf("%w: set attribute %s of %q: %w", ErrNoOverlay, attribute, upper, err)
	}
	// A volatile overlay refuses the work directory of an earlier one, as that may have lost data in a crash; here it
	// would be in the same build.
	if err := os.RemoveAll(filepath.Join(work, "work")); err != nil {
		return nil, nil, err
	}
	if u, err = openDir(upper); err != nil {
		return nil, nil, err
	}
	if w, err = openDir(work); err != nil {
		u.Close()
	}
	return u, w, err
}

func setsAttributes(dir, name string) error {
	if err := unix.Setxattr(dir, name, []byte("y"), 0); err != nil {
		return err
	}
	return unix.Removexattr(dir, name)
}
