package cli

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs"
)

// someBuild is what a build tells of itself.
var someBuild = []rootfs.Event{
	{Stage: "resolve"},
	{Stage: "fetch"},
	{Stage: "fetch", Done: 1_000_000, Total: 12_340_000, Unit: rootfs.Bytes},
	{Line: "a word from a program"},
	{Stage: "fetch", Done: 12_340_000, Total: 12_340_000, Unit: rootfs.Bytes},
	{Stage: "unpack", Total: 3, Unit: "packages"},
	{Stage: "unpack", Done: 3, Total: 3, Unit: "packages"},
	{Stage: "configure"},
	{Line: "Setting up dash ..."},
}

// elapsed is a time in the display, which no test can know.
var elapsed = regexp.MustCompile(`\d+\.\d s`)

// finished is the line of a stage that is over, with its time taken out.
func finished(stage, amount string) string { return fmt.Sprintf("%-12s   T s%s\n", stage, amount) }

func TestDisplayElsewhere(t *testing.T) {
	stages := []string{finished("resolve", ""), finished("fetch", "  12.3 MB"), finished("unpack", "  3 packages"), finished("configure", "")}
	for name, c := range map[string]struct {
		verbose bool
		events  []rootfs.Event
		want    string
	}{
		"nothing": {true, nil, ""},
		"a build": {false, someBuild, strings.Join(stages, "")},
		"verbose": {true, someBuild, stages[0] + "a word from a program\n" + stages[1] + stages[2] + "Setting up dash ...\n" + stages[3]},
		"failure": {false, someBuild[:3], stages[0] + finished("fetch", "  1.0 MB")},
		"end":     {false, []rootfs.Event{{Stage: "fetch"}, {}}, finished("fetch", "")},
		"twice the same": {false, []rootfs.Event{{Stage: "fetch"}, {Stage: "fetch"}, {Stage: "unpack"}, {Stage: "fetch"}},
			finished("fetch", "") + finished("unpack", "") + finished("fetch", "")},
	} {
		var out bytes.Buffer
		d := newDisplay(&out, c.verbose)
		for _, e := range c.events {
			d.show(e)
		}
		d.close()
		d.close()
		if diff := cmp.Diff(c.want, elapsed.ReplaceAllString(out.String(), "T s")); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

// onTerminal returns what events make a terminal of 100 columns show, without the escape sequences that move the cursor,
// and without the time behind a line, as a line for each state of a line.
func onTerminal(t *testing.T, verbose bool, events []rootfs.Event) string {
	t.Helper()
	ours, theirs, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	if err := pty.Setsize(theirs, &pty.Winsize{Rows: 25, Cols: 100}); err != nil {
		t.Fatal(err)
	}
	shown := make(chan string)
	go func() {
		text, _ := io.ReadAll(ours) // ends with EIO when the other side is closed
		shown <- string(text)
	}()
	d := newDisplay(theirs, verbose)
	for _, e := range events {
		d.show(e)
	}
	d.close()
	d.close()
	theirs.Close()
	text := regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`).ReplaceAllString(<-shown, "")
	return regexp.MustCompile(`( +\d+s)? *\r?\n`).ReplaceAllString(text, "\n")
}

// TestDisplayOnTerminal looks at the last state of the screen: a line per stage, below what programs printed.
func TestDisplayOnTerminal(t *testing.T) {
	const full = "[==================================]"
	bar := func(stage, progress string) string {
		return strings.TrimRight(fmt.Sprintf("%-12s %s %20s", stage, full, progress), " ") + "\n"
	}
	lines := []string{
		bar("resolve", ""), bar("fetch", "12.3 / 12.3 MB"), bar("unpack", "3 / 3 packages"), bar("configure", ""),
	}
	for name, c := range map[string]struct {
		verbose bool
		events  []rootfs.Event
		want    []string // the end of what is shown
		printed []string
	}{
		"nothing": {false, nil, nil, nil},
		"a build": {false, someBuild, lines, nil},
		"verbose": {true, someBuild, lines, []string{"a word from a program\n", "Setting up dash ...\n"}},
		"failure": {false, someBuild[:3], []string{lines[0], bar("fetch", "1.0 / 12.3 MB")}, nil},
		"end":     {false, append(someBuild[:2:2], rootfs.Event{}), []string{lines[0], bar("fetch", "")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			text := onTerminal(t, c.verbose, c.events)
			if want := strings.Join(c.want, ""); !strings.HasSuffix(text, want) || c.want == nil && text != "" {
				t.Errorf("the terminal shows\n%s\nwhich does not end in\n%s", text, want)
			}
			for _, line := range []string{"a word from a program\n", "Setting up dash ...\n"} {
				if got, want := strings.Contains(text, line), slices.Contains(c.printed, line); got != want {
					t.Errorf("%q is shown: %t", line, got)
				}
			}
		})
	}
}
