package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"vmbuild/rootfs"
)

// display shows how far a build is: a live bar per stage on a terminal, a line per finished stage elsewhere.
type display struct {
	out     io.Writer
	bars    *mpb.Progress // nil where out is no terminal
	verbose bool

	mu      sync.Mutex
	stage   string
	started time.Time
	bar     *mpb.Bar
	last    rootfs.Event
}

func newDisplay(out io.Writer, verbose bool) *display {
	d := &display{out: out, verbose: verbose}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		d.bars = mpb.New(mpb.WithOutput(out), mpb.WithWidth(36), mpb.WithRefreshRate(100*time.Millisecond))
	}
	return d
}

// show takes an event of the build.
func (d *display) show(e rootfs.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.Line != "" {
		if d.verbose {
			d.print(e.Line + "\n")
		}
		return
	}
	if e.Stage == "" {
		d.end()
		return
	}
	if e.Stage != d.stage {
		d.finish()
		d.stage, d.started = e.Stage, time.Now()
		if d.bars != nil {
			d.bar = d.newBar(e)
		}
	}
	d.last = e
	if d.bar != nil {
		d.bar.SetTotal(e.Total, false)
		d.bar.SetCurrent(e.Done)
	}
}

func (d *display) print(text string) {
	if d.bars != nil {
		fmt.Fprint(d.bars, text)
		return
	}
	fmt.Fprint(d.out, text)
}

func (d *display) newBar(e rootfs.Event) *mpb.Bar {
	counters := decor.CountersNoUnit("%d / %d", decor.WC{W: 20})
	if e.Unit == rootfs.Bytes {
		counters = decor.CountersKibiByte("% .0f / % .0f", decor.WC{W: 20})
	}
	return d.bars.New(e.Total, mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]"),
		mpb.PrependDecorators(decor.Name(e.Stage, decor.WC{W: 12, C: decor.DindentRight})),
		mpb.AppendDecorators(decor.OnCondition(counters, e.Total > 0), decor.Elapsed(decor.ET_STYLE_GO, decor.WC{W: 7})),
	)
}

// finish ends the stage that is shown.
func (d *display) finish() {
	if d.stage == "" {
		return
	}
	if d.bar != nil {
		d.bar.SetTotal(max(d.last.Done, 1), true)
		d.bar = nil
		return
	}
	fmt.Fprintf(d.out, "%-12s %5.1f s%s\n", d.stage, time.Since(d.started).Seconds(), amount(d.last))
}

func amount(e rootfs.Event) string {
	switch {
	case e.Total == 0:
		return ""
	case e.Unit == rootfs.Bytes:
		return fmt.Sprintf("  %.1f MB", float64(e.Done)/1e6)
	default:
		return fmt.Sprintf("  %d %s", e.Done, e.Unit)
	}
}

// close ends the display; it may be called after a failure too.
func (d *display) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end()
}

// end leaves the terminal to others.
func (d *display) end() {
	d.finish()
	d.stage = ""
	if d.bars != nil {
		d.bars.Wait()
	}
}
