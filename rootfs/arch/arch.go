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
	Table    string // partition table a disk gets by default, "msdos" or "gpt"
	Loader   string // boot loader a disk gets by default: a row of package bootloader's table
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
	{
		Name: "amd64", GNU: "x86_64-linux-gnu", Go: "amd64",
		Kernel: "linux-image-amd64", Table: "msdos", Loader: "extlinux", Console: "ttyS0",
		EFI: "X64", GRUBEFI: "x86_64-efi",
		RootGUID: "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
		ELF:      ELF{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64, 0},
		Exit:     "\xb8\x3c\x00\x00\x00\x31\xff\x0f\x05", // mov eax, 60; xor edi, edi; syscall
		Emulator: "qemu-x86_64",
	},
	{
		Name: "arm64", GNU: "aarch64-linux-gnu", Go: "arm64",
		Kernel: "linux-image-arm64", Table: "gpt", Loader: "grub-efi", Console: "ttyAMA0",
		EFI: "AA64", GRUBEFI: "arm64-efi",
		RootGUID: "B921B045-1DF0-41C3-AF44-4C6F280D3FAE",
		ELF:      ELF{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_AARCH64, 0},
		Exit:     "\xa8\x0b\x80\xd2\x00\x00\x80\xd2\x01\x00\x00\xd4", // mov x8, 93; mov x0, 0; svc 0
		Emulator: "qemu-aarch64",
	},
	{
		Name: "armel", GNU: "arm-linux-gnueabi", Go: "arm",
		Kernel: "linux-image-rpi", Table: "msdos", Loader: "none", Console: "ttyAMA0",
		RootGUID: "69DAD710-2CE4-4E3C-B16C-21A1D49ABED3",
		ELF:      ELF{elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_ARM, 0x5000200},
		Exit:     "\x01\x70\xa0\xe3\x00\x00\xa0\xe3\x00\x00\x00\xef", // mov r7, 1; mov r0, 0; svc 0
		Also:     "arm64",
		Emulator: "qemu-arm",
	},
	{
		Name: "armhf", GNU: "arm-linux-gnueabihf", Go: "arm",
		Kernel: "linux-image-armmp", Table: "msdos", Loader: "u-boot", Console: "ttyAMA0",
		EFI: "ARM", GRUBEFI: "arm-efi",
		RootGUID: "69DAD710-2CE4-4E3C-B16C-21A1D49ABED3",
		ELF:      ELF{elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_ARM, 0x5000400},
		Exit:     "\x01\x70\xa0\xe3\x00\x00\xa0\xe3\x00\x00\x00\xef", // mov r7, 1; mov r0, 0; svc 0
		Also:     "arm64",
		Emulator: "qemu-arm",
	},
	{
		Name: "i386", GNU: "i386-linux-gnu", Go: "386",
		Kernel: "linux-image-686-pae", Table: "msdos", Loader: "extlinux", Console: "ttyS0",
		EFI: "IA32", GRUBEFI: "i386-efi",
		RootGUID: "44479540-F297-41B2-9AF7-D131D5F0458A",
		ELF:      ELF{elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_386, 0},
		Exit:     "\xb8\x01\x00\x00\x00\x31\xdb\xcd\x80", // mov eax, 1; xor ebx, ebx; int 0x80
		Also:     "amd64",
		Emulator: "qemu-i386",
	},
	{
		Name: "riscv64", GNU: "riscv64-linux-gnu", Go: "riscv64",
		Kernel: "linux-image-riscv64", Table: "gpt", Loader: "u-boot", Console: "ttyS0",
		EFI: "RISCV64", GRUBEFI: "riscv64-efi",
		RootGUID: "72EC70A6-CF74-40E6-BD49-4BDA08E8F224",
		ELF:      ELF{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_RISCV, 0x5},
		Exit:     "\x93\x08\xd0\x05\x13\x05\x00\x00\x73\x00\x00\x00", // li a7, 93; li a0, 0; ecall
		Emulator: "qemu-riscv64",
	},
	{
		Name: "ppc64el", GNU: "powerpc64le-linux-gnu", Go: "ppc64le",
		Kernel: "linux-image-powerpc64le", Table: "gpt", Loader: "grub-ieee1275", Console: "hvc0",
		RootGUID: "C31C45E6-3F39-412E-80FB-4809C4980599",
		ELF:      ELF{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_PPC64, 0x2},
		Exit:     "\x01\x00\x00\x38\x00\x00\x60\x38\x02\x00\x00\x44", // li r0, 1; li r3, 0; sc
		Emulator: "qemu-ppc64le",
	},
	{
		Name: "s390x", GNU: "s390x-linux-gnu", Go: "s390x",
		Kernel: "linux-image-s390x", Table: "msdos", Loader: "none", Console: "ttysclp0",
		RootGUID: "5EEAD9A9-FE09-4A1E-A1D7-520D00531306",
		ELF:      ELF{elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_S390, 0},
		Exit:     "\xa7\x29\x00\x00\x0a\x01", // lghi r2, 0; svc 1
		Emulator: "qemu-s390x",
	},
	{
		Name: "mips64el", GNU: "mips64el-linux-gnuabi64", Go: "mips64le",
		Kernel: "linux-image-5kc-malta", Table: "msdos", Loader: "none", Console: "ttyS0",
		RootGUID: "700BDA43-7A34-4507-B179-EEB93D7A7CA3",
		ELF:      ELF{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_MIPS, 0x80000007},
		Exit:     "\xc2\x13\x02\x24\x00\x00\x04\x24\x0c\x00\x00\x00", // li v0, 5058; li a0, 0; syscall
		Emulator: "qemu-mips64el",
	},
	{
		Name: "loong64", GNU: "loongarch64-linux-gnu", Go: "loong64",
		Kernel: "linux-image-loong64", Table: "gpt", Loader: "grub-efi", Console: "ttyS0",
		EFI: "LOONGARCH64", GRUBEFI: "loongarch64-efi",
		RootGUID: "77055800-792C-4F94-B39A-98C91B762BB6",
		ELF:      ELF{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_LOONGARCH, 0x43},
		Exit:     "\x0b\x74\xc1\x02\x04\x00\x15\x00\x00\x00\x2b\x00", // addi.d a7, zero, 93; move a0, zero; syscall 0
		Emulator: "qemu-loongarch64",
	},
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
