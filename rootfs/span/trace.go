package span

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// event is one of Chrome's trace events ("Trace Event Format", the JSON object format), which Perfetto reads too. Times are
// in microseconds.
type event struct {
	Name     string         `json:"name"`
	Category string         `json:"cat,omitempty"`
	Phase    string         `json:"ph"`
	Time     float64        `json:"ts"`
	Duration *float64       `json:"dur,omitempty"`
	Process  int            `json:"pid"`
	Thread   int            `json:"tid"`
	Args     map[string]any `json:"args,omitempty"`
}

// Phases of events.
const (
	complete = "X" // a span: beginning and duration
	counter  = "C" // values at a moment
	metadata = "M" // the name of a process or thread, and its place
)

// WriteTrace writes what was recorded until now. Each process has its lanes, "threads" in the viewer's words: in a lane,
// spans lie inside each other or one after another; what ran beside something else is in a lane of its own.
func (c *Collector) WriteTrace(w io.Writer) error {
	lines := bufio.NewWriter(w)
	lines.WriteString(`{"displayTimeUnit":"ms","traceEvents":[`) // errors come with Flush
	separator := "\n"
	for _, e := range c.finish().events() {
		line, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("write trace: %w", err)
		}
		lines.WriteString(separator)
		lines.Write(line)
		separator = ",\n"
	}
	lines.WriteString("\n]}\n")
	if err := lines.Flush(); err != nil {
		return fmt.Errorf("write trace: %w", err)
	}
	return nil
}

func (r recording) events() []event {
	var events []event
	name := func(of string, process, thread int, name string, order int) {
		events = append(events,
			event{Name: of + "_name", Phase: metadata, Process: process, Thread: thread, Args: map[string]any{"name": name}},
			event{Name: of + "_sort_index", Phase: metadata, Process: process, Thread: thread, Args: map[string]any{"sort_index": order}})
	}
	for i, n := range r.names {
		name("process", i+1, 0, n, i)
	}
	placed, lanes := lay(r.spans)
	for i, l := range lanes {
		name("thread", l.process+1, i+1, l.name(), i)
	}
	for i, s := range r.spans {
		duration := microseconds(s.end - s.begin)
		events = append(events, event{
			Name: s.name, Category: string(s.kind), Phase: complete, Time: microseconds(s.begin), Duration: &duration,
			Process: s.process + 1, Thread: slices.Index(lanes, placed[i]) + 1, Args: s.args(),
		})
	}
	return append(events, r.counters()...)
}

func microseconds(ns int64) float64 { return float64(ns) / 1e3 }

// args are what the viewer shows of a span that was chosen.
func (s *span) args() map[string]any {
	args := map[string]any{}
	for name, n := range map[string]int64{
		"bytes fetched": s.details.Fetched, "bytes read": s.details.Read, "bytes written": s.details.Written,
	} {
		if n > 0 {
			args[name] = n
		}
	}
	if s.details.Program > 0 {
		args["cpu of the program, s"] = seconds(s.details.Program)
	}
	if s.unfinished {
		args["unfinished"] = true
	}
	for name, text := range s.details.Notes {
		args[name] = text
	}
	return args
}

func seconds(ns int64) float64 { return float64(ns) / 1e9 }

// counters are the tracks of memory, processors at work and bytes moved.
func (r recording) counters() []event {
	var events []event
	before := map[int]from{}
	for _, s := range r.samples {
		add := func(name, unit string, value float64) {
			events = append(events, event{
				Name: name, Phase: counter, Time: microseconds(s.Time), Process: s.process + 1, Args: map[string]any{unit: value},
			})
		}
		add("memory", "MB", float64(s.Sample.Memory)/1e6)
		if last, ok := before[s.process]; ok && s.Time > last.Time {
			rate := func(now, then int64) float64 { return float64(max(0, now-then)) / seconds(s.Time-last.Time) }
			add("processors", "at work", rate(s.Sample.CPU, last.Sample.CPU)/1e9)
			add("reading", "MB/s", rate(s.Sample.Read, last.Sample.Read)/1e6)
			add("writing", "MB/s", rate(s.Sample.Written, last.Sample.Written)/1e6)
		}
		before[s.process] = s
	}
	return events
}

// lane is a row of spans.
type lane struct {
	process int
	group   string // of lanes that have the same kind of work
	number  int    // in the group, from 1
	open    []*span
}

func (l *lane) name() string {
	if l.number == 1 && l.group == mainGroup {
		return l.group
	}
	return l.group + " " + strconv.Itoa(l.number)
}

// Groups of lanes that are not named by a stage.
const (
	mainGroup    = "stages"
	networkGroup = "network"
)

// top is the innermost span at a time, nil if there is none. Times must not become smaller from call to call.
func (l *lane) top(now int64) *span {
	for n := len(l.open); n > 0 && l.open[n-1].end <= now; n-- {
		l.open = l.open[:n-1]
	}
	if len(l.open) == 0 {
		return nil
	}
	return l.open[len(l.open)-1]
}

// lay finds a lane for each span, in their order: that of its parent if there is room inside it, else one that nothing is
// in at that time. The lanes come out group by group.
func lay(spans []*span) (placed, lanes []*lane) {
	of := map[*span]*lane{}
	groups := map[string][]*lane{}
	var order []string
	for _, s := range spans {
		l := of[s.parent]
		if l == nil || s.beside() || l.top(s.begin) != s.parent || s.end > s.parent.end {
			key := fmt.Sprintf("%06d %s", s.process, s.group())
			if groups[key] == nil {
				order = append(order, key)
			}
			if l = free(groups[key], s.begin); l == nil {
				l = &lane{process: s.process, group: s.group(), number: len(groups[key]) + 1}
				groups[key] = append(groups[key], l)
			}
		}
		l.open = append(l.open, s)
		of[s] = l
		placed = append(placed, l)
	}
	slices.SortStableFunc(order, func(a, b string) int { return groups[a][0].process - groups[b][0].process })
	for _, key := range order {
		lanes = append(lanes, groups[key]...)
	}
	return placed, lanes
}

// beside says whether the span is never drawn inside its parent.
func (s *span) beside() bool { return s.kind == Lane || s.kind == Network }

// group is what kind of lane the span is drawn in where it is not inside its parent.
func (s *span) group() string {
	if s.kind == Network {
		return networkGroup
	}
	for p := s.parent; p != nil; p = p.parent {
		if p.kind == Stage {
			return p.name
		}
	}
	return mainGroup
}

func free(lanes []*lane, now int64) *lane {
	for _, l := range lanes {
		if l.top(now) == nil {
			return l
		}
	}
	return nil
}
