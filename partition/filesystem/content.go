package filesystem

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// Content is a filesystem that is nowhere yet: its bytes are there for who asks. ReadAt may be called by several goroutines
// at once.
type Content interface {
	io.ReaderAt
	Size() int64 // bytes
	// Data returns the first range of bytes, at or after an offset, that may hold anything but zeroes: io.EOF if there is
	// none.
	Data(ctx context.Context, offset int64) (start, end int64, err error)
}

// Planned says whether Plan gives the content of the filesystem; Make writes any.
func (f Filesystem) Planned() bool { return f.plan != nil }

// Plan gives the content of the filesystem of j, whose Disk and Offset do not count. It reads the tree whenever it is
// read: that must stay as it is.
func (f Filesystem) Plan(ctx context.Context, j Job) (Content, error) {
	if err := j.refuseLinks(); err != nil {
		return nil, f.failed(j, err)
	}
	content, err := f.plan(ctx, j)
	if err != nil {
		return nil, f.failed(j, err)
	}
	return content, nil
}

const (
	pieceSize = 1 << 20 // bytes that one processor takes at a time
	holeSize  = 4096    // bytes that holes are made of in most file systems
)

// writeContent writes what is not zero, on all processors.
func writeContent(ctx context.Context, disk *os.File, offset int64, c Content) error {
	group, ctx := errgroup.WithContext(ctx)
	pieces := make(chan [2]int64)
	group.Go(func() error {
		defer close(pieces)
		return eachPiece(ctx, c, pieces)
	})
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			buffer := make([]byte, pieceSize)
			for piece := range pieces {
				p := buffer[:piece[1]-piece[0]]
				if _, err := c.ReadAt(p, piece[0]); err != nil {
					return err
				}
				if err := writeSparse(disk, p, offset+piece[0]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// eachPiece sends the ranges of data, cut at multiples of pieceSize.
func eachPiece(ctx context.Context, c Content, pieces chan<- [2]int64) error {
	for next := int64(0); ; {
		start, end, err := c.Data(ctx, next)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("look for data: %w", err)
		}
		for next = end; start < end; {
			cut := min(end, start/pieceSize*pieceSize+pieceSize)
			select {
			case pieces <- [2]int64{start, cut}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			start = cut
		}
	}
}

var zeroes [holeSize]byte

// writeSparse writes all but the blocks of zeroes.
func writeSparse(disk io.WriterAt, p []byte, offset int64) error {
	zero := func(at int) bool {
		block := p[at:min(at+holeSize, len(p))]
		return bytes.Equal(block, zeroes[:len(block)])
	}
	for at := 0; at < len(p); {
		end := at
		for end < len(p) && !zero(end) {
			end = min(end+holeSize, len(p))
		}
		if end == at {
			at += holeSize
			continue
		}
		if _, err := disk.WriteAt(p[at:end], offset+int64(at)); err != nil {
			return err
		}
		at = end
	}
	return nil
}
