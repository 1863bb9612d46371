package layer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// PruneOptions say what Prune removes. Of the kinds that are named everything goes, unless there is an age or a size.
type PruneOptions struct {
	Layers    bool          `json:"layers"`
	Objects   bool          `json:"objects"`   // and what there is of unfinished ones; with an age, documents too
	OlderThan time.Duration `json:"olderThan"` // what was not used for that long; 0: no matter when it was used
	MaxSize   int64         `json:"maxSize"`   // bytes of the kinds that may stay: what was not used for the longest time goes first; 0: no limit
	DryRun    bool          `json:"dryRun"`    // only say what would be removed
}

// Pruned is what Prune has done.
type Pruned struct {
	Removed []Entry `json:"removed"` // in the order of their last use
	Busy    []Entry `json:"busy"`    // would have been removed, but somebody uses them
	Left    int64   `json:"left"`    // bytes that are still in the cache
}

// Prune removes from the cache what the options say of entries, which List has returned. It takes nothing that another
// process uses: no layer or partial that is locked, and no object or document that was asked for since the oldest of
// the running users of the cache opened it, for these have its path.
//
// Documents go by age alone: they are small, and the archive's older states are recognised by them.
//
// It goes on after an error and returns all of them. See List about ids.
func (c *Cache) Prune(ctx context.Context, entries []Entry, o PruneOptions) (*Pruned, error) {
	p, err := c.prune(ctx, entries, o)
	if err != nil {
		return p, fmt.Errorf("prune cache: %w", err)
	}
	return p, nil
}

func (c *Cache) prune(ctx context.Context, entries []Entry, o PruneOptions) (*Pruned, error) {
	horizon, err := c.horizon()
	if err != nil {
		return nil, err
	}
	p := &Pruned{}
	var candidates []Entry
	var size int64 // of what is left of them
	for _, e := range byUse(entries) {
		p.Left += e.Size
		if o.concerns(e.Kind) {
			candidates = append(candidates, e)
			size += e.Size
		}
	}
	oldest := time.Now().Add(-o.OlderThan)
	var errs []error
	for _, e := range candidates {
		if !o.wants(e, oldest, size) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return p, errors.Join(append(errs, err)...)
		}
		removed, err := c.removeUnused(e, horizon, o.DryRun)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("remove %s %s: %w", e.Kind, e.Name, err))
		case removed:
			p.Removed = append(p.Removed, e)
			size -= e.Size
			p.Left -= e.Size
		default:
			p.Busy = append(p.Busy, e)
		}
	}
	if o.Layers && !o.DryRun {
		errs = append(errs, c.removeLocks())
	}
	return p, errors.Join(errs...)
}

// concerns says whether things of a kind may be removed.
func (o PruneOptions) concerns(k Kind) bool {
	switch k {
	case KindLayer:
		return o.Layers
	case KindDocument:
		return o.Objects && o.OlderThan > 0
	default:
		return o.Objects
	}
}

// wants says whether an entry shall go: by its age, or because there is more left than may be.
func (o PruneOptions) wants(e Entry, oldest time.Time, left int64) bool {
	switch {
	case o.OlderThan > 0 && e.Used.Before(oldest):
		return true
	case e.Kind == KindDocument:
		return false
	case o.MaxSize > 0:
		return left > o.MaxSize
	default:
		return o.OlderThan == 0
	}
}

// horizon is when the oldest of the running users of the cache, c among them, has opened it.
func (c *Cache) horizon() (time.Time, error) {
	horizon := time.Now()
	users, err := filepath.Glob(c.path("tmp", userPrefix+"*"))
	if err != nil {
		return horizon, err
	}
	for _, path := range users {
		since, err := inUse(path)
		if err != nil {
			return horizon, err
		}
		if !since.IsZero() && since.Before(horizon) {
			horizon = since
		}
	}
	return horizon, nil
}

// inUse returns when a temporary directory was made, if its owner is there; else the zero time. One that is not locked
// yet is of a user who has not asked for anything.
func inUse(path string) (time.Time, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	free, err := tryLock(f, unix.LOCK_SH)
	if free || err != nil {
		return time.Time{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// removeUnused removes an entry, unless somebody uses it or has done so since it was listed; then it says false. With
// dry it only says what it would do.
func (c *Cache) removeUnused(e Entry, horizon time.Time, dry bool) (bool, error) {
	if (e.Kind == KindObject || e.Kind == KindDocument) && !e.Used.Before(horizon) {
		return false, nil
	}
	path := c.entryPath(e)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) { // another was faster
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
	switch used, err := c.lastUse(e); {
	case err != nil:
		return false, err
	case !used.Equal(e.Used):
		return false, nil
	case dry:
		return true, nil
	}
	return true, c.removeLocked(e, f)
}

// removeLocked removes an entry, whose lock f holds.
func (c *Cache) removeLocked(e Entry, f *os.File) error {
	if e.Kind == KindLayer {
		return c.takeAway(f, c.entryPath(e))
	}
	if err := os.Remove(c.entryPath(e)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeLocks removes the lock files of makers of layers that were killed.
func (c *Cache) removeLocks() error {
	paths, err := filepath.Glob(c.path("layers", "*.lock"))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range paths {
		errs = append(errs, removeLock(path))
	}
	return errors.Join(errs...)
}

func removeLock(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if locked, err := tryLock(f, unix.LOCK_EX); err != nil || !locked || !isAt(f, path) {
		return err
	}
	return os.Remove(path)
}
