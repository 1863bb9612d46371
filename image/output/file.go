package output

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// File is an output in the making. It lies on the file system of its destination, unnamed (open(2), O_TMPFILE) where
// the file system can do that and under a name of its own where it cannot.
type File struct {
	*os.File
	path  string // destination
	named string // temporary name; empty while the file has none
}

// Create makes the file that will be at path. An existing file there is untouched until Commit.
func Create(path string) (*File, error) {
	if fi, err := os.Stat(path); err == nil && !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("create output %s: it is there and is not a regular file", path)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // a link stays one
	}
	dir := filepath.Dir(path)
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o666)
	if err == nil {
		return &File{File: os.NewFile(uintptr(fd), path), path: path}, nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EINVAL) {
		return nil, fmt.Errorf("create output %s: %w", path, &fs.PathError{Op: "open", Path: dir, Err: err})
	}
	return createNamed(path)
}

// createNamed makes a file with a name of its own beside path, of the mode that the destination is to have.
func createNamed(path string) (*File, error) {
	for {
		name := hiddenName(path)
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("create output %s: %w", path, err)
		}
		return &File{File: f, path: path, named: name}, nil
	}
}

// hiddenName gives a name beside path that is hardly taken.
func hiddenName(path string) string {
	return hiddenPrefix(path) + strconv.FormatUint(rand.Uint64(), 10)
}

func hiddenPrefix(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".vmbuild-")
}

// Path is where the file will be.
func (f *File) Path() string { return f.path }

// Handle is the file, for Job.Out.
func (f *File) Handle() *os.File { return f.File }

// Sync writes the content to the disk; all files of a build are synced before the first is committed.
func (f *File) Sync() error {
	if err := f.File.Sync(); err != nil {
		return fmt.Errorf("sync output %s: %w", f.path, err)
	}
	return nil
}

// Commit makes the file appear at its path, in place of what was there.
func (f *File) Commit() error {
	if f.named == "" {
		done, err := f.link()
		if done || err != nil {
			return err
		}
	}
	if err := os.Rename(f.named, f.path); err != nil {
		return fmt.Errorf("commit output %s: %w", f.path, err)
	}
	f.named = ""
	return syncDir(filepath.Dir(f.path))
}

// link gives the unnamed file its name; where that name is taken, a temporary one to be renamed over it.
func (f *File) link() (done bool, err error) {
	self := "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	err = unix.Linkat(unix.AT_FDCWD, self, unix.AT_FDCWD, f.path, unix.AT_SYMLINK_FOLLOW)
	if err == nil {
		return true, syncDir(filepath.Dir(f.path))
	}
	if !errors.Is(err, unix.EEXIST) {
		return false, fmt.Errorf("commit output %s: %w", f.path, err)
	}
	named := hiddenName(f.path)
	if err := unix.Linkat(unix.AT_FDCWD, self, unix.AT_FDCWD, named, unix.AT_SYMLINK_FOLLOW); err != nil {
		return false, fmt.Errorf("commit output %s: %w", f.path, err)
	}
	f.named = named
	return false, nil
}

// Close gives the file up unless it was committed.
func (f *File) Close() error {
	err := f.File.Close()
	if f.named != "" {
		err = errors.Join(err, os.Remove(f.named))
		f.named = ""
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}
