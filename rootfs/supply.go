package rootfs

import (
	"context"
	"slices"
	"sync"

	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/internal/archive"
	"vmbuild/rootfs/internal/dpkg"
	"vmbuild/rootfs/span"
)

// supply brings packages into the cache, in the order in which they are needed, while those that are there are in use already.
type supply struct {
	lock   *Lock
	client *archive.Client
	cancel context.CancelFunc
	mu     sync.Mutex
	there  map[string]*presence // by SHA256
	silent bool                 // something else is told by now
	done   chan struct{}        // closed when all are there, or when err says why not
	err    error
}

// presence is a file that is there when its channel is closed.
type presence struct {
	once sync.Once
	c    chan struct{}
}

// supply begins to fetch packages of a Lock. Close it.
func (b *Builder) supply(ctx context.Context, l *Lock, packages []Package) *supply {
	s := &supply{
		lock: l, client: b.client(l.Apt, l.TLS), there: map[string]*presence{}, done: make(chan struct{}),
	}
	var files []archive.File
	for _, p := range packages {
		files = append(files, l.file(p))
		s.there[p.SHA256] = &presence{c: make(chan struct{})}
	}
	s.client.Progress = func(p archive.Progress) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.silent {
			b.Event(Event{Stage: "fetch", Done: p.BytesDone, Total: p.Bytes, Unit: Bytes})
		}
	}
	b.Event(Event{Stage: "fetch"})
	ctx, s.cancel = context.WithCancel(ctx)
	go func() {
		ctx, fetching := span.Start(ctx, span.Stage, "fetch")
		defer fetching.End()
		defer close(s.done)
		s.err = s.client.Fetch(ctx, files, func(f archive.File, _ string) error {
			there := s.there[f.SHA256]
			there.once.Do(func() { close(there.c) })
			return nil
		})
	}()
	return s
}

// Close ends what is still fetched.
func (s *supply) Close() {
	s.cancel()
	<-s.done
}

// wait returns when all packages are there.
func (s *supply) wait(ctx context.Context) error {
	select {
	case <-s.done:
		return s.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// silence ends what is told of fetching: something else is, from now on.
func (s *supply) silence() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = true
}

// reason is why packages that did not come did not, if that is what an error of their user is about.
func (s *supply) reason(err error) error {
	select {
	case <-s.done:
		if err != nil && s.err != nil {
			return s.err
		}
	default:
	}
	return err
}

// deb is the file of a package, which may still have to come.
func (s *supply) deb(p Package) dpkg.Deb {
	return dpkg.Deb{
		Path: s.client.Cache.ObjectPath(p.SHA256), SHA256: p.SHA256,
		Ready: func(ctx context.Context) error {
			select {
			case <-s.there[p.SHA256].c:
				return nil
			case <-s.done:
				return s.err
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		},
		Refetch: func(ctx context.Context) error {
			_, err := s.client.Refetch(ctx, s.lock.file(p))
			return err
		},
	}
}

// steps are the package files of the steps of an installation.
type steps struct {
	essential, rest []dpkg.Deb
	added           []dpkg.Deb // the third step: those that Lock.Base leaves to a layer of their own
}

func (s steps) all() []dpkg.Deb { return slices.Concat(s.essential, s.rest, s.added) }

// steps are those of a Lock, whose packages are among those of the supply.
func (s *supply) steps(l *Lock) steps {
	below, added := l, &Lock{}
	if l.Base != nil {
		below, added = l.Base, upperLayer{Lock: l}.part()
	}
	var of steps
	for _, p := range below.Packages {
		if p.Essential {
			of.essential = append(of.essential, s.deb(p))
		} else {
			of.rest = append(of.rest, s.deb(p))
		}
	}
	for _, p := range added.Packages {
		of.added = append(of.added, s.deb(p))
	}
	return of
}

// source is where the layers of a Lock get their packages: all that any of them needs is fetched at once, and those of the
// upper one are read and decompressed while the last packages of the other are configured.
type source struct {
	builder *Builder
	lock    *Lock
	supply  *supply      // nil: nothing is needed yet
	coming  *dpkg.Coming // what is added; nil: it is not begun
	modules *plainModules
}

// plain is where the modules of kernels are decompressed.
func (s *source) plain() *plainModules {
	if s.modules == nil {
		s.modules = &plainModules{temp: s.builder.Temp}
	}
	return s.modules
}

// foresight is that for a tree of the Lock's packages or of some of them.
func (s *source) foresight(l *Lock, root string, target chroot.Runner) *foresight {
	return &foresight{
		programs: programs{root: root, target: target, emulated: isEmulated(l.Arch), plain: s.plain()},
		awaitApt: l.has("apt"),
	}
}

// start begins to fetch packages, unless it has been begun for a layer below.
func (s *source) start(ctx context.Context, packages []Package) *supply {
	if s.supply == nil {
		s.supply = s.builder.supply(ctx, s.lock, packages)
	}
	return s.supply
}

// added begins to read what the Lock adds to its base, or returns what was begun.
func (s *source) added(ctx context.Context, o dpkg.Options) *dpkg.Coming {
	if s.coming == nil {
		s.coming = dpkg.Prepare(ctx, o, s.supply.steps(s.lock).added)
	}
	return s.coming
}

// Close ends what is still going on.
func (s *source) Close() {
	if s.coming != nil {
		s.coming.Close()
	}
	if s.supply != nil {
		s.supply.Close()
	}
}

// inOrder are the packages of a Lock in the order in which they are installed.
func (l *Lock) inOrder() []Package {
	if l.Base == nil {
		return l.Packages
	}
	return slices.Concat(l.Base.Packages, upperLayer{Lock: l}.part().Packages)
}
