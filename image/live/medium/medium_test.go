package medium

import (
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/arch"
)

func row(t *testing.T, name string) arch.Arch {
	t.Helper()
	a, err := arch.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func tree(names ...string) fstest.MapFS {
	files := fstest.MapFS{}
	for _, n := range names {
		files[n] = &fstest.MapFile{}
	}
	return files
}

func TestLoaders(t *testing.T) {
	signed := []string{
		"usr/lib/shim/shimx64.efi.signed", "usr/lib/shim/mmx64.efi.signed", "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
	}
	alone := "usr/lib/grub/x86_64-efi/monolithic/grubx64.efi"
	for name, test := range map[string]struct {
		arch string
		root fstest.MapFS
		want []File
	}{
		"signed": {"amd64", tree(append(signed, alone)...), []File{
			{"usr/lib/shim/shimx64.efi.signed", "EFI/BOOT/BOOTX64.EFI"},
			{"usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "EFI/BOOT/grubx64.efi"},
			{"usr/lib/shim/mmx64.efi.signed", "EFI/BOOT/mmx64.efi"},
		}},
		"shim without GRUB":       {"amd64", tree(signed[:2]...), nil},
		"GRUB alone":              {"amd64", tree(append(signed[:2:2], alone)...), []File{{alone, "EFI/BOOT/BOOTX64.EFI"}}},
		"nothing":                 {"amd64", tree("etc/passwd"), nil},
		"of another architecture": {"arm64", tree(signed...), nil},
		"no UEFI":                 {"armel", tree(signed...), nil},
	} {
		got, err := Loaders(test.root, row(t, test.arch))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestMenu(t *testing.T) {
	for name, test := range map[string]struct {
		menu GRUB
		want string
	}{
		"amd64": {GRUB{Arch: row(t, "amd64"), Dir: "/live", Append: "toram  nomodeset"}, `set timeout=3
if serial --unit=0 --speed=115200; then
	terminal_input console serial
	terminal_output console serial
fi
menuentry 'Live system' {
	linux /live/vmlinuz boot=live components console=tty0 console=ttyS0,115200n8 'toram' 'nomodeset'
	initrd /live/initrd.img
}
`},
		"arm64, in the root directory": {GRUB{Arch: row(t, "arm64"), Dir: "/"}, `set timeout=3
menuentry 'Live system' {
	linux /vmlinuz boot=live components live-media-path=/ console=tty0 console=ttyAMA0,115200n8
	initrd /initrd.img
}
`},
	} {
		if d := cmp.Diff(test.want, test.menu.Text()); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestCheckAppend(t *testing.T) {
	for text, want := range map[string]string{
		"":                      "",
		"a=b, $c {d} ;e <f> #g": "",
		"a'b":                   `'\'' in the kernel's arguments: only printable ASCII without quotes and backslashes gets there`,
		`a="b c"`:               `'"' in the kernel's arguments: only printable ASCII without quotes and backslashes gets there`,
		"a\nlinux /evil":        `'\n' in the kernel's arguments: only printable ASCII without quotes and backslashes gets there`,
		"ü":                     `'ü' in the kernel's arguments: only printable ASCII without quotes and backslashes gets there`,
	} {
		got := ""
		if err := CheckAppend(text); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q:\n got %s\nwant %s", text, got, want)
		}
	}
}
