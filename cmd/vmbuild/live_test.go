package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/image/live"
	"vmbuild/image/machine"
	"vmbuild/rootfs/offers"
)

// liveSystem is a live system as vmdebootstrap's manual has it: live-boot, an account that may use sudo, a locked root. It
// is a small one, as most of its time goes to compressing it.
var liveSystem = []string{
	"--squash=live", "--distribution=trixie", "--grub", "--use-uefi", "--hostname=live", "--package=live-boot",
	"--user=user/live", "--sudo", "--lock-root-password", "--debootstrapopts=variant=minbase",
	"--kernel-package=linux-image-cloud-amd64", "--package=systemd-sysv", "--package=adduser",
}

// TestLive makes a live directory and an image of it, which is judged by other programs and started as a disc by BIOS, and
// as a disk by UEFI with Secure Boot.
func TestLive(t *testing.T) {
	p := needProgram(t, "net", "build", "boot")
	offers.Programs(t, "fsck.fat", "sfdisk", "unsquashfs")
	t.Parallel()
	dir := p.workDir(t)
	other := filepath.Join(dir, "live", "notes")
	if err := os.MkdirAll(filepath.Dir(other), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.mustBuild(t, dir, liveSystem...)
	checkLiveDirectory(t, filepath.Join(dir, "live"))
	// A machine that others keep from running would give up its clock for a slower one.
	p.mustBuild(t, dir, "live", "--append=tsc=reliable", "live", "live.iso")
	p.mustBuild(t, dir, "live", "--append=tsc=reliable", "live", "again.iso")
	iso := filepath.Join(dir, "live.iso")
	if a, b := sumOf(t, iso), sumOf(t, filepath.Join(dir, "again.iso")); a != b {
		t.Error("the same directory gave two images")
	}
	checkLiveImage(t, "amd64", iso)
	files := fmt.Sprintf("%s  vmlinuz\n%s  initrd.img", sumOf(t, filepath.Join(dir, "live/vmlinuz")),
		sumOf(t, filepath.Join(dir, "live/initrd.img")))
	for name, m := range map[string]machine.Machine{
		"bios-disc":   {Firmware: machine.BIOS, Disc: true},
		"secure-disk": {Firmware: machine.SecureBoot, Snapshot: true},
		"bios-disk":   {Firmware: machine.BIOS, Snapshot: true},
		"uefi-disc":   {Firmware: machine.UEFI, Disc: true},
	} {
		if !slices.Contains([]string{"bios-disc", "secure-disk"}, name) && !offers.Has("matrix") {
			continue
		}
		m.Image, m.CacheDir, m.NoReboot = iso, p.cache, true
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			startLive(t, m, files)
		})
	}
}

// checkLiveDirectory looks at names, modes and owners, and at what unsquashfs finds.
func checkLiveDirectory(t *testing.T, dir string) {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		name = strings.TrimPrefix(name, dir+"/")
		if name != "notes" && info.Mode() != 0o644 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		if stem, _, ok := strings.Cut(name, "-6"); ok {
			name = stem + "-VERSION"
		}
		names = append(names, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/grubx64.efi", "EFI/BOOT/mmx64.efi", "EFI/debian/grub.cfg", "filesystem.squashfs",
		"initrd.img", "initrd.img-VERSION", "notes", "vmlinuz", "vmlinuz-VERSION",
	}
	if d := cmp.Diff(want, names); d != "" {
		t.Error(d)
	}
	listing := output(t, "unsquashfs", "-llnumeric", filepath.Join(dir, "filesystem.squashfs"), "dev/null", "usr/bin/su", "etc/shadow")
	for _, line := range []string{"crw-rw-rw- 0/0", "-rwsr-xr-x 0/0", "-rw-r----- 0/42"} {
		if !strings.Contains(listing, line) {
			t.Errorf("the squashfs has no %s:\n%s", line, listing)
		}
	}
}

// TestLiveArchitectures makes an image for each architecture of a directory that only looks like a live one.
func TestLiveArchitectures(t *testing.T) {
	p := needProgram(t, "net", "build")
	offers.Programs(t, "fsck.fat", "sfdisk")
	t.Parallel()
	dir := p.workDir(t)
	if err := os.Mkdir(filepath.Join(dir, "live"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"vmlinuz": "a kernel of whatever kind", "initrd.img": "packed by a program that vmbuild does not know",
		"filesystem.squashfs": "hsqs",
	} {
		if err := os.WriteFile(filepath.Join(dir, "live", name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range live.Architectures() {
		image := name + ".iso"
		p.mustBuild(t, dir, "live", "--arch="+name, "--volume-id=TEST", "--append=quiet", "live", image)
		checkLiveImage(t, name, filepath.Join(dir, image))
	}
}

// partitionTable is what sfdisk --json prints.
type partitionTable struct {
	PartitionTable struct {
		Label      string
		Partitions []struct {
			Start, Size int64
			Type, Attrs string
			Bootable    bool
		}
	}
}

// checkLiveImage has other programs read the image's partitions and its EFI system partition. Its ISO 9660 filesystem is
// read by Linux when the image is started.
func checkLiveImage(t *testing.T, arch, iso string) {
	t.Helper()
	output(t, "sfdisk", "--verify", iso)
	var table partitionTable
	if err := json.Unmarshal([]byte(output(t, "sfdisk", "--json", iso)), &table); err != nil {
		t.Fatal(err)
	}
	const esp, data = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"
	types := []string{data, esp}
	if arch == "i386" {
		types = []string{"cd"} // ISO 9660, as xorriso calls it
	}
	parts := table.PartitionTable.Partitions
	for i, want := range types {
		if i >= len(parts) || parts[i].Type != want {
			t.Fatalf("%s: partition %d is not of type %s: %+v", iso, i+1, want, table.PartitionTable)
		}
	}
	if arch == "i386" {
		return
	}
	image, err := os.Open(iso)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	fat, err := os.Create(filepath.Join(t.TempDir(), "efi.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer fat.Close()
	if _, err := io.Copy(fat, io.NewSectionReader(image, parts[1].Start*512, parts[1].Size*512)); err != nil {
		t.Fatal(err)
	}
	output(t, "fsck.fat", "-n", fat.Name())
}

// startLive starts an image, logs in as the live user and looks at what that one may do, and at the files on the medium, as
// sha256sum lists them.
func startLive(t *testing.T, m machine.Machine, files string) {
	var console bytes.Buffer
	m.Log = &console
	start := time.Now()
	process, err := m.Start(t.Context(), machine.Host{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		process.Close()
		if lines := strings.Split(console.String(), "\n"); t.Failed() {
			t.Logf("the console's last lines:\n%s", strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	session, err := process.Login(ctx, "user", "live")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("logged in after %.0f s (%s)", time.Since(start).Seconds(), process.Accel)
	g := guest{m, process, session}
	g.must(t, 2*time.Minute, "echo live | sudo -S -p '' dmesg --console-level 1") // else messages come amid what is printed
	for command, want := range map[string]string{
		"id -un; hostname":                "user\nlive",
		"echo live | sudo -S -p '' id -u": "0",
		"echo live | sudo -S -p '' passwd -S root | cut -d ' ' -f 1,2": "root L",
		"findmnt -no FSTYPE /": "overlay",
		"tr ' ' '\\n' </proc/cmdline | grep -x -e boot=live -e components -e tsc=reliable | xargs": "boot=live components tsc=reliable",
		"test -d /sys/firmware/efi && echo uefi || echo bios":                                      map[bool]string{true: "bios", false: "uefi"}[m.Firmware == machine.BIOS],
		"cd /run/live/medium/live && sha256sum vmlinuz initrd.img":                                 files,
		"touch /home/user/new && echo writable":                                                    "writable",
	} {
		if got := g.must(t, 2*time.Minute, command); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
	if m.Firmware == machine.SecureBoot {
		if got := g.must(t, time.Minute, "echo live | sudo -S -p '' dmesg | grep -c 'Secure boot enabled'"); got == "0" {
			t.Error("Secure Boot is not enforced")
		}
	}
}

// output runs a program of the host that has to succeed.
func output(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func sumOf(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}
