package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
)

// hostFiles are what debootstrap and mmdebstrap copy of the host they run on.
var hostFiles = []string{"/etc/resolv.conf", "/etc/hostname"}

// CopyHostFiles gives the tree the host's resolv.conf and hostname, where it has none of its own.
func CopyHostFiles(root string) error {
	for _, name := range hostFiles {
		if err := copyHostFile(root, name); err != nil {
			return fmt.Errorf("copy the host's %s: %w", name, err)
		}
	}
	return nil
}

func copyHostFile(root, name string) error {
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if info, err := os.Lstat(name); err == nil && info.Mode().IsRegular() {
		mode = info.Mode().Perm()
	}
	dir, err := openInside(root, path.Dir(name[1:]))
	if err != nil || dir == nil {
		return err
	}
	defer dir.Close()
	f, err := dir.OpenFile(path.Base(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Chmod(mode), f.Close())
}
