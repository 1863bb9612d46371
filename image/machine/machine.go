// Package machine starts a disk image in QEMU and talks to its serial console: `vmbuild run` hands the console to a
// terminal, the boot tests wait for texts on it, log in and run commands.
//
// It changes no image but the one it was told to start, and that one not either with Machine.Snapshot. It neither
// installs QEMU nor knows where it comes from (see Programs), and it shows nothing but the serial console: an image that
// prints nothing there runs unseen.
//
// Invariant: a QEMU that was started here ends with the Process that stands for it, at the latest with vmbuild itself. Its
// files are removed then, or by the next machine if vmbuild was killed.
package machine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/layer"
)

// Machine is a computer with one disk, one serial port, one network card and a source of random numbers. Its zero
// value needs an Image only.
type Machine struct {
	Image     string    // the disk
	Format    Format    // of Image; by default what its first bytes say
	Arch      arch.Arch // by default the board's, else the host's
	Board     string    // one of Boards; by default a machine that only QEMU has
	Firmware  Firmware  // by default what starts what is on the image
	Accel     Accel     // by default KVM where it is faster than TCG
	MemoryMiB int       // by default 1024, or what the board has
	CPUs      int       // by default 1, or what the board has
	Snapshot  bool      // what the guest writes is forgotten, Image may be read-only
	Disc      bool      // Image is a disc in a drive that only reads, not the disk
	NoReboot  bool      // the machine ends where it would start anew
	Forward   []Forward // ports of the host that lead into the guest
	Log       io.Writer // gets every byte of the console as it comes; nil: nothing
	Dir       string    // holds firmware variables and temporary writes, the caller's to remove; "": one of its own
	CacheDir  string    // keeps what is known about this host's KVM; "": found out anew each time

	FirmwareDir string // has UEFI firmware under one of its usual names; "": that of the Programs
}

// Forward makes TCP connections to a port of the host's loopback address arrive at a port of the guest.
type Forward struct{ Host, Guest int }

// Accel is a way to run the guest's instructions.
type Accel string

// The accelerators; the empty string is AutoAccel, too.
const (
	AutoAccel Accel = "auto"
	KVM       Accel = "kvm" // by the processor; fails where the host's KVM does
	TCG       Accel = "tcg" // by translation, on every host, ten times slower
)

// Start starts the machine. Its Process lives until it powers off, it is closed or ctx ends.
//
// Errors: an image or an architecture that cannot be started; a program or firmware that p lacks (*MissingError).
// That QEMU itself refuses to start is known only a moment later, and told by the Process.
func (m Machine) Start(ctx context.Context, p Programs) (_ *Process, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("start image %q: %w", m.Image, err)
		}
	}()
	m, err = m.complete()
	if err != nil {
		return nil, err
	}
	model, err := lookup(m.Arch, m.Board)
	if err != nil {
		return nil, err
	}
	files, err := m.firmwareFiles(model, p)
	if err != nil {
		return nil, err
	}
	dir, remove, err := m.workDir()
	if err != nil {
		return nil, err
	}
	accel, why := model.accel(ctx, p, m, dir)
	binds := []chroot.Bind{same(m.Image, m.Snapshot || m.Disc), same(dir, false)}
	if files.Code != "" {
		binds = append(binds, same(files.Code, true))
	}
	if files.Variables != "" {
		if files.Variables, err = copyInto(dir, files.Variables); err != nil {
			return nil, errors.Join(err, remove())
		}
	}
	args := model.arguments(m.Firmware, files, accel)
	medium, err := m.medium(model, dir)
	if err == nil && m.Firmware == Kernel {
		var kernel []string
		kernel, err = m.kernelArguments(model, dir)
		args = append(args, kernel...)
	}
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	args = append(args, m.arguments(model.devices, medium)...)
	process, err := launch(ctx, p, start{
		program: model.program,
		args:    args,
		binds:   binds,
		dir:     dir,
		accel:   accel,
		reason:  why,
		log:     m.Log,
		cleanUp: remove,
		onKVM:   func(fault error) { writeVerdict(m.CacheDir, TCG, fault.Error()) },
	})
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	return process, nil
}

// Complete returns the machine as Start would start it: with defaults in place of zero values, for which it looks at the
// image. It is for a caller who must know the firmware before there are Programs.
func (m Machine) Complete() (Machine, error) {
	m, err := m.complete()
	if err != nil {
		return m, fmt.Errorf("look at image %q: %w", m.Image, err)
	}
	return m, nil
}

func (m Machine) complete() (Machine, error) {
	var err error
	if m.Arch, err = m.completeArch(); err != nil {
		return m, err
	}
	model, err := lookup(m.Arch, m.Board)
	if err != nil {
		return m, err
	}
	// An absolute path cannot be taken for a protocol such as nbd:, whatever the file is called.
	if m.Image, err = filepath.Abs(m.Image); err != nil {
		return m, err
	}
	disk, err := openDisk(m.Image, m.Format)
	if err != nil {
		return m, err
	}
	defer disk.Close()
	m.Format = disk.format
	if m, err = m.completeFirmware(model, disk); err != nil {
		return m, err
	}
	m.Accel = cmp.Or(m.Accel, AutoAccel)
	m.MemoryMiB = cmp.Or(m.MemoryMiB, model.memoryMiB, 1024)
	m.CPUs = cmp.Or(m.CPUs, model.cpus, 1)
	return m, nil
}

func (m Machine) completeArch() (arch.Arch, error) {
	switch {
	case m.Arch.Name != "":
		return m.Arch, nil
	case m.Board != "":
		model, err := ofBoard(m.Board)
		return model.Arch, err
	}
	return hostArch()
}

// completeFirmware decides on the firmware. One that is in a directory of its own is UEFI, where nothing else is said.
func (m Machine) completeFirmware(model model, d *disk) (Machine, error) {
	m.Firmware = cmp.Or(m.Firmware, AutoFirmware)
	var err error
	switch {
	case m.FirmwareDir != "":
		if m.Firmware == AutoFirmware {
			m.Firmware = UEFI
		}
		if m.FirmwareDir, err = filepath.Abs(m.FirmwareDir); err == nil {
			_, err = model.firmwareIn(m.FirmwareDir, m.Firmware)
		}
	case m.Firmware == AutoFirmware:
		m.Firmware, err = model.choose(d)
	}
	return m, err
}

// firmwareFiles are those of the machine's directory, else those of p.
func (m Machine) firmwareFiles(model model, p Programs) (FirmwareFiles, error) {
	switch {
	case m.FirmwareDir != "":
		return model.firmwareIn(m.FirmwareDir, m.Firmware)
	case m.Board != "" && !model.can(m.Firmware):
		return FirmwareFiles{}, fmt.Errorf("board %q has no firmware %q", m.Board, m.Firmware)
	case !m.Firmware.inFiles() && model.can(m.Firmware):
		return FirmwareFiles{}, nil
	}
	return p.Firmware(model.Arch, m.Firmware)
}

// TurnsOff says whether the machine ends when its system powers off. Boards whose disk is an SD card have a chip for that which
// QEMU does not know: a system that has shut down waits there for ever.
func (m Machine) TurnsOff() bool {
	a, err := m.completeArch()
	if err != nil {
		return false
	}
	model, err := lookup(a, m.Board)
	return err == nil && !model.devices.card
}

// Packages returns the Debian packages with QEMU and every firmware for the machine: what a Tree must hold. Nil if there
// is no such machine.
func (m Machine) Packages() []string {
	model, err := lookup(m.Arch, m.Board)
	if err != nil {
		return nil
	}
	return model.packages
}

// arguments are those that depend on the machine that was asked for, not on its architecture.
func (m Machine) arguments(d devices, drive string) []string {
	network := "user,id=net"
	for _, f := range m.Forward {
		network += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", f.Host, f.Guest)
	}
	disk := d.disk
	if m.Disc {
		disk = d.disc
	}
	args := slices.Concat(
		[]string{"-m", fmt.Sprint(m.MemoryMiB), "-smp", fmt.Sprint(m.CPUs), "-drive", drive}, disk,
		[]string{"-netdev", network}, d.network, d.random)
	if m.NoReboot {
		args = append(args, "-no-reboot")
	}
	return args
}

// medium is QEMU's option for the image, as the medium that the machine takes.
func (m Machine) medium(model model, dir string) (string, error) {
	switch {
	case m.Disc && model.devices.disc == nil:
		return "", errors.New("the machine has no drive for discs")
	case model.devices.card:
		return m.card(dir)
	}
	drive := fmt.Sprintf("if=none,id=disk,format=%s,file=%s", m.Format, comma(m.Image))
	switch {
	case m.Disc:
		drive += ",media=cdrom,readonly=on"
	case m.Snapshot:
		drive += ",snapshot=on"
	}
	return drive, nil
}

const dirPrefix = "vmbuild-machine-"

// workDir returns a directory for files that live as long as the machine, and what removes it.
func (m Machine) workDir() (string, func() error, error) {
	if m.Dir != "" {
		dir, err := filepath.Abs(m.Dir)
		return dir, func() error { return nil }, err
	}
	// What cannot be removed now, of somebody who was killed, hinders nobody.
	layer.Sweep(os.TempDir(), dirPrefix)
	dir, err := layer.TempDir(os.TempDir(), dirPrefix)
	if err != nil {
		return "", nil, err
	}
	return dir.Path, dir.Close, nil
}

// comma writes a value of a QEMU option: a comma in it stands doubled.
func comma(value string) string { return strings.ReplaceAll(value, ",", ",,") }

func same(path string, readOnly bool) chroot.Bind {
	return chroot.Bind{Source: path, Target: path, ReadOnly: readOnly}
}

// copyInto copies a file and returns the copy's path.
func copyInto(dir, path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	target := filepath.Join(dir, filepath.Base(path))
	return target, os.WriteFile(target, data, 0o600)
}
