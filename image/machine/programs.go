package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/chroot"
)

// Programs is where QEMU and its firmware come from: the Host, or a Tree of tools.
type Programs interface {
	// Firmware returns the files of a firmware as paths that vmbuild can read.
	Firmware(a arch.Arch, kind Firmware) (FirmwareFiles, error)
	// Enter makes QEMU runnable. Each bind's target is its source: QEMU is given the same paths wherever it runs.
	chroot.Toolbox
}

// Tree is a root directory into which Packages have been unpacked, with the Toolbox that runs programs in it.
type Tree struct {
	chroot.Toolbox
	Dir string
}

// Firmware looks for firmware below the tree's directory.
func (t Tree) Firmware(a arch.Arch, kind Firmware) (FirmwareFiles, error) {
	return findFirmware(t.Dir, a, kind)
}

// Host is what is installed on the host.
type Host struct{}

// Firmware looks for firmware where the host's distribution has put it.
func (Host) Firmware(a arch.Arch, kind Firmware) (FirmwareFiles, error) {
	return findFirmware("/", a, kind)
}

// Check says what the host lacks to start a machine that is complete: nil, or a *MissingError.
func (h Host) Check(m Machine) error {
	model, err := lookup(m.Arch, m.Board)
	if err != nil {
		return err
	}
	if _, err := exec.LookPath(model.program); err != nil {
		return &MissingError{What: fmt.Sprintf("program %q", model.program), Packages: model.packages}
	}
	_, err = m.firmwareFiles(model, h)
	return err
}

// Enter runs programs as children of this process; there is nothing to enter.
func (Host) Enter(context.Context, ...chroot.Bind) (chroot.Runner, io.Closer, error) {
	return hostRunner{}, io.NopCloser(nil), nil
}

type hostRunner struct{}

// Run runs a program of the host. It is killed when ctx ends and when this process does.
func (hostRunner) Run(ctx context.Context, c chroot.Command) error {
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Dir, cmd.ExtraFiles = c.Dir, c.Files
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	cmd.WaitDelay = 5 * time.Second
	// In a process group of its own it gets no Ctrl-C from the terminal, but its end from ctx.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	// Pdeathsig is sent when the thread that started the child ends, not when the process does.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	switch err := cmd.Run(); {
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("program %q is not installed", c.Args[0])
	case err != nil:
		return fmt.Errorf("run %s: %w", strings.Join(c.Args, " "), err)
	}
	return nil
}

// indent puts lines below an error's text, none if there are none.
func indent(lines string) string {
	if lines == "" {
		return ""
	}
	return ":\n    " + strings.ReplaceAll(lines, "\n", "\n    ")
}
