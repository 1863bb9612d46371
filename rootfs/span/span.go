// Package span records what a build does and when: spans, each with a beginning, an end and the span that it is part of.
// What is recorded travels in the context, so that whoever has something long to do says so in two lines:
//
//	ctx, s := span.Start(ctx, span.Step, "parse main")
//	defer s.End()
//
// In a context that nothing records in, both lines cost nothing worth naming and all methods of the nil Span do nothing.
//
// A Collector has the spans of the whole program: its own, and those that the inner half of a job sends (Relay, Send). The
// clock is CLOCK_MONOTONIC, which is the same in all processes of a machine. Collector.Summary adds the spans up, stage by
// stage; Collector.WriteTrace writes them for a viewer. Package span prints nothing and decides nothing by what it knows.
package span

import (
	"context"
	"sync"
	"sync/atomic"
	"syscall"
)

// Kind is what a span is.
type Kind string

// The kinds of spans.
const (
	Stage   Kind = "stage"   // of a build, by the word of its progress line; one inside another is a part of that
	Step    Kind = "step"    // something long inside a stage
	Lane    Kind = "lane"    // a step that runs beside others like it
	Program Kind = "program" // another process, which this one waits for
	Network Kind = "network" // a file on its way from a server
)

// Record is one thing that was recorded: the beginning of a span (it has a Kind), its end, or a sample of the process.
type Record struct {
	ID     int64  `json:"i,omitempty"` // of the span, unique in its process
	Parent int64  `json:"p,omitempty"` // the span that it is part of; 0: none
	Kind   Kind   `json:"k,omitempty"`
	Name   string `json:"n,omitempty"`
	Time   int64  `json:"t"`           // CLOCK_MONOTONIC, ns
	CPU    int64  `json:"c,omitempty"` // that the process itself has used so far, user and system, ns

	End    *End    `json:"e,omitempty"`
	Sample *Sample `json:"s,omitempty"`
}

// End is what is known of a span when it ends.
type End struct {
	Program int64             `json:"x,omitempty"` // CPU time of the program and of the children that it waited for, ns
	Fetched int64             `json:"f,omitempty"` // bytes from the network
	Read    int64             `json:"r,omitempty"` // bytes
	Written int64             `json:"w,omitempty"` // bytes
	Notes   map[string]string `json:"a,omitempty"`
}

// recorder makes records of one process.
type recorder struct {
	take  func(Record)
	relay func(name string) func(Record) // nil: this process has no other to hear of
	last  atomic.Int64                   // id
	now   func() int64
	cpu   func() int64
}

// state is what a context carries: the recorder, and the innermost span.
type state struct {
	*recorder
	id int64
}

type key struct{}

func of(ctx context.Context) (state, bool) {
	s, ok := ctx.Value(key{}).(state)
	return s, ok
}

// Recording says whether anything is recorded in the context: what costs something can be left out where nothing is.
func Recording(ctx context.Context) bool {
	_, ok := of(ctx)
	return ok
}

// Send returns a context whose spans send takes: the other process's Relay shall get them. Send may be called by several
// goroutines at once.
func Send(ctx context.Context, send func(Record)) context.Context {
	return context.WithValue(ctx, key{}, state{recorder: &recorder{take: send, now: monotonic, cpu: ownCPU}})
}

// Relay returns what takes the records of another process that begins now; nil where nothing is recorded.
func Relay(ctx context.Context, name string) func(Record) {
	s, ok := of(ctx)
	if !ok || s.relay == nil {
		return nil
	}
	return s.relay(name)
}

// Span is something that has begun. The nil Span is one that nobody records.
type Span struct {
	recorder *recorder
	id       int64

	mu   sync.Mutex
	end  End
	over bool
}

// Start begins a span inside the one that ctx carries. In the context it returns others begin inside this one.
func Start(ctx context.Context, kind Kind, name string) (context.Context, *Span) {
	in, ok := of(ctx)
	if !ok {
		return ctx, nil
	}
	s := &Span{recorder: in.recorder, id: in.last.Add(1)}
	in.take(Record{ID: s.id, Parent: in.id, Kind: kind, Name: name, Time: in.now(), CPU: in.cpu()})
	return context.WithValue(ctx, key{}, state{in.recorder, s.id}), s
}

// Do does something as a span.
func Do(ctx context.Context, kind Kind, name string, do func(context.Context) error) error {
	ctx, s := Start(ctx, kind, name)
	defer s.End()
	return do(ctx)
}

// End ends the span. Only the first call counts.
func (s *Span) End() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	s.over = true
	s.recorder.take(Record{ID: s.id, Time: s.recorder.now(), CPU: s.recorder.cpu(), End: &s.end})
}

// Fetched notes bytes that have come from the network.
func (s *Span) Fetched(bytes int64) { s.note(func(e *End) { e.Fetched += bytes }) }

// Read notes bytes that were read from files.
func (s *Span) Read(bytes int64) { s.note(func(e *End) { e.Read += bytes }) }

// Wrote notes bytes that were written to files.
func (s *Span) Wrote(bytes int64) { s.note(func(e *End) { e.Written += bytes }) }

// Ran notes what a program has used that has ended; nil: it is not known.
func (s *Span) Ran(used *syscall.Rusage) {
	if used != nil {
		s.note(func(e *End) { e.Program += nanoseconds(used) })
	}
}

// Note notes something else by a name.
func (s *Span) Note(name, text string) {
	s.note(func(e *End) {
		if e.Notes == nil {
			e.Notes = map[string]string{}
		}
		e.Notes[name] = text
	})
}

func (s *Span) note(f func(*End)) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		f(&s.end)
	}
}
