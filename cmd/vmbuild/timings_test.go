package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/archivetest"
)

// TestTimings has both halves of a build in one table and in one file, by one clock: of a build that ends well, of one whose
// hook fails, and of one that Ctrl-C ends.
func TestTimings(t *testing.T) {
	b := newBench(t)
	b.serve(t, "URL", archivetest.Archive{Packages: []archivetest.Package{versioned("a", "1", "b"), versioned("b", "1", "")}})
	common := []string{"bootstrap", "--variant=extract", "--include=a", "--architectures=amd64", "--keyring=$URLKEY",
		"--format=tar", "--timings", "--trace=trace.json"}
	for name, c := range map[string]struct {
		args   []string
		signal syscall.Signal
		status int
		has    []string // spans: process, category, name
		hasNot []string
		last   string // line, a regular expression
		stages string // of the table
	}{
		"well": {
			args: []string{"--setup-hook=touch $1/x"}, last: `^memory: at most .* MB$`,
			stages: "commit fetch finish resolve setup sweep unpack write",
			has: []string{"1 stage commit", "2 stage sweep", "2 stage setup", `2 step "touch $1/x"`, "2 stage resolve",
				"2 network InRelease", "2 network main/binary-amd64 index", "2 stage unpack", "2 network a_1_amd64.deb",
				"2 network b_1_amd64.deb", "2 lane a", "2 lane b"},
		},
		"failed": {
			args: []string{"--setup-hook=touch $1/x; false"}, status: 1, last: `^vmbuild: run setup hook`,
			stages: "setup sweep",
			has:    []string{"2 stage setup", "3 stage sweep"}, hasNot: []string{"1 stage commit", "2 stage unpack"},
		},
		"interrupted": {
			args: []string{"--setup-hook=touch $1/x; sleep 1000.25"}, signal: syscall.SIGINT, status: 130,
			last: `^vmbuild: interrupted; nothing was left behind$`, stages: "setup sweep",
			has: []string{"2 stage setup", "3 stage sweep"}, hasNot: []string{"1 stage commit"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var args []string
			for _, a := range slices.Concat(common, c.args, []string{"trixie", "out.tar", "$URL"}) {
				args = append(args, b.expand(a))
			}
			cmd := b.command(t.Context(), b.dir, args...)
			var diagnosis bytes.Buffer
			cmd.Stderr = &diagnosis
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if c.signal != 0 {
				waitForProgram(t, "sleep 1000.25")
				if err := cmd.Process.Signal(c.signal); err != nil {
					t.Fatal(err)
				}
			}
			_ = cmd.Wait() // its status is compared
			lines := strings.Split(strings.TrimRight(diagnosis.String(), "\n"), "\n")
			if cmd.ProcessState.ExitCode() != c.status || !regexp.MustCompile(c.last).MatchString(lines[len(lines)-1]) {
				t.Errorf("exit status %d\n%s", cmd.ProcessState.ExitCode(), diagnosis.String())
			}
			if diff := cmp.Diff(c.stages, stagesOf(lines)); diff != "" {
				t.Errorf("stages of the table:\n%s\n%s", diff, diagnosis.String())
			}
			spans := traced(t, filepath.Join(b.dir, "trace.json"))
			for _, s := range c.has {
				if !slices.Contains(spans, s) {
					t.Errorf("no span %q in %q", s, spans)
				}
			}
			for _, s := range c.hasNot {
				if slices.Contains(spans, s) {
					t.Errorf("span %q in %q", s, spans)
				}
			}
		})
	}
}

// stagesOf are the names in the table's last column, sorted, without those of parts.
func stagesOf(lines []string) string {
	form := regexp.MustCompile(`^ *[0-9.]+ s +[0-9.]+ s +[0-9.]+ s +[0-9.]+ s  (\w+)`)
	var names []string
	for _, line := range lines {
		if m := form.FindStringSubmatch(line); m != nil {
			names = append(names, m[1])
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// traced are a trace's spans, and it is an error if one of the inner half does not lie within the time of all, or has not
// ended.
func traced(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var trace struct {
		TraceEvents []struct {
			Ph, Cat, Name string
			TS, Dur       float64
			PID           int
			Args          map[string]any
		}
	}
	if err := json.Unmarshal(data, &trace); err != nil {
		t.Fatal(err)
	}
	var spans []string
	for _, e := range trace.TraceEvents {
		if e.Ph != "X" {
			continue
		}
		spans = append(spans, fmt.Sprintf("%d %s %s", e.PID, e.Cat, e.Name))
		if e.TS <= 0 || e.TS+e.Dur > float64(time.Minute.Microseconds()) || e.Args["unfinished"] != nil {
			t.Errorf("%+v", e)
		}
	}
	return spans
}

// waitForProgram waits until a program of this command line runs, of whoever.
func waitForProgram(t *testing.T, line string) {
	t.Helper()
	want := strings.ReplaceAll(line, " ", "\x00") + "\x00"
	for range 300 {
		files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, f := range files {
			if got, err := os.ReadFile(f); err == nil && string(got) == want {
				return
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("%s does not run", line)
}
