package dpkg

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/internal/deb"
	"vmbuild/rootfs/span"
)

// Coming are packages that are to be installed soon. While maintainer scripts, which come one after the other, keep one processor
// busy, the others read them and decompress their files.
type Coming struct {
	debs     []Deb
	archives []*archive
	err      error
	read     chan struct{} // closed when archives and err are known
	cancel   context.CancelFunc
	workers  sync.WaitGroup
	lanes    lanes

	mu      sync.Mutex
	changed *sync.Cond
	queue   []*archive // to be decompressed, the largest first
	ahead   int64      // bytes that were, and are not yet taken
	busy    bool       // packages are being unpacked, on all processors
	closed  bool
}

// mostAhead bounds what is decompressed before it is asked for, in bytes: it lies beside the tree, in files without names.
const mostAhead = 512 << 20

// Prepare begins to read packages for a root, in whose parent directory there is room for their files. Close it.
func Prepare(ctx context.Context, o Options, debs []Deb) *Coming {
	c := newComing(debs, o)
	ctx, c.cancel = context.WithCancel(ctx)
	idle := o.parallel() - 1
	c.workers.Go(func() {
		c.archives, c.err = readArchives(ctx, debs, max(idle, 1))
		c.queue = largestFirst(c.archives)
		close(c.read)
		if c.err != nil {
			return
		}
		for range idle {
			c.workers.Go(func() { c.decompressAhead(ctx, filepath.Dir(o.Root)) })
		}
	})
	return c
}

func newComing(debs []Deb, o Options) *Coming {
	c := &Coming{debs: debs, read: make(chan struct{}), lanes: newLanes(o)}
	c.changed = sync.NewCond(&c.mu)
	return c
}

// Close ends what is still done, and frees what is left of it.
func (c *Coming) Close() error {
	c.cancel()
	c.change(func() { c.closed = true })
	c.workers.Wait()
	for _, a := range c.archives {
		if f := a.ahead.take(); f != nil {
			f.Close()
		}
	}
	return nil
}

// change changes what workers wait for.
func (c *Coming) change(how func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	how()
	c.changed.Broadcast()
}

// Install installs the packages. See the function of that name.
func (c *Coming) Install(ctx context.Context, o Options, runner chroot.Runner) error {
	if err := c.install(ctx, o, runner); err != nil {
		return fmt.Errorf("install packages: %w", err)
	}
	return nil
}

func (c *Coming) install(ctx context.Context, o Options, runner chroot.Runner) error {
	if len(c.debs) == 0 {
		return nil
	}
	select {
	case <-c.read:
	case <-ctx.Done():
		return ctx.Err()
	}
	if c.err != nil {
		return c.err
	}
	return install(ctx, o, runner, c)
}

// unpack unpacks some of the packages, and meanwhile decompresses no others.
func (c *Coming) unpack(ctx context.Context, db *database, o Options, archives []*archive) error {
	c.change(func() { c.busy = true })
	defer c.change(func() { c.busy = false })
	return db.unpack(ctx, o, archives, c.lanes, false)
}

// lanes are so many places for those who decompress packages: what each keeps in memory is larger than all else.
type lanes chan struct{}

func newLanes(o Options) lanes { return make(lanes, o.parallel()) }

func (l lanes) enter() { l <- struct{}{} }
func (l lanes) leave() { <-l }

// decompressAhead decompresses packages as long as no processor has anything better to do and there is room.
func (c *Coming) decompressAhead(ctx context.Context, dir string) {
	for a := c.next(); a != nil; a = c.next() {
		c.lanes.enter()
		n := a.decompressAhead(ctx, dir, func(n int64) {
			c.change(func() { c.ahead -= n })
		})
		c.lanes.leave()
		c.change(func() { c.ahead += n })
	}
}

// next returns the package to be decompressed, when it is time to; nil if there is none.
func (c *Coming) next() *archive {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.closed && len(c.queue) > 0 && (c.busy || c.ahead >= mostAhead) {
		c.changed.Wait()
	}
	if c.closed || len(c.queue) == 0 {
		return nil
	}
	a := c.queue[0]
	c.queue = c.queue[1:]
	return a
}

func largestFirst(archives []*archive) []*archive {
	bySize := slices.Clone(archives)
	slices.SortStableFunc(bySize, func(a, b *archive) int { return cmp.Compare(b.size, a.size) })
	return bySize
}

// ahead is the decompressed data.tar of a package, if somebody had the time for it.
type ahead struct {
	mu    sync.Mutex
	taken bool // it is too late to begin
	file  *os.File
	freed func() // is told when the file is taken
}

// take returns the file, waiting for it if it is being written; nil if there is none.
func (a *ahead) take() *os.File {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.file
	a.taken, a.file = true, nil
	if f != nil {
		a.freed()
	}
	return f
}

// decompressAhead returns how many bytes it has written, of which freed is told when they are taken. What fails is left to be found
// again by who unpacks the package.
func (a *archive) decompressAhead(ctx context.Context, dir string, freed func(int64)) int64 {
	a.ahead.mu.Lock()
	defer a.ahead.mu.Unlock()
	if a.ahead.taken {
		return 0
	}
	_, decompressing := span.Start(ctx, span.Lane, "decompress "+a.name)
	defer decompressing.End()
	decompressing.Read(a.size)
	f, n, err := a.decompress(dir)
	if err != nil {
		return 0
	}
	decompressing.Wrote(n)
	a.ahead.file, a.ahead.freed = f, func() { freed(n) }
	return n
}

// decompress writes data.tar to a file without a name.
func (a *archive) decompress(dir string) (_ *os.File, n int64, err error) {
	stream, err := a.open()
	if err != nil {
		return nil, 0, err
	}
	defer stream.Close()
	f, err := os.CreateTemp(dir, "data-*.tar")
	if err != nil {
		return nil, 0, err
	}
	err = os.Remove(f.Name())
	if err == nil {
		n, err = io.CopyBuffer(onlyWriter{f}, stream, make([]byte, copyBuffer))
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, n, nil
}

// onlyWriter hides that a file can read from a reader itself, for which it would take small pieces.
type onlyWriter struct{ io.Writer }

// data returns data.tar, decompressed before or now. Read it to io.EOF and close it.
func (a *archive) data() (io.ReadCloser, error) {
	if f := a.ahead.take(); f != nil {
		return f, nil
	}
	return a.open()
}

// open begins to decompress data.tar.
func (a *archive) open() (io.ReadCloser, error) {
	file, err := os.Open(a.path)
	if err != nil {
		return nil, err
	}
	pkg, err := deb.Open(file, a.size)
	if err != nil {
		file.Close()
		return nil, err
	}
	stream, err := pkg.Data()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &packageStream{stream, file}, nil
}

// packageStream is a stream with the file that it comes from.
type packageStream struct {
	io.ReadCloser
	file *os.File
}

func (s *packageStream) Close() error {
	err := s.ReadCloser.Close()
	s.file.Close()
	return err
}
