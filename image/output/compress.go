package output

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/adler32"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"vmbuild/rootfs/chroot"
)

// Compression is a row of the table: a way to compress a stream. The zero value is none.
type Compression struct {
	Name     string
	Suffixes []string // of targets

	encode  func(io.Writer) (io.WriteCloser, error)
	tool    string                    // Debian package of the program, where encode is nil
	command []string                  // reads standard input, writes standard output
	filter  func(io.Writer) io.Writer // corrects what the program writes; may be nil
}

// How to add one: a row here; then VMBUILD_TEST=net,build go test ./image/output. The suffixes are mmdebstrap's, which has
// them from GNU tar. All give the same bytes on every host: the version of a program is that of the tools tree.
var compressions = []Compression{
	{Name: "gzip", Suffixes: []string{".gz", ".tgz", ".taz"}, encode: encodeGzip},
	{Name: "zstd", Suffixes: []string{".zst"}, encode: encodeZstd},
	{Name: "xz", Suffixes: []string{".xz", ".txz"}, tool: "xz-utils", command: xz()},
	{Name: "bzip2", Suffixes: []string{".bz2", ".tbz", ".tbz2", ".tz2"}, tool: "bzip2", command: []string{"bzip2", "-c"}},
	{
		Name: "lzma", Suffixes: []string{".lzma", ".tlz"}, tool: "xz-utils",
		command: []string{"xz", "--format=lzma", "-c"},
	},
	{Name: "lz4", Suffixes: []string{".lz4"}, tool: "lz4", command: []string{"lz4", "-c"}},
	// The name without a suffix is an alternative, which a tools tree lacks as it is not configured.
	{Name: "lzip", Suffixes: []string{".lz"}, tool: "lzip", command: []string{"lzip.lzip", "-c"}},
	{
		Name: "lzop", Suffixes: []string{".lzo"}, tool: "lzop", command: []string{"lzop", "-c"},
		filter: func(w io.Writer) io.Writer { return &lzopHeader{w: w} },
	},
	{Name: "compress", Suffixes: []string{".Z", ".taZ"}, tool: "ncompress", command: []string{"compress", "-c"}},
}

// Compressions returns the table's rows.
func Compressions() []Compression { return slices.Clone(compressions) }

// LookupCompression returns the row with that name; "" is none.
func LookupCompression(name string) (Compression, error) {
	var names []string
	for _, c := range append([]Compression{{}}, compressions...) {
		if c.Name == name {
			return c, nil
		}
		names = append(names, c.Name)
	}
	return Compression{}, fmt.Errorf("compression %q is not one of %s", name, strings.Join(names[1:], ", "))
}

// compressionOf finds the compression that a target's suffix asks for.
func compressionOf(target string) Compression {
	for _, c := range compressions {
		if hasSuffix(target, c.Suffixes) {
			return c
		}
	}
	return Compression{}
}

func encodeGzip(w io.Writer) (io.WriteCloser, error) {
	return gzip.NewWriterLevel(w, gzip.DefaultCompression)
}

// encodeZstd uses one processor more, which changes nothing of what it writes.
func encodeZstd(w io.Writer) (io.WriteCloser, error) {
	return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(2))
}

// xz gives a command that splits its input into blocks of a fixed size, as xz does whenever it uses more than one
// thread: so the bytes do not depend on the number of processors. One thread alone would write other bytes.
func xz() []string { return []string{"xz", fmt.Sprintf("-T%d", max(2, runtime.NumCPU())), "-c"} }

// compress has produce write to out, compressed.
func (c Compression) compress(ctx context.Context, box chroot.Toolbox, out *os.File, produce func(io.Writer) error) error {
	switch {
	case c.encode != nil:
		encoder, err := c.encode(out)
		if err != nil {
			return err
		}
		if err := produce(encoder); err != nil {
			return err
		}
		return encoder.Close()
	case c.command != nil:
		// Programs do not expect a FIFO that is full to be an error.
		if err := unix.SetNonblock(int(out.Fd()), false); err != nil {
			return err
		}
		command := chroot.Command{Args: c.command, Stdout: out}
		if c.filter != nil {
			command.Stdout = c.filter(out)
		}
		return pipe(ctx, box, command, produce)
	}
	return produce(out)
}

// pipe runs a command of a toolbox on what produce writes.
func pipe(ctx context.Context, box chroot.Toolbox, c chroot.Command, produce func(io.Writer) error) (err error) {
	tools, leave, err := box.Enter(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, leave.Close()) }()
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	produced := make(chan error, 1)
	go func() {
		err := produce(write)
		write.Close() // the program takes it for the end, but err tells
		produced <- err
	}()
	c.Stdin = read
	err = tools.Run(ctx, c)
	read.Close() // a producer that still writes stops
	if broken := <-produced; err == nil {
		return broken
	}
	return err
}

// lzopHeader passes on what lzop writes without the time at which it did so. Of the header, the time is at 25 to 32 and
// the sum over what precedes it, without the magic of 9 bytes, at 34 to 37 (write_header in lzop's src/lzop.c).
type lzopHeader struct {
	w    io.Writer
	head []byte // as far as it has come; what is after it is passed on
}

const lzopHeaderSize = 38

func (l *lzopHeader) Write(data []byte) (int, error) {
	n := min(lzopHeaderSize-len(l.head), len(data))
	l.head = append(l.head, data[:n]...)
	if n > 0 && len(l.head) == lzopHeaderSize {
		clear(l.head[25:33])
		binary.BigEndian.PutUint32(l.head[34:], adler32.Checksum(l.head[9:34]))
		if _, err := l.w.Write(l.head); err != nil {
			return 0, err
		}
	}
	if n == len(data) {
		return n, nil
	}
	rest, err := l.w.Write(data[n:])
	return n + rest, err
}
