package image

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"vmbuild/hooks"
	"vmbuild/image/output"
	"vmbuild/partition/filesystem"
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

// systemRoom is about what the default packages of trixie take in a filesystem.
const systemRoom = 512 * mib

// scratchRoom is what a disk that is no product, or filesystems that are made beside it, take besides. Filesystems that can
// be read without being written take nothing.
func (p *Plan) scratchRoom() int64 {
	var room int64
	if p.Layout == nil {
		return room
	}
	raw := slices.ContainsFunc(p.Products, func(p Product) bool { return p.Format == rawDisk })
	for _, part := range p.Layout.Partitions {
		fs, err := filesystem.Lookup(part.Filesystem)
		if err != nil {
			continue
		}
		if fs.Scratch {
			room += systemRoom
		}
		if fs.POSIX && !fs.Planned() && !raw {
			room += systemRoom
		}
	}
	return room
}

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
	add(checkEmulator(p))
	for _, path := range p.Rootfs.Keyrings {
		add(checkKeyring(path))
	}
	for _, hook := range p.Hooks {
		add(checkHook(hook))
	}
	for _, path := range p.Rootfs.Include {
		if filepath.IsAbs(path) {
			add(checkDeb(path))
		}
	}
	add(checkSeed(p))
	add(checkOwner(p.Owner))
	add(checkRoom("the cache (--cache-dir)", h.Cache, cacheRoom))
	add(checkRoom("temporary files (TMPDIR)", h.Temp, tempRoom+p.scratchRoom()))
	for _, product := range p.Products {
		add(checkProduct(product))
	}
	for _, path := range p.lists() {
		add(checkProduct(Product{Option: "--pkglist", Path: path, Format: tarTree}))
	}
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

// checkEmulator says why the program of --foreign cannot run others in a tree, where it has no libraries of its own. It is
// not looked at where none is needed.
func checkEmulator(p *Plan) error {
	a, err := arch.Lookup(p.Rootfs.Arch)
	if err != nil || p.Emulator == "" || emulation.Native(a) {
		return nil
	}
	program, err := elf.Open(p.Emulator)
	if err != nil {
		return fmt.Errorf("--foreign: %w", err)
	}
	defer program.Close()
	for _, segment := range program.Progs {
		if segment.Type == elf.PT_INTERP {
			return fmt.Errorf("--foreign=%s is not a static program: take that of package qemu-user-static, or leave the option out", p.Emulator)
		}
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

// checkHook looks for the program of a hook.
func checkHook(h hooks.Hook) error {
	option := "--" + string(h.Stage) + "-hook"
	if h.Path != "" {
		option = "--customize"
	}
	if _, err := hooks.Find(h); err != nil {
		return fmt.Errorf("%s=%s: %w", option, h, err)
	}
	return nil
}

// checkDeb looks at a package file; which package it is, the build reads.
func checkDeb(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("--custom-package: %w", err)
	}
	defer f.Close()
	magic := make([]byte, len(debMagic))
	if _, err := io.ReadFull(f, magic); err != nil || string(magic) != debMagic {
		return fmt.Errorf("--custom-package=%s is not a package file (deb(5))", path)
	}
	return nil
}

// debMagic is how an ar(5) archive begins, of which deb(5) files are a kind.
const debMagic = "!<arch>\n"

// checkOwner says why the products cannot be given to a user.
func checkOwner(name string) error {
	if name == "" {
		return nil
	}
	uid, _, err := lookupOwner(name)
	if err == nil && uid != os.Geteuid() && os.Geteuid() != 0 {
		err = fmt.Errorf("--owner=%s: only root can give files to somebody else", name)
	}
	return err
}

// checkProduct says why a product cannot be written to its path.
func checkProduct(p Product) error {
	facts, err := output.Look(p.Path)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Option, err)
	}
	format, err := output.Lookup(p.Format)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Option, err)
	}
	switch dir := filepath.Dir(filepath.Clean(p.Path)); {
	case facts.NoParent != "":
		return fmt.Errorf("%s=%s: %s is not a directory: make it first", p.Option, p.Path, facts.NoParent)
	case facts.Kind == output.Directory && !format.InPlace:
		return fmt.Errorf("%s=%s is a directory: name a file in it", p.Option, p.Path)
	case facts.Kind != output.Missing && facts.Kind != output.Directory && format.InPlace:
		return fmt.Errorf("%s=%s is there and is not a directory", p.Option, p.Path)
	case facts.Kind != output.Missing && facts.Kind != output.Regular && !format.InPlace && !format.Stream:
		return fmt.Errorf("%s=%s is not a regular file: name another one, and copy the image", p.Option, p.Path)
	case p.Format == plainTree && facts.Holds != "":
		return fmt.Errorf("%s=%s is not empty: it has %s", p.Option, p.Path, facts.Holds)
	case facts.Kind != output.Directory && unix.Access(dir, unix.W_OK) != nil:
		return fmt.Errorf("%s=%s: no permission to write in %s", p.Option, p.Path, dir)
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
