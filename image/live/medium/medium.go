// Package medium is what a live medium starts by, whether it is a directory copied to a USB stick or an image of a disc:
// the names of its files, the EFI boot loaders among the files of Debian's packages, and GRUB's menu.
//
// It writes nothing and runs nothing: packages output and live do.
package medium

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"vmbuild/rootfs/arch"
)

// Names in a live directory. live-boot finds the first by its suffix, in the directory /live of a medium.
const (
	Squashfs = "filesystem.squashfs"
	Kernel   = "vmlinuz"
	Initrd   = "initrd.img"
	Menu     = "EFI/debian/grub.cfg" // which Debian's signed GRUB reads on the filesystem that it was started from
)

// File is a file of a package and its path on a medium.
type File struct{ From, To string }

// Loaders lists what starts machines of an architecture by UEFI from a removable medium (UEFI 2.10, 3.5.1.1): shim and
// GRUB as Debian has signed them, else GRUB alone; nothing if the packages in root have neither.
func Loaders(root fs.FS, a arch.Arch) ([]File, error) {
	if !a.UEFI() {
		return nil, nil
	}
	suffix := strings.ToLower(a.EFI)
	first := "EFI/BOOT/BOOT" + a.EFI + ".EFI"
	second := "grub" + suffix + ".efi"
	lib := "usr/lib/grub/" + a.GRUBEFI
	for _, set := range [][]File{
		{
			{"usr/lib/shim/shim" + suffix + ".efi.signed", first},
			{lib + "-signed/" + second + ".signed", "EFI/BOOT/" + second},
			{"usr/lib/shim/mm" + suffix + ".efi.signed", "EFI/BOOT/mm" + suffix + ".efi"},
		},
		{{lib + "/monolithic/" + second, first}},
	} {
		there, err := haveAll(root, set)
		if there || err != nil {
			return set, err
		}
	}
	return nil, nil
}

func haveAll(root fs.FS, set []File) (bool, error) {
	for _, f := range set {
		_, err := fs.Stat(root, f.From)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("look for boot loaders: %w", err)
		}
	}
	return true, nil
}

// GRUB is the menu of a live medium.
type GRUB struct {
	Arch   arch.Arch
	Dir    string // of kernel, initrd and squashfs, from the root of the medium: "/live"
	Append string // more arguments of the kernel, as CheckAppend accepts them
}

// Text is grub.cfg. The kernel's last console is /dev/console, where systemd starts a login as well. live-config, where
// the system has it, acts on the word "components"; accounts that are there stay as they are.
func (g GRUB) Text() string {
	var b strings.Builder
	b.WriteString("set timeout=3\n")
	if strings.HasPrefix(g.Arch.Console, "ttyS") { // others have the port through their firmware
		b.WriteString("if serial --unit=0 --speed=115200; then\n" +
			"\tterminal_input console serial\n\tterminal_output console serial\nfi\n")
	}
	fmt.Fprintf(&b, "menuentry 'Live system' {\n\tlinux %s %s\n\tinitrd %s\n}\n",
		path.Join(g.Dir, Kernel), strings.Join(g.arguments(), " "), path.Join(g.Dir, Initrd))
	return b.String()
}

func (g GRUB) arguments() []string {
	args := []string{"boot=live", "components"}
	if g.Dir != "/live" {
		args = append(args, "live-media-path="+g.Dir)
	}
	args = append(args, "console=tty0", "console="+g.Arch.Console+",115200n8")
	for _, word := range strings.Fields(g.Append) {
		args = append(args, "'"+word+"'")
	}
	return args
}

// CheckAppend refuses what would not reach the kernel as it is written: GRUB's quotes.
func CheckAppend(text string) error {
	for _, r := range text {
		if strings.ContainsRune(`'"\`, r) || r < ' ' || r > '~' {
			return fmt.Errorf("%q in the kernel's arguments: only printable ASCII without quotes and backslashes gets there", r)
		}
	}
	return nil
}
