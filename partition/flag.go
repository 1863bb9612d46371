package partition

import (
	"fmt"
	"strings"
)

// flags are those of parted(8), by which vmdebootstrap's users know them, as far as they mean something for a partition
// that Debian starts from. A nil function: the table has no such flag.
var flags = []struct {
	name  string
	msdos func(*Partition)
	gpt   func(*Partition)
}{
	{"boot", activate, setType("C12A7328-F81F-11D2-BA4B-00A0C93EC93B")}, // on gpt parted's "boot" is its "esp"
	{"esp", setMBRType(0xef), setType("C12A7328-F81F-11D2-BA4B-00A0C93EC93B")},
	{"legacy_boot", nil, activate},
	{"bios_grub", nil, setType("21686148-6449-6E6F-744E-656564454649")},
	{"bls_boot", setMBRType(0xea), setType("BC13C2FF-59E6-4262-A352-B275FD6F7172")},
	{"swap", setMBRType(0x82), setType("0657FD6D-A4AB-43C4-84E5-0933C84B4F4F")},
	{"raid", setMBRType(0xfd), setType("A19D880F-05FC-4D3B-A006-743F0F84911E")},
	{"lvm", setMBRType(0x8e), setType("E6D6D379-F507-44C2-A23C-238F2A3DF928")},
	{"prep", setMBRType(0x41), setType("9E1A2D38-C612-4316-AA26-8B49521E5A8B")},
	{"lba", addressByLBA, nil},
}

func activate(p *Partition)                   { p.Active = true }
func setType(guid string) func(*Partition)    { return func(p *Partition) { p.Type = guid } }
func setMBRType(number byte) func(*Partition) { return func(p *Partition) { p.MBRType = number } }

// addressByLBA turns a FAT type into the one that asks for LBA; other filesystems have one type only.
func addressByLBA(p *Partition) {
	if to, ok := map[byte]byte{0x06: 0x0e, 0x0b: 0x0c}[p.MBRType]; ok {
		p.MBRType = to
	}
}

// FlagNames returns the flags that a table knows.
func FlagNames(table string) []string {
	var names []string
	for _, f := range flags {
		if table == MSDOS && f.msdos != nil || table == GPT && f.gpt != nil {
			names = append(names, f.name)
		}
	}
	return names
}

func setFlag(table string, p *Partition, name string) error {
	for _, f := range flags {
		set := f.gpt
		if table == MSDOS {
			set = f.msdos
		}
		if f.name == name && set != nil {
			set(p)
			return nil
		}
	}
	return fmt.Errorf("flag %q is not one of %s, those of an %s table", name, strings.Join(FlagNames(table), ", "), table)
}
