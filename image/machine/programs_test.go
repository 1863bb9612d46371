package machine

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vmbuild/rootfs/chroot"
)

// TestMain lets the test binary be two more programs: one that runs the other through the Host, and one that waits.
func TestMain(m *testing.M) {
	switch os.Getenv("VMBUILD_MACHINE_ROLE") {
	case "parent":
		os.Setenv("VMBUILD_MACHINE_ROLE", "child")
		hostRunner{}.Run(context.Background(), chroot.Command{Args: []string{os.Args[0]}, Stdout: os.Stdout})
	case "child":
		os.Stdout.WriteString(strconv.Itoa(os.Getpid()) + "\n")
		time.Sleep(time.Minute)
	default:
		os.Exit(m.Run())
	}
}

func TestHostProgramDiesWithVmbuild(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), "VMBUILD_MACHINE_ROLE=parent")
	output, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 32)
	n, err := output.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatal(err)
	}
	parent.Process.Kill()
	// The child holds the pipe's other end: its end is the end of the file.
	ended := make(chan error, 1)
	go func() {
		_, err := io.ReadAll(output)
		ended <- err
	}()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		syscall.Kill(child, syscall.SIGKILL)
		t.Error("it lives on")
	}
	parent.Wait()
}

func TestHostProgramEndsWithContext(t *testing.T) {
	t.Setenv("VMBUILD_MACHINE_ROLE", "child")
	ctx, cancel := context.WithCancel(t.Context())
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	ended := make(chan error)
	go func() { ended <- hostRunner{}.Run(ctx, chroot.Command{Args: []string{os.Args[0]}, Stdout: write}) }()
	if _, err := read.Read(make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err == nil || err.Error() != "run "+os.Args[0]+": signal: killed" {
		t.Errorf("%v", err)
	}
	write.Close()
}

func TestHostProgramIsMissing(t *testing.T) {
	err := hostRunner{}.Run(t.Context(), chroot.Command{Args: []string{"qemu-system-pdp11"}})
	if err == nil || err.Error() != `program "qemu-system-pdp11" is not installed` {
		t.Error(err)
	}
}
