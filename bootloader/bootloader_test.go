package bootloader

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/partition"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/suite"
)

func row(t *testing.T, name string) Bootloader {
	t.Helper()
	b, err := Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func architecture(t *testing.T, name string) arch.Arch {
	t.Helper()
	a, err := arch.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var (
	rootFS = partition.Request{Name: "root", Role: partition.Root, Filesystem: "ext4", Mount: "/"}
	bootFS = partition.Request{Name: "boot", Role: partition.Boot, Size: 200 << 20, Filesystem: "ext2", Mount: "/boot"}
)

// layout places what the loader asks for and further partitions.
func layout(t *testing.T, b Bootloader, archName, table string, more ...partition.Request) *partition.Layout {
	t.Helper()
	a := architecture(t, archName)
	l, err := partition.Place(partition.Spec{
		Table: table, Size: 1 << 30, Arch: a, Requests: append(b.Partitions(a, table), more...),
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// target is a tree with the files of packages, each with its own path for content, and a runner that plays the programs of
// the target.
type target struct {
	root     string
	commands []string
	standIns map[string]string // what update-grub was given in place of programs
}

func newTarget(t *testing.T, files ...string) *target {
	t.Helper()
	tg := &target{root: t.TempDir(), standIns: map[string]string{}}
	for _, name := range append(files, "/usr/share/grub/unicode.pf2", "/tmp/") {
		full := filepath.Join(tg.root, name)
		if err := os.MkdirAll(filepath.Join(tg.root, name[:strings.LastIndexByte(name, '/')]), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			continue
		}
		if err := os.WriteFile(full, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return tg
}

func (tg *target) Run(_ context.Context, c chroot.Command) error {
	switch c.Args[0] {
	case "grub-mkimage":
		out := c.Args[slices.Index(c.Args, "-o")+1]
		tg.commands = append(tg.commands, strings.Join(c.Args, " "))
		modules := c.Args[slices.Index(c.Args, "-p")+2:]
		return os.WriteFile(filepath.Join(tg.root, out), []byte("made of "+strings.Join(modules, " ")), 0o644)
	case "sh":
		return tg.updateGRUB(c)
	}
	return fmt.Errorf("%q was not expected", c.Args)
}

func (tg *target) updateGRUB(c chroot.Command) error {
	dir := strings.TrimPrefix(c.Env[0], "pkgdatadir=")
	entries, err := os.ReadDir(filepath.Join(tg.root, dir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(tg.root, dir, e.Name()))
		if err != nil {
			return err
		}
		tg.standIns[e.Name()] = strings.ReplaceAll(string(content), dir, "DIR")
	}
	tg.commands = append(tg.commands, "update-grub "+c.Args[4])
	return os.WriteFile(filepath.Join(tg.root, "boot/grub/grub.cfg"), []byte("menu"), 0o644)
}

// added gives the files of the tree that no package brought, with their content.
func (tg *target) added(t *testing.T) map[string]string {
	t.Helper()
	added := map[string]string{}
	err := filepath.WalkDir(tg.root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(name)
		if below := strings.TrimPrefix(name, tg.root); string(content) != below {
			added[below] = string(content)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return added
}

func TestTable(t *testing.T) {
	names := []string{"grub", "grub-efi", "grub-cloud", "grub-ieee1275", "systemd-boot", "extlinux", "u-boot", "none"}
	if diff := cmp.Diff(names, Names()); diff != "" {
		t.Error(diff)
	}
	if _, err := Lookup("lilo"); fmt.Sprint(err) != `boot loader "lilo" is not one of `+strings.Join(names, ", ") {
		t.Error(err)
	}
}

// What each loader wants of each architecture that it supports, on the tables that it starts from.
func TestNeeds(t *testing.T) {
	want := map[string]string{
		"grub amd64":            "grub-pc; gpt bios 1; msdos; grub-pc grub-pc/install_devices_empty boolean true",
		"grub i386":             "grub-pc; gpt bios 1; msdos; grub-pc grub-pc/install_devices_empty boolean true",
		"extlinux amd64":        "extlinux; gpt; msdos; ",
		"extlinux i386":         "extlinux; gpt; msdos; ",
		"grub-efi amd64":        "grub-efi-amd64 grub-efi-amd64-signed shim-signed; gpt esp 128; msdos esp 128; grub-efi-amd64 grub2/force_efi_extra_removable boolean true grub-efi-amd64 grub2/update_nvram boolean false",
		"grub-efi arm64":        "grub-efi-arm64 grub-efi-arm64-signed shim-signed; gpt esp 128; msdos esp 128; grub-efi-arm64 grub2/force_efi_extra_removable boolean true grub-efi-arm64 grub2/update_nvram boolean false",
		"grub-efi armhf":        "grub-efi-arm; gpt esp 128; msdos esp 128; grub-efi-arm grub2/force_efi_extra_removable boolean true grub-efi-arm grub2/update_nvram boolean false",
		"grub-efi i386":         "grub-efi-ia32; gpt esp 128; msdos esp 128; grub-efi-ia32 grub2/force_efi_extra_removable boolean true grub-efi-ia32 grub2/update_nvram boolean false",
		"grub-efi riscv64":      "grub-efi-riscv64; gpt esp 128; msdos esp 128; grub-efi-riscv64 grub2/force_efi_extra_removable boolean true grub-efi-riscv64 grub2/update_nvram boolean false",
		"grub-cloud amd64":      "grub-cloud-amd64; gpt bios 1 esp 128; shim-signed grub2/force_efi_extra_removable boolean true shim-signed grub2/update_nvram boolean false",
		"grub-efi loong64":      "grub-efi-loong64; gpt esp 128; msdos esp 128; grub-efi-loong64 grub2/force_efi_extra_removable boolean true grub-efi-loong64 grub2/update_nvram boolean false",
		"grub-ieee1275 ppc64el": "grub-ieee1275; gpt prep 8; msdos prep 8 active; grub-ieee1275 grub2/update_nvram boolean false",
	}
	for _, name := range []string{"amd64", "arm64", "armhf", "riscv64"} {
		want["systemd-boot "+name] = "systemd-boot systemd-boot-efi systemd-ukify; gpt esp 256; "
	}
	for _, a := range arch.All() {
		want["none "+a.Name] = "; gpt; msdos; "
	}
	for _, name := range []string{"arm64", "armel", "armhf", "riscv64"} {
		want["u-boot "+name] = "u-boot-menu; gpt; msdos; "
	}
	got := map[string]string{}
	for _, b := range All() {
		for _, a := range arch.All() {
			if b.Supports(a, trixie(t)) != nil {
				continue
			}
			facts := strings.Join(b.Packages(a), " ")
			tables := []string{partition.GPT, partition.MSDOS}
			if l, ok := b.(Tabler); ok {
				tables = l.Tables()
			}
			for _, table := range tables {
				facts += "; " + table
				for _, p := range b.Partitions(a, table) {
					facts += fmt.Sprintf(" %s %d", p.Name, p.Size>>20)
					if p.Active {
						facts += " active"
					}
				}
			}
			got[b.Name()+" "+a.Name] = facts + "; " + strings.Join(b.Debconf(a), " ")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSupports(t *testing.T) {
	for _, test := range []struct{ loader, arch, suite, want string }{
		{"grub", "arm64", "trixie", "boot loader grub starts PCs by their BIOS, which no machine of architecture arm64 has"},
		{"extlinux", "armhf", "trixie", "boot loader extlinux starts PCs by their BIOS, which no machine of architecture armhf has"},
		{"grub-efi", "s390x", "trixie", "boot loader grub-efi starts machines by UEFI, which Debian does not do on architecture s390x"},
		{"grub-cloud", "i386", "bookworm",
			"boot loader grub-cloud starts PCs by BIOS and by UEFI, which Debian does on amd64 alone, not on architecture i386"},
		{"grub-cloud", "amd64", "stretch", "boot loader grub-cloud is not in Debian stretch: the first release that has it is buster"},
		{"grub-cloud", "amd64", "buster", "<nil>"},
		{"grub-ieee1275", "amd64", "trixie",
			"boot loader grub-ieee1275 starts POWER machines by their Open Firmware, which no machine of architecture amd64 has"},
	} {
		if got := fmt.Sprint(row(t, test.loader).Supports(architecture(t, test.arch), release(t, test.suite))); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

// A UEFI architecture of the table of architectures has a port here, and no other one.
func TestEFIPorts(t *testing.T) {
	for _, a := range arch.All() {
		if (row(t, "grub-efi").Supports(a, trixie(t)) == nil) != a.UEFI() {
			t.Errorf("%s: UEFI is %v in package arch, not here", a.Name, a.UEFI())
		}
	}
}

func trixie(t *testing.T) suite.Suite { return release(t, "trixie") }

func release(t *testing.T, name string) suite.Suite {
	t.Helper()
	s, err := suite.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
