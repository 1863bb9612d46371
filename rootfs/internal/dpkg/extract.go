package dpkg

import (
	"archive/tar"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	copyBuffer   = 256 << 10       // bytes read and written at once
	maxOpenDirs  = 128             // descriptors of directories that an extraction keeps
	dpkgNew      = ".dpkg-new"     // suffix of a conffile that dpkg --configure will put into its place
	paxXattr     = "SCHILY.xattr." // prefix of PAX records with extended attributes
	replaceTries = 10              // for a path that another package makes at the same time under another name
)

// extraction unpacks one package.
type extraction struct {
	*unpacker
	pkg     *archive
	buffer  []byte
	dirs    map[string]int // descriptors of directories used lately, by path
	digests bool           // the package has no md5sums: they are to be computed
	sums    map[string]string
	written int64 // bytes of files
}

func newExtraction(u *unpacker, a *archive) *extraction {
	_, has := a.control["md5sums"]
	return &extraction{
		unpacker: u, pkg: a, buffer: make([]byte, copyBuffer), dirs: map[string]int{},
		digests: !has, sums: map[string]string{},
	}
}

func (x *extraction) Close() { x.closeDirs() }

func (x *extraction) closeDirs() {
	for _, fd := range x.dirs {
		unix.Close(fd)
	}
	clear(x.dirs)
}

func (x *extraction) run(ctx context.Context) error {
	x.pkg.list = nil
	x.pkg.digests.Reset()
	stream, err := x.pkg.data()
	if err != nil {
		return err
	}
	defer stream.Close()

	members := tar.NewReader(stream)
	for ctx.Err() == nil {
		header, err := members.Next()
		if err == io.EOF {
			_, err := io.Copy(io.Discard, stream) // the checksum is behind the last member
			return err
		}
		if err != nil {
			return err
		}
		if err := x.member(header, members); err != nil {
			return fmt.Errorf("unpack %q: %w", header.Name, err)
		}
	}
	return ctx.Err()
}

var errName = errors.New(`".." or a line feed in its name`)

// cleanName returns the absolute path that a name in the archive means.
func cleanName(name string) (string, error) {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", errName
		}
	}
	if strings.ContainsAny(name, "\n\x00") {
		return "", errName
	}
	return path.Join("/", name), nil
}

// member unpacks one member of data.tar.
func (x *extraction) member(h *tar.Header, content io.Reader) error {
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	if other, ok := x.diversions.byGoal[name]; ok {
		return fmt.Errorf("it is where %q is diverted to by %s", other.path, other.owner)
	}
	place := x.diversions.place(name, x.pkg.name)
	listed := verdict(unpackIt)
	excluded := x.filter.excludes(name, h.Typeflag == tar.TypeDir || h.Typeflag == tar.TypeSymlink)
	if !excluded {
		listed, err = x.object(h, content, name, place)
	}
	if err != nil || listed == leaveItTo {
		return err
	}
	if name == "/" {
		name = "/." // as dpkg lists the root directory
	}
	x.pkg.list = append(x.pkg.list, name)
	return nil
}

func (x *extraction) object(h *tar.Header, content io.Reader, name, place string) (verdict, error) {
	attributes := x.attributes(h, name)
	switch h.Typeflag {
	case tar.TypeDir:
		return x.directory(place, attributes)
	case tar.TypeReg:
		return x.file(h, content, name, place, attributes)
	case tar.TypeSymlink:
		return x.symlink(place, h.Linkname, attributes)
	case tar.TypeLink:
		return x.hardLink(h, name, place)
	case tar.TypeFifo, tar.TypeChar, tar.TypeBlock:
		return x.node(h, place, attributes)
	}
	return unpackIt, fmt.Errorf("unknown type %q", h.Typeflag)
}

// attributes returns what the member says, with owners by name where the root knows the name, unless the administrator
// of the root has overridden it.
func (x *extraction) attributes(h *tar.Header, name string) attributes {
	a := attributes{h.Uid, h.Gid, uint32(h.Mode) & 0o7777, h.ModTime}
	if o, ok := x.overrides[name]; ok {
		a.uid, a.gid, a.mode = o.uid, o.gid, o.mode
		return a
	}
	if id, ok := x.users[h.Uname]; ok {
		a.uid = id
	}
	if id, ok := x.groups[h.Gname]; ok {
		a.gid = id
	}
	return a
}

// dir returns a descriptor of the directory that name leads to, which it makes if the package did not bring it.
func (x *extraction) dir(name string) (int, error) {
	if fd, ok := x.dirs[name]; ok {
		return fd, nil
	}
	if len(x.dirs) >= maxOpenDirs {
		x.closeDirs()
	}
	fd, err := x.root.openDir(name)
	if errors.Is(err, os.ErrNotExist) {
		if err := x.root.mkdirAll(name); err != nil {
			return -1, err
		}
		fd, err = x.root.openDir(name)
	}
	if err != nil {
		return -1, err
	}
	x.dirs[name] = fd
	return fd, nil
}

// create calls make for the last part of place, after removing what is there and is no directory.
func (x *extraction) create(place string, make func(dir int, base string) error) error {
	dir, err := x.dir(path.Dir(place))
	if err != nil {
		return err
	}
	base := path.Base(place)
	for try := 0; ; try++ {
		err := make(dir, base)
		if err != unix.EEXIST || try == replaceTries {
			return err
		}
		if err := unix.Unlinkat(dir, base, 0); err != nil && err != unix.ENOENT {
			return fmt.Errorf("replace what is there: %w", err)
		}
	}
}

// directory makes place a directory unless it is one or leads to one.
func (x *extraction) directory(place string, a attributes) (verdict, error) {
	if place == "/" {
		x.unpacker.dirs.offer(place, x.pkg.order, x.first, a)
		return unpackIt, nil
	}
	dir, err := x.dir(path.Dir(place))
	if err != nil {
		return unpackIt, err
	}
	err = unix.Mkdirat(dir, path.Base(place), 0o755)
	v := unpackIt
	if err == unix.EEXIST && !x.root.isDir(place) {
		v, err = x.owners.claim(place, &x.pkg.record, func() error {
			return x.create(place, func(dir int, base string) error { return unix.Mkdirat(dir, base, 0o755) })
		})
	}
	switch {
	case err == nil && v == unpackIt:
		x.unpacker.dirs.made(place)
	case err != nil && err != unix.EEXIST:
		return v, err
	}
	x.unpacker.dirs.offer(place, x.pkg.order, x.first, a)
	return v, nil
}

// file unpacks a regular file. A conffile goes beside its place, where dpkg --configure finds it; among the first
// packages of a root it goes to its place, as they are not installed over anything.
func (x *extraction) file(h *tar.Header, content io.Reader, name, place string, a attributes) (verdict, error) {
	conffile := x.pkg.conffile(name)
	target := place
	if conffile != nil && !x.first {
		target += dpkgNew
	}
	fd := -1
	v, err := x.owners.claim(place, &x.pkg.record, func() error {
		return x.create(target, func(dir int, base string) (err error) {
			fd, err = unix.Openat(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
			return err
		})
	})
	if err != nil || v != unpackIt {
		return v, err
	}
	defer unix.Close(fd)

	var digest hash.Hash
	if x.digests || conffile != nil {
		digest = md5.New()
	}
	if err := x.copy(fd, content, digest); err != nil {
		return v, err
	}
	if digest != nil {
		x.noteDigest(name, hex.EncodeToString(digest.Sum(nil)))
	}
	if conffile != nil && x.first {
		conffile.digest = x.sums[name]
	}
	return v, x.finishFile(fd, target, a, h.PAXRecords)
}

// noteDigest remembers the digest for hard links to the file and for md5sums.
func (x *extraction) noteDigest(name, digest string) {
	x.sums[name] = digest
	if x.digests {
		fmt.Fprintf(&x.pkg.digests, "%s  %s\n", digest, name[1:])
	}
}

func (x *extraction) copy(fd int, content io.Reader, digest hash.Hash) error {
	for {
		n, err := content.Read(x.buffer)
		if digest != nil {
			digest.Write(x.buffer[:n])
		}
		if err := writeAll(fd, x.buffer[:n]); err != nil {
			return err
		}
		x.written += int64(n)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func writeAll(fd int, data []byte) error {
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// finishFile sets the attributes in the order in which none undoes another: chown clears setuid bits and capabilities.
func (x *extraction) finishFile(fd int, target string, a attributes, records map[string]string) error {
	if err := unix.Fchown(fd, a.uid, a.gid); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	if err := unix.Fchmod(fd, a.mode); err != nil {
		return fmt.Errorf("chmod: %w", err)
	}
	for key, value := range records {
		if attr, ok := strings.CutPrefix(key, paxXattr); ok {
			if err := unix.Fsetxattr(fd, attr, []byte(value), 0); err != nil {
				return fmt.Errorf("set attribute %s: %w", attr, err)
			}
		}
	}
	return x.setTimes(target, a)
}

func (x *extraction) setTimes(target string, a attributes) error {
	dir, err := x.dir(path.Dir(target))
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(dir, path.Base(target), times(a.time), unix.AT_SYMLINK_NOFOLLOW)
}

// symlink makes a symbolic link unless there is a directory, or a link to the same one: dpkg never replaces a
// directory by a link.
func (x *extraction) symlink(place, target string, a attributes) (verdict, error) {
	if x.keepsDirectory(place, target) {
		return unpackIt, nil
	}
	return x.owners.claim(place, &x.pkg.record, func() error {
		return x.create(place, func(dir int, base string) error {
			if err := unix.Symlinkat(target, dir, base); err != nil {
				return err
			}
			if err := unix.Fchownat(dir, base, a.uid, a.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return err
			}
			return unix.UtimesNanoAt(dir, base, times(a.time), unix.AT_SYMLINK_NOFOLLOW)
		})
	})
}

func (x *extraction) keepsDirectory(place, target string) bool {
	dir, err := x.dir(path.Dir(place))
	if err != nil {
		return false
	}
	var st unix.Stat_t
	if unix.Fstatat(dir, path.Base(place), &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return false
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return true
	}
	if !path.IsAbs(target) {
		target = path.Dir(place) + "/" + target // not cleaned: ".." counts from where links lead
	}
	return st.Mode&unix.S_IFMT == unix.S_IFLNK && x.root.sameDir(place, target)
}

// hardLink links to another member of the package, which came before.
func (x *extraction) hardLink(h *tar.Header, name, place string) (verdict, error) {
	first, err := cleanName(h.Linkname)
	if err != nil {
		return unpackIt, err
	}
	from := x.diversions.place(first, x.pkg.name)
	if x.pkg.conffile(first) != nil && !x.first {
		from += dpkgNew
	}
	if x.pkg.conffile(name) != nil && !x.first {
		place += dpkgNew
	}
	v, err := x.owners.claim(strings.TrimSuffix(place, dpkgNew), &x.pkg.record, func() error {
		return x.create(place, func(dir int, base string) error {
			fromDir, err := x.root.openDir(path.Dir(from))
			if err != nil {
				return err
			}
			defer unix.Close(fromDir)
			return unix.Linkat(fromDir, path.Base(from), dir, base, 0)
		})
	})
	if digest, ok := x.sums[first]; ok && err == nil && v == unpackIt {
		x.noteDigest(name, digest)
		if c := x.pkg.conffile(name); c != nil && x.first {
			c.digest = digest
		}
	}
	return v, err
}

// node makes a device node or a FIFO.
func (x *extraction) node(h *tar.Header, place string, a attributes) (verdict, error) {
	kind := map[byte]uint32{
		tar.TypeFifo: unix.S_IFIFO, tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK,
	}[h.Typeflag]
	device := unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
	return x.owners.claim(place, &x.pkg.record, func() error {
		return x.create(place, func(dir int, base string) error {
			if err := unix.Mknodat(dir, base, kind|0o600, int(device)); err != nil {
				return err
			}
			if err := unix.Fchownat(dir, base, a.uid, a.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return err
			}
			if err := chmodNode(dir, base, a.mode); err != nil {
				return err
			}
			return unix.UtimesNanoAt(dir, base, times(a.time), unix.AT_SYMLINK_NOFOLLOW)
		})
	})
}

// chmodNode sets the mode of what is not opened lightly. It does not follow a link: fchmodat(2) would, and fchmodat2(2)
// is as young as Linux 6.6.
func chmodNode(dir int, base string, mode uint32) error {
	fd, err := unix.Openat(dir, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), mode)
}
