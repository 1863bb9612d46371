package layer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Finding is something in the cache that is not what its name says.
type Finding struct {
	Entry    Entry  `json:"entry"`
	Problem  string `json:"problem"`  // in words that follow the entry's name
	Harmless bool   `json:"harmless"` // it is recognised before it is used, and comes about without any damage
	Removed  bool   `json:"removed"`
}

// VerifyOptions say what Verify does but to look.
type VerifyOptions struct {
	Remove   bool                    // remove what is found
	Progress func(done, total int64) // bytes of objects; may be nil; the calls do not overlap
}

// Verify hashes the objects among entries, which List has returned, and looks whether the layers are whole. What is in a
// layer it does not compare with anything: for a cache whose disk is not to be trusted, remove the layers. Documents are
// checked by whoever reads them, the beginnings of objects by Object. See List about ids.
func (c *Cache) Verify(ctx context.Context, entries []Entry, o VerifyOptions) ([]Finding, error) {
	found, err := c.verify(ctx, entries, o.Progress)
	if err == nil && o.Remove {
		err = c.removeFound(ctx, found)
	}
	if err != nil {
		return found, fmt.Errorf("verify cache: %w", err)
	}
	return found, nil
}

func (c *Cache) verify(ctx context.Context, entries []Entry, progress func(done, total int64)) ([]Finding, error) {
	var mu sync.Mutex
	var done, total int64
	for _, e := range entries {
		total += hashed(e)
	}
	findings := make([]Finding, len(entries))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, e := range entries {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			f, err := c.check(ctx, e)
			findings[i] = f
			mu.Lock()
			defer mu.Unlock()
			if done += hashed(e); progress != nil {
				progress(done, total)
			}
			return err
		})
	}
	err := group.Wait()
	return slices.DeleteFunc(findings, func(f Finding) bool { return f.Problem == "" }), err
}

// hashed is how many bytes of an entry are read.
func hashed(e Entry) int64 {
	if e.Kind == KindObject {
		return e.Size
	}
	return 0
}

// check returns a finding without a problem if there is none, or nothing any more.
func (c *Cache) check(ctx context.Context, e Entry) (Finding, error) {
	f := Finding{Entry: e}
	var err error
	switch e.Kind {
	case KindObject:
		f.Problem, err = checkObject(ctx, c.ObjectPath(e.Name), e.Name)
	case KindLayer:
		f.Problem, f.Harmless, err = checkLayer(ctx, c.entryPath(e))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return Finding{}, nil
	}
	return f, err
}

func checkObject(ctx context.Context, path, sum string) (problem string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, reader{ctx, f}); err != nil {
		if ctx.Err() == nil && errors.Is(err, unix.EIO) {
			return "cannot be read: " + err.Error(), nil
		}
		return "", err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		return "has SHA256 " + got, nil
	}
	return "", nil
}

// reader is a file until ctx is done.
type reader struct {
	ctx context.Context
	f   *os.File
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.f.Read(p)
}

func checkLayer(ctx context.Context, dir string) (problem string, harmless bool, err error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return "", false, err
	}
	state, made, err := stateOf(dir)
	if err != nil {
		return "", false, err
	}
	there, err := os.Lstat(filepath.Join(dir, "tree"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", false, err
	}
	switch {
	case !info.IsDir():
		return "is no directory", false, nil
	case state == unmarked:
		return "is not complete", false, nil
	case there == nil || !there.IsDir():
		return "has no tree", false, nil
	case state == lost:
		return "was made shortly before this machine was started again, and may not be complete", true, nil
	}
	if now, err := fingerprint(ctx, treePath(dir)); err != nil || now != made {
		return "has other files than it was made with", false, err
	}
	return "", false, nil
}

// removeFound removes what has a problem, as soon as nobody holds it.
func (c *Cache) removeFound(ctx context.Context, found []Finding) error {
	var errs []error
	for i := range found {
		f := &found[i]
		var err error
		if f.Removed, err = c.removeDamaged(ctx, f.Entry); err != nil {
			errs = append(errs, fmt.Errorf("remove %s %s: %w", f.Entry.Kind, f.Entry.Name, err))
		}
	}
	return errors.Join(errs...)
}

// removeDamaged removes an entry unless somebody holds it, or something else has taken its place meanwhile.
func (c *Cache) removeDamaged(ctx context.Context, e Entry) (bool, error) {
	path := c.entryPath(e)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	locked, err := tryLock(f, unix.LOCK_EX)
	if err != nil || !locked || !isAt(f, path) {
		return false, err
	}
	if again, err := c.check(ctx, e); err != nil || again.Problem == "" {
		return false, err
	}
	return true, c.removeLocked(e, f)
}
