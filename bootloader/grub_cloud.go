package bootloader

import (
	"context"
	"fmt"

	"vmbuild/partition"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/suite"
)

// grubCloud starts PCs both ways, by BIOS as grubPC and by UEFI as grubEFI, from one gpt disk: what the images of Debian's
// cloud team are. Package grub-cloud-amd64 brings both loaders signed, and its triggers write both anew whenever one of
// them is upgraded.
type grubCloud struct{}

// cloudFlag is what the triggers look for: where it is not, as in a tree in the making, they do nothing (postinst of
// grub-cloud-amd64 0.0.5 and 0.1.1).
const cloudFlag = "etc/grub.d/enable_cloud"

func (grubCloud) Name() string { return "grub-cloud" }

func (grubCloud) Supports(a arch.Arch, s suite.Suite) error {
	if a.Name != "amd64" {
		return fmt.Errorf("boot loader grub-cloud starts PCs by BIOS and by UEFI, which Debian does on amd64 alone, not on architecture %s",
			a.Name)
	}
	if !s.Since("buster") {
		return fmt.Errorf("boot loader grub-cloud is not in Debian %s: the first release that has it is buster", s.Codename)
	}
	return nil
}

func (grubCloud) Packages(arch.Arch) []string { return []string{"grub-cloud-amd64"} }

func (grubCloud) Tables() []string { return []string{partition.GPT} }

func (grubCloud) Partitions(arch.Arch, string) []partition.Request {
	return []partition.Request{biosBoot, espRequest}
}

// Debconf is for shim-signed, whose postinst calls grub-install of its own. The package itself asks nothing.
func (grubCloud) Debconf(arch.Arch) []string { return efiAnswers("shim-signed") }

func (grubCloud) Configure(ctx context.Context, t Target) error {
	if err := configureCloud(ctx, t); err != nil {
		return fmt.Errorf("configure boot loader grub-cloud: %w", err)
	}
	return nil
}

func configureCloud(ctx context.Context, t Target) error {
	port, err := efiPortOf(t.Arch)
	if err != nil {
		return err
	}
	pc, err := openGRUB(t, pcPlatform)
	if err != nil {
		return err
	}
	defer pc.Close()
	efi, err := openGRUB(t, t.Arch.GRUBEFI)
	if err != nil {
		return err
	}
	defer efi.Close()
	esp, err := efi.esp()
	if err != nil {
		return err
	}
	if err := pc.installPC(ctx); err != nil {
		return err
	}
	if err := efi.fitsBoth(efi.efiFiles(port.signed), esp.Bytes()); err != nil {
		return err
	}
	if err := efi.installEFI(ctx, port, esp); err != nil {
		return err
	}
	if err := pc.configure(ctx, terminal{serial: port.serial, preset: true}); err != nil {
		return err
	}
	return pc.root.WriteFile(cloudFlag, nil, 0o644)
}

// fitsBoth refuses an ESP that upgrades of grub-cloud-amd64, which write both directories, could not write: they would fail.
func (g *grub) fitsBoth(files []efiFile, size int64) error {
	need, err := g.espSize(files)
	if err == nil && need > size {
		err = smallESP(size, need)
	}
	return err
}

// Embed writes the code for the BIOS.
func (grubCloud) Embed(_ context.Context, t Target, disk Disk) error {
	if err := embedPC(t, disk); err != nil {
		return fmt.Errorf("write boot code of grub-cloud: %w", err)
	}
	return nil
}
