package bootloader

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path"

	"vmbuild/partition"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/suite"
)

// grubIEEE1275 starts POWER machines by their Open Firmware (SLOF in QEMU, IBM's own in LPARs), which loads a program from
// the PReP partition; that reads modules and menu from /boot/grub. Machines with Petitboot read the menu alone.
type grubIEEE1275 struct{}

const powerPlatform = "powerpc-ieee1275"

// prepSize is that of Debian's installer. GRUB takes 105 KiB of it, but firmware loads the partition whole.
const prepSize = 8 << 20

func (grubIEEE1275) Name() string { return "grub-ieee1275" }

func (grubIEEE1275) Supports(a arch.Arch, _ suite.Suite) error {
	if a.Name != "ppc64el" {
		return fmt.Errorf("boot loader grub-ieee1275 starts POWER machines by their Open Firmware, which no machine of architecture %s has",
			a.Name)
	}
	return nil
}

func (grubIEEE1275) Packages(arch.Arch) []string { return []string{"grub-ieee1275"} }

// Partitions are one, which in an msdos table has to be active (SLOF's disk-label.fs, load-from-dos-boot-partition).
func (grubIEEE1275) Partitions(_ arch.Arch, table string) []partition.Request {
	return []partition.Request{{Name: "prep", Role: partition.PReP, Size: prepSize, Active: table == partition.MSDOS}}
}

// Debconf keeps upgrades off the firmware's variables. The PReP partition they find by themselves, and write it anew: it
// and the modules stay of one version.
func (grubIEEE1275) Debconf(arch.Arch) []string {
	return []string{"grub-ieee1275 grub2/update_nvram boolean false"}
}

func (grubIEEE1275) Configure(ctx context.Context, t Target) error {
	if err := configureIEEE1275(ctx, t); err != nil {
		return fmt.Errorf("configure boot loader grub-ieee1275: %w", err)
	}
	return nil
}

func configureIEEE1275(ctx context.Context, t Target) error {
	g, err := openGRUB(t, powerPlatform)
	if err != nil {
		return err
	}
	defer g.Close()
	if err := g.install("*.mod", "*.lst"); err != nil {
		return err
	}
	modules := []string{"part_gpt", "part_msdos", g.boot.GRUBModule, "search_fs_uuid"}
	if err := g.makeImage(ctx, "core.elf", modules, "--note"); err != nil { // CHRP's note, as grub-install has it for PReP
		return err
	}
	return g.configure(ctx, terminal{})
}

// Embed writes core.elf to the PReP partition, from its first byte, as grub-install does.
func (grubIEEE1275) Embed(_ context.Context, t Target, disk Disk) error {
	if err := embedIEEE1275(t, disk); err != nil {
		return fmt.Errorf("write boot code of grub-ieee1275: %w", err)
	}
	return nil
}

func embedIEEE1275(t Target, disk Disk) error {
	root, err := os.OpenRoot(t.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	core, err := root.ReadFile(path.Join("boot/grub", powerPlatform, "core.elf"))
	if err != nil {
		return err
	}
	prep, ok := t.Layout.With(partition.PReP)
	switch {
	case !ok:
		return errors.New("the disk needs a PReP partition for it")
	case !bytes.HasPrefix(core, []byte(elf.ELFMAG)):
		return errors.New("core.elf is not a program for Open Firmware")
	case int64(len(core)) > prep.Bytes():
		return fmt.Errorf("core.elf has %d bytes, but the PReP partition only %d", len(core), prep.Bytes())
	}
	_, err = disk.WriteAt(core, prep.Offset())
	return err
}
