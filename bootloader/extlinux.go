package bootloader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"vmbuild/partition"
	"vmbuild/partition/filesystem/extfs"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/suite"
)

// extlinux starts PCs by their BIOS from an ext2, ext3 or ext4: code in the first sector of the disk starts the active
// partition, whose first sector loads ldlinux.sys by a list of its sectors. That reads ldlinux.c32 and the menu in
// /boot/extlinux, and the kernel, as files.
//
// The menu names the links to kernel and initramfs that kernel packages keep (linux-update-symlinks(1)), so it stays
// right when kernels are upgraded. Nothing on the machine writes the loader again.
type extlinux struct{}

const (
	extlinuxDir     = "/boot/extlinux"
	extlinuxProgram = "/usr/bin/extlinux"
	extlinuxMBR     = "/usr/lib/EXTLINUX"
)

func (extlinux) Name() string { return "extlinux" }

func (extlinux) Supports(a arch.Arch, _ suite.Suite) error {
	if a.Go != "amd64" && a.Go != "386" {
		return fmt.Errorf("boot loader extlinux starts PCs by their BIOS, which no machine of architecture %s has", a.Name)
	}
	return nil
}

// Starts refuses what Debian's extlinux cannot be written to without mounting it, though it may read it.
func (extlinux) Starts(filesystem string) error {
	switch filesystem {
	case "ext2", "ext3", "ext4":
		return nil
	}
	return fmt.Errorf("extlinux: %s is not yet supported as filesystem of / or /boot: use ext2, ext3 or ext4, or grub", filesystem)
}

func (extlinux) Packages(arch.Arch) []string                      { return []string{"extlinux"} }
func (extlinux) Partitions(arch.Arch, string) []partition.Request { return nil }
func (extlinux) Debconf(arch.Arch) []string                       { return nil }

// ActivePartition implements Activator.
func (extlinux) ActivePartition() bool { return true }

func (extlinux) Configure(ctx context.Context, t Target) error {
	if err := configureExtlinux(ctx, t); err != nil {
		return fmt.Errorf("configure boot loader extlinux: %w", err)
	}
	return nil
}

func configureExtlinux(ctx context.Context, t Target) error {
	boot, _, err := bootPartition(t.Layout)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(t.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	p, err := payloadOf(root)
	if err != nil {
		return err
	}
	if boot.Mount == "/boot" {
		if err := linkInBoot(ctx, t, root); err != nil {
			return err
		}
	}
	menu, err := t.extlinuxMenu(root, boot)
	if err != nil {
		return err
	}
	if err := root.MkdirAll(inside(extlinuxDir), 0o755); err != nil {
		return err
	}
	for _, f := range []struct {
		name    string
		content []byte
		mode    os.FileMode
	}{
		{"ldlinux.c32", p.c32, 0o444},
		{"ldlinux.sys", p.placeholder(), 0o444},
		{"extlinux.conf", []byte(menu), 0o644},
	} {
		name := inside(path.Join(extlinuxDir, f.name))
		if err := root.WriteFile(name, f.content, f.mode); err != nil {
			return err
		}
		if err := root.Chmod(name, f.mode); err != nil {
			return err
		}
	}
	return nil
}

// bootPartition gives the partition with /boot/extlinux, and that directory's path on it.
func bootPartition(l *partition.Layout) (partition.Partition, string, error) {
	p, dir, ok := l.Holding(extlinuxDir)
	if !ok {
		return p, "", errors.New("the layout has no partition for " + extlinuxDir)
	}
	return p, dir, extlinux{}.Starts(p.Filesystem)
}

func payloadOf(root *os.Root) (*payload, error) {
	program, err := root.Open(inside(extlinuxProgram))
	if err != nil {
		return nil, err
	}
	defer program.Close()
	p, err := readPayload(program)
	if err != nil {
		return nil, fmt.Errorf("take the loader out of %s: %w", extlinuxProgram, err)
	}
	return p, nil
}

// linkInBoot has the links to kernel and initramfs in /boot, a filesystem of its own, instead of /: kernel packages do
// the same from then on (kernel-img.conf(5)).
func linkInBoot(ctx context.Context, t Target, root *os.Root) error {
	settings, err := root.ReadFile("etc/kernel-img.conf")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	settings = append(settings, "do_symlinks = yes\nlink_in_boot = yes\n"...)
	if err := root.WriteFile("etc/kernel-img.conf", settings, 0o644); err != nil {
		return err
	}
	kernel, err := root.Readlink("vmlinuz")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	version := strings.TrimPrefix(path.Base(kernel), "vmlinuz-")
	link := chroot.Command{Args: []string{"linux-update-symlinks", "install", version, "/boot/vmlinuz-" + version}}
	if err := t.Runner.Run(ctx, link); err != nil {
		return fmt.Errorf("link kernel %s in /boot: %w", version, err)
	}
	for _, name := range []string{"vmlinuz", "vmlinuz.old", "initrd.img", "initrd.img.old"} {
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// extlinuxMenu is extlinux.conf. Its paths are those of the filesystem with /boot. Upgrades of the kernel leave the one
// before as vmlinuz.old, to be started by its label.
func (t Target) extlinuxMenu(root *os.Root, boot partition.Partition) (string, error) {
	at := strings.TrimPrefix(strings.TrimPrefix(boot.Mount, "/")+"/", "/")
	kernels, err := fs.Glob(root.FS(), "boot/vmlinuz-*")
	if err != nil {
		return "", err
	}
	if _, err := root.Stat(at + "vmlinuz"); err != nil && len(kernels) > 0 {
		return "", fmt.Errorf("/%s is there, but /%svmlinuz, which the menu starts, does not lead to a kernel: "+
			"make the link, as linux-update-symlinks does", kernels[0], at)
	}
	rootfs, ok := t.Layout.With(partition.Root)
	if !ok {
		return "", errors.New("the layout has no root partition")
	}
	arguments := strings.TrimSpace("root=UUID=" + rootfs.UUID + " ro " + t.kernelArguments())
	var b bytes.Buffer
	if t.Serial {
		b.WriteString("SERIAL 0 115200\n")
	}
	b.WriteString("DEFAULT linux\nPROMPT 1\nTIMEOUT 20\n")
	_, err = root.Stat(at + "initrd.img")
	for _, entry := range []struct{ label, suffix string }{{"linux", ""}, {"old", ".old"}} {
		fmt.Fprintf(&b, "\nLABEL %s\n  LINUX /vmlinuz%s\n", entry.label, entry.suffix)
		if err == nil {
			fmt.Fprintf(&b, "  INITRD /initrd.img%s\n", entry.suffix)
		}
		fmt.Fprintf(&b, "  APPEND %s\n", arguments)
	}
	return b.String(), nil
}

// Embed writes what extlinux --install and a dd of mbr.bin would write, as libinstaller/syslxmod.c of syslinux 6.04 has it.
func (extlinux) Embed(_ context.Context, t Target, disk Disk) error {
	if err := embedExtlinux(t, disk); err != nil {
		return fmt.Errorf("write boot code of extlinux: %w", err)
	}
	return nil
}

func embedExtlinux(t Target, disk Disk) error {
	boot, dir, err := bootPartition(t.Layout)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(t.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	p, err := payloadOf(root)
	if err != nil {
		return err
	}
	volume, err := extfs.Open(disk, boot.Offset())
	if err != nil {
		return err
	}
	file, err := volume.Lookup(path.Join(dir, "ldlinux.sys"))
	if err != nil {
		return err
	}
	sectors, err := file.Sectors()
	if err != nil {
		return err
	}
	vbr, sys, err := p.install(installation{sectors: sectors, start: boot.Start, size: boot.Sectors, dir: dir})
	if err != nil {
		return err
	}
	if err := writeSectors(disk, boot.Offset(), sectors, sys); err != nil {
		return err
	}
	if err := file.SetImmutable(); err != nil {
		return err
	}
	if _, err := disk.WriteAt(vbr, boot.Offset()); err != nil {
		return err
	}
	if t.NoMBR {
		return nil
	}
	return writeMBR(root, t.Layout.Table, disk)
}

// writeSectors writes data over the sectors of a file, which are counted from the byte at start.
func writeSectors(disk Disk, start int64, sectors []int64, data []byte) error {
	for i, s := range sectors {
		if _, err := disk.WriteAt(data[i*sector:(i+1)*sector], start+s*sector); err != nil {
			return err
		}
	}
	return nil
}

// mbrCode is how many bytes of the first sector are code. The disk signature follows.
const mbrCode = 440

// writeMBR writes the code that starts the active partition.
func writeMBR(root *os.Root, table string, disk Disk) error {
	name := extlinuxMBR + "/mbr.bin"
	if table == partition.GPT {
		name = extlinuxMBR + "/gptmbr.bin"
	}
	code, err := root.ReadFile(inside(name))
	if err != nil {
		return err
	}
	if len(code) == 0 || len(code) > mbrCode {
		return fmt.Errorf("%s has %d bytes, but boot code has at most %d", name, len(code), mbrCode)
	}
	_, err = disk.WriteAt(code, 0)
	return err
}
