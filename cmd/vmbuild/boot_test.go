package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"vmbuild/bootloader"
	"vmbuild/image"
	"vmbuild/image/machine"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/offers"
	"vmbuild/rootfs/suite"
)

// starts is an image and the machine that it is started on.
type starts struct {
	machine machine.Machine
	args    []string
	upgrade []string // packages installed once more, with the kernel, before it starts again; nil: it starts once
}

// patience is for machines that others keep from running: systemd would give up their serial port after 90 seconds.
const patience = "--append=systemd.default_device_timeout_sec=600"

// oneProcessor is for boards, which QEMU gives all of theirs: where the host has fewer they wait for each other until Linux sees
// them locked up.
const oneProcessor = patience + " maxcpus=1"

// oldNames gives network interfaces the kernel's names.
const oldNames = "--no-systemd-networkd"

// short are the images that are started on each change: each firmware of a PC, most boot loaders, the oldest suite, a
// foreign architecture. All others are by the word "matrix".
var short = []string{
	"amd64-extlinux-msdos-ext4-bios", "amd64-grub-cloud-gpt-ext4-secure-boot", "amd64-systemd-boot-gpt-ext4-uefi",
	"bullseye-old-names",
}

// TestBoot builds images and starts them: a login on the serial console, no failed unit, an address, and for some a
// kernel and a boot loader that are installed once more before the machine is started again. The consoles' texts are kept
// in the directory that VMBUILD_CONSOLES names.
func TestBoot(t *testing.T) {
	p := needProgram(t, "net", "build", "boot")
	cases := bootMatrix(t)
	for _, name := range short {
		if _, ok := cases[name]; !ok {
			t.Errorf("there is no image %s", name)
		}
	}
	for name, c := range cases {
		if !slices.Contains(short, name) && !offers.Has("matrix") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p.boot(t, c)
		})
	}
}

// startedBy is what starts the disk of a boot loader. Machines of an architecture have one of them or several.
var startedBy = map[string][]machine.Firmware{
	"grub":          {machine.BIOS},
	"grub-efi":      {machine.UEFI, machine.SecureBoot},
	"grub-cloud":    {machine.BIOS, machine.SecureBoot},
	"grub-ieee1275": {machine.OpenFirmware},
	"systemd-boot":  {machine.UEFI},
	"extlinux":      {machine.BIOS},
	"u-boot":        {machine.UBoot},
	"none":          {machine.Kernel},
}

// bootMatrix is what the tables come to: each architecture and board that QEMU has a machine for, each boot loader that
// starts it, by each firmware. PCs get more: both partition tables, the filesystems that GRUB is there for, all suites.
func bootMatrix(t *testing.T) map[string]starts {
	t.Helper()
	cases := map[string]starts{}
	for _, name := range machine.Architectures() {
		a, err := arch.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		release := releaseFor(t, a)
		for _, l := range bootloader.All() {
			if l.Supports(a, release) == nil && (l.Name() != "none" || a.Loader == "none") {
				addLoader(cases, a, release, l)
			}
		}
	}
	for _, name := range machine.Boards() {
		cases[name] = starts{machine.Machine{Board: name}, append(foreign, "--board="+name, "--size=2G", oneProcessor), []string{"u-boot-menu"}}
	}
	addMore(cases)
	return cases
}

// releaseFor is Debian stable, or the newest release with a kernel for the architecture.
func releaseFor(t *testing.T, a arch.Arch) suite.Suite {
	t.Helper()
	current := suite.Current()
	slices.Reverse(current)
	stable, err := suite.Lookup(suite.Default)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range append([]suite.Suite{stable}, current...) {
		if _, err := s.Kernel(a.Name, a.Kernel); err == nil {
			return s
		}
	}
	t.Fatalf("no release has a kernel for %s", a.Name)
	return suite.Suite{}
}

// foreign are options of a smaller system: the emulated programs of a whole one take minutes. Mirrors for tests may have no
// updates for all architectures.
var foreign = []string{"--debootstrapopts=variant=minbase", "--package=iproute2", "--security-mirror=none", "--no-updates"}

// upgraded are the architectures whose packages are installed once more: one for each way that boot loaders are kept in step
// with kernels, since it takes an emulated machine ten minutes.
var upgraded = []string{"amd64", "armhf", "ppc64el"}

// cloudKernel is Debian's kernel for virtual machines: it has few modules, so an emulated machine makes its initramfs sooner.
const cloudKernel = "--kernel-package=linux-image-cloud-amd64"

// addLoader adds the images of an architecture that a boot loader starts.
func addLoader(cases map[string]starts, a arch.Arch, release suite.Suite, l bootloader.Bootloader) {
	tables, filesystems := []string{a.Table}, []string{"ext4"}
	args := append(foreign[:len(foreign):len(foreign)], "--size=2G", "--arch="+a.Name)
	upgrade := append(l.Packages(a), "initramfs-tools")
	if a.Name == "amd64" {
		tables, args = image.PartTypes(), []string{"--size=2G", cloudKernel}
	}
	if t, ok := l.(bootloader.Tabler); ok {
		tables = t.Tables()
	}
	if a.Name == "amd64" && l.Name() == "grub" {
		filesystems = []string{"ext4", "btrfs", "xfs"}
	}
	for _, table := range tables {
		for _, fs := range filesystems {
			for _, firmware := range startedBy[l.Name()] {
				if !slices.Contains(machine.FirmwaresOf(a), firmware) {
					continue
				}
				name := strings.Join([]string{a.Name, l.Name(), table, fs, string(firmware)}, "-")
				upgrade := upgrade
				if fs != "ext4" || !slices.Contains(upgraded, a.Name) {
					upgrade = nil
				}
				cases[name] = starts{
					machine.Machine{Arch: a, Firmware: firmware},
					append(args[:len(args):len(args)], "--distribution="+release.Codename, "--bootloader="+l.Name(),
						"--part-type="+table, "--roottype="+fs, "--no-check-valid-until"),
					upgrade,
				}
			}
		}
	}
}

// addMore adds images that no table knows: partitions of their own, the defaults of all suites.
func addMore(cases map[string]starts) {
	pc := machine.Machine{Firmware: machine.BIOS}
	cases["default"] = starts{pc, nil, nil}
	cases["boot-and-swap"] = starts{pc, []string{"--grub", "--part-type=gpt", "--swap=256M", "--bootsize=256M", "--size=2G"}, nil}
	cases["vfat-boot"] = starts{pc, []string{"--grub", "--bootsize=256M", "--boottype=vfat", "--size=2G"}, nil}
	cases["extlinux-boot"] = starts{pc, []string{"--extlinux", "--bootsize=256M", "--size=2G"}, []string{"extlinux"}}
	cases["bullseye-xfs"] = starts{pc, []string{"--grub", "--roottype=xfs", "--distribution=bullseye", "--size=2G"}, nil}
	for _, s := range suite.Current() {
		args := []string{"--distribution=" + s.Codename, "--no-check-valid-until", "--size=1536M", "--grub"}
		cases[s.Codename+"-uefi"] = starts{machine.Machine{Firmware: machine.UEFI}, append(args, "--use-uefi"), nil}
		cases[s.Codename+"-old-names"] = starts{pc, append(args, oldNames, "--enable-dhcp", "--package=openssh-server"), nil}
	}
}

func (p program) boot(t *testing.T, c starts) {
	dir := p.workDir(t)
	args := []string{"--image=test.img", "--hostname=cherry", "--root-password=pw"}
	if c.machine.Firmware != machine.Kernel { // to which vmbuild itself says so
		args = append(args, patience)
	}
	p.mustBuild(t, dir, append(args, c.args...)...)
	m := c.machine
	m.Image, m.CacheDir, m.NoReboot = filepath.Join(dir, "test.img"), p.cache, true
	var missing *machine.MissingError
	if complete, err := m.Complete(); err != nil {
		t.Fatal(err)
	} else if errors.As(machine.Host{}.Check(complete), &missing) {
		p.startByTools(t, dir, m)
		return
	}
	console := keepConsole(t, dir)
	m.Log = console
	defer func() {
		if t.Failed() {
			t.Logf("the console's last lines:\n%s", lastLines(console.Name()))
		}
	}()
	first := startAndCheck(t, m)
	if slices.Contains(c.args, oldNames) {
		first.must(t, time.Minute, "ip -4 -o addr show dev eth0 scope global | grep 10.0.2.15")
		first.must(t, time.Minute, "test -s /etc/ssh/ssh_host_ed25519_key && systemctl is-active ssh")
	}
	if c.upgrade == nil {
		first.powerOff(t)
		return
	}
	first.must(t, 15*time.Minute, "apt-get update -o Acquire::Check-Valid-Until=false")
	first.must(t, 40*time.Minute, "DEBIAN_FRONTEND=noninteractive apt-get install -y --reinstall linux-image-$(uname -r) "+
		strings.Join(c.upgrade, " "))
	first.powerOff(t)
	startAndCheck(t, m).powerOff(t)
}

// startByTools starts an image that the host has no QEMU or firmware for, as vmbuild does with those of Debian stable, and
// waits for the login.
func (p program) startByTools(t *testing.T, dir string, m machine.Machine) {
	t.Helper()
	output, status := p.run(t, dir, "run", "--arch="+m.Arch.Name, "--firmware="+string(m.Firmware), "--expect=cherry login:",
		"--timeout=20m", m.Image)
	console := keepConsole(t, dir)
	if _, err := console.WriteString(output); err != nil {
		t.Fatal(err)
	}
	if status != 0 {
		t.Errorf("exit status %d; the console's last lines:\n%s", status, lastLines(console.Name()))
	}
}

// keepConsole makes a file for what a console prints, which outlives the test if VMBUILD_CONSOLES names a directory.
func keepConsole(t *testing.T, dir string) *os.File {
	t.Helper()
	if keep := os.Getenv("VMBUILD_CONSOLES"); keep != "" {
		dir = keep
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	console, err := os.Create(filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "-")+".log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { console.Close() })
	return console
}

// guest is a machine somebody is logged in to.
type guest struct {
	machine machine.Machine
	process *machine.Process
	session *machine.Session
}

// startAndCheck starts a machine, logs in and looks at its state.
func startAndCheck(t *testing.T, m machine.Machine) guest {
	t.Helper()
	start := time.Now()
	process, err := m.Start(t.Context(), machine.Host{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { process.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	session, err := process.Login(ctx, "root", "pw")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("logged in after %.0f s (%s)", time.Since(start).Seconds(), process.Accel)
	g := guest{m, process, session}
	g.must(t, 5*time.Minute, "systemctl is-system-running --wait || true") // with what services print on the console
	if state := g.must(t, time.Minute, "systemctl is-system-running; systemctl --failed --plain --no-legend"); state != "running" {
		t.Errorf("the system is not running well: %s", state)
	}
	for command, want := range map[string]string{
		"hostname": "cherry",
		"until ip -4 -o addr show scope global | grep -o ' inet [0-9.]*'; do sleep 1; done": " inet 10.0.2.15",
		"dpkg --audit": "",
		// A warning is right on machines without a clock: fstab is younger than their time.
		"findmnt --verify >/dev/null 2>&1 && echo mounted as fstab says": "mounted as fstab says",
		"test -d /sys/firmware/efi && echo by UEFI || echo by another":   map[bool]string{true: "by UEFI", false: "by another"}[byUEFI(m)],
		"cat /proc/1/comm": "systemd",
	} {
		if got := g.must(t, 2*time.Minute, command); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
	if m.Firmware == machine.SecureBoot {
		if got := g.must(t, time.Minute, "dmesg | grep -c 'Secure boot enabled'"); got == "0" {
			t.Error("Secure Boot is not enforced")
		}
	}
	return g
}

// must runs a command that has to succeed, and returns what it printed.
func (g guest) must(t *testing.T, limit time.Duration, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	output, status, err := g.session.Run(ctx, command)
	if err != nil || status != 0 {
		t.Fatalf("%s: exit status %d, %v\n%s", command, status, err, output)
	}
	return output
}

func byUEFI(m machine.Machine) bool {
	return m.Firmware == machine.UEFI || m.Firmware == machine.SecureBoot
}

// powerOff shuts the system down. A machine that QEMU cannot turn off ends where it would start anew, or, if QEMU cannot have it
// start anew either, when its kernel says that it does.
func (g guest) powerOff(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	verb := "poweroff"
	if !g.machine.TurnsOff() {
		verb = "reboot"
	}
	if err := g.process.Send("exec systemctl " + verb + "\n"); err != nil {
		t.Fatal(err)
	}
	if !g.machine.TurnsOff() {
		_, err := g.process.Expect(ctx, regexp.MustCompile("reboot: Restarting system"))
		if err == nil {
			err = g.process.Close()
		}
		if !errors.Is(err, machine.ErrEnded) {
			wantNil(t, err)
			return
		}
	}
	wantNil(t, g.process.Wait(ctx))
}

func wantNil(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func lastLines(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Sprint(err)
	}
	lines := strings.Split(string(data), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}
