package bootloader

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"vmbuild/partition"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/suite"
)

// grubEFI starts machines by UEFI, from the removable path of the ESP, so that no variable of the firmware is needed.
// Where Debian has it signed, Secure Boot may be on.
//
// The packages' maintainer scripts know no way to write the removable path alone: their first upgrade in the machine
// writes EFI/BOOT and EFI/debian, both of the new version, and no boot entry (Debconf).
type grubEFI struct{}

// efiPort is how Debian packages GRUB for an architecture's UEFI.
type efiPort struct {
	arch   string
	name   string // grub-efi-NAME
	signed bool   // there are grub-efi-NAME-signed and shim-signed in all suites
	serial bool   // GRUB drives the serial port by itself
}

// How to add one: a row here; the architecture's own names are in package arch.
var efiPorts = []efiPort{
	{"amd64", "amd64", true, true},
	{"arm64", "arm64", true, false},
	{"i386", "ia32", false, true}, // trixie has no shim-signed for it
	{"armhf", "arm", false, false},
	{"riscv64", "riscv64", false, false},
	{"loong64", "loong64", false, false},
}

const (
	espMount   = "/boot/efi"
	defaultESP = 128 << 20
	vendorDir  = "debian" // built into signed images
)

// espRequest is the ESP of all rows of GRUB.
var espRequest = partition.Request{Name: "esp", Role: partition.ESP, Size: defaultESP, Filesystem: "vfat", Mount: espMount}

func (grubEFI) Name() string { return "grub-efi" }

func (grubEFI) Supports(a arch.Arch, _ suite.Suite) error {
	_, err := efiPortOf(a)
	return err
}

func efiPortOf(a arch.Arch) (efiPort, error) {
	for _, p := range efiPorts {
		if p.arch == a.Name {
			return p, nil
		}
	}
	return efiPort{}, fmt.Errorf("boot loader grub-efi starts machines by UEFI, which Debian does not do on architecture %s",
		a.Name)
}

// Packages of an architecture that is not supported are none.
func (grubEFI) Packages(a arch.Arch) []string {
	p, err := efiPortOf(a)
	if err != nil {
		return nil
	}
	packages := []string{"grub-efi-" + p.name}
	if p.signed {
		packages = append(packages, "grub-efi-"+p.name+"-signed", "shim-signed")
	}
	return packages
}

func (grubEFI) Partitions(arch.Arch, string) []partition.Request {
	return []partition.Request{espRequest}
}

// Debconf makes upgrades write the removable path as well, and no variable of the firmware.
func (grubEFI) Debconf(a arch.Arch) []string {
	p, err := efiPortOf(a)
	if err != nil {
		return nil
	}
	return efiAnswers("grub-efi-" + p.name)
}

// efiAnswers are for grub-install as the maintainer scripts of GRUB and of shim-signed call it, whichever package asks.
func efiAnswers(asker string) []string {
	return []string{
		asker + " grub2/force_efi_extra_removable boolean true",
		asker + " grub2/update_nvram boolean false",
	}
}

func (grubEFI) Configure(ctx context.Context, t Target) error {
	if err := configureEFI(ctx, t); err != nil {
		return fmt.Errorf("configure boot loader grub-efi: %w", err)
	}
	return nil
}

func configureEFI(ctx context.Context, t Target) error {
	port, err := efiPortOf(t.Arch)
	if err != nil {
		return err
	}
	g, err := openGRUB(t, t.Arch.GRUBEFI)
	if err != nil {
		return err
	}
	defer g.Close()
	esp, err := g.esp()
	if err != nil {
		return err
	}
	if err := g.installEFI(ctx, port, esp); err != nil {
		return err
	}
	return g.configure(ctx, terminal{serial: port.serial})
}

func (g *grub) esp() (partition.Partition, error) {
	esp, ok := g.Layout.With(partition.ESP)
	if !ok || esp.Mount != espMount {
		return partition.Partition{}, errors.New("the layout has no ESP mounted on " + espMount)
	}
	return esp, nil
}

// installEFI makes the image that unsigned loaders are and upgrades look for, and fills the ESP.
func (g *grub) installEFI(ctx context.Context, port efiPort, esp partition.Partition) error {
	if err := g.install("*.mod", "*.lst"); err != nil {
		return err
	}
	modules := []string{"part_gpt", "part_msdos", "fat", g.boot.GRUBModule, "search_fs_uuid"}
	if err := g.makeImage(ctx, "core.efi", modules); err != nil {
		return err
	}
	return g.fillESP(g.efiFiles(port.signed), esp.Bytes())
}

// efiFile is a file of the ESP.
type efiFile struct {
	from      string // as a path of the tree
	vendor    string // name in EFI/debian; empty: not there
	removable string // name in EFI/BOOT; empty: not there
}

// efiFiles lists what grub-install --uefi-secure-boot --force-extra-removable copies. The fall-back loader fb*.efi must
// not be on the removable path: it would write variables of the firmware and start anew.
func (g *grub) efiFiles(signed bool) []efiFile {
	suffix := strings.ToLower(g.Arch.EFI)
	removable := "BOOT" + g.Arch.EFI + ".EFI"
	loader := "grub" + suffix + ".efi"
	if !signed {
		return []efiFile{{g.dir() + "/core.efi", loader, removable}}
	}
	shim := func(name string) string { return "/usr/lib/shim/" + name }
	return []efiFile{
		{shim("shim" + suffix + ".efi.signed"), "shim" + suffix + ".efi", removable},
		{"/usr/lib/grub/" + g.platform + "-signed/" + loader + ".signed", loader, loader},
		{shim("mm" + suffix + ".efi.signed"), "mm" + suffix + ".efi", "mm" + suffix + ".efi"},
		{shim("fb" + suffix + ".efi.signed"), "fb" + suffix + ".efi", ""},
		{shim("BOOT" + g.Arch.EFI + ".CSV"), "BOOT" + g.Arch.EFI + ".CSV", ""},
	}
}

// fillESP writes the files below the mount point of the ESP: those of EFI/BOOT, and those of the vendor's directory if
// they are wanted. That directory is there anyway, with the menu that signed images read; up to bookworm upgrades also
// write the ESP only if it is there. Since trixie they do if core.efi is in /boot/grub: an ESP too small for both, as
// vmdebootstrap's of 5 MiB, gets none, since they would find no room.
func (g *grub) fillESP(files []efiFile, size int64) error {
	need, err := g.espSize(files)
	if err != nil {
		return err
	}
	if need > size && g.Vendor {
		return smallESP(size, need)
	}
	for _, f := range files {
		if f.removable != "" {
			if err := g.copyToESP(f.from, "BOOT", f.removable); err != nil {
				return err
			}
		}
		if f.vendor != "" && g.Vendor {
			if err := g.copyToESP(f.from, vendorDir, f.vendor); err != nil {
				return err
			}
		}
	}
	stub := path.Join(inside(espMount), "EFI", vendorDir)
	if err := g.root.MkdirAll(stub, 0o755); err != nil {
		return err
	}
	menu := g.search() + "configfile $prefix/grub.cfg\n"
	if err := g.root.WriteFile(path.Join(stub, "grub.cfg"), []byte(menu), 0o644); err != nil {
		return err
	}
	if need <= size {
		return nil
	}
	return g.root.Remove(inside(g.dir() + "/core.efi"))
}

// smallESP says what is missing of an ESP that has to hold both directories, in bytes.
func smallESP(size, need int64) error {
	const mib = 1 << 20
	return fmt.Errorf("an ESP of %d MiB has no room for the loader in EFI/BOOT and in EFI/%s: that takes %d MiB",
		size/mib, vendorDir, (need+mib-1)/mib)
}

func (g *grub) copyToESP(from, dir, name string) error {
	to := path.Join(espMount, "EFI", dir)
	if err := g.root.MkdirAll(inside(to), 0o755); err != nil {
		return err
	}
	return g.copy(from, path.Join(to, name))
}

// espSize is how many bytes both directories need, with room for a FAT and for writing the largest file anew before the
// old one goes.
func (g *grub) espSize(files []efiFile) (int64, error) {
	var sum, largest int64
	for _, f := range files {
		info, err := g.root.Stat(inside(f.from))
		if err != nil {
			return 0, err
		}
		largest = max(largest, info.Size())
		for _, name := range []string{f.vendor, f.removable} {
			if name != "" {
				sum += info.Size()
			}
		}
	}
	return sum + largest + 256<<10, nil
}
