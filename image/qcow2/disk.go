package qcow2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// Disk is the content of a disk. ReadAt may be called by several goroutines at once.
type Disk interface {
	io.ReaderAt
	Size() int64 // bytes
	// Data returns the first range of bytes, at or after an offset, that may hold anything but zeroes: io.EOF if there is
	// none. Finding it may take long on a disk with large holes.
	Data(ctx context.Context, offset int64) (start, end int64, err error)
}

// Raw returns the disk that a regular file or a block device is, byte for byte. It moves the file's offset.
func Raw(f *os.File) (Disk, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open disk: %w", err)
	}
	if kind := info.Mode().Type(); kind != 0 && kind != os.ModeDevice {
		return nil, fmt.Errorf("open disk %q: it is neither a file nor a block device", f.Name())
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("open disk: %w", err)
	}
	return &rawDisk{f, size}, nil
}

type rawDisk struct {
	*os.File
	size int64
}

func (d *rawDisk) Size() int64 { return d.size }

// Data asks the file system. Block devices and some file systems know of no holes.
func (d *rawDisk) Data(_ context.Context, offset int64) (start, end int64, err error) {
	if offset >= d.size {
		return 0, 0, io.EOF
	}
	start, err = d.Seek(offset, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return 0, 0, io.EOF
	case errors.Is(err, unix.EINVAL):
		return offset, d.size, nil
	case err != nil:
		return 0, 0, err
	}
	end, err = d.Seek(start, unix.SEEK_HOLE)
	return start, min(end, d.size), err
}

// chunk is a range of whole clusters, the last of which may end after the disk. It is what one processor takes at a time.
type chunk struct {
	start int64
	size  int
}

// chunkSize bounds the memory of a processor, and lets it read and write large pieces.
const chunkSize = 32 * ClusterSize

// chunks returns all of a disk that may hold data, in order.
func chunks(ctx context.Context, d Disk) iter.Seq2[chunk, error] {
	return func(yield func(chunk, error) bool) {
		next := int64(0)
		for {
			start, end, err := d.Data(ctx, next)
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(chunk{}, err)
				return
			}
			next = roundUp(end, ClusterSize)
			for at := start / ClusterSize * ClusterSize; at < next; at += chunkSize {
				if err := context.Cause(ctx); err != nil {
					yield(chunk{}, err)
					return
				}
				if !yield(chunk{at, int(min(next-at, chunkSize))}, nil) {
					return
				}
			}
		}
	}
}

// read fills p with a piece of the disk, and with zeroes after the disk's end.
func read(d Disk, p []byte, offset int64) error {
	inside := min(int64(len(p)), d.Size()-offset)
	n, err := d.ReadAt(p[:inside], offset)
	clear(p[inside:])
	switch {
	case int64(n) == inside:
		return nil
	case err == io.EOF:
		return fmt.Errorf("the disk ends at %d bytes, %d short of its size", offset+int64(n), d.Size()-offset-int64(n))
	}
	return err
}

// roundUp returns the next multiple of unit.
func roundUp[T int | int64](n, unit T) T {
	if n > math.MaxInt-unit {
		return n / unit * unit
	}
	return (n + unit - 1) / unit * unit
}
