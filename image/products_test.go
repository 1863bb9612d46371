package image

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is written for the options, by the names of the files and the forms that are asked for.
func TestProducts(t *testing.T) {
	for name, c := range map[string]struct {
		options Options
		want    []Product
	}{
		"image":    {Options{Image: "a.vdi"}, []Product{{"--image", "a.vdi", "raw", ""}}},
		"qcow2":    {Options{Image: "a.img", ConvertQcow2: true}, []Product{{"--image", "a.img", "qcow2", ""}}},
		"a format": {Options{Image: "a.img", Formats: []string{"qcow2"}, Qcow2Compression: "zstd"}, []Product{{"--image", "a.img", "qcow2", "zstd"}}},
		"two formats of one image": {Options{Image: "a.img", Formats: []string{"raw", "qcow2"}}, []Product{
			{"--image", "a.img", "raw", ""}, {"--image", "a.qcow2", "qcow2", ""},
		}},
		"two formats of a bare name": {Options{Image: "a", Formats: []string{"raw", "tar"}}, []Product{
			{"--image", "a.img", "raw", ""}, {"--image", "a.tar", "tar", ""},
		}},
		"a format for each": {Options{Image: "a", OutputImages: []string{"b"}, Formats: []string{"qcow2", "raw"}}, []Product{
			{"--image", "a", "qcow2", ""}, {"--output-image", "b", "raw", ""},
		}},
		"tar":       {Options{Tarball: "a.tar.zst"}, []Product{{"--tarball", "a.tar.zst", "tar", "zstd"}}},
		"plain tar": {Options{Tarball: "a"}, []Product{{"--tarball", "a", "tar", ""}}},
		"live":      {Options{Squash: "d"}, []Product{{"--squash", "d", "live", ""}}},
		"tree":      {Options{Directory: "d"}, []Product{{"--directory", "d", "directory", ""}}},
		"by name": {Options{Image: "a.img", OutputImages: []string{"a.qcow2", "a.tar.xz", "a.squashfs", "d/", "b.raw"}}, []Product{
			{"--image", "a.img", "raw", ""}, {"--output-image", "a.qcow2", "qcow2", ""}, {"--output-image", "a.tar.xz", "tar", "xz"},
			{"--output-image", "a.squashfs", "squashfs", ""}, {"--output-image", "d/", "directory", ""},
			{"--output-image", "b.raw", "raw", ""},
		}},
	} {
		got := c.options.products(func(format string, args ...any) { t.Errorf(name+": refused: "+format, args...) })
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// A plan without a disk has no partitions and no boot loader, but the packages of one that is asked for.
func TestPlanWithoutDisk(t *testing.T) {
	plain, err := NewPlan(Options{Tarball: "a.tar", Arch: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	if plain.Layout != nil || plain.Bootloader != noLoader || len(plain.System.Mounts) != 0 || plain.Image() != "" {
		t.Errorf("a tarball has a disk: %s", plain.Text())
	}
	live, err := NewPlan(Options{Squash: "d", Arch: "amd64", Grub: true, UseUEFI: true})
	if err != nil {
		t.Fatal(err)
	}
	extra := cmp.Diff(plain.Rootfs.Include, live.Rootfs.Include)
	if live.Bootloader != noLoader || !containsAll(live.Rootfs.Include, "grub-efi-amd64-signed", "shim-signed") {
		t.Errorf("the packages of grub-efi are missing: %s", extra)
	}
}

func containsAll(list []string, words ...string) bool {
	found := map[string]bool{}
	for _, w := range list {
		found[w] = true
	}
	for _, w := range words {
		if !found[w] {
			return false
		}
	}
	return true
}

// The boot loader where none is named: vmdebootstrap's if it can start the system, else GRUB, else none.
func TestDefaultLoader(t *testing.T) {
	for name, c := range map[string]struct {
		options Options
		want    string
		note    bool
	}{
		"amd64":         {Options{Arch: "amd64"}, "extlinux", false},
		"i386":          {Options{Arch: "i386", Distribution: "bookworm"}, "extlinux", false},
		"riscv64":       {Options{Arch: "riscv64"}, "u-boot", false},
		"loong64":       {Options{Arch: "loong64", Distribution: "sid"}, "grub-efi", false},
		"xfs":           {Options{Arch: "amd64", RootType: "xfs"}, "grub", true},
		"xfs and /boot": {Options{Arch: "amd64", RootType: "xfs", BootSize: 200 * mib}, "extlinux", false},
		"armhf":         {Options{Arch: "armhf"}, "u-boot", false},
		"gpt":           {Options{Arch: "amd64", PartType: "gpt"}, "grub-cloud", false},
		"gpt on i386":   {Options{Arch: "i386", PartType: "gpt", Distribution: "bookworm"}, "extlinux", false},
		"gpt, stretch":  {Options{Arch: "amd64", PartType: "gpt", Distribution: "stretch"}, "extlinux", false},
		"hybrid":        {Options{Arch: "amd64", Hybrid: true}, "grub-cloud", false},
		"POWER":         {Options{Arch: "ppc64el", Grub: true}, "grub-ieee1275", false},
		"by its name":   {Options{Arch: "amd64", Bootloader: "grub-efi"}, "grub-efi", false},
		"u-boot":        {Options{Arch: "arm64", Bootloader: "u-boot"}, "u-boot", false},
		"no extlinux":   {Options{Arch: "amd64", NoExtlinux: true}, "none", false},
		"grub":          {Options{Arch: "amd64", Grub: true}, "grub", false},
		"UEFI":          {Options{Arch: "amd64", Grub: true, UseUEFI: true}, "grub-efi", false},
	} {
		c.options.Image = "a.img"
		p, err := NewPlan(c.options)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if p.Bootloader != c.want || (len(p.Notes) > 0) != c.note {
			t.Errorf("%s: %s, notes %q; want %s", name, p.Bootloader, p.Notes, c.want)
		}
	}
}
