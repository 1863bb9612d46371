package emulation

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"vmbuild/rootfs/arch"
)

// Runs says whether a program of an architecture runs here, in a root that has nothing else in it: by trying. The error
// wraps unix.ENOEXEC if neither the processor nor an emulator runs it, and unix.ENOENT if the emulator is not found from
// within a root.
func Runs(a arch.Arch) error {
	if err := try(program(a)); err != nil {
		return fmt.Errorf("run a program of architecture %s: %w", a.Name, err)
	}
	return nil
}

// try runs a program in a root that has nothing in it but what this process has open: that needs no place for a file, of
// which the host may say that nothing there is to be executed.
func try(program []byte) error {
	f, err := executable(program)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := exec.Cmd{
		Path:        fmt.Sprintf("/%d", f.Fd()),
		Dir:         "/",
		SysProcAttr: &syscall.SysProcAttr{Chroot: "/proc/self/fd"},
	}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWUSER // in which it may change its root
	}
	err = cmd.Run()
	var start *os.PathError
	if errors.As(err, &start) {
		return start.Err // its path says nothing to anybody
	}
	return err
}

// executable returns a file, nowhere on a disk, that can be executed: nobody has it open for writing.
func executable(program []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("program", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "program")
	// A process that is forked meanwhile would have it open for writing, too, until it executes something.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	defer f.Close()
	if _, err := f.Write(program); err != nil {
		return nil, err
	}
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
}

// Where the program is loaded: at a multiple of any architecture's page size, above vm.mmap_min_addr.
const (
	address   = 0x400000
	alignment = 0x10000
)

// program is the smallest program of an architecture: the headers of elf(5), and what the row has as Exit.
func program(a arch.Arch) []byte {
	if a.ELF.Class == elf.ELFCLASS32 {
		return program32(a)
	}
	return program64(a)
}

func program64(a arch.Arch) []byte {
	const headers = 0x40 + 0x38
	size := uint64(headers + len(a.Exit))
	return write(a,
		elf.Header64{
			Ident: ident(a), Type: uint16(elf.ET_EXEC), Machine: uint16(a.ELF.Machine), Version: uint32(elf.EV_CURRENT),
			Entry: address + headers, Phoff: 0x40, Flags: a.ELF.Flags, Ehsize: 0x40, Phentsize: 0x38, Phnum: 1,
		},
		elf.Prog64{
			Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: address, Paddr: address,
			Filesz: size, Memsz: size, Align: alignment,
		})
}

func program32(a arch.Arch) []byte {
	const headers = 0x34 + 0x20
	size := uint32(headers + len(a.Exit))
	return write(a,
		elf.Header32{
			Ident: ident(a), Type: uint16(elf.ET_EXEC), Machine: uint16(a.ELF.Machine), Version: uint32(elf.EV_CURRENT),
			Entry: address + headers, Phoff: 0x34, Flags: a.ELF.Flags, Ehsize: 0x34, Phentsize: 0x20, Phnum: 1,
		},
		elf.Prog32{
			Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: address, Paddr: address,
			Filesz: size, Memsz: size, Align: alignment,
		})
}

func ident(a arch.Arch) [elf.EI_NIDENT]byte {
	return [elf.EI_NIDENT]byte{
		0: elf.ELFMAG[0], elf.ELFMAG[1], elf.ELFMAG[2], elf.ELFMAG[3],
		elf.EI_CLASS: byte(a.ELF.Class), elf.EI_DATA: byte(a.ELF.Data), elf.EI_VERSION: byte(elf.EV_CURRENT),
	}
}

func order(a arch.Arch) binary.ByteOrder {
	if a.ELF.Data == elf.ELFDATA2MSB {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

func write(a arch.Arch, headers ...any) []byte {
	var b bytes.Buffer
	for _, h := range headers {
		_ = binary.Write(&b, order(a), h) // of fixed size, into memory
	}
	b.WriteString(a.Exit)
	return b.Bytes()
}
