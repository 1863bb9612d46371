package span

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// clock is a time that passes when the test says so, ns.
type clock int64

func (c *clock) now() int64 { return int64(*c) }

// cpu is a process that uses one processor all the time.
func (c *clock) cpu() int64 { return int64(*c) }

// collect begins a collection by a clock. It starts at a second, as no machine's clock is at 0.
func collect() (context.Context, *Collector, *clock) {
	t := clock(time.Second)
	c := &Collector{now: t.now, all: t.cpu}
	return c.collect(context.Background(), t.cpu), c, &t
}

func TestNothingIsRecorded(t *testing.T) {
	ctx := context.Background()
	in, s := Start(ctx, Stage, "x")
	s.Note("a", "b")
	s.Ran(nil)
	s.End()
	Watch(ctx, true)()
	if in != ctx || s != nil || Recording(ctx) || Relay(ctx, "x") != nil {
		t.Errorf("something is recorded: %v", s)
	}
}

// TestSend is the side of the inner half: each record is as it comes out of the other side's JSON.
func TestSend(t *testing.T) {
	var sent []Record
	now := clock(5)
	r := &recorder{take: func(r Record) {
		line, err := json.Marshal(r)
		var read Record
		if err == nil {
			err = json.Unmarshal(line, &read)
		}
		if err != nil {
			t.Error(err)
		}
		sent = append(sent, read)
	}, now: now.now, cpu: now.cpu}
	ctx := context.WithValue(context.Background(), key{}, state{recorder: r})
	in, outer := Start(ctx, Stage, "unpack")
	now = 7
	_, inner := Start(in, Lane, "bash")
	inner.Fetched(1)
	inner.Read(2)
	inner.Wrote(3)
	inner.Wrote(4)
	inner.Ran(&syscall.Rusage{Utime: syscall.Timeval{Sec: 1, Usec: 2}, Stime: syscall.Timeval{Usec: 3}})
	inner.Ran(nil)
	inner.Note("from", "m.example")
	now = 9
	inner.End()
	inner.Note("too", "late")
	inner.End()
	outer.End()
	if inner.end.Notes["too"] != "" {
		t.Error("a span that has ended changes")
	}
	want := []Record{
		{ID: 1, Kind: Stage, Name: "unpack", Time: 5, CPU: 5},
		{ID: 2, Parent: 1, Kind: Lane, Name: "bash", Time: 7, CPU: 7},
		{ID: 2, Time: 9, CPU: 9, End: &End{
			Program: 1_000_005_000, Fetched: 1, Read: 2, Written: 7, Notes: map[string]string{"from": "m.example"},
		}},
		{ID: 1, Time: 9, CPU: 9, End: &End{}},
	}
	if diff := cmp.Diff(want, sent); diff != "" {
		t.Error(diff)
	}
	if Relay(ctx, "x") != nil || !Recording(Send(context.Background(), r.take)) {
		t.Error("the inner half has somebody to hear of, or nobody to tell")
	}
}

// begin and end are records of another process, at seconds after the beginning.
func begin(id, parent int64, k Kind, name string, at float64) Record {
	return Record{ID: id, Parent: parent, Kind: k, Name: name, Time: at1(at), CPU: int64(at * 1e9)}
}

func end(id int64, at float64, e End) Record {
	return Record{ID: id, Time: at1(at), CPU: int64(at * 1e9), End: &e}
}

func sample(at float64, memory, cpu int64) Record {
	return Record{Time: at1(at), CPU: int64(at * 1e9), Sample: &Sample{Memory: memory, CPU: cpu}}
}

func at1(at float64) int64 { return int64(time.Second) + int64(at*1e9) }

// build is a job of 20 s: its inner half uses one processor all the time. Unpacking overlaps with configuring and tools with
// both; a fetch has the first two seconds, of which one is alone; what was not ended ends with the recording.
func build() []Record {
	return []Record{
		begin(1, 0, Stage, "fetch", 0), begin(2, 1, Network, "bash.deb", 0),
		begin(3, 0, Stage, "tools", 1), begin(4, 3, Stage, "resolve", 1),
		end(2, 2, End{Fetched: 100, Notes: map[string]string{"connection": "a"}}), end(1, 2, End{}),
		sample(3, 500, 3e9),
		end(4, 5, End{}),
		begin(5, 0, Stage, "unpack", 5), begin(6, 5, Lane, "bash", 5), begin(7, 5, Lane, "dash", 5),
		begin(20, 6, Step, "inflate", 5), end(20, 5.5, End{}),
		{ID: 3, Time: at1(6), CPU: 4e9, End: &End{}}, // it was slow to say so
		end(7, 7, End{Read: 10, Written: 20}), end(6, 8, End{Read: 1, Written: 2}),
		begin(8, 0, Stage, "configure", 7), begin(9, 8, Program, "dpkg", 7), begin(10, 9, Step, "configure bash", 7.5),
		end(5, 9, End{}),
		end(10, 9.5, End{}), end(9, 10, End{Program: 2e9}), end(8, 10, End{}),
		begin(8, 0, Stage, "again", 9), // nonsense
		sample(10, 700, 12e9),
		begin(11, 0, Stage, "configure", 12), begin(12, 11, Program, "dpkg", 12), end(12, 13, End{Program: 1e9}), end(11, 13, End{}),
		begin(13, 0, Stage, "write", 15), begin(14, 13, Step, "ext4 /", 16),
		begin(16, 13, Step, "raw", 17), begin(17, 16, Program, "cp", 17), end(16, 18, End{}), end(17, 18.5, End{}),
		sample(12, 720, 12e9),
		begin(15, 99, Step, "orphan", 14), end(15, 14, End{}), end(77, 14, End{}),
	}
}

func buildCollector() *Collector {
	_, c, now := collect()
	take := c.process("inner half")
	for _, r := range build() {
		take(r)
	}
	own := c.process("small")
	own(sample(9.9, 50, 1e9))
	*now = clock(at1(20))
	return c
}

func TestSummary(t *testing.T) {
	s := buildCollector().Summary()
	second := time.Second
	want := Summary{
		Stages: []Use{
			{Name: "fetch", Count: 1, Wall: 2 * second, Share: 3 * second / 2, CPU: second, Fetched: 100},
			{Name: "tools", Count: 1, Began: second, Wall: 5 * second, Share: 4 * second, CPU: 4250 * time.Millisecond, Parts: []Use{
				{Name: "resolve", Count: 1, Began: second, Wall: 4 * second},
			}},
			// From 5 to 6 with tools, from 7 to 9 with configure, which only waits for dpkg.
			{Name: "unpack", Count: 1, Began: 5 * second, Wall: 4 * second, Share: 2500 * time.Millisecond, Read: 11, Written: 22,
				CPU: 3750 * time.Millisecond},
			{Name: "configure", Count: 2, Began: 7 * second, Wall: 4 * second, Share: 3 * second,
				CPU: 5 * second, Parts: []Use{
					{Name: "dpkg", Count: 2, Began: 7 * second, Wall: 4 * second, CPU: 3 * second},
				}},
			{Name: "write", Count: 1, Began: 15 * second, Wall: 5 * second, Share: 5 * second, CPU: 3500 * time.Millisecond, Unfinished: true, Parts: []Use{
				{Name: "ext4 /", Count: 1, Began: 16 * second, Wall: 4 * second, Unfinished: true},
				{Name: "raw", Count: 1, Began: 17 * second, Wall: 1500 * time.Millisecond},
			}},
		},
		Other:  Use{Wall: 4 * second, Share: 4 * second},
		Total:  Use{Wall: 20 * second, Share: 20 * second, CPU: 20 * second, Fetched: 100, Read: 11, Written: 22},
		Memory: 750,
	}
	want.Network.Wall, want.Network.Waited = 2*second, second
	want.Other.CPU = want.Total.CPU
	for _, u := range want.Stages {
		want.Other.CPU -= u.CPU
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
}

// TestTrace compares the whole file. Its form is that of "Trace Event Format" (the JSON object format).
func TestTrace(t *testing.T) {
	var b bytes.Buffer
	if err := buildCollector().WriteTrace(&b); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "trace.json")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Error(diff)
	}
	if problems := checkTrace(b.Bytes()); len(problems) > 0 {
		t.Error(strings.Join(problems, "\n"))
	}
}

// checkTrace says in what a file is not as the format demands, read as a viewer does.
func checkTrace(data []byte) (problems []string) {
	var file struct {
		DisplayTimeUnit string
		TraceEvents     []struct {
			Name, Cat, Ph string
			TS, Dur       *float64
			PID, TID      *int
			Args          map[string]any
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil {
		return []string{err.Error()}
	}
	type thread struct{ process, thread int }
	named, used := map[thread]bool{}, map[thread][][2]float64{}
	for i, e := range file.TraceEvents {
		bad := func(what string) { problems = append(problems, fmt.Sprintf("event %d, %q: %s", i, e.Name, what)) }
		if e.PID == nil || e.TID == nil || e.TS == nil {
			bad("it has no pid, tid or ts")
			continue
		}
		on := thread{*e.PID, *e.TID}
		switch e.Ph {
		case "M":
			named[on] = named[on] || e.Name == "thread_name"
			if (e.Name == "thread_name" || e.Name == "process_name") && e.Args["name"] == nil {
				bad("it names nothing")
			}
		case "C":
			for name, value := range e.Args {
				if _, ok := value.(float64); !ok {
					bad(name + " is no number")
				}
			}
		case "X":
			if e.Dur == nil || *e.Dur < 0 || *e.TS < 0 {
				bad("it has no time")
				continue
			}
			if !named[on] {
				bad("its thread has no name")
			}
			used[on] = append(used[on], [2]float64{*e.TS, *e.TS + *e.Dur})
		default:
			bad("it has phase " + e.Ph)
		}
	}
	for on, spans := range used { // they are in order
		var open []float64
		for _, s := range spans {
			for len(open) > 0 && open[len(open)-1] <= s[0] {
				open = open[:len(open)-1]
			}
			if len(open) > 0 && open[len(open)-1] < s[1]-1e-3 { // rounding of floats; the clock counts in 1e-3
				problems = append(problems, fmt.Sprintf("thread %v: %v reaches out of what it is in", on, s))
			}
			open = append(open, s[1])
		}
	}
	return problems
}

// TestCollect records as a program does.
func TestCollect(t *testing.T) {
	ctx, c := Collect(context.Background())
	stop := Watch(ctx, true)
	err := Do(ctx, Stage, "work", func(ctx context.Context) error {
		relay := Relay(ctx, "other")
		relay(Record{ID: 1, Kind: Stage, Name: "inside", Time: monotonic()})
		relay(Record{ID: 1, Time: monotonic(), End: &End{}})
		return context.Canceled
	})
	stop()
	if err != context.Canceled {
		t.Error(err)
	}
	s := c.Summary()
	var names []string
	for _, u := range s.Stages {
		names = append(names, fmt.Sprint(u.Name, u.Count, u.Unfinished, u.Wall > 0))
	}
	want := []string{"work1 false true", "inside1 false true"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	if s.Memory < 1<<20 || s.Total.Wall <= 0 || s.Total.Wall > time.Minute || s.Total.CPU > time.Minute {
		t.Errorf("%+v", s)
	}
}

func TestLook(t *testing.T) {
	page := int64(os.Getpagesize())
	for name, family := range map[string]bool{"family": true, "alone": false} {
		t.Run(name, func(t *testing.T) {
			proc := t.TempDir()
			for pid, parent := range map[int]int{1: 0, 10: 1, 11: 10, 12: 11, 13: 1, 14: 99, 15: 10} {
				flags := 4194560
				if pid == 10 || pid == 15 {
					flags |= forkedOnly
				}
				stat := fmt.Sprintf("%d (a b) c) S %d 1 1 0 -1 %d 1 2 3 4 1 2 3 4 20 0 1 0 999 1000 %d 1 2 3\n", pid, parent, flags, pid)
				dir := filepath.Join(proc, fmt.Sprint(pid))
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(stat), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			io := "rchar: 7\nwchar: 8\nsyscr: 1\nread_bytes: 2\n"
			if err := os.WriteFile(filepath.Join(proc, "10/io"), []byte(io), 0o644); err != nil {
				t.Fatal(err)
			}
			want := Sample{Memory: 10 * page, CPU: 100e6, Read: 7, Written: 8}
			if family {
				want = Sample{Memory: (10 + 11 + 12) * page, CPU: 400e6, Read: 7, Written: 8}
			}
			if diff := cmp.Diff(want, look(proc, 10, family)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// FuzzRecords has the inner half send anything: what comes out can be read by a viewer, and no time is lost.
func FuzzRecords(f *testing.F) {
	var lines []string
	for _, r := range build() {
		line, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		lines = append(lines, string(line))
	}
	f.Add(strings.Join(lines, "\n"))
	f.Add("")
	f.Add(`{"i":1,"k":"stage","n":"x","t":1000000000}` + "\n" + `{"i":2,"k":"stage","n":"y","t":1000000001}` + "\n" +
		`{"i":2,"t":1000000004,"e":{}}` + "\n" + `{"i":1,"t":1900000000,"e":{}}`)
	f.Add(`{"i":1,"k":"stage","n":"x","t":2000000000}` + "\n" + `{"i":1,"t":1900000000,"e":{}}`)
	f.Add(`{"i":1,"p":1,"k":"stage","n":"x","t":-9223372036854775808,"c":-1}` + "\n" + `{"i":1,"t":9223372036854775807,"e":{}}`)
	f.Add(`{"i":1,"k":"lane","n":"\ufffd","t":1500000000}` + "\n" + `{"t":2000000000,"s":{"m":-1,"c":9223372036854775807}}`)
	f.Fuzz(func(t *testing.T, text string) {
		_, c, now := collect()
		take := c.process("inner half")
		for line := range strings.Lines(text) {
			var r Record
			if json.Unmarshal([]byte(line), &r) == nil {
				take(r)
			}
		}
		*now = clock(at1(20))
		var b bytes.Buffer
		if err := c.WriteTrace(&b); err != nil {
			t.Fatal(err)
		}
		if problems := checkTrace(b.Bytes()); len(problems) > 0 {
			t.Error(strings.Join(problems, "\n"))
		}
		s := c.Summary()
		if s.Total.Wall != 20*time.Second || s.Total.Share != s.Total.Wall {
			t.Errorf("of %v, %v are shared out", s.Total.Wall, s.Total.Share)
		}
	})
}

// FuzzStat reads what the kernel would write of a process with any name, and anything else.
func FuzzStat(f *testing.F) {
	f.Add("a b) c", 10, 1, int64(5), "")
	f.Add("", 1, 0, int64(0), "1 (x")
	f.Add("x", 1, 0, int64(0), ") 1 (")
	f.Fuzz(func(t *testing.T, name string, pid, parent int, n int64, other string) {
		n %= 1 << 40
		text := fmt.Sprintf("%d (%s) S %d 1 1 0 -1 4194560 1 2 3 4 %d 2 3 4 20 0 1 0 999 1000 %d 1 2 3\n", pid, name, parent, n, n)
		got, p, ok := parseStat(text)
		if want := (process{parent: parent, ticks: n + 9, pages: n}); !ok || got != pid || p != want {
			t.Errorf("%q: %d %+v %v", text, got, p, ok)
		}
		parseStat(other)
		parseIO(other)
	})
}
