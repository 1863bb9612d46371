package tree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Copier makes entries of a tree in another directory: owners, modes, times, links, extended attributes. Entries come in
// the order of Walk.
type Copier struct {
	From string // directory of the tree
	To   string // directory that becomes the tree's root, or a link to one; must be there
	// SkipDevices leaves out devices where the kernel makes none: only real root may (mknod(2), EPERM).
	SkipDevices bool
	// Merge fills directories that are there, and replaces whatever else is in the way of an entry.
	Merge bool

	dirs []Entry
}

// Add makes an entry. Of a directory modes and times come at Close, as what is made in it changes its time; till then
// only its owner looks into it. Sockets are left out: they mean nothing without the process that made them.
func (c *Copier) Add(e Entry) error {
	err := c.add(e)
	if err == unix.EPERM && c.SkipDevices && (e.Type == CharDevice || e.Type == BlockDevice) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("copy %q: %w", e.Path, err)
	}
	return nil
}

func (c *Copier) add(e Entry) error {
	to := c.To + e.Path
	if c.Merge && e.Type != Directory {
		if err := unix.Unlink(to); err != nil && err != unix.ENOENT {
			return &os.PathError{Op: "replace", Path: to, Err: err}
		}
	}
	if e.HardLink != "" {
		return os.Link(c.To+e.HardLink, to)
	}
	var err error
	switch e.Type {
	case Directory:
		c.dirs = append(c.dirs, e)
		if e.Path != "/" {
			err = c.mkdir(to)
		}
	case File:
		err = copyFile(c.From+e.Path, to)
	case Symlink:
		err = os.Symlink(e.Target, to)
	case FIFO:
		err = unix.Mkfifo(to, 0o600)
	case CharDevice:
		err = unix.Mknod(to, unix.S_IFCHR|0o600, int(unix.Mkdev(e.Major, e.Minor)))
	case BlockDevice:
		err = unix.Mknod(to, unix.S_IFBLK|0o600, int(unix.Mkdev(e.Major, e.Minor)))
	case Socket:
		return nil
	}
	if err != nil || e.Type == Directory {
		return err
	}
	return settle(to, e)
}

// mkdir makes a directory, or takes one that is there: never a link to one, which may lead out of the tree.
func (c *Copier) mkdir(path string) error {
	err := os.Mkdir(path, 0o700)
	if c.Merge && errors.Is(err, fs.ErrExist) {
		if info, lookErr := os.Lstat(path); lookErr == nil && info.IsDir() {
			return nil
		}
	}
	return err
}

// Close gives the directories what Add has put off.
func (c *Copier) Close() error {
	for _, d := range slices.Backward(c.dirs) {
		if err := settle(c.To+d.Path, d); err != nil {
			return fmt.Errorf("copy %q: %w", d.Path, err)
		}
	}
	return nil
}

// settle gives what was made at path the owner, mode, attributes and time of an entry.
func settle(path string, e Entry) error {
	if err := os.Lchown(path, e.UID, e.GID); err != nil {
		return err
	}
	if e.Type != Symlink {
		if err := unix.Chmod(path, e.Mode); err != nil { // after chown, which clears setuid
			return err
		}
	}
	for name, value := range e.Xattrs { // after chown, which clears capabilities
		if err := unix.Lsetxattr(path, name, []byte(value), 0); err != nil {
			return fmt.Errorf("set attribute %s: %w", name, err)
		}
	}
	at := unix.NsecToTimespec(e.ModTime.UnixNano())
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
}

// copyFile makes the file to with the bytes of from.
func copyFile(from, to string) (err error) {
	in, err := os.OpenFile(from, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	return CopyBytes(in, out)
}

// CopyBytes copies what is in a file to an empty one, by reference where the filesystem can do that.
func CopyBytes(from, to *os.File) error {
	if unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil {
		return nil
	}
	_, err := io.Copy(to, from)
	return err
}
