package tree

import (
	"archive/tar"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// Listing describes each path of the tree on one line, for tests and comparisons; times are left out:
//
//	"/etc/x":     "file 0644 0:0 cc55e2ec"               the first 8 digits of the content's SHA256
//	"/bin":       "symlink 0777 0:0 -> usr/bin"
//	"/dev/null":  "char 0666 0:0 1:3"
//	"/usr/bin/b": "file 0755 0:0 9f86d081 = /usr/bin/a"  the first path, in byte order, of the same file
//	"/usr/bin/p": "file 0755 0:0 60303ae2 security.capability=0x0100…"
func Listing(t *Tree) (map[string]string, error) {
	l := newLister()
	err := t.Walk(func(e Entry) error {
		if e.HardLink != "" {
			l.link(e.Path, e.HardLink)
			return nil
		}
		if e.Type != File {
			l.add(e, nil)
			return nil
		}
		f, err := os.Open(t.Dir + e.Path)
		if err != nil {
			return err
		}
		defer f.Close()
		return l.add(e, f)
	})
	return l.finish(), err
}

// TarListing is Listing for a tar stream whose names are relative to the root, with or without "./".
func TarListing(r io.Reader) (map[string]string, error) {
	l := newLister()
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			return l.finish(), nil
		}
		if err != nil {
			return nil, fmt.Errorf("list tar: %w", err)
		}
		name := path.Join("/", h.Name)
		if h.Typeflag == tar.TypeLink {
			l.link(name, path.Join("/", h.Linkname))
			continue
		}
		if err := l.add(tarEntry(name, h), archive); err != nil {
			return nil, fmt.Errorf("list tar: %q: %w", name, err)
		}
	}
}

var tarTypes = map[byte]Type{
	tar.TypeReg: File, tar.TypeDir: Directory, tar.TypeSymlink: Symlink, tar.TypeChar: CharDevice,
	tar.TypeBlock: BlockDevice, tar.TypeFifo: FIFO, tar.TypeGNUSparse: File,
}

// paxXattr begins the names of PAX records that hold extended attributes, as star, GNU tar and libarchive write them.
const paxXattr = "SCHILY.xattr."

// paxXattrName undoes what GNU tar does to names that would end the key of a record.
var paxXattrName = strings.NewReplacer("%3D", "=", "%25", "%")

func tarEntry(name string, h *tar.Header) Entry {
	e := Entry{
		Path: name, Type: tarTypes[h.Typeflag], Mode: uint32(h.Mode) & 0o7777, UID: h.Uid, GID: h.Gid,
		Size: h.Size, ModTime: h.ModTime, Target: h.Linkname,
		Major: uint32(h.Devmajor), Minor: uint32(h.Devminor),
	}
	for key, value := range h.PAXRecords {
		if attr, ok := strings.CutPrefix(key, paxXattr); ok {
			if e.Xattrs == nil {
				e.Xattrs = map[string]string{}
			}
			e.Xattrs[paxXattrName.Replace(attr)] = value
		}
	}
	return e
}

// lister collects lines, and the hard links among them, which get their final form when all are known.
type lister struct {
	lines map[string]string
	links map[string][]string // further paths of a file, by the path under which it came first
}

func newLister() *lister {
	return &lister{lines: map[string]string{}, links: map[string][]string{}}
}

func (l *lister) link(name, first string) { l.links[first] = append(l.links[first], name) }

func (l *lister) add(e Entry, content io.Reader) error {
	line := fmt.Sprintf("%s %04o %d:%d", e.Type, e.Mode, e.UID, e.GID)
	switch e.Type {
	case File:
		sum := sha256.New()
		if _, err := io.Copy(sum, content); err != nil {
			return err
		}
		line += fmt.Sprintf(" %.4x", sum.Sum(nil))
	case Symlink:
		line += " -> " + e.Target
	case CharDevice, BlockDevice:
		line += fmt.Sprintf(" %d:%d", e.Major, e.Minor)
	}
	for _, name := range slices.Sorted(maps.Keys(e.Xattrs)) {
		line += fmt.Sprintf(" %s=%#x", name, e.Xattrs[name])
	}
	l.lines[e.Path] = line
	return nil
}

// finish writes each group of hard links so that the line does not depend on which came first.
func (l *lister) finish() map[string]string {
	for first, others := range l.links {
		group := append([]string{first}, others...)
		slices.Sort(group)
		line := l.lines[first]
		for _, name := range group[1:] {
			l.lines[name] = line + " = " + group[0]
		}
		l.lines[group[0]] = line
	}
	return l.lines
}

// Diff compares two listings, one line for each path that differs, sorted by path; none if they are equal.
//
//	"/a: missing, want file 0644 0:0 cc55e2ec"
//	"/b: unwanted dir 0755 0:0"
//	"/c: file 0600 0:0 cc55e2ec, want file 0644 0:0 cc55e2ec"
func Diff(want, got map[string]string) []string {
	all := maps.Clone(want)
	maps.Copy(all, got)
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		w, wanted := want[name]
		g, present := got[name]
		switch {
		case !present:
			lines = append(lines, fmt.Sprintf("%s: missing, want %s", name, w))
		case !wanted:
			lines = append(lines, fmt.Sprintf("%s: unwanted %s", name, g))
		case w != g:
			lines = append(lines, fmt.Sprintf("%s: %s, want %s", name, g, w))
		}
	}
	return lines
}
