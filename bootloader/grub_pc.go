package bootloader

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"

	"vmbuild/partition"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/suite"
)

// grubPC starts PCs by their BIOS: boot.img in the first sector of the disk loads core.img from behind the partition
// table (msdos) or from a partition of its own (gpt), and that reads modules and menu from /boot/grub.
type grubPC struct{}

const pcPlatform = "i386-pc"

func (grubPC) Name() string { return "grub" }

func (grubPC) Supports(a arch.Arch, _ suite.Suite) error {
	if a.Go != "amd64" && a.Go != "386" {
		return fmt.Errorf("boot loader grub starts PCs by their BIOS, which no machine of architecture %s has", a.Name)
	}
	return nil
}

func (grubPC) Packages(arch.Arch) []string { return []string{"grub-pc"} }

func (grubPC) Partitions(_ arch.Arch, table string) []partition.Request {
	if table != partition.GPT {
		return nil
	}
	return []partition.Request{biosBoot}
}

// biosBoot is where core.img lies on a gpt disk: of its 1 MiB it takes 30 KiB, with btrfs 75 KiB.
var biosBoot = partition.Request{Name: "bios", Role: partition.BIOSBoot, Size: 1 << 20}

// Debconf lets upgrades of grub-pc pass. Without it the package's postinst, which finds a core.img but no answer on where
// to install it, stops and leaves dpkg broken; with it boot code and modules stay as they are, and match each other.
func (grubPC) Debconf(arch.Arch) []string {
	return []string{"grub-pc grub-pc/install_devices_empty boolean true"}
}

func (grubPC) Configure(ctx context.Context, t Target) error {
	if err := configurePC(ctx, t); err != nil {
		return fmt.Errorf("configure boot loader grub: %w", err)
	}
	return nil
}

func configurePC(ctx context.Context, t Target) error {
	g, err := openGRUB(t, pcPlatform)
	if err != nil {
		return err
	}
	defer g.Close()
	if err := g.installPC(ctx); err != nil {
		return err
	}
	return g.configure(ctx, terminal{serial: true})
}

// installPC makes what Embed writes, and what that reads.
func (g *grub) installPC(ctx context.Context) error {
	if err := g.install("*.mod", "*.lst", "*.o", "boot.img"); err != nil {
		return err
	}
	modules := []string{"biosdisk", "part_" + g.Layout.Table, g.boot.GRUBModule, "search_fs_uuid"}
	return g.makeImage(ctx, "core.img", modules)
}

// Embed writes boot.img and core.img as grub-bios-setup does (GRUB's util/setup.c), without its Reed-Solomon code.
func (grubPC) Embed(_ context.Context, t Target, disk Disk) error {
	if err := embedPC(t, disk); err != nil {
		return fmt.Errorf("write boot code of grub: %w", err)
	}
	return nil
}

func embedPC(t Target, disk Disk) error {
	root, err := os.OpenRoot(t.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	boot, err := root.ReadFile(path.Join("boot/grub", pcPlatform, "boot.img"))
	if err != nil {
		return err
	}
	core, err := root.ReadFile(path.Join("boot/grub", pcPlatform, "core.img"))
	if err != nil {
		return err
	}
	start, room, err := coreArea(t.Layout)
	if err != nil {
		return err
	}
	if core, err = linkCore(core, start, room); err != nil {
		return err
	}
	if _, err := disk.WriteAt(core, start*sector); err != nil {
		return err
	}
	return writeBoot(boot, start, disk)
}

const sector = 512

// coreArea gives the first sector for core.img and how many there are.
func coreArea(l *partition.Layout) (start, room int64, err error) {
	if l.Table == partition.GPT {
		p, ok := l.With(partition.BIOSBoot)
		if !ok {
			return 0, 0, errors.New("a gpt disk needs a BIOS boot partition for it")
		}
		return p.Start, p.Sectors, nil
	}
	first := l.Size / sector
	for _, p := range l.Partitions {
		first = min(first, p.Start)
	}
	return 1, first - 1, nil
}

// mostCore is how many sectors fit between the addresses 0x9000 and 0x78000, to which diskboot.img loads them.
const mostCore = (0x78000 - 0x9000) / sector

// linkCore tells the first sector of core.img, diskboot.img, where the others are. It ends in the first of a list of
// pieces, of which one is enough here:
//
//	offset  bytes  field
//	0x1e8   12     the next piece, downwards; zero: none
//	0x1f4   8      sector of the piece
//	0x1fc   2      its length in sectors, which grub-mkimage has set
//	0x1fe   2      segment to load it to, 0x820
func linkCore(core []byte, start, room int64) ([]byte, error) {
	sectors := (int64(len(core)) + sector - 1) / sector
	linked := make([]byte, sectors*sector)
	copy(linked, core)
	le := binary.LittleEndian
	switch {
	case sectors < 2 || le.Uint16(linked[0x1fe:]) != 0x820 || int64(le.Uint16(linked[0x1fc:])) != sectors-1:
		return nil, errors.New("core.img is not what grub-mkimage makes for i386-pc")
	case sectors > mostCore:
		return nil, fmt.Errorf("core.img has %d sectors, but GRUB can load only %d", sectors, mostCore)
	case sectors > room:
		return nil, fmt.Errorf("core.img has %d sectors, but there is room for %d only: leave more before the first partition",
			sectors, room)
	}
	le.PutUint64(linked[0x1f4:], uint64(start+1))
	return linked, nil
}

// writeBoot writes boot.img to the first sector:
//
//	offset  bytes  field
//	0x000   3      jump
//	0x003   87     parameters of a FAT: stay
//	0x05a   350    code, with
//	0x05c   8      sector of core.img
//	0x064   1      drive, 0xff: the one the BIOS says
//	0x066   2      nop nop: correct drives that a BIOS says wrongly
//	0x1b8   70     disk signature and partition table: stay
//	0x1fe   2      55 aa
func writeBoot(boot []byte, core int64, disk Disk) error {
	if len(boot) != sector || boot[0x1fe] != 0x55 || boot[0x1ff] != 0xaa {
		return errors.New("boot.img is not a boot sector")
	}
	code := append([]byte(nil), boot...)
	binary.LittleEndian.PutUint64(code[0x5c:], uint64(core))
	code[0x64] = 0xff
	code[0x66], code[0x67] = 0x90, 0x90
	for _, part := range []struct{ from, to int64 }{{0, 3}, {0x5a, 0x1b8}, {0x1fe, 0x200}} {
		if _, err := disk.WriteAt(code[part.from:part.to], part.from); err != nil {
			return err
		}
	}
	return nil
}
