package image

import (
	"fmt"

	"vmbuild/bootloader"
)

// Rows of the table of boot loaders that the options of the command line mean.
const (
	grubBIOS = "grub"
	grubUEFI = "grub-efi"
	extlinux = "extlinux"
	noLoader = "none"
)

// chooseLoader finds the boot loader that the options name. Where they name none it is extlinux, as it always was, if that
// can start the system, else GRUB, else none; what it is instead of extlinux, a note says.
func (t *target) chooseLoader(o Options) error {
	name, named := o.namedLoader()
	if named || !hasDisk(t.products) {
		if !named {
			name = noLoader
		}
		return t.useLoader(name, o.RootType, o.BootSize != 0, o.BootType)
	}
	reason := t.useLoader(extlinux, o.RootType, o.BootSize != 0, o.BootType)
	if reason == nil || o.RootType == "btrfs" {
		return reason // vmdebootstrap refused btrfs, rather than choose another boot loader
	}
	for _, name := range []string{grubBIOS, noLoader} {
		if err := t.useLoader(name, o.RootType, o.BootSize != 0, o.BootType); err == nil {
			t.notes = append(t.notes, fmt.Sprintf("%v; the boot loader is %s", reason, name))
			return nil
		}
	}
	return reason
}

// namedLoader is the loader that the options ask for by name, if they do.
func (o Options) namedLoader() (name string, named bool) {
	switch {
	case o.UseUEFI:
		return grubUEFI, true
	case o.Grub:
		return grubBIOS, true
	case o.Extlinux:
		return extlinux, true
	case o.NoExtlinux:
		return noLoader, true
	}
	return "", false
}

// useLoader takes the loader of that name if it can start the system.
func (t *target) useLoader(name, rootType string, hasBoot bool, bootType string) error {
	loader, err := bootloader.Lookup(name)
	if err != nil {
		return err
	}
	if err := loader.Supports(t.arch); err != nil {
		return err
	}
	if hasBoot {
		rootType = bootType
	}
	if s, ok := loader.(bootloader.Starter); ok {
		if err := s.Starts(rootType); err != nil {
			return err
		}
	}
	t.loader = loader
	return nil
}

// Starts says whether the disk starts by itself: it has a boot loader, and not one that a board has to bring.
func (p *Plan) Starts() bool { return p.Bootloader != noLoader }
