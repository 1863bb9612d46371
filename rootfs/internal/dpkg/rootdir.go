package dpkg

import (
	"errors"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// rootDir opens paths as a process would whose root directory it is: symbolic links, absolute ones too, and ".." end
// inside of it. Every path of the tree that this package touches goes through here.
type rootDir struct{ fd int }

func openRootDir(dir string) (*rootDir, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return &rootDir{fd}, nil
}

func (r *rootDir) Close() error { return unix.Close(r.fd) }

// open returns a descriptor of name, an absolute path inside the root.
func (r *rootDir) open(name string, flags int, mode uint32) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Mode:    uint64(mode),
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(r.fd, name, &how)
		switch err {
		case nil:
			return fd, nil
		case unix.EAGAIN, unix.EINTR: // something in the file system was renamed meanwhile: openat2(2)
			continue
		}
		return -1, &os.PathError{Op: "open", Path: name, Err: err}
	}
}

// openDir returns a descriptor for the *at system calls.
func (r *rootDir) openDir(name string) (int, error) {
	return r.open(name, unix.O_PATH|unix.O_DIRECTORY, 0)
}

// isDir says whether name is a directory or a symbolic link to one.
func (r *rootDir) isDir(name string) bool {
	fd, err := r.openDir(name)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// sameDir says whether both names lead to one and the same directory.
func (r *rootDir) sameDir(a, b string) bool {
	var ids [2]unix.Stat_t
	for i, name := range []string{a, b} {
		fd, err := r.openDir(name)
		if err != nil {
			return false
		}
		err = unix.Fstat(fd, &ids[i])
		unix.Close(fd)
		if err != nil {
			return false
		}
	}
	return ids[0].Dev == ids[1].Dev && ids[0].Ino == ids[1].Ino
}

func (r *rootDir) readFile(name string) ([]byte, error) {
	fd, err := r.open(name, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	return io.ReadAll(f)
}

// readOptional is readFile for a file whose absence means the same as its emptiness.
func (r *rootDir) readOptional(name string) ([]byte, error) {
	data, err := r.readFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// writeFile replaces the file name by one with these permission bits.
func (r *rootDir) writeFile(name string, data []byte, mode uint32) error {
	temporary := name + "-new"
	fd, err := r.open(temporary, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW, mode)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), temporary)
	_, err = f.Write(data)
	if err := errors.Join(err, unix.Fchmod(fd, mode), f.Close()); err != nil {
		return err
	}
	dir, err := r.openDir(path.Dir(name))
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := unix.Renameat(dir, path.Base(temporary), dir, path.Base(name)); err != nil {
		return &os.PathError{Op: "rename", Path: temporary, Err: err}
	}
	return nil
}

// mkdirAll makes name and what is missing above it, owned by root and with mode 0755.
func (r *rootDir) mkdirAll(name string) error {
	if name == "/" || r.isDir(name) {
		return nil
	}
	if err := r.mkdirAll(path.Dir(name)); err != nil {
		return err
	}
	parent, err := r.openDir(path.Dir(name))
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	err = unix.Mkdirat(parent, path.Base(name), 0o755)
	if err != nil && err != unix.EEXIST {
		return &os.PathError{Op: "mkdir", Path: name, Err: err}
	}
	return nil
}

// removeFiles removes the directory name and the files in it; it has no directories.
func (r *rootDir) removeFiles(name string) error {
	fd, err := r.open(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(fd), name)
	defer dir.Close()
	files, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := unix.Unlinkat(fd, file, 0); err != nil {
			return &os.PathError{Op: "unlink", Path: path.Join(name, file), Err: err}
		}
	}
	parent, err := r.openDir(path.Dir(name))
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	if err := unix.Unlinkat(parent, path.Base(name), unix.AT_REMOVEDIR); err != nil {
		return &os.PathError{Op: "rmdir", Path: name, Err: err}
	}
	return nil
}
