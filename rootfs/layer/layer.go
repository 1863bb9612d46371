package layer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Build fills the empty directory dir. It must not keep anything in it open or mounted.
type Build func(ctx context.Context, dir string) error

// Layer returns the directory that was built under key, the SHA256 (hexadecimal) of everything that goes into it. If
// there is none it calls build, while others who want the same layer wait; hit is false then. A build that fails leaves
// nothing. The directory must not be changed. It stays in the cache at least until c is closed.
//
// The files of a layer may belong to subordinate ids: what builds, replaces or removes one should run in the user
// namespace of the build.
func (c *Cache) Layer(ctx context.Context, key string, build Build) (path string, hit bool, err error) {
	if !isSum(key) {
		return "", false, fmt.Errorf("look up layer: %q is not a SHA256", key)
	}
	dir := c.path("layers", key)
	hit, err = c.use(ctx, dir, "")
	if err == nil && !hit {
		hit, err = c.make(ctx, dir, build)
	}
	if err != nil {
		return "", false, fmt.Errorf("build layer: %w", err)
	}
	return treePath(dir), hit, nil
}

// make builds the layer dir unless another has done so before the lock is free.
func (c *Cache) make(ctx context.Context, dir string, build Build) (hit bool, err error) {
	lock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.Remove(lock.Name()), lock.Close()) }()
	for built := ""; ; { // more than once only where a Prune came between building and using it
		if found, err := c.use(ctx, dir, built); found || err != nil {
			return found && built == "", err
		}
		if err := c.clear(ctx, dir); err != nil {
			return false, err
		}
		if built, err = c.build(ctx, dir, build); err != nil {
			return false, err
		}
	}
}

// clear removes a layer that is of no use to make room for another, as soon as nobody holds it.
func (c *Cache) clear(ctx context.Context, dir string) error {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := waitLock(ctx, f, unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", dir, err)
	}
	if !isAt(f, dir) {
		return nil
	}
	return c.takeAway(f, dir)
}

// takeAway removes the layer dir, whose lock f holds: for others it is gone at once, as a whole, even if this process
// is killed meanwhile. It closes f before the removal begins, so that nobody waits for that.
func (c *Cache) takeAway(f *os.File, dir string) error {
	temp, err := c.TempDir("removed-")
	if err != nil {
		return err
	}
	err = os.Rename(dir, filepath.Join(temp.Path, "layer"))
	return errors.Join(err, f.Close(), temp.Close())
}

func treePath(layer string) string { return filepath.Join(layer, "tree") }

// build makes the layer dir, in whose place there is nothing, and returns its fingerprint.
func (c *Cache) build(ctx context.Context, dir string, build Build) (made string, err error) {
	temp, err := c.TempDir("layer-")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, temp.Close())
		}
	}()
	if err := os.Mkdir(treePath(temp.Path), 0o755); err != nil {
		return "", err
	}
	if err := build(ctx, treePath(temp.Path)); err != nil {
		return "", err
	}
	if made, err = mark(ctx, temp.Path); err != nil {
		return "", err
	}
	if err := os.Rename(temp.Path, dir); err != nil {
		return "", err
	}
	return made, temp.lock.Close()
}

// durable is what a layer's mark says once all of it is known to be on the disk. Until then it holds the id of the boot
// that the layer was made in: the layer is whole as long as the machine has not been started again. So nobody waits
// for 400 MB to be written, and a power cut costs a layer, not a broken image.
const durable = "on disk"

// writeback is how long the kernel keeps written data to itself; vm.dirty_expire_centisecs is 30 s by default. To sync
// a layer that is older costs next to nothing.
const writeback = time.Minute

func markPath(layer string) string { return filepath.Join(layer, "complete") }

// mark notes that the layer is whole, and what its files are like: their fingerprint, which it returns.
func mark(ctx context.Context, layer string) (string, error) {
	boot, err := bootID()
	if err != nil {
		return "", err
	}
	sum, err := fingerprint(ctx, treePath(layer))
	if err != nil {
		return "", err
	}
	return sum, os.WriteFile(markPath(layer), []byte(markText(boot, sum)), 0o644)
}

// markText is the content of a mark: since when the layer is whole, and its fingerprint.
func markText(since, fingerprint string) string { return since + "\n" + fingerprint + "\n" }

// bootID names the time since the machine was started (random(4)).
func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id)), err
}

// state is what a layer's mark says of it.
type state int

const (
	unmarked state = iota // it is not whole
	lost                  // it may have been whole before the machine was started
	fresh                 // it is whole as long as the machine runs
	onDisk                // it is whole
)

// stateOf returns also the fingerprint that the mark has.
func stateOf(layer string) (s state, fingerprint string, err error) {
	data, err := os.ReadFile(markPath(layer))
	if errors.Is(err, fs.ErrNotExist) {
		return unmarked, "", nil
	}
	if err != nil {
		return unmarked, "", err
	}
	since, fingerprint, _ := strings.Cut(strings.TrimSuffix(string(data), "\n"), "\n")
	if since == durable {
		return onDisk, fingerprint, nil
	}
	boot, err := bootID()
	if err != nil {
		return unmarked, "", err
	}
	if since == boot {
		return fresh, fingerprint, nil
	}
	return lost, fingerprint, nil
}

// use takes the layer for as long as c is open, if it is whole. One that c has taken already was, and one of the fingerprint that was
// computed just now is.
func (c *Cache) use(ctx context.Context, dir, built string) (bool, error) {
	if c.holds(dir) {
		return true, nil
	}
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	whole := false
	err = waitLock(ctx, f, unix.LOCK_SH) // whoever has it alone, renames it and is done
	if err == nil && isAt(f, dir) {
		whole, err = c.isWhole(ctx, f, built)
	}
	if err != nil || !whole {
		return false, errors.Join(err, f.Close())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used = append(c.used, f)
	return true, nil
}

// reject notes that a layer was there, but not as it was made.
func (c *Cache) reject(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rejected = append(c.rejected, key)
}

// Rejected says whether Layer has found a layer with that key that somebody has changed, and made it anew.
func (c *Cache) Rejected(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.rejected, key)
}

func (c *Cache) holds(dir string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.used, func(f *os.File) bool { return f.Name() == dir && isAt(f, dir) })
}

// isWhole reads the mark of the layer that is open as f, and notes that the layer was used.
func (c *Cache) isWhole(ctx context.Context, f *os.File, built string) (bool, error) {
	path := markPath(f.Name())
	s, made, err := stateOf(f.Name())
	if err != nil || s == unmarked || s == lost {
		return false, err
	}
	if built == "" || made != built {
		now, err := fingerprint(ctx, treePath(f.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) || now != made {
			c.reject(filepath.Base(f.Name()))
			return false, ctx.Err()
		}
	}
	if s == onDisk {
		return true, touch(path)
	}
	info, err := os.Stat(path)
	if err != nil || time.Since(info.ModTime()) < writeback {
		return true, err
	}
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return false, os.NewSyscallError("syncfs", err)
	}
	return true, c.replace(path, []byte(markText(durable, made)), time.Now())
}
