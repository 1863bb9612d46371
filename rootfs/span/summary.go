package span

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Summary says where time went.
type Summary struct {
	Stages  []Use // in the order in which they began
	Other   Use   // what was done in no stage: starting and ending of processes, waiting for them
	Total   Use   // the sum of Stages and Other, but for Wall, which is the time of the whole
	Network struct {
		Wall   time.Duration // in which files were on their way
		Waited time.Duration // of that, in which there was nothing else to do
	}
	Memory int64 // most resident bytes at a time, of all processes; what they share counts for each of them
}

// Use is what a stage, or a part of it, has used.
type Use struct {
	Name  string
	Count int           // how often it came
	Began time.Duration // after the beginning of all
	Wall  time.Duration // in which it was at work

	// Share is Wall where it was alone, and an equal part of the time where others were at work too. The shares of all
	// stages add up to the time of the whole.
	Share time.Duration

	// CPU is that of the programs which the stage has run, and a part of what vmbuild itself has used meanwhile: equal parts
	// for all stages that were then doing something else than to wait for a program or for the network.
	CPU time.Duration // of a part: that of its programs alone

	Fetched, Read, Written int64 // bytes
	Unfinished             bool  // it had not ended

	Parts []Use // steps, programs and stages inside it, by name; those that run beside each other are none
}

// Summary adds up what was recorded until now.
func (c *Collector) Summary() Summary {
	r := c.finish()
	t := tally{at: map[*span]place{}, open: map[*span]int{}, cpu: map[int]int64{}}
	t.assign(r.spans)
	t.sweep(r)
	return t.summary(r)
}

// row is a Use in the making.
type row struct {
	Use
	open  int // spans of it that have begun and not ended
	parts []*row
}

func (r *row) part(name string) *row {
	i := slices.IndexFunc(r.parts, func(p *row) bool { return p.Name == name })
	if i >= 0 {
		return r.parts[i]
	}
	p := &row{Use: Use{Name: name}}
	r.parts = append(r.parts, p)
	return p
}

// place is where a span counts: in rows, from the stage inwards. It is empty for one outside of all stages.
type place []*row

// tally adds spans up.
type tally struct {
	stages row // its parts are the stages
	other  Use
	at     map[*span]place
	open   map[*span]int // spans at work, with the number of those inside them that are
	cpu    map[int]int64 // of each process itself so far
	sum    Summary
}

// assign finds the place of each span. A stage inside another is a part of that.
func (t *tally) assign(spans []*span) {
	for _, s := range spans {
		outer := t.at[s.parent]
		at := outer
		switch {
		case len(outer) == 0 && s.kind == Stage:
			at = place{t.stages.part(s.name)}
		case len(outer) == 1 && !s.beside() && s.parent.kind == Stage:
			at = place{outer[0], outer[0].part(s.name)}
		}
		t.at[s] = at
		if len(at) > len(outer) {
			at[len(at)-1].count(s)
		}
		for _, r := range at {
			r.add(s)
		}
	}
}

// count notes one of the spans that the row is about.
func (r *row) count(s *span) {
	if r.Count == 0 {
		r.Began = time.Duration(s.begin)
	}
	r.Count++
	r.Unfinished = r.Unfinished || s.unfinished
}

// add notes what a span in the row has said when it ended.
func (r *row) add(s *span) {
	r.CPU += time.Duration(s.details.Program)
	r.Fetched += s.details.Fetched
	r.Read += s.details.Read
	r.Written += s.details.Written
}

// moment is a time at which something changes.
type moment struct {
	time    int64
	process int
	cpu     int64 // of the process until then
	span    *span // nil: a sample
	begins  bool
}

// sweep goes through the time from one moment to the next.
func (t *tally) sweep(r recording) {
	var moments []moment
	for _, s := range r.spans {
		moments = append(moments, moment{s.begin, s.process, s.cpu[0], s, true}, moment{s.end, s.process, s.cpu[1], s, false})
	}
	for _, s := range r.samples {
		moments = append(moments, moment{time: s.Time, process: s.process, cpu: s.CPU})
	}
	slices.SortStableFunc(moments, func(a, b moment) int { return cmp.Compare(a.time, b.time) })
	now := int64(0)
	for _, m := range moments {
		t.pass(m.time - now)
		now = m.time
		t.use(m)
		if m.span != nil {
			t.change(m.span, m.begins)
		}
	}
	t.pass(r.ended - r.began - now)
}

// pass is about a time in which nothing changes, ns.
func (t *tally) pass(ns int64) {
	if ns <= 0 {
		return
	}
	length := time.Duration(ns)
	busy := slices.DeleteFunc(slices.Clone(t.stages.parts), func(r *row) bool { return r.open == 0 })
	for i, r := range busy {
		r.Wall += length
		r.Share += length / time.Duration(len(busy))
		if i == 0 {
			r.Share += length % time.Duration(len(busy))
		}
		for _, p := range r.parts {
			if p.open > 0 {
				p.Wall += length
			}
		}
	}
	if len(busy) == 0 {
		t.other.Wall += length
		t.other.Share += length
	}
	t.network(length)
}

// network is about the time in which files are on their way.
func (t *tally) network(length time.Duration) {
	fetching, other := 0, 0
	for s, inside := range t.open {
		switch {
		case s.kind == Network:
			fetching++
		case inside == 0:
			other++
		}
	}
	if fetching > 0 {
		t.sum.Network.Wall += length
	}
	if fetching > 0 && other == 0 {
		t.sum.Network.Waited += length
	}
}

// use gives what a process itself has used since it last said so to the stages that it was busy with.
func (t *tally) use(m moment) {
	if m.cpu <= t.cpu[m.process] { // moments of several threads may be noted in another order than they came
		return
	}
	used := m.cpu - t.cpu[m.process]
	t.cpu[m.process] = m.cpu
	busy := t.busy(m.process)
	for _, r := range busy {
		r.CPU += time.Duration(used / int64(len(busy)))
	}
}

// busy are the rows of the spans in which a process does something itself; if it only waits, those in which it waits for the
// network, or else for programs.
func (t *tally) busy(process int) []*row {
	rows := map[int]map[*row]bool{} // by how much is done there
	for s, inside := range t.open {
		if s.process != process || inside > 0 || len(t.at[s]) == 0 {
			continue
		}
		rank := s.idleness()
		if rows[rank] == nil {
			rows[rank] = map[*row]bool{}
		}
		rows[rank][t.at[s][0]] = true
	}
	for rank := range 3 {
		if len(rows[rank]) > 0 {
			return slices.Collect(maps.Keys(rows[rank]))
		}
	}
	return nil
}

// idleness is 0 where the process itself does what the span is about, 1 where it waits for the network, 2 for a program.
func (s *span) idleness() int {
	if s.kind == Network {
		return 1
	}
	for ; s != nil; s = s.parent {
		if s.kind == Program {
			return 2
		}
	}
	return 0
}

// change begins or ends a span.
func (t *tally) change(s *span, begins bool) {
	step := -1
	if begins {
		step = 1
		t.open[s] += 0
	} else {
		delete(t.open, s)
	}
	if _, is := t.open[s.parent]; is {
		t.open[s.parent] += step
	}
	for _, r := range t.at[s] {
		r.open += step
	}
}

func (t *tally) summary(r recording) Summary {
	sum := t.sum
	sum.Other, sum.Total = t.other, Use{Wall: time.Duration(r.ended - r.began), CPU: time.Duration(r.cpu)}
	sum.Other.CPU = sum.Total.CPU
	for _, stage := range t.stages.parts {
		use := stage.Use
		for _, p := range stage.parts {
			use.Parts = append(use.Parts, p.Use)
		}
		sum.Stages = append(sum.Stages, use)
		sum.Other.CPU -= use.CPU
		sum.Total.Share += use.Share
		sum.Total.Fetched += use.Fetched
		sum.Total.Read += use.Read
		sum.Total.Written += use.Written
	}
	sum.Total.Share += sum.Other.Share
	sum.Other.CPU = max(0, sum.Other.CPU)
	sum.Memory = r.peak()
	return sum
}

// stale is how old a sample is that says nothing any more of its process.
const stale = 10 * samplingTime

// peak is the most memory of all processes at a time.
func (r recording) peak() (most int64) {
	last := map[int]from{}
	for _, s := range r.samples {
		last[s.process] = s
		var now int64
		for _, other := range last {
			if s.Time-other.Time < int64(stale) {
				now += other.Sample.Memory
			}
		}
		most = max(most, now)
	}
	return most
}
