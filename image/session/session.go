// Package session is what the two halves of a job have in common, whatever the job makes. The outer half, Host, starts the
// inner one in namespaces of its own and hears of its progress; the inner half, Session, has the cache, a directory for
// work and a journal, and removes what killed jobs have left.
//
// It knows no job: packages image and bootstrap have those.
package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"vmbuild/rootfs"
	"vmbuild/rootfs/layer"
	"vmbuild/rootfs/mirror"
	"vmbuild/rootfs/namespace"
	"vmbuild/rootfs/span"
)

// Host is where a job runs and whom it tells.
type Host struct {
	Cache   string             // directory of the cache
	Temp    string             // directory for work that does not outlive the job
	Log     *os.File           // structured log; nil: none
	Event   func(rootfs.Event) // called from one goroutine at a time; nil: nobody listens
	Profile Profile            // of the inner half's memory
	Users   bool               // jobs get a user namespace even where the caller is root, as emulation needs it
}

// Place is where the inner half works, as the outer one tells it.
type Place struct {
	Cache   string  `json:"cache"`
	Temp    string  `json:"temp"`
	Log     bool    `json:"log"` // the last of the job's files is the log
	Profile Profile `json:"profile,omitzero"`
	Record  bool    `json:"record,omitzero"` // what is done is recorded, and sent
}

// message is what the outer half sends: a place and what is to be done there.
type message struct {
	Place   Place           `json:"place"`
	Payload json.RawMessage `json:"payload"`
}

// Handler does the inner half of a job. Files are those that Run was given.
type Handler func(ctx context.Context, s *Session, payload json.RawMessage, files []*os.File) error

// Run has the handler of a name do a job and returns when nothing of it runs any more. What a failed job has left in its
// temporary directories is removed; if that cannot be done, the error has a *LeftoverError in it.
func (h Host) Run(ctx context.Context, name string, payload any, files ...*os.File) error {
	if err := h.run(ctx, name, payload, files...); err != nil {
		return errors.Join(err, h.sweep(ctx))
	}
	return nil
}

func (h Host) run(ctx context.Context, name string, payload any, files ...*os.File) error {
	data, err := json.Marshal(payload)
	if err != nil {
		return fmt.Errorf("encode job %q: %w", name, err)
	}
	place, err := h.place()
	if err != nil {
		return err
	}
	place.Record = span.Recording(ctx)
	if h.Log != nil {
		files = append(files[:len(files):len(files)], h.Log)
	}
	return namespace.Run(ctx, namespace.Job{
		Name: name, Payload: message{place, data}, Files: files, Users: h.Users,
		Message: h.hear(span.Relay(ctx, "vmbuild, inner half: "+name)),
	})
}

// news is what the inner half sends: an event, or something that it has recorded.
type news struct {
	rootfs.Event
	Span *span.Record `json:"span,omitempty"`
}

// hear returns what takes the messages of the inner half.
func (h Host) hear(record func(span.Record)) func(json.RawMessage) {
	return func(m json.RawMessage) {
		var n news
		switch err := json.Unmarshal(m, &n); {
		case err != nil:
		case n.Span != nil && record != nil:
			record(*n.Span)
		case n.Span == nil && h.Event != nil:
			h.Event(n.Event)
		}
	}
}

func (h Host) place() (Place, error) {
	p := Place{Log: h.Log != nil, Profile: h.Profile}
	for _, dir := range []struct {
		to   *string
		from string
	}{{&p.Cache, h.Cache}, {&p.Temp, h.Temp}} {
		abs, err := filepath.Abs(dir.from)
		if err != nil {
			return Place{}, fmt.Errorf("find directory %q: %w", dir.from, err)
		}
		*dir.to = abs
	}
	return p, nil
}

// LeftoverError says that something of a failed job could not be removed.
type LeftoverError struct{ Err error }

func (e *LeftoverError) Error() string { return "clean up: " + e.Err.Error() }
func (e *LeftoverError) Unwrap() error { return e.Err }

// grace is how long clean-up may take after a job was cancelled.
const grace = 30 * time.Second

// sweep removes what an inner half left in its temporary directories when it could not do that itself. Files there may
// belong to subordinate ids, so that it takes a job's namespaces to remove them.
func (h Host) sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	h.Log, h.Event, h.Profile = nil, nil, Profile{}
	if err := h.run(ctx, SweepJob, nil); err != nil {
		return &LeftoverError{err}
	}
	return nil
}

// SweepJob is the name of the job that removes what killed ones have left, and does nothing else.
const SweepJob = "sweep"

// Sweep is the handler of SweepJob: opening a session sweeps.
func Sweep(context.Context, *Session, json.RawMessage, []*os.File) error { return nil }

// workPrefix marks temporary directories of jobs.
const workPrefix = ".vmbuild-work-"

// Session is what the inner half of a job works with.
type Session struct {
	Roots *rootfs.Builder
	Work  string // directory of the job's own, removed at its end
	Log   *Journal
	Cache *layer.Cache
	Place Place
	Send  func(any) error // sends an event to the outer half

	work *layer.Temp
}

// Handle makes a handler one for namespace.Serve.
func Handle(h Handler) namespace.Handler {
	return func(ctx context.Context, call namespace.Call) (err error) {
		var m message
		if err := json.Unmarshal(call.Payload, &m); err != nil {
			return fmt.Errorf("read the job: %w", err)
		}
		limitMemory()
		files := call.Files
		var log *os.File
		if m.Place.Log {
			files, log = files[:len(files)-1], files[len(files)-1]
		}
		if m.Place.Record {
			ctx = span.Send(ctx, func(r span.Record) { _ = call.Send(news{Span: &r}) }) // as with Journal.tell
			stop := span.Watch(ctx, true)
			defer stop()
		}
		s, err := open(ctx, m.Place, newJournal(log, call.Send), call.Send)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.close(ctx)) }()
		stop, err := m.Place.Profile.Start("inner")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
		return h(ctx, s, m.Payload, files)
	}
}

// memory is what the inner half's heap is kept below, in bytes, if it can be: the garbage collector works harder as it comes
// near. What there is to keep at a time is an index of packages, 150 MB, or else the windows of decompressors.
const memory = 192 << 20

// limitMemory sets that limit, unless the user has set another.
func limitMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memory)
	}
}

// open opens the cache and makes a directory for work, after having removed what killed jobs have left.
func open(ctx context.Context, p Place, log *Journal, send func(any) error) (*Session, error) {
	mirrors, err := mirror.OfHost(os.DirFS("/etc/apt"))
	if err != nil {
		return nil, err
	}
	cache, err := layer.Open(p.Cache)
	if err != nil {
		return nil, err
	}
	s := &Session{Log: log, Cache: cache, Place: p, Send: send}
	s.sweep(ctx)
	if s.work, err = layer.TempDir(p.Temp, workPrefix); err != nil {
		return nil, errors.Join(err, cache.Close())
	}
	s.Work = s.work.Path
	s.Roots = &rootfs.Builder{
		Cache: cache, Mirrors: mirrors, Event: log.event, Log: log, Temp: s.Work, IDMap: namespace.IDMap(),
	}
	return s, nil
}

func (s *Session) sweep(ctx context.Context) {
	_, sweeping := span.Start(ctx, span.Stage, SweepJob)
	defer sweeping.End()
	if err := errors.Join(layer.Sweep(s.Place.Temp, workPrefix), s.Cache.Sweep()); err != nil {
		s.Log.note(err)
	}
}

// Event reports progress.
func (s *Session) Event(e rootfs.Event) { s.Log.event(e) }

// close removes what the job worked with, and once more what killed ones have left: one that was still dying when this
// one began held its directories then.
func (s *Session) close(ctx context.Context) error {
	ctx, closing := span.Start(ctx, span.Stage, SweepJob)
	defer closing.End()
	err := s.work.Close()
	s.sweep(ctx)
	return errors.Join(err, s.Cache.Close(), s.Log.Close())
}
