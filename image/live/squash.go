package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vmbuild/hooks/transfer"
	"vmbuild/image/output"
	"vmbuild/image/session"
	"vmbuild/rootfs"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/namespace"
	"vmbuild/rootfs/span"
	"vmbuild/rootfs/tree"
)

// SquashOptions is a root filesystem and where its live directory is to be.
type SquashOptions struct {
	Source string    `json:"source"` // a tarball, or a directory with the tree itself
	Dir    string    `json:"-"`
	Epoch  time.Time `json:"epoch,omitzero"` // no later time is stored; zero: the newest of the source
	Tools  Tools     `json:"tools"`

	IsDir bool `json:"isDir"` // set by Squash
}

// format is the row of package output that makes live directories.
const format = "live"

// Squash makes a live directory. One that was not there appears when it is complete; in one that is there our files are
// replaced when all are, and others stay. The source is not changed.
func Squash(ctx context.Context, o SquashOptions, h session.Host) (err error) {
	if err := checkHost(); err != nil {
		return err
	}
	source, err := o.open()
	if err != nil {
		return err
	}
	defer source.Close()
	facts, err := output.Look(o.Dir)
	if err != nil {
		return err
	}
	f, err := output.ChooseLive(o.Dir, facts)
	if err != nil {
		return refused("%v", err)
	}
	target, err := output.Open(o.Dir, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	if err := h.Run(ctx, squashJob, o, target.Handle(), source); err != nil {
		return err
	}
	_, committing := span.Start(ctx, span.Stage, "commit")
	defer committing.End()
	if err := target.Sync(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return target.Commit()
}

// open opens the source and refuses what it cannot be.
func (o *SquashOptions) open() (*os.File, error) {
	var err error
	if o.Source, err = filepath.Abs(o.Source); err != nil {
		return nil, fmt.Errorf("find source: %w", err)
	}
	info, err := os.Stat(o.Source)
	if err != nil {
		return nil, refused("source: %v", err)
	}
	o.IsDir = info.IsDir()
	if !o.IsDir && !info.Mode().IsRegular() {
		return nil, refused("source %s is neither a tarball nor a directory", o.Source)
	}
	if o.IsDir && isBelow(o.Dir, o.Source) {
		return nil, refused("target %s lies in the tree %s: name one outside of it", o.Dir, o.Source)
	}
	f, err := os.Open(o.Source)
	if err != nil {
		return nil, refused("source: %v", err)
	}
	return f, nil
}

// isBelow says whether a path, which need not be there, is a directory or lies below it.
func isBelow(path, dir string) bool {
	path, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	if real, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(real, filepath.Base(path))
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return false
	}
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// squashInside is the inner half of Squash.
func squashInside(ctx context.Context, s *session.Session, payload json.RawMessage, files []*os.File) error {
	var o SquashOptions
	if err := json.Unmarshal(payload, &o); err != nil {
		return fmt.Errorf("read the options: %w", err)
	}
	s.Roots.Offline = o.Tools.Offline
	to, source := files[0], files[1]
	f, err := output.Lookup(format)
	if err != nil {
		return err
	}
	packages := f.Packages(output.Compression{})
	isLZ4, err := startsAsLZ4(source)
	if err != nil {
		return err
	}
	if isLZ4 {
		packages = append(packages, "lz4")
	}
	tools, err := s.Roots.Tools(ctx, o.Tools.spec(), packages)
	if err != nil {
		return err
	}
	j := output.Job{Out: to, Temp: s.Work, Toolbox: tools}
	if o.IsDir {
		s.Event(rootfs.Event{Stage: "read"})
		ctx, reading := span.Start(ctx, span.Stage, "read")
		j.Tree, j.Epoch, err = readTree(ctx, o.Source)
		reading.End()
	} else {
		s.Event(rootfs.Event{Stage: "unpack"})
		ctx, unpacking := span.Start(ctx, span.Stage, "unpack")
		unpack := plainTar
		if isLZ4 {
			unpack = lz4Tar(tools)
		}
		j.Tree, j.Epoch, err = unpackSource(ctx, source, filepath.Join(s.Work, "tree"), unpack)
		unpacking.End()
	}
	if err != nil {
		return fmt.Errorf("read source %s: %w", o.Source, err)
	}
	if !o.Epoch.IsZero() {
		j.Epoch = o.Epoch
	}
	s.Event(rootfs.Event{Stage: "write"})
	ctx, writing := span.Start(ctx, span.Stage, "write")
	defer writing.End()
	return f.Write(ctx, j)
}

// readTree looks at every entry of a directory, and returns its newest time. What could not be read would be missing in
// the squashfs, whose program goes on without it; what belongs to ids that this process does not have would be nobody's.
func readTree(ctx context.Context, dir string) (*tree.Tree, time.Time, error) {
	t := &tree.Tree{Dir: dir}
	newest := time.Unix(0, 0)
	err := t.Walk(func(e tree.Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		newest = latest(newest, e.ModTime)
		if e.UID == nobody && e.GID == nobody && !namespace.RealRoot() {
			return fmt.Errorf("%s belongs to a user whom you cannot stand in for: run vmbuild as root, or give it a "+
				"tarball of the tree", e.Path)
		}
		if e.Type != tree.File {
			return nil
		}
		if err := unix.Access(dir+e.Path, unix.R_OK); err != nil {
			return fmt.Errorf("%s: %w: run vmbuild as root, or give it a tarball of the tree", e.Path, err)
		}
		return nil
	})
	return t, newest, err
}

// nobody is how the kernel shows ids that a user namespace has no number for (proc_sys(5), overflowuid).
const nobody = 65534

// unpackSource makes the tree of a tarball in a directory, and returns its newest time.
func unpackSource(ctx context.Context, source *os.File, dir string, open opener) (*tree.Tree, time.Time, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, time.Time{}, err
	}
	plain, err := open(ctx, source)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer plain.Close()
	stream := &stream{Reader: plain, ctx: ctx}
	found, err := transfer.UnpackTree(stream, dir)
	if err != nil {
		return nil, time.Time{}, err
	}
	if stream.ended {
		return nil, time.Time{}, errors.New("the archive lacks its end: it was cut off, or is none")
	}
	if _, err := io.Copy(io.Discard, stream); err != nil { // checksums are behind the archive
		return nil, time.Time{}, err
	}
	return found.Tree, found.Newest, nil
}

// stream is a tar archive being read.
type stream struct {
	io.Reader
	ctx   context.Context
	ended bool // there was nothing left to read: an archive that is complete ends by itself, with zeroes
}

func (s *stream) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.Reader.Read(p)
	s.ended = n == 0 && err == io.EOF
	return n, err
}

// opener decompresses a tarball.
type opener func(ctx context.Context, source *os.File) (io.ReadCloser, error)

func plainTar(_ context.Context, source *os.File) (io.ReadCloser, error) {
	info, err := source.Stat()
	if err != nil {
		return nil, err
	}
	return rootfs.Decompress(source, info.Size())
}

// lz4Magic begins frames (lz4_Frame_format.md), little endian 0x184D2204.
const lz4Magic = "\x04\x22\x4d\x18"

func startsAsLZ4(f *os.File) (bool, error) {
	var magic [len(lz4Magic)]byte
	_, err := f.ReadAt(magic[:], 0)
	if err == io.EOF || errors.Is(err, unix.EISDIR) {
		return false, nil
	}
	return string(magic[:]) == lz4Magic, err
}

// lz4Tar decompresses by the toolbox's lz4, for which there is no reader here.
func lz4Tar(tools chroot.Toolbox) opener {
	return func(ctx context.Context, source *os.File) (io.ReadCloser, error) {
		runner, leave, err := tools.Enter(ctx)
		if err != nil {
			return nil, err
		}
		read, write := io.Pipe()
		done := make(chan error, 1)
		go func() {
			err := runner.Run(ctx, chroot.Command{Args: []string{"lz4", "-dc"}, Stdin: source, Stdout: write})
			write.CloseWithError(err)
			done <- leave.Close()
		}()
		return &program{PipeReader: read, done: done}, nil
	}
}

// program is what a program writes.
type program struct {
	*io.PipeReader
	done <-chan error
}

// Close ends the program, and returns when it has.
func (p *program) Close() error { return errors.Join(p.PipeReader.Close(), <-p.done) }
