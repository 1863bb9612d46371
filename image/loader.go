package image

import (
	"fmt"
	"slices"
	"strings"

	"vmbuild/bootloader"
	"vmbuild/partition"
)

// Rows of the table of boot loaders that the options of the command line mean.
const (
	grubBIOS    = "grub"
	grubUEFI    = "grub-efi"
	grubHybrid  = "grub-cloud"
	grubPOWER   = "grub-ieee1275"
	systemdBoot = "systemd-boot"
	extlinux    = "extlinux"
	uBoot       = "u-boot"
	noLoader    = "none"
)

// sayBootloader says by the other options what --bootloader means, so that equal builds are equal whichever way it was said.
func (o *Options) sayBootloader() {
	switch o.Bootloader {
	case grubUEFI:
		o.Grub, o.UseUEFI = true, true
	case grubBIOS, grubPOWER:
		o.Grub = true
	case grubHybrid:
		o.Hybrid = true
	case systemdBoot:
		o.UKI = true
	case extlinux:
		o.Extlinux = true
	case noLoader:
		o.NoExtlinux = true
	default:
		return // u-boot has no option of its own; another name is refused
	}
	o.Bootloader = ""
}

// namedLoaders are the loaders that the options ask for by name: one of them, that which the architecture has, is the one.
func (o Options) namedLoaders() []string {
	switch {
	case o.Hybrid: // GRUB for BIOS and for UEFI, so --grub and --use-uefi say nothing else
		return []string{grubHybrid}
	case o.UKI:
		return []string{systemdBoot}
	case o.Board != "" || o.Bootloader == uBoot:
		return []string{uBoot}
	case o.UseUEFI:
		return []string{grubUEFI}
	case o.Grub:
		return []string{grubBIOS, grubPOWER}
	case o.Extlinux:
		return []string{extlinux}
	case o.NoExtlinux:
		return []string{noLoader}
	}
	return nil
}

// usualLoaders are those that are tried where the options name none. PCs start by extlinux, as they always did, if that can
// start the system, else by GRUB; from a gpt disk by BIOS and UEFI alike.
func (t *target) usualLoaders(o Options) []string {
	names := []string{t.arch.Loader, grubBIOS, noLoader}
	if o.PartType == partition.GPT && !o.NoMBR && o.BootFlag == "" {
		names = slices.Insert(names, 0, grubHybrid)
	}
	return names
}

// checkLoader refuses options that name two boot loaders, or parts of one that is not named.
func checkLoader(o Options, refuse func(string, ...any)) {
	if o.Bootloader != "" && o.Bootloader != uBoot {
		refuse("--bootloader=%s is not one of %s", o.Bootloader, strings.Join(bootloader.Names(), ", "))
	}
	var named []string
	for _, n := range []struct {
		option string
		given  bool
	}{
		{"--hybrid", o.Hybrid}, {"--uki", o.UKI}, {"--board", o.Board != ""}, {"--bootloader=u-boot", o.Bootloader == uBoot && o.Board == ""},
		{"--grub", o.Grub && !o.Hybrid}, {"--extlinux", o.Extlinux},
	} {
		if n.given {
			named = append(named, n.option)
		}
	}
	if len(named) > 1 && !slices.Equal(named, []string{"--grub", "--extlinux"}) { // of these two GRUB always was the one
		refuse("%s name different boot loaders: take one", strings.Join(named, " and "))
	}
	if o.EFIVendor && !o.UseUEFI && !o.Hybrid && !o.UKI {
		refuse("--efi-vendor is a directory of the EFI system partition, which only --use-uefi, --hybrid and --uki make")
	}
}

// chooseLoader finds the boot loader that the options name, or the usual one. What it is instead of the first choice, a
// note says.
func (t *target) chooseLoader(o Options) error {
	names := o.namedLoaders()
	if names == nil && !hasDisk(t.products) {
		names = []string{noLoader}
	}
	named := names != nil
	if !named {
		names = t.usualLoaders(o)
	}
	var reasons []error
	for _, name := range names {
		err := t.useLoader(name, o)
		if err == nil {
			if !named && name != t.arch.Loader && name != grubHybrid {
				t.notes = append(t.notes, fmt.Sprintf("%v; the boot loader is %s", reasons[len(reasons)-1], name))
			}
			return nil
		}
		if !named && name == t.arch.Loader && o.RootType == "btrfs" && name == extlinux {
			return err // vmdebootstrap refused btrfs, rather than choose another boot loader
		}
		reasons = append(reasons, err)
	}
	return reasons[0]
}

// useLoader takes the loader of that name if it can start the system.
func (t *target) useLoader(name string, o Options) error {
	loader, err := t.findLoader(name, o)
	if err != nil {
		return err
	}
	if err := loader.Supports(t.arch, t.suite); err != nil {
		return err
	}
	if l, ok := loader.(bootloader.Tabler); ok && !slices.Contains(l.Tables(), o.PartType) {
		return fmt.Errorf("--part-type=%s: boot loader %s starts from %s", o.PartType, name, strings.Join(l.Tables(), " or "))
	}
	if l, ok := loader.(bootloader.Offsetter); ok && o.BootOffset != 0 && int64(o.BootOffset) < l.Offset() {
		return fmt.Errorf("--bootoffset=%s: boot loader %s needs %s before the first partition", o.BootOffset, name, Size(l.Offset()))
	}
	system := o.RootType
	if o.BootSize != 0 {
		system = o.BootType
	}
	if s, ok := loader.(bootloader.Starter); ok {
		if err := s.Starts(system); err != nil {
			return err
		}
	}
	if b, ok := loader.(bootloader.BootPackager); ok && o.BootSize != 0 {
		var err error
		if t.bootPackages, err = b.BootPackages(t.suite); err != nil {
			return fmt.Errorf("--bootsize: %w", err)
		}
	}
	t.loader = loader
	return nil
}

// findLoader returns the row of that name, or the board's.
func (t *target) findLoader(name string, o Options) (bootloader.Bootloader, error) {
	if name == uBoot && o.Board != "" {
		return bootloader.ForBoard(o.Board)
	}
	return bootloader.Lookup(name)
}

// partType is the table that the named loader starts from, or else the architecture's usual one.
func (o Options) partType(usual string) string {
	for _, name := range o.namedLoaders() {
		loader, err := (&target{}).findLoader(name, o)
		if err != nil {
			continue // refused elsewhere
		}
		if l, ok := loader.(bootloader.Tabler); ok {
			return l.Tables()[0]
		}
	}
	return usual
}

// offset is the room before the first partition.
func (t *target) offset(o Options) int64 {
	if l, ok := t.loader.(bootloader.Offsetter); ok {
		return max(int64(o.BootOffset), l.Offset())
	}
	return int64(o.BootOffset)
}

// openLoader returns the loader of a plan.
func (p *Plan) openLoader() (bootloader.Bootloader, error) {
	if p.Board != "" {
		return bootloader.ForBoard(p.Board)
	}
	return bootloader.Lookup(p.Bootloader)
}

// Starts says whether the disk starts by itself: it has a boot loader, and not one that a board has to bring.
func (p *Plan) Starts() bool { return p.Bootloader != noLoader }
