// Package filesystem makes filesystems and fills them from a tree, straight into a range of an image file; an ext4 can be
// read without being written anywhere. Nothing is mounted and no device is used. ext4, vfat and swap are vmbuild's own; the
// others are made by the programs of a toolbox, so that the bytes do not depend on the host's distribution.
//
// It does not decide where a filesystem lies, which one a partition gets or how it is called: package partition does.
// The same job, on the same bytes, gives the same filesystem (but for btrfs, see makeBtrfs): identifiers come from the job
// and no time later than its epoch is stored. The range is taken to hold nothing but zeroes, so what a filesystem does not use stays a hole.
package filesystem

import (
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/tree"
)

// Job is one filesystem to be made.
type Job struct {
	Disk   *os.File // open for reading and writing; need not have a name
	Offset int64    // first byte of the filesystem in Disk, a multiple of 512
	Size   int64    // bytes

	UUID  string // RFC 9562 form; of vfat the volume serial number as in 12AB-34CD
	Label string // empty: none

	Tree    *tree.Tree
	Dir     string    // what becomes the root of the filesystem, as a path of the tree: "/", "/boot"
	Exclude []string  // mount points below Dir, as paths of the tree: made as empty directories
	Epoch   time.Time // later times are stored as this one; the zero Time keeps them all

	Disable  []string       // features of mke2fs(8), mkfs.xfs(8) or mkfs.btrfs(8) that the target does not know
	PageSize int64          // of the target's kernel, for swap; 0: 4096
	Temp     string         // directory for what does not outlive the call; os.TempDir() if empty
	Toolbox  chroot.Toolbox // holds the packages named by Tools; may be nil if there are none
}

// Filesystem is a row of the table.
type Filesystem struct {
	Name         string           // as mount(8), fstab(5) and blkid(8) call it
	Tools        []string         // Debian packages that the toolbox must hold
	Packages     []string         // Debian packages that a system on it must have, for its initramfs to check and mount it
	Options      string           // in fstab(5)
	Scratch      bool             // is made in Job.Temp first, which takes about as much room as the data
	NoCheck      bool             // fsck(8) has nothing to do for it: pass 0 in fstab(5)
	POSIX        bool             // keeps owners, modes, hard links and devices: fit for / and /boot
	Boot         bool             // fit for /boot at least
	GRUBModule   string           // module of GRUB that reads it; empty: none does
	VolumeSerial bool             // its UUID is FAT's serial number of 32 bits
	MBRType      func(int64) byte // type in an msdos table of a partition of that many bytes
	make         func(context.Context, Job) error
	plan         func(context.Context, Job) (Content, error) // in place of make
}

// How to add one: a file with a function that makes it, and a row here; then go test ./partition/... .
var table = []Filesystem{
	{
		Name: "ext4", Packages: []string{"e2fsprogs"}, Options: "errors=remount-ro", POSIX: true,
		GRUBModule: "ext2", MBRType: mbrLinux, plan: planExt4,
	},
	extRow("ext3"),
	extRow("ext2"),
	{
		Name: "btrfs", Tools: []string{"btrfs-progs"}, Packages: []string{"btrfs-progs"}, Options: "defaults", Scratch: true, NoCheck: true, POSIX: true,
		GRUBModule: "btrfs", MBRType: mbrLinux, make: makeBtrfs,
	},
	{
		Name: "xfs", Tools: []string{"xfsprogs"}, Packages: []string{"xfsprogs"}, Options: "defaults", Scratch: true, NoCheck: true, POSIX: true,
		GRUBModule: "xfs", MBRType: mbrLinux, make: makeXFS,
	},
	{Name: "vfat", Options: "umask=0077", Boot: true, GRUBModule: "fat", VolumeSerial: true, MBRType: mbrFAT, make: makeVFAT},
	{Name: "swap", Options: "sw", MBRType: mbrSwap, make: makeSwap},
}

func extRow(name string) Filesystem {
	return Filesystem{
		Name: name, Tools: []string{"e2fsprogs"}, Packages: []string{"e2fsprogs"}, Options: "errors=remount-ro", POSIX: true,
		GRUBModule: "ext2", MBRType: mbrLinux, make: ext(name),
	}
}

func mbrLinux(int64) byte { return 0x83 }
func mbrSwap(int64) byte  { return 0x82 }

// All returns the table's rows.
func All() []Filesystem { return slices.Clone(table) }

// Names returns the rows' names, for help texts and choices.
func Names() []string {
	var names []string
	for _, f := range table {
		names = append(names, f.Name)
	}
	return names
}

// Lookup returns the row with that name.
func Lookup(name string) (Filesystem, error) {
	for _, f := range table {
		if f.Name == name {
			return f, nil
		}
	}
	return Filesystem{}, fmt.Errorf("filesystem %q is not one of %s", name, strings.Join(Names(), ", "))
}

// Make makes the filesystem of j. The disk is not synced.
func (f Filesystem) Make(ctx context.Context, j Job) error {
	if f.Planned() {
		content, err := f.Plan(ctx, j)
		if err == nil {
			err = f.failed(j, writeContent(ctx, j.Disk, j.Offset, content))
		}
		return err
	}
	err := j.refuseLinks()
	if err == nil {
		err = f.make(ctx, j)
	}
	return f.failed(j, err)
}

// failed says what was to be made.
func (f Filesystem) failed(j Job, err error) error {
	switch {
	case err != nil && j.Dir != "":
		return fmt.Errorf("make %s filesystem for %s: %w", f.Name, j.Dir, err)
	case err != nil:
		return fmt.Errorf("make %s filesystem: %w", f.Name, err)
	}
	return nil
}

// refuseLinks refuses mount points that are links in the tree: they could lead to directories of the host.
func (j Job) refuseLinks() error {
	if j.Tree == nil {
		return nil
	}
	for _, point := range append([]string{j.Dir}, j.Exclude...) {
		for name := path.Clean("/" + point); name != "/"; name = path.Dir(name) {
			if info, err := os.Lstat(j.Tree.Dir + name); err == nil && info.Mode()&os.ModeSymlink != 0 {
				return fmt.Errorf("%s is a link, and a filesystem cannot be mounted there", name)
			}
		}
	}
	return nil
}

// excluded says whether a path of the tree is a mount point of another filesystem.
func (j Job) excluded(name string) bool { return slices.Contains(j.Exclude, name) }

// clamp gives the time that is stored for t.
func (j Job) clamp(t time.Time) time.Time {
	if !j.Epoch.IsZero() && t.After(j.Epoch) {
		return j.Epoch
	}
	return t
}
