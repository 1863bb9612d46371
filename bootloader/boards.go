package bootloader

import (
	"cmp"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"vmbuild/partition"
)

// Board is a row of the table of boards that U-Boot starts from a card.
type Board struct {
	Name       string
	Title      string // what its device tree calls the board
	Page       string // that tells where the parts go
	Arch       string // Debian architecture
	Since      string // codename of the first release whose package has the parts
	Package    string // of Debian, that has them
	Parts      []Part // of U-Boot
	Partitions []partition.Request
	Tables     []string // kinds of partition table that leave room for the parts, the default first
	Offset     int64    // byte at which the first partition may begin; 0: where it usually does
	Console    string   // device of the serial port below /dev
	Speed      int      // of the port, in bits per second; 0: 115200
	Kernel     string   // metapackage of its kernel; empty: the architecture's
	Tree       string   // its device tree, or that of one of its kinds, below /usr/lib/linux-image-VERSION
	Named      bool     // the menu names Tree, where U-Boot would take that of another board
}

// Part is a file of the package and the place where the board's ROM, or the part before it, looks for it.
type Part struct {
	File   string // below /usr/lib/u-boot
	Offset int64  // byte on the disk
	In     string // name of the partition it is on: as a file, or from the first byte on if that has no filesystem; empty: none
}

const loaderDir = "usr/lib/u-boot"

// Boards returns the table's rows.
func Boards() []Board { return slices.Clone(boards) }

// BoardNames returns the rows' names, sorted, for help texts and choices.
func BoardNames() []string {
	var names []string
	for _, b := range boards {
		names = append(names, b.Name)
	}
	slices.Sort(names)
	return names
}

// LookupBoard returns the row with that name.
func LookupBoard(name string) (Board, error) {
	for _, b := range boards {
		if b.Name == name {
			return b, nil
		}
	}
	return Board{}, fmt.Errorf("board %q is not one of %s", name, strings.Join(BoardNames(), ", "))
}

// copyParts puts the parts that are files where their filesystem is mounted.
func (b Board) copyParts(t Target) error {
	root, err := os.OpenRoot(t.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, p := range b.Parts {
		holder, _ := b.partition(t.Layout, p)
		if holder.Mount == "" {
			continue
		}
		data, err := root.ReadFile(path.Join(loaderDir, p.File))
		if err != nil {
			return err
		}
		dir := inside(holder.Mount)
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := root.WriteFile(path.Join(dir, path.Base(p.File)), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// embed writes the other parts to the disk, once it is clear that there is room for all of them.
func (b Board) embed(t Target, disk Disk) error {
	root, err := os.OpenRoot(t.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	var blocks []block
	for _, p := range b.Parts {
		holder, found := b.partition(t.Layout, p)
		if holder.Mount != "" {
			continue
		}
		data, err := root.ReadFile(path.Join(loaderDir, p.File))
		if err != nil {
			return err
		}
		if p.In != "" && !found {
			return fmt.Errorf("the layout has no partition %q for %s", p.In, p.File)
		}
		blocks = append(blocks, block{file: p.File, in: holder, start: holder.Offset() + p.Offset, data: data})
	}
	if err := checkRoom(blocks, t.Layout); err != nil {
		return err
	}
	for _, p := range blocks {
		if _, err := disk.WriteAt(p.data, p.start); err != nil {
			return err
		}
	}
	return nil
}

// partition is the one that a part is on.
func (b Board) partition(l *partition.Layout, p Part) (partition.Partition, bool) {
	for _, candidate := range l.Partitions {
		if p.In != "" && candidate.Name == p.In {
			return candidate, true
		}
	}
	return partition.Partition{}, false
}

// block is a part with its place on the disk.
type block struct {
	file  string
	in    partition.Partition // zero: none
	start int64
	data  []byte
}

func (p block) end() int64 { return p.start + int64(len(p.data)) }

func (p block) String() string {
	return fmt.Sprintf("%s, %d bytes from byte %d on,", p.file, len(p.data), p.start)
}

// Where the partition table ends: an msdos one with its sector; a gpt with 128 entries after two sectors (UEFI 2.10, 5.3.1).
const (
	msdosEnd = sector
	gptEnd   = 34 * sector
)

// checkRoom refuses blocks that lie over the partition table, over a partition that is not theirs, or over one another.
func checkRoom(blocks []block, l *partition.Layout) error {
	begin, end := int64(msdosEnd), l.Size
	if l.Table == partition.GPT {
		begin = gptEnd
	}
	for _, p := range l.Partitions {
		end = min(end, p.Offset())
	}
	sorted := slices.SortedFunc(slices.Values(blocks), func(a, b block) int { return cmp.Compare(a.start, b.start) })
	for i, p := range sorted {
		switch {
		case p.in.Name != "" && p.end() > p.in.Offset()+p.in.Bytes():
			return fmt.Errorf("%v goes beyond partition %q, which has %d bytes", p, p.in.Name, p.in.Bytes())
		case p.in.Name == "" && p.start < begin:
			return fmt.Errorf("%v lies over the partition table, which ends at byte %d", p, begin)
		case p.in.Name == "" && p.end() > end:
			return fmt.Errorf("%v goes beyond byte %d, where the first partition begins", p, end)
		case i > 0 && p.start < sorted[i-1].end():
			return fmt.Errorf("%v lies over %s, which ends at byte %d", p, sorted[i-1].file, sorted[i-1].end())
		}
	}
	return nil
}
