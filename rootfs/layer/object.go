package layer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// VerificationError says that the bytes that were fetched for an object are not the ones that were asked for. To try
// again is no remedy.
type VerificationError struct {
	Sum, GotSum   string // SHA256 in hexadecimal; GotSum is empty if the size is wrong already
	Size, GotSize int64  // bytes; GotSize is Size+1 if there were more than that, for reading ends there
}

func (e *VerificationError) Error() string {
	switch {
	case e.GotSize > e.Size:
		return fmt.Sprintf("object %s has more than %d bytes", e.Sum, e.Size)
	case e.GotSize < e.Size:
		return fmt.Sprintf("object %s has %d bytes instead of %d", e.Sum, e.GotSize, e.Size)
	}
	return fmt.Sprintf("object %s has SHA256 %s", e.Sum, e.GotSum)
}

// Kind is "verification".
func (e *VerificationError) Kind() string { return "verification" }

// ObjectPath returns where the object with that SHA256 is, or will be.
func (c *Cache) ObjectPath(sum string) string { return c.path("objects", sum[:2], sum) }

// HasObject says whether the object is in the cache. A file of another size, which a power cut can leave behind because
// objects are not synced one by one, is not the object.
func (c *Cache) HasObject(sum string, size int64) bool {
	if !isSum(sum) {
		return false
	}
	info, err := os.Lstat(c.ObjectPath(sum))
	return err == nil && info.Mode().IsRegular() && info.Size() == size
}

// RemoveObject removes an object; it is no error if there is none.
func (c *Cache) RemoveObject(sum string) error {
	if !isSum(sum) {
		return fmt.Errorf("remove object: %q is not a SHA256", sum)
	}
	if err := os.Remove(c.ObjectPath(sum)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove object: %w", err)
	}
	return nil
}

// A Fetch writes the bytes of an object to w, from offset on. It returns nil when the source has no more of them, even
// if there were too few, and an error of w as it is.
type Fetch func(ctx context.Context, w io.Writer, offset int64) error

// Object returns the path of the file with that SHA256 (hexadecimal) and size in bytes, calling fetch if it is not in
// the cache. While it runs nobody else fetches the same object: they wait for this one. If fetch fails, what it has
// written stays, and the next call goes on from there.
//
// The error is a *VerificationError, and nothing stays, if fetch has written something else. If bytes of an earlier
// call were part of it, those may be at fault, and it is fetched as a whole first.
func (c *Cache) Object(ctx context.Context, sum string, size int64, fetch Fetch) (string, error) {
	if !isSum(sum) {
		return "", fmt.Errorf("look up object: %q is not a SHA256", sum)
	}
	path := c.ObjectPath(sum)
	if found, err := c.find(ctx, object{sum, size}); found || err != nil {
		return path, err
	}
	partial := c.path("partial", sum)
	f, err := lockFile(ctx, partial)
	if err != nil {
		return "", fmt.Errorf("fetch object: %w", err)
	}
	defer f.Close()
	found, err := c.find(ctx, object{sum, size})
	if err != nil {
		return "", err
	}
	if found { // made by another while this one waited
		return path, os.Remove(partial)
	}
	if err := complete(ctx, f, object{sum, size}, fetch); err != nil {
		return "", errors.Join(err, discard(f, err))
	}
	if err := touch(partial); err != nil { // all of it may be of an earlier run
		return "", fmt.Errorf("keep object: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("keep object: %w", err)
	}
	if err := os.Rename(partial, path); err != nil {
		return "", fmt.Errorf("keep object: %w", err)
	}
	return path, nil
}

// find says whether the object is in the cache, and notes that it is used now. Both happen under a lock, so that Prune
// either knows of the use or has removed the object before.
func (c *Cache) find(ctx context.Context, o object) (bool, error) {
	path := c.ObjectPath(o.sum)
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up object: %w", err)
	}
	defer f.Close()
	if err := waitLock(ctx, f, unix.LOCK_SH); err != nil {
		return false, fmt.Errorf("look up object: lock %s: %w", path, err)
	}
	if !isAt(f, path) || !c.HasObject(o.sum, o.size) {
		return false, nil
	}
	if err := touch(path); err != nil {
		return false, fmt.Errorf("look up object: %w", err)
	}
	return true, nil
}

// discard removes a partial file from which nobody could go on after err.
func discard(f *os.File, err error) error {
	info, statErr := f.Stat()
	if statErr != nil {
		return statErr
	}
	var wrong *VerificationError
	if errors.As(err, &wrong) || info.Size() == 0 {
		return os.Remove(f.Name())
	}
	return nil
}

type object struct {
	sum  string
	size int64
}

// complete makes f the object o.
func complete(ctx context.Context, f *os.File, o object, fetch Fetch) error {
	resumed, err := extend(ctx, f, o, fetch)
	var wrong *VerificationError
	if resumed == 0 || !errors.As(err, &wrong) {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = extend(ctx, f, o, fetch)
	return err
}

// extend adds to f what is missing of o and checks the whole. It returns how many bytes were there before.
func extend(ctx context.Context, f *os.File, o object, fetch Fetch) (resumed int64, err error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	sum := sha256.New()
	if resumed, err = io.Copy(sum, f); err != nil {
		return resumed, err
	}
	w := &bounded{object: o, file: f, sum: sum, written: resumed}
	if resumed < o.size {
		if err := fetch(ctx, w, resumed); err != nil {
			return resumed, err
		}
	}
	return resumed, w.verify()
}

// bounded writes and hashes an object, and no more bytes than it has.
type bounded struct {
	object
	file    *os.File
	sum     hash.Hash
	written int64
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.written+int64(len(p)) > b.size {
		return 0, &VerificationError{Sum: b.object.sum, Size: b.size, GotSize: b.size + 1}
	}
	n, err := b.file.Write(p)
	b.sum.Write(p[:n])
	b.written += int64(n)
	return n, err
}

func (b *bounded) verify() error {
	if b.written != b.size {
		return &VerificationError{Sum: b.object.sum, Size: b.size, GotSize: b.written}
	}
	if got := hex.EncodeToString(b.sum.Sum(nil)); got != b.object.sum {
		return &VerificationError{Sum: b.object.sum, GotSum: got, Size: b.size, GotSize: b.written}
	}
	return nil
}

// isSum says whether s is a SHA256 as Debian's indexes write it. It keeps everything else out of file names.
func isSum(s string) bool {
	if len(s) != 2*sha256.Size {
		return false
	}
	for _, r := range s {
		if (r < '0' || r > '9') && (r < 'a' || r > 'f') {
			return false
		}
	}
	return true
}

// touch notes that path was used now.
func touch(path string) error {
	now := time.Now()
	return os.Chtimes(path, now, now)
}
