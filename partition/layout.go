// Package partition says what lies where on a disk: requests become a Layout by arithmetic alone, and a Layout becomes
// the bytes of a partition table. Place touches neither disk nor network, so that a plan can say that a disk is too
// small before anything is downloaded, and fstab can name filesystems that do not exist yet.
//
// Every identifier is derived from a seed: the same spec gives the same Layout, and the same Layout the same bytes.
// Devices are unknown here; nothing is asked of the host.
package partition

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"vmbuild/partition/filesystem"
	"vmbuild/rootfs/system"
)

const (
	sector = 512
	mib    = 1 << 20
)

// The kinds of partition table.
const (
	GPT   = "gpt"
	MSDOS = "msdos"
)

// Role is what a partition is for.
type Role string

// The roles, see the table in role.go.
const (
	ESP      Role = "esp"
	FSBL     Role = "fsbl"     // program that the ROM of a SiFive board starts
	BBL      Role = "bbl"      // program that comes after it there, and that the ROM of a StarFive board starts
	Firmware Role = "firmware" // files that a board's firmware reads
	BIOSBoot Role = "bios-boot"
	PReP     Role = "prep" // program that Open Firmware starts
	Boot     Role = "boot"
	Swap     Role = "swap"
	Root     Role = "root"
)

// Request is a partition that someone wants.
type Request struct {
	Name       string `json:"name"` // unique on the disk; the name in a gpt, at most 36 UTF-16 units
	Role       Role   `json:"role"`
	Size       int64  `json:"size,omitempty"`       // bytes, rounded up to MiB; 0: all that the others leave
	Filesystem string `json:"filesystem,omitempty"` // a row of package filesystem; empty: none
	Mount      string `json:"mount,omitempty"`      // mount point; empty: not mounted
	Active     bool   `json:"active,omitempty"`     // msdos: flag 0x80; gpt: attribute "legacy BIOS bootable"
	Option     string `json:"-"`                    // how the user asked for it, as "--swap", for messages
}

// Partition is a request that has got its place and its identity.
type Partition struct {
	Request
	Number  int    `json:"number"`            // from 1
	Start   int64  `json:"start"`             // in sectors of 512 bytes
	Sectors int64  `json:"sectors"`           //
	GUID    string `json:"guid"`              // PARTUUID: of a gpt partition its GUID, of an msdos one disk-number
	UUID    string `json:"uuid,omitempty"`    // of the filesystem, as blkid(8) prints it
	Type    string `json:"type,omitempty"`    // GUID; gpt only
	MBRType byte   `json:"mbrType,omitempty"` // msdos only
}

// Layout is a disk.
type Layout struct {
	Table      string      `json:"table"`
	DiskID     string      `json:"diskID"` // a GUID, or for msdos 8 hex digits
	Size       int64       `json:"size"`   // bytes, a multiple of 512
	Partitions []Partition `json:"partitions"`
}

// Offset is the first byte of the partition.
func (p Partition) Offset() int64 { return p.Start * sector }

// Bytes is the size of the partition.
func (p Partition) Bytes() int64 { return p.Sectors * sector }

// With returns the first partition of that role.
func (l *Layout) With(role Role) (Partition, bool) {
	for _, p := range l.Partitions {
		if p.Role == role {
			return p, true
		}
	}
	return Partition{}, false
}

// Holding returns the partition on which a path of the system lies, and the path within its filesystem.
func (l *Layout) Holding(name string) (Partition, string, bool) {
	var best Partition
	found := false
	for _, p := range l.Partitions {
		if p.Mount != "" && contains(p.Mount, name) && len(p.Mount) > len(best.Mount) {
			best, found = p, true
		}
	}
	return best, path.Join("/", strings.TrimPrefix(name, best.Mount)), found
}

// Below returns the mount points inside a directory, but not the directory itself: what a filesystem for that directory
// leaves to others.
func (l *Layout) Below(dir string) []string {
	var points []string
	for _, m := range l.Mounts() {
		if m.Dir != dir && contains(dir, m.Dir) {
			points = append(points, m.Dir)
		}
	}
	return points
}

// Mounts returns the lines of fstab(5): filesystems in the order in which they are mounted, then swap.
func (l *Layout) Mounts() []system.Mount {
	var mounts []system.Mount
	for _, p := range l.Partitions {
		fs, err := filesystem.Lookup(p.Filesystem)
		if err != nil || p.Mount == "" && p.Role != Swap {
			continue
		}
		m := system.Mount{Source: "UUID=" + p.UUID, Dir: p.Mount, Type: fs.Name, Options: fs.Options, Pass: 2}
		switch {
		case p.Role == Swap:
			m.Dir, m.Pass = "none", 0
		case fs.NoCheck:
			m.Pass = 0
		case p.Mount == "/":
			m.Pass = 1
		}
		mounts = append(mounts, m)
	}
	slices.SortFunc(mounts, func(a, b system.Mount) int {
		return cmp.Or(compareBool(a.Dir == "none", b.Dir == "none"), cmp.Compare(a.Dir, b.Dir))
	})
	return mounts
}

// contains says whether a path of the system is dir or below it.
func contains(dir, name string) bool {
	return dir == name || strings.HasPrefix(name, strings.TrimSuffix(dir, "/")+"/")
}

// compareBool orders false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
