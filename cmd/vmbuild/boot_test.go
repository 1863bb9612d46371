package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vmbuild/image/machine"
	"vmbuild/rootfs/offers"
	"vmbuild/rootfs/suite"
)

// starts is an image and the firmware that it is started by.
type starts struct {
	args     []string
	firmware machine.Firmware
	loader   string // package to be installed once more; empty: no upgrade is tried
}

// oldNames gives network interfaces the kernel's names.
const oldNames = "--no-systemd-networkd"

// short are the images that are started on each change: each firmware, most suites. All others are by the word "matrix".
var short = []string{"trixie-msdos", "trixie-extlinux", "trixie-secure", "bullseye-bios", "bookworm-uefi", "sid-uefi"}

// TestBoot builds images and starts them: a login on the serial console, no failed unit, an address, and for some a
// kernel and a boot loader that are installed once more before the machine is started again.
func TestBoot(t *testing.T) {
	cases := map[string]starts{
		"trixie-msdos":  {[]string{"--grub"}, machine.BIOS, "grub-pc"},
		"trixie-gpt":    {[]string{"--grub", "--part-type=gpt", "--swap=256M", "--bootsize=256M", "--size=2G"}, machine.BIOS, ""},
		"trixie-uefi":   {[]string{"--grub", "--use-uefi"}, machine.UEFI, ""},
		"trixie-secure": {[]string{"--grub", "--use-uefi", "--part-type=gpt"}, machine.SecureBoot, "grub-efi-amd64-signed"},

		"trixie-extlinux":     {[]string{"--extlinux"}, machine.BIOS, "extlinux"},
		"trixie-extlinux-gpt": {[]string{"--extlinux", "--part-type=gpt", "--bootsize=256M", "--size=2G"}, machine.BIOS, "extlinux"},
		"trixie-btrfs":        {[]string{"--grub", "--roottype=btrfs", "--size=2G"}, machine.BIOS, "btrfs-progs"},
		"trixie-xfs":          {[]string{"--grub", "--roottype=xfs", "--part-type=gpt", "--size=2G"}, machine.BIOS, "xfsprogs"},
		"bullseye-xfs":        {[]string{"--grub", "--roottype=xfs", "--distribution=bullseye", "--size=2G"}, machine.BIOS, ""},
		"trixie-vfat":         {[]string{"--grub", "--bootsize=256M", "--boottype=vfat", "--size=2G"}, machine.BIOS, ""},
	}
	for _, s := range suite.Current() {
		if s.Codename != "trixie" {
			args := []string{"--grub", "--use-uefi", "--distribution=" + s.Codename, "--no-check-valid-until", "--size=1536M"}
			cases[s.Codename+"-uefi"] = starts{args, machine.UEFI, ""}
			args = []string{"--grub", "--distribution=" + s.Codename, "--no-check-valid-until", "--size=1536M"}
			cases[s.Codename+"-bios"] = starts{append(args, oldNames, "--enable-dhcp", "--package=openssh-server"), machine.BIOS, ""}
		}
	}
	p := needProgram(t, "net", "build", "boot")
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

func (p program) boot(t *testing.T, c starts) {
	dir := p.workDir(t)
	args := append([]string{"--image=test.img", "--hostname=cherry", "--root-password=pw"}, c.args...)
	p.mustBuild(t, dir, args...)
	console, err := os.Create(filepath.Join(dir, "console.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close()
	m := machine.Machine{Image: filepath.Join(dir, "test.img"), Firmware: c.firmware, Log: console, CacheDir: p.cache, NoReboot: true}
	defer func() {
		if t.Failed() {
			t.Logf("the console's last lines:\n%s", lastLines(console.Name()))
		}
	}()
	first := startAndCheck(t, m, c.firmware)
	if slices.Contains(c.args, oldNames) {
		first.must(t, time.Minute, "ip -4 -o addr show dev eth0 scope global | grep 10.0.2.15")
		first.must(t, time.Minute, "test -s /etc/ssh/ssh_host_ed25519_key && systemctl is-active ssh")
	}
	if c.loader == "" {
		first.powerOff(t)
		return
	}
	first.must(t, 5*time.Minute, "apt-get update -o Acquire::Check-Valid-Until=false")
	first.must(t, 20*time.Minute, "DEBIAN_FRONTEND=noninteractive apt-get install -y --reinstall linux-image-$(uname -r) "+c.loader)
	first.powerOff(t)
	startAndCheck(t, m, c.firmware).powerOff(t)
}

// guest is a machine somebody is logged in to.
type guest struct {
	process *machine.Process
	session *machine.Session
}

// startAndCheck starts a machine, logs in and looks at its state.
func startAndCheck(t *testing.T, m machine.Machine, firmware machine.Firmware) guest {
	t.Helper()
	start := time.Now()
	process, err := m.Start(t.Context(), machine.Host{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { process.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	session, err := process.Login(ctx, "root", "pw")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("logged in after %.0f s (%s)", time.Since(start).Seconds(), process.Accel)
	g := guest{process, session}
	if state := g.must(t, 5*time.Minute, "systemctl is-system-running --wait; systemctl --failed --plain --no-legend"); state != "running" {
		t.Errorf("the system is not running well: %s", state)
	}
	for command, want := range map[string]string{
		"hostname": "cherry",
		"until ip -4 -o addr show scope global | grep -o ' inet [0-9.]*'; do sleep 1; done": " inet 10.0.2.15",
		"dpkg --audit": "",
		"findmnt --verify >/dev/null && echo mounted as fstab says": "mounted as fstab says",
		"test -d /sys/firmware/efi && echo uefi || echo bios":       map[bool]string{true: "bios", false: "uefi"}[firmware == machine.BIOS],
		"cat /proc/1/comm": "systemd",
	} {
		if got := g.must(t, 2*time.Minute, command); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
	if firmware == machine.SecureBoot {
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

func (g guest) powerOff(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := g.process.Send("exec systemctl poweroff\n"); err != nil {
		t.Fatal(err)
	}
	if err := g.process.Wait(ctx); err != nil {
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
