package partition

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf16"

	"vmbuild/partition/filesystem"
	"vmbuild/rootfs/arch"
)

// Spec is a disk that is wanted.
type Spec struct {
	Table    string // GPT or MSDOS
	Size     int64  // bytes, rounded up to a whole sector
	Offset   int64  // bytes before the first partition, rounded up to MiB; 0: 1 MiB
	Flag     string // name of a flag for the first partition, see flags; empty: none
	Requests []Request
	Seed     [32]byte
	Arch     arch.Arch
}

const (
	mostPrimary = 4       // entries of an msdos table; logical partitions are not made
	mostEntries = 128     // of a gpt
	longestName = 36      // UTF-16 units, in a gpt
	mostSectors = 1 << 32 // of 512 bytes, that an msdos table can address: 2 TiB
	gptTail     = 33      // sectors at the end of the disk: entries and header of the second copy
	leastRest   = 1 << 20 // bytes that must be left for a partition that takes the rest
)

// Place gives every request a place, aligned to 1 MiB, a type and its identifiers. The order is that of the roles, and
// that of the requests among the same role. On an msdos disk the first partition that is mounted is active if none asked
// to be: some BIOSes start from no other disk.
func Place(s Spec) (*Layout, error) {
	l, err := s.place()
	if err != nil {
		return nil, fmt.Errorf("lay out the disk: %w", err)
	}
	return l, nil
}

func (s Spec) place() (*Layout, error) {
	requests, err := s.sorted()
	if err != nil {
		return nil, err
	}
	l := &Layout{Table: s.Table, DiskID: identity(s.Seed).disk(s.Table), Size: roundUp(s.Size, sector)}
	rest, err := s.rest(requests)
	if err != nil {
		return nil, err
	}
	start := s.first()
	for i, r := range requests {
		p := Partition{Request: r, Number: i + 1, Start: start / sector}
		size := roundUp(r.Size, mib)
		if r.Size == 0 {
			size = rest
		}
		p.Sectors = size / sector
		if err := s.identify(&p, l.DiskID); err != nil {
			return nil, err
		}
		l.Partitions = append(l.Partitions, p)
		start += size
	}
	if err := s.flag(l); err != nil {
		return nil, err
	}
	return l, nil
}

// sorted checks the requests and puts them in the order of the disk.
func (s Spec) sorted() ([]Request, error) {
	most := map[string]int{GPT: mostEntries, MSDOS: mostPrimary}[s.Table]
	if most == 0 {
		return nil, fmt.Errorf("partition table %q is not one of %s, %s", s.Table, MSDOS, GPT)
	}
	if len(s.Requests) > most {
		return nil, fmt.Errorf("an %s table has room for %d partitions, but %d are needed (%s); gpt has room for %d",
			s.Table, most, len(s.Requests), names(s.Requests), mostEntries)
	}
	if s.Table == MSDOS && s.Size > mostSectors*sector {
		return nil, fmt.Errorf("an msdos table cannot address %s, only 2 TiB; gpt can", inWords(s.Size))
	}
	if s.Offset < 0 {
		return nil, fmt.Errorf("room of %d bytes before the first partition is negative", s.Offset)
	}
	seen := map[string]bool{}
	rest := 0
	for _, r := range s.Requests {
		if err := s.check(r); err != nil {
			return nil, fmt.Errorf("partition %q: %w", r.Name, err)
		}
		if seen[r.Name] {
			return nil, fmt.Errorf("there are two partitions with the name %q", r.Name)
		}
		seen[r.Name] = true
		if r.Size == 0 {
			rest++
		}
	}
	if rest > 1 {
		return nil, errors.New("more than one partition asks for all the room that is left")
	}
	return slices.SortedStableFunc(slices.Values(s.Requests), func(a, b Request) int {
		_, i, _ := lookup(a.Role)
		_, j, _ := lookup(b.Role)
		return cmp.Compare(i, j)
	}), nil
}

func (s Spec) check(r Request) error {
	row, _, err := lookup(r.Role)
	switch {
	case err != nil:
		return err
	case r.Name == "" || len(utf16.Encode([]rune(r.Name))) > longestName:
		return fmt.Errorf("its name must have 1 to %d UTF-16 units", longestName)
	case r.Size < 0:
		return fmt.Errorf("its size of %d bytes is negative", r.Size)
	case s.Table == MSDOS && row.mbr == nil:
		return fmt.Errorf("an msdos table has no such partition: use gpt")
	case r.Filesystem == "":
		if r.Mount != "" {
			return fmt.Errorf("it is mounted on %s but has no filesystem", r.Mount)
		}
		return nil
	}
	fs, err := filesystem.Lookup(r.Filesystem)
	if err != nil {
		return err
	}
	if !fs.POSIX && (r.Role == Root || r.Role == Boot && !fs.Boot) {
		return fmt.Errorf("%s keeps no owners and links: it cannot be mounted on %s", fs.Name, r.Mount)
	}
	return nil
}

// first is the byte at which the first partition begins.
func (s Spec) first() int64 { return roundUp(max(s.Offset, 1), mib) }

// rest is how many bytes are left for the partition that takes the rest.
func (s Spec) rest(requests []Request) (int64, error) {
	end := roundUp(s.Size, sector)
	if s.Table == GPT {
		end -= gptTail * sector
	}
	room := max(end, 0)/mib*mib - s.first()
	var asked []string
	takesRest := ""
	if s.Offset > 0 {
		asked = append(asked, fmt.Sprintf("%s before the first partition", inWords(s.first())))
	}
	for _, r := range requests {
		if r.Size == 0 {
			takesRest = r.Name
			continue
		}
		size := roundUp(r.Size, mib)
		if size > math.MaxInt64/mostEntries {
			return 0, fmt.Errorf("%s of %s is absurd", cmp.Or(r.Option, r.Name), inWords(r.Size))
		}
		room -= size
		asked = append(asked, fmt.Sprintf("%s for %s", inWords(size), cmp.Or(r.Option, r.Name)))
	}
	least := int64(0)
	if takesRest != "" {
		least = leastRest
		asked = append(asked, fmt.Sprintf("at least %s for %s", inWords(least), takesRest))
	}
	if room < least {
		return 0, fmt.Errorf("%s are too few for %s: %s are missing", inWords(s.Size), list(asked), inWords(least-room))
	}
	return room, nil
}

// identify sets types and identifiers. They hang on names, not on numbers: a further partition changes no other's.
func (s Spec) identify(p *Partition, diskID string) error {
	id := identity(s.Seed)
	row, _, err := lookup(p.Role)
	if err != nil {
		return err
	}
	var fs filesystem.Filesystem
	if p.Filesystem != "" {
		if fs, err = filesystem.Lookup(p.Filesystem); err != nil {
			return err
		}
		p.UUID = id.uuid("filesystem " + p.Name)
		if fs.VolumeSerial {
			p.UUID = id.serial("filesystem " + p.Name)
		}
	}
	if s.Table == GPT {
		p.Type = row.gpt(s.Arch)
		p.GUID = id.uuid("partition " + p.Name)
		return nil
	}
	p.MBRType = row.mbr(fs, p.Bytes())
	p.GUID = fmt.Sprintf("%s-%02x", diskID, p.Number)
	return nil
}

// flag sets the wanted flag on the first partition, and makes one active where that is the custom.
func (s Spec) flag(l *Layout) error {
	if s.Flag != "" && len(l.Partitions) > 0 {
		if err := setFlag(l.Table, &l.Partitions[0], s.Flag); err != nil {
			return err
		}
	}
	active := func(p Partition) bool { return p.Active }
	if l.Table != MSDOS || slices.ContainsFunc(l.Partitions, active) {
		return nil
	}
	for i := range l.Partitions {
		if l.Partitions[i].Mount != "" {
			l.Partitions[i].Active = true
			break
		}
	}
	return nil
}

func names(requests []Request) string {
	var all []string
	for _, r := range requests {
		all = append(all, r.Name)
	}
	return strings.Join(all, ", ")
}

// list joins words as a sentence does.
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// inWords gives a size in the largest unit that divides it.
func inWords(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.size && n%u.size == 0 {
			return fmt.Sprintf("%d %s", n/u.size, u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }
