package output

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/tree"
)

// fakeSquashfs stands for a tools tree whose mksquashfs writes that many bytes.
type fakeSquashfs int

func (s fakeSquashfs) Enter(context.Context, ...chroot.Bind) (chroot.Runner, io.Closer, error) {
	return s, io.NopCloser(nil), nil
}

func (s fakeSquashfs) Run(_ context.Context, c chroot.Command) error {
	_, err := c.Files[0].Write(make([]byte, s))
	return err
}

// systemTree makes a tree of files, whose content is their name.
func systemTree(t *testing.T, names ...string) *tree.Tree {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &tree.Tree{Dir: dir}
}

// liveContent lists the files below a directory: "mode size content", where the content is short.
func liveContent(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		text := fmt.Sprintf("%v %d", info.Mode(), info.Size())
		if info.Size() < 1000 {
			content, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			text = fmt.Sprintf("%v %s", info.Mode(), content)
		}
		files[strings.TrimPrefix(name, dir+"/")] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// makeLive writes a tree to a live directory as a build does.
func makeLive(t *testing.T, to string, from *tree.Tree, size int) (err error) {
	t.Helper()
	facts, err := Look(to)
	if err != nil {
		return err
	}
	f, err := ChooseLive(to, facts)
	if err != nil {
		return err
	}
	target, err := Open(to, f)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if closeErr := target.Close(); closeErr != nil {
			t.Error(closeErr)
		}
	}()
	if err := f.Write(t.Context(), Job{Tree: from, Out: target.Handle(), Epoch: epoch, Toolbox: fakeSquashfs(size)}); err != nil {
		return err
	}
	if err := target.Sync(); err != nil {
		t.Fatal(err)
	}
	return target.Commit()
}

var (
	twoKernels = []string{
		"boot/vmlinuz-6.1.0-9-amd64", "boot/initrd.img-6.1.0-9-amd64", "boot/vmlinuz-6.1.0-10-amd64",
		"boot/initrd.img-6.1.0-10-amd64", "boot/config-6.1.0-10-amd64",
	}
	loaders = []string{
		"usr/lib/shim/shimx64.efi.signed", "usr/lib/shim/mmx64.efi.signed", "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
	}
)

func TestLive(t *testing.T) {
	dir, system := filepath.Join(t.TempDir(), "live"), systemTree(t, slices.Concat(twoKernels, loaders)...)
	defer unix.Umask(unix.Umask(0o077)) // everybody may read what is made
	if err := makeLive(t, dir, system, smallestLive); err != nil {
		t.Fatal(err)
	}
	got := liveContent(t, dir)
	menu := got["EFI/debian/grub.cfg"]
	if !strings.Contains(menu, "linux /vmlinuz boot=live components live-media-path=/ ") {
		t.Errorf("the menu is %s", menu)
	}
	delete(got, "EFI/debian/grub.cfg")
	want := map[string]string{
		"filesystem.squashfs":       "-rw-r--r-- 1048576",
		"initrd.img":                "-rw-r--r-- boot/initrd.img-6.1.0-10-amd64",
		"initrd.img-6.1.0-10-amd64": "-rw-r--r-- boot/initrd.img-6.1.0-10-amd64",
		"initrd.img-6.1.0-9-amd64":  "-rw-r--r-- boot/initrd.img-6.1.0-9-amd64",
		"vmlinuz":                   "-rw-r--r-- boot/vmlinuz-6.1.0-10-amd64",
		"vmlinuz-6.1.0-10-amd64":    "-rw-r--r-- boot/vmlinuz-6.1.0-10-amd64",
		"vmlinuz-6.1.0-9-amd64":     "-rw-r--r-- boot/vmlinuz-6.1.0-9-amd64",
		"EFI/BOOT/BOOTX64.EFI":      "-rw-r--r-- usr/lib/shim/shimx64.efi.signed",
		"EFI/BOOT/grubx64.efi":      "-rw-r--r-- usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
		"EFI/BOOT/mmx64.efi":        "-rw-r--r-- usr/lib/shim/mmx64.efi.signed",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, name := range []string{"", "EFI", "EFI/BOOT"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("directory %q: %v, %v", name, info, err)
		}
	}
}

// TestLiveBeside: what else is in a directory stays, what is ours is new, and leftovers of killed builds go.
func TestLiveBeside(t *testing.T) {
	dir := t.TempDir()
	killed := filepath.Join(dir, liveHidden+"123")
	for _, err := range []error{
		os.WriteFile(filepath.Join(dir, "vmlinuz"), []byte("old"), 0o600), os.WriteFile(filepath.Join(dir, "notes"), []byte("mine"), 0o600),
		os.MkdirAll(filepath.Join(dir, "EFI/BOOT"), 0o755), os.WriteFile(filepath.Join(dir, "EFI/BOOT/tool.efi"), []byte("mine"), 0o600),
		os.Mkdir(killed, 0o700), os.WriteFile(filepath.Join(killed, "half"), nil, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	before := map[string]string{
		"vmlinuz": "-rw------- old", "notes": "-rw------- mine", "EFI/BOOT/tool.efi": "-rw------- mine",
	}
	const small = "write live: --squash=DIR: filesystem.squashfs has only 1048575 bytes, so the tree is no system that could be " +
		"started: look at what was installed"
	err := makeLive(t, dir, systemTree(t, twoKernels...), smallestLive-1)
	if err == nil || strings.ReplaceAll(err.Error(), dir, "DIR") != small {
		t.Errorf("%v, want %s", err, small)
	}
	if d := cmp.Diff(before, liveContent(t, dir)); d != "" {
		t.Errorf("after a failure: %s", d)
	}
	for range 2 { // the second time over the first one's links
		if err := makeLive(t, dir, systemTree(t, twoKernels[2:4]...), smallestLive); err != nil {
			t.Fatal(err)
		}
	}
	after := map[string]string{
		"vmlinuz": "-rw-r--r-- " + twoKernels[2], "vmlinuz-6.1.0-10-amd64": "-rw-r--r-- " + twoKernels[2],
		"initrd.img": "-rw-r--r-- " + twoKernels[3], "initrd.img-6.1.0-10-amd64": "-rw-r--r-- " + twoKernels[3],
		"filesystem.squashfs": "-rw-r--r-- 1048576", "notes": "-rw------- mine", "EFI/BOOT/tool.efi": "-rw------- mine",
	}
	if d := cmp.Diff(after, liveContent(t, dir)); d != "" {
		t.Error(d)
	}
}

func TestLiveRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		files []string
		size  int
		want  string
	}{
		"no kernel": {
			[]string{"etc/passwd"}, smallestLive, "write live: the tree has no kernel in /boot (vmlinuz-VERSION), without which no " +
				"live system starts: leave out --no-kernel, or install one (--package=linux-image-ARCH)",
		},
		"no initramfs": {
			append(twoKernels[:3:3], twoKernels[4]), smallestLive, "write live: kernel /boot/vmlinuz-6.1.0-10-amd64 has no " +
				"initramfs /boot/initrd.img-6.1.0-10-amd64: install live-boot and initramfs-tools",
		},
		"small": {
			twoKernels, 4096, "write live: --squash=DIR/live: filesystem.squashfs has only 4096 bytes, so the tree is no system " +
				"that could be started: look at what was installed",
		},
	} {
		dir := t.TempDir()
		err := makeLive(t, filepath.Join(dir, "live"), systemTree(t, test.files...), test.size)
		if err == nil || strings.ReplaceAll(err.Error(), dir, "DIR") != test.want {
			t.Errorf("%s:\n got %v\nwant %s", name, err, test.want)
		}
		if left := liveContent(t, dir); len(left) > 0 {
			t.Errorf("%s: something stayed: %v", name, left)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]string{
		file: "target " + file + " is there and is not a directory", "-": "format live cannot be written to standard output: name a target",
	} {
		if err := makeLive(t, to, systemTree(t, twoKernels...), smallestLive); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestCompareVersions(t *testing.T) {
	names := []string{
		"vmlinuz-5.10.0-30-amd64", "vmlinuz-6.1.0-9-amd64", "vmlinuz-6.1.0-10-amd64", "vmlinuz-6.12-rc1-amd64", "vmlinuz-6.12.0-amd64",
		"vmlinuz-6.12.9+deb13-amd64", "vmlinuz-6.12.10+deb13-amd64", "vmlinuz-99999999999999999999999-x",
	}
	sorted := slices.Clone(names)
	slices.Reverse(sorted)
	slices.SortFunc(sorted, compareVersions)
	if d := cmp.Diff(names, sorted); d != "" {
		t.Error(d)
	}
}
