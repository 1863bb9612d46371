// Package bootloader makes a tree start by itself: it says which packages, partitions and debconf answers a boot loader
// needs, writes the loader's files and configuration into the tree, and, for loaders that have code outside of any
// filesystem, writes that code to the disk.
//
// The installers of the boot loaders (grub-install, extlinux --install) are not run, because they want a device: what
// they would write is written from the same packages, so that a later upgrade of these on the machine finds what it
// expects. No file of the tree that belongs to a package is changed, and nothing of the build stays in it.
package bootloader

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"vmbuild/partition"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/suite"
)

// Bootloader is a row of the table.
type Bootloader interface {
	Name() string

	// Supports says why machines of an architecture are not started by the loader that a release has; nil if they are.
	Supports(a arch.Arch, s suite.Suite) error

	// Packages lists what must be installed.
	Packages(a arch.Arch) []string

	// Partitions lists what the loader needs on a disk with that table, beside root.
	Partitions(a arch.Arch, table string) []partition.Request

	// Debconf lists answers in the form of debconf-set-selections(1), to be given before the packages are installed.
	Debconf(a arch.Arch) []string

	// Configure writes the loader's files into an entered tree, which has its kernel and initrd already: menus are
	// made of what is there.
	Configure(ctx context.Context, t Target) error
}

// Embedder is what a Bootloader with code outside of any filesystem is as well.
type Embedder interface {
	// Embed writes the code to the disk. It needs what Configure left in t.Root, but not t.Runner. The partition table
	// may be written before or after.
	Embed(ctx context.Context, t Target, disk Disk) error
}

// Disk is the image of a disk that has its filesystems already.
type Disk interface {
	io.ReaderAt
	io.WriterAt
}

// Starter is what a Bootloader is as well that reads not every filesystem fit for /boot.
type Starter interface {
	// Starts says why a system with /boot on that filesystem is not started; nil if it is.
	Starts(filesystem string) error
}

// Activator is what a Bootloader is as well that starts the partition marked for that: the one with /boot has to be
// active (partition.Request).
type Activator interface {
	ActivePartition() bool
}

// Tabler is what a Bootloader is as well that does not start from every kind of partition table.
type Tabler interface {
	// Tables lists those that it starts from, its default first.
	Tables() []string
}

// Offsetter is what a Bootloader with code in front of the first partition is as well.
type Offsetter interface {
	// Offset is the byte at which the first partition may begin.
	Offset() int64
}

// BootPackager is what a Bootloader is as well that needs more where /boot is a filesystem of its own.
type BootPackager interface {
	// BootPackages lists what must be installed then; an error says why the loader of that release cannot start from it.
	BootPackages(s suite.Suite) ([]string, error)
}

// Target is the system that shall start.
type Target struct {
	Arch    arch.Arch
	Root    string        // directory of the tree
	Runner  chroot.Runner // runs programs in it
	Layout  *partition.Layout
	Console string   // device of the serial port below /dev
	Speed   int      // of the port, in bits per second; 0: the usual 115200
	Cmdline []string // further arguments of the kernel
	Serial  bool     // loader and kernel use that port as well as the screen
	NoMBR   bool     // the code of the first sector, which starts the active partition, is left to others
	Vendor  bool     // the ESP has the loader in its vendor's directory too, for boot entries of the firmware
}

// How to add one: a file with a type that is a Bootloader, and a row here; then go test ./bootloader.
var table = []Bootloader{grubPC{}, grubEFI{}, grubCloud{}, grubIEEE1275{}, systemdBoot{}, extlinux{}, uBoot{}, none{}}

// All returns the table's rows.
func All() []Bootloader { return slices.Clone(table) }

// Names returns the rows' names, for help texts and choices.
func Names() []string {
	var names []string
	for _, b := range table {
		names = append(names, b.Name())
	}
	return names
}

// Lookup returns the row with that name.
func Lookup(name string) (Bootloader, error) {
	for _, b := range table {
		if b.Name() == name {
			return b, nil
		}
	}
	return nil, fmt.Errorf("boot loader %q is not one of %s", name, strings.Join(Names(), ", "))
}

// kernelArguments joins what is added to the kernel's command line. The last console is /dev/console, which is where
// systemd starts a login as well.
func (t Target) kernelArguments() string {
	var args []string
	if t.Serial {
		args = append(args, "console=tty0", "console="+t.Console+t.lineSettings())
	}
	return strings.Join(append(args, t.Cmdline...), " ")
}

// lineSettings are for ports that have a speed; those of hypervisors have none.
func (t Target) lineSettings() string {
	for _, driver := range []string{"ttyS", "ttyAMA", "ttyO", "ttymxc"} {
		if strings.HasPrefix(t.Console, driver) {
			return fmt.Sprintf(",%dn8", cmp.Or(t.Speed, 115200))
		}
	}
	return ""
}
