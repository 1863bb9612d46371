package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"vmbuild/rootfs/span"
)

// timingOptions are about the time that a command takes.
type timingOptions struct {
	Timings bool   `help:"Print at the end what each stage took: wall, the time that it was at work; share, of which others had a part too, each an equal one, so that shares add up to the whole; cpu, of its programs and an equal part of vmbuild's own." negatable:"" whole:"" group:"Program"`
	Trace   string `help:"Write what was done when to FILE, for ui.perfetto.dev or chrome://tracing." placeholder:"FILE" whole:"" group:"Program"`
}

// run does something and records it, if the options want that. What was recorded is told after a failure too.
func (o timingOptions) run(ctx context.Context, out io.Writer, do func(context.Context) error) (err error) {
	if !o.Timings && o.Trace == "" {
		return do(ctx)
	}
	var trace *os.File
	if o.Trace != "" {
		if trace, err = os.Create(o.Trace); err != nil { // before anything that takes time
			return usageError{fmt.Errorf("--trace: %w", err)}
		}
	}
	ctx, c := span.Collect(ctx)
	stop := span.Watch(ctx, false)
	err = do(ctx)
	stop()
	if o.Timings {
		printTimings(out, c.Summary())
	}
	if trace != nil { // what was made is made, whatever becomes of this file
		if err := errors.Join(c.WriteTrace(trace), trace.Close()); err != nil {
			fmt.Fprintf(out, "vmbuild: note: the trace is not complete: %v\n", err)
		}
	}
	return err
}

// printTimings prints a table of stages, and below each what was done in it.
func printTimings(out io.Writer, s span.Summary) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "began\twall\tshare\tcpu\t  stage\n")
	for _, stage := range s.Stages {
		stage.Count = 1 // how often two stages took turns says nothing
		printTiming(w, stage, secondsText(stage.Began), secondsText(stage.Share))
		for _, part := range stage.Parts {
			if noticeable(part, s.Total) {
				part.Name = "  " + part.Name
				printTiming(w, part, secondsText(part.Began), "")
			}
		}
	}
	s.Other.Name, s.Total.Name = "(no stage)", "total"
	printTiming(w, s.Other, "", secondsText(s.Other.Share))
	printTiming(w, s.Total, "", secondsText(s.Total.Share))
	w.Flush()
	if s.Network.Wall > 0 {
		fmt.Fprintf(out, "network: at work for %s, in %s of which there was nothing else to do\n",
			secondsText(s.Network.Wall), secondsText(s.Network.Waited))
	}
	if s.Memory > 0 {
		fmt.Fprintf(out, "memory: at most %s\n", bytesText(s.Memory))
	}
}

// noticeable says whether a part of a stage is worth a line: a hundredth of the whole.
func noticeable(part, total span.Use) bool {
	return cmp.Or(part.Unfinished, part.Wall >= total.Wall/100, part.CPU >= total.CPU/100)
}

// printTiming prints a line of the table. What it is about may have no beginning, or no share.
func printTiming(w io.Writer, u span.Use, began, share string) {
	if u.Count > 1 {
		u.Name += fmt.Sprintf(" ×%d", u.Count)
	}
	if u.Unfinished {
		u.Name += " (unfinished)"
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t  %s%s\n", began, secondsText(u.Wall), share, secondsText(u.CPU), u.Name, bytesMoved(u))
}

func secondsText(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// bytesMoved says what a stage has fetched, read and written, as far as it is known.
func bytesMoved(u span.Use) string {
	var moved []string
	for _, m := range []struct {
		bytes int64
		verb  string
	}{{u.Fetched, "fetched"}, {u.Read, "read"}, {u.Written, "written"}} {
		if m.bytes > 0 {
			moved = append(moved, bytesText(m.bytes)+" "+m.verb)
		}
	}
	if len(moved) == 0 {
		return ""
	}
	return ": " + strings.Join(moved, ", ")
}
