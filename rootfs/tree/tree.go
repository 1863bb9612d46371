// Package tree is what a root filesystem is to the rest of vmbuild: a directory, plus the device nodes that an
// unprivileged build cannot make on disk. Whoever copies, packs or compares a root filesystem reads it through Walk and
// so never learns whether a node is on disk or only in the list.
//
// It changes no tree: Copier makes entries of one in another directory. It does not follow symbolic links, within or out
// of the tree: an entry is what lstat(2) says.
package tree

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Tree is a root filesystem.
type Tree struct {
	Dir     string  // on disk, as the build sees it
	Devices []Entry // present in the result though not on disk; they win over what is on disk at the same path
}

// Type is what an entry is.
type Type string

const (
	File        Type = "file"
	Directory   Type = "dir"
	Symlink     Type = "symlink"
	CharDevice  Type = "char"
	BlockDevice Type = "block"
	FIFO        Type = "fifo"
	Socket      Type = "socket"
)

// Entry is one path of a tree.
type Entry struct {
	Path         string // absolute inside the tree: "/", "/etc/passwd"
	Type         Type
	Mode         uint32 // permission bits with setuid, setgid and sticky: 12 bits
	UID, GID     int
	Size         int64             // bytes of a File
	ModTime      time.Time         // zero for an entry of Devices
	Target       string            // of a Symlink, as it is written
	Major, Minor uint32            // of a CharDevice or BlockDevice
	HardLink     string            // path of the same file that Walk visited before; empty for the first or only one
	Xattrs       map[string]string // extended attributes by full name, "security.capability"; nil if none
}

// StandardDevices returns what a Debian root filesystem has below /dev, as debootstrap and mmdebstrap make it.
func StandardDevices() []Entry {
	char := func(name string, major, minor uint32) Entry {
		return Entry{Path: "/dev/" + name, Type: CharDevice, Mode: 0o666, Major: major, Minor: minor}
	}
	dir := func(name string) Entry { return Entry{Path: "/dev/" + name, Type: Directory, Mode: 0o755} }
	link := func(name, target string) Entry {
		return Entry{Path: "/dev/" + name, Type: Symlink, Mode: 0o777, Target: target}
	}
	return []Entry{
		char("console", 5, 1),
		link("fd", "/proc/self/fd"),
		char("full", 1, 7),
		char("null", 1, 3),
		char("ptmx", 5, 2),
		dir("pts"),
		char("random", 1, 8),
		dir("shm"),
		link("stderr", "/proc/self/fd/2"),
		link("stdin", "/proc/self/fd/0"),
		link("stdout", "/proc/self/fd/1"),
		char("tty", 5, 0),
		char("urandom", 1, 9),
		char("zero", 1, 5),
	}
}

// Walk calls fn for each entry: a directory before what is in it, the names of a directory in byte order. The first
// error, of fn or of reading, ends it.
func (t *Tree) Walk(fn func(Entry) error) error {
	w := walker{tree: t, fn: fn, devices: map[string][]Entry{}, seen: map[fileID]string{}}
	for _, d := range t.Devices {
		parent := path.Dir(d.Path)
		w.devices[parent] = append(w.devices[parent], d)
	}
	return w.visit("/")
}

// failed says that the tree could not be read. What fn returns is left as it is.
func (w *walker) failed(err error) error { return fmt.Errorf("read tree %q: %w", w.tree.Dir, err) }

type fileID struct{ dev, ino uint64 }

type walker struct {
	tree    *Tree
	fn      func(Entry) error
	devices map[string][]Entry // by the directory they are in
	seen    map[fileID]string  // files of several links, by their first path
}

func (w *walker) visit(name string) error {
	entry, err := w.read(name)
	if err != nil {
		return w.failed(err)
	}
	if err := w.fn(entry); err != nil {
		return err
	}
	if entry.Type != Directory {
		return nil
	}
	return w.visitAll(name, true)
}

// visitAll visits what is in the directory: on disk, if the directory is, and among the devices.
func (w *walker) visitAll(dir string, onDisk bool) error {
	var names []string
	if onDisk {
		entries, err := os.ReadDir(w.tree.Dir + dir)
		if err != nil {
			return w.failed(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
	}
	devices := map[string]Entry{}
	for _, d := range w.devices[dir] {
		devices[path.Base(d.Path)] = d
		names = append(names, path.Base(d.Path))
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		device, listed := devices[name]
		if err := w.visitOne(path.Join(dir, name), device, listed); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) visitOne(name string, device Entry, listed bool) error {
	if !listed {
		return w.visit(name)
	}
	if err := w.fn(device); err != nil || device.Type != Directory {
		return err
	}
	info, err := os.Lstat(w.tree.Dir + name)
	return w.visitAll(name, err == nil && info.IsDir())
}

var types = map[uint32]Type{
	unix.S_IFREG: File, unix.S_IFDIR: Directory, unix.S_IFLNK: Symlink, unix.S_IFCHR: CharDevice,
	unix.S_IFBLK: BlockDevice, unix.S_IFIFO: FIFO, unix.S_IFSOCK: Socket,
}

func (w *walker) read(name string) (Entry, error) {
	full := strings.TrimSuffix(w.tree.Dir+name, "/")
	var st unix.Stat_t
	if err := unix.Lstat(full, &st); err != nil {
		return Entry{}, &os.PathError{Op: "lstat", Path: full, Err: err}
	}
	e := Entry{
		Path: name, Type: types[st.Mode&unix.S_IFMT], Mode: st.Mode & 0o7777,
		UID: int(st.Uid), GID: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()),
	}
	var err error
	switch e.Type {
	case File:
		e.Size = st.Size
	case Symlink:
		e.Target, err = os.Readlink(full)
	case CharDevice, BlockDevice:
		e.Major, e.Minor = unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))
	}
	if err != nil {
		return Entry{}, err
	}
	if e.Type != Directory && st.Nlink > 1 {
		e.HardLink = w.firstLink(fileID{uint64(st.Dev), st.Ino}, name)
	}
	e.Xattrs, err = readXattrs(full)
	return e, err
}

// firstLink returns the path under which the file was visited before, if it was.
func (w *walker) firstLink(id fileID, name string) string {
	if first, ok := w.seen[id]; ok {
		return first
	}
	w.seen[id] = name
	return ""
}

// xattrSizeMax is the kernel's XATTR_SIZE_MAX, in bytes.
const xattrSizeMax = 1 << 16

func readXattrs(full string) (map[string]string, error) {
	var names [4096]byte
	n, err := unix.Llistxattr(full, names[:])
	if err == unix.ENOTSUP || n == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "llistxattr", Path: full, Err: err}
	}
	xattrs := map[string]string{}
	for _, name := range strings.Split(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		var value [xattrSizeMax]byte
		n, err := unix.Lgetxattr(full, name, value[:])
		if err != nil {
			return nil, &os.PathError{Op: "lgetxattr " + name, Path: full, Err: err}
		}
		xattrs[name] = string(value[:n])
	}
	return xattrs, nil
}
