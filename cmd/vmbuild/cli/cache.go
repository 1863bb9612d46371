package cli

import (
	"context"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"vmbuild/image"
	"vmbuild/rootfs/layer"
)

// cacheCmd are the commands that look after the cache.
type cacheCmd struct {
	List   cacheListCmd   `cmd:"" help:"List the layers in the cache, and how much room everything takes."`
	Prune  cachePruneCmd  `cmd:"" help:"Remove from the cache what was not used for 30 days, or what the options say."`
	Verify cacheVerifyCmd `cmd:"" help:"Look for damage in the cache."`
}

// pruneAge is how long things stay that nobody uses, unless an option says something else.
const pruneAge = 30 * 24 * time.Hour

type cacheListCmd struct {
	All bool `help:"List every download too, by its whole name." negatable:""`
	environment
}

// Run is called by kong.
func (c *cacheListCmd) Run(ctx context.Context, s Streams) error {
	entries, err := image.ListCache(ctx, image.Host{Cache: c.cacheDir(), Temp: c.tempDir()})
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "%s: %s\n", c.cacheDir(), bytesText(sizeOf(entries)))
	for _, count := range countKinds(entries) {
		fmt.Fprintf(s.Out, "  %s\n", count)
	}
	c.table(s.Out, entries)
	return nil
}

// table lists entries one by one.
func (c *cacheListCmd) table(out io.Writer, entries []layer.Entry) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	heading := "\nKIND\tNAME\tSIZE\tLAST USED\tCONTENT\n"
	for _, e := range entries {
		name := e.Name
		if !c.All {
			if e.Kind != layer.KindLayer {
				continue
			}
			name = shortName(e)
		}
		fmt.Fprintf(w, "%s%s\t%s\t%s\t%s\t%s\n", heading, e.Kind, name, bytesText(e.Size),
			e.Used.Local().Format("2006-01-02 15:04"), orDash(e.About))
		heading = ""
	}
	w.Flush()
}

type cachePruneCmd struct {
	Layers    bool        `help:"Remove layers, and nothing else without --packages."`
	Packages  bool        `help:"Remove downloaded packages and indexes, and nothing else without --layers."`
	OlderThan *age        `help:"Remove what was not used for this time: 30d, 2w, 12h." placeholder:"TIME"`
	MaxSize   *image.Size `help:"Leave no more than this, removing first what was not used for the longest time." placeholder:"SIZE"`
	DryRun    bool        `help:"Only say what would be removed."`
	environment
}

// options say what the command line means: without a word about it, what is old goes, of both kinds.
func (c *cachePruneCmd) options() (layer.PruneOptions, error) {
	o := layer.PruneOptions{Layers: c.Layers, Objects: c.Packages, DryRun: c.DryRun}
	if c.OlderThan != nil {
		o.OlderThan = time.Duration(*c.OlderThan)
	}
	if c.MaxSize != nil {
		if o.MaxSize = int64(*c.MaxSize); o.MaxSize <= 0 {
			return o, usageError{fmt.Errorf("--max-size=0 leaves nothing: say --layers --packages to remove everything")}
		}
	}
	if c.Layers || c.Packages {
		return o, nil
	}
	o.Layers, o.Objects = true, true
	if c.OlderThan == nil && c.MaxSize == nil {
		o.OlderThan = pruneAge
	}
	return o, nil
}

// Run is called by kong.
func (c *cachePruneCmd) Run(ctx context.Context, s Streams) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	pruned, err := image.PruneCache(ctx, o, image.Host{Cache: c.cacheDir(), Temp: c.tempDir()})
	removed := "removed"
	if c.DryRun {
		removed = "would remove"
	}
	for _, e := range pruned.Removed {
		if e.Kind == layer.KindLayer {
			fmt.Fprintf(s.Out, "%s %s\n", removed, layerText(e))
		}
	}
	for _, count := range countKinds(pruned.Removed) {
		fmt.Fprintf(s.Out, "%s %s\n", removed, count)
	}
	for _, count := range countKinds(pruned.Busy) {
		fmt.Fprintf(s.Err, "vmbuild: note: in use, and left alone: %s\n", count)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "%s %s, %s left\n", removed, bytesText(sizeOf(pruned.Removed)), bytesText(pruned.Left))
	return nil
}

type cacheVerifyCmd struct {
	Remove bool `help:"Remove what is damaged; it is fetched or made again when it is needed."`
	environment
}

// Run is called by kong.
func (c *cacheVerifyCmd) Run(ctx context.Context, s Streams) error {
	display := newDisplay(s.Err, false)
	verified, err := image.VerifyCache(ctx, c.Remove, image.Host{Cache: c.cacheDir(), Temp: c.tempDir(), Event: display.show})
	display.close()
	damaged := 0
	for _, f := range verified.Found {
		end := ""
		switch {
		case f.Removed:
			end = " (removed)"
		case f.Harmless:
			end = " (it will be made again)"
		default:
			damaged++
		}
		fmt.Fprintf(s.Out, "%s %s %s%s\n", f.Entry.Kind, f.Entry.Name, f.Problem, end)
	}
	switch {
	case err != nil:
		return err
	case damaged > 0:
		return &damagedError{count: damaged, removing: c.Remove}
	}
	for _, count := range countKinds(verified.Entries) {
		fmt.Fprintf(s.Out, "verified %s\n", count)
	}
	return nil
}

// damagedError says that things in the cache are damaged and still there.
type damagedError struct {
	count    int
	removing bool
}

func (e *damagedError) Error() string {
	what := fmt.Sprintf("%d things in the cache are damaged", e.count)
	if e.count == 1 {
		what = "1 thing in the cache is damaged"
	}
	if e.removing {
		what += " and in use"
	}
	return what
}

// Kind is "verification".
func (e *damagedError) Kind() string { return "verification" }

// hint says what to do.
func (e *damagedError) hint() string {
	if e.removing {
		return "it can be removed when the builds that use it have ended"
	}
	return "vmbuild cache verify --remove removes what is damaged; what is needed again is fetched and made again"
}

// kindNames are how people call the kinds of things in the cache, one and many.
var kindNames = map[layer.Kind][2]string{
	layer.KindLayer:    {"layer", "layers"},
	layer.KindObject:   {"download", "downloads"},
	layer.KindPartial:  {"unfinished download", "unfinished downloads"},
	layer.KindDocument: {"release file", "release files"},
}

// countKinds says how many things of each kind there are, and how large.
func countKinds(entries []layer.Entry) []string {
	var texts []string
	for _, kind := range []layer.Kind{layer.KindLayer, layer.KindObject, layer.KindPartial, layer.KindDocument} {
		var of []layer.Entry
		for _, e := range entries {
			if e.Kind == kind {
				of = append(of, e)
			}
		}
		if name := kindNames[kind][1]; len(of) > 0 {
			if len(of) == 1 {
				name = kindNames[kind][0]
			}
			texts = append(texts, fmt.Sprintf("%d %s, %s", len(of), name, bytesText(sizeOf(of))))
		}
	}
	return texts
}

func sizeOf(entries []layer.Entry) (size int64) {
	for _, e := range entries {
		size += e.Size
	}
	return size
}

func layerText(e layer.Entry) string {
	text := fmt.Sprintf("layer %s, %s", shortName(e), bytesText(e.Size))
	if e.About != "" {
		text += ", " + e.About
	}
	return text
}

// shortName is as much of a layer's key as people need.
func shortName(e layer.Entry) string { return e.Name[:min(len(e.Name), 12)] }

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// bytesText writes a number of bytes in powers of 1000, as the progress display does.
func bytesText(n int64) string {
	for _, u := range []struct {
		factor int64
		name   string
	}{{1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}} {
		if n >= u.factor {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.factor), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// age is a duration that may be given in days and weeks.
type age time.Duration

// ageForm is a number of weeks, of days, and a rest that time.ParseDuration reads, each of which may be missing.
var ageForm = regexp.MustCompile(`^(?:(\d+)w)?(?:(\d+)d)?(.*)$`)

// parseAge reads a time such as 30d, 2w, 1w3d or 12h.
func parseAge(text string) (age, error) {
	wrong := fmt.Errorf("%q is not a time such as 30d, 2w or 12h", text)
	parts := ageForm.FindStringSubmatch(text)
	if text == "" || parts == nil {
		return 0, wrong
	}
	var total float64 // of hours
	for i, hours := range []float64{7 * 24, 24} {
		if parts[i+1] == "" {
			continue
		}
		n, err := strconv.ParseFloat(parts[i+1], 64)
		if err != nil {
			return 0, wrong
		}
		total += n * hours
	}
	if parts[3] != "" {
		rest, err := time.ParseDuration(parts[3])
		if err != nil || strings.ContainsAny(parts[3], "+-") {
			return 0, wrong
		}
		total += rest.Hours()
	}
	if total >= float64(math.MaxInt64)/float64(time.Hour) {
		return 0, fmt.Errorf("%q is longer than vmbuild can count", text)
	}
	if total <= 0 {
		return 0, fmt.Errorf("%q is no time at all", text)
	}
	return age(total * float64(time.Hour)), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *age) UnmarshalText(text []byte) error {
	parsed, err := parseAge(string(text))
	*a = parsed
	return err
}
