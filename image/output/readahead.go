package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"vmbuild/rootfs/tree"
)

const (
	chunkSize   = 1 << 18 // bytes that are read at once
	chunksAhead = 64      // read and not yet asked for, at most
)

// readAhead reads files of a tree on all processors, in the order in which they will be asked for: whoever writes one after the
// other into a stream need not wait for each.
type readAhead struct {
	chunks chan *chunk // in order; closed behind the last
	err    error       // why no chunk comes any more; set when chunks is closed
	cancel context.CancelFunc
	work   sync.WaitGroup
	free   sync.Pool // of *[chunkSize]byte
}

// chunk is a part of a file.
type chunk struct {
	entry  tree.Entry
	offset int64
	buffer *[chunkSize]byte
	data   []byte
	err    error
	read   chan struct{} // closed when data or err is there
}

// newReadAhead begins to read what is in the files among the entries of a tree, once for those of several names. Close it.
func newReadAhead(ctx context.Context, dir string, entries []tree.Entry) *readAhead {
	r := &readAhead{chunks: make(chan *chunk, chunksAhead)}
	r.free.New = func() any { return new([chunkSize]byte) }
	ctx, r.cancel = context.WithCancel(ctx)
	wanted := make(chan *chunk)
	r.work.Go(func() {
		defer close(r.chunks)
		defer close(wanted)
		r.err = r.want(ctx, entries, wanted)
	})
	for range runtime.GOMAXPROCS(0) {
		r.work.Go(func() {
			for c := range wanted {
				c.err = c.readFrom(dir)
				close(c.read)
			}
		})
	}
	return r
}

// want sends the chunks of all files to who reads them, and to who will ask for them.
func (r *readAhead) want(ctx context.Context, entries []tree.Entry, wanted chan<- *chunk) error {
	for _, e := range entries {
		if e.Type != tree.File || e.HardLink != "" {
			continue
		}
		for offset := int64(0); offset < e.Size; offset += chunkSize {
			c := &chunk{entry: e, offset: offset, read: make(chan struct{})}
			select {
			case r.chunks <- c:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			c.buffer = r.free.Get().(*[chunkSize]byte)
			select {
			case wanted <- c:
			case <-ctx.Done():
				c.err = context.Cause(ctx)
				close(c.read)
				return c.err
			}
		}
	}
	return errors.New("no file is left to be read")
}

func (c *chunk) readFrom(dir string) error {
	f, err := os.OpenFile(dir+c.entry.Path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	c.data = c.buffer[:min(chunkSize, c.entry.Size-c.offset)]
	_, err = f.ReadAt(c.data, c.offset)
	if err == io.EOF {
		return fmt.Errorf("%s became shorter while it was read", c.entry.Path)
	}
	return err
}

// copy writes the content of an entry, which must be the next of those that have any.
func (r *readAhead) copy(w io.Writer, e tree.Entry) error {
	for left := e.Size; left > 0; {
		c, more := <-r.chunks
		if !more {
			return r.err
		}
		if c.entry.Path != e.Path {
			return fmt.Errorf("%s is to be read next, not %s", c.entry.Path, e.Path)
		}
		<-c.read
		if c.err != nil {
			return c.err
		}
		if _, err := w.Write(c.data); err != nil {
			return err
		}
		left -= int64(len(c.data))
		r.free.Put(c.buffer)
	}
	return nil
}

// Close ends what is still read.
func (r *readAhead) Close() {
	r.cancel()
	r.work.Wait()
}
