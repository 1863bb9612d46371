package transfer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// rooted opens paths that begin at a directory.
type rooted struct {
	dir  *os.File
	name string // of dir, without links
	how  uint64 // of openat2(2): how paths are resolved
}

// openRoot opens a tree: links, absolute ones too, and ".." end inside of it, as for a process whose root directory it is.
func openRoot(dir string) (*rooted, error) {
	return open(dir, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
}

func open(dir string, how uint64) (*rooted, error) {
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	name, err := os.Readlink(procPath(f))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &rooted{dir: f, name: strings.TrimSuffix(name, "/"), how: how}, nil
}

func (r *rooted) Close() error { return r.dir.Close() }

func (r *rooted) open(name string, flags int, mode uint32) (*os.File, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Mode: uint64(mode), Resolve: r.how}
	for {
		fd, err := unix.Openat2(int(r.dir.Fd()), name, &how)
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), name), nil
		case unix.EAGAIN, unix.EINTR: // something in the file system was renamed meanwhile: openat2(2)
		default:
			return nil, &os.PathError{Op: "open", Path: r.name + "/" + strings.TrimLeft(name, "/"), Err: err}
		}
	}
}

// resolve returns what an existing path of the tree is without links: absolute inside the tree.
func (r *rooted) resolve(name string) (string, error) {
	f, err := r.open(name, unix.O_PATH, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	found, err := os.Readlink(procPath(f))
	if err != nil {
		return "", err
	}
	inside, ok := strings.CutPrefix(found, r.name)
	if !ok {
		return "", fmt.Errorf("%s in the tree was moved out of it", name)
	}
	return path.Clean("/" + inside), nil
}

// path returns the path on the host of one that resolve has returned.
func (r *rooted) path(inside string) string { return strings.TrimSuffix(r.name+inside, "/") }

// procPath is a name for an open file that works whatever its path is and whoever changes that.
func procPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// place is a directory that an archive is unpacked in.
type place struct {
	root      *rooted
	base      string   // the directory, as root opens it
	exact     bool     // owners and modes are the archive's; else the files are this process's own
	skipNodes bool     // leave out device nodes
	archive   *Archive // of UnpackTree: lists device nodes instead of making them
}

// openBelow opens a directory of the host, out of which no link leads.
func openBelow(dir string) (*place, error) {
	r, err := open(dir, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_MAGICLINKS)
	if err != nil {
		return nil, err
	}
	return &place{root: r, base: ".", exact: os.Geteuid() == 0}, nil
}

// check says whether the place is a directory.
func (p *place) check() error {
	f, err := p.openDir(".")
	if err != nil {
		return err
	}
	return f.Close()
}

func (p *place) openDir(name string) (*os.File, error) {
	return p.root.open(path.Join(p.base, name), unix.O_PATH|unix.O_DIRECTORY, 0)
}

// makeDir opens a directory for its place only, and makes what is missing of it.
func (p *place) makeDir(name string) (*os.File, error) {
	dir, err := p.openDir(name)
	if name == "." || !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	above, err := p.makeDir(path.Dir(name))
	if err != nil {
		return nil, err
	}
	defer above.Close()
	if err := os.Mkdir(procPath(above)+"/"+path.Base(name), 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return p.openDir(name)
}
