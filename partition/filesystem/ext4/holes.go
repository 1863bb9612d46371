package ext4

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"vmbuild/rootfs/tree"
)

// leastSparse is how large files are that get holes. Smaller ones are not looked into: it would cost more than it saves.
const leastSparse = 1 << 20

// findHoles sets what of each file is data. What counts is the content, not where the host has holes: that is not the same
// on every one.
func (v *Volume) findHoles(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, n := range v.inodes {
		if n.entry.Type != tree.File || n.size == 0 || v.own(n) {
			continue
		}
		blocks := ceil(n.size, blockSize)
		if blocks > math.MaxUint32 {
			return fmt.Errorf("%s: %d bytes are too many for a file", n.entry.Path, n.size)
		}
		n.data = []extent{{0, blocks}}
		if n.size < leastSparse || v.options.Dense != nil && v.options.Dense(n.entry) {
			continue
		}
		group.Go(func() (err error) {
			n.data, err = dataOf(ctx, v.options.File(n.entry), n.size)
			return err
		})
	}
	return group.Wait()
}

// dataOf gives the blocks of a file, of that size, that are not zero.
func dataOf(ctx context.Context, name string, size int64) ([]extent, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var data []extent
	buffer := make([]byte, 64*blockSize)
	for at := int64(0); at < size; {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		next, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		switch {
		case err == unix.ENXIO:
			return data, nil
		case err == nil:
			at = next / blockSize * blockSize
		}
		n, err := f.ReadAt(buffer, at)
		if err != nil && err != io.EOF {
			return nil, err
		}
		if n == 0 {
			break // it became shorter; who reads it says so
		}
		data = appendData(data, buffer[:min(int64(n), size-at)], at/blockSize)
		at += int64(n)
	}
	return data, nil
}

var zeroes [blockSize]byte

// appendData adds those of the blocks of b that are not zero; the first has that number.
func appendData(data []extent, b []byte, block int64) []extent {
	for ; len(b) > 0; block++ {
		one := b[:min(len(b), blockSize)]
		b = b[len(one):]
		if bytes.Equal(one, zeroes[:len(one)]) {
			continue
		}
		if last := len(data) - 1; last >= 0 && data[last].end() == block {
			data[last].count++
			continue
		}
		data = append(data, extent{block, 1})
	}
	return data
}

// readFile fills p with what is in a file from an offset on; behind its size are zeroes.
func readFile(p []byte, name string, offset, size int64) error {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	inside := p[:max(0, min(int64(len(p)), size-offset))]
	clear(p[len(inside):])
	for len(inside) > 0 {
		n, err := unix.Pread(fd, inside, offset)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return &os.PathError{Op: "read", Path: name, Err: err}
		case n == 0:
			return fmt.Errorf("%s became shorter while it was copied", name)
		default:
			inside, offset = inside[n:], offset+int64(n)
		}
	}
	return nil
}
