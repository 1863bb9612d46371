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

// systemdBoot starts machines by UEFI, from the removable path of the ESP: systemd-boot lists the unified kernel images
// there, each a kernel with its initramfs and command line in one EFI program (Boot Loader Specification, type 2).
//
// The images are made by the system's own kernel-install(8) and ukify(1), with the settings in /etc/kernel that the
// kernels' hooks find again at upgrades. Nobody has signed them, so Secure Boot has to be off.
//
// Firmware gets no boot entries from here. When bootctl runs on the machine it adds its own, to the loader's directory
// EFI/systemd, which is always there: by it the hooks know that systemd-boot is in use. So Target.Vendor changes nothing.
type systemdBoot struct{}

const (
	// systemdBootESP has room for three images, of 48 MB on amd64 and some 75 MB on arm64, whose kernel is not
	// compressed: apt keeps the running kernel and one other, beside which a third is installed.
	systemdBootESP = 256 << 20

	systemdBootFiles = "/usr/lib/systemd/boot/efi"
	entryToken       = "debian" // begins the images' names, in place of the machine's id, which no image has
)

// systemdBootPorts are the releases in which Debian got systemd-boot, ukify and a kernel for an architecture. Those of
// i386 never met: it has no kernel since trixie.
var systemdBootPorts = []struct{ arch, since string }{
	{"amd64", "trixie"},
	{"arm64", "trixie"},
	{"armhf", "trixie"},
	{"riscv64", "trixie"},
	{"loong64", "forky"},
}

func (systemdBoot) Name() string { return "systemd-boot" }

func (systemdBoot) Supports(a arch.Arch, s suite.Suite) error {
	var names []string
	for _, p := range systemdBootPorts {
		if p.arch != a.Name {
			names = append(names, p.arch)
			continue
		}
		if !s.Since(p.since) {
			return fmt.Errorf("boot loader systemd-boot starts unified kernel images, which Debian makes for %s since %s: "+
				"%s is older", a.Name, p.since, s.Codename)
		}
		return nil
	}
	return fmt.Errorf("boot loader systemd-boot starts machines by UEFI, which Debian does with it on %s, not on %s",
		strings.Join(names, ", "), a.Name)
}

// Packages names systemd-boot-efi for the stub that images begin with; systemd-boot itself is content with less.
func (systemdBoot) Packages(arch.Arch) []string {
	return []string{"systemd-boot", "systemd-boot-efi", "systemd-ukify"}
}

func (systemdBoot) Partitions(arch.Arch, string) []partition.Request {
	return []partition.Request{{
		Name: "esp", Role: partition.ESP, Size: systemdBootESP, Filesystem: "vfat", Mount: espMount,
	}}
}

// Tables implements Tabler: bootctl takes no partition of another table for an ESP.
func (systemdBoot) Tables() []string { return []string{partition.GPT} }

func (systemdBoot) Debconf(arch.Arch) []string { return nil }

func (systemdBoot) Configure(ctx context.Context, t Target) error {
	if err := configureSystemdBoot(ctx, t); err != nil {
		return fmt.Errorf("configure boot loader systemd-boot: %w", err)
	}
	return nil
}

func configureSystemdBoot(ctx context.Context, t Target) error {
	if esp, ok := t.Layout.With(partition.ESP); !ok || esp.Mount != espMount {
		return errors.New("the layout has no ESP mounted on " + espMount)
	}
	root, err := os.OpenRoot(t.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := t.writeKernelSettings(root); err != nil {
		return err
	}
	if err := t.installSystemdBoot(root); err != nil {
		return err
	}
	return t.makeUKIs(ctx, root)
}

// writeKernelSettings writes the files of kernel-install(8). The directory for images is named in them: looked for, it
// would be a partition of its own for /boot, which firmware cannot read, if there is one. Arguments of the kernel that a
// hook has left in the file for them stay.
func (t Target) writeKernelSettings(root *os.Root) error {
	rootFS, _, ok := t.Layout.Holding("/")
	if !ok {
		return errors.New("the layout has no root partition")
	}
	hooks, err := root.ReadFile("etc/kernel/cmdline")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	cmdline := strings.Fields("root=UUID=" + rootFS.UUID + " ro " + t.kernelArguments() + " " + string(hooks))
	return writeFiles(root, "/etc/kernel", map[string]string{
		"install.conf": "layout=uki\nuki_generator=ukify\nBOOT_ROOT=" + espMount + "\n",
		"entry-token":  entryToken + "\n",
		"cmdline":      strings.Join(cmdline, " ") + "\n",
	})
}

// installSystemdBoot writes what bootctl(1) install does, which itself wants the ESP to be mounted.
func (t Target) installSystemdBoot(root *os.Root) error {
	name := "systemd-boot" + strings.ToLower(t.Arch.EFI) + ".efi"
	loader, err := root.ReadFile(inside(path.Join(systemdBootFiles, name+".signed"))) // is not always there, but preferred
	if errors.Is(err, fs.ErrNotExist) {
		loader, err = root.ReadFile(inside(path.Join(systemdBootFiles, name)))
	}
	if err != nil {
		return err
	}
	for _, dir := range []string{"EFI/Linux", "loader/entries", "loader/keys"} {
		if err := root.MkdirAll(inside(path.Join(espMount, dir)), 0o755); err != nil {
			return err
		}
	}
	return writeFiles(root, espMount, map[string]string{
		"EFI/systemd/" + name:                 string(loader),
		"EFI/BOOT/BOOT" + t.Arch.EFI + ".EFI": string(loader),
		"loader/loader.conf":                  "#timeout 3\n#console-mode keep\n",
		"loader/entries.srel":                 "type1\n",
	})
}

// makeUKIs has the system make the image of each of its kernels. The initramfs that is there is named, or dracut would
// make another, for the machine that it runs on; so is the stub, or ukify would choose it by that machine's kernel.
func (t Target) makeUKIs(ctx context.Context, root *os.Root) error {
	kernels, err := fs.Glob(root.FS(), "boot/vmlinu[xz]-*")
	if err != nil {
		return err
	}
	slices.Sort(kernels)
	stub := path.Join(systemdBootFiles, "linux"+strings.ToLower(t.Arch.EFI)+".efi.stub")
	for _, kernel := range kernels {
		_, version, _ := strings.Cut(kernel, "-")
		args := []string{"kernel-install", "add", version, "/" + kernel}
		initrd := "boot/initrd.img-" + version
		if _, err := root.Stat(initrd); err == nil {
			args = append(args, "/"+initrd)
		}
		add := chroot.Command{Args: args, Env: []string{"KERNEL_INSTALL_BOOT_STUB=" + stub}}
		if err := t.Runner.Run(ctx, add); err != nil {
			return fmt.Errorf("make the unified image of kernel %s: %w", version, err)
		}
		image := path.Join(espMount, "EFI/Linux", entryToken+"-"+version+".efi")
		if _, err := root.Stat(inside(image)); err != nil {
			return fmt.Errorf("make the unified image of kernel %s: kernel-install left none: %w", version, err)
		}
	}
	return nil
}

// writeFiles writes files by their names below a directory of the tree.
func writeFiles(root *os.Root, dir string, files map[string]string) error {
	for name, content := range files {
		name = inside(path.Join(dir, name))
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		if err := root.WriteFile(name, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
