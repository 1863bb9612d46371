// Package live makes live systems: Squash turns a root filesystem into a live directory, which has the system as a squashfs
// with its kernel and initramfs, and Write turns a live directory into an image that starts from a disc and from a USB
// stick, by BIOS and by UEFI.
//
// It installs nothing into the system: what a live system needs (a kernel, live-boot) and who may log in to it is decided
// when the root filesystem is made. It formats no USB stick: an image is copied to one as it is.
//
// Invariant: the same directory gives the same image, byte by byte, on every host.
package live

import (
	"fmt"
	"time"

	"vmbuild/image"
	"vmbuild/image/session"
	"vmbuild/rootfs"
	"vmbuild/rootfs/namespace"
)

// Names of the jobs of the inner half.
const (
	squashJob = "squash"
	writeJob  = "live"
)

// Handlers are the jobs of the inner half, for namespace.Serve.
func Handlers() map[string]namespace.Handler {
	return map[string]namespace.Handler{
		squashJob: session.Handle(squashInside),
		writeJob:  session.Handle(writeInside),
	}
}

// Tools says where the programs come from that the work needs; the zero value: from the host's own mirror.
type Tools struct {
	Mirror           string `json:"mirror,omitempty"`
	IgnoreValidUntil bool   `json:"ignoreValidUntil,omitempty"`
	Offline          bool   `json:"offline,omitempty"`
}

func (t Tools) spec() rootfs.Spec {
	return rootfs.Spec{Mirror: t.Mirror, IgnoreValidUntil: t.IgnoreValidUntil}
}

// checkHost says what the host lacks for any job.
func checkHost() error {
	if err := namespace.Check(); err != nil {
		return &image.MissingError{Problems: []string{err.Error()}}
	}
	return nil
}

// refused is an error of what a user has asked for.
func refused(format string, args ...any) error {
	return &image.RefusedError{Problems: []string{fmt.Sprintf(format, args...)}}
}

// latest returns the later time.
func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
