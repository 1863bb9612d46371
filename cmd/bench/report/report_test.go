package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the files in testdata anew")

// runs are runs of so many seconds, the n-th of n GB and with twice the processor time.
func runs(seconds ...float64) []Run {
	var all []Run
	for i, s := range seconds {
		all = append(all, Run{Seconds: s, CPU: 2 * s, Peak: int64(i+1) * 1e8})
	}
	return all
}

// example has a row with a target that is reached, one with a target that is not, and one without; one over the network.
func example() Report {
	cold := runs(40)
	cold[0].Network, cold[0].Bytes = 12.25, 1e8
	return Report{
		Machine: Machine{Date: "2026-11-21T20:00:00Z", System: "Debian GNU/Linux 13", Kernel: "Linux 6.12", CPU: "A <fast> one",
			Cores: 2, Memory: 4e9, Disk: "ext4", Load: "0.10 0.20 0.30", User: "root",
			Versions: map[string]string{"qemu-img": "1:10.0", "mmdebstrap": "1.5.7"}},
		Rows: []Row{
			{Name: "tree", Task: "tree as tar", Date: "2026-11-21T20:01:00Z", Target: 2.5, Ours: Side{"vmbuild", "vmbuild bootstrap", 144, runs(4, 2, 3)},
				Theirs: Side{"mmdebstrap", "mmdebstrap \\\n| cat", 144, runs(11, 13, 15)}},
			{Name: "qcow2", Task: "raw to qcow2 & back", Date: "2026-11-20T12:00:00Z", Target: 1.5, Ours: Side{"vmbuild", "vmbuild convert", 0, runs(0.5, 0.52)},
				Theirs: Side{"qemu-img | sh", "qemu-img convert", 0, runs(0.7, 0.6)}},
			{Name: "cold", Task: "everything to be fetched", Ours: Side{"vmbuild", "vmbuild", 176, cold},
				Theirs: Side{"mmdebstrap", "mmdebstrap", 177, runs(120)}},
		},
		Growth: []Point{
			{Side{"vmbuild", "vmbuild", 59, runs(1.5, 2, 1.25)}, "essential packages"},
			{Side{"vmbuild", "vmbuild", 1524, runs(50, 60, 55)}, "a desktop"},
		},
		Notes:   []string{"Ten at once take 20 s."},
		Omitted: []Absent{{"image, mkosi", "it needs root"}},
	}
}

func TestForms(t *testing.T) {
	for name, write := range map[string]func(Report, io.Writer) error{
		"bench.txt": Report.WriteText, "bench.md": Report.WriteMarkdown, "bench.json": Report.WriteJSON,
		"comparison.svg": Report.WriteComparison, "growth.svg": Report.WriteGrowth,
	} {
		var got bytes.Buffer
		if err := write(example(), &got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got.String()); diff != "" {
			t.Errorf("%s (-want +got; -update writes it):\n%s", name, diff)
		}
		if err := write(example(), full{}); err == nil || !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("%s: what cannot be written: %v", name, err)
		}
	}
}

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// TestPlotsAreXML: as browsers read it.
func TestPlotsAreXML(t *testing.T) {
	for name, write := range map[string]func(Report, io.Writer) error{
		"comparison": Report.WriteComparison, "growth": Report.WriteGrowth,
	} {
		var plot bytes.Buffer
		if err := write(example(), &plot); err != nil {
			t.Fatal(err)
		}
		for d := xml.NewDecoder(&plot); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
		}
	}
}

func TestJSONIsComplete(t *testing.T) {
	var text bytes.Buffer
	if err := example().WriteJSON(&text); err != nil {
		t.Fatal(err)
	}
	var got Report
	d := json.NewDecoder(&text)
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(example(), got); diff != "" {
		t.Errorf("written (-) and read (+):\n%s", diff)
	}
}

func TestOf(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Spread
	}{
		{nil, Spread{}},
		{[]float64{3}, Spread{3, 3, 3}},
		{[]float64{4, 1}, Spread{2.5, 1, 4}},
		{[]float64{9, 1, 2}, Spread{2, 1, 9}},
		{[]float64{9, 1, 2, 4}, Spread{3, 1, 9}},
	} {
		values := append([]float64(nil), c.values...)
		if got := Of(values); got != c.want {
			t.Errorf("of %v: %v, want %v", c.values, got, c.want)
		}
		if diff := cmp.Diff(c.values, values); diff != "" {
			t.Errorf("the values themselves have changed:\n%s", diff)
		}
	}
}

// TestRatio: the medians' quotient is not the median of the quotients.
func TestRatio(t *testing.T) {
	row := Row{Ours: Side{Runs: runs(1, 2, 4)}, Theirs: Side{Runs: runs(10, 6, 8)}}
	if got := row.Ratio(); got != 4 {
		t.Errorf("ratio %v, want 4", got)
	}
	if got, want := row.Pairs(), (Spread{Median: 3, Min: 2, Max: 10}); got != want {
		t.Errorf("pairs %v, want %v", got, want)
	}
	for target, want := range map[float64]string{0: "", 4: "yes", 4.1: "no"} {
		row.Target = target
		if got := row.Verdict(); got != want {
			t.Errorf("target %v: %q, want %q", target, got, want)
		}
	}
}

func TestScales(t *testing.T) {
	for _, c := range []struct {
		scale      scale
		low, high  float64
		ticks      []float64
		value, put float64
	}{
		{fromZero([]float64{59, 1524}, 0, 1600), 0, 1600, []float64{0, 200, 400, 600, 800, 1000, 1200, 1400, 1600}, 400, 400},
		{fromZero([]float64{0}, 100, 0), 0, 1, []float64{0, 0.2, 0.4, 0.6, 0.8, 1}, 0.25, 75},
		{aroundLog([]float64{1, 83}, 0, 200), 1, 100, []float64{1, 2, 5, 10, 20, 50, 100}, 10, 100},
		{aroundLog([]float64{0.6, 1}, 0, 100), 0.5, 1, []float64{0.5, 1}, 1, 100},
		{aroundLog([]float64{0, 0.01}, 0, 100), 0.01, 0.02, []float64{0.01, 0.02}, 0.01, 0},
	} {
		var ticks []string
		for _, v := range c.scale.ticks() {
			ticks = append(ticks, tickText(v))
		}
		var want []string
		for _, v := range c.ticks {
			want = append(want, tickText(v))
		}
		if c.scale.low != c.low || c.scale.high != c.high || !cmp.Equal(ticks, want) {
			t.Errorf("%+v with %v; want %v to %v with %v", c.scale, ticks, c.low, c.high, want)
		}
		if got := c.scale.at(c.value); got < c.put-1e-9 || got > c.put+1e-9 {
			t.Errorf("%+v: %v is at %v, want %v", c.scale, c.value, got, c.put)
		}
	}
}

func TestFigures(t *testing.T) {
	var got []string
	for _, v := range []float64{0.123, 9.994, 12.34, 99.94, 123.4} {
		got = append(got, figures(v))
	}
	if want := "0.12 9.99 12.3 99.9 123"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// TestRead: what was written is read, and nothing else.
func TestRead(t *testing.T) {
	var text bytes.Buffer
	if err := example().WriteJSON(&text); err != nil {
		t.Fatal(err)
	}
	got, err := Read(bytes.NewReader(text.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(example(), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, wrong := range []string{"", "{", `{"rowz": []}`} {
		if _, err := Read(strings.NewReader(wrong)); err == nil || !strings.HasPrefix(err.Error(), "read report: ") {
			t.Errorf("%q is read: %v", wrong, err)
		}
	}
}
