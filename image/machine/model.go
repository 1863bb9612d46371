package machine

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"vmbuild/rootfs/arch"
)

// model is one row of the table of machines: how QEMU emulates an architecture, or a board of it.
type model struct {
	Arch     arch.Arch
	board    string   // name in package bootloader's table of boards; empty: a machine that exists in QEMU only
	program  string   // of QEMU
	packages []string // of Debian, that hold the program and all its firmware
	machine  string   // QEMU's machine type
	target   string   // how firmware descriptors call it: <QEMU's architecture>/<machine type with version>
	kvmCPU   string   // empty: KVM does not run it
	tcgCPU   string   // empty: the machine type has one
	devices  devices

	// What the machine has if nothing else is asked for; those of a board cannot be changed. 0: see Machine.
	memoryMiB, cpus int

	firmware []Firmware                   // what it can start with; AutoFirmware takes the first that finds what it starts
	needs    map[Firmware][]string        // arguments besides those for its files
	files    map[Firmware][]FirmwareFiles // names that the firmware has in directories, the best ones first
	places   map[Firmware]FirmwareFiles   // paths in Debian, of a firmware that no descriptor describes
	oneFile  string                       // QEMU's option for a firmware that is one file; empty: -bios

	// Below a kernel's directory of device trees; empty: QEMU makes one, or the firmware does.
	deviceTree string
	append     string // what a kernel that QEMU loads is told besides its root filesystem and console

	probe []byte // program that tries KVM, see race; nil: KVM only when it is asked for
}

// devices are QEMU's arguments for what a machine has besides its serial port. Drive "disk" and netdev "net" are defined
// elsewhere.
type devices struct {
	card    bool // the disk is an SD card: the machine has a slot for one, and QEMU wants a power of two as its size
	disk    []string
	disc    []string // a drive that only reads; nil: none
	network []string
	random  []string // a source of random numbers; nil: none
}

// pci are devices of QEMU's own on a PCI bus.
func pci() devices {
	return devices{
		disk: []string{"-device", "virtio-blk-pci,drive=disk,bootindex=0"},
		disc: []string{"-device", "virtio-scsi-pci", "-device", "scsi-cd,drive=disk,bootindex=0"},
		// Without its ROM the card cannot boot, and QEMU needs no iPXE to be installed.
		network: []string{"-device", "virtio-net-pci,netdev=net,romfile="},
		random:  []string{"-device", "virtio-rng-pci"},
	}
}

// ccw are the same on the channels of a mainframe.
func ccw() devices {
	return devices{
		disk:    []string{"-device", "virtio-blk-ccw,drive=disk"},
		disc:    []string{"-device", "virtio-scsi-ccw", "-device", "scsi-cd,drive=disk"},
		network: []string{"-device", "virtio-net-ccw,netdev=net"},
		random:  []string{"-device", "virtio-rng-ccw"},
	}
}

// onBoard are those that are soldered to a board.
func onBoard() devices {
	return devices{card: true, network: []string{"-net", "nic,netdev=net"}}
}

// row returns an architecture of the table in rootfs/arch, where TestModels sees to it that it is.
func row(name string) arch.Arch {
	a, _ := arch.Lookup(name)
	return a
}

func hostArch() (arch.Arch, error) { return arch.Host(runtime.GOARCH) }

// lookup returns the row of an architecture's board, or of its virtual machine if that is empty.
func lookup(a arch.Arch, board string) (model, error) {
	for _, m := range models() {
		if m.Arch.Name == a.Name && m.board == board {
			return m, nil
		}
	}
	if board != "" {
		return model{}, fmt.Errorf("no machine of architecture %q is known that is a board %q", a.Name, board)
	}
	return model{}, fmt.Errorf("no machine is known for architecture %q, only for %s", a.Name, strings.Join(Architectures(), ", "))
}

// ofBoard returns the row of a board.
func ofBoard(name string) (model, error) {
	for _, m := range models() {
		if m.board == name {
			return m, nil
		}
	}
	return model{}, fmt.Errorf("QEMU has no machine that is a board %q, only %s", name, strings.Join(Boards(), ", "))
}

// Architectures returns the Debian names of those that have a machine.
func Architectures() []string {
	var names []string
	for _, m := range models() {
		if m.board == "" {
			names = append(names, m.Arch.Name)
		}
	}
	return names
}

// Boards returns the names of the boards that have a machine, as package bootloader's table has them.
func Boards() []string {
	var names []string
	for _, m := range models() {
		if m.board != "" {
			names = append(names, m.board)
		}
	}
	return names
}

// Firmwares returns the names of all kinds of firmware that some machine has, for help texts and choices.
func Firmwares() []string {
	var names []string
	for _, m := range models() {
		for _, kind := range m.firmware {
			if !slices.Contains(names, string(kind)) {
				names = append(names, string(kind))
			}
		}
	}
	return names
}

// FirmwaresOf returns the kinds of firmware that QEMU's own machine of an architecture has; none if there is no machine.
func FirmwaresOf(a arch.Arch) []Firmware {
	m, err := lookup(a, "")
	if err != nil {
		return nil
	}
	return slices.Clone(m.firmware)
}

// arguments are QEMU's up to the hardware that every image of the architecture gets.
func (m model) arguments(kind Firmware, files FirmwareFiles, accel Accel) []string {
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-machine", m.machine,
	}
	cpu := m.tcgCPU
	switch accel {
	case KVM:
		args, cpu = append(args, "-accel", "kvm"), m.kvmCPU
	default:
		args = append(args, "-accel", "tcg,thread=multi,tb-size=1024")
	}
	if cpu != "" {
		args = append(args, "-cpu", cpu)
	}
	args = append(args, m.needs[kind]...)
	switch {
	case files.Code == "":
	case files.Variables == "":
		args = append(args, cmp.Or(m.oneFile, "-bios"), files.Code)
	default:
		args = append(args,
			"-drive", fmt.Sprintf("if=pflash,unit=0,readonly=on,format=%s,file=%s", files.CodeFormat, comma(files.Code)),
			"-drive", fmt.Sprintf("if=pflash,unit=1,format=%s,file=%s", files.VariablesFormat, comma(files.Variables)))
	}
	return args
}

// can says whether the machine has that firmware.
func (m model) can(kind Firmware) bool { return slices.Contains(m.firmware, kind) }

// choose returns the firmware that finds on a disk what it starts. A row with one kind has no choice.
func (m model) choose(d *disk) (Firmware, error) {
	if len(m.firmware) == 1 {
		return m.firmware[0], nil
	}
	var missing []string
	for _, kind := range m.firmware {
		mark := kind.mark()
		if mark.name == "" {
			continue
		}
		found, err := mark.on(d)
		switch {
		case err != nil:
			return "", err
		case found:
			return kind, nil
		}
		missing = append(missing, mark.name)
	}
	if len(missing) == 1 {
		return "", fmt.Errorf("it lacks %s: nothing can start it", missing[0])
	}
	return "", fmt.Errorf("it has neither %s: nothing can start it", strings.Join(missing, " nor "))
}
