package output

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vmbuild/rootfs/layer"
)

// Target is where a build goes. When all targets of a build are written, each is synced and then committed; Close gives
// up what was not committed.
type Target interface {
	Handle() *os.File // for Job.Out, which may be in another process
	Sync() error
	Commit() error
	Close() error
}

// Open takes hold of a target that Choose has accepted for the format. Nothing of it changes that anybody could see: a
// FIFO or device is opened for writing by Format.Write only.
func Open(target string, f Format) (Target, error) {
	if f.Nothing {
		target = os.DevNull
	}
	if isStdout(target) {
		return openStdout()
	}
	if f.Shared {
		return openLive(target)
	}
	if f.InPlace {
		return openDirectory(target)
	}
	info, err := os.Stat(target)
	if f.Stream && err == nil && !info.Mode().IsRegular() {
		return openLate(target)
	}
	return Create(target)
}

// stream is a target whose bytes are gone when they are written.
type stream struct{ *os.File }

func (s stream) Handle() *os.File { return s.File }
func (s stream) Sync() error      { return nil }
func (s stream) Commit() error    { return nil }

func openStdout() (Target, error) {
	fd, err := unix.FcntlInt(os.Stdout.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("open standard output: %w", err)
	}
	return stream{os.NewFile(uintptr(fd), "standard output")}, nil
}

func openLate(target string) (Target, error) {
	f, err := os.OpenFile(target, unix.O_PATH, 0)
	if err != nil {
		return nil, fmt.Errorf("open target: %w", err)
	}
	return stream{f}, nil
}

// readerPoll is how often a FIFO without a reader is looked at.
const readerPoll = 50 * time.Millisecond

// openStream opens for writing what openLate took hold of, and waits until a FIFO has a reader. Writing to a FIFO ends
// with ctx. Any other file is returned as it is.
func openStream(ctx context.Context, f *os.File) (*os.File, error) {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_PATH == 0 {
		return f, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	name := handlePath(f)
	switch {
	case info.Mode()&fs.ModeNamedPipe != 0:
		return openFIFO(ctx, name)
	case info.Mode()&fs.ModeCharDevice != 0:
		return os.OpenFile(name, os.O_WRONLY|unix.O_NOCTTY, 0)
	}
	return os.OpenFile(name, os.O_WRONLY|unix.O_EXCL, 0) // refuses a block device that is mounted, open(2)
}

func openFIFO(ctx context.Context, name string) (*os.File, error) {
	for {
		f, err := os.OpenFile(name, os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			context.AfterFunc(ctx, func() { f.SetWriteDeadline(time.Unix(1, 0)) })
			return f, nil
		}
		if !errors.Is(err, unix.ENXIO) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for a reader of the FIFO: %w", context.Cause(ctx))
		case <-time.After(readerPoll):
		}
	}
}

// closeStream closes what openStream has opened.
func closeStream(opened, f *os.File) error {
	if opened == f {
		return nil
	}
	return opened.Close()
}

// handlePath is a name for an open file that works whatever its path is, and where it has none.
func handlePath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// directory is a target that is a directory: one that was there, or a hidden one beside where it will be.
type directory struct {
	*os.File
	path string
	temp *layer.Temp // nil: it was there
}

func openDirectory(target string) (Target, error) {
	path := filepath.Clean(target)
	f, err := os.OpenFile(path, unix.O_DIRECTORY, 0)
	if err == nil {
		return &directory{File: f, path: path}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open target: %w", err)
	}
	temp, err := layer.TempDir(filepath.Split(hiddenPrefix(path)))
	if err != nil {
		return nil, fmt.Errorf("make target %s: %w", path, err)
	}
	if f, err = os.Open(temp.Path); err != nil {
		return nil, errors.Join(fmt.Errorf("make target %s: %w", path, err), temp.Close())
	}
	return &directory{File: f, path: path, temp: temp}, nil
}

func (d *directory) Handle() *os.File { return d.File }

// Sync writes what is in the directory to the disk, and whatever else is on its filesystem: nothing less covers a tree.
func (d *directory) Sync() error {
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync target %s: %w", d.path, err)
	}
	return nil
}

// Commit makes the directory appear at its path, unless something else has appeared there meanwhile.
func (d *directory) Commit() error {
	if d.temp == nil {
		return nil
	}
	err := unix.Renameat2(unix.AT_FDCWD, d.temp.Path, unix.AT_FDCWD, d.path, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL { // the filesystem cannot; without the flag it replaces nothing but an empty directory
		err = unix.Rename(d.temp.Path, d.path)
	}
	if err != nil {
		return fmt.Errorf("commit target %s: %w", d.path, err)
	}
	return syncDir(filepath.Dir(d.path))
}

// Close removes a directory that was not committed. What the inner half has put there is the inner half's to remove.
func (d *directory) Close() error {
	err := d.File.Close()
	if d.temp != nil {
		err = errors.Join(err, d.temp.Close())
	}
	return err
}

// sweepBeside removes what killed builds have left beside a hidden directory that is to be filled. It takes the inner
// half to remove it, as files there may be of any owner; if that fails, those builds' leftovers are not this one's error.
func sweepBeside(f *os.File) {
	path, err := os.Readlink(handlePath(f))
	if err != nil {
		return
	}
	parent, name := filepath.Split(path)
	if prefix, ok := strings.CutSuffix(strings.TrimRight(name, "0123456789"), ".vmbuild-"); ok {
		_ = layer.Sweep(parent, prefix+".vmbuild-")
	}
}
