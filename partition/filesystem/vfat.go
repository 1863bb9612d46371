package filesystem

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"vmbuild/rootfs/tree"
)

const (
	entrySize   = 32
	mostEntries = 65536     // of a directory: 2 MiB
	mostBytes   = 1<<32 - 1 // of a file

	attributeLabel     = 0x08
	attributeLong      = 0x0f
	attributeDirectory = 0x10
	attributeArchive   = 0x20
)

// entry is a file or directory to be written.
type entry struct {
	name     string // "." for the root
	path     string // below the directory that becomes the root
	short    shortName
	long     bool // name needs entries of its own
	dir      bool
	size     int64 // bytes; of directories too
	modified time.Time
	parent   *entry
	children []*entry
	cluster  int64 // first one; 0: none
	clusters int64
}

// volume is a FAT volume in the making.
type volume struct {
	geometry
	job    Job
	serial uint32
	label  string
	root   *entry
	order  []*entry // those that have clusters, in the order of these
	used   int64    // clusters
}

// makeVFAT writes a FAT volume with the files and directories of a directory of the tree, all in the order of the disk:
// every file lies in one piece, so the allocation table is known before the first byte is copied.
func makeVFAT(ctx context.Context, j Job) error {
	source, err := openDir(j.Tree, j.Dir)
	if err != nil {
		return err
	}
	defer source.Close()
	v, err := planVolume(j, source)
	if err != nil {
		return err
	}
	if err := v.writeTables(); err != nil {
		return err
	}
	for _, e := range v.order {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := v.writeEntry(source, e); err != nil {
			return err
		}
	}
	return nil
}

// openDir opens a directory of the tree; no link in it leads out of the tree.
func openDir(t *tree.Tree, dir string) (*os.Root, error) {
	root, err := os.OpenRoot(t.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.OpenRoot(path.Join(".", dir))
}

func planVolume(j Job, source *os.Root) (*volume, error) {
	v := &volume{job: j}
	var err error
	if v.serial, err = parseSerial(j.UUID); err != nil {
		return nil, err
	}
	if v.label, err = volumeLabel(j.Label); err != nil {
		return nil, err
	}
	for _, d := range j.Tree.Devices {
		if strings.HasPrefix(d.Path, strings.TrimSuffix(j.Dir, "/")+"/") {
			return nil, fmt.Errorf("%s is a device: vfat holds files and directories only", d.Path)
		}
	}
	if v.root, err = v.read(source, ".", nil); err != nil {
		return nil, err
	}
	if v.geometry, err = newGeometry(j.Size, v.root.size/entrySize); err != nil {
		return nil, err
	}
	v.place(v.root)
	if missing := v.used - v.clusters; missing > 0 {
		return nil, fmt.Errorf("the files below %s need %d bytes more than the %d of the partition",
			j.Dir, missing*v.clusterSize(), j.Size)
	}
	return v, nil
}

// read lists a directory, recursively and sorted by name.
func (v *volume) read(source *os.Root, name string, parent *entry) (*entry, error) {
	info, err := source.Stat(name)
	if err != nil {
		return nil, err
	}
	dir := &entry{name: path.Base(name), path: name, dir: true, modified: info.ModTime(), parent: parent}
	if parent != nil && v.job.excluded(path.Join(v.job.Dir, name)) {
		dir.size = dir.listingSize(v.label)
		return dir, nil
	}
	list, err := fs.ReadDir(source.FS(), name)
	if err != nil {
		return nil, err
	}
	for _, item := range list {
		child, err := v.readItem(source, path.Join(name, item.Name()), item, dir)
		if err != nil {
			return nil, err
		}
		dir.children = append(dir.children, child)
	}
	if err := nameEntries(dir.children); err != nil {
		return nil, fmt.Errorf("directory %s: %w", path.Join(v.job.Dir, name), err)
	}
	dir.size = dir.listingSize(v.label)
	if dir.size > mostEntries*entrySize {
		return nil, fmt.Errorf("directory %s: too many names for vfat", path.Join(v.job.Dir, name))
	}
	return dir, nil
}

func (v *volume) readItem(source *os.Root, name string, item fs.DirEntry, parent *entry) (*entry, error) {
	if item.IsDir() {
		return v.read(source, name, parent)
	}
	info, err := item.Info()
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if file, err := source.Stat(name); err == nil && file.Mode().IsRegular() {
			info = file // a copy of the file serves who follows the link
		}
	}
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is a %s: vfat holds files and directories only",
			path.Join(v.job.Dir, name), kindOf(info.Mode()))
	case info.Size() > mostBytes:
		return nil, fmt.Errorf("%s has %d bytes: vfat holds files below 4 GiB only",
			path.Join(v.job.Dir, name), info.Size())
	}
	return &entry{name: item.Name(), path: name, size: info.Size(), modified: info.ModTime(), parent: parent}, nil
}

func kindOf(m fs.FileMode) string {
	switch m.Type() {
	case fs.ModeSymlink:
		return "symbolic link"
	case fs.ModeNamedPipe:
		return "named pipe"
	case fs.ModeSocket:
		return "socket"
	}
	return "device"
}

// listingSize is the size of a directory: its own two entries, or the root's label, and those of its children.
func (e *entry) listingSize(label string) int64 {
	entries := 2
	if e.parent == nil {
		entries = 0
		if label != "" {
			entries = 1
		}
	}
	for _, c := range e.children {
		entries++
		if c.long {
			entries += len(longEntries(c.name, 0)) / entrySize
		}
	}
	return int64(entries) * entrySize
}

// place gives clusters to e and all below it. Empty files get none; an empty directory has one, and the root of FAT12
// and FAT16 lies outside.
func (v *volume) place(e *entry) {
	e.clusters = ceil(e.size, v.clusterSize())
	if e.parent == nil {
		e.clusters = max(e.clusters, 1)
		if v.bits != 32 {
			e.clusters = 0
		}
	}
	if e.clusters > 0 {
		e.cluster = 2 + v.used
		v.used += e.clusters
		v.order = append(v.order, e)
	}
	for _, c := range e.children {
		v.place(c)
	}
}

// writeTables writes what comes before the first cluster.
func (v *volume) writeTables() error {
	if err := v.write(v.reservedArea(), 0); err != nil {
		return err
	}
	table := v.allocation()
	for copied := range int64(2) {
		if err := v.write(table, (v.reserved+copied*v.table)*sectorSize); err != nil {
			return err
		}
	}
	if v.bits == 32 {
		return nil
	}
	return v.write(v.listing(v.root), v.geometry.root()*sectorSize)
}

func (v *volume) writeEntry(source *os.Root, e *entry) error {
	if e.dir {
		return v.write(v.listing(e), v.byteOf(e.cluster))
	}
	f, err := source.Open(e.path)
	if err != nil {
		return err
	}
	defer f.Close()
	to := io.NewOffsetWriter(v.job.Disk, v.job.Offset+v.byteOf(e.cluster))
	n, err := io.Copy(to, io.LimitReader(f, e.size))
	if err == nil && n != e.size {
		err = fmt.Errorf("%s became shorter while it was copied", path.Join(v.job.Dir, e.path))
	}
	return err
}

// write writes at an offset within the volume.
func (v *volume) write(b []byte, at int64) error {
	_, err := v.job.Disk.WriteAt(b, v.job.Offset+at)
	return err
}

// reservedArea is the boot sector and, on FAT32, the information sector and the copies of both in sectors 6 and 7.
func (v *volume) reservedArea() []byte {
	boot := v.bootSector()
	if v.bits != 32 {
		return boot
	}
	info := v.infoSector()
	area := make([]byte, 8*sectorSize)
	for i, sector := range map[int][]byte{0: boot, 1: info, 6: boot, 7: info} {
		copy(area[i*sectorSize:], sector)
	}
	return area
}

// bootSector is, with FAT32's values where they differ in place,
//
//	offset  bytes  field
//	0       3      jump to the code
//	3       8      OEM name; "MSWIN4.1" is what the specification advises
//	11      2      bytes of a sector
//	13      1      sectors of a cluster
//	14      2      reserved sectors
//	16      1      allocation tables
//	17      2      entries of the root directory; FAT32: 0
//	19      2      sectors, if they fit; FAT32: 0
//	21      1      media, 0xf8: fixed disk
//	22      2      sectors of an allocation table; FAT32: 0
//	24      2, 2   sectors of a track, heads
//	28      4      sectors before the volume
//	32      4      sectors, if they did not fit at 19
//	36      4      FAT32: sectors of an allocation table
//	40      4      FAT32: flags 0 (both tables are kept), version 0
//	44      4      FAT32: first cluster of the root directory
//	48      2, 2   FAT32: sector of the information, sector of the copy of this one
//	36, 64  1      BIOS drive; the first number is that of FAT12 and FAT16, the second FAT32's
//	38, 66  1      0x29: the next three are there
//	39, 67  4      serial number
//	43, 71  11     label
//	54, 82  8      "FAT12", "FAT16", "FAT32", padded with spaces
//	62, 90         code
//	510     2      55 aa
//
// Bytes 446 to 509 stay zero: some programs, GRUB among them, take them for a partition table.
func (v *volume) bootSector() []byte {
	b := make([]byte, sectorSize)
	le := binary.LittleEndian
	copy(b[3:], "MSWIN4.1")
	le.PutUint16(b[11:], sectorSize)
	b[13] = byte(v.perCluster)
	le.PutUint16(b[14:], uint16(v.reserved))
	b[16] = 2
	le.PutUint16(b[17:], uint16(v.rootEntries))
	if v.sectors < 1<<16 && v.bits != 32 {
		le.PutUint16(b[19:], uint16(v.sectors))
	} else {
		le.PutUint32(b[32:], uint32(v.sectors))
	}
	b[21] = media
	le.PutUint16(b[24:], 63)
	le.PutUint16(b[26:], 255)
	le.PutUint32(b[28:], uint32(v.job.Offset/sectorSize))
	rest := 36
	if v.bits == 32 {
		le.PutUint32(b[36:], uint32(v.table))
		le.PutUint32(b[44:], uint32(v.root.cluster))
		le.PutUint16(b[48:], 1)
		le.PutUint16(b[50:], 6)
		rest = 64
	} else {
		le.PutUint16(b[22:], uint16(v.table))
	}
	b[rest] = 0x80
	b[rest+2] = 0x29
	le.PutUint32(b[rest+3:], v.serial)
	copy(b[rest+7:], fmt.Sprintf("%-11s", bootLabel(v.label)))
	copy(b[rest+18:], fmt.Sprintf("FAT%-5d", v.bits))
	code := rest + 26
	copy(b[:], []byte{0xeb, byte(code - 2), 0x90})
	copy(b[code:], noSystem)
	copy(b[510:], []byte{0x55, 0xaa})
	return b
}

// media is "fixed disk". It is also the low byte of the first entry of the allocation table.
const media = 0xf8

// noSystem lets the BIOS try the next disk: int 0x18; then, where that returns, hlt for ever.
var noSystem = []byte{0xcd, 0x18, 0xf4, 0xeb, 0xfd}

// bootLabel gives what the boot sector says for a volume without a label.
func bootLabel(label string) string {
	if label == "" {
		return "NO NAME"
	}
	return label
}

// infoSector holds what FAT32 knows of its free clusters: at 488 their number, at 492 where to look first.
func (v *volume) infoSector() []byte {
	b := make([]byte, sectorSize)
	copy(b, "RRaA")
	copy(b[484:], "rrAa")
	binary.LittleEndian.PutUint32(b[488:], uint32(v.clusters-v.used))
	binary.LittleEndian.PutUint32(b[492:], uint32(2+min(v.used, v.clusters-1)))
	copy(b[510:], []byte{0x55, 0xaa})
	return b
}

// allocation gives the part of the allocation table that is not zero. Entry 0 has the media byte, entry 1 the mark of a
// clean volume; each other one the next cluster of its chain, or the end mark.
func (v *volume) allocation() []byte {
	end := uint32(1)<<min(v.bits, 28) - 1
	values := []uint32{end&^0xff | media, end}
	for _, e := range v.order {
		for next := e.cluster + 1; next < e.cluster+e.clusters; next++ {
			values = append(values, uint32(next))
		}
		values = append(values, end)
	}
	return pack(values, v.bits)
}

// pack puts values of so many bits one after the other.
func pack(values []uint32, bits int) []byte {
	b := make([]byte, ceil(int64(len(values)*bits), 8))
	for i, x := range values {
		switch at := i * bits / 8; {
		case bits == 32:
			binary.LittleEndian.PutUint32(b[at:], x)
		case bits == 16:
			binary.LittleEndian.PutUint16(b[at:], uint16(x))
		case i%2 == 0:
			b[at], b[at+1] = byte(x), byte(x>>8)
		default:
			b[at] |= byte(x << 4)
			b[at+1] = byte(x >> 4)
		}
	}
	return b
}

// listing gives the bytes of a directory.
func (v *volume) listing(dir *entry) []byte {
	var b []byte
	switch {
	case dir.parent != nil:
		b = append(b, v.shortEntry(join(".", ""), dir)...)
		b = append(b, v.shortEntry(join("..", ""), dir.parent)...)
	case v.label != "":
		label := v.shortEntry(shortName([]byte(fmt.Sprintf("%-11s", v.label))), dir)
		label[11] = attributeLabel
		b = append(b, label...)
	}
	for _, c := range dir.children {
		if c.long {
			b = append(b, longEntries(c.name, c.short.sum())...)
		}
		b = append(b, v.shortEntry(c.short, c)...)
	}
	return b
}

// shortEntry is
//
//	offset  bytes  field
//	0       11     short name
//	11      1      attributes
//	13      1      hundredths of a second of the creation
//	14      2, 2   time and date of the creation
//	18      2      date of the last access
//	20      2      first cluster, high half
//	22      2, 2   time and date of the last change
//	26      2      first cluster, low half
//	28      4      bytes; of a directory 0
//
// The root is cluster 0 to its children, wherever it lies.
func (v *volume) shortEntry(name shortName, e *entry) []byte {
	b := make([]byte, entrySize)
	le := binary.LittleEndian
	copy(b, name[:])
	date, clock := fatTime(v.job.clamp(e.modified))
	le.PutUint16(b[14:], clock)
	le.PutUint16(b[16:], date)
	le.PutUint16(b[18:], date)
	le.PutUint16(b[22:], clock)
	le.PutUint16(b[24:], date)
	if e.parent != nil {
		le.PutUint16(b[20:], uint16(e.cluster>>16))
		le.PutUint16(b[26:], uint16(e.cluster))
	}
	b[11] = attributeDirectory
	if !e.dir {
		b[11] = attributeArchive
		le.PutUint32(b[28:], uint32(e.size))
	}
	return b
}

// fatTime gives a time in UTC, to 2 seconds; FAT knows the years 1980 to 2107.
func fatTime(t time.Time) (date, clock uint16) {
	first := time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	last := time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC)
	t = slices.MinFunc([]time.Time{slices.MaxFunc([]time.Time{t.UTC(), first}, time.Time.Compare), last}, time.Time.Compare)
	date = uint16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day())
	clock = uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
	return date, clock
}

// parseSerial reads a serial number as blkid(8) prints it.
func parseSerial(s string) (uint32, error) {
	b, err := hex.DecodeString(strings.Replace(s, "-", "", 1))
	if err != nil || len(s) != 9 || s[4] != '-' {
		return 0, fmt.Errorf("%q is not a FAT serial number as in 12AB-34CD", s)
	}
	return binary.BigEndian.Uint32(b), nil
}

// volumeLabel gives a label as it is stored, in upper case.
func volumeLabel(s string) (string, error) {
	odd := func(r rune) bool { return r < ' ' || r > '~' || strings.ContainsRune(`"*+,./:;<=>?[\]|`, r) }
	if len(s) > 11 || strings.ContainsFunc(s, odd) {
		return "", fmt.Errorf("%q is not a FAT label: at most 11 letters, digits and some signs", s)
	}
	return strings.ToUpper(s), nil
}
