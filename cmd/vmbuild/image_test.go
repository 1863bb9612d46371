package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vmbuild/image"
	"vmbuild/partition"
	"vmbuild/rootfs/offers"
)

// TestImageIsClean has the programs that know best look at an image: sfdisk, e2fsck, fsck.fat, and the image's own dpkg,
// by way of a hook.
func TestImageIsClean(t *testing.T) {
	p := needProgram(t, "net", "build")
	offers.Programs(t, "sfdisk", "e2fsck", "fsck.fat", "debugfs", "mcopy")
	for name, args := range map[string][]string{
		"msdos": {"--grub", "--swap=256M", "--bootsize=200M", "--size=2G"},
		"gpt":   {"--grub", "--part-type=gpt"},
		"uefi":  {"--grub", "--use-uefi"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := p.workDir(t)
			hook := filepath.Join(dir, "verify")
			script := "#!/bin/sh -e\nchroot $1 apt-get install -y hello\n" + // without apt-get update before it
				"chroot $1 dpkg --audit\nchroot $1 dpkg --verify\nchroot $1 apt-get check\n"
			if err := os.WriteFile(hook, []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			args := append([]string{"--image=test.img", "--customize=./verify", "--log=log"}, args...)
			p.mustBuild(t, dir, args...)
			disk := filepath.Join(dir, "test.img")
			mustPrint(t, "No errors", "sfdisk", "--verify", disk)
			for _, part := range layoutOf(t, args).Partitions {
				file := extract(t, disk, part)
				switch part.Filesystem {
				case "ext2", "ext3", "ext4":
					mustPrint(t, "", "e2fsck", "-fn", file)
				case "vfat":
					mustPrint(t, "", "fsck.fat", "-n", file)
				}
				if part.Mount == "/" {
					noTraces(t, file)
				}
			}
			if info, err := os.Stat(disk); err != nil || info.Size() != layoutOf(t, args).Size {
				t.Errorf("the image has %d bytes: %v", info.Size(), err)
			}
		})
	}
}

// TestReproducible builds the same image as each kind of caller, with all layers made anew and with all from the cache,
// then without the network too, in another time zone and directory: it is one and the same.
func TestReproducible(t *testing.T) {
	p := needProgram(t, "net", "build")
	t.Parallel()
	var first string
	for name, caller := range p.callers(t) {
		caller = caller.apart(t) // that is, without layers
		dir := caller.workDir(t)
		for i, zone := range []string{"UTC", "Asia/Tokyo"} {
			caller.env = []string{"SOURCE_DATE_EPOCH=1767225600", "TZ=" + zone}
			args := []string{"--image=test.img", "--grub", "--use-uefi", "--package=openssh-server"} // keys are made at the first boot
			if i > 0 {
				args = append(args, "--offline")
				caller.env = append(caller.env, "http_proxy=http://127.0.0.1:9") // discard: nobody answers there
			}
			caller.mustBuild(t, dir, args...)
			image := filepath.Join(dir, fmt.Sprintf("%s-%d.img", name, i))
			if err := os.Rename(filepath.Join(dir, "test.img"), image); err != nil {
				t.Fatal(err)
			}
			if first == "" {
				first = image
			}
			mustPrint(t, "", "cmp", first, image)
		}
	}
}

// layoutOf returns the layout that vmbuild plans for these arguments.
func layoutOf(t *testing.T, args []string) *partition.Layout {
	t.Helper()
	o := image.Options{Image: "test.img", Arch: "amd64", Customize: []string{"./verify"}, Hostname: "debian"}
	for _, a := range args {
		switch {
		case a == "--grub":
			o.Grub = true
		case a == "--use-uefi":
			o.UseUEFI = true
		case a == "--part-type=gpt":
			o.PartType = "gpt"
		case a == "--swap=256M":
			o.Swap = 256 << 20
		case a == "--bootsize=200M":
			o.BootSize = 200 << 20
		case a == "--size=2G":
			o.Size = 2 << 30
		}
	}
	plan, err := image.NewPlan(o)
	if err != nil {
		t.Fatal(err)
	}
	return plan.Layout
}

// extract copies a partition into a file of its own.
func extract(t *testing.T, disk string, part partition.Partition) string {
	t.Helper()
	in, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	name := filepath.Join(t.TempDir(), part.Name)
	out, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, io.NewSectionReader(in, part.Offset(), part.Bytes())); err != nil {
		t.Fatal(err)
	}
	return name
}

// mustPrint runs a program that has to succeed and to print a text.
func mustPrint(t *testing.T, want string, args ...string) {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// noTraces looks into the root filesystem for what must not be there, and for what must.
func noTraces(t *testing.T, file string) {
	t.Helper()
	ask := func(request string) string {
		var stdout bytes.Buffer
		cmd := exec.Command("debugfs", "-R", request, file)
		cmd.Stdout = &stdout
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		return stdout.String()
	}
	for _, name := range []string{"/usr/sbin/policy-rc.d", "/etc/apt/apt.conf.d/00vmbuild", "/var/log/dpkg.log", "/etc/ssh/ssh_host_rsa_key"} {
		if got := ask(fmt.Sprintf("stat %q", name)); got != "" {
			t.Errorf("%s is in the image:\n%s", name, got)
		}
	}
	for _, dir := range []string{"/tmp", "/var/tmp", "/var/cache/apt/archives/partial"} {
		if names := strings.Fields(ask("ls -p " + dir)); len(names) > 2 {
			t.Errorf("%s is not empty: %v", dir, names)
		}
	}
	if got := ask("cat /etc/machine-id"); got != "" {
		t.Errorf("the image has an identity: %s", got)
	}
	if got := ask("cat /etc/resolv.conf"); strings.Contains(got, "nameserver") {
		t.Errorf("the image has the host's resolv.conf: %s", got)
	}
	if got := ask("stat /dev/null"); !strings.Contains(got, "character special") {
		t.Errorf("/dev/null is no device:\n%s", got)
	}
}
