package rootfs

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vmbuild/rootfs/internal/control"
	"vmbuild/rootfs/internal/deb"
	"vmbuild/rootfs/internal/resolve"
	"vmbuild/rootfs/suite"
)

// A tarball of packages is what debootstrap --make-tarball writes and --unpack-tarball reads: var/cache/apt/archives with
// the package files, var/lib/apt/lists with an index of them, and these files, each with one value or a list:
const (
	tarArch     = "debootstrap/arch"
	tarSuite    = "debootstrap/suite"
	tarRequired = "debootstrap/required" // names of the packages that are installed first
	tarBase     = "debootstrap/base"     // names of the others
	tarPaths    = "debootstrap/debpaths" // lines of a name and the path of its file, from the root
)

// WriteTarball writes the Lock's packages as a compressed tarball. The same Lock gives the same bytes. Other than
// debootstrap's own it has no script and no log, and its index lists no other packages.
func (b *Builder) WriteTarball(ctx context.Context, l *Lock, w io.Writer) error {
	files, err := b.packageFiles(ctx, l)
	if err != nil {
		return err
	}
	if err := l.writeTarball(ctx, files, w); err != nil {
		return fmt.Errorf("write tarball: %w", err)
	}
	return nil
}

func (l *Lock) writeTarball(ctx context.Context, files []packageFile, w io.Writer) error {
	index, err := tarIndex(files)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(w)
	t := tarball{Writer: tar.NewWriter(z), at: l.clamp()}
	t.dirs("debootstrap", "var", "var/cache", "var/cache/apt", AptArchives, AptArchives+"/partial",
		"var/lib", "var/lib/apt", listsDir, listsDir+"/partial")
	var paths strings.Builder
	names := map[bool][]string{} // by being essential
	for _, f := range files {
		names[f.Essential] = append(names[f.Essential], f.Name)
		fmt.Fprintf(&paths, "%s /%s/%s\n", f.Name, AptArchives, f.name)
	}
	t.text(tarArch, l.Arch+"\n")
	t.text(tarSuite, l.Suite+"\n")
	t.text(tarRequired, strings.Join(names[true], " ")+"\n")
	t.text(tarBase, strings.Join(names[false], " ")+"\n")
	t.text(tarPaths, paths.String())
	t.text(l.tarIndexName(), index)
	for _, f := range files {
		if t.err == nil {
			t.err = ctx.Err()
		}
		t.file(AptArchives+"/"+f.name, f.path, f.Size)
	}
	if t.err != nil {
		return t.err
	}
	return errors.Join(t.Close(), z.Close())
}

// tarIndex is a Packages file of the files.
func tarIndex(files []packageFile) (string, error) {
	var b strings.Builder
	for _, f := range files {
		stanza, err := controlOf(f.path)
		if err != nil {
			return "", fmt.Errorf("read package %s: %w", f.Name, err)
		}
		fmt.Fprintf(&b, "%s\nFilename: %s\nSize: %d\nSHA256: %s\n\n", strings.TrimSpace(stanza), f.Path, f.Size, f.SHA256)
	}
	return b.String(), nil
}

// tarIndexName is where debootstrap looks for the index of the mirror that it is given (apt_dest of its functions): it has
// to be given the one that the packages are from.
func (l *Lock) tarIndexName() string {
	component := "main"
	if c := l.Sources[0].Components; len(c) > 0 {
		component = c[0]
	}
	url := l.Sources[0].releaseURL() + path.Join(component, "binary-"+l.Arch, "Packages")
	if _, rest, ok := strings.Cut(url, "://"); ok {
		url = rest
	}
	return path.Join(listsDir, strings.ReplaceAll(url, "/", "_"))
}

// tarball writes members of one time, and nothing any more after an error.
type tarball struct {
	*tar.Writer
	at  time.Time
	err error
}

func (t *tarball) header(h tar.Header) {
	if t.err == nil {
		h.ModTime, h.Format, h.Uname, h.Gname = t.at, tar.FormatGNU, "root", "root"
		t.err = t.WriteHeader(&h)
	}
}

func (t *tarball) dirs(names ...string) {
	for _, name := range names {
		t.header(tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
	}
}

func (t *tarball) text(name, content string) {
	t.header(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))})
	if t.err == nil {
		_, t.err = io.WriteString(t, content)
	}
}

func (t *tarball) file(name, from string, size int64) {
	t.header(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size})
	if t.err != nil {
		return
	}
	f, err := os.Open(from)
	if err != nil {
		t.err = err
		return
	}
	defer f.Close()
	_, t.err = io.Copy(t, f)
}

// ReadTarball makes a Lock of a tarball of packages, which is put into the cache. All its packages are of the Lock, whatever
// variant, include and exclude of the Spec say. Nothing else is read or fetched. Who has signed the packages' archive was
// looked at when the tarball was made: it is believed.
func (b *Builder) ReadTarball(ctx context.Context, s Spec, name string) (*Lock, error) {
	lock, err := b.readTarball(ctx, s, name)
	if err != nil {
		return nil, fmt.Errorf("read tarball %s: %w", name, err)
	}
	return lock, nil
}

func (b *Builder) readTarball(ctx context.Context, s Spec, name string) (*Lock, error) {
	b.Event(Event{Stage: "resolve"})
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	members, closer, err := tarReader(f)
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	c := tarContent{texts: map[string]string{}, packages: map[string]control.Package{}}
	if err := b.readMembers(ctx, members, &c); err != nil {
		return nil, err
	}
	return c.lock(s, filepath.Dir(name))
}

// tarReader reads a tarball, which may be compressed, whatever its name is. Close frees what it holds.
func tarReader(f *os.File) (*tar.Reader, io.Closer, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	plain, err := Decompress(f, info.Size())
	if err != nil {
		return nil, nil, err
	}
	return tar.NewReader(plain), plain, nil
}

// tarContent is what matters of a tarball.
type tarContent struct {
	texts    map[string]string          // of debootstrap/
	packages map[string]control.Package // by the path of their file; Filename is that
	newest   time.Time                  // of all members
}

// maxTarText bounds a list in a tarball, in bytes: names of all packages of Debian have 1 MB.
const maxTarText = 16 << 20

// readMembers reads the lists, and brings the package files into the cache.
func (b *Builder) readMembers(ctx context.Context, members *tar.Reader, c *tarContent) error {
	for ctx.Err() == nil {
		h, err := members.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if h.ModTime.After(c.newest) {
			c.newest = h.ModTime
		}
		name := path.Join("/", h.Name)
		switch {
		case h.Typeflag != tar.TypeReg:
		case path.Dir(name) == "/debootstrap":
			text, err := io.ReadAll(io.LimitReader(members, maxTarText))
			if err != nil {
				return err
			}
			c.texts[name[1:]] = string(text)
		case path.Dir(name) == "/"+AptArchives && path.Ext(name) == ".deb":
			p, err := b.keepPackage(ctx, members)
			if err != nil {
				return fmt.Errorf("%s: %w", h.Name, err)
			}
			p.Filename = name[1:]
			c.packages[name] = p
		}
	}
	return ctx.Err()
}

// keepPackage brings a package file into the cache.
func (b *Builder) keepPackage(ctx context.Context, content io.Reader) (p control.Package, err error) {
	temp, err := os.CreateTemp(b.Temp, "package-")
	if err != nil {
		return control.Package{}, err
	}
	defer func() { err = errors.Join(err, temp.Close(), os.Remove(temp.Name())) }()
	if _, err := io.Copy(temp, content); err != nil {
		return control.Package{}, err
	}
	if p, err = readDeb(temp.Name()); err != nil {
		return control.Package{}, err
	}
	_, err = b.Cache.Object(ctx, p.SHA256, p.Size, func(_ context.Context, w io.Writer, offset int64) error {
		_, err := io.Copy(w, io.NewSectionReader(temp, offset, p.Size-offset))
		return err
	})
	return p, err
}

// lock is what the lists and packages come to. Dir is where the tarball is.
func (c tarContent) lock(s Spec, dir string) (*Lock, error) {
	v, err := findVariant(s.Variant)
	if err != nil {
		return nil, err
	}
	if arch := strings.TrimSpace(c.texts[tarArch]); arch != "" && arch != s.Arch {
		return nil, fmt.Errorf("its packages are of architecture %s, not %s", arch, s.Arch)
	}
	names, packages, err := c.listed()
	if err != nil {
		return nil, err
	}
	universe := resolve.NewUniverse(s.Arch, []resolve.Archive{{Packages: packages}})
	first, err := universe.Resolve(resolve.Request{Essential: true})
	if err != nil {
		return nil, err
	}
	rest, err := universe.Resolve(resolve.Request{Packages: names, Installed: first})
	if err != nil {
		return nil, err
	}
	from := url.URL{Scheme: "file", Path: dir}
	lock := indexes{sources: []Source{{URI: from.String(), Suite: "./"}}}.lock(s)
	release, err := suite.Lookup(s.Suite)
	lock.Date, lock.MergeUsr = c.newest.UTC(), err == nil && release.SplitBins && !s.SplitUsr
	lock.Configure = !v.unpackOnly && !s.UnpackOnly
	lock.add(first, true)
	lock.add(rest, false)
	return lock, nil
}

// listed returns the names that the lists have, and the packages of those names.
func (c tarContent) listed() (names []string, packages []control.Package, err error) {
	if c.texts[tarRequired] == "" || c.texts[tarPaths] == "" {
		return nil, nil, fmt.Errorf("it has no %s or no %s: it was not made by --make-tarball", tarRequired, tarPaths)
	}
	paths := map[string]string{}
	for line := range strings.Lines(c.texts[tarPaths]) {
		if name, file, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			paths[name] = path.Join("/", file)
		}
	}
	for _, name := range strings.Fields(c.texts[tarRequired] + " " + c.texts[tarBase]) {
		p, ok := c.packages[paths[name]]
		if !ok {
			return nil, nil, fmt.Errorf("it has no package %s, which is in its list", name)
		}
		if !slices.Contains(names, name) {
			names, packages = append(names, name), append(packages, p)
		}
	}
	return names, packages, nil
}

// controlOf returns the control file of a package file.
func controlOf(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	p, err := deb.Open(f, info.Size())
	if err != nil {
		return "", err
	}
	return string(p.Control["control"].Data), nil
}
