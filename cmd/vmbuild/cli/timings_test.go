package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/span"
)

func TestPrintTimings(t *testing.T) {
	second := time.Second
	s := span.Summary{
		Stages: []span.Use{
			{Name: "fetch", Count: 1, Wall: 2 * second, Share: 1500 * time.Millisecond, CPU: second / 2, Fetched: 1_500_000},
			{Name: "configure", Count: 31, Began: second, Wall: 12 * second, Share: 11 * second, CPU: 9 * second, Parts: []span.Use{
				{Name: "dpkg", Count: 2, Began: second, Wall: 12 * second, CPU: 8 * second},
				{Name: "configure short", Count: 1, Began: second, Wall: second / 100},
				{Name: "triggers busy", Count: 1, Began: second, Wall: second / 100, CPU: second},
				{Name: "configure stuck", Count: 1, Began: second, Wall: second / 100, Unfinished: true},
			}},
			{Name: "write", Count: 1, Began: 13 * second, Wall: second, Share: second, Read: 10, Written: 2e9, Unfinished: true},
		},
		Other:  span.Use{Wall: second / 2, Share: second / 2, CPU: second / 4},
		Total:  span.Use{Wall: 14 * second, Share: 14 * second, CPU: 10 * second, Fetched: 1_500_000, Read: 10, Written: 2e9},
		Memory: 123_400_000,
	}
	s.Network.Wall, s.Network.Waited = 2*second, second
	want := `
    began     wall    share      cpu  stage
   0.00 s   2.00 s   1.50 s   0.50 s  fetch: 1.5 MB fetched
   1.00 s  12.00 s  11.00 s   9.00 s  configure
   1.00 s  12.00 s            8.00 s    dpkg ×2
   1.00 s   0.01 s            1.00 s    triggers busy
   1.00 s   0.01 s            0.00 s    configure stuck (unfinished)
  13.00 s   1.00 s   1.00 s   0.00 s  write (unfinished): 10 B read, 2.0 GB written
            0.50 s   0.50 s   0.25 s  (no stage)
           14.00 s  14.00 s  10.00 s  total: 1.5 MB fetched, 10 B read, 2.0 GB written
network: at work for 2.00 s, in 1.00 s of which there was nothing else to do
memory: at most 123.4 MB
`
	var b bytes.Buffer
	printTimings(&b, s)
	if diff := cmp.Diff(want[1:], b.String()); diff != "" {
		t.Error(diff)
	}
}

// traceNames are the categories and names of a trace's spans.
func traceNames(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var trace struct {
		TraceEvents []struct{ Ph, Cat, Name string }
	}
	if err := json.Unmarshal(data, &trace); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range trace.TraceEvents {
		if e.Ph == "X" {
			names = append(names, e.Cat+" "+e.Name)
		}
	}
	return names
}

// TestTimings of something that fails: it is told what was done until then, and the error stays what it was.
func TestTimings(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "trace.json")
	broken := errors.New("broken")
	work := func(ctx context.Context) error {
		_, s := span.Start(ctx, span.Stage, "write")
		if s != nil {
			s.Note("a", "b")
		}
		return broken
	}
	const table = `(?s)^ +began.*write \(unfinished\)\n.*total\nmemory: at most .*MB\n$`
	for name, c := range map[string]struct {
		options timingOptions
		table   string // a regular expression
		names   []string
	}{
		"nothing": {},
		"table":   {options: timingOptions{Timings: true}, table: table},
		"trace":   {options: timingOptions{Trace: trace}, names: []string{"stage write"}},
		"both":    {options: timingOptions{Timings: true, Trace: trace}, names: []string{"stage write"}, table: table},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := c.options.run(t.Context(), &out, work); err != broken {
				t.Errorf("error is %v", err)
			}
			if !regexp.MustCompile(c.table).MatchString(out.String()) || c.table == "" && out.Len() > 0 {
				t.Errorf("it printed:\n%s", out.String())
			}
			if c.names != nil {
				if diff := cmp.Diff(c.names, traceNames(t, trace)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
	o := timingOptions{Trace: "/nonexistent/x"}
	err := o.run(t.Context(), nil, func(context.Context) error { t.Error("it is done"); return nil })
	if want := "--trace: open /nonexistent/x: no such file or directory"; !errors.As(err, new(usageError)) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	var out bytes.Buffer
	err = timingOptions{Trace: "/dev/full"}.run(t.Context(), &out, work)
	want := "vmbuild: note: the trace is not complete: write trace: write /dev/full: no space left on device\n"
	if err != broken || out.String() != want {
		t.Errorf("a full disk: %v, %q", err, out.String())
	}
}

// TestTimingsOfConvert goes from the command line to the table and to the file.
func TestTimingsOfConvert(t *testing.T) {
	dir := t.TempDir()
	disk, trace := filepath.Join(dir, "a.img"), filepath.Join(dir, "trace.json")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	got := run(t, "convert", disk, filepath.Join(dir, "b.qcow2"), "--timings", "--trace", trace)
	form := regexp.MustCompile(`(?s)^convert .*MB\n +began .* convert\n.* commit\n.*\(no stage\)\n.* total\nmemory: .*MB\n$`)
	if got.Status != 0 || got.Out != "" || !form.MatchString(got.Err) {
		t.Errorf("%+v", got)
	}
	if diff := cmp.Diff([]string{"stage convert", "stage commit"}, traceNames(t, trace)); diff != "" {
		t.Error(diff)
	}
}
