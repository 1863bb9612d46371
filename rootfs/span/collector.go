package span

import (
	"cmp"
	"context"
	"slices"
	"sync"
)

// Collector has the records of this process and of those that it was told of.
type Collector struct {
	now     func() int64
	all     func() int64 // CPU time of this process and of its descendants
	began   int64
	cpu     int64 // of all when it began
	mu      sync.Mutex
	records []from
	names   []string // of processes
}

// from is a record with the process that it is of: an index of Collector.names.
type from struct {
	process int
	Record
}

// Collect begins to record what is done in the context that it returns.
func Collect(ctx context.Context) (context.Context, *Collector) {
	c := &Collector{now: monotonic, all: allCPU}
	return c.collect(ctx, ownCPU), c
}

func (c *Collector) collect(ctx context.Context, own func() int64) context.Context {
	c.began, c.cpu = c.now(), c.all()
	r := &recorder{take: c.process("vmbuild"), relay: c.process, now: c.now, cpu: own}
	return context.WithValue(ctx, key{}, state{recorder: r})
}

// process returns what takes the records of one more process.
func (c *Collector) process(name string) func(Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	number := len(c.names)
	c.names = append(c.names, name)
	return func(r Record) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.records = append(c.records, from{number, r})
	}
}

// recording is a finished collection: spans with both of their ends.
type recording struct {
	began, ended int64 // ns
	cpu          int64 // of all processes, ns
	names        []string
	spans        []*span // by their beginning, outer ones first
	samples      []from  // by time
}

// span is a Span seen from its end.
type span struct {
	process    int
	id         int64
	parent     *span
	kind       Kind
	name       string
	begin, end int64 // ns after the recording began
	cpu        [2]int64
	details    End
	unfinished bool
}

// finish takes what was recorded until now. What has not ended yet ends now.
func (c *Collector) finish() recording {
	c.mu.Lock()
	records := slices.Clone(c.records)
	r := recording{began: c.began, ended: c.now(), cpu: c.all() - c.cpu, names: slices.Clone(c.names)}
	c.mu.Unlock()
	type place struct {
		process int
		id      int64
	}
	known := map[place]*span{}
	for _, record := range records {
		record.Time = min(max(record.Time, r.began), r.ended) - r.began
		at := place{record.process, record.ID}
		switch s := known[at]; {
		case record.Sample != nil:
			r.samples = append(r.samples, record)
		case record.Kind != "" && s == nil:
			known[at] = &span{
				process: record.process, id: record.ID, parent: known[place{record.process, record.Parent}], kind: record.Kind,
				name: record.Name, begin: record.Time, cpu: [2]int64{record.CPU, record.CPU}, unfinished: true,
			}
			r.spans = append(r.spans, known[at])
		case record.End != nil && s != nil:
			s.end, s.cpu[1], s.details, s.unfinished = record.Time, record.CPU, *record.End, false
		}
	}
	for _, s := range r.spans {
		if s.unfinished {
			s.end = r.ended - r.began
		}
		s.end = max(s.begin, s.end)
	}
	slices.SortStableFunc(r.spans, bySpan)
	slices.SortStableFunc(r.samples, func(a, b from) int { return cmp.Compare(a.Time, b.Time) })
	return r
}

// bySpan is the order in which spans are drawn: those that contain others come before them.
func bySpan(a, b *span) int {
	return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.process, b.process), cmp.Compare(a.id, b.id))
}
