package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"vmbuild/cmd/bench/archive"
	"vmbuild/cmd/bench/measure"
	"vmbuild/cmd/bench/report"
	"vmbuild/rootfs/mirror"
)

// bench runs comparisons. All that they leave is below its directory, until Close.
type bench struct {
	runs     int
	warm     bool // others, too, do each task once before they are measured
	suite    string
	vmbuild  string
	out      string // directory of the results, which has the logs
	progress io.Writer

	dir       string // of work
	kept      *archive.Kept
	local     *archive.Server // serves kept
	passed    *archive.Passed
	remote    *archive.Server // serves passed
	variables []string        // of the scripts
}

// paths are where a bench reads and writes.
type paths struct {
	vmbuild string // the program
	work    string // directory in which it makes one of its own
	archive string // directory of what has been fetched
	out     string // directory of the results
}

// newBench starts the archives and finds out of what packages vmbuild makes its image. Tasks are done once each, unless the
// caller says otherwise.
func newBench(ctx context.Context, p paths, from mirror.Mirrors, suite string) (b *bench, err error) {
	b = &bench{runs: 1, suite: suite, progress: io.Discard, passed: archive.Pass(from)}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	if b.vmbuild, err = filepath.Abs(p.vmbuild); err != nil {
		return b, err
	}
	if b.out, err = filepath.Abs(p.out); err != nil {
		return b, err
	}
	if err := os.MkdirAll(b.out+"/logs", 0o755); err != nil {
		return b, err
	}
	if b.dir, err = makeWorkDir(p.work); err != nil {
		return b, err
	}
	if b.kept, err = archive.Keep(from, p.archive); err != nil {
		return b, err
	}
	if b.local, err = archive.Start(b.kept); err != nil {
		return b, err
	}
	if b.remote, err = archive.Start(b.passed); err != nil {
		return b, err
	}
	if err := b.writeRecipes(); err != nil {
		return b, err
	}
	return b, b.setVariables(ctx)
}

// makeWorkDir makes a directory that all users may look into, as programs of the trees are others at times. Its path has no
// links in it: the kernel names loop devices' files by such paths.
func makeWorkDir(below string) (string, error) {
	below, err := filepath.Abs(below)
	if err != nil {
		return "", err
	}
	if below, err = filepath.EvalSymlinks(below); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(below, "bench-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

// Close removes everything but the logs and what never changes in the archive.
func (b *bench) Close() error {
	var errs []error
	for _, server := range []*archive.Server{b.local, b.remote} {
		if server != nil {
			errs = append(errs, server.Close())
		}
	}
	if b.kept != nil {
		errs = append(errs, b.kept.Close())
	}
	if b.dir != "" {
		errs = append(errs, b.sweep(), b.remove(b.dir))
	}
	return errors.Join(errs...)
}

// sweep takes away what tools leave that were broken off. Only root's can.
func (b *bench) sweep() error {
	if os.Geteuid() != 0 {
		return nil
	}
	return measure.Detach(b.dir)
}

// remove removes a directory. If an ordinary user calls it, files in it may belong to subordinate ids.
func (b *bench) remove(dir string) error {
	if err := os.RemoveAll(dir); err == nil || os.Geteuid() == 0 {
		return err
	}
	out, err := exec.Command(b.vmbuild, "--unshare-helper", "rm", "-rf", dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("remove %s: %w: %s", dir, err, out)
	}
	return nil
}

func (b *bench) writeRecipes() error {
	return fs.WalkDir(recipes, ".", func(path string, entry fs.DirEntry, err error) error {
		to := filepath.Join(b.dir, path)
		if err != nil || entry.IsDir() {
			return errors.Join(err, os.MkdirAll(to, 0o755))
		}
		data, err := recipes.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o755)
	})
}

// setVariables sets what is the same in all scripts.
func (b *bench) setVariables(ctx context.Context) error {
	b.variables = []string{
		"VMBUILD=" + b.vmbuild, "CACHE=" + filepath.Join(b.dir, "cache"), "SUITE=" + b.suite,
		"RECIPES=" + filepath.Join(b.dir, "recipes"), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive",
	}
	ask := exec.CommandContext(ctx, b.vmbuild, "--image=disk.img", "--grub", "--distribution="+b.suite, "--dry-run=json")
	out, err := ask.Output()
	if err != nil {
		return fmt.Errorf("ask vmbuild for its plan: %w", err)
	}
	var plan struct {
		Rootfs struct {
			Variant string
			Include []string
		}
	}
	if err := json.Unmarshal(out, &plan); err != nil {
		return fmt.Errorf("read vmbuild's plan: %w", err)
	}
	b.variables = append(b.variables, "VARIANT="+plan.Rootfs.Variant, "PACKAGES="+strings.Join(plan.Rootfs.Include, ","))
	return nil
}

// place is where a comparison works.
type place struct {
	dir    string
	server *archive.Server // from which it has its packages
}

// environment are the variables of a script that works there, for a run of a number.
func (b *bench) environment(p place, out string, number int) []string {
	return append(append(p.server.Environment(), b.variables...),
		"MIRROR="+p.server.URL+"/"+archive.Main, "TEMP="+p.dir, "OUT="+out, "N="+strconv.Itoa(number))
}

// inPlace has something done in a directory of a comparison's own.
func (b *bench) inPlace(name string, network bool, do func(place) error) (err error) {
	p := place{dir: filepath.Join(b.dir, name), server: b.local}
	if network {
		p.server = b.remote
	}
	if err := os.Mkdir(p.dir, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.sweep(), b.remove(p.dir)) }()
	return do(p)
}

// theirError is that of a tool that vmbuild is compared with.
type theirError struct{ err error }

func (e theirError) Error() string { return e.err.Error() }
func (e theirError) Unwrap() error { return e.err }

// compare runs both sides of a comparison in turn. The error is a theirError if the other tool is the one that cannot do
// its task.
func (b *bench) compare(ctx context.Context, c comparison) (row report.Row, err error) {
	row = report.Row{
		Name: c.name, Task: c.task, Date: time.Now().UTC().Format(time.RFC3339), Target: c.target,
		Ours: side(c.ours), Theirs: side(c.theirs),
	}
	err = b.inPlace(c.name, c.network, func(p place) error {
		if err := b.warmUp(ctx, c, p); err != nil {
			return err
		}
		for i := range b.runs {
			if err := b.measure(ctx, p, c.ours, i, &row.Ours); err != nil {
				return err
			}
			if err := b.measure(ctx, p, c.theirs, i, &row.Theirs); err != nil {
				return theirError{err}
			}
			fmt.Fprintf(b.progress, "%s %d/%d: vmbuild %.2f s, %s %.2f s\n", c.name, i+1, b.runs,
				row.Ours.Runs[i].Seconds, row.Theirs.Tool, row.Theirs.Runs[i].Seconds)
		}
		return nil
	})
	return row, err
}

func side(w way) report.Side {
	return report.Side{Tool: w.label(), Command: w.script}
}

// warmUp has the files that both sides read fetched, and in the kernel's page cache. Where everything is to be fetched each
// time, there is nothing to warm.
func (b *bench) warmUp(ctx context.Context, c comparison, p place) error {
	if c.network {
		return nil
	}
	unused := report.Side{Packages: 1} // which are not counted
	if err := b.measure(ctx, p, c.ours, 0, &unused); err != nil || !b.warm {
		return err
	}
	if err := b.measure(ctx, p, c.theirs, 0, &unused); err != nil {
		return theirError{err}
	}
	return nil
}

// measure has a way gone once, in a new directory, and adds the run to a side.
func (b *bench) measure(ctx context.Context, p place, w way, number int, to *report.Side) (err error) {
	log := filepath.Join(b.out, "logs", filepath.Base(p.dir)+"-"+w.tool+".log")
	out := filepath.Join(p.dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.remove(out)) }()
	script := func(text string) measure.Command {
		return measure.Command{Args: []string{"sh", "-ec", text}, Dir: p.dir, Env: b.environment(p, out, number), Log: log}
	}
	if w.before != "" {
		if _, err := measure.Run(ctx, script(w.before)); err != nil {
			return fmt.Errorf("%s, before it is measured: %w", w.label(), err)
		}
	}
	b.passed.Take()
	used, err := measure.Run(ctx, script(w.script))
	if err != nil {
		return fmt.Errorf("%s: %w", w.label(), err)
	}
	traffic := b.passed.Take()
	if w.result != "" && to.Packages == 0 {
		if to.Packages, err = countPackages(filepath.Join(out, w.result)); err != nil {
			return err
		}
	}
	to.Runs = append(to.Runs, run(used, traffic))
	return nil
}

func run(u measure.Usage, t archive.Traffic) report.Run {
	return report.Run{
		Seconds: u.Wall.Seconds(), CPU: u.CPU.Seconds(), Peak: u.Peak, Network: t.Busy.Seconds(), Bytes: t.Bytes,
	}
}

// grow measures trees of more and more packages.
func (b *bench) grow(ctx context.Context, s size) (point report.Point, err error) {
	w := way{tool: ours, before: forget, script: s.script, result: "tree.tar"}
	point = report.Point{Of: s.of, Side: side(w)}
	err = b.inPlace("growth", false, func(p place) error {
		unused := report.Side{Packages: 1}
		if err := b.measure(ctx, p, w, 0, &unused); err != nil {
			return err
		}
		for i := range b.runs {
			if err := b.measure(ctx, p, w, i, &point.Side); err != nil {
				return err
			}
		}
		fmt.Fprintf(b.progress, "growth, %d packages: %.2f s\n", point.Packages, point.Seconds().Median)
		return nil
	})
	return point, err
}

// version is the first line of what vmbuild says of itself.
func (b *bench) version(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, b.vmbuild, "--version").Output()
	if err != nil {
		return "of unknown version"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimPrefix(line, ours+" ")
}
