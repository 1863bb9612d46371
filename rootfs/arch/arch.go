// Package arch is the table of architectures: what Debian, Go, UEFI, GRUB and the kernel call each of them. It only
// names things; whether an image of an architecture can be built on this host is image.Check's to say.
package arch

import (
	"fmt"
	"slices"
	"strings"
)

// Arch is one row of the table.
type Arch struct {
	Name     string // Debian's name (dpkg --print-architecture)
	GNU      string // Debian's multiarch triplet, the directory below /usr/lib
	Go       string // GOARCH
	Kernel   string // metapackage of the kernel an image gets by default
	Console  string // device of the first serial port below /dev
	EFI      string // suffix of the removable-path loader, BOOT<EFI>.EFI (UEFI 2.10, 3.5.1.1); empty: no UEFI
	GRUBEFI  string // GRUB's UEFI platform; empty: no UEFI
	RootGUID string // GPT type of its root partition (Discoverable Partitions Specification)
}

// How to add one: a row here, with its kernel from the suite's Packages index and its root type from the Discoverable
// Partitions Specification; then go test ./rootfs/arch ./image.
var table = []Arch{
	{"amd64", "x86_64-linux-gnu", "amd64", "linux-image-amd64", "ttyS0", "X64", "x86_64-efi", "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"},
	{"arm64", "aarch64-linux-gnu", "arm64", "linux-image-arm64", "ttyAMA0", "AA64", "arm64-efi", "B921B045-1DF0-41C3-AF44-4C6F280D3FAE"},
	{"armel", "arm-linux-gnueabi", "arm", "linux-image-rpi", "ttyAMA0", "", "", "69DAD710-2CE4-4E3C-B16C-21A1D49ABED3"},
	{"armhf", "arm-linux-gnueabihf", "arm", "linux-image-armmp", "ttyAMA0", "ARM", "arm-efi", "69DAD710-2CE4-4E3C-B16C-21A1D49ABED3"},
	{"i386", "i386-linux-gnu", "386", "linux-image-686-pae", "ttyS0", "IA32", "i386-efi", "44479540-F297-41B2-9AF7-D131D5F0458A"},
	{"riscv64", "riscv64-linux-gnu", "riscv64", "linux-image-riscv64", "ttyS0", "RISCV64", "riscv64-efi", "72EC70A6-CF74-40E6-BD49-4BDA08E8F224"},
	{"ppc64el", "powerpc64le-linux-gnu", "ppc64le", "linux-image-powerpc64le", "hvc0", "", "", "C31C45E6-3F39-412E-80FB-4809C4980599"},
	{"s390x", "s390x-linux-gnu", "s390x", "linux-image-s390x", "ttysclp0", "", "", "5EEAD9A9-FE09-4A1E-A1D7-520D00531306"},
	{"mips64el", "mips64el-linux-gnuabi64", "mips64le", "linux-image-5kc-malta", "ttyS0", "", "", "700BDA43-7A34-4507-B179-EEB93D7A7CA3"},
	{"loong64", "loongarch64-linux-gnu", "loong64", "linux-image-loong64", "ttyS0", "LOONGARCH64", "loongarch64-efi", "77055800-792C-4F94-B39A-98C91B762BB6"},
}

// All returns the table's rows.
func All() []Arch { return slices.Clone(table) }

// Names returns the rows' Debian names, for help texts and choices.
func Names() []string {
	var names []string
	for _, a := range table {
		names = append(names, a.Name)
	}
	return names
}

// Lookup returns the row with that Debian name.
func Lookup(name string) (Arch, error) {
	for _, a := range table {
		if a.Name == name {
			return a, nil
		}
	}
	return Arch{}, fmt.Errorf("architecture %q is not one of %s", name, strings.Join(Names(), ", "))
}

// Host returns the first row for the given GOARCH (runtime.GOARCH on the host).
func Host(goarch string) (Arch, error) {
	for _, a := range table {
		if a.Go == goarch {
			return a, nil
		}
	}
	return Arch{}, fmt.Errorf("no Debian architecture is known for this host's %q", goarch)
}

// UEFI says whether Debian starts this architecture by UEFI firmware.
func (a Arch) UEFI() bool { return a.EFI != "" }
