// Package arch is the table of architectures: what Debian, Go, UEFI, GRUB and the kernel call each of them. It only
// names things; whether an image of an architecture can be built on this host is image.Check's to say.
package arch

import (
	"debug/elf"
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

	ELF      ELF    // what its programs say of themselves
	Exit     string // machine code of a program that does nothing but end, with status 0
	Also     string // GOARCH of other processors, most of which run its programs too; empty: none do
	Emulator string // program of qemu-user that runs its programs anywhere
}

// ELF is what tells one architecture's programs from another's, in the words of elf(5).
type ELF struct {
	Class   elf.Class // EI_CLASS
	Data    elf.Data  // EI_DATA: byte order
	Machine elf.Machine
	Flags   uint32 // e_flags of Debian's own programs
}

// How to add one: a row here, with its kernel from the suite's Packages index, its root type from the Discoverable
// Partitions Specification, its ELF header from readelf -h of any program and its exit(0) from the kernel's syscall table
// and objdump -d; then VMBUILD_TEST=net,build go test ./rootfs/arch ./rootfs/emulation ./rootfs ./image.
var table = []Arch{
	{"amd64", "x86_64-linux-gnu", "amd64", "linux-image-amd64", "ttyS0", "X64", "x86_64-efi",
		"4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", ELF{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64, 0},
		"\xb8\x3c\x00\x00\x00\x31\xff\x0f\x05", "", "qemu-x86_64"}, // mov eax, 60; xor edi, edi; syscall
	{"arm64", "aarch64-linux-gnu", "arm64", "linux-image-arm64", "ttyAMA0", "AA64", "arm64-efi",
		"B921B045-1DF0-41C3-AF44-4C6F280D3FAE", ELF{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_AARCH64, 0},
		"\xa8\x0b\x80\xd2\x00\x00\x80\xd2\x01\x00\x00\xd4", "", "qemu-aarch64"}, // mov x8, 93; mov x0, 0; svc 0
	{"armel", "arm-linux-gnueabi", "arm", "linux-image-rpi", "ttyAMA0", "", "",
		"69DAD710-2CE4-4E3C-B16C-21A1D49ABED3", ELF{elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_ARM, 0x5000200},
		"\x01\x70\xa0\xe3\x00\x00\xa0\xe3\x00\x00\x00\xef", "arm64", "qemu-arm"}, // mov r7, 1; mov r0, 0; svc 0
	{"armhf", "arm-linux-gnueabihf", "arm", "linux-image-armmp", "ttyAMA0", "ARM", "arm-efi",
		"69DAD710-2CE4-4E3C-B16C-21A1D49ABED3", ELF{elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_ARM, 0x5000400},
		"\x01\x70\xa0\xe3\x00\x00\xa0\xe3\x00\x00\x00\xef", "arm64", "qemu-arm"}, // mov r7, 1; mov r0, 0; svc 0
	{"i386", "i386-linux-gnu", "386", "linux-image-686-pae", "ttyS0", "IA32", "i386-efi",
		"44479540-F297-41B2-9AF7-D131D5F0458A", ELF{elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_386, 0},
		"\xb8\x01\x00\x00\x00\x31\xdb\xcd\x80", "amd64", "qemu-i386"}, // mov eax, 1; xor ebx, ebx; int 0x80
	{"riscv64", "riscv64-linux-gnu", "riscv64", "linux-image-riscv64", "ttyS0", "RISCV64", "riscv64-efi",
		"72EC70A6-CF74-40E6-BD49-4BDA08E8F224", ELF{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_RISCV, 0x5},
		"\x93\x08\xd0\x05\x13\x05\x00\x00\x73\x00\x00\x00", "", "qemu-riscv64"}, // li a7, 93; li a0, 0; ecall
	{"ppc64el", "powerpc64le-linux-gnu", "ppc64le", "linux-image-powerpc64le", "hvc0", "", "",
		"C31C45E6-3F39-412E-80FB-4809C4980599", ELF{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_PPC64, 0x2},
		"\x01\x00\x00\x38\x00\x00\x60\x38\x02\x00\x00\x44", "", "qemu-ppc64le"}, // li r0, 1; li r3, 0; sc
	{"s390x", "s390x-linux-gnu", "s390x", "linux-image-s390x", "ttysclp0", "", "",
		"5EEAD9A9-FE09-4A1E-A1D7-520D00531306", ELF{elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_S390, 0},
		"\xa7\x29\x00\x00\x0a\x01", "", "qemu-s390x"}, // lghi r2, 0; svc 1
	{"mips64el", "mips64el-linux-gnuabi64", "mips64le", "linux-image-5kc-malta", "ttyS0", "", "",
		"700BDA43-7A34-4507-B179-EEB93D7A7CA3", ELF{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_MIPS, 0x80000007},
		"\xc2\x13\x02\x24\x00\x00\x04\x24\x0c\x00\x00\x00", "", "qemu-mips64el"}, // li v0, 5058; li a0, 0; syscall
	{"loong64", "loongarch64-linux-gnu", "loong64", "linux-image-loong64", "ttyS0", "LOONGARCH64", "loongarch64-efi",
		"77055800-792C-4F94-B39A-98C91B762BB6", ELF{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_LOONGARCH, 0x43},
		"\x0b\x74\xc1\x02\x04\x00\x15\x00\x00\x00\x2b\x00", "", "qemu-loongarch64"}, // addi.d a7, zero, 93; move a0, zero; syscall 0
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
