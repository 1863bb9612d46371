package machine

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"vmbuild/rootfs/arch"
)

// Firmware is what starts the boot loader, or the kernel itself.
type Firmware string

// The kinds of firmware; the empty string is AutoFirmware, too.
const (
	AutoFirmware Firmware = "auto"
	BIOS         Firmware = "bios"
	UEFI         Firmware = "uefi"
	SecureBoot   Firmware = "secure-boot"   // UEFI that starts only what the keys of Debian's shim have signed
	UBoot        Firmware = "u-boot"        // in the machine's flash; reads the menu of /boot/extlinux
	OpenFirmware Firmware = "open-firmware" // IEEE 1275: SLOF, which starts what is in a PReP partition
	BootROM      Firmware = "boot-rom"      // a board's own, which finds U-Boot on the card
	Kernel       Firmware = "kernel"        // none: QEMU is given the image's kernel and initrd, which are read out of it
)

// mark is what a kind of firmware looks for on a disk.
type mark struct {
	name string // empty: the firmware is taken only when it is asked for
	on   func(*disk) (bool, error)
}

func (f Firmware) mark() mark {
	switch f {
	case BIOS:
		return mark{"boot code in its first sector", (*disk).hasBootCode}
	case UEFI:
		return mark{"an EFI system partition", having(func(p slot) bool { return p.esp })}
	case OpenFirmware:
		return mark{"a PReP partition", having(func(p slot) bool { return p.prep })}
	case UBoot:
		return mark{"a partition marked as active", having(func(p slot) bool { return p.active })}
	}
	return mark{}
}

// inFiles says whether it comes in files; others QEMU brings along, or there is none.
func (f Firmware) inFiles() bool { return f == UEFI || f == SecureBoot || f == UBoot }

// FirmwareFiles are UEFI's two flash chips: its code and the initial content of its variables. Without variables the code
// is a file that has both, and what the guest writes to them is lost; U-Boot is such a file. Both are empty for a firmware
// that QEMU brings along.
type FirmwareFiles struct {
	Code, CodeFormat           string
	Variables, VariablesFormat string
}

// MissingError says what a host or a tools tree lacks for a machine.
type MissingError struct {
	What     string   // a program or a firmware, in words
	Packages []string // of Debian, that bring it
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s is missing: Debian has it in the packages %s", e.What, strings.Join(e.Packages, ", "))
}

// descriptor is the part of a firmware descriptor that matters here (QEMU's docs/interop/firmware.json). Debian, Fedora,
// Arch and openSUSE all install them beside their firmware, each with paths of its own.
type descriptor struct {
	Interfaces []string `json:"interface-types"`
	Mapping    struct {
		Device     string
		Mode       string // since QEMU 6.2; "split" (the default) has a file for the variables
		Executable descriptorFile
		Template   descriptorFile `json:"nvram-template"`
	}
	Targets []struct {
		Architecture string
		Machines     []string
	}
	Features []string
}

type descriptorFile struct{ Filename, Format string }

// findFirmware looks for firmware below a root directory. The paths it returns start with root. Descriptors are read in
// the order of their names, which is their order of preference.
func findFirmware(root string, a arch.Arch, kind Firmware) (FirmwareFiles, error) {
	m, err := lookup(a, "")
	if err != nil {
		return FirmwareFiles{}, err
	}
	if !m.can(kind) {
		return FirmwareFiles{}, fmt.Errorf("machines of architecture %q have no firmware %q", a.Name, kind)
	}
	if !kind.inFiles() {
		return FirmwareFiles{}, nil
	}
	names, err := filepath.Glob(filepath.Join(root, "usr/share/qemu/firmware/*.json"))
	if err != nil {
		return FirmwareFiles{}, err
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return FirmwareFiles{}, err
		}
		if files, ok := parseDescriptor(data, m.target, kind); ok && files.existBelow(root) {
			return files.below(root), nil
		}
	}
	if files, ok := m.places[kind]; ok && files.existBelow(root) {
		return files.below(root), nil
	}
	what := fmt.Sprintf("firmware %q for architecture %q", kind, a.Name)
	return FirmwareFiles{}, &MissingError{What: what, Packages: m.packages}
}

// below returns the files with paths that start with a directory.
func (f FirmwareFiles) below(dir string) FirmwareFiles {
	f.Code = filepath.Join(dir, f.Code)
	if f.Variables != "" {
		f.Variables = filepath.Join(dir, f.Variables)
	}
	return f
}

func (f FirmwareFiles) existBelow(dir string) bool {
	f = f.below(dir)
	return exists(f.Code) && (f.Variables == "" || exists(f.Variables))
}

// chips are the two raw files of a firmware.
func chips(code, variables string) FirmwareFiles {
	return FirmwareFiles{Code: code, CodeFormat: "raw", Variables: variables, VariablesFormat: "raw"}
}

// firmwareIn looks for firmware in a directory, by the names that distributions give it.
func (m model) firmwareIn(dir string, kind Firmware) (FirmwareFiles, error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return FirmwareFiles{}, fmt.Errorf("firmware directory %q is no directory", dir)
	}
	var names []string
	for _, files := range m.files[kind] {
		name := files.Code
		if files.Variables != "" {
			name += " with " + files.Variables
		}
		names = append(names, name)
		if files.existBelow(dir) {
			return files.below(dir), nil
		}
	}
	if names == nil {
		return FirmwareFiles{}, fmt.Errorf("firmware %q for architecture %q does not come from a directory", kind, m.Arch.Name)
	}
	return FirmwareFiles{}, fmt.Errorf("directory %q has no firmware %q for architecture %q: neither %s",
		dir, kind, m.Arch.Name, strings.Join(names, ", nor "))
}

// parseDescriptor returns a descriptor's files if it is a firmware of that kind for that machine. One it cannot read is
// none: the directory is shared with other programs.
func parseDescriptor(data []byte, target string, kind Firmware) (FirmwareFiles, bool) {
	var d descriptor
	if json.Unmarshal(data, &d) != nil {
		return FirmwareFiles{}, false
	}
	split := d.Mapping.Device == "flash" && (d.Mapping.Mode == "" || d.Mapping.Mode == "split")
	if !split || !slices.Contains(d.Interfaces, "uefi") || !d.fits(target) || !d.provides(kind) {
		return FirmwareFiles{}, false
	}
	code, variables := d.Mapping.Executable, d.Mapping.Template
	return FirmwareFiles{code.Filename, code.Format, variables.Filename, variables.Format}, code.Filename != "" && variables.Filename != ""
}

func (d descriptor) fits(target string) bool {
	for _, t := range d.Targets {
		for _, machine := range t.Machines {
			if ok, _ := path.Match(t.Architecture+"/"+machine, target); ok {
				return true
			}
		}
	}
	return false
}

// provides: a firmware that can do Secure Boot refuses what is not signed only once keys are enrolled; one that cannot
// is what an image without signatures wants.
func (d descriptor) provides(kind Firmware) bool {
	can := slices.Contains(d.Features, "secure-boot")
	switch kind {
	case UEFI:
		return !can
	case SecureBoot:
		return can && slices.Contains(d.Features, "enrolled-keys")
	}
	return false
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
