package bootloader

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/partition"
)

func efiFilesOf(platform, suffix, name string) []string {
	files := []string{"/usr/lib/grub/" + platform + "/normal.mod", "/usr/lib/grub/" + platform + "/fs.lst"}
	if name != "" {
		files = append(files, "/usr/lib/grub/"+platform+"-signed/grub"+suffix+".efi.signed",
			"/usr/lib/shim/shim"+suffix+".efi.signed", "/usr/lib/shim/mm"+suffix+".efi.signed",
			"/usr/lib/shim/fb"+suffix+".efi.signed", "/usr/lib/shim/BOOT"+name+".CSV")
	}
	return files
}

func TestConfigureEFI(t *testing.T) {
	const signedX64 = "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"
	const unsigned = "made of part_gpt part_msdos fat ext2 search_fs_uuid"
	for _, test := range []struct {
		name, arch string
		files      []string
		esp        int64
		vendor     bool
		want       map[string]string // below /boot/efi/EFI
		core       bool              // upgrades write the ESP
		terminal   string
	}{{
		"signed", "amd64", efiFilesOf("x86_64-efi", "x64", "X64"), 0, false,
		map[string]string{
			"BOOT/BOOTX64.EFI": "/usr/lib/shim/shimx64.efi.signed",
			"BOOT/grubx64.efi": signedX64,
			"BOOT/mmx64.efi":   "/usr/lib/shim/mmx64.efi.signed",
		}, true, "GRUB_TERMINAL=\"console serial\"\nGRUB_SERIAL_COMMAND=\"serial --unit=0 --speed=115200\"\n",
	}, {
		"signed, with the vendor's directory", "amd64", efiFilesOf("x86_64-efi", "x64", "X64"), 0, true,
		map[string]string{
			"BOOT/BOOTX64.EFI":   "/usr/lib/shim/shimx64.efi.signed",
			"BOOT/grubx64.efi":   signedX64,
			"BOOT/mmx64.efi":     "/usr/lib/shim/mmx64.efi.signed",
			"debian/BOOTX64.CSV": "/usr/lib/shim/BOOTX64.CSV",
			"debian/fbx64.efi":   "/usr/lib/shim/fbx64.efi.signed",
			"debian/grubx64.efi": signedX64,
			"debian/mmx64.efi":   "/usr/lib/shim/mmx64.efi.signed",
			"debian/shimx64.efi": "/usr/lib/shim/shimx64.efi.signed",
		}, true, "GRUB_TERMINAL=\"console serial\"\nGRUB_SERIAL_COMMAND=\"serial --unit=0 --speed=115200\"\n",
	}, {
		"small ESP", "arm64", efiFilesOf("arm64-efi", "aa64", "AA64"), 256 << 10, false,
		map[string]string{
			"BOOT/BOOTAA64.EFI": "/usr/lib/shim/shimaa64.efi.signed",
			"BOOT/grubaa64.efi": "/usr/lib/grub/arm64-efi-signed/grubaa64.efi.signed",
			"BOOT/mmaa64.efi":   "/usr/lib/shim/mmaa64.efi.signed",
		}, false, "GRUB_TERMINAL=console\n",
	}, {
		"unsigned", "riscv64", efiFilesOf("riscv64-efi", "riscv64", ""), 0, false,
		map[string]string{"BOOT/BOOTRISCV64.EFI": unsigned}, true, "GRUB_TERMINAL=console\n",
	}, {
		"unsigned, with the vendor's directory", "loong64", efiFilesOf("loongarch64-efi", "loongarch64", ""), 0, true,
		map[string]string{"BOOT/BOOTLOONGARCH64.EFI": unsigned, "debian/grubloongarch64.efi": unsigned}, true, "GRUB_TERMINAL=console\n",
	}, {
		"unsigned of 32 bits", "armhf", efiFilesOf("arm-efi", "arm", ""), 0, true,
		map[string]string{"BOOT/BOOTARM.EFI": unsigned, "debian/grubarm.efi": unsigned}, true, "GRUB_TERMINAL=console\n",
	}} {
		t.Run(test.name, func(t *testing.T) {
			b := row(t, "grub-efi")
			l := layout(t, b, test.arch, partition.GPT, rootFS)
			if test.esp > 0 {
				l.Partitions[0].Sectors = test.esp / sector
			}
			tg := newTarget(t, test.files...)
			a := architecture(t, test.arch)
			err := b.Configure(context.Background(), Target{
				Arch: a, Console: a.Console, Root: tg.root, Runner: tg, Layout: l, Serial: true, Vendor: test.vendor,
			})
			if err != nil {
				t.Fatal(err)
			}
			esp := map[string]string{}
			added := tg.added(t)
			for name, content := range added {
				if below, ok := strings.CutPrefix(name, "/boot/efi/EFI/"); ok {
					esp[below] = content
				}
			}
			test.want["debian/grub.cfg"] = fmt.Sprintf(
				"search.fs_uuid %s root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n", l.Partitions[1].UUID)
			if diff := cmp.Diff(test.want, esp); diff != "" {
				t.Error(diff)
			}
			if _, core := added["/boot/grub/"+a.GRUBEFI+"/core.efi"]; core != test.core {
				t.Errorf("core.efi is there: %v", core)
			}
			console := "GRUB_CMDLINE_LINUX=\"console=tty0 console=" + a.Console + ",115200n8\"\n" + test.terminal
			if diff := cmp.Diff(console, added["/etc/default/grub.d/50-console.cfg"]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestConfigureEFIErrors(t *testing.T) {
	b := row(t, "grub-efi")
	noESP := layout(t, row(t, "none"), "amd64", partition.GPT, rootFS)
	small := layout(t, b, "amd64", partition.GPT, rootFS)
	small.Partitions[0].Sectors = (256 << 10) / sector
	for _, test := range []struct {
		arch   string
		layout *partition.Layout
		files  []string
		want   string
	}{
		{"s390x", noESP, nil, "boot loader grub-efi starts machines by UEFI, which Debian does not do on architecture s390x"},
		{"amd64", noESP, nil, "the layout has no ESP mounted on /boot/efi"},
		{"amd64", layout(t, b, "amd64", partition.GPT, rootFS), efiFilesOf("x86_64-efi", "x64", ""),
			"statat usr/lib/shim/shimx64.efi.signed: no such file or directory"},
		{"amd64", small, efiFilesOf("x86_64-efi", "x64", "X64"),
			"an ESP of 0 MiB has no room for the loader in EFI/BOOT and in EFI/debian: that takes 1 MiB"},
	} {
		tg := newTarget(t, test.files...)
		a := architecture(t, test.arch)
		err := b.Configure(context.Background(), Target{
			Arch: a, Console: a.Console, Root: tg.root, Runner: tg, Layout: test.layout, Vendor: true,
		})
		if got, want := fmt.Sprint(err), "configure boot loader grub-efi: "+test.want; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
