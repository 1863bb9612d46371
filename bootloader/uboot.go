package bootloader

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"vmbuild/partition"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/suite"
)

// uBoot starts a system by the menu of /boot/extlinux, which package u-boot-menu makes and from then on keeps right, for each
// kernel. U-Boot itself is the machine's own: it looks for that file on partitions that are marked for it (U-Boot's
// include/config_distro_bootcmd.h; boot/bootflow.c since 2023).
type uBoot struct{}

const menuSettings = "etc/u-boot-menu/conf.d/machine.conf"

func (uBoot) Name() string { return "u-boot" }

func (uBoot) Supports(a arch.Arch, s suite.Suite) error {
	if !slices.Contains([]string{"armel", "armhf", "arm64", "riscv64"}, a.Name) {
		return fmt.Errorf("boot loader u-boot starts machines of ARM and RISC-V, not of architecture %s", a.Name)
	}
	if !s.Since("bookworm") {
		return fmt.Errorf("boot loader u-boot: since bookworm, not in %s, the package u-boot-menu takes settings from files "+
			"beside its own", s.Codename)
	}
	return nil
}

// Starts refuses what U-Boot's builds for boards do not read.
func (uBoot) Starts(filesystem string) error {
	switch filesystem {
	case "ext2", "ext3", "ext4", "vfat":
		return nil
	}
	return fmt.Errorf("u-boot cannot read %s, which holds / or /boot: use ext2, ext3 or ext4", filesystem)
}

func (uBoot) Packages(arch.Arch) []string                      { return []string{"u-boot-menu"} }
func (uBoot) Partitions(arch.Arch, string) []partition.Request { return nil }
func (uBoot) Debconf(arch.Arch) []string                       { return nil }

// ActivePartition implements Activator.
func (uBoot) ActivePartition() bool { return true }

// BootPackages implements BootPackager: since trixie u-boot-menu copies device trees to /boot, if rsync is there. A machine
// with U-Boot of its own need not have them.
func (uBoot) BootPackages(s suite.Suite) ([]string, error) {
	if !s.Since("trixie") {
		return nil, nil
	}
	return []string{"rsync"}, nil
}

func (u uBoot) Configure(ctx context.Context, t Target) error {
	if err := configureMenu(ctx, t, Board{}); err != nil {
		return fmt.Errorf("configure boot loader u-boot: %w", err)
	}
	return nil
}

// configureMenu writes the settings of u-boot-menu and has it make the menu. The root filesystem it takes from fstab.
func configureMenu(ctx context.Context, t Target, b Board) error {
	boot, _, ok := t.Layout.Holding("/boot")
	if !ok {
		return errors.New("the layout has no partition for /boot")
	}
	root, err := os.OpenRoot(t.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll(path.Dir(menuSettings), 0o755); err != nil {
		return err
	}
	separate := boot.Mount == "/boot"
	if err := root.WriteFile(menuSettings, []byte(b.settings(t, separate)), 0o644); err != nil {
		return err
	}
	if separate {
		return updateSeparate(ctx, t, root, b)
	}
	return t.Runner.Run(ctx, chroot.Command{Args: []string{"u-boot-update"}})
}

// settings are variables of u-boot-update(8).
func (b Board) settings(t Target, separate bool) string {
	t.Speed = b.Speed
	var s strings.Builder
	fmt.Fprintf(&s, "U_BOOT_PARAMETERS=%s\n", quote(strings.TrimSpace("ro "+t.kernelArguments())))
	if b.Named {
		fmt.Fprintf(&s, "U_BOOT_FDT=%s\n", quote(b.Tree))
	}
	if separate {
		s.WriteString("U_BOOT_SYNC_DTBS=\"true\"\n")
	}
	return s.String()
}

// updateSeparate makes the menu as it is made where /boot is mounted: kernel and device trees are named by their paths on that
// filesystem. The hook of u-boot-menu copies the trees there (trixie, by rsync); it tells a filesystem of its own by stat(1),
// for which a stand-in answers here.
func updateSeparate(ctx context.Context, t Target, root *os.Root, b Board) (err error) {
	const dir = "tmp/u-boot-update"
	if err := root.Mkdir(dir, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.RemoveAll(dir)) }()
	if err := root.WriteFile(dir+"/stat", []byte(statScript), 0o755); err != nil {
		return err
	}
	if err := t.Runner.Run(ctx, chroot.Command{Args: []string{"sh", "-ec", menuScript}}); err != nil {
		return err
	}
	kernels, err := fs.Glob(root.FS(), "boot/vmlinuz-*")
	if err != nil {
		return err
	}
	for _, kernel := range kernels {
		version := strings.TrimPrefix(kernel, "boot/vmlinuz-")
		if _, err := root.Stat("boot/dtbs/" + version); b.Name != "" && err != nil {
			return fmt.Errorf("u-boot reads the device tree from /boot, a filesystem of its own, but rsync, by which u-boot-menu "+
				"puts it there, has not: %w", err)
		}
	}
	return nil
}

const (
	statScript = `#!/bin/sh
for name; do :; done
case $name in
/boot) printf 2 ;;
*) printf 1 ;;
esac
`
	menuScript = `PATH=/tmp/u-boot-update:$PATH
for version in $(linux-version list); do
	/etc/kernel/postinst.d/zz-u-boot-menu "$version"
done
u-boot-update
`
)

// onBoard is uBoot with a board's own U-Boot.
type onBoard struct {
	uBoot
	board Board
}

// ForBoard returns the loader that starts the board of that name.
func ForBoard(name string) (Bootloader, error) {
	b, err := LookupBoard(name)
	if err != nil {
		return nil, err
	}
	return onBoard{board: b}, nil
}

func (o onBoard) Supports(a arch.Arch, s suite.Suite) error {
	b := o.board
	if b.Arch != a.Name {
		return fmt.Errorf("board %s is of architecture %s, not %s", b.Name, b.Arch, a.Name)
	}
	if !s.Since(b.Since) {
		return fmt.Errorf("board %s: Debian has its U-Boot since %s, not in %s", b.Name, b.Since, s.Codename)
	}
	return o.uBoot.Supports(a, s)
}

func (o onBoard) Packages(a arch.Arch) []string {
	return append(o.uBoot.Packages(a), o.board.Package)
}

func (o onBoard) Partitions(arch.Arch, string) []partition.Request {
	return slices.Clone(o.board.Partitions)
}

// BootPackages implements BootPackager.
func (o onBoard) BootPackages(s suite.Suite) ([]string, error) {
	packages, err := o.uBoot.BootPackages(s)
	if err == nil && packages == nil {
		err = fmt.Errorf("board %s: since trixie, not in %s, u-boot-menu copies device trees to a /boot of its own", o.board.Name, s.Codename)
	}
	return packages, err
}

// Tables implements Tabler.
func (o onBoard) Tables() []string { return o.board.Tables }

// Offset implements Offsetter.
func (o onBoard) Offset() int64 { return o.board.Offset }

func (o onBoard) Configure(ctx context.Context, t Target) error {
	err := configureMenu(ctx, t, o.board)
	if err == nil {
		err = o.board.copyParts(t)
	}
	if err != nil {
		return fmt.Errorf("configure boot loader u-boot for board %s: %w", o.board.Name, err)
	}
	return nil
}

// Embed writes the parts of U-Boot that are in no filesystem.
func (o onBoard) Embed(_ context.Context, t Target, disk Disk) error {
	if err := o.board.embed(t, disk); err != nil {
		return fmt.Errorf("write u-boot for board %s: %w", o.board.Name, err)
	}
	return nil
}
