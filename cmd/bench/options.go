package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"vmbuild/cmd/bench/report"
	"vmbuild/rootfs/mirror"
)

// options are the command line.
type options struct {
	Runs         int      `help:"Pairs of runs of each comparison (default 5)." default:"5" placeholder:"N"`
	Rows         string   `help:"Make only the comparisons whose names match; --list has them." placeholder:"REGEX"`
	Tools        []string `help:"Compare only with these." placeholder:"NAME"`
	Quick        bool     `help:"One pair each, and others do not warm up: to see that it works."`
	List         bool     `help:"Print the comparisons, and what this machine lacks for them."`
	Out          string   `help:"Write tables, plots, figures and logs into DIR (default bench)." default:"bench" placeholder:"DIR"`
	Add          bool     `help:"Keep what --out has of comparisons that are not made this time."`
	Vmbuild      string   `help:"The program to compare (default ./vmbuild)." default:"./vmbuild" placeholder:"FILE"`
	Distribution string   `help:"Debian suite (default trixie)." default:"trixie" placeholder:"NAME"`
	Mirror       string   `help:"Fetch packages from URL (default: this host's own apt source for Debian)." placeholder:"URL"`
	Archive      string   `help:"Keep what was fetched in DIR (default: vmbuild-bench in the user's cache)." placeholder:"DIR"`
	Work         string   `help:"Work below DIR (default /var/tmp); trees of a desktop take 15 GB there." default:"/var/tmp" placeholder:"DIR"`
}

// Names of what is no comparison but can be chosen by --rows, too.
const (
	growthRow   = "growth"
	togetherRow = "together"
)

// run makes the report, as much of it as there is time for: what was compared before an error or a signal is written.
func (o options) run(ctx context.Context, out, progress io.Writer) (err error) {
	chosen, err := o.choose()
	if err != nil {
		return err
	}
	if o.List {
		return chosen.list(out)
	}
	var earlier report.Report
	if o.Add {
		if earlier, err = readReport(o.Out); err != nil {
			return fmt.Errorf("--add: %w", err)
		}
	}
	b, err := o.open(ctx, progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	r := report.Report{Machine: describeMachine(b.dir), Omitted: chosen.omitted}
	r.Machine.Versions[ours] = b.version(ctx)
	chosen.keep(earlier, &r)
	err = chosen.do(ctx, b, &r)
	return errors.Join(err, r.WriteText(out))
}

func (o options) open(ctx context.Context, progress io.Writer) (*bench, error) {
	from, err := mirror.OfHost(os.DirFS("/etc/apt"))
	if err != nil {
		return nil, err
	}
	if o.Mirror != "" {
		from = mirror.Mirrors{Main: o.Mirror}
	}
	if o.Archive == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, err
		}
		o.Archive = filepath.Join(cache, "vmbuild-bench")
	}
	b, err := newBench(ctx, paths{vmbuild: o.Vmbuild, work: o.Work, archive: o.Archive, out: o.Out}, from, o.Distribution)
	if err != nil {
		return nil, err
	}
	b.runs, b.warm, b.progress = max(1, o.Runs), !o.Quick, progress
	if o.Quick {
		b.runs = 1
	}
	return b, nil
}

// choice is what is to be done.
type choice struct {
	comparisons []comparison
	growth      bool
	together    bool
	omitted     []report.Absent
}

// choose takes what the options name and this machine can do.
func (o options) choose() (choice, error) {
	rows, err := regexp.Compile(o.Rows)
	if err != nil {
		return choice{}, fmt.Errorf("--rows: %w", err)
	}
	known := map[string]tool{}
	for _, t := range tools() {
		known[t.name] = t
	}
	for _, name := range o.Tools {
		if _, ok := known[name]; !ok {
			return choice{}, fmt.Errorf("--tools: there is no tool %q in the table", name)
		}
	}
	var c choice
	isRoot := os.Geteuid() == 0
	for _, of := range comparisons() {
		if !rows.MatchString(of.name) || len(o.Tools) > 0 && !slices.Contains(o.Tools, of.theirs.tool) {
			continue
		}
		err := known[of.theirs.tool].missing(isRoot)
		if err == nil && of.theirs.root && !isRoot {
			err = errors.New("it needs root")
		}
		if err != nil {
			c.omitted = append(c.omitted, report.Absent{Name: of.name + ", " + of.theirs.label(), Reason: err.Error()})
			continue
		}
		c.comparisons = append(c.comparisons, of)
	}
	c.growth = rows.MatchString(growthRow) && len(o.Tools) == 0
	c.together = rows.MatchString(togetherRow) && len(o.Tools) == 0
	return c, nil
}

// readReport reads the report that a directory has, if there is one.
func readReport(dir string) (report.Report, error) {
	f, err := os.Open(filepath.Join(dir, "bench.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return report.Report{}, nil
	}
	if err != nil {
		return report.Report{}, err
	}
	defer f.Close()
	r, err := report.Read(f)
	if err != nil {
		return r, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return r, nil
}

// keep takes over from an earlier report what is not done now.
func (c choice) keep(earlier report.Report, r *report.Report) {
	for _, row := range earlier.Rows {
		if !slices.ContainsFunc(c.comparisons, func(of comparison) bool { return of.name == row.Name }) {
			putRow(r, row)
		}
	}
	if !c.growth {
		r.Growth = earlier.Growth
	}
	if !c.together {
		r.Notes = earlier.Notes
	}
	for tool, version := range earlier.Machine.Versions {
		if _, known := r.Machine.Versions[tool]; !known {
			r.Machine.Versions[tool] = version
		}
	}
}

// putRow adds a row, in the place that the table of comparisons gives it. It is omitted no longer.
func putRow(r *report.Report, row report.Row) {
	r.Rows = append(r.Rows, row)
	place := map[string]int{}
	for i, of := range comparisons() {
		place[of.name] = i
	}
	slices.SortStableFunc(r.Rows, func(a, b report.Row) int { return cmp.Compare(place[a.Name], place[b.Name]) })
	r.Omitted = slices.DeleteFunc(r.Omitted, func(a report.Absent) bool { return strings.HasPrefix(a.Name, row.Name+", ") })
}

// list prints what would be done.
func (c choice) list(w io.Writer) error {
	for _, of := range c.comparisons {
		fmt.Fprintf(w, "%-22s %s: %s\n", of.name, of.task, of.theirs.label())
	}
	if c.growth {
		fmt.Fprintf(w, "%-22s time and memory by the number of packages\n", growthRow)
	}
	if c.together {
		fmt.Fprintf(w, "%-22s ten builds at once on one cache\n", togetherRow)
	}
	for _, a := range c.omitted {
		fmt.Fprintf(w, "not here: %s (%s)\n", a.Name, a.Reason)
	}
	return nil
}

// do fills the report, and writes its files after each step. A tool that cannot do its task is named in it; vmbuild's
// failure is the benchmark's.
func (c choice) do(ctx context.Context, b *bench, r *report.Report) error {
	for _, of := range c.comparisons {
		if err := b.addComparison(ctx, of, r); err != nil {
			return fmt.Errorf("%s: %w", of.name, err)
		}
	}
	if c.growth {
		for _, s := range sizes() {
			point, err := b.grow(ctx, s)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", growthRow, s.of, err)
			}
			r.Growth = append(r.Growth, point)
			if err := writeFiles(*r, b.out); err != nil {
				return err
			}
		}
	}
	if c.together {
		note, err := b.together(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", togetherRow, err)
		}
		r.Notes = append(r.Notes, note)
	}
	return writeFiles(*r, b.out)
}

func (b *bench) addComparison(ctx context.Context, of comparison, r *report.Report) error {
	row, err := b.compare(ctx, of)
	var theirs theirError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &theirs):
		fmt.Fprintf(b.progress, "%s: %v\n", of.name, theirs)
		failed := report.Absent{Name: of.name + ", " + of.theirs.label(), Reason: "it failed here; its log says why"}
		r.Omitted = append(r.Omitted, failed)
	case err != nil:
		return err
	default:
		putRow(r, row)
		r.Machine.Versions[of.theirs.tool] = versionOf(ctx, of.theirs.tool)
	}
	return writeFiles(*r, b.out)
}

// writeFiles writes a report's forms into a directory.
func writeFiles(r report.Report, dir string) error {
	files := map[string]func(io.Writer) error{"bench.md": r.WriteMarkdown, "bench.json": r.WriteJSON}
	if len(r.Rows) > 0 {
		files["comparison.svg"] = r.WriteComparison
	}
	if len(r.Growth) > 0 {
		files["growth.svg"] = r.WriteGrowth
	}
	for name, write := range files {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if err := errors.Join(write(f), f.Close()); err != nil {
			return err
		}
	}
	return nil
}
