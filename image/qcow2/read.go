package qcow2

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
	"github.com/lima-vm/go-qcow2reader/image"
	"github.com/lima-vm/go-qcow2reader/image/qcow2"
)

// Open returns the disk in a qcow2 file, as it is without the file's snapshots. What cannot be read, or not without other
// files, is refused: encryption, backing and data files, subclusters, and a header that is not right.
func Open(f *os.File) (Disk, error) {
	d, err := open(f)
	if err != nil {
		return nil, fmt.Errorf("open qcow2 %q: %w", f.Name(), err)
	}
	return d, nil
}

func open(f *os.File) (Disk, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return newImage(f, info.Size())
}

// newImage reads a file of that size.
func newImage(r io.ReaderAt, size int64) (Disk, error) {
	first := make([]byte, min(size, ClusterSize))
	if _, err := r.ReadAt(first, 0); err != nil && err != io.EOF {
		return nil, err
	}
	h, err := parseHeader(first)
	if err != nil {
		return nil, err
	}
	RegisterDecompressors()
	img, err := qcow2.Open(padded{r, roundUp(size, h.clusterSize)}, nil)
	if err != nil {
		return nil, err
	}
	if err := img.Readable(); err != nil {
		return nil, err
	}
	return &imageDisk{img}, nil
}

// imageDisk is a Disk that go-qcow2reader reads.
type imageDisk struct{ image.Image }

const (
	extentQuery = 1 << 30  // of the library a bounded question each time, so that the work can be interrupted
	enough      = 64 << 20 // data after which Data does not look for more
)

// Data joins what the library tells apart: clusters that are compressed and others.
func (d *imageDisk) Data(ctx context.Context, offset int64) (start, end int64, err error) {
	start, end = offset, offset
	for end < d.Size() && end-start < enough {
		if err := context.Cause(ctx); err != nil {
			return 0, 0, err
		}
		e, err := d.Extent(end, min(extentQuery, d.Size()-end))
		switch {
		case err != nil:
			return 0, 0, fmt.Errorf("look at byte %d of the disk: %w", end, err)
		case e.Length <= 0:
			return 0, 0, fmt.Errorf("look at byte %d of the disk: its tables end there", end)
		case !e.Zero:
			end += e.Length
		case start < end:
			return start, end, nil
		default:
			start += e.Length
			end = start
		}
	}
	if start == end {
		return 0, 0, io.EOF
	}
	return start, end, nil
}

// ReadAt tells the disk's end, which the library calls io.EOF, from a file that lacks something.
func (d *imageDisk) ReadAt(p []byte, offset int64) (int, error) {
	n, err := d.Image.ReadAt(p, offset)
	switch {
	case err == nil, n == len(p):
		return n, nil
	case offset+int64(n) == d.Size():
		return n, io.EOF
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return n, fmt.Errorf("read byte %d of the disk: the file is cut off or damaged", offset+int64(n))
	}
	return n, fmt.Errorf("read byte %d of the disk: %w", offset+int64(n), err)
}

// padded is a file that reads as zeroes from its end to the end of its last cluster: writers may leave that away.
type padded struct {
	io.ReaderAt
	size int64
}

func (p padded) ReadAt(b []byte, offset int64) (int, error) {
	n, err := p.ReaderAt.ReadAt(b, offset)
	if err != io.EOF {
		return n, err
	}
	rest := b[n:min(int64(len(b)), max(int64(n), p.size-offset))]
	clear(rest)
	if n += len(rest); n == len(b) {
		return n, nil
	}
	return n, io.EOF
}

// RegisterDecompressors has go-qcow2reader read all clusters that Write can write, for callers that use it themselves.
func RegisterDecompressors() { register() }

// register gives the library its decompressors, which it has for the whole program: zstd, which it lacks, and flate
// faster than the standard library's.
var register = sync.OnceFunc(func() {
	qcow2.SetDecompressor(qcow2.CompressionTypeZlib, decompressor(func() resetter {
		return &inflater{in: bufio.NewReader(nil), flate: flate.NewReader(nil)}
	}))
	qcow2.SetDecompressor(qcow2.CompressionTypeZstd, decompressor(func() resetter {
		r, err := zstd.NewReader(nil,
			zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			panic(err) // by options only that zstd cannot have
		}
		return r
	}))
})

// maxWindow is more than zstd uses for the largest clusters, of 2 MiB, at any level below "ultra".
const maxWindow = 8 << 20

// resetter is a decompressor that can be used again.
type resetter interface {
	io.Reader
	Reset(io.Reader) error
}

// decompressor lends decompressors to the library, and has them read as much as it asks for.
func decompressor(make func() resetter) qcow2.Decompressor {
	pool := sync.Pool{New: func() any { return make() }}
	return func(r io.Reader) (io.ReadCloser, error) {
		z := pool.Get().(resetter)
		if err := z.Reset(r); err != nil {
			return nil, err
		}
		return &lent{z, func() { pool.Put(z) }}, nil
	}
}

type lent struct {
	resetter
	giveBack func()
}

// Read fills p. The library takes a short read for what there is, and would begin the cluster anew to get the rest.
func (l *lent) Read(p []byte) (int, error) {
	n, err := io.ReadFull(l.resetter, p)
	if n == len(p) {
		err = nil
	}
	return n, err
}

func (l *lent) Close() error {
	l.giveBack()
	return nil
}

// inflater reads raw deflate.
type inflater struct {
	in    *bufio.Reader
	flate io.ReadCloser
}

func (i *inflater) Reset(r io.Reader) error {
	i.in.Reset(r)
	return i.flate.(flate.Resetter).Reset(i.in, nil)
}

func (i *inflater) Read(p []byte) (int, error) { return i.flate.Read(p) }
