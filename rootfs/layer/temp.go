package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Temp is a temporary directory that belongs to this process: Sweep leaves it alone until Close, or until the process
// has ended in whatever way.
type Temp struct {
	Path string
	lock *os.File // the directory itself
}

// TempDir makes a directory below parent, whose name is prefix and random digits. Its lock is of the kind that
// systemd-tmpfiles respects, so that a long build may live in /tmp.
func TempDir(parent, prefix string) (*Temp, error) {
	for {
		path, err := os.MkdirTemp(parent, prefix)
		if err != nil {
			return nil, fmt.Errorf("make temporary directory: %w", err)
		}
		lock, err := own(path)
		if err != nil {
			return nil, fmt.Errorf("make temporary directory: %w", err)
		}
		if lock != nil {
			return &Temp{Path: path, lock: lock}, nil
		}
		// A Sweep came between making and locking it; it is being removed.
	}
}

// Close removes the directory.
func (t *Temp) Close() error {
	return errors.Join(remove(t.Path), t.lock.Close())
}

// own locks a directory, if it is there and nobody else has locked it.
func own(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	locked, err := tryLock(f, unix.LOCK_EX)
	if err == nil && locked && isAt(f, path) {
		return f, nil
	}
	return nil, errors.Join(err, f.Close())
}

// Sweep removes the directories that TempDir made below parent with that prefix and whose owner is gone. Those of other
// users, links and files are left alone, whatever their names. It goes on after an error and returns all of them.
func Sweep(parent, prefix string) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return fmt.Errorf("sweep temporary directories: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if e.IsDir() && isTempName(e.Name(), prefix) && isMine(e) {
			errs = append(errs, sweep(filepath.Join(parent, e.Name())))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sweep temporary directories: %w", err)
	}
	return nil
}

func sweep(path string) error {
	lock, err := own(path)
	if lock == nil {
		return err
	}
	return errors.Join(remove(path), lock.Close())
}

// isTempName says whether TempDir may have made the name: the prefix, of which an empty one
// stands for all, and a random number. With the mode that isMine
// demands, a directory of the user's own that only begins alike is safe.
func isTempName(name, prefix string) bool {
	if prefix == "" {
		return true
	}
	random, ok := strings.CutPrefix(name, prefix)
	return ok && random != "" && strings.Trim(random, "0123456789") == ""
}

func isMine(e fs.DirEntry) bool {
	info, err := e.Info()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid() && info.Mode().Perm() == 0o700
}

// remove removes a directory and all below it, also where a package has made directories that their owner may not
// write to. It follows no link.
func remove(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if err := unlockDirs(path); err != nil {
		return err
	}
	return os.RemoveAll(path)
}

// unlockDirs gives their owner all rights on path and the directories below it.
func unlockDirs(path string) error {
	if err := os.Chmod(path, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() || name == "." {
			return err
		}
		return root.Chmod(name, 0o700)
	})
}
