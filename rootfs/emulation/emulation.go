// Package emulation lets programs of one architecture run on processors of another: by qemu-user, which the kernel
// starts for each of them (binfmt_misc, Documentation/admin-guide/binfmt-misc.rst).
//
// The invariant: nothing is registered on the host. Since Linux 6.7 each user namespace can have formats of its own,
// and a Registry has those of the one that it was opened in. They are on no mount point and go with the last process
// that has the Registry open, however that ends. They come in place of the host's, which that namespace does not see any
// more, not even later; that is why it has to be one that was made for the build.
//
// Where the kernel is older, what the host has registered serves too, if it works in a chroot.
//
// The package has no emulator; whoever wants one registered brings it.
package emulation

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/namespace"
)

// Native says whether this host runs programs of an architecture without anything that had to be registered: its
// processor does, and the kernel lets it.
func Native(a arch.Arch) bool {
	return a.Go == runtime.GOARCH || a.Also == runtime.GOARCH && Runs(a) == nil
}

// Check says what keeps this host from building for an architecture, as a *namespace.Problem.
func Check(a arch.Arch) error {
	if Native(a) || registers(kernelRelease()) {
		return nil
	}
	return CheckHost(a)
}

// CheckHost says what keeps programs of an architecture from running in the roots of this host without a Registry, as a
// *namespace.Problem.
func CheckHost(a arch.Arch) error {
	err := Runs(a)
	reason := fmt.Sprintf("this host (Linux %s) runs %s programs only", kernelRelease(), runtime.GOARCH)
	switch {
	case errors.Is(err, unix.ENOENT):
		reason = fmt.Sprintf("the emulator of %s that is registered on this host does not work in a chroot (flag F is missing)", a.Name)
	case !errors.Is(err, unix.ENOEXEC):
		return err
	}
	return &namespace.Problem{
		Reason: reason,
		Remedy: fmt.Sprintf("start Linux 6.7 or later, or install package qemu-user-static, or build on a host of architecture %s", a.Name),
	}
}

// registers says whether a kernel lets the root of each user namespace register formats.
func registers(release string) bool {
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return false
	}
	return major > 6 || major == 6 && minor >= 7
}

func kernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}
