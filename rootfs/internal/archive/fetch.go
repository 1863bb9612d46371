package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
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
// and is not fetched again next time. Without leave to fetch, an OfflineError names all files that are not in the cache.
func (c *Client) Fetch(ctx context.Context, files []File, done func(File, string) error) error {
	if missing := c.missing(files); len(missing) > 0 {
		return &OfflineError{missing}
	}
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

// missing names the files that are wanted offline and not there.
func (c *Client) missing(files []File) []string {
	var names []string
	for _, f := range files {
		if c.Offline && !isLocal(f.Archive) && !c.Cache.HasObject(f.SHA256, f.Size) {
			names = append(names, f.Path)
		}
	}
	return names
}

// Refetch makes a file of the cache anew and returns its path. It is for whoever finds that the bytes of a file that
// Fetch has given are not those of File.SHA256 any more: the cache looks at what it has only once.
func (c *Client) Refetch(ctx context.Context, f File) (string, error) {
	if err := c.Cache.RemoveObject(f.SHA256); err != nil {
		return "", err
	}
	return c.object(ctx, f, newMeter(nil, f))
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
	bytes := m.file()
	where := copies{append([]string{f.Archive}, f.Mirrors...), append(paths, f.Path)}
	path, err := c.Cache.Object(ctx, f.SHA256, f.Size, func(ctx context.Context, w io.Writer, offset int64) error {
		bytes.set(offset)
		t := &transfer{w: io.MultiWriter(w, bytes), offset: offset}
		from, err := c.each(ctx, where, func(u *url.URL, p patience) error { return c.download(ctx, u, t, p) })
		if from != "" {
			f.Archive = from // to be named if the file is not what it should be
		}
		return err
	})
	if errors.As(err, new(*OfflineError)) {
		return "", &OfflineError{[]string{f.Path}}
	}
	if err != nil {
		return "", f.refuse(err)
	}
	bytes.set(f.Size)
	m.finish()
	return path, nil
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
