package chroot

import (
	"testing"

	"golang.org/x/sys/unix"
)

// judge runs a filter on a call as the kernel does, for the instructions that it uses.
func judge(t *testing.T, filter []unix.SockFilter, arch, number uint32) uint32 {
	t.Helper()
	var a uint32
	for i := 0; i < len(filter); i++ {
		switch f := filter[i]; f.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = map[uint32]uint32{offsetNumber: number, offsetArch: arch}[f.K]
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			if a == f.K {
				i += int(f.Jt)
			} else {
				i += int(f.Jf)
			}
		case unix.BPF_RET | unix.BPF_K:
			return f.K
		default:
			t.Fatalf("instruction %d is %#x", i, f.Code)
		}
	}
	t.Fatal("the filter has no end")
	return 0
}

func TestSyncFilter(t *testing.T) {
	filter := syncFilter()
	for _, a := range abis {
		skipped := map[uint32]bool{
			a.fsync: true, a.fdatasync: true, a.sync: true, a.syncfs: true, a.msync: true, a.syncFileRange: true,
		}
		if len(skipped) != 6 {
			t.Errorf("%#x: numbers are used twice", a.audit)
		}
		for n := range uint32(6000) {
			want := uint32(unix.SECCOMP_RET_ALLOW)
			if skipped[n] {
				want = unix.SECCOMP_RET_ERRNO
			}
			if got := judge(t, filter, a.audit, n); got != want {
				t.Errorf("%#x: call %d gives %#x", a.audit, n, got)
			}
		}
	}
	if got := judge(t, filter, unix.AUDIT_ARCH_SPARC, 118); got != unix.SECCOMP_RET_ALLOW {
		t.Errorf("another architecture gives %#x", got)
	}
}

// TestNumbers holds the row of this test's own architecture against the numbers that x/sys was made from.
func TestNumbers(t *testing.T) {
	for _, a := range abis {
		if a.fsync == unix.SYS_FSYNC && a.fdatasync == unix.SYS_FDATASYNC && a.sync == unix.SYS_SYNC &&
			a.syncfs == unix.SYS_SYNCFS && a.msync == unix.SYS_MSYNC {
			return
		}
	}
	t.Error("no row has this architecture's numbers")
}
