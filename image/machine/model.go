package machine

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"vmbuild/rootfs/arch"
)

// model is one row of the table of machines: how QEMU emulates an architecture.
type model struct {
	Arch     arch.Arch
	program  string   // of QEMU
	packages []string // of Debian, that hold the program and all its firmware
	machine  string   // QEMU's machine type
	board    string   // how firmware descriptors call it: <QEMU's architecture>/<machine type with version>
	kvmCPU   string
	tcgCPU   string
	firmware []Firmware                   // what it can start with
	secure   []string                     // arguments Secure Boot needs besides its firmware files
	files    map[Firmware][]FirmwareFiles // names that the firmware has in directories, the best ones first
	probe    []byte                       // program that tries KVM, see race; nil: KVM only when it is asked for
}

// How to add one: a row here, with the machine and CPU that Debian's kernel of that architecture was seen to boot on;
// then VMBUILD_TEST=boot go test ./image/...
func models() []model {
	return []model{
		{
			Arch:     row("amd64"),
			program:  "qemu-system-x86_64",
			packages: []string{"qemu-system-x86", "seabios", "ovmf"},
			machine:  "q35",
			board:    "x86_64/pc-q35-7.2",
			// Hosts exist whose KVM offers MSR 0x10a and then refuses to set it: QEMU aborts.
			kvmCPU: "host,arch-capabilities=off",
			// QEMU 7.2 leaves garbage in EFLAGS after a cmpxchg16b, which the kernel's allocator uses where it can: without
			// this, 3 of 6 boots of trixie ended in an oops.
			tcgCPU:   "max,-cx16",
			firmware: []Firmware{BIOS, UEFI, SecureBoot},
			// The variables may be written only from system management mode, or the guest could turn Secure Boot off.
			secure: []string{"-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"},
			// By bios.bin went OVMF.fd for QEMU's option -L, which vmdebootstrap's wrapper used.
			files: map[Firmware][]FirmwareFiles{
				UEFI: {
					chips("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"), chips("OVMF_CODE.fd", "OVMF_VARS.fd"),
					{Code: "OVMF.fd"}, {Code: "bios.bin"},
				},
				SecureBoot: {
					chips("OVMF_CODE_4M.ms.fd", "OVMF_VARS_4M.ms.fd"), chips("OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd"),
					chips("OVMF_CODE.ms.fd", "OVMF_VARS.ms.fd"), chips("OVMF_CODE.secboot.fd", "OVMF_VARS.ms.fd"),
				},
			},
			probe: probeAMD64(),
		},
		{
			Arch:     row("arm64"),
			program:  "qemu-system-aarch64",
			packages: []string{"qemu-system-arm", "qemu-efi-aarch64"},
			machine:  "virt,gic-version=max",
			board:    "aarch64/virt-7.2",
			kvmCPU:   "host",
			tcgCPU:   "cortex-a72",
			firmware: []Firmware{UEFI, SecureBoot},
			files: map[Firmware][]FirmwareFiles{
				UEFI:       {chips("AAVMF_CODE.fd", "AAVMF_VARS.fd"), {Code: "QEMU_EFI.fd"}},
				SecureBoot: {chips("AAVMF_CODE.ms.fd", "AAVMF_VARS.ms.fd")},
			},
		},
	}
}

// row returns an architecture of the table in rootfs/arch, where TestModels sees to it that it is.
func row(name string) arch.Arch {
	a, _ := arch.Lookup(name)
	return a
}

func hostArch() (arch.Arch, error) { return arch.Host(runtime.GOARCH) }

func lookup(a arch.Arch) (model, error) {
	for _, m := range models() {
		if m.Arch.Name == a.Name {
			return m, nil
		}
	}
	return model{}, fmt.Errorf("no machine is known for architecture %q, only for %s", a.Name, strings.Join(Architectures(), ", "))
}

// Architectures returns the Debian names of those that have a machine.
func Architectures() []string {
	var names []string
	for _, m := range models() {
		names = append(names, m.Arch.Name)
	}
	return names
}

// Packages returns the Debian packages with QEMU and every firmware for machines of an architecture: what a Tree must
// hold. Nil if there is no machine for it.
func Packages(a arch.Arch) []string {
	m, err := lookup(a)
	if err != nil {
		return nil
	}
	return m.packages
}

// arguments are QEMU's up to the hardware that every image of the architecture gets.
func (m model) arguments(kind Firmware, files FirmwareFiles, accel Accel) []string {
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-machine", m.machine,
	}
	switch accel {
	case KVM:
		args = append(args, "-accel", "kvm", "-cpu", m.kvmCPU)
	default:
		args = append(args, "-accel", "tcg,thread=multi,tb-size=1024", "-cpu", m.tcgCPU)
	}
	if kind == SecureBoot {
		args = append(args, m.secure...)
	}
	switch {
	case files.Code == "":
	case files.Variables == "":
		args = append(args, "-bios", files.Code)
	default:
		args = append(args,
			"-drive", fmt.Sprintf("if=pflash,unit=0,readonly=on,format=%s,file=%s", files.CodeFormat, comma(files.Code)),
			"-drive", fmt.Sprintf("if=pflash,unit=1,format=%s,file=%s", files.VariablesFormat, comma(files.Variables)))
	}
	return args
}

// can says whether the machine has that firmware.
func (m model) can(kind Firmware) bool { return slices.Contains(m.firmware, kind) }
