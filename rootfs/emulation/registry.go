package emulation

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/namespace"
)

// Registry has the formats of programs that the kernel starts by others, those of one user namespace.
type Registry struct {
	dir *os.File // of the file system binfmt_misc, which is mounted nowhere
}

// Open opens the formats of this process's user namespace, which must have been made for the build: from then on the
// host's do not count there. It fails in the host's own one, and where the kernel is older than 6.7.
func Open() (*Registry, error) {
	dir, err := mount()
	if err != nil {
		return nil, fmt.Errorf("open the kernel's table of program formats (binfmt_misc): %w", err)
	}
	return &Registry{dir}, nil
}

func mount() (*os.File, error) {
	if namespace.Initial() {
		return nil, errors.New("it is the host's, this process has no user namespace of its own")
	}
	fd, err := unix.Fsopen("binfmt_misc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(fd)
	if err := unix.FsconfigCreate(fd); err != nil {
		return nil, os.NewSyscallError("fsconfig", err)
	}
	dir, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsmount", err)
	}
	return os.NewFile(uintptr(dir), "binfmt_misc"), nil
}

// Register has programs of an architecture run by an interpreter, a static program, in whatever root they are. A second
// one for the same architecture is ignored.
func (r *Registry) Register(a arch.Arch, interpreter *os.File) error {
	if err := r.register(format(a, fmt.Sprintf("/proc/self/fd/%d", interpreter.Fd()))); err != nil {
		return fmt.Errorf("register %q for programs of architecture %s: %w", interpreter.Name(), a.Name, err)
	}
	return nil
}

func (r *Registry) register(format string) error {
	fd, err := unix.Openat(int(r.dir.Fd()), "register", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(format)); err != unix.EEXIST {
		return err
	}
	return nil
}

// Close takes back what was registered, unless another Registry of the namespace is open. Programs that run, run on.
func (r *Registry) Close() error { return r.dir.Close() }

// How an interpreter is started, binfmt-misc.rst, "flags".
const (
	preserveArgv0 = "P" // the program's own argv[0] is handed on; qemu learns of it by AT_FLAGS
	openBinary    = "O" // so that a program need not be readable
	credentials   = "C" // those of the program, so that set-uid ones have an effect
	fixBinary     = "F" // the interpreter is opened once and for all, so that it need not be in the root
)

// format describes an architecture's programs to the kernel: by the first fields of elf(5)'s header, whatever OS/ABI
// they name, linked to a fixed address or not. Its fields are name, type, offset, magic, mask, interpreter and flags.
func format(a arch.Arch, interpreter string) string {
	id := ident(a)
	magic := append(id[:], 0, 0, 0, 0)
	order(a).PutUint16(magic[16:], uint16(elf.ET_EXEC))
	order(a).PutUint16(magic[18:], uint16(a.ELF.Machine))
	mask := []byte(strings.Repeat("\xff", len(magic)))
	mask[elf.EI_OSABI], mask[elf.EI_ABIVERSION] = 0, 0
	order(a).PutUint16(mask[16:], ^uint16(elf.ET_EXEC^elf.ET_DYN))
	return fmt.Sprintf(":vmbuild-%s:M:0:%s:%s:%s:%s", a.Name, escape(magic), escape(mask), interpreter,
		preserveArgv0+openBinary+credentials+fixBinary)
}

func escape(data []byte) string {
	var b strings.Builder
	for _, c := range data {
		fmt.Fprintf(&b, `\x%02x`, c)
	}
	return b.String()
}
