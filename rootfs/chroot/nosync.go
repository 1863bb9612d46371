package chroot

import (
	"fmt"
	"os/exec"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// abi is a system call interface, with the numbers of the calls that wait for a disk.
type abi struct {
	audit                                                uint32 // as the kernel tells it to filters, AUDIT_ARCH_*
	fsync, fdatasync, sync, syncfs, msync, syncFileRange uint32
}

// abis are those of Debian's architectures, native or beside another: programs of armhf run on arm64, of i386 on amd64.
//
// How to add one: a row with the numbers of the kernel's syscall table (x/sys/unix has them as SYS_*); then go test
// ./rootfs/chroot.
var abis = []abi{
	{unix.AUDIT_ARCH_X86_64, 74, 75, 162, 306, 26, 277},
	{unix.AUDIT_ARCH_AARCH64, 82, 83, 81, 267, 227, 84},
	{unix.AUDIT_ARCH_RISCV64, 82, 83, 81, 267, 227, 84},
	{unix.AUDIT_ARCH_LOONGARCH64, 82, 83, 81, 267, 227, 84},
	{unix.AUDIT_ARCH_I386, 118, 148, 36, 344, 144, 314},
	{unix.AUDIT_ARCH_ARM, 118, 148, 36, 373, 144, 341},
	{unix.AUDIT_ARCH_PPC64LE, 118, 148, 36, 348, 144, 308},
	{unix.AUDIT_ARCH_S390X, 118, 148, 36, 338, 144, 307},
	{unix.AUDIT_ARCH_MIPSEL64, 5072, 5073, 5157, 5301, 5025, 5264},
}

// Offsets in struct seccomp_data, seccomp(2).
const (
	offsetNumber = 0
	offsetArch   = 4
)

// syncFilter is a program for seccomp that lets the calls above succeed without being made. An image that is not yet
// written cannot be lost in a power cut, and dpkg waits for the disk after each file.
func syncFilter() []unix.SockFilter {
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		answer = unix.BPF_RET | unix.BPF_K
	)
	filter := []unix.SockFilter{{Code: load, K: offsetArch}}
	for _, a := range abis {
		numbers := []uint32{a.fsync, a.fdatasync, a.sync, a.syncfs, a.msync, a.syncFileRange}
		filter = append(filter,
			unix.SockFilter{Code: equal, K: a.audit, Jf: uint8(len(numbers) + 3)}, // to the next of abis
			unix.SockFilter{Code: load, K: offsetNumber})
		for i, n := range numbers {
			filter = append(filter, unix.SockFilter{Code: equal, K: n, Jt: uint8(len(numbers) - i)})
		}
		filter = append(filter,
			unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ALLOW},
			unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ERRNO}) // with the error number 0
	}
	return append(filter, unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ALLOW})
}

// startWithoutSync starts a program under the filter. A filter belongs to a thread and is inherited by the threads and
// processes that it makes, so a thread is spent on it: it ends with its goroutine, as that never unlocks it. That is
// also why Run sets no parent-death signal: it would come at the end of this thread.
func startWithoutSync(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := filterThread(syncFilter())
		if err == nil {
			err = cmd.Start()
		}
		started <- err
	}()
	return <-started
}

func filterThread(filter []unix.SockFilter) error {
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// SPEC_ALLOW: kernels before 5.16 otherwise switch on a mitigation that makes the program slower.
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
		uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("install a system call filter: %w", errno)
	}
	return nil
}
