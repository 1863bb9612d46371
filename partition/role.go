package partition

import (
	"fmt"

	"vmbuild/partition/filesystem"
	"vmbuild/rootfs/arch"
)

// role is a row of the table.
type role struct {
	Role
	gpt func(arch.Arch) string                  // type in a gpt
	mbr func(filesystem.Filesystem, int64) byte // type in an msdos table, of a filesystem of that many bytes
}

// roles are in the order that the partitions get on the disk. The ESP comes first, since firmware of some boards looks
// at the first partition only; root comes last, so that it can grow with the disk.
//
// How to add one: a constant in layout.go and a row here, with its GUID from the UEFI specification or the Discoverable
// Partitions Specification; then go test ./partition/... .
var roles = []role{
	{ESP, always("C12A7328-F81F-11D2-BA4B-00A0C93EC93B"), func(filesystem.Filesystem, int64) byte { return 0xef }},
	{FSBL, always("5B193300-FC78-40CD-8002-E86C45580B47"), nil},
	{BBL, always("2E54B353-1271-4842-806F-E436D6AF6985"), nil},
	{Firmware, always("EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"), mbrOf},
	{BIOSBoot, always("21686148-6449-6E6F-744E-656564454649"), nil},
	{PReP, always("9E1A2D38-C612-4316-AA26-8B49521E5A8B"), func(filesystem.Filesystem, int64) byte { return 0x41 }},
	{Boot, always("BC13C2FF-59E6-4262-A352-B275FD6F7172"), mbrOf},
	{Swap, always("0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"), mbrOf},
	{Root, func(a arch.Arch) string { return a.RootGUID }, mbrOf},
}

func always(guid string) func(arch.Arch) string { return func(arch.Arch) string { return guid } }

func mbrOf(fs filesystem.Filesystem, size int64) byte {
	if fs.MBRType == nil {
		return 0x83
	}
	return fs.MBRType(size)
}

// lookup returns a role's row and its place in the order.
func lookup(name Role) (role, int, error) {
	for i, r := range roles {
		if r.Role == name {
			return r, i, nil
		}
	}
	return role{}, 0, fmt.Errorf("partition role %q is unknown", name)
}
