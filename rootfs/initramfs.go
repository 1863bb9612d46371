package rootfs

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/emulation"
	"vmbuild/rootfs/tree"
)

// An initramfs takes longer to make than all the rest of a build that finds its layer in the cache, and it is the same
// as long as nothing it is made of has changed. So it is a layer too, named by the layer below and by every change that
// the build made on top of it, save for the files that neither initramfs-tools nor dracut reads.
var (
	initramfsOutputs = []string{"boot", "var/lib/initramfs-tools"}
	initramfsIgnores = []string{
		"boot/efi", "boot/extlinux", "boot/grub", "etc/apt", "etc/fstab", "etc/hostname", "etc/hosts", "etc/machine-id",
		"etc/resolv.conf", "home", "root", "run", "tmp", "usr/share/doc", "var/cache", "var/log", "var/tmp",
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
func (b *Builder) MakeInitramfs(ctx context.Context, s *Stack, target chroot.Runner) error {
	versions, err := kernels(s.Dir)
	if err != nil || len(versions) == 0 {
		return err
	}
	key, err := s.initramfsKey()
	if err != nil {
		return err
	}
	b.Event(Event{Stage: "initramfs"})
	layer, _, err := b.Cache.Layer(ctx, key, func(ctx context.Context, dir string) error {
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
		return copyInitramfs(s.Dir, dir)
	})
	if err != nil {
		return err
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
	return err == nil && a.ELF.Class == elf.ELFCLASS32 && !emulation.Native(a)
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
	for _, g := range generators {
		if !slices.Contains(hooks, g.hook) {
			continue
		}
		if err := target.Run(ctx, chroot.Command{Args: g.command(version)}); err != nil {
			return fmt.Errorf("make the initramfs of kernel %s: %w", version, err)
		}
	}
	return nil
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

// initramfsKey names the initramfs by what it is made of.
func (s *Stack) initramfsKey() (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "initramfs 5\n%s\n%d\n%s\n", s.layer, s.epoch.Unix(), s.RootType)
	if err := hashFSTab(h, filepath.Join(s.Dir, "etc/fstab")); err != nil {
		return "", fmt.Errorf("name the initramfs: %w", err)
	}
	err := filepath.WalkDir(s.upper, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(s.upper, path)
		if err != nil {
			return err
		}
		if slices.Contains(initramfsIgnores, name) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return hashEntry(h, path, name, e)
	})
	if err != nil {
		return "", fmt.Errorf("name the initramfs: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// hashFSTab adds what an initramfs takes from fstab: not which filesystem is mounted where, but of what type it is.
func hashFSTab(h hash.Hash, path string) error {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) >= 4 && !strings.HasPrefix(f[0], "#") {
			fmt.Fprintf(h, "mount %q %q %q\n", f[1], f[2], f[3])
		}
	}
	return nil
}

// hashEntry adds one change of an overlay's upper directory: what is new, other or (a device 0:0) gone.
func hashEntry(h hash.Hash, path, name string, e fs.DirEntry) error {
	info, err := e.Info()
	if err != nil {
		return err
	}
	fmt.Fprintf(h, "%q %v\n", name, info.Mode())
	switch {
	case info.Mode().IsRegular():
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		fmt.Fprintf(h, "%d\n", info.Size())
		_, err = io.Copy(h, f)
		return err
	case info.Mode()&fs.ModeSymlink != 0:
		to, err := os.Readlink(path)
		fmt.Fprintf(h, "%q\n", to)
		return err
	case info.IsDir():
		fmt.Fprintf(h, "opaque %t\n", isOpaque(path))
	}
	return nil
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
