package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"vmbuild/hooks"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/emulation"
	"vmbuild/rootfs/namespace"
)

// MissingError lists what this host lacks for a plan, each with its remedy.
type MissingError struct {
	Problems []string
}

func (e *MissingError) Error() string { return strings.Join(e.Problems, "\n") }

// Room that a build takes, measured with the default packages of trixie and rounded up: downloads and layer in the
// cache, initramfs and copies in the temporary directory.
const (
	cacheRoom = 1536 * mib
	tempRoom  = 256 * mib
)

// Check looks at the host for everything the plan needs and returns all that is missing at once, as a *MissingError.
func Check(p *Plan, h Host) error {
	var problems []string
	add := func(err error) {
		if err != nil {
			problems = append(problems, strings.Split(err.Error(), "\n")...)
		}
	}
	add(namespace.Check())
	add(checkArch(p.Rootfs.Arch))
	for _, path := range p.Rootfs.Keyrings {
		add(checkKeyring(path))
	}
	for _, hook := range p.Hooks {
		_, err := hooks.Find(hook)
		add(err)
	}
	add(checkRoom("the cache (--cache-dir)", h.Cache, cacheRoom))
	add(checkRoom("temporary files (TMPDIR)", h.Temp, tempRoom))
	add(checkOutput(p.Image))
	if len(problems) > 0 {
		return &MissingError{problems}
	}
	return nil
}

// checkArch refuses what this host cannot run, not even by emulation: packages' own scripts are programs of the image's
// architecture.
func checkArch(name string) error {
	a, err := arch.Lookup(name)
	if err != nil {
		return err
	}
	if err := emulation.Check(a); err != nil {
		return fmt.Errorf("--arch=%s: %w", name, err)
	}
	return nil
}

func checkKeyring(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("--keyring: %w", err)
	}
	return f.Close()
}

func checkOutput(path string) error {
	dir := filepath.Dir(path)
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		return fmt.Errorf("--image=%s is a directory: name a file in it", path)
	} else if err == nil && !fi.Mode().IsRegular() {
		return fmt.Errorf("--image=%s is not a regular file: name another one, and copy the image", path)
	}
	if fi, err := os.Stat(dir); err != nil || !fi.IsDir() {
		return fmt.Errorf("--image=%s: %s is not a directory: make it first", path, dir)
	}
	if err := unix.Access(dir, unix.W_OK); err != nil {
		return fmt.Errorf("--image=%s: no permission to write in %s", path, dir)
	}
	return nil
}

// checkRoom demands free bytes where dir is or will be.
func checkRoom(what, dir string, need int64) error {
	var fs unix.Statfs_t
	err := unix.Statfs(dir, &fs)
	for errors.Is(err, unix.ENOENT) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		err = unix.Statfs(dir, &fs)
	}
	if err != nil {
		return fmt.Errorf("look for room for %s in %s: %w", what, dir, err)
	}
	if free := int64(fs.Bavail) * fs.Bsize; free < need {
		return fmt.Errorf("%s has %d MB of free space left in %s, a build needs %d MB", what, free/1e6, dir, need/1e6)
	}
	return nil
}
