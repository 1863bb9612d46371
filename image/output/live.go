package output

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"vmbuild/image/live/medium"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/layer"
	"vmbuild/rootfs/tree"
)

// smallestLive is what a squashfs of less bytes cannot be: a system.
const smallestLive = 1 << 20

// liveBlock is mksquashfs's own choice, in bytes. A running system reads here and there, each time a whole block: a live
// system in blocks of 1 MiB starts slowly.
const liveBlock = 128 << 10

// writeLive makes what a live system is started from: the tree as a squashfs, its kernels and their initramfs by their
// names and the newest as vmlinuz and initrd.img, and what starts them by UEFI, where the tree has it. All is readable
// for everybody.
func writeLive(ctx context.Context, j Job) error {
	to, err := os.OpenRoot(handlePath(j.Out))
	if err != nil {
		return err
	}
	defer to.Close()
	from, err := os.OpenRoot(j.Tree.Dir)
	if err != nil {
		return err
	}
	defer from.Close()
	files, err := liveFiles(from)
	if err != nil {
		return err
	}
	if err := squashLive(ctx, j, to); err != nil {
		return err
	}
	for _, f := range files {
		if err := j.copyLive(ctx, from, to, f); err != nil {
			return fmt.Errorf("copy /%s: %w", f.From, err)
		}
	}
	return j.writeMenu(to)
}

// squashLive writes filesystem.squashfs.
func squashLive(ctx context.Context, j Job, to *os.Root) (err error) {
	f, err := to.OpenFile(medium.Squashfs, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	dir := destination(j.Out)
	j.Out = f
	if err := squash(ctx, j, liveBlock); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < smallestLive {
		return fmt.Errorf("--squash=%s: %s has only %d bytes, so the tree is no system that could be started: "+
			"look at what was installed", dir, medium.Squashfs, info.Size())
	}
	return j.settleLive(to, medium.Squashfs)
}

// liveFiles lists what is copied out of the tree.
func liveFiles(root *os.Root) ([]medium.File, error) {
	files, err := kernelFiles(root)
	if err != nil {
		return nil, err
	}
	for _, a := range arch.All() {
		loaders, err := medium.Loaders(root.FS(), a)
		if err != nil {
			return nil, err
		}
		files = append(files, loaders...)
	}
	return files, nil
}

// kernelFiles lists the kernels in /boot, each with its initramfs.
func kernelFiles(root *os.Root) ([]medium.File, error) {
	names, err := fs.Glob(root.FS(), "boot/vmlinu[xz]-*")
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errors.New("the tree has no kernel in /boot (vmlinuz-VERSION), without which no live system starts: " +
			"leave out --no-kernel, or install one (--package=linux-image-ARCH)")
	}
	slices.SortFunc(names, compareVersions)
	var files []medium.File
	for _, kernel := range names {
		_, version, _ := strings.Cut(kernel, "-")
		initrd := "boot/initrd.img-" + version
		if _, err := root.Stat(initrd); err != nil {
			return nil, fmt.Errorf("kernel /%s has no initramfs /%s: install live-boot and initramfs-tools", kernel, initrd)
		}
		files = append(files, medium.File{From: kernel, To: path.Base(kernel)}, medium.File{From: initrd, To: path.Base(initrd)})
	}
	newest := files[len(files)-2:]
	return append(files, medium.File{From: newest[0].From, To: medium.Kernel},
		medium.File{From: newest[1].From, To: medium.Initrd}), nil
}

// compareVersions orders names with versions in them: numbers as such, the rest by bytes.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		x, restA := leading(a)
		y, restB := leading(b)
		n, errN := strconv.ParseUint(x, 10, 64)
		m, errM := strconv.ParseUint(y, 10, 64)
		order := cmp.Compare(x, y)
		if errN == nil && errM == nil {
			order = cmp.Or(cmp.Compare(n, m), order)
		}
		if order != 0 {
			return order
		}
		a, b = restA, restB
	}
	return cmp.Compare(len(a), len(b))
}

// leading splits off the digits that a text begins with, or what comes before its first digit.
func leading(s string) (part, rest string) {
	digits := unicode.IsDigit(rune(s[0]))
	end := strings.IndexFunc(s, func(r rune) bool { return unicode.IsDigit(r) != digits })
	if end < 0 {
		end = len(s)
	}
	return s[:end], s[end:]
}

// copyLive copies a file of the tree; the newest kernel and initramfs are hard links, where the filesystem has them.
func (j Job) copyLive(ctx context.Context, from, to *os.Root, f medium.File) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := makeDirs(to, path.Dir(f.To)); err != nil {
		return err
	}
	if (f.To == medium.Kernel || f.To == medium.Initrd) && to.Link(path.Base(f.From), f.To) == nil {
		return nil
	}
	in, err := from.Open(f.From)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := to.OpenFile(f.To, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if err := errors.Join(tree.CopyBytes(in, out), out.Close()); err != nil {
		return err
	}
	return j.settleLive(to, f.To)
}

// writeMenu has the boot loaders, if there are any, start the system from a medium whose root directory this one becomes.
func (j Job) writeMenu(to *os.Root) error {
	for _, a := range arch.All() {
		if _, err := to.Stat("EFI/BOOT/BOOT" + a.EFI + ".EFI"); err != nil {
			continue
		}
		if err := makeDirs(to, path.Dir(medium.Menu)); err != nil {
			return err
		}
		if err := to.WriteFile(medium.Menu, []byte(medium.GRUB{Arch: a, Dir: "/"}.Text()), 0o644); err != nil {
			return err
		}
		return j.settleLive(to, medium.Menu)
	}
	return nil
}

// makeDirs makes a directory and those above it.
func makeDirs(to *os.Root, dir string) error {
	if dir == "." {
		return nil
	}
	if err := makeDirs(to, path.Dir(dir)); err != nil {
		return err
	}
	err := to.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return errors.Join(err, to.Chmod(dir, 0o755)) // whatever the umask is
}

// settleLive sets the mode, whatever the umask is, and the time that every build of the tree gives.
func (j Job) settleLive(to *os.Root, name string) error {
	return errors.Join(to.Chmod(name, 0o644), to.Chtimes(name, j.Epoch, j.Epoch))
}

// liveDirectory is a directory that gets files of ours beside those of others. They are made in a hidden directory: that
// one appears, or if there is a directory already the files take their places in it.
type liveDirectory struct {
	*directory
	there bool
}

// liveHidden begins the name of the hidden directory in a directory that is there.
const liveHidden = ".vmbuild-live-"

func openLive(target string) (Target, error) {
	path := filepath.Clean(target)
	if _, err := os.Stat(path); err != nil {
		t, err := openDirectory(path)
		if err != nil {
			return nil, err
		}
		return &liveDirectory{directory: t.(*directory)}, nil
	}
	_ = layer.Sweep(path, liveHidden) // another's leftovers are not this one's error
	temp, err := layer.TempDir(path, liveHidden)
	if err != nil {
		return nil, fmt.Errorf("open target %s: %w", path, err)
	}
	f, err := os.Open(temp.Path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open target %s: %w", path, err), temp.Close())
	}
	return &liveDirectory{directory: &directory{File: f, path: path, temp: temp}, there: true}, nil
}

// Commit makes the directory appear, or the files in the one that is there: each as a whole, in place of an older one.
func (d *liveDirectory) Commit() error {
	if !d.there {
		if err := d.Chmod(0o755); err != nil {
			return fmt.Errorf("commit target %s: %w", d.path, err)
		}
		return d.directory.Commit()
	}
	if err := moveFiles(d.temp.Path, d.path); err != nil {
		return fmt.Errorf("commit target %s: %w", d.path, err)
	}
	return syncDir(d.path)
}

// moveFiles moves all files below a directory to the same places below another one of the same filesystem.
func moveFiles(from, to string) error {
	root, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(os.DirFS(from), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if e.IsDir() {
			return makeDirs(root, name)
		}
		return os.Rename(filepath.Join(from, name), filepath.Join(to, name))
	})
}

// destination is the path of the directory that a handle of a liveDirectory will be, for messages.
func destination(f *os.File) string {
	path, err := os.Readlink(handlePath(f))
	if err != nil {
		return f.Name()
	}
	parent, name := filepath.Split(path)
	if strings.HasPrefix(name, liveHidden) {
		return filepath.Clean(parent)
	}
	if i := strings.LastIndex(name, ".vmbuild-"); i > 0 {
		name = strings.TrimPrefix(name[:i], ".")
	}
	return filepath.Join(parent, name)
}

// ChooseLive says whether a target can be a live directory, a form that Choose never gives.
func ChooseLive(target string, at Facts) (Format, error) {
	f, err := Lookup("live")
	if err == nil {
		err = f.accepts(target, at)
	}
	return f, err
}
