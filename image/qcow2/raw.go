package qcow2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// WriteRaw writes a disk byte for byte to an empty file, with holes where the disk has zeroes. If the file is the one that
// the disk is made of, there is nothing to do.
func WriteRaw(ctx context.Context, out *os.File, d Disk, progress func(done int64)) error {
	if progress == nil {
		progress = func(int64) {}
	}
	if err := writeRaw(ctx, out, d, progress); err != nil {
		return fmt.Errorf("write raw: %w", err)
	}
	progress(d.Size())
	return nil
}

func writeRaw(ctx context.Context, out *os.File, d Disk, progress func(done int64)) error {
	raw, ok := d.(*rawDisk)
	if ok {
		if same, err := raw.is(out); same || err != nil {
			return err
		}
	}
	if err := out.Truncate(d.Size()); err != nil {
		return err
	}
	if ok {
		if done, err := raw.copyInKernel(ctx, out, progress); done || err != nil {
			return err
		}
	}
	buffer := func() []byte { return make([]byte, chunkSize) }
	return forChunks(ctx, d, buffer, func(ctx context.Context, data []byte, c chunk, t turn) error {
		data = data[:min(int64(c.size), d.Size()-c.start)]
		if err := read(d, data, c.start); err != nil {
			return err
		}
		if err := writeSparse(out, data, c.start); err != nil {
			return err
		}
		if err := t.wait(ctx); err != nil {
			return err
		}
		progress(c.start + int64(len(data)))
		t.pass()
		return nil
	})
}

// is says whether a file is the disk's.
func (d *rawDisk) is(f *os.File) (bool, error) {
	a, err := d.Stat()
	if err != nil {
		return false, err
	}
	b, err := f.Stat()
	return err == nil && os.SameFile(a, b), err
}

// copyInKernel copies what is no hole, which costs nothing where the file system can share it. It is not done where the
// kernel cannot do that between these two files.
func (d *rawDisk) copyInKernel(ctx context.Context, out *os.File, progress func(done int64)) (done bool, err error) {
	for at := int64(0); ; {
		from, end, err := d.Data(ctx, at)
		if err != nil {
			return err == io.EOF, notEOF(err)
		}
		for at = from; at < end; progress(at) {
			if err := context.Cause(ctx); err != nil {
				return false, err
			}
			n, err := unix.CopyFileRange(int(d.Fd()), &from, int(out.Fd()), &at, int(min(end-at, copySize)), 0)
			switch {
			case errors.Is(err, unix.EINTR):
			case cannotCopy(err) || err == nil && n == 0:
				return false, nil
			case err != nil:
				return false, os.NewSyscallError("copy_file_range", err)
			}
		}
	}
}

// copySize is how much the kernel is to copy at a time, in which it cannot be interrupted.
const copySize = 64 << 20

func notEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// cannotCopy tells errors that speak of the files (copy_file_range(2)) from those of the copying.
func cannotCopy(err error) bool {
	for _, e := range []error{unix.EXDEV, unix.EINVAL, unix.EOPNOTSUPP, unix.ENOSYS, unix.EPERM, unix.ETXTBSY} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// block is what holes are made of in most file systems.
const block = 4096

// writeSparse writes all but the blocks of zeroes.
func writeSparse(out io.WriterAt, data []byte, offset int64) error {
	for at := 0; at < len(data); {
		end := at
		for end < len(data) && !isZero(data[end:min(end+block, len(data))]) {
			end = min(end+block, len(data))
		}
		if end == at {
			at = min(at+block, len(data))
			continue
		}
		if _, err := out.WriteAt(data[at:end], offset+int64(at)); err != nil {
			return err
		}
		at = end
	}
	return nil
}

func isZero(data []byte) bool { return bytes.Equal(data, zeroes[:len(data)]) }
