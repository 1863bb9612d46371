package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// ours is the name of the tool that all others are compared with.
const ours = "vmbuild"

// tool is a program that takes part.
type tool struct {
	name     string
	programs []string // all that its scripts call; the first is the tool
	root     bool     // it does nothing for others
	needs    []need   // of what runs here
	install  string   // Debian packages
}

// need is something that not every machine has.
type need struct {
	lack string // in words
	met  func() bool
}

var (
	loopDevices  = need{"the kernel has no loop devices", kernelHas("/proc/devices", "loop", "loop")}
	deviceMapper = need{"the kernel has no device mapper", kernelHas("/proc/misc", "device-mapper", "dm_mod")}
	vfat         = need{"the kernel does not know the file system vfat", kernelHas("/proc/filesystems", "vfat", "vfat")}
	udev         = need{"udevd does not run, for which it would wait", func() bool {
		return exec.Command("udevadm", "control", "--ping", "--timeout=5").Run() == nil
	}}
)

// kernelHas looks for a line that ends with a word in a file of the kernel, or else for a module that it would load.
func kernelHas(file, word, module string) func() bool {
	return func() bool {
		text, err := os.ReadFile(file)
		return err == nil && endsLine(string(text), word) ||
			exec.Command("modprobe", "--dry-run", "--quiet", module).Run() == nil
	}
}

// endsLine says whether a word is the last of a line.
func endsLine(text, word string) bool {
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[len(fields)-1] == word {
			return true
		}
	}
	return false
}

// tools are what vmbuild is compared with. To add one, add a row, and its comparisons to those above; then try them with
// `go run ./cmd/bench --quick --tools=NAME`.
func tools() []tool {
	return []tool{
		{name: "mmdebstrap", programs: []string{"mmdebstrap", "mke2fs"}, install: "mmdebstrap e2fsprogs"},
		{name: "debootstrap", programs: []string{"debootstrap", "tar"}, root: true, install: "debootstrap tar"},
		{name: "vmdb2", programs: []string{"vmdb2", "kpartx", "parted", "debootstrap", "zerofree", "partx"}, root: true,
			needs: []need{loopDevices}, install: "vmdb2 kpartx parted debootstrap zerofree fdisk"},
		{name: "debos", programs: []string{"debos", "debootstrap", "systemd-nspawn", "parted"}, root: true,
			needs: []need{loopDevices, udev}, install: "debos debootstrap systemd-container parted"},
		{name: "grml-debootstrap", programs: []string{"grml-debootstrap", "kpartx", "parted", "qemu-img"}, root: true,
			needs: []need{loopDevices, deviceMapper}, install: "grml-debootstrap kpartx parted qemu-utils"},
		{name: "mkosi", programs: []string{"mkosi", "debootstrap", "mkfs.vfat"}, root: true,
			needs: []need{loopDevices, vfat}, install: "mkosi debootstrap dosfstools"},
		{name: "qemu-img", programs: []string{"qemu-img"}, install: "qemu-utils"},
	}
}

// missing says what this machine lacks for a tool; nil: nothing.
func (t tool) missing(isRoot bool) error {
	var absent []string
	for _, p := range t.programs {
		if _, err := exec.LookPath(p); err != nil {
			absent = append(absent, p)
		}
	}
	if len(absent) > 0 {
		return fmt.Errorf("%s is not installed; apt-get install %s", strings.Join(absent, ", "), t.install)
	}
	if t.root && !isRoot {
		return errors.New("it needs root")
	}
	for _, n := range t.needs {
		if !n.met() {
			return errors.New(n.lack)
		}
	}
	return nil
}

// versionOf asks Debian's database which version of a program is installed.
func versionOf(ctx context.Context, program string) string {
	const unknown = "of unknown version"
	path, err := exec.LookPath(program)
	if err != nil {
		return unknown
	}
	owner, err := exec.CommandContext(ctx, "dpkg-query", "--search", path).Output()
	if err != nil {
		return unknown
	}
	name, _, _ := strings.Cut(string(owner), ": ")
	version, err := exec.CommandContext(ctx, "dpkg-query", "--show", "--showformat=${Version}", name).Output()
	if err != nil {
		return unknown
	}
	return string(version)
}
