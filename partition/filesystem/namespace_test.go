package filesystem

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"vmbuild/rootfs/offers"
)

const inNamespace = "VMBUILD_TEST_NAMESPACE"

// TestMain lets tests that build run in a mount namespace of their own.
func TestMain(m *testing.M) {
	if !offers.Has("build") || os.Getenv(inNamespace) != "" {
		os.Exit(m.Run())
	}
	args := []string{"unshare", "--mount", "--propagation", "private"}
	if os.Getuid() != 0 {
		args = append(args, "--user", "--map-root-user")
	}
	unshare, err := exec.LookPath(args[0])
	if err == nil {
		err = syscall.Exec(unshare, append(args, os.Args...), append(os.Environ(), inNamespace+"=1"))
	}
	fmt.Fprintln(os.Stderr, "enter a mount namespace:", err)
	os.Exit(1)
}

// allocated is what a file takes of the disk, in bytes.
func allocated(t *testing.T, f *os.File) int64 {
	t.Helper()
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	return stat.Blocks * 512
}
