package ext4

import "fmt"

// features are the three words of them in the superblock: those that may be ignored, those without which nothing can be
// read, and those without which nothing can be written.
type features struct {
	compatible, incompatible, readOnly uint32
}

const (
	hasJournal     = 0x4
	hasResizeInode = 0x10
	hasOrphanFile  = 0x1000
	has64Bit       = 0x80
	hasCsumSeed    = 0x2000
	hasChecksums   = 0x400
)

// known are mke2fs's features of an ext4, in the order of dumpe2fs(8). Those that the rest of this package is built on are
// fixed.
var known = []struct {
	name  string
	bits  features
	fixed bool
}{
	{name: "has_journal", bits: features{compatible: hasJournal}},
	{name: "ext_attr", bits: features{compatible: 0x8}, fixed: true},
	{name: "resize_inode", bits: features{compatible: hasResizeInode}},
	{name: "dir_index", bits: features{compatible: 0x20}},
	{name: "orphan_file", bits: features{compatible: hasOrphanFile}},
	{name: "filetype", bits: features{incompatible: 0x2}, fixed: true},
	{name: "extent", bits: features{incompatible: 0x40}, fixed: true},
	{name: "64bit", bits: features{incompatible: has64Bit}},
	{name: "flex_bg", bits: features{incompatible: 0x200}, fixed: true},
	{name: "metadata_csum_seed", bits: features{incompatible: hasCsumSeed}},
	{name: "sparse_super", bits: features{readOnly: 0x1}, fixed: true},
	{name: "large_file", bits: features{readOnly: 0x2}, fixed: true},
	{name: "huge_file", bits: features{readOnly: 0x8}, fixed: true},
	{name: "dir_nlink", bits: features{readOnly: 0x20}, fixed: true},
	{name: "extra_isize", bits: features{readOnly: 0x40}, fixed: true},
	{name: "metadata_csum", bits: features{readOnly: hasChecksums}},
}

// newFeatures gives all of them but some. What makes no sense without another goes with it.
func newFeatures(without []string) (features, error) {
	var f features
	for _, row := range known {
		f = f.plus(row.bits)
	}
	for _, name := range without {
		if err := f.drop(name); err != nil {
			return f, err
		}
	}
	if !f.checksums() {
		f.incompatible &^= hasCsumSeed
	}
	if !f.journal() {
		f.compatible &^= hasOrphanFile
	}
	return f, nil
}

func (f *features) drop(name string) error {
	for _, row := range known {
		switch {
		case row.name != name:
		case row.fixed:
			return fmt.Errorf("feature %s cannot be left out", name)
		default:
			f.compatible &^= row.bits.compatible
			f.incompatible &^= row.bits.incompatible
			f.readOnly &^= row.bits.readOnly
			return nil
		}
	}
	return nil // it is not there anyway
}

func (f features) plus(g features) features {
	return features{f.compatible | g.compatible, f.incompatible | g.incompatible, f.readOnly | g.readOnly}
}

func (f features) journal() bool   { return f.compatible&hasJournal != 0 }
func (f features) orphans() bool   { return f.compatible&hasOrphanFile != 0 }
func (f features) resizes() bool   { return f.compatible&hasResizeInode != 0 }
func (f features) checksums() bool { return f.readOnly&hasChecksums != 0 }

// descriptorLength is that of a block group, in bytes.
func (f features) descriptorLength() int64 {
	if f.incompatible&has64Bit != 0 {
		return 64
	}
	return 32
}
