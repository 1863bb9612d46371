package bootloader

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/partition"
)

// cloudFiles are those of the packages that grub-cloud-amd64 depends on.
func cloudFiles() []string {
	return append(efiFilesOf("x86_64-efi", "x64", "X64"), append(pcFiles, "/etc/grub.d/00_header")...)
}

func TestConfigureCloud(t *testing.T) {
	b := row(t, "grub-cloud")
	for _, test := range []struct {
		name     string
		target   Target
		settings string
		vendor   bool
	}{
		{"serial", Target{Serial: true}, `GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200n8"
GRUB_TERMINAL="console serial"
GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"
`, false},
		// The package's own settings ask for a serial console: without one they have to be undone.
		{"screen alone, with the vendor's directory", Target{Vendor: true}, "GRUB_CMDLINE_LINUX=\"\"\nGRUB_TERMINAL=console\n", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			tg := newTarget(t, cloudFiles()...)
			test.target.Arch, test.target.Console, test.target.Root, test.target.Runner = architecture(t, "amd64"), "ttyS0", tg.root, tg
			test.target.Layout = layout(t, b, "amd64", partition.GPT, rootFS, bootFS)
			if err := b.Configure(context.Background(), test.target); err != nil {
				t.Fatal(err)
			}
			boot, root := test.target.Layout.Partitions[2].UUID, test.target.Layout.Partitions[3].UUID
			search := "search.fs_uuid " + boot + " root\nset prefix=($root)'/grub'\n"
			mkimage := func(platform, name string) string {
				dir := "/boot/grub/" + platform
				return "grub-mkimage -O " + platform + " -d /usr/lib/grub/" + platform + " -o " + dir + "/" + name + " -c " + dir + "/load.cfg -p /grub "
			}
			modulesPC, modulesEFI := "biosdisk part_gpt ext2 search_fs_uuid", "part_gpt part_msdos fat ext2 search_fs_uuid"
			commands := []string{
				mkimage("i386-pc", "core.img") + modulesPC, mkimage("x86_64-efi", "core.efi") + modulesEFI, "update-grub " + root,
			}
			if diff := cmp.Diff(commands, tg.commands); diff != "" {
				t.Error(diff)
			}
			want := map[string]string{
				"/boot/efi/EFI/BOOT/BOOTX64.EFI":     "/usr/lib/shim/shimx64.efi.signed",
				"/boot/efi/EFI/BOOT/grubx64.efi":     "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
				"/boot/efi/EFI/BOOT/mmx64.efi":       "/usr/lib/shim/mmx64.efi.signed",
				"/boot/efi/EFI/debian/grub.cfg":      search + "configfile $prefix/grub.cfg\n",
				"/boot/grub/fonts/unicode.pf2":       "/usr/share/grub/unicode.pf2",
				"/boot/grub/grub.cfg":                "menu",
				"/boot/grub/grubenv":                 environmentBlock(),
				"/boot/grub/i386-pc/boot.img":        "/usr/lib/grub/i386-pc/boot.img",
				"/boot/grub/i386-pc/core.img":        "made of " + modulesPC,
				"/boot/grub/i386-pc/efiemu64.o":      "/usr/lib/grub/i386-pc/efiemu64.o",
				"/boot/grub/i386-pc/fs.lst":          "/usr/lib/grub/i386-pc/fs.lst",
				"/boot/grub/i386-pc/load.cfg":        search,
				"/boot/grub/i386-pc/normal.mod":      "/usr/lib/grub/i386-pc/normal.mod",
				"/boot/grub/x86_64-efi/core.efi":     "made of " + modulesEFI,
				"/boot/grub/x86_64-efi/fs.lst":       "/usr/lib/grub/x86_64-efi/fs.lst",
				"/boot/grub/x86_64-efi/load.cfg":     search,
				"/boot/grub/x86_64-efi/normal.mod":   "/usr/lib/grub/x86_64-efi/normal.mod",
				"/etc/default/grub.d/50-console.cfg": test.settings,
				"/etc/grub.d/enable_cloud":           "",
			}
			if test.vendor {
				want["/boot/efi/EFI/debian/BOOTX64.CSV"] = "/usr/lib/shim/BOOTX64.CSV"
				want["/boot/efi/EFI/debian/fbx64.efi"] = "/usr/lib/shim/fbx64.efi.signed"
				want["/boot/efi/EFI/debian/grubx64.efi"] = "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"
				want["/boot/efi/EFI/debian/mmx64.efi"] = "/usr/lib/shim/mmx64.efi.signed"
				want["/boot/efi/EFI/debian/shimx64.efi"] = "/usr/lib/shim/shimx64.efi.signed"
			}
			if diff := cmp.Diff(want, tg.added(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The flag that lets the package's triggers act is not there before all that they write, nor after an error.
func TestConfigureCloudErrors(t *testing.T) {
	b := row(t, "grub-cloud")
	whole := layout(t, b, "amd64", partition.GPT, rootFS)
	small := layout(t, b, "amd64", partition.GPT, rootFS)
	small.Partitions[0].Sectors = (256 << 10) / sector
	for _, test := range []struct {
		layout *partition.Layout
		files  []string
		want   string
	}{
		{layout(t, row(t, "none"), "amd64", partition.GPT, rootFS), cloudFiles(), "the layout has no ESP mounted on /boot/efi"},
		{layout(t, b, "amd64", partition.GPT), cloudFiles(), "the layout has no partition for /boot/grub"},
		{whole, pcFiles, "statat usr/lib/shim/shimx64.efi.signed: no such file or directory"},
		{whole, efiFilesOf("x86_64-efi", "x64", "X64"), "no file /usr/lib/grub/i386-pc/*.mod is installed"},
		{small, cloudFiles(), "an ESP of 0 MiB has no room for the loader in EFI/BOOT and in EFI/debian: that takes 1 MiB"},
	} {
		tg := newTarget(t, test.files...)
		err := b.Configure(context.Background(), Target{Arch: architecture(t, "amd64"), Root: tg.root, Runner: tg, Layout: test.layout})
		if got, want := fmt.Sprint(err), "configure boot loader grub-cloud: "+test.want; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if _, err := os.Lstat(filepath.Join(tg.root, cloudFlag)); !os.IsNotExist(err) {
			t.Errorf("%s is there", cloudFlag)
		}
	}
}

// The boot code is that of row grub: first sector and BIOS boot partition, which lies behind the ESP.
func TestEmbedCloud(t *testing.T) {
	b := row(t, "grub-cloud")
	boot, core := images(60)
	files := map[string]string{"boot.img": string(boot), "core.img": string(core)}
	l := layout(t, b, "amd64", partition.GPT, rootFS)
	disk := make(memory, 130<<20)
	if err := b.(Embedder).Embed(context.Background(), Target{Root: bootTree(t, pcPlatform, files), Layout: l}, disk); err != nil {
		t.Fatal(err)
	}
	bios := l.Partitions[1]
	if got := binary.LittleEndian.Uint64(disk[0x5c:]); bios.Role != partition.BIOSBoot || got != uint64(bios.Start) {
		t.Errorf("the first sector loads sector %d, want %d of %s", got, bios.Start, bios.Name)
	}
	if at := bios.Offset(); !bytes.HasPrefix(disk[at:], core[:0x1e8]) || bytes.Trim(disk[at+60*sector:], "\x00") != nil {
		t.Error("core.img is not in the BIOS boot partition alone")
	}
	err := b.(Embedder).Embed(context.Background(), Target{Root: t.TempDir(), Layout: l}, disk)
	if got, want := fmt.Sprint(err), "write boot code of grub-cloud: openat boot/grub/i386-pc/boot.img: no such file or directory"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// bootTree is a tree with files of a platform of GRUB.
func bootTree(t *testing.T, platform string, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "boot/grub", platform)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}
