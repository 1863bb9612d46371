package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"sync"

	"golang.org/x/sync/errgroup"

	"vmbuild/rootfs/layer"
)

// connections is how many files are fetched at a time unless the Client says another number.
const connections = 8

// Progress is how far a call of Fetch or Packages has come. What is in the cache counts as fetched.
type Progress struct {
	Files, FilesDone int
	Bytes, BytesDone int64
}

// Fetch brings files into the cache, several at a time, started in the order given, and calls done with the path of
// each as soon as it is there: concurrently, and on the connection's own goroutine, so that long work in it delays
// other files. It ends at the first error, of its own or of done. What it has of an unfinished file stays in the cache
// and is not fetched again next time.
func (c *Client) Fetch(ctx context.Context, files []File, done func(File, string) error) error {
	m := newMeter(c.Progress, files...)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.parallel())
	for _, f := range files {
		group.Go(func() error {
			if ctx.Err() != nil { // also for a file that would not have to be fetched
				return context.Cause(ctx)
			}
			path, err := c.object(ctx, f, m)
			if err != nil {
				return err
			}
			return done(f, path)
		})
	}
	return group.Wait()
}

func (c *Client) parallel() int {
	if c.Parallel > 0 {
		return c.Parallel
	}
	return connections
}

// object returns the path of a file in the cache, fetching it if it is not there. Where several paths below its archive
// lead to the file, it is fetched from the first that exists; File.Path itself is the last of them.
func (c *Client) object(ctx context.Context, f File, m *meter, paths ...string) (string, error) {
	var urls []*url.URL
	for _, path := range append(paths, f.Path) {
		u, err := locate(f.Archive, path)
		if err != nil {
			return "", err
		}
		urls = append(urls, u)
	}
	bytes := m.file()
	path, err := c.Cache.Object(ctx, f.SHA256, f.Size, func(ctx context.Context, w io.Writer, offset int64) error {
		bytes.set(offset)
		return c.downloadAny(ctx, urls, io.MultiWriter(w, bytes), offset)
	})
	if err != nil {
		return "", f.refuse(err)
	}
	bytes.set(f.Size)
	m.finish()
	return path, nil
}

// downloadAny downloads from the first of the URLs at which there is a file.
func (c *Client) downloadAny(ctx context.Context, urls []*url.URL, w io.Writer, offset int64) error {
	err := c.download(ctx, urls[0], w, offset)
	if errors.Is(err, fs.ErrNotExist) && len(urls) > 1 {
		return c.downloadAny(ctx, urls[1:], w, offset)
	}
	return err
}

// refuse turns the cache's words about an object into those about a file of an archive, and leaves other errors alone.
func (f File) refuse(err error) error {
	var wrong *layer.VerificationError
	if !errors.As(err, &wrong) {
		return err
	}
	e := &VerificationError{File: f.Path, Archive: redact(f.Archive)}
	switch {
	case wrong.GotSize > wrong.Size:
		e.Reason = fmt.Sprintf("has more than the %d bytes that its index says", wrong.Size)
	case wrong.GotSize < wrong.Size:
		e.Reason = fmt.Sprintf("has %d bytes, its index says %d", wrong.GotSize, wrong.Size)
	default:
		e.Reason = fmt.Sprintf("has SHA256 %s, its index says %s", wrong.GotSum, wrong.Sum)
	}
	return e
}

// meter adds up the progress of several files and reports it.
type meter struct {
	mu     sync.Mutex
	total  Progress
	report func(Progress)
}

func newMeter(report func(Progress), files ...File) *meter {
	m := &meter{report: report}
	m.total.Files = len(files)
	for _, f := range files {
		m.total.Bytes += f.Size
	}
	return m
}

func (m *meter) add(files int, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.total.FilesDone += files
	m.total.BytesDone += bytes
	if m.report != nil {
		m.report(m.total)
	}
}

func (m *meter) finish() { m.add(1, 0) }

func (m *meter) file() *fileMeter { return &fileMeter{meter: m} }

// fileMeter counts the bytes of one file.
type fileMeter struct {
	meter *meter
	done  int64
}

// set says how many bytes of the file are there. They may have become fewer.
func (f *fileMeter) set(done int64) {
	if done != f.done {
		f.meter.add(0, done-f.done)
	}
	f.done = done
}

func (f *fileMeter) Write(p []byte) (int, error) {
	f.set(f.done + int64(len(p)))
	return len(p), nil
}
