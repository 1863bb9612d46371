package live

import (
	"fmt"
	"strings"

	"vmbuild/rootfs/arch"
)

// kind is a row of the table: how live media of an architecture start.
type kind struct {
	arch     string
	from     string   // architecture of the packages
	bios     bool     // GRUB's platform i386-pc
	uefi     bool     // loaders that package medium finds
	packages []string // of Debian, that hold what the medium starts by
	machines []uint16 // in the PE header of its kernels (Microsoft's PE format, "Machine Types")
}

// How to add one: a row here and, for UEFI, signed loaders in package medium; then
// VMBUILD_TEST=net,build,boot,matrix go test ./cmd/vmbuild -run Live.
var kinds = []kind{
	{
		"amd64", "amd64", true, true,
		[]string{"grub-pc-bin", "grub-efi-amd64-signed", "shim-signed"}, []uint16{0x8664},
	},
	{"i386", "amd64", true, false, []string{"grub-pc-bin"}, []uint16{0x14c, 0x8664}},
	{"arm64", "arm64", false, true, []string{"grub-efi-arm64-signed", "shim-signed"}, []uint16{0xaa64}},
}

// Architectures returns the Debian names of those that live media can be made for.
func Architectures() []string {
	var names []string
	for _, k := range kinds {
		names = append(names, k.arch)
	}
	return names
}

func lookup(name string) (kind, error) {
	for _, k := range kinds {
		if k.arch == name {
			return k, nil
		}
	}
	return kind{}, fmt.Errorf("live media can be made for %s, not for %q", strings.Join(Architectures(), ", "), name)
}

// row returns the architecture, and that of the packages.
func (k kind) rows() (of, from arch.Arch, err error) {
	if of, err = arch.Lookup(k.arch); err != nil {
		return of, from, err
	}
	from, err = arch.Lookup(k.from)
	return of, from, err
}
