package bootloader

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/partition"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/suite"
)

// kernelInstall plays kernel-install: it makes images that say what they are made of.
type kernelInstall struct {
	root string
	lazy bool // makes none
	err  error
}

func (k kernelInstall) Run(_ context.Context, c chroot.Command) error {
	if k.err != nil || k.lazy {
		return k.err
	}
	if len(c.Args) < 4 || c.Args[0] != "kernel-install" || c.Args[1] != "add" {
		return fmt.Errorf("%q was not expected", c.Args)
	}
	image := filepath.Join(k.root, "boot/efi/EFI/Linux", "debian-"+c.Args[2]+".efi")
	made := strings.Join(append(c.Args[3:], c.Env...), " ")
	return os.WriteFile(image, []byte(made), 0o644)
}

func TestConfigureSystemdBoot(t *testing.T) {
	for _, test := range []struct {
		name, arch string
		files      []string
		requests   []partition.Request
		serial     bool
		cmdline    []string
		want       map[string]string // "cmdline": after the root filesystem
	}{{
		"plain", "amd64",
		[]string{
			"/usr/lib/systemd/boot/efi/systemd-bootx64.efi", "/usr/lib/systemd/boot/efi/linuxx64.efi.stub",
			"/boot/vmlinuz-6.12.9-amd64", "/boot/initrd.img-6.12.9-amd64", "/boot/config-6.12.9-amd64",
		},
		[]partition.Request{rootFS}, true, []string{"quiet"},
		map[string]string{
			"/etc/kernel/cmdline":                       " console=tty0 console=ttyS0,115200n8 quiet",
			"/boot/efi/EFI/BOOT/BOOTX64.EFI":            "/usr/lib/systemd/boot/efi/systemd-bootx64.efi",
			"/boot/efi/EFI/systemd/systemd-bootx64.efi": "/usr/lib/systemd/boot/efi/systemd-bootx64.efi",
			"/boot/efi/EFI/Linux/debian-6.12.9-amd64.efi": "/boot/vmlinuz-6.12.9-amd64 /boot/initrd.img-6.12.9-amd64 " +
				"KERNEL_INSTALL_BOOT_STUB=/usr/lib/systemd/boot/efi/linuxx64.efi.stub",
		},
	}, {
		"signed, two kernels, /boot of its own, arguments of a hook", "arm64",
		[]string{
			"/usr/lib/systemd/boot/efi/systemd-bootaa64.efi", "/usr/lib/systemd/boot/efi/systemd-bootaa64.efi.signed",
			"/boot/vmlinuz-6.12.9-arm64", "/boot/initrd.img-6.12.9-arm64", "/boot/vmlinuz-6.13.1-arm64",
			"/etc/kernel/cmdline", // a hook's, with its own name for an argument
		},
		[]partition.Request{rootFS, bootFS}, false, nil,
		map[string]string{
			"/etc/kernel/cmdline":                        " /etc/kernel/cmdline",
			"/boot/efi/EFI/BOOT/BOOTAA64.EFI":            "/usr/lib/systemd/boot/efi/systemd-bootaa64.efi.signed",
			"/boot/efi/EFI/systemd/systemd-bootaa64.efi": "/usr/lib/systemd/boot/efi/systemd-bootaa64.efi.signed",
			"/boot/efi/EFI/Linux/debian-6.12.9-arm64.efi": "/boot/vmlinuz-6.12.9-arm64 /boot/initrd.img-6.12.9-arm64 " +
				"KERNEL_INSTALL_BOOT_STUB=/usr/lib/systemd/boot/efi/linuxaa64.efi.stub",
			"/boot/efi/EFI/Linux/debian-6.13.1-arm64.efi": "/boot/vmlinuz-6.13.1-arm64 " +
				"KERNEL_INSTALL_BOOT_STUB=/usr/lib/systemd/boot/efi/linuxaa64.efi.stub",
		},
	}, {
		"uncompressed kernel", "riscv64",
		[]string{"/usr/lib/systemd/boot/efi/systemd-bootriscv64.efi", "/boot/vmlinux-6.12.9-riscv64"},
		[]partition.Request{rootFS}, false, nil,
		map[string]string{
			"/etc/kernel/cmdline":                           "",
			"/boot/efi/EFI/BOOT/BOOTRISCV64.EFI":            "/usr/lib/systemd/boot/efi/systemd-bootriscv64.efi",
			"/boot/efi/EFI/systemd/systemd-bootriscv64.efi": "/usr/lib/systemd/boot/efi/systemd-bootriscv64.efi",
			"/boot/efi/EFI/Linux/debian-6.12.9-riscv64.efi": "/boot/vmlinux-6.12.9-riscv64 " +
				"KERNEL_INSTALL_BOOT_STUB=/usr/lib/systemd/boot/efi/linuxriscv64.efi.stub",
		},
	}, {
		"no kernel", "loong64",
		[]string{"/usr/lib/systemd/boot/efi/systemd-bootloongarch64.efi"},
		[]partition.Request{rootFS}, false, nil,
		map[string]string{
			"/etc/kernel/cmdline":                               "",
			"/boot/efi/EFI/BOOT/BOOTLOONGARCH64.EFI":            "/usr/lib/systemd/boot/efi/systemd-bootloongarch64.efi",
			"/boot/efi/EFI/systemd/systemd-bootloongarch64.efi": "/usr/lib/systemd/boot/efi/systemd-bootloongarch64.efi",
		},
	}} {
		t.Run(test.name, func(t *testing.T) {
			b := row(t, "systemd-boot")
			l := layout(t, b, test.arch, partition.GPT, test.requests...)
			tg := newTarget(t, test.files...)
			a := architecture(t, test.arch)
			err := b.Configure(context.Background(), Target{
				Arch: a, Root: tg.root, Runner: kernelInstall{root: tg.root}, Layout: l,
				Console: a.Console, Serial: test.serial, Cmdline: test.cmdline,
			})
			if err != nil {
				t.Fatal(err)
			}
			root, _ := l.With(partition.Root)
			test.want["/etc/kernel/cmdline"] = "root=UUID=" + root.UUID + " ro" + test.want["/etc/kernel/cmdline"] + "\n"
			test.want["/etc/kernel/install.conf"] = "layout=uki\nuki_generator=ukify\nBOOT_ROOT=/boot/efi\n"
			test.want["/etc/kernel/entry-token"] = "debian\n"
			test.want["/boot/efi/loader/loader.conf"] = "#timeout 3\n#console-mode keep\n"
			test.want["/boot/efi/loader/entries.srel"] = "type1\n"
			if diff := cmp.Diff(test.want, tg.added(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestConfigureSystemdBootErrors(t *testing.T) {
	b := row(t, "systemd-boot")
	whole := layout(t, b, "amd64", partition.GPT, rootFS)
	files := []string{"/usr/lib/systemd/boot/efi/systemd-bootx64.efi", "/boot/vmlinuz-6.12.9-amd64"}
	for _, test := range []struct {
		layout *partition.Layout
		files  []string
		runner kernelInstall
		want   string
	}{
		{layout(t, row(t, "none"), "amd64", partition.GPT, rootFS), files, kernelInstall{},
			"the layout has no ESP mounted on /boot/efi"},
		{layout(t, b, "amd64", partition.GPT), files, kernelInstall{}, "the layout has no root partition"},
		{whole, nil, kernelInstall{}, "openat usr/lib/systemd/boot/efi/systemd-bootx64.efi: no such file or directory"},
		{whole, files, kernelInstall{err: errors.New("no space left")},
			"make the unified image of kernel 6.12.9-amd64: no space left"},
		{whole, files, kernelInstall{lazy: true}, "make the unified image of kernel 6.12.9-amd64: kernel-install left none: " +
			"statat boot/efi/EFI/Linux/debian-6.12.9-amd64.efi: no such file or directory"},
	} {
		tg := newTarget(t, test.files...)
		test.runner.root = tg.root
		err := b.Configure(context.Background(), Target{
			Arch: architecture(t, "amd64"), Root: tg.root, Runner: test.runner, Layout: test.layout,
		})
		if got, want := fmt.Sprint(err), "configure boot loader systemd-boot: "+test.want; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestSystemdBootSupports(t *testing.T) {
	const everywhere = "boot loader systemd-boot starts machines by UEFI, which Debian does with it on " +
		"amd64, arm64, armhf, riscv64, loong64, not on "
	for _, test := range []struct{ arch, suite, want string }{
		{"amd64", "trixie", "<nil>"},
		{"riscv64", "sid", "<nil>"},
		{"loong64", "forky", "<nil>"},
		{"amd64", "bookworm", "boot loader systemd-boot starts unified kernel images, which Debian makes for amd64 since trixie: " +
			"bookworm is older"},
		{"loong64", "trixie", "boot loader systemd-boot starts unified kernel images, which Debian makes for loong64 since forky: " +
			"trixie is older"},
		{"i386", "trixie", everywhere + "i386"},
		{"s390x", "sid", everywhere + "s390x"},
	} {
		s, err := suite.Lookup(test.suite)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(row(t, "systemd-boot").Supports(architecture(t, test.arch), s)); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}
