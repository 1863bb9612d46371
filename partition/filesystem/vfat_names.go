package filesystem

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	longUnits    = 13  // UTF-16 units of a name in one long-name entry
	longestName  = 255 // UTF-16 units
	shortSymbols = "$%'-_@~`!(){}^#&"
)

// shortName is a name as a directory entry has it: 8 bytes and 3 of extension, padded with spaces, no dot.
type shortName [11]byte

// nameEntries gives each entry of one directory its short name. Names that differ only in case are one name to FAT and
// an error, as is a name that FAT cannot hold.
func nameEntries(entries []*entry) error {
	seen := map[string]string{}
	used := map[shortName]bool{}
	var tailed []*entry
	for _, e := range entries {
		if err := checkLongName(e.name); err != nil {
			return err
		}
		folded := strings.ToUpper(e.name)
		if other, twice := seen[folded]; twice {
			return fmt.Errorf("names %q and %q differ only in case", other, e.name)
		}
		seen[folded] = e.name
		base, extension, exact := shorten(e.name)
		if !exact {
			tailed = append(tailed, e)
			continue
		}
		e.short = join(base, extension)
		e.long = e.name != folded
		used[e.short] = true
	}
	return addTails(tailed, used)
}

// addTails gives the names that need it a number at the end: LONGNA~1.TXT. All names that need none are in used already,
// so that a file is found under its own name whatever its neighbours are called.
func addTails(entries []*entry, used map[shortName]bool) error {
	last := map[string]int{}
	for _, e := range entries {
		e.long = true
		base, extension, _ := shorten(e.name)
		for n := last[base+"."+extension] + 1; ; n++ {
			tail := fmt.Sprintf("~%d", n)
			if len(tail) > 7 {
				return fmt.Errorf("too many names are like %q", e.name)
			}
			e.short = join(base[:min(len(base), 8-len(tail))]+tail, extension)
			if !used[e.short] {
				used[e.short] = true
				last[base+"."+extension] = n
				break
			}
		}
	}
	return nil
}

// shorten gives the basis name of fatgen103 ("The Basis-Name Generation Algorithm"): upper case, without spaces and
// without dots but the last, strange characters replaced. It is exact if nothing but case was changed.
func shorten(name string) (base, extension string, exact bool) {
	trimmed := strings.TrimLeft(name, ".")
	base = trimmed
	if dot := strings.LastIndexByte(trimmed, '.'); dot >= 0 {
		base, extension = trimmed[:dot], trimmed[dot+1:]
	}
	base, baseExact := shortPart(base, 8)
	extension, extensionExact := shortPart(extension, 3)
	return base, extension, baseExact && extensionExact && trimmed == name
}

func shortPart(part string, length int) (short string, exact bool) {
	exact = true
	var b strings.Builder
	for _, r := range part {
		switch {
		case r == ' ' || r == '.':
			exact = false
		case r >= 'a' && r <= 'z':
			b.WriteRune(r - 'a' + 'A')
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune(shortSymbols, r):
			b.WriteRune(r)
		default:
			exact = false
			b.WriteByte('_')
		}
	}
	short = b.String()
	if len(short) > length {
		return short[:length], false
	}
	return short, exact
}

func join(base, extension string) shortName {
	var s shortName
	copy(s[:], fmt.Sprintf("%-8s%-3s", base, extension))
	return s
}

// checkLongName says what vfat cannot keep of a name. Trailing dots and spaces are among it: readers strip them.
func checkLongName(name string) error {
	switch {
	case !utf8.ValidString(name):
		return fmt.Errorf("name %q is not UTF-8", name)
	case strings.ContainsAny(name, `"*/:<>?\|`) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }):
		return fmt.Errorf("name %q has a character that vfat cannot store", name)
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		return fmt.Errorf("name %q ends in a dot or space, which vfat does not keep", name)
	case len(utf16.Encode([]rune(name))) > longestName:
		return fmt.Errorf("name %q is longer than %d UTF-16 units", name, longestName)
	}
	return nil
}

// sum is the check sum of a short name that ties the entries of its long name to it.
func (s shortName) sum() byte {
	var sum byte
	for _, c := range s {
		sum = sum<<7 + sum>>1 + c
	}
	return sum
}

// longEntries gives the entries that hold a long name, the last part first, as they stand before the short name's.
func longEntries(name string, sum byte) []byte {
	units := utf16.Encode([]rune(name))
	parts := (len(units) + longUnits - 1) / longUnits
	if len(units)%longUnits != 0 {
		units = append(units, 0)
	}
	for len(units)%longUnits != 0 {
		units = append(units, 0xffff)
	}
	var b []byte
	for i := parts; i > 0; i-- {
		order := byte(i)
		if i == parts {
			order |= 0x40
		}
		b = append(b, longEntry(order, sum, units[(i-1)*longUnits:])...)
	}
	return b
}

// longEntry is
//
//	offset  bytes  field
//	0       1      order, from 1; 0x40 is added to the last
//	1       10     units 1 to 5 of the name
//	11      1      attributes, 0x0f
//	13      1      check sum of the short name
//	14      12     units 6 to 11
//	28      4      units 12 and 13
func longEntry(order, sum byte, units []uint16) []byte {
	b := make([]byte, entrySize)
	b[0], b[11], b[13] = order, attributeLong, sum
	for i, at := range [longUnits]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
		b[at], b[at+1] = byte(units[i]), byte(units[i]>>8)
	}
	return b
}
