package rootfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"vmbuild/rootfs/tree"
)

// copyTree copies the tree below from into the empty directory to: owners, modes, times, links, extended attributes.
func copyTree(from, to string) error {
	var dirs []tree.Entry
	err := (&tree.Tree{Dir: from}).Walk(func(e tree.Entry) error {
		if e.Type == tree.Directory {
			dirs = append(dirs, e)
		}
		return copyEntry(e, from, to)
	})
	if err != nil {
		return fmt.Errorf("copy tree: %w", err)
	}
	for _, d := range slices.Backward(dirs) { // last, as what is made in a directory changes its time
		if err := setTime(filepath.Join(to, d.Path), d); err != nil {
			return fmt.Errorf("copy tree: %w", err)
		}
	}
	return nil
}

func copyEntry(e tree.Entry, from, to string) error {
	path := filepath.Join(to, e.Path)
	if e.HardLink != "" {
		return os.Link(filepath.Join(to, e.HardLink), path)
	}
	var err error
	switch e.Type {
	case tree.Directory:
		if err = os.Mkdir(path, 0o700); e.Path == "/" {
			err = nil
		}
	case tree.File:
		err = copyContent(filepath.Join(from, e.Path), path)
	case tree.Symlink:
		err = os.Symlink(e.Target, path)
	case tree.FIFO:
		err = unix.Mkfifo(path, e.Mode)
	case tree.CharDevice:
		err = unix.Mknod(path, unix.S_IFCHR|e.Mode, int(unix.Mkdev(e.Major, e.Minor)))
	case tree.BlockDevice:
		err = unix.Mknod(path, unix.S_IFBLK|e.Mode, int(unix.Mkdev(e.Major, e.Minor)))
	case tree.Socket:
		return nil // has no meaning without the process that made it
	}
	if err == nil {
		err = os.Lchown(path, e.UID, e.GID)
	}
	if err == nil && e.Type != tree.Symlink {
		err = unix.Chmod(path, e.Mode) // after chown, which clears setuid
	}
	for name, value := range e.Xattrs {
		if err == nil {
			err = unix.Lsetxattr(path, name, []byte(value), 0)
		}
	}
	if err == nil && e.Type != tree.Directory {
		err = setTime(path, e)
	}
	return err
}

func setTime(path string, e tree.Entry) error {
	at := unix.NsecToTimespec(e.ModTime.UnixNano())
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
}

// copyContent makes the file to with the bytes of from.
func copyContent(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	return copyBytes(in, out)
}

// copyBytes copies what is in a file to an empty one, by reference where the filesystem can do that.
func copyBytes(from, to *os.File) error {
	if unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil {
		return nil
	}
	_, err := io.Copy(to, from)
	return err
}
