package rootfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/layer"
	"vmbuild/rootfs/namespace"
	"vmbuild/rootfs/offers"
)

func TestKernels(t *testing.T) {
	for _, name := range []string{"root", "*", "a[b]c?", `back\slash`, "[", "ä [0-9]* ?"} {
		dir := filepath.Join(t.TempDir(), name)
		plant(t, dir, map[string]string{
			"boot/vmlinuz-6.12.9-amd64": "", "boot/vmlinux-6.1.0-1": "", "boot/vmlinux-6.12.9-amd64": "", "boot/vmlinuz": "",
			"boot/initrd.img-6.12.9-amd64": "", "boot/config-5.0": "", "boot/vmlinuy-4": "", "vmlinuz-3": "",
		})
		got, err := kernels(dir)
		if diff := cmp.Diff([]string{"6.1.0-1", "6.12.9-amd64"}, got); diff != "" || err != nil {
			t.Errorf("in %q: %v\n%s", name, err, diff)
		}
	}
	if got, err := kernels(t.TempDir()); got != nil || err != nil {
		t.Errorf("in a tree without /boot: %v, %v", got, err)
	}
}

// TestNumberEntries: a directory that generators walk has offsets for which a 32-bit program has room, and its time.
func TestNumberEntries(t *testing.T) {
	offers.Need(t, "build")
	callers := map[string]*syscall.Credential{"as caller": nil}
	if os.Getuid() == 0 {
		callers["ordinary user"], _ = ordinaryUser(t)
	}
	for caller, as := range callers {
		got, err := inNamespaces(t, as, "number", foreignJob{Temp: workFor(t, as)})
		if want := `["64 names, offsets below 128: true","2023-11-14T22:13:20Z"]`; strings.TrimSpace(got) != want || err != nil {
			t.Errorf("%s: %v\ngot  %s\nwant %s", caller, err, got, want)
		}
	}
}

// numberInside looks at a directory of modules in a tree over a layer.
func numberInside(_ context.Context, c namespace.Call) error {
	var j foreignJob
	if err := json.Unmarshal(c.Payload, &j); err != nil {
		return err
	}
	at := func(name string) string { return filepath.Join(j.Temp, name) }
	const modules, when = "usr/lib/modules/6.12/kernel", 1700000000
	s := &Stack{Dir: at("tree"), upper: at("upper")}
	err := errors.Join(os.MkdirAll(at("lower/"+modules), 0o755), os.Symlink("usr/lib", at("lower/lib")))
	for _, dir := range []string{"tree", "upper", "work"} {
		err = errors.Join(err, os.Mkdir(at(dir), 0o755))
	}
	for n := range 64 {
		err = errors.Join(err, os.WriteFile(at(fmt.Sprintf("lower/%s/%d.ko", modules, n)), nil, 0o644))
	}
	err = errors.Join(err, os.Chtimes(at("lower/"+modules), time.Unix(when, 0), time.Unix(when, 0)))
	if err == nil {
		err = chroot.Overlay([]string{at("lower")}, s.upper, at("work"), s.Dir)
	}
	if err != nil {
		return err
	}
	defer unix.Unmount(s.Dir, unix.MNT_DETACH)
	if err := s.numberEntries(); err != nil {
		return err
	}
	names, largest, err := offsets(filepath.Join(s.Dir, modules))
	if err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(s.Dir, modules))
	if err != nil {
		return err
	}
	return c.Send([]string{
		fmt.Sprintf("%d names, offsets below 128: %t", names, largest < 128), info.ModTime().UTC().Format(time.RFC3339),
	})
}

// offsets counts the names in a directory and gives the largest offset among them, as getdents64(2) has it.
func offsets(dir string) (names int, largest uint64, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return 0, 0, err
	}
	defer d.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := unix.Getdents(int(d.Fd()), buffer)
		if err != nil || n == 0 {
			return names - 2, largest, err // without . and ..
		}
		for entry := buffer[:n]; len(entry) > 0; entry = entry[binary.NativeEndian.Uint16(entry[16:]):] {
			names++
			largest = max(largest, binary.NativeEndian.Uint64(entry[8:]))
		}
	}
}

func TestCopyInitramfs(t *testing.T) {
	from := planted(t, map[string]string{
		"boot/initrd.img-6.12": "an initramfs", "boot/vmlinuz-6.12": "a kernel", "boot/initrd.img-dir/x": "",
		"boot/initrd.img-link -> initrd.img-6.12": "", "boot/grub/grub.cfg": "", "boot/initrd.img": "",
		"var/lib/initramfs-tools/6.12": "a sum", "var/lib/initramfs-tools/dir/y": "", "etc/x": "",
	})
	if err := os.Chmod(from+"/boot/initrd.img-6.12", 0o600); err != nil {
		t.Fatal(err)
	}
	when := time.Date(2025, 1, 2, 3, 4, 5, 6, time.UTC)
	setTimes(t, from+"/boot/initrd.img-6.12", when)
	to := planted(t, map[string]string{"boot/initrd.img-6.12": "an older and longer initramfs", "boot/vmlinuz-6.12": "another"})
	if err := copyInitramfs(from, to); err != nil {
		t.Fatal(err)
	}
	wantTree(t, to, map[string]string{
		"/": aDir, "/boot": aDir, "/boot/initrd.img-6.12": file(0o600, "an initramfs"), "/boot/vmlinuz-6.12": file(0o644, "another"),
		"/var": aDir, "/var/lib": aDir, "/var/lib/initramfs-tools": aDir, "/var/lib/initramfs-tools/6.12": file(0o644, "a sum"),
	})
	if got := times(t, to)["/boot/initrd.img-6.12"]; !got.Equal(when) {
		t.Errorf("its time is %s, want %s", got, when)
	}
	empty := planted(t, nil)
	if err := copyInitramfs(planted(t, nil), empty); err != nil {
		t.Fatal(err)
	}
	wantTree(t, empty, map[string]string{"/": aDir})
}

// changes are what a build may do on top of a layer: files as plant knows them, and what is done to them then.
type changes struct {
	files map[string]string
	also  func(t *testing.T, upper string)
}

// newStack is a stack as an overlay would be, made of directories: upper has the changes, and the tree has the same.
func newStack(t *testing.T, key string, c changes) *Stack {
	t.Helper()
	s := &Stack{Dir: planted(t, c.files), upper: planted(t, c.files), base: &Base{Dirs: []string{t.TempDir()}, keys: []string{key}}, epoch: time.Unix(1700000000, 0)}
	if c.also != nil {
		c.also(t, s.upper)
	}
	return s
}

const someFSTab = `# <file system> <mount point> <type> <options> <dump> <pass>
UUID=11111111-1111-1111-1111-111111111111 / ext4 errors=remount-ro 0 1

UUID=2222-2222  /boot/efi  vfat  umask=0077  0  1
short line
`

func TestInitramfsKey(t *testing.T) {
	key := func(s *Stack) string {
		t.Helper()
		inputs, err := s.initramfsInputs()
		if err != nil {
			t.Fatal(err)
		}
		return initramfsKey(inputs)
	}
	first := map[string]string{"etc/fstab": someFSTab, "etc/modules": "loop\n", "usr/lib/modules/": "", "boot/": "", "var/": ""}
	want := key(newStack(t, "a", changes{files: first}))
	with := func(more map[string]string) changes {
		files := maps.Clone(first)
		maps.Copy(files, more)
		return changes{files: files}
	}
	fstab := func(old, new string) changes {
		return with(map[string]string{"etc/fstab": strings.Replace(someFSTab, old, new, 1)})
	}
	do := func(act func(upper string) error) changes {
		return changes{first, func(t *testing.T, upper string) {
			if err := act(upper); err != nil {
				t.Fatal(err)
			}
		}}
	}
	for name, c := range map[string]struct {
		changes
		same bool
	}{
		"nothing":             {with(nil), true},
		"host name":           {with(map[string]string{"etc/hostname": "x", "etc/hosts": "127.0.0.1 x"}), true},
		"machine id":          {with(map[string]string{"etc/machine-id": "0123"}), true},
		"logs and caches":     {with(map[string]string{"var/log/x": "x", "var/cache/y": "y"}), true},
		"temporary files":     {with(map[string]string{"tmp/x": "x", "var/tmp/y": "y", "run/z": ""}), true},
		"the kernel's files":  {with(map[string]string{"proc/1/x": "x", "sys/y": "y", "dev/z": ""}), true}, // of a tree that is no overlay
		"apt":                 {with(map[string]string{"etc/apt/sources.list": "x"}), true},
		"grub.cfg":            {with(map[string]string{"boot/grub/grub.cfg": "x", "boot/efi/EFI/x": ""}), true},
		"extlinux.conf":       {with(map[string]string{"boot/extlinux/extlinux.conf": "x"}), true},
		"link of resolved":    {with(map[string]string{"etc/resolv.conf -> ../run/x": ""}), true},
		"UUID":                {fstab("1111-1111", "3333-3333"), true},
		"comment":             {fstab("# <file", "# file"), true},
		"pass":                {fstab("0 1", "0 2"), true},
		"type of root":        {fstab("ext4", "btrfs"), false},
		"mount options":       {fstab("errors=remount-ro", "defaults"), false},
		"mount point":         {fstab("/boot/efi", "/efi"), false},
		"content":             {with(map[string]string{"etc/modules": "nbd\n\n"}), false},
		"new file":            {with(map[string]string{"usr/lib/modules/x": ""}), false},
		"new directory":       {with(map[string]string{"usr/lib/modules/x/": ""}), false},
		"link":                {with(map[string]string{"usr/lib/modules/x -> a": ""}), false},
		"like an ignored one": {with(map[string]string{"etc/hostname2": ""}), false},
		"mode":                {do(func(upper string) error { return os.Chmod(upper+"/etc/modules", 0o755) }), false},
		"time":                {do(func(upper string) error { return os.Chtimes(upper+"/etc/modules", time.Time{}, time.Unix(1, 0)) }), true},
		"removed":             {do(func(upper string) error { return unix.Mknod(upper+"/etc/gone", unix.S_IFCHR, 0) }), false},
		"removed log":         {do(func(upper string) error { return unix.Mknod(upper+"/etc/hostname", unix.S_IFCHR, 0) }), true},
		"removed in its place": {do(func(upper string) error {
			return errors.Join(os.Remove(upper+"/etc/modules"), unix.Mknod(upper+"/etc/modules", unix.S_IFCHR, 0))
		}), false},
		"opaque": {do(func(upper string) error {
			return unix.Setxattr(upper+"/usr/lib/modules", "user.overlay.opaque", []byte("y"), 0)
		}), false},
		"not opaque": {do(func(upper string) error {
			return unix.Setxattr(upper+"/usr/lib/modules", "user.overlay.opaque", []byte("n"), 0)
		}), true},
	} {
		t.Run(name, func(t *testing.T) {
			if same := key(newStack(t, "a", c.changes)) == want; same != c.same {
				t.Errorf("the key is the same: %t", same)
			}
		})
	}
	if key(newStack(t, "b", with(nil))) == want {
		t.Error("the layer is no part of the key")
	}
	later := newStack(t, "a", with(nil))
	later.epoch = later.epoch.Add(time.Second)
	if key(later) == want {
		t.Error("the epoch is no part of the key")
	}
	for _, target := range []string{"b", "aa"} {
		one := newStack(t, "a", with(map[string]string{"x -> a": ""}))
		if other := newStack(t, "a", with(map[string]string{"x -> " + target: ""})); key(one) == key(other) {
			t.Errorf("links to a and %s are the same", target)
		}
	}
}

// generator is a system whose programs do nothing but, asked for an initramfs, write one.
type generator struct {
	root string
	log  []string
	fail error
	told string // what rootTypeConfig said when an initramfs was made
}

func (g *generator) Run(_ context.Context, c chroot.Command) error {
	g.log = append(g.log, strings.Join(append(c.Env, c.Args...), " "))
	if g.fail != nil {
		return g.fail
	}
	switch c.Args[0] {
	case "update-initramfs":
		told, _ := os.ReadFile(filepath.Join(g.root, rootTypeConfig))
		g.told = string(told)
		return os.WriteFile(g.root+"/boot/initrd.img-"+c.Args[3], []byte("made by initramfs-tools"), 0o644)
	case "dracut":
		return os.WriteFile(g.root+c.Args[3], []byte("made by dracut"), 0o600)
	}
	return nil
}

func TestMakeInitramfs(t *testing.T) {
	const linker = "usr/bin/linux-update-symlinks"
	for name, c := range map[string]struct {
		files  map[string]string
		first  []string // what is run the first time,
		second []string // and when it is in the cache
		want   map[string]string
	}{
		"initramfs-tools": {
			files: map[string]string{"etc/kernel/postinst.d/initramfs-tools": "", "boot/vmlinuz-6.1": "", "boot/vmlinuz-6.12": "", linker: ""},
			first: []string{
				"update-initramfs -c -k 6.1", "update-initramfs -c -k 6.12",
				"linux-update-symlinks install 6.1 /boot/vmlinuz-6.1", "linux-update-symlinks install 6.12 /boot/vmlinuz-6.12",
			},
			second: []string{
				"linux-update-symlinks install 6.1 /boot/vmlinuz-6.1", "linux-update-symlinks install 6.12 /boot/vmlinuz-6.12",
			},
			want: map[string]string{
				"/boot/initrd.img-6.1": file(0o644, "made by initramfs-tools"), "/boot/initrd.img-6.12": file(0o644, "made by initramfs-tools"),
			},
		},
		"dracut": {
			files: map[string]string{"etc/kernel/postinst.d/dracut": "", "boot/vmlinux-6.12": ""},
			first: []string{"dracut --force --no-hostonly /boot/initrd.img-6.12 6.12"},
			want:  map[string]string{"/boot/initrd.img-6.12": file(0o600, "made by dracut")},
		},
		"no generator": {files: map[string]string{"boot/vmlinuz-6.12": ""}},
		"no kernel":    {files: map[string]string{"etc/kernel/postinst.d/initramfs-tools": "", linker: ""}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBuilder(t)
			for _, log := range [][]string{c.first, c.second} {
				s := newStack(t, "a", changes{files: c.files})
				want := listing(t, s.Dir)
				maps.Copy(want, c.want)
				g := &generator{root: s.Dir}
				if err := b.MakeInitramfs(t.Context(), s, g); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(log, g.log); diff != "" {
					t.Errorf("what is run:\n%s", diff)
				}
				wantTree(t, s.Dir, want)
			}
		})
	}
}

// initramfs-tools knows the type of the root filesystem while it runs, and nothing of that stays in the tree. Another type is
// another initramfs.
func TestMakeInitramfsForRootType(t *testing.T) {
	b := newBuilder(t)
	files := map[string]string{
		"etc/kernel/postinst.d/initramfs-tools": "", "boot/vmlinuz-6.12": "", "etc/initramfs-tools/conf.d/": "",
	}
	for rootType, want := range map[string]string{"": "", "ext4": "FSTYPE=ext4\n", "xfs": "FSTYPE=xfs\n"} {
		s := newStack(t, "a", changes{files: files})
		s.RootType = rootType
		before := listing(t, s.Dir)
		before["/boot/initrd.img-6.12"] = file(0o644, "made by initramfs-tools")
		g := &generator{root: s.Dir}
		if err := b.MakeInitramfs(t.Context(), s, g); err != nil {
			t.Fatal(err)
		}
		if g.told != want || len(g.log) != 1 {
			t.Errorf("root type %q: told %q by %q", rootType, g.told, g.log)
		}
		wantTree(t, s.Dir, before)
	}
}

func TestMakeInitramfsErrors(t *testing.T) {
	b := newBuilder(t)
	files := map[string]string{"etc/kernel/postinst.d/initramfs-tools": "", "boot/vmlinuz-6.12": "", "usr/bin/linux-update-symlinks": ""}
	s := newStack(t, "a", changes{files: files})
	err := b.MakeInitramfs(t.Context(), s, &generator{root: s.Dir, fail: errors.New("no room")})
	wantError(t, err, "build layer: make the initramfs of kernel 6.12: no room")
	if err := b.MakeInitramfs(t.Context(), s, &generator{root: s.Dir}); err != nil {
		t.Fatal(err)
	}
	s = newStack(t, "a", changes{files: files})
	err = b.MakeInitramfs(t.Context(), s, &generator{root: s.Dir, fail: errors.New("no link")})
	wantError(t, err, "link kernel 6.12: no link")
}

// newBuilder is a builder with a cache of its own, which tells nobody what it does.
func newBuilder(t *testing.T) *Builder {
	t.Helper()
	cache, err := layer.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	return &Builder{Cache: cache, Event: func(Event) {}, Log: &bytes.Buffer{}, Temp: t.TempDir(), IDMap: "0 0 1"}
}

func TestNarrow(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("another processor emulates others")
	}
	var names []string
	for _, a := range arch.All() {
		if narrow(a.Name) {
			names = append(names, a.Name)
		}
	}
	if diff := cmp.Diff([]string{"armel", "armhf"}, names); diff != "" { // i386's run without emulation
		t.Error(diff)
	}
}
