package rootfs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"vmbuild/rootfs/chroot"
)

// An initramfs takes longer to make than all the rest of a build that finds its layer in the cache, and it is the same
// as long as nothing it is made of has changed. So it is a layer too, named by the layer below and by every change that
// the build made on top of it, save for the files that neither initramfs-tools nor dracut reads.
var (
	initramfsOutputs = []string{"boot", "var/lib/initramfs-tools"}
	initramfsIgnores = []string{
		"boot/grub", "boot/efi", "etc/apt", "etc/fstab", "etc/hostname", "etc/hosts", "etc/machine-id", "etc/resolv.conf",
		"home", "root", "run", "tmp", "usr/share/doc", "var/cache", "var/log", "var/tmp",
	}
)

// generators make an initramfs. Which of them a system has is told by the hook that runs it when a kernel is installed.
//
// dracut would by default look at what it runs on, which is no part of the image, and take in only what that needs.
var generators = []struct {
	hook    string
	command func(version string) []string
}{
	{"etc/kernel/postinst.d/initramfs-tools", func(v string) []string {
		return []string{"update-initramfs", "-c", "-k", v}
	}},
	{"etc/kernel/postinst.d/dracut", func(v string) []string {
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
		for _, v := range versions {
			if err := generate(ctx, s.Dir, target, v); err != nil {
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
	images, err := filepath.Glob(filepath.Join(globQuote(root), "boot/vmlinu[xz]-*"))
	if err != nil {
		return nil, fmt.Errorf("look for kernels: %w", err)
	}
	var versions []string
	for _, image := range images {
		_, version, _ := strings.Cut(filepath.Base(image), "-")
		versions = append(versions, version)
	}
	slices.Sort(versions)
	return slices.Compact(versions), nil
}

// globQuote takes their meaning from the characters of a pattern.
func globQuote(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// generate makes the initramfs of one kernel.
func generate(ctx context.Context, root string, target chroot.Runner, version string) error {
	for _, g := range generators {
		if _, err := os.Stat(filepath.Join(root, g.hook)); err != nil {
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
		entries, err := os.ReadDir(filepath.Join(from, dir))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("copy the initramfs: %w", err)
		}
		if err := os.MkdirAll(filepath.Join(to, dir), 0o755); err != nil {
			return fmt.Errorf("copy the initramfs: %w", err)
		}
		for _, e := range entries {
			if !e.Type().IsRegular() || dir == "boot" && !strings.HasPrefix(e.Name(), "initrd.img-") {
				continue
			}
			if err := copyFile(filepath.Join(from, dir, e.Name()), filepath.Join(to, dir, e.Name())); err != nil {
				return fmt.Errorf("copy the initramfs: %w", err)
			}
		}
	}
	return nil
}

// copyFile copies content, mode and time of a regular file.
func copyFile(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if err := copyContent(from, to); err != nil {
		return err
	}
	if err := os.Chmod(to, info.Mode().Perm()); err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime())
}

// initramfsKey names the initramfs by what it is made of.
func (s *Stack) initramfsKey() (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "initramfs 2\n%s\n%d\n", s.layer, s.epoch.Unix())
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
