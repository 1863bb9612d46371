// Package chroot runs programs inside roots: the tree that is being built (Enter) and a toolbox of build tools
// (EnterTools). It makes all mounts below those, and overlays, and starts all programs of the target; nothing else does.
//
// It is to be used inside the namespaces of package namespace, where a mount is nobody else's and where what Close
// could not undo, because the process was killed, goes with the last process. It is no security border: a program
// that wants out of a chroot as root gets out, into the build's namespaces.
//
// The invariant: after Close the tree has no mount below it, no process runs in it, and every file is as the programs
// that ran there left it, with none of ours among them.
package chroot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Options says what the programs in a root get. The zero value: nothing but the kernel's file systems.
type Options struct {
	Binds        []Bind
	Log          io.Writer // gets what programs print; may be nil
	Network      bool      // /etc/resolv.conf is the host's, unless a program changes it; what it then is stays
	BlockDaemons bool      // packages do not start their daemons: policy-rc.d forbids it, start-stop-daemon does nothing
	NoSync       bool      // fsync and its like do nothing
	Epoch        time.Time // SOURCE_DATE_EPOCH, unless zero
	Without      []string  // what of the above is left out: /proc, /sys, /dev, policy-rc.d, start-stop-daemon
	Temp         string    // for EnterTools: directory for its mount point; os.TempDir() if empty
}

// Root is a root that was entered. Programs may run in it at the same time.
type Root struct {
	dir     string
	root    *os.File // dir; nil after Close
	options Options
	mounts  newMounts // since it was entered
	made    []string  // mount points that were made, to be removed

	mu     sync.Mutex // for covers and the log
	covers []*cover
}

// Enter mounts /proc, /sys and /dev and the binds in the tree at dir, and puts in place what the options want:
//
//   - /proc is that of this PID namespace. /proc/sys and /proc/sysrq-trigger are read-only: for real root they are the
//     host's.
//   - /sys is read-only, and /sys/firmware empty, so that no package can see or change what the host was booted by.
//   - /dev is a tmpfs with the host's null, zero, full, random, urandom and tty, links fd, stdin, stdout, stderr, an
//     own devpts and an own shm. /dev/console is null too: nothing that packages print there reaches the host's.
//     Nodes cannot be made there; directories such as /dev/disk/by-uuid can.
//
// If it fails nothing stays mounted.
func Enter(ctx context.Context, dir string, o Options) (*Root, error) {
	r, err := newRoot(ctx, dir, o)
	if err != nil {
		return nil, fmt.Errorf("enter root %q: %w", dir, err)
	}
	if err := r.furnish(); err != nil {
		return nil, errors.Join(fmt.Errorf("enter root %q: %w", dir, err), r.Close())
	}
	return r, nil
}

func (r *Root) furnish() error {
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"/proc", r.mountProc}, {"/sys", r.mountSys}, {"/dev", r.mountDev}, {"binds", r.mountBinds}, {"covers", r.addCovers},
	} {
		if r.without(step.what) {
			continue
		}
		if err := step.do(); err != nil {
			return err
		}
	}
	return nil
}

func (r *Root) without(what string) bool { return slices.Contains(r.options.Without, what) }

func newRoot(ctx context.Context, dir string, o Options) (*Root, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	// The kernel knows a root by its real path; processes and mounts are found by that.
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return nil, err
	}
	if abs == "/" {
		return nil, errors.New("it is this process's own root")
	}
	r := &Root{dir: abs, options: o}
	if r.mounts, err = watchMounts(abs); err != nil {
		return nil, err
	}
	r.root, err = openDir(abs)
	return r, err
}

// Dir returns the root's real path.
func (r *Root) Dir() string { return r.dir }

// Close ends what still runs in the root, first by SIGTERM, so that agents remove their sockets, then by SIGKILL, and
// takes back all that Enter did, and the mounts that programs made below the root. It may be called twice.
func (r *Root) Close() error {
	if r.root == nil {
		return nil
	}
	err := terminate(r.processes)
	for i := len(r.covers) - 1; i >= 0; i-- {
		err = errors.Join(err, r.covers[i].lift())
	}
	r.root.Close()
	r.root, r.covers = nil, nil
	err = errors.Join(err, r.mounts.unmount(), r.removeMade())
	if err != nil {
		return fmt.Errorf("leave root %q: %w", r.dir, err)
	}
	return nil
}

// openIn opens a path of the root, for its place only: links in it are resolved as a program in the root sees them.
func (r *Root) openIn(path string) (*os.File, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(int(r.root.Fd()), path, &how)
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), path), nil
		case unix.EAGAIN, unix.EINTR: // a rename somewhere on the host while ".." was resolved, openat2(2)
		default:
			return nil, &os.PathError{Op: "open", Path: filepath.Join(r.dir, path), Err: err}
		}
	}
}

// openDir opens a directory for its place only.
func openDir(path string) (*os.File, error) {
	return os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY, 0)
}

// procPath is a name for an open file that works whatever its path is and whoever changes that.
func procPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// below says whether a path is dir or something inside it.
func below(dir, path string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
