package archivetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// Package is a binary package.
type Package struct {
	Name         string
	Version      string // default: "1"
	Architecture string // default: the archive's first; "all" is in every index
	Component    string // default: "main"
	Source       string // default: none, which means Name
	Section      string // default: "misc"
	Priority     string // default: "optional"
	MultiArch    string
	Essential    bool
	Protected    bool

	Depends, PreDepends, Recommends, Suggests, Enhances string
	Provides, Conflicts, Breaks, Replaces               string

	Fields      map[string]string // further fields of its control file
	Files       []File
	Scripts     map[string]string // by name: "postinst", or any other member of its control archive ("triggers")
	Conffiles   []string
	Compression string // suffix of its members: ".xz" (default), ".gz", ".zst", or "none"
}

// File is an entry of a package. The directories above it need not be given.
type File struct {
	Path     string // absolute; a directory's ends in "/"
	Mode     int64  // 12 bits; default: 0755 for directories, 0644
	Content  string
	Symlink  string // target
	Hardlink string // absolute path of an entry before it
	Type     byte   // tar's, for devices and pipes; default: what the other fields say
	Major    int64
	Minor    int64
	UID, GID int
	ModTime  time.Time         // default: 2025-01-01
	Xattrs   map[string]string // "security.capability": …
}

func (p Package) withDefaults() Package {
	p.Version = or(p.Version, "1")
	p.Architecture = or(p.Architecture, "amd64")
	p.Component = or(p.Component, "main")
	p.Section = or(p.Section, "misc")
	p.Priority = or(p.Priority, "optional")
	p.Compression = or(p.Compression, ".xz")
	return p
}

// Filename is the path of the package in the archive.
func (p Package) Filename() string {
	p = p.withDefaults()
	source, _, _ := strings.Cut(or(p.Source, p.Name), " ")
	prefix := source[:1]
	if strings.HasPrefix(source, "lib") && len(source) > 3 {
		prefix = source[:4]
	}
	_, version, found := strings.Cut(p.Version, ":")
	if !found {
		version = p.Version
	}
	return path.Join("pool", p.Component, prefix, source, p.Name+"_"+version+"_"+p.Architecture+".deb")
}

// control returns the control file.
func (p Package) control() string {
	var b strings.Builder
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	field("Package", p.Name)
	field("Source", p.Source)
	field("Version", p.Version)
	field("Architecture", p.Architecture)
	field("Essential", yes(p.Essential))
	field("Protected", yes(p.Protected))
	field("Maintainer", "Archive Test <archivetest@example.org>")
	field("Installed-Size", fmt.Sprint(p.installedSize()))
	field("Pre-Depends", p.PreDepends)
	field("Depends", p.Depends)
	field("Recommends", p.Recommends)
	field("Suggests", p.Suggests)
	field("Enhances", p.Enhances)
	field("Provides", p.Provides)
	field("Conflicts", p.Conflicts)
	field("Breaks", p.Breaks)
	field("Replaces", p.Replaces)
	field("Multi-Arch", p.MultiArch)
	field("Section", p.Section)
	field("Priority", p.Priority)
	for _, name := range slices.Sorted(maps.Keys(p.Fields)) {
		field(name, p.Fields[name])
	}
	field("Description", "package "+p.Name+" of a test")
	return b.String()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

// installedSize is what dpkg-gencontrol would say, in KiB.
func (p Package) installedSize() int {
	size := 0
	for _, f := range p.Files {
		size += max(1, (len(f.Content)+1023)/1024)
	}
	return size
}

// stanza returns the package's paragraph of the index.
func (p Package) stanza(deb []byte) string {
	return fmt.Sprintf("%sFilename: %s\nSize: %d\nSHA256: %x\n", p.control(), p.Filename(), len(deb), sha256.Sum256(deb))
}

// Deb returns the package as a .deb file (deb(5)).
func (p Package) Deb() ([]byte, error) {
	p = p.withDefaults()
	suffix := p.Compression
	if suffix == "none" {
		suffix = ""
	}
	control, err := tarball(suffix, p.controlFiles())
	if err != nil {
		return nil, fmt.Errorf("make control archive of %q: %w", p.Name, err)
	}
	data, err := tarball(suffix, p.Files)
	if err != nil {
		return nil, fmt.Errorf("make data archive of %q: %w", p.Name, err)
	}
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	writeMember(&b, "debian-binary", []byte("2.0\n"))
	writeMember(&b, "control.tar"+suffix, control)
	writeMember(&b, "data.tar"+suffix, data)
	return b.Bytes(), nil
}

// writeMember adds a member to an ar archive: name, time, owner, group, mode, size, all in decimal but the mode.
func writeMember(b *bytes.Buffer, name string, data []byte) {
	fmt.Fprintf(b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", name, fileTime.Unix(), 0, 0, 0o100644, len(data))
	b.Write(data)
	if len(data)%2 == 1 {
		b.WriteByte('\n')
	}
}

// fileTime is the default of File.ModTime.
var fileTime = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// controlFiles returns the members of the control archive.
func (p Package) controlFiles() []File {
	files := []File{{Path: "/control", Content: p.control()}}
	if sums := p.md5sums(); sums != "" {
		files = append(files, File{Path: "/md5sums", Content: sums})
	}
	if len(p.Conffiles) > 0 {
		files = append(files, File{Path: "/conffiles", Content: strings.Join(p.Conffiles, "\n") + "\n"})
	}
	for _, name := range slices.Sorted(maps.Keys(p.Scripts)) {
		f := File{Path: "/" + name, Content: p.Scripts[name]}
		if strings.HasPrefix(f.Content, "#!") {
			f.Mode = 0o755
		}
		files = append(files, f)
	}
	return files
}

// md5sums returns what dh_md5sums writes: regular files without conffiles, sorted.
func (p Package) md5sums() string {
	var lines []string
	for _, f := range p.Files {
		if f.kind() == tar.TypeReg && !slices.Contains(p.Conffiles, f.Path) {
			lines = append(lines, fmt.Sprintf("%x  %s\n", md5.Sum([]byte(f.Content)), strings.TrimPrefix(f.Path, "/")))
		}
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[34:], b[34:]) })
	return strings.Join(lines, "")
}

// tarball returns a compressed tar archive of files and the directories above them, with names that start with "./".
func tarball(suffix string, files []File) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range withParents(files) {
		if err := w.WriteHeader(f.resolve(files).header()); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, f.Content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return compress(suffix, b.Bytes())
}

// withParents adds the directories that are missing, each before the first entry in it.
func withParents(files []File) []File {
	var all []File
	seen := map[string]bool{}
	for _, f := range files { // a directory that is given is not made up
		seen[f.Path] = strings.HasSuffix(f.Path, "/")
	}
	var add func(dir string)
	add = func(dir string) {
		if seen[dir] {
			return
		}
		seen[dir] = true
		if dir != "/" {
			add(parent(dir))
		}
		all = append(all, File{Path: dir})
	}
	add("/")
	for _, f := range files {
		if f.Path != "/" {
			add(parent(f.Path))
		}
		all = append(all, f)
	}
	return all
}

// parent returns the directory of an entry, with a "/" at its end.
func parent(name string) string {
	dir, _ := path.Split(strings.TrimSuffix(name, "/"))
	return dir
}

// resolve gives a hard link the owner, mode and time of its file, as GNU tar writes them.
func (f File) resolve(files []File) File {
	for _, target := range files {
		if f.Hardlink != "" && target.Path == f.Hardlink {
			f.Mode, f.UID, f.GID, f.ModTime = target.Mode, target.UID, target.GID, target.ModTime
		}
	}
	return f
}

func (f File) kind() byte {
	switch {
	case f.Type != 0:
		return f.Type
	case f.Symlink != "":
		return tar.TypeSymlink
	case f.Hardlink != "":
		return tar.TypeLink
	case strings.HasSuffix(f.Path, "/"):
		return tar.TypeDir
	}
	return tar.TypeReg
}

func (f File) header() *tar.Header {
	h := &tar.Header{
		Typeflag: f.kind(),
		Name:     "." + f.Path,
		Mode:     f.Mode,
		Uid:      f.UID,
		Gid:      f.GID,
		Size:     int64(len(f.Content)),
		Linkname: f.Symlink,
		Devmajor: f.Major,
		Devminor: f.Minor,
		ModTime:  f.ModTime,
		Format:   tar.FormatGNU,
	}
	if f.Hardlink != "" {
		h.Linkname = "." + f.Hardlink
	}
	if h.ModTime.IsZero() {
		h.ModTime = fileTime
	}
	if h.Mode == 0 {
		h.Mode = defaultMode(h.Typeflag)
	}
	if len(f.Xattrs) > 0 {
		h.Format, h.PAXRecords = tar.FormatPAX, map[string]string{}
		for name, value := range f.Xattrs {
			h.PAXRecords["SCHILY.xattr."+name] = value
		}
	}
	if f.UID == 0 && f.GID == 0 {
		h.Uname, h.Gname = "root", "root"
	}
	return h
}

func defaultMode(kind byte) int64 {
	switch kind {
	case tar.TypeDir:
		return 0o755
	case tar.TypeSymlink:
		return 0o777
	}
	return 0o644
}

// compress compresses data as the suffix of a file name says.
func compress(suffix string, data []byte) ([]byte, error) {
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch suffix {
	case "":
		return data, nil
	case ".gz":
		w = gzip.NewWriter(&b)
	case ".xz":
		w, err = xz.WriterConfig{DictCap: 64 << 10}.NewWriter(&b)
	case ".lzma":
		w, err = lzma.WriterConfig{DictCap: 64 << 10}.NewWriter(&b)
	case ".zst":
		w, err = zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
	default:
		return nil, fmt.Errorf("no compression is known for suffix %q", suffix)
	}
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
