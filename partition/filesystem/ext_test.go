package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/partition/filesystem/extfs"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/offers"
	"vmbuild/rootfs/tree"
)

// recorder is a Toolbox whose programs do nothing, but that keeps what was asked of it.
type recorder struct {
	binds    []chroot.Bind
	commands [][]string
	script   string
	stderr   string // what debugfs prints
	fail     string // the program that fails
	closed   int
}

func (r *recorder) Enter(_ context.Context, binds ...chroot.Bind) (chroot.Runner, io.Closer, error) {
	for _, b := range binds {
		info, err := os.Stat(b.Source)
		if err != nil {
			return nil, nil, err
		}
		if b.Target != sourceDir {
			b.Source = fmt.Sprintf("empty %v of %d", info.Mode(), info.ModTime().Year())
		}
		r.binds = append(r.binds, b)
	}
	return r, r, nil
}

func (r *recorder) Close() error { r.closed++; return nil }

func (r *recorder) Run(_ context.Context, c chroot.Command) error {
	r.commands = append(r.commands, append(slices.Clone(c.Env), c.Args...))
	if c.Args[0] == r.fail {
		return errors.New("no luck")
	}
	if c.Stdin != nil {
		script, err := io.ReadAll(c.Stdin)
		r.script = string(script)
		fmt.Fprint(c.Stderr, r.stderr)
		return err
	}
	return nil
}

func TestExtCommands(t *testing.T) {
	source := makeTree(t, map[string]string{"boot/efi/": "", "dev/pts/": "", "etc/x": ""})
	source.Devices = []tree.Entry{
		{Path: "/dev/console", Type: tree.CharDevice, Mode: 0o600, GID: 5, Major: 5, Minor: 1},
		{Path: "/dev/pts", Type: tree.Directory, Mode: 0o755},
		{Path: "/dev/fd", Type: tree.Symlink, Mode: 0o777, Target: "/proc/self/fd"},
		{Path: "/boot/fifo", Type: tree.FIFO, Mode: 0o640},
	}
	r := &recorder{stderr: "debugfs 1.47.2 (1-Jan-2025)\n"}
	row, err := Lookup("ext3")
	if err != nil {
		t.Fatal(err)
	}
	err = row.Make(context.Background(), Job{
		Offset: 1 << 20, Size: 100<<20 + 512, UUID: testUUID, Label: "root", Tree: source, Dir: "/",
		Exclude: []string{"/boot/efi", "/boot"}, Epoch: time.Unix(1750000000, 0),
		Disable: []string{"orphan_file", "metadata_csum_seed"}, Toolbox: r,
	})
	if err != nil {
		t.Fatal(err)
	}
	clock := "SOURCE_DATE_EPOCH=1750000000 E2FSPROGS_FAKE_TIME=1750000000 "
	want := []string{
		clock + "mke2fs -q -F -t ext3 -b 4096 -U " + testUUID + " -E offset=1048576,hash_seed=" + testUUID +
			",root_owner=0:0,assume_storage_prezeroed=1 -L root -O ^orphan_file,^metadata_csum_seed -d /source /proc/self/fd/3 25600",
		clock + "debugfs -w -f - /proc/self/fd/3?offset=1048576",
	}
	var got []string
	for _, c := range r.commands {
		got = append(got, strings.Join(c, " "))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	binds := []chroot.Bind{
		{Source: source.Dir, Target: "/source", ReadOnly: true},
		{Source: "empty drwxr-xr-x of 2030", Target: "/source/boot", ReadOnly: true},
	}
	if diff := cmp.Diff(binds, r.binds); diff != "" {
		t.Error(diff)
	}
	script := ""
	for _, node := range []struct{ name, make, mode, gid string }{
		{"console", "mknod \"console\" c 5 1\n", "020600", "5"},
		{"pts", "", "040755", "0"},
		{"fd", "symlink \"fd\" \"/proc/self/fd\"\n", "0120777", "0"},
	} {
		script += "cd \"/dev/\"\n" + node.make
		for _, field := range []string{"mode " + node.mode, "uid 0", "gid " + node.gid, "atime @1750000000",
			"ctime @1750000000", "mtime @1750000000", "crtime @1750000000"} {
			script += fmt.Sprintf("set_inode_field \"%s\" %s\n", node.name, field)
		}
	}
	if diff := cmp.Diff(script, r.script); diff != "" {
		t.Error(diff)
	}
	if r.closed != 1 {
		t.Errorf("the toolbox was left %d times", r.closed)
	}
}

func TestExtErrors(t *testing.T) {
	source := makeTree(t, map[string]string{"etc/x": "", "dev/": ""})
	device := tree.Entry{Path: "/dev/null", Type: tree.CharDevice}
	for _, test := range []struct {
		tools   recorder
		exclude string
		device  tree.Entry
		want    string
	}{
		{recorder{fail: "mke2fs"}, "", device, "make ext3 filesystem for /: no luck"},
		{recorder{fail: "debugfs"}, "", device, "make ext3 filesystem for /: no luck"},
		{recorder{stderr: "debugfs 1.47.2 (1-Jan-2025)\nmknod: Could not allocate inode\n"}, "", device,
			"make ext3 filesystem for /: add to it by debugfs: mknod: Could not allocate inode"},
		{recorder{}, "/etc/x", device, "make ext3 filesystem for /: leave out mount point /etc/x: not a directory"},
		{recorder{}, "", tree.Entry{Path: "/dev/x\ny", Type: tree.CharDevice}, `make ext3 filesystem for /: device name "/dev/x\ny" has a quote or line break`},
		{recorder{}, "", tree.Entry{Path: "/dev/x", Type: tree.File}, "make ext3 filesystem for /: /dev/x: a file cannot be listed among the devices"},
		{recorder{}, "", tree.Entry{Path: "/dev", Type: tree.CharDevice}, "make ext3 filesystem for /: /dev is a directory on disk, but listed as a char"},
	} {
		row, err := Lookup("ext3")
		if err != nil {
			t.Fatal(err)
		}
		j := Job{UUID: testUUID, Dir: "/", Tree: &tree.Tree{Dir: source.Dir, Devices: []tree.Entry{test.device}}, Toolbox: &test.tools}
		if test.exclude != "" {
			j.Exclude = []string{test.exclude}
		}
		if got := fmt.Sprint(row.Make(context.Background(), j)); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

// extJob has what a root filesystem has: links, modes, devices, mount points that others fill.
func extJob(t *testing.T, size int64) Job {
	t.Helper()
	source := makeTree(t, map[string]string{
		"bin/sh": "sh", "boot/efi/EFI/x": "of another filesystem", "boot/vmlinuz": strings.Repeat("k", 1<<20),
		"dev/pts/": "", "dev/null": "a file in place of the device", "etc/empty": "",
	})
	in := func(name string) string { return filepath.Join(source.Dir, name) }
	for _, err := range []error{
		os.Link(in("bin/sh"), in("bin/dash")),
		os.Symlink("bin/sh", in("sh")),
		os.Chmod(in("bin/sh"), 0o4755|os.ModeSetuid),
		os.Chtimes(in("bin/sh"), epoch, time.Unix(1e9, 0)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	source.Devices = append(tree.StandardDevices(), tree.Entry{Path: "/dev/sda", Type: tree.BlockDevice, Mode: 0o660, GID: 6, Major: 8})
	return Job{
		Offset: 3 << 20, Size: size, UUID: testUUID, Label: "root", Tree: source, Dir: "/",
		Exclude: []string{"/boot/efi"}, Epoch: epoch, Toolbox: chroot.Tools{Dir: "/"},
	}
}

// e2fsck finds what each row made clean, and debugfs reads what was meant.
func TestExtForeign(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "mke2fs", "debugfs", "e2fsck")
	for _, kind := range []string{"ext2", "ext3", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			j := extJob(t, 40<<20)
			at := image(t, kind, j).Name() + "?offset=3145728"
			run(t, "e2fsck", "-fn", at)
			want := map[string]string{
				"/":     "lost+found bin boot dev etc sh",
				"/bin":  "dash sh",
				"/boot": "efi vmlinuz",
				"/dev":  "console fd full null ptmx pts random sda shm stderr stdin stdout tty urandom zero",
			}
			for dir, names := range want {
				got := listExt(t, at, dir)
				wantNames := strings.Fields(names)
				slices.Sort(wantNames)
				if diff := cmp.Diff(wantNames, got); diff != "" {
					t.Errorf("%s: %s", dir, diff)
				}
			}
			if got := listExt(t, at, "/boot/efi"); len(got) != 0 {
				t.Errorf("the mount point holds %q", got)
			}
			for path, facts := range map[string]string{
				"/dev/null": "Type: character special    Mode:  0666|Device major/minor number: 01:03|0x684ee180",
				"/dev/sda":  "Type: block special    Mode:  0660|Group:     6|Device major/minor number: 08:00|0x684ee180",
				"/bin/dash": "Type: regular    Mode:  04755|Links: 2|mtime: 0x3b9aca00",
			} {
				stat := run(t, "debugfs", "-R", "stat "+path, at)
				for fact := range strings.SplitSeq(facts, "|") {
					if !strings.Contains(stat, fact) {
						t.Errorf("%s: no %q in\n%s", path, fact, stat)
					}
				}
			}
		})
	}
}

// Files in /boot have no holes on an ext4, not even where they have nothing but zeroes; large ones elsewhere do.
func TestExtHoles(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "mke2fs", "debugfs", "e2fsck")
	striped := strings.Repeat(strings.Repeat("d", extBlock)+strings.Repeat("\x00", extBlock), 160) + "\x00\x00"
	files := map[string]string{
		"boot/striped": striped, "boot/grub/zero": striped[extBlock : 2*extBlock], "boot/dense": "d", "boot/empty": "", "usr/striped": striped,
	}
	for _, dir := range []string{"/", "/boot"} {
		t.Run(strings.TrimPrefix(dir, "/"), func(t *testing.T) {
			j := Job{Offset: 1 << 20, Size: 40 << 20, UUID: testUUID, Tree: makeTree(t, files), Dir: dir, Epoch: epoch, Toolbox: chroot.Tools{Dir: "/"}}
			disk := image(t, "ext4", j)
			at := disk.Name() + "?offset=1048576"
			run(t, "e2fsck", "-fn", at)
			volume, err := extfs.Open(disk, j.Offset)
			if err != nil {
				t.Fatal(err)
			}
			for name, content := range files {
				inside, below := within(name, strings.TrimPrefix(dir, "/"))
				if dir == "/" {
					inside, below = name, true
				}
				if !below {
					continue
				}
				copied := filepath.Join(t.TempDir(), "copy")
				run(t, "debugfs", "-R", "dump /"+inside+" "+copied, at)
				if got, err := os.ReadFile(copied); err != nil || string(got) != content {
					t.Errorf("%s has another content: %v", name, err)
				}
				file, err := volume.Lookup(inside)
				if err != nil {
					t.Fatal(err)
				}
				_, err = file.Sectors()
				if holes := err != nil; holes != (name == "usr/striped") {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// listExt gives the sorted names in a directory.
func listExt(t *testing.T, at, dir string) []string {
	t.Helper()
	var names []string
	for line := range strings.Lines(run(t, "debugfs", "-R", "ls -p "+dir, at)) {
		fields := strings.Split(line, "/") // /inode/mode/uid/gid/name/size/
		if len(fields) > 6 && fields[5] != "." && fields[5] != ".." {
			names = append(names, fields[5])
		}
	}
	slices.Sort(names)
	return names
}

// The image may be a file without a name; and what is not used of it is a hole.
func TestExtUnnamedSparse(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "mke2fs", "debugfs")
	j := extJob(t, 1<<30)
	const oTmpfile = 0o20200000
	f, err := os.OpenFile(t.TempDir(), os.O_RDWR|oTmpfile, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(j.Offset + j.Size); err != nil {
		t.Fatal(err)
	}
	j.Disk = f
	row, err := Lookup("ext4")
	if err != nil {
		t.Fatal(err)
	}
	if err := row.Make(context.Background(), j); err != nil {
		t.Fatal(err)
	}
	if got := allocated(t, f); got > 4<<20 {
		t.Errorf("%d bytes are allocated for 1 MiB of files", got)
	}
}
