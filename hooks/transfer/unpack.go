package transfer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"vmbuild/rootfs/tree"
)

// unpack makes what is in an archive, over what there is. A directory stays what it is, also behind a link, as /lib is
// one; anything else is replaced.
func unpack(r io.Reader, p *place) error {
	archive := tar.NewReader(r)
	var dirs []*tar.Header
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("it is not a tar archive, or a damaged or compressed one")
		}
		if err != nil {
			return err
		}
		made, err := p.add(archive, h)
		if err != nil {
			return fmt.Errorf("unpack %s: %w", h.Name, cause(err))
		}
		if h.Typeflag == tar.TypeDir && (made || p.exact) {
			dirs = append(dirs, h)
		}
	}
	for _, h := range dirs { // last, as what is made in a directory changes its time, and may need another mode
		if err := p.finishDir(h); err != nil {
			return fmt.Errorf("unpack %s: %w", h.Name, cause(err))
		}
	}
	return nil
}

// cause is an error without the name that its file has in /proc.
func cause(err error) error {
	var atPath *fs.PathError
	var atLink *os.LinkError
	switch {
	case errors.As(err, &atPath) && strings.HasPrefix(atPath.Path, "/proc/self/fd/"):
		return atPath.Err
	case errors.As(err, &atLink):
		return atLink.Err
	}
	return err
}

// clean returns a name in an archive as a path below the place: "." or without slash at either end.
func clean(name string) (string, error) {
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", errors.New(`the name has a ".."`)
	}
	if name = path.Clean("/" + name)[1:]; name == "" {
		return ".", nil
	}
	return name, nil
}

// add makes an entry, and says whether there was none.
func (p *place) add(content io.Reader, h *tar.Header) (made bool, err error) {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return false, nil
	}
	name, err := clean(h.Name)
	if err != nil {
		return false, err
	}
	parent, err := p.makeDir(path.Dir(name))
	if err != nil {
		return false, err
	}
	defer parent.Close()
	target := procPath(parent) + "/" + path.Base(name)
	if p.archive != nil {
		p.archive.note(h)
	}
	switch {
	case h.Typeflag == tar.TypeDir:
		return p.addDir(name, target)
	case name == ".":
		return false, errors.New("it is no directory")
	case h.Typeflag == tar.TypeLink:
		return true, p.addLink(target, h)
	case isNode(h):
		return true, p.addNode(name, target, h)
	default:
		return true, p.addEntry(target, content, h)
	}
}

// addDir leaves owner, mode and time to finishDir.
func (p *place) addDir(name, target string) (made bool, err error) {
	if dir, err := p.openDir(name); err == nil {
		return false, dir.Close()
	}
	if err := remove(target); err != nil {
		return false, err
	}
	return true, os.Mkdir(target, 0o777)
}

func (p *place) finishDir(h *tar.Header) error {
	name, err := clean(h.Name)
	if err != nil {
		return err
	}
	dir, err := p.openDir(name)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ENOENT) {
		return nil // a later entry of the archive took its place
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	at := procPath(dir) + "/."
	if !p.exact {
		fi, err := os.Stat(at)
		if err != nil {
			return err
		}
		if err := os.Chmod(at, fi.Mode().Perm()&fs.FileMode(h.Mode)); err != nil { // it was made by the umask
			return err
		}
	}
	return p.dress(at, h)
}

func (p *place) addLink(target string, h *tar.Header) error {
	name, err := clean(h.Linkname)
	if err != nil {
		return err
	}
	parent, err := p.openDir(path.Dir(name))
	if err != nil {
		return err
	}
	defer parent.Close()
	first := procPath(parent) + "/" + path.Base(name)
	is, err := os.Lstat(first)
	if err != nil {
		return fmt.Errorf("link to %s: %w", h.Linkname, cause(err))
	}
	if was, err := os.Lstat(target); err == nil && os.SameFile(is, was) {
		return nil
	}
	if err := remove(target); err != nil {
		return err
	}
	return os.Link(first, target)
}

func isNode(h *tar.Header) bool { return h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock }

// nodeMode is the file type of mknod(2).
func nodeMode(h *tar.Header) uint32 {
	if h.Typeflag == tar.TypeBlock {
		return unix.S_IFBLK
	}
	return unix.S_IFCHR
}

// addNode leaves a node alone that is there: in a tree that programs run in it is the host's own, mounted there.
func (p *place) addNode(name, target string, h *tar.Header) error {
	if p.archive != nil {
		if err := remove(target); err != nil {
			return err
		}
		return p.archive.addDevice(p.root, name, h)
	}
	device := unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
	var st unix.Stat_t
	err := unix.Lstat(target, &st)
	if p.skipNodes || err == nil && st.Mode&unix.S_IFMT == nodeMode(h) && uint64(st.Rdev) == device {
		return nil
	}
	if err := remove(target); err != nil {
		return err
	}
	err = unix.Mknod(target, nodeMode(h)|0o600, int(device))
	switch {
	case err == unix.EPERM && p.exact && p.isStandard(name):
		return nil
	case err == unix.EPERM && p.exact:
		return errors.New("device nodes cannot be made here: leave them out by --skip=tar-in/mknod " +
			"(or copy-in/mknod, sync-in/mknod)")
	case err != nil:
		return err
	}
	return p.dress(target, h)
}

// isStandard says whether a path is that of a device that each root filesystem gets, on disk or not.
func (p *place) isStandard(name string) bool {
	full := path.Join(p.base, name)
	return slices.ContainsFunc(tree.StandardDevices(), func(e tree.Entry) bool { return e.Path == full })
}

func (p *place) addEntry(target string, content io.Reader, h *tar.Header) error {
	if err := remove(target); err != nil {
		return err
	}
	var err error
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		err = p.write(target, content, h)
	case tar.TypeSymlink:
		err = os.Symlink(h.Linkname, target)
	case tar.TypeFifo:
		err = unix.Mkfifo(target, uint32(h.Mode&0o777))
	default:
		err = fmt.Errorf("entries of type %q are unknown", h.Typeflag)
	}
	if err != nil {
		return err
	}
	return p.dress(target, h)
}

func (p *place) write(target string, content io.Reader, h *tar.Header) error {
	mode := fs.FileMode(0o600)
	if !p.exact {
		mode = fs.FileMode(h.Mode & 0o777)
	}
	f, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

// remove makes room for an entry: of directories only an empty one goes.
func remove(target string) error {
	err := unix.Unlink(target)
	if err == unix.EISDIR {
		err = unix.Rmdir(target)
	}
	if err == unix.ENOENT {
		return nil
	}
	return err
}

// dress gives an entry its owner, mode, extended attributes and time. A user's files outside are his own, whatever the
// archive says, with the modes that his umask allows.
func (p *place) dress(target string, h *tar.Header) error {
	if p.exact {
		if err := os.Lchown(target, h.Uid, h.Gid); err != nil {
			return fmt.Errorf("give it to %d:%d: %w", h.Uid, h.Gid, cause(err))
		}
		if h.Typeflag != tar.TypeSymlink {
			if err := unix.Chmod(target, uint32(h.Mode&0o7777)); err != nil { // after chown, which clears setuid
				return err
			}
		}
	}
	if err := p.setXattrs(target, h); err != nil {
		return err
	}
	at := unix.NsecToTimespec(h.ModTime.UnixNano())
	return unix.UtimesNanoAt(unix.AT_FDCWD, target, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
}

// setXattrs sets what may be set: a label of the host's security module, or a capability on a user's file, may not.
func (p *place) setXattrs(target string, h *tar.Header) error {
	for record, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(record, xattrRecord)
		if !ok {
			continue
		}
		err := unix.Lsetxattr(target, decodeXattr.Replace(name), []byte(value), 0)
		if err != nil && err != unix.EPERM && err != unix.ENOTSUP && err != unix.EACCES {
			return fmt.Errorf("set attribute %s: %w", name, err)
		}
	}
	return nil
}
