// Package layer is the cache of vmbuild: downloaded files by their SHA256, unpacked or configured root filesystems by
// the hash of everything that went into them, and the temporary directories that both are made in.
//
// Its invariant: a path that it returns is complete and is what its name says. Files and directories are made in
// another place, checked, and renamed; after a crash, SIGKILL or power cut there is either the whole thing or nothing.
// Any number of processes may use one cache at a time: what two of them want is made by one, while the other waits.
//
// Nor is anything removed that somebody uses: Prune and Verify leave alone what is locked, and what was asked for since
// the oldest of the running processes opened the cache.
//
// It does not know what a package, an index or a root filesystem is, fetches nothing itself, and removes nothing unless
// it is told to. Only Verify hashes again what was checked once; the directory must belong to the user of the cache alone.
//
// On disk:
//
//	CACHEDIR.TAG        tells backup programs to leave the cache out (https://bford.info/cachedir/)
//	objects/ab/abcd…    a file whose SHA256 is abcd…; its modification time is when it was last asked for
//	partial/abcd…       the first bytes of such a file; locked by flock(2) by whoever is adding to it
//	documents/KEY       a small file that may change (an InRelease), replaced as a whole; its access time is when it was
//	                    last asked for
//	layers/KEY/tree     a directory as its builder left it; a shared lock on layers/KEY is held by each user of it
//	layers/KEY/complete written last: without it, or if the tree is not as it says, the layer is taken for absent (see
//	                    Layer); its modification time is when the layer was last asked for
//	layers/KEY.lock     is there while the layer is made, locked by its maker
//	tmp/PREFIXRANDOM    temporary, locked by its owner; without a lock it is refuse (see Sweep)
//	tmp/user-RANDOM     such a directory, empty, for each open cache: its modification time is when that was opened
package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Cache is an open cache directory. Its methods may be called from several goroutines.
type Cache struct {
	dir  string
	user *Temp // says that this cache is open, and since when
	mu   sync.Mutex
	used []*os.File // layers that Layer has returned, under a shared lock

	rejected []string // keys of layers that were not as they were made
}

// userPrefix marks what says that a cache is open.
const userPrefix = "user-"

// The tag's name and how it begins are fixed by its specification.
const (
	tagName = "CACHEDIR.TAG"
	tag     = "Signature: 8a477f597d28d172789f06886806bc55\n# Downloads and layers of vmbuild; may be removed at any time.\n"
)

// Open makes dir and what is missing in it, and opens it as a cache.
func Open(dir string) (*Cache, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	for _, sub := range []string{"objects", "partial", "documents", "layers", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("open cache: %w", err)
		}
	}
	if err := private(dir); err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	if err := writeTag(filepath.Join(dir, tagName)); err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	c := &Cache{dir: dir}
	if c.user, err = c.TempDir(userPrefix); err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	return c, nil
}

// writeTag writes the tag where it is not there yet.
func writeTag(path string) error {
	if data, err := os.ReadFile(path); err == nil && string(data) == tag {
		return nil
	}
	return os.WriteFile(path, []byte(tag), 0o644)
}

// Exists says whether there is a cache in dir. If there is something else, the error says so; what Open makes of any
// directory, this leaves as it is.
func Exists(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at cache: %w", err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, tagName)); err != nil || string(data) != tag {
		return false, fmt.Errorf("%s is no cache of vmbuild: there is no %s of vmbuild's in it", dir, tagName)
	}
	return true, nil
}

// private closes the cache to other users. Whoever could write to it would decide what is in an image; and in the layers
// of an ordinary user are set-uid programs that are the user's on disk.
func private(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to another user", dir)
	}
	return os.Chmod(dir, 0o700)
}

// Close lets others remove what was used through c.
func (c *Cache) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	errs := []error{c.user.Close()}
	for _, f := range c.used {
		errs = append(errs, f.Close())
	}
	c.used = nil
	return errors.Join(errs...)
}

// Dir is the absolute path of the cache.
func (c *Cache) Dir() string { return c.dir }

func (c *Cache) path(elem ...string) string {
	return filepath.Join(append([]string{c.dir}, elem...)...)
}

// TempDir makes a directory below the cache, on the same file system as everything else in it.
func (c *Cache) TempDir(prefix string) (*Temp, error) { return TempDir(c.path("tmp"), prefix) }

// Sweep removes the temporary directories of processes that are gone.
func (c *Cache) Sweep() error { return Sweep(c.path("tmp"), "") }

// unknown stands for a zero modification time, which a file cannot have.
var unknown = time.Unix(0, 0)

// Document returns what WriteDocument was given last for key; fs.ErrNotExist if there is none.
func (c *Cache) Document(key string) ([]byte, time.Time, error) {
	path := c.path("documents", key)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read cached document: %w", err)
	}
	if err := touchAccess(path); err != nil {
		return nil, time.Time{}, fmt.Errorf("read cached document: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read cached document: %w", err)
	}
	if info.ModTime().Equal(unknown) {
		return data, time.Time{}, nil
	}
	return data, info.ModTime(), nil
}

// WriteDocument keeps data, which was last changed at modified (zero: nobody knows), under key, a file name. Whoever
// reads it later has to check it again: that is what distinguishes a document from an object.
func (c *Cache) WriteDocument(key string, data []byte, modified time.Time) error {
	if err := c.writeDocument(key, data, modified); err != nil {
		return fmt.Errorf("write cached document: %w", err)
	}
	return nil
}

func (c *Cache) writeDocument(key string, data []byte, modified time.Time) error {
	if key != filepath.Base(key) || !fs.ValidPath(key) {
		return fmt.Errorf("%q is not a file name", key)
	}
	if modified.IsZero() {
		modified = unknown
	}
	return c.replace(c.path("documents", key), data, modified)
}

// replace makes path a file with that content: whoever reads it meanwhile gets all of the old one or all of the new one.
func (c *Cache) replace(path string, data []byte, modified time.Time) error {
	temp, err := c.TempDir("file-")
	if err != nil {
		return err
	}
	file := filepath.Join(temp.Path, filepath.Base(path))
	err = os.WriteFile(file, data, 0o644)
	if err == nil {
		err = os.Chtimes(file, time.Now(), modified)
	}
	if err == nil {
		err = os.Rename(file, path)
	}
	return errors.Join(err, temp.Close())
}

// touchAccess notes that a document was read now; unlike what the kernel notes, it does so on every file system.
func touchAccess(path string) error {
	now := unix.NsecToTimespec(time.Now().UnixNano())
	times := []unix.Timespec{now, {Nsec: unix.UTIME_OMIT}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, times, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "utimensat", Path: path, Err: err}
	}
	return nil
}
