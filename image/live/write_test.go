package live

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/arch"
)

var newYear = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// liveDirectory makes one as Squash does, without anything in the squashfs.
func liveDirectory(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	kernel := append([]byte("MZ"), make([]byte, 254)...)
	kernel[60] = 0x80
	copy(kernel[0x80:], "PE\x00\x00\x64\x86")
	for name, content := range map[string]string{
		"vmlinuz": string(kernel), "initrd.img": string(archive("scripts/live")), "filesystem.squashfs": "hsqs",
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, newYear, newYear); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCheck(t *testing.T) {
	remove := func(name string) func(string) error {
		return func(dir string) error { return os.Remove(filepath.Join(dir, name)) }
	}
	write := func(name, content string) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644) }
	}
	nothing := func(string) error { return nil }
	for name, test := range map[string]struct {
		options WriteOptions
		change  func(dir string) error
		want    string // DIR is the directory
	}{
		"good": {WriteOptions{Arch: "amd64", Volume: "Debian-13.1_live", Append: "quiet"}, nothing, ""},
		"i386": {WriteOptions{Arch: "i386"}, nothing, ""},
		"everything wrong": {
			WriteOptions{Arch: "riscv64", Volume: "a b", Append: "'"}, remove("initrd.img"),
			"--volume-id=a b: up to 32 letters, digits, '_', '-' and '.' are possible\n" +
				`--append: '\'' in the kernel's arguments: only printable ASCII without quotes and backslashes gets there` + "\n" +
				`--arch: live media can be made for amd64, i386, arm64, not for "riscv64"` + "\n" +
				"live directory DIR: it has no initrd.img: make it by vmbuild squash, or by --squash",
		},
		"a long label": {
			WriteOptions{Arch: "amd64", Volume: strings.Repeat("x", 33)}, nothing,
			"--volume-id=" + strings.Repeat("x", 33) + ": up to 32 letters, digits, '_', '-' and '.' are possible",
		},
		"no squashfs": {
			WriteOptions{Arch: "amd64"}, remove("filesystem.squashfs"),
			"live directory DIR: it has no filesystem.squashfs: make it by vmbuild squash, or by --squash",
		},
		"a directory": {
			WriteOptions{Arch: "amd64"},
			func(dir string) error {
				name := filepath.Join(dir, "vmlinuz")
				os.Remove(name)
				return os.Mkdir(name, 0o755)
			},
			"live directory DIR: vmlinuz is not a regular file",
		},
		"another architecture": {
			WriteOptions{Arch: "arm64"}, nothing,
			"live directory DIR: vmlinuz is not a kernel for arm64 (its PE machine type is 0x8664): name the architecture by --arch",
		},
		"no live-boot": {
			WriteOptions{Arch: "amd64"}, write("initrd.img", string(archive("scripts/local"))),
			"live directory DIR: initrd.img cannot start a live system: install live-boot in the system (--package=live-boot)",
		},
		"a broken initramfs": {
			WriteOptions{Arch: "amd64"}, write("initrd.img", string(archive()[:20])),
			"live directory DIR: initrd.img: unexpected EOF",
		},
		"before FAT": {
			WriteOptions{Arch: "amd64", Epoch: time.Unix(0, 0)}, nothing,
			"live directory DIR: its newest file is of the year 1970: SOURCE_DATE_EPOCH can name a time",
		},
	} {
		test.options.Dir = liveDirectory(t)
		if err := test.change(test.options.Dir); err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := test.options.check(); err != nil {
			got = strings.ReplaceAll(err.Error(), test.options.Dir, "DIR")
		}
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestIdentifiers(t *testing.T) {
	identify := func(o WriteOptions) [3]string {
		if err := o.check(); err != nil {
			t.Fatal(err)
		}
		w := writer{WriteOptions: o}
		if err := w.identify(t.Context()); err != nil {
			t.Fatal(err)
		}
		return [3]string{w.created(), w.uuid(), w.diskGUID()}
	}
	dir := liveDirectory(t)
	first := identify(WriteOptions{Arch: "amd64", Dir: dir})
	if d := cmp.Diff(first, identify(WriteOptions{Arch: "amd64", Dir: liveDirectory(t)})); d != "" {
		t.Errorf("the same content somewhere else: %s", d)
	}
	want := [3]string{"2026010100000033", "2026-01-01-00-00-00-33", "eed03a7e-2152-8d67-86c2-4925bd486ee0"}
	if d := cmp.Diff(want, first); d != "" {
		t.Error(d)
	}
	for what, o := range map[string]WriteOptions{
		"label": {Arch: "amd64", Dir: dir, Volume: "X"}, "arguments": {Arch: "amd64", Dir: dir, Append: "x"},
		"time": {Arch: "amd64", Dir: dir, Epoch: newYear.Add(time.Second)}, "architecture": {Arch: "i386", Dir: dir},
	} {
		if got := identify(o); got[2] == first[2] {
			t.Errorf("with another %s the disk is still %s", what, got[2])
		}
	}
}

// TestXorriso: the command for each architecture; what they have in common is shown once.
func TestXorriso(t *testing.T) {
	const (
		head = "xorriso -as mkisofs -quiet -V L -iso-level 3 -r -J -joliet-long --modification-date=2026010100000000 " +
			"--set_all_file_dates 2026010100000000 --gpt_disk_guid 00000000-0000-8000-8000-000000000000 -partition_offset 16"
		mbr  = " --grub2-mbr /modules/boot_hybrid.img --mbr-force-bootable"
		esp  = " -append_partition 2 28732ac11ff8d211ba4b00a0c93ec93b /stage/efi.img -appended_part_as_gpt -iso_mbr_part_type a2a0d0ebe5b9334487c068b6b72699c7"
		bios = " -b /boot/grub/eltorito.img -no-emul-boot -boot-load-size 4 -boot-info-table --grub2-boot-info"
		uefi = " -e --interval:appended_partition_2:all:: -no-emul-boot"
		cat  = " -c /boot/boot.cat"
		grub = " -graft-points /boot/grub=/stage/boot/grub"
		efi  = " /EFI=/stage/esp/EFI"
		tail = " /live/vmlinuz=/live/vmlinuz /live/initrd.img=/live/initrd.img " +
			"/live/filesystem.squashfs=/live/filesystem.squashfs"
	)
	for name, want := range map[string]string{
		"amd64": head + mbr + esp + cat + bios + " -eltorito-alt-boot" + uefi + grub + efi + tail,
		"i386":  head + mbr + cat + bios + grub + tail,
		"arm64": head + esp + cat + uefi + grub + efi + tail,
	} {
		k, err := lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		w := writer{WriteOptions: WriteOptions{Volume: "L", Epoch: newYear}, kind: k}
		if d := cmp.Diff(strings.Fields(want), w.xorriso()); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestTable(t *testing.T) {
	for _, k := range kinds {
		of, from, err := k.rows()
		if err != nil {
			t.Error(err)
		}
		if of.Name != k.arch || from.Name != k.from || !k.bios && !k.uefi || len(k.packages) == 0 || len(k.machines) == 0 {
			t.Errorf("row %+v is incomplete", k)
		}
		if k.uefi && !of.UEFI() {
			t.Errorf("%s: package arch knows of no UEFI", k.arch)
		}
	}
	if _, err := arch.Lookup(Architectures()[0]); err != nil {
		t.Error(err)
	}
}
