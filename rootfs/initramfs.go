package rootfs

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/emulation"
	"vmbuild/rootfs/span"
	"vmbuild/rootfs/tree"
)

// An initramfs takes longer to make than all the rest of a build that finds its layer in the cache, and it is the same
// as long as nothing it is made of has changed. So it is a layer too, named by the layer with the kernels and by every change
// that was made on top of it, save for the files that its generator does not read.
var (
	initramfsOutputs = []string{"boot", "var/lib/initramfs-tools"}
	initramfsIgnores = []string{
		"boot/efi", "boot/extlinux", "boot/grub", "dev", "etc/apt", "etc/fstab", "etc/hostname", "etc/hosts", "etc/ld.so.cache",
		"etc/machine-id", "etc/resolv.conf", "home", "proc", "root", "run", "sys", "tmp", "usr/share/doc", "var/cache", "var/lib/apt",
		"var/lib/dbus/machine-id", "var/lib/dpkg", "var/log", "var/tmp",
	}
)

// kernelHooks is where the hooks of kernel packages are.
const kernelHooks = "etc/kernel/postinst.d"

// generators make an initramfs. Which of them a system has is told by the hook that runs it when a kernel is installed.
//
// dracut would by default look at what it runs on, which is no part of the image, and take in only what that needs.
var generators = []struct {
	hook    string
	command func(version string) []string
}{
	{"initramfs-tools", func(v string) []string {
		return []string{"update-initramfs", "-c", "-k", v}
	}},
	{"dracut", func(v string) []string {
		return []string{"dracut", "--force", "--no-hostonly", "/boot/initrd.img-" + v, v}
	}},
}

// MakeInitramfs makes the initramfs of each kernel in the tree, or takes it from the cache.
func (b *Builder) MakeInitramfs(ctx context.Context, s *Stack, target chroot.Runner) (err error) {
	versions, err := kernels(s.Dir)
	if err != nil || len(versions) == 0 {
		return err
	}
	inputs, err := s.initramfsInputs()
	if err != nil {
		return err
	}
	key, what := initramfsKey(inputs), describeInitramfs(versions)
	if s.plain == nil {
		s.plain = &plainModules{temp: b.Temp}
	}
	s.plain.limit = s.epoch
	defer func() { err = errors.Join(err, s.plain.remove()) }()
	b.Event(Event{Stage: "initramfs"})
	ctx, making := span.Start(ctx, span.Stage, "initramfs")
	defer making.End()
	layer, hit, err := b.Cache.Layer(ctx, key, func(ctx context.Context, dir string) error {
		b.missInitramfs(key, what, inputs)
		if narrow(s.arch) {
			if err := s.numberEntries(); err != nil {
				return err
			}
		}
		for _, v := range versions {
			if err := s.generate(ctx, target, v); err != nil {
				return err
			}
		}
		if err := copyInitramfs(s.Dir, dir); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, inputsFile), []byte(strings.Join(inputs, "\n")+"\n"), 0o644)
	})
	if err != nil {
		return err
	}
	if hit {
		b.hit(key, what)
	}
	if err := copyInitramfs(layer, s.Dir); err != nil {
		return err
	}
	return linkKernels(ctx, s.Dir, target, versions)
}

// linkKernels makes the links to kernels and initramfs in /, which kernel packages leave out for an initramfs that shall
// not be made (linux-update-symlinks looks at INITRD).
func linkKernels(ctx context.Context, root string, target chroot.Runner, versions []string) error {
	if _, err := os.Stat(filepath.Join(root, "usr/bin/linux-update-symlinks")); err != nil {
		return nil
	}
	for _, v := range versions {
		link := chroot.Command{Args: []string{"linux-update-symlinks", "install", v, "/boot/vmlinuz-" + v}}
		if err := target.Run(ctx, link); err != nil {
			return fmt.Errorf("link kernel %s: %w", v, err)
		}
	}
	return nil
}

// kernels lists the versions that have a kernel in /boot.
func kernels(root string) ([]string, error) {
	names, err := namesInside(root, "boot")
	if err != nil {
		return nil, fmt.Errorf("look for kernels: %w", err)
	}
	var versions []string
	for _, name := range names {
		stem, version, _ := strings.Cut(name, "-")
		if (stem == "vmlinuz" || stem == "vmlinux") && version != "" {
			versions = append(versions, version)
		}
	}
	slices.Sort(versions)
	return slices.Compact(versions), nil
}

// namesInside lists a directory of the tree; nothing if there is none.
func namesInside(root, dir string) ([]string, error) {
	d, err := openInside(root, dir)
	if err != nil || d == nil {
		return nil, err
	}
	defer d.Close()
	entries, err := fs.ReadDir(d.FS(), ".")
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// rootTypeConfig tells initramfs-tools, while it runs, of what type the root filesystem is, whose fsck it installs then: it
// would ask the device, which is not there yet (hooks/fsck).
const rootTypeConfig = "etc/initramfs-tools/conf.d/root-type"

// tellRootType writes that file; what it returns takes it away.
func (s *Stack) tellRootType() (forget func() error, err error) {
	conf, err := openInside(s.Dir, path.Dir(rootTypeConfig))
	if err != nil || conf == nil || s.RootType == "" {
		return func() error { return nil }, err
	}
	name := path.Base(rootTypeConfig)
	forget = func() error { return errors.Join(conf.Remove(name), conf.Close()) }
	if err := conf.WriteFile(name, []byte("FSTYPE="+s.RootType+"\n"), 0o644); err != nil {
		return forget, errors.Join(err, forget())
	}
	return forget, nil
}

// narrow says whether programs of an architecture have 32 bits and are emulated.
func narrow(name string) bool {
	a, err := arch.Lookup(name)
	return err == nil && a.ELF.Class == elf.ELFCLASS32 && isEmulated(name)
}

// isEmulated says whether programs of an architecture are emulated.
func isEmulated(name string) bool {
	a, err := arch.Lookup(name)
	return err == nil && !emulation.Native(a)
}

// walkedByGenerators are directories of which generators take what they find.
var walkedByGenerators = []string{"lib/modules", "lib/firmware"}

// numberEntries has overlayfs number the entries of those directories. On ext4 they have offsets of 64 bits, for which
// emulated programs of a 32-bit architecture have no room: readdir(3) ends before its time with EOVERFLOW, and dracut-install
// leaves out most drivers without a word. Overlayfs itself counts the entries of a directory that is in more than one layer,
// and setting a directory's time copies it, but not what is in it, to the upper one.
func (s *Stack) numberEntries() error {
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return fmt.Errorf("prepare the initramfs: %w", err)
	}
	defer root.Close()
	for _, dir := range walkedByGenerators {
		err := fs.WalkDir(root.FS(), dir, func(name string, e fs.DirEntry, err error) error {
			if err != nil || !e.IsDir() {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			return root.Chtimes(name, info.ModTime(), info.ModTime())
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("prepare the initramfs: %w", err)
		}
	}
	return nil
}

// generate makes the initramfs of one kernel.
func (s *Stack) generate(ctx context.Context, target chroot.Runner, version string) (err error) {
	forget, err := s.tellRootType()
	if err != nil {
		return fmt.Errorf("make the initramfs of kernel %s: %w", version, err)
	}
	defer func() { err = errors.Join(err, forget()) }()
	hooks, err := namesInside(s.Dir, kernelHooks)
	if err != nil {
		return fmt.Errorf("make the initramfs of kernel %s: %w", version, err)
	}
	if err := s.checkPlain(version); err != nil {
		return fmt.Errorf("make the initramfs of kernel %s: %w", version, err)
	}
	ours, err := runSideBySide(ctx, programs{root: s.Dir, target: target, emulated: isEmulated(s.arch), plain: s.plain})
	if err != nil {
		return fmt.Errorf("make the initramfs of kernel %s: %w", version, err)
	}
	defer func() { err = errors.Join(err, ours.remove()) }()
	for _, g := range generators {
		if !slices.Contains(hooks, g.hook) {
			continue
		}
		if err := ours.Run(ctx, chroot.Command{Args: g.command(version)}); err != nil {
			return fmt.Errorf("make the initramfs of kernel %s: %w", version, err)
		}
	}
	return nil
}

// checkPlain forgets the modules of a kernel that were decompressed when it was installed, if the tree has others by now. A
// dracut-install of 32 bits that is emulated might not see all of them (see numberEntries).
func (s *Stack) checkPlain(version string) error {
	mirrors, err := s.plain.mirrors(s.Dir, version)
	if err != nil || mirrors && !narrow(s.arch) {
		return err
	}
	return s.plain.forget(plainKernel, version)
}

// copyInitramfs copies what generators write from one tree to another.
func copyInitramfs(from, to string) error {
	for _, dir := range initramfsOutputs {
		if err := copyInitramfsDir(from, to, dir); err != nil {
			return fmt.Errorf("copy the initramfs: %w", err)
		}
	}
	return nil
}

func copyInitramfsDir(from, to, dir string) error {
	in, err := openInside(from, dir)
	if err != nil || in == nil {
		return err
	}
	defer in.Close()
	out, err := openInside(to, dir)
	if err == nil && out == nil { // a new layer
		if err = os.MkdirAll(filepath.Join(to, dir), 0o755); err == nil {
			out, err = openInside(to, dir)
		}
	}
	if err != nil {
		return err
	}
	defer out.Close()
	entries, err := fs.ReadDir(in.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || dir == "boot" && !strings.HasPrefix(e.Name(), "initrd.img-") {
			continue
		}
		if err := copyFile(in, out, e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies content, mode and time of a regular file from one directory to another.
func copyFile(in, out *os.Root, name string) error {
	info, err := in.Lstat(name)
	if err != nil {
		return err
	}
	if err := out.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	from, err := in.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := out.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	if err := errors.Join(tree.CopyBytes(from, to), to.Close()); err != nil {
		return err
	}
	if err := out.Chmod(name, info.Mode().Perm()); err != nil {
		return err
	}
	return out.Chtimes(name, info.ModTime(), info.ModTime())
}

// initramfsInputs lists what the initramfs is made of, a line each: its subject, a tab, what there is to know of it.
func (s *Stack) initramfsInputs() ([]string, error) {
	list, err := s.listInputs()
	if err != nil {
		return nil, fmt.Errorf("look at what the initramfs is made of: %w", err)
	}
	return list, nil
}

func (s *Stack) listInputs() ([]string, error) {
	in, err := s.inputs()
	if err != nil {
		return nil, err
	}
	list := []string{
		"initramfs\t6", "the layer below\t" + in.bottom, fmt.Sprintf("the epoch\t%d", s.epoch.Unix()), "the root file system\t" + s.RootType,
	}
	mounts, err := mountInputs(filepath.Join(s.Dir, "etc/fstab"))
	if err != nil {
		return nil, err
	}
	list = append(list, mounts...)
	for _, dir := range in.changes {
		changes, err := in.list(dir)
		if err != nil {
			return nil, err
		}
		list = append(list, changes...)
	}
	return list, nil
}

// initramfsKey names the initramfs that is made of a list.
func initramfsKey(inputs []string) string {
	sum := sha256.Sum256([]byte(strings.Join(inputs, "\n")))
	return hex.EncodeToString(sum[:])
}

// inputs are what an initramfs is made of: a layer, and what has changed since, in directories as overlayfs keeps them. Nothing
// of a change matters that the generator cannot read.
type inputs struct {
	bottom  string   // key of the layer
	changes []string // topmost first
	below   []string // trees that were there before the changes
	reads   *reads   // nil: anything may be read
}

// inputs leaves changes out where initramfs-tools makes the initramfs, and where there is a layer that they can be told from.
func (s *Stack) inputs() (inputs, error) {
	in := inputs{changes: []string{s.upper}}
	if s.base == nil {
		return in, nil
	}
	hooks, err := namesInside(s.Dir, kernelHooks)
	if err != nil || !slices.Contains(hooks, generators[0].hook) || slices.Contains(hooks, generators[1].hook) {
		in.bottom = s.base.keys[0]
		return in, err
	}
	last := len(s.base.Dirs) - 1
	in.bottom, in.below = s.base.keys[last], s.base.Dirs[last:]
	in.changes = append(in.changes, s.base.Dirs[:last]...)
	in.reads, err = readsOf(s.Dir)
	return in, err
}

// list lists the changes in a directory.
func (in inputs) list(dir string) ([]string, error) {
	var list []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if slices.Contains(initramfsIgnores, name) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !in.matters(name, path, e) {
			return nil
		}
		line, err := changeInput(path, name, e)
		list = append(list, line)
		return err
	})
	return list, err
}

// matters says whether a change may be one of what is read.
func (in inputs) matters(name, path string, e fs.DirEntry) bool {
	if in.reads == nil {
		return true
	}
	replaces := slices.ContainsFunc(in.below, func(tree string) bool {
		_, err := os.Lstat(filepath.Join(tree, name))
		return err == nil
	})
	if replaces && e.IsDir() {
		return isOpaque(path) // else it is there for what is in it
	}
	return in.reads.may("/"+name) || replaces && isLibrary(name)
}

// mountInputs is what an initramfs takes from fstab: not which filesystem is mounted where, but of what type it is.
func mountInputs(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) >= 4 && !strings.HasPrefix(f[0], "#") {
			list = append(list, fmt.Sprintf("the mount of %q\t%q %q", f[1], f[2], f[3]))
		}
	}
	return list, nil
}

// changeInput is one change of an overlay's upper directory: what is new, other or (a device 0:0) gone.
func changeInput(path, name string, e fs.DirEntry) (string, error) {
	info, err := e.Info()
	if err != nil {
		return "", err
	}
	line := fmt.Sprintf("/%s\t%v", strings.Trim(strconv.Quote(name), `"`), info.Mode())
	switch {
	case info.Mode().IsRegular():
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		h := sha256.New()
		_, err = io.Copy(h, f)
		return fmt.Sprintf("%s %x", line, h.Sum(nil)), err
	case info.Mode()&fs.ModeSymlink != 0:
		to, err := os.Readlink(path)
		return fmt.Sprintf("%s %q", line, to), err
	case info.IsDir():
		return fmt.Sprintf("%s opaque %t", line, isOpaque(path)), nil
	}
	return line, nil
}

// isOpaque says whether an overlay's directory hides what is below it.
func isOpaque(path string) bool {
	var value [1]byte
	for _, name := range []string{"user.overlay.opaque", "trusted.overlay.opaque"} {
		if n, err := unix.Lgetxattr(path, name, value[:]); err == nil && n == 1 && value[0] == 'y' {
			return true
		}
	}
	return false
}
