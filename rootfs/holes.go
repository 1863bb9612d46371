package rootfs

import (
	"bytes"
	"cmp"
	"debug/elf"
	"errors"
	"os"
	"slices"
	"strings"
)

// writeModule writes a module, with holes where there is what depmod does not look at.
func writeModule(to *os.Root, name string, module []byte) error {
	f, err := to.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(writeParts(f, module), f.Close())
}

func writeParts(f *os.File, module []byte) error {
	done := int64(0)
	for _, s := range unread(module) {
		if s.start > done {
			if _, err := f.WriteAt(module[done:s.start], done); err != nil {
				return err
			}
		}
		done = max(done, s.end)
	}
	_, err := f.WriteAt(module[done:], done)
	return err
}

// stretch is a part of a file, from one offset to before another.
type stretch struct{ start, end int64 }

// leastHole is what is worth a hole, in bytes: a page. What is shorter is written.
const leastHole = 4 << 10

// unread are the parts of a module that depmod and dracut-install do not look at, three quarters of it: code and its data,
// relocations, and what describes code and types to debuggers and unwinders. The last end is before the module's.
func unread(module []byte) []stretch {
	if len(module) < 2*leastHole {
		return nil
	}
	file, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil // it is depmod's to say so
	}
	var parts []stretch
	for _, s := range file.Sections {
		size := int64(s.FileSize)
		if isUnread(s) && s.Offset < uint64(len(module)) && size < int64(len(module))-int64(s.Offset) {
			parts = append(parts, stretch{int64(s.Offset), int64(s.Offset) + size})
		}
	}
	slices.SortFunc(parts, func(a, b stretch) int { return cmp.Compare(a.start, b.start) })
	joined := parts[:0]
	for _, p := range parts {
		if last := len(joined) - 1; last >= 0 && p.start-joined[last].end < mostPadding {
			joined[last].end = max(joined[last].end, p.end)
		} else {
			joined = append(joined, p)
		}
	}
	return slices.DeleteFunc(joined, func(p stretch) bool { return p.end-p.start < leastHole })
}

// mostPadding is what may be between a section and that which follows it, in bytes.
const mostPadding = 64

// unreadNames begin the names of sections that are not looked at.
var unreadNames = []string{".BTF", ".call_sites", ".data", ".debug_", ".orc_", ".return_sites", ".rodata", "__mcount_loc", "__patchable_"}

func isUnread(s *elf.Section) bool {
	switch {
	case s.Type == elf.SHT_NOBITS:
		return false
	case s.Type == elf.SHT_REL, s.Type == elf.SHT_RELA, s.Flags&elf.SHF_EXECINSTR != 0:
		return true
	}
	return slices.ContainsFunc(unreadNames, func(name string) bool { return strings.HasPrefix(s.Name, name) })
}
