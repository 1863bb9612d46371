package output

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	segmentSize   = 1 << 18 // bytes
	segmentsAhead = 64      // at most, that wait for their turn to be written
)

// assembler makes a stream of bytes and of files. What it consists of is said in order; the files are read on all processors,
// into segments of the stream. Those of a regular file are written at once, each where it belongs, others in order.
type assembler struct {
	dir     string // of the files
	ctx     context.Context
	group   *errgroup.Group
	current *segment      // that is not yet full; nil: none
	end     int64         // of what has been said, in bytes of the stream or the regular file
	filling chan *segment // whose files are to be read
	file    *os.File      // that segments are written to where they belong; nil: it is a stream
	writing chan *segment // to be written in order
	free    sync.Pool     // of *segment
}

// segment is a part of a stream, in which there are files.
type segment struct {
	buffer [segmentSize]byte
	length int
	offset int64 // in a regular file
	parts  []filePart
	filled chan struct{} // closed when all parts are read
}

// filePart is a part of a file, and where in a segment it belongs.
type filePart struct {
	path     string
	offset   int64
	from, to int // in the segment
}

// newAssembler makes a stream with files of a directory, and writes it to w, from where that is now if it is a regular file.
// Close it.
func newAssembler(ctx context.Context, dir string, w io.Writer) (*assembler, error) {
	a := &assembler{dir: dir, filling: make(chan *segment)}
	a.free.New = func() any { return new(segment) }
	if f, ok := w.(*os.File); ok && isPlain(f) {
		var err error
		if a.end, err = f.Seek(0, io.SeekCurrent); err != nil {
			return nil, err
		}
		a.file = f
	}
	a.group, a.ctx = errgroup.WithContext(ctx)
	for range runtime.GOMAXPROCS(0) {
		a.group.Go(a.fill)
	}
	if a.file == nil {
		a.writing = make(chan *segment, segmentsAhead)
		a.group.Go(func() error { return a.writeInOrder(w) })
	}
	return a, nil
}

// isPlain says whether what is written to a file stays where it is put.
func isPlain(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_APPEND == 0
}

// add says that the stream goes on with these bytes.
func (a *assembler) add(data []byte) error {
	for len(data) > 0 {
		s := a.open()
		n := copy(s.buffer[s.length:], data)
		data = data[n:]
		if err := a.lengthen(s, n); err != nil {
			return err
		}
	}
	return nil
}

// addFile says that the stream goes on with so many bytes of a file, from its beginning.
func (a *assembler) addFile(path string, size int64) error {
	for offset := int64(0); offset < size; {
		s := a.open()
		n := int(min(size-offset, int64(segmentSize-s.length)))
		s.parts = append(s.parts, filePart{path, offset, s.length, s.length + n})
		offset += int64(n)
		if err := a.lengthen(s, n); err != nil {
			return err
		}
	}
	return nil
}

// open returns the segment that has room.
func (a *assembler) open() *segment {
	if a.current == nil {
		s := a.free.Get().(*segment)
		s.length, s.offset, s.parts, s.filled = 0, a.end, s.parts[:0], make(chan struct{})
		a.current = s
	}
	return a.current
}

// lengthen takes account of what is in the segment now, and passes it on when it is full.
func (a *assembler) lengthen(s *segment, n int) error {
	s.length += n
	a.end += int64(n)
	if s.length < segmentSize {
		return nil
	}
	return a.pass()
}

// pass passes the current segment on to those who read and write.
func (a *assembler) pass() error {
	s := a.current
	a.current = nil
	for _, to := range []chan<- *segment{a.writing, a.filling} {
		if to == nil {
			continue
		}
		select {
		case to <- s:
		case <-a.ctx.Done():
			return context.Cause(a.ctx)
		}
	}
	return nil
}

// close ends the stream, which is whole if saying what it consists of came to no error, and returns why it is not.
func (a *assembler) close(err error) error {
	if err == nil && a.current != nil {
		err = a.pass()
	}
	close(a.filling)
	if a.writing != nil {
		close(a.writing)
	}
	if broken := a.group.Wait(); broken != nil {
		return broken
	}
	if err == nil && a.file != nil {
		_, err = a.file.Seek(a.end, io.SeekStart) // for others who write to it
	}
	return err
}

func (a *assembler) fill() error {
	for s := range a.filling {
		if a.ctx.Err() != nil {
			return context.Cause(a.ctx)
		}
		for _, part := range s.parts {
			if err := part.read(a.dir, s.buffer[part.from:part.to]); err != nil {
				return err
			}
		}
		if a.file == nil {
			close(s.filled)
			continue
		}
		if _, err := a.file.WriteAt(s.buffer[:s.length], s.offset); err != nil {
			return err
		}
		a.free.Put(s)
	}
	return nil
}

func (p filePart) read(dir string, into []byte) error {
	f, err := os.OpenFile(dir+p.path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.ReadAt(into, p.offset)
	if err == io.EOF {
		return fmt.Errorf("%s became shorter while it was read", p.path)
	}
	return err
}

func (a *assembler) writeInOrder(w io.Writer) error {
	for s := range a.writing {
		select {
		case <-s.filled:
		case <-a.ctx.Done():
			return context.Cause(a.ctx)
		}
		if _, err := w.Write(s.buffer[:s.length]); err != nil {
			return err
		}
		a.free.Put(s)
	}
	return nil
}
