package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
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
	explain bool // tells what has become of layers of the cache

	mu      sync.Mutex
	stage   string
	started time.Time
	bar     *liveBar
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
	if e.Layer != nil {
		if d.explain {
			d.print(explanation(*e.Layer))
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
		d.bar.show(e)
	}
}

func (d *display) print(text string) {
	if d.bars != nil {
		fmt.Fprint(d.bars, text)
		return
	}
	fmt.Fprint(d.out, text)
}

// explanation is what people are told of a layer.
func explanation(use rootfs.LayerUse) string {
	key := use.Key[:min(len(use.Key), 12)]
	if use.Hit {
		return fmt.Sprintf("cache: %s %s: hit\n", key, use.What)
	}
	return fmt.Sprintf("cache: %s %s: miss: %s\n", key, use.What, strings.Join(use.Why, "; "))
}

// liveBar is the line of the stage at work. What a stage counts is known only some time after it has begun.
type liveBar struct {
	*mpb.Bar
	last atomic.Pointer[rootfs.Event]
}

func (d *display) newBar(e rootfs.Event) *liveBar {
	var b liveBar
	b.last.Store(&e)
	counter := func(decor.Statistics) string { return progress(*b.last.Load()) }
	b.Bar = d.bars.New(e.Total, mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]"),
		mpb.PrependDecorators(decor.Name(e.Stage, decor.WC{W: 12, C: decor.DindentRight})),
		mpb.AppendDecorators(decor.Any(counter, decor.WC{W: 20}), decor.Elapsed(decor.ET_STYLE_GO, decor.WC{W: 7})),
	)
	return &b
}

func (b *liveBar) show(e rootfs.Event) {
	b.last.Store(&e)
	b.SetTotal(e.Total, false)
	b.SetCurrent(e.Done)
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

// progress is how far a stage is, of how much.
func progress(e rootfs.Event) string {
	switch {
	case e.Total == 0:
		return ""
	case e.Unit == rootfs.Bytes:
		return fmt.Sprintf("%.1f / %.1f MB", float64(e.Done)/1e6, float64(e.Total)/1e6)
	default:
		return fmt.Sprintf("%d / %d %s", e.Done, e.Total, e.Unit)
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
