package layer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	hit, err = c.use(dir)
	if err == nil && !hit {
		hit, err = c.make(ctx, dir, build)
	}
	if err != nil {
		return "", false, fmt.Errorf("build layer: %w", err)
	}
	return tree(dir), hit, nil
}

// make builds the layer dir unless another has done so before the lock is free.
func (c *Cache) make(ctx context.Context, dir string, build Build) (hit bool, err error) {
	lock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.Remove(lock.Name()), lock.Close()) }()
	if hit, err := c.use(dir); hit || err != nil {
		return hit, err
	}
	if err := c.build(ctx, dir, build); err != nil {
		return false, err
	}
	_, err = c.use(dir)
	return false, err
}

func tree(layer string) string { return filepath.Join(layer, "tree") }

// build makes the layer dir, in whose place there is nothing or something incomplete.
func (c *Cache) build(ctx context.Context, dir string, build Build) (err error) {
	temp, err := c.TempDir("layer-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, temp.Close())
		}
	}()
	if err := os.Mkdir(tree(temp.Path), 0o755); err != nil {
		return err
	}
	if err := build(ctx, tree(temp.Path)); err != nil {
		return err
	}
	if err := mark(temp.Path); err != nil {
		return err
	}
	if err := remove(dir); err != nil {
		return err
	}
	if err := os.Rename(temp.Path, dir); err != nil {
		return err
	}
	return temp.lock.Close()
}

// durable is what a layer's mark says once all of it is known to be on the disk. Until then it holds the id of the boot
// that the layer was made in: the layer is whole as long as the machine has not been started again. So nobody waits
// for 400 MB to be written, and a power cut costs a layer, not a broken image.
const durable = "on disk"

// writeback is how long the kernel keeps written data to itself; vm.dirty_expire_centisecs is 30 s by default. To sync
// a layer that is older costs next to nothing.
const writeback = time.Minute

func markPath(layer string) string { return filepath.Join(layer, "complete") }

// mark notes that the layer is whole.
func mark(layer string) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	return os.WriteFile(markPath(layer), []byte(boot), 0o644)
}

// bootID names the time since the machine was started (random(4)).
func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id)), err
}

// use takes the layer for as long as c is open, if it is whole.
func (c *Cache) use(dir string) (bool, error) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	shared, err := tryLock(f, unix.LOCK_SH)
	if err == nil && shared && isAt(f, dir) {
		shared, err = isWhole(f)
	}
	if err != nil || !shared {
		return false, errors.Join(err, f.Close())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used = append(c.used, f)
	return true, nil
}

// isWhole reads the mark of the layer that is open as f, and notes that the layer was used.
func isWhole(f *os.File) (bool, error) {
	path := markPath(f.Name())
	said, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if string(said) == durable {
		return true, touch(path)
	}
	boot, err := bootID()
	if err != nil || string(said) != boot {
		return false, err
	}
	info, err := os.Stat(path)
	if err != nil || time.Since(info.ModTime()) < writeback {
		return true, err
	}
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return false, os.NewSyscallError("syncfs", err)
	}
	return true, os.WriteFile(path, []byte(durable), 0o644)
}
