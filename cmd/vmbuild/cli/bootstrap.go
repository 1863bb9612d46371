package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/alecthomas/kong"

	"vmbuild/hooks"
	"vmbuild/image/bootstrap"
	"vmbuild/image/session"
)

// bootstrapCmd is the command line of vmbuild bootstrap: mmdebstrap's options.
type bootstrapCmd struct {
	Suite   string   `arg:"" optional:"" help:"Debian suite or codename; without it, standard input has the apt sources."`
	Target  string   `arg:"" optional:"" help:"Directory, archive or filesystem image; - and nothing are standard output."`
	Mirrors []string `arg:"" optional:"" name:"mirror" sep:"none" help:"URL, line or file of apt sources; - is standard input (default: the suite's own archives)."`

	Format        string   `help:"What to make: auto (by the target's name), directory, tar, squashfs, ext2, ext4, null." placeholder:"NAME" group:"Target"`
	Variant       string   `help:"Which packages: ${variants} (default important)." placeholder:"NAME" group:"Packages"`
	Include       []string `help:"Install these too: names, NAME=VERSION, NAME/SUITE, apt patterns, paths of .deb files; separated by commas or blanks (may be given more than once)." placeholder:"LIST" sep:"none" group:"Packages"`
	Exclude       []string `help:"Never install these." placeholder:"LIST" sep:"none" whole:"" group:"Packages"`
	Recommends    bool     `help:"Install what is recommended, too." whole:"" group:"Packages"`
	Components    []string `help:"Components of the archive, separated by commas (default main)." placeholder:"LIST" sep:"none" group:"Packages"`
	Architectures []string `help:"The system's architecture, and further ones whose packages may be installed (default ${arch})." placeholder:"LIST" sep:"none" group:"Packages"`
	Aptopt        []string `help:"Line of apt.conf(5) or a file of them; it stays in the system (may be given more than once)." placeholder:"OPTION|FILE" sep:"none" group:"Packages"`
	Dpkgopt       []string `help:"Line of dpkg.cfg(5) or a file of them; it stays in the system (may be given more than once)." placeholder:"OPTION|FILE" sep:"none" group:"Packages"`

	Keyring         []string `help:"Trust the OpenPGP keys in this file, or in the files of this directory." placeholder:"FILE|DIR" sep:"none" group:"Verification"`
	CheckSignatures bool     `help:"Refuse an archive without a good signature." default:"true" negatable:"" whole:"" group:"Verification"`
	CheckValidUntil bool     `help:"Refuse an archive that is past its Valid-Until date." default:"true" negatable:"" whole:"" group:"Verification"`

	SetupHook             []string `help:"Run CMD before anything is downloaded." placeholder:"CMD" sep:"none" stage:"setup" group:"Hooks"`
	ExtractHook           []string `help:"Run CMD when the first packages are unpacked, before any is configured." placeholder:"CMD" sep:"none" stage:"extract" group:"Hooks"`
	EssentialHook         []string `help:"Run CMD when the essential packages are configured." placeholder:"CMD" sep:"none" stage:"essential" group:"Hooks"`
	CustomizeHook         []string `help:"Run CMD when all packages are configured." placeholder:"CMD" sep:"none" stage:"customize" group:"Hooks"`
	ChrootedExtractHook   []string `help:"As --extract-hook, with CMD run by a shell in the system." placeholder:"CMD" sep:"none" stage:"extract" chrooted:"" group:"Hooks"`
	ChrootedEssentialHook []string `help:"As --essential-hook, with CMD run by a shell in the system." placeholder:"CMD" sep:"none" stage:"essential" chrooted:"" group:"Hooks"`
	ChrootedCustomizeHook []string `help:"As --customize-hook, with CMD run by a shell in the system." placeholder:"CMD" sep:"none" stage:"customize" chrooted:"" group:"Hooks"`
	HookDirectory         []string `help:"Run the programs in DIR whose names begin with a stage: setup, extract, essential, customize." placeholder:"DIR" sep:"none" group:"Hooks"`

	Skip     []string `help:"Leave these steps out: ${steps}." placeholder:"LIST" sep:"none" group:"Program"`
	Mode     string   `help:"What hooks are told of how the system is made: ${enum}." enum:"auto,root,sudo,unshare,fakechroot,fakeroot,chrootless" default:"auto" placeholder:"NAME" group:"Program"`
	Foreign  bool     `help:"Leave the packages unpacked, with a script in the system that configures them." whole:"" group:"Program"`
	Simulate bool     `help:"Print what would be installed and stop." aliases:"dry-run" group:"Program"`
	Offline  bool     `help:"Take everything from the cache." whole:"" group:"Program"`
	Quiet    bool     `help:"Print errors only." short:"q" aliases:"silent,s" lastwins:"verbosity" group:"Program"`
	Verbose  bool     `help:"Print what the programs of the build print." short:"v" lastwins:"verbosity" group:"Program"`
	Debug    bool     `help:"As --verbose, and tell hooks so." short:"d" lastwins:"verbosity" group:"Program"`
	Logfile  string   `help:"Write to FILE instead of standard error." placeholder:"FILE" group:"Program"`
	Man      bool     `help:"Print this help." group:"Program"`

	ResolveDeps   bool `hidden:"" noop:""`
	MergedUsr     bool `hidden:"" noop:""`
	NoMergedUsr   bool `hidden:"" noop:""`
	ForceCheckGpg bool `hidden:"" noop:""`
	cacheOptions
	timingOptions
	environment
}

// bootstrapper makes what the options say; what it prints as its result goes to standard output.
type bootstrapper func(ctx context.Context, o bootstrap.Options, h session.Host, s Streams) error

// makeRoot is the bootstrapper of the program.
func makeRoot(ctx context.Context, o bootstrap.Options, h session.Host, s Streams) error {
	o, err := o.Read()
	if err != nil {
		return usageError{err}
	}
	plan, err := bootstrap.NewPlan(o)
	if err != nil {
		return err
	}
	if o.Verbosity > 0 {
		printNotes(s, plan.Notes)
	}
	return bootstrap.Build(ctx, plan, s.Out, h)
}

func printNotes(s Streams, notes []string) {
	for _, n := range notes {
		fmt.Fprintf(s.Err, "vmbuild: note: %s\n", n)
	}
}

// job is what the command line of a bootstrapper asks for.
type job struct {
	options bootstrap.Options
	notes   []string // what the user should hear of
	explain bool     // and of what has become of layers of the cache
}

func (j *job) note(format string, args ...any) {
	j.notes = append(j.notes, fmt.Sprintf(format, args...))
}

// run has a job done.
func (j job) run(ctx context.Context, do bootstrapper, e environment, s Streams) error {
	epoch, err := sourceDateEpoch()
	if err != nil {
		return err
	}
	j.options.Epoch = epoch
	host := session.Host{Cache: e.cacheDir(), Temp: e.tempDir()}
	if j.options.Verbosity > 0 {
		printNotes(s, j.notes)
		d := newDisplay(s.Err, j.options.Verbosity > 1)
		d.explain = j.explain
		defer d.close()
		host.Event = d.show
	}
	return do(ctx, j.options, host, s)
}

// Run is called by kong.
func (c *bootstrapCmd) Run(ctx context.Context, k *kong.Context, do bootstrapper, s *Streams) error {
	if c.Man {
		return k.PrintUsage(false)
	}
	if c.Logfile != "" {
		f, err := os.Create(c.Logfile)
		if err != nil {
			return usageError{fmt.Errorf("--logfile: %w", err)}
		}
		s.Err = f // until the program ends: an error is the last that is written to it
	}
	j, err := c.job(k, s.In)
	if err != nil {
		return usageError{err}
	}
	return c.timingOptions.run(ctx, s.Err, func(ctx context.Context) error { return j.run(ctx, do, c.environment, *s) })
}

// job reads what the command line names: standard input as apt sources, and which paths there are.
func (c *bootstrapCmd) job(k *kong.Context, in io.Reader) (job, error) {
	j := job{explain: c.ExplainCache, options: bootstrap.Options{
		Suite: c.Suite, Target: c.Target, Variant: c.Variant, Format: c.Format, Mode: c.mode(),
		Architectures: unique(lists(c.Architectures)), Components: unique(lists(c.Components)),
		Exclude: lists(c.Exclude), Recommends: c.Recommends, AptOptions: c.Aptopt, DpkgOptions: c.Dpkgopt,
		Skip: lists(c.Skip), Simulate: c.Simulate, NoCheckSignatures: !c.CheckSignatures,
		NoCheckValidUntil: !c.CheckValidUntil, Offline: c.Offline, Foreign: c.Foreign, Verbosity: c.verbosity(),
	}}
	if len(j.options.Architectures) == 0 {
		if len(c.Architectures) > 0 {
			j.note("--architectures names none: %s it is", hostArch())
		}
		j.options.Architectures = []string{hostArch()}
	}
	for _, f := range c.noops(k) {
		j.note("%s has no meaning here; wrappers of debootstrap give it", f)
	}
	return j, errors.Join(c.sources(&j, in), c.packages(&j), c.keyrings(&j), c.hooks(&j, k))
}

func (c *bootstrapCmd) mode() string {
	switch c.Mode {
	case "sudo":
		return "root"
	case "fakeroot":
		return "fakechroot"
	}
	return c.Mode
}

func (c *bootstrapCmd) verbosity() int {
	switch {
	case c.Debug:
		return 3
	case c.Verbose:
		return 2
	case c.Quiet:
		return 0
	}
	return 1
}

// noops lists what was given of the options that are taken for the sake of wrappers only.
func (c *bootstrapCmd) noops(k *kong.Context) []string {
	var given []string
	for _, p := range k.Path {
		if p.Flag != nil && p.Flag.Tag.Has("noop") {
			given = append(given, "--"+p.Flag.Name)
		}
	}
	return unique(given)
}

// sources takes the MIRROR arguments. Without SUITE, standard input is the only one, and standard output the target.
func (c *bootstrapCmd) sources(j *job, in io.Reader) error {
	arguments := c.Mirrors
	if c.Suite == "" && c.Target == "" {
		arguments = []string{"-"}
	}
	for _, a := range arguments {
		m := bootstrap.Mirror{Argument: a}
		if a == "-" {
			content, err := io.ReadAll(in)
			if err != nil {
				return fmt.Errorf("read apt sources from standard input: %w", err)
			}
			if len(content) == 0 {
				j.note("standard input has no apt sources")
			}
			m.Content = string(content)
		}
		j.options.Mirrors = append(j.options.Mirrors, m)
	}
	return nil
}

// packages takes --include. An argument that begins as an apt pattern or as a path does is one item; others are lists.
func (c *bootstrapCmd) packages(j *job) error {
	for _, argument := range c.Include {
		items := []string{argument}
		if !strings.ContainsAny(argument[:min(1, len(argument))], "?!~(") && !isPath(argument) {
			items = lists(items)
		}
		for _, item := range items {
			if isPath(item) {
				path, err := packageFile(item)
				if err != nil {
					return fmt.Errorf("--include: %w", err)
				}
				item = path
			}
			j.options.Include = append(j.options.Include, item)
		}
	}
	return nil
}

// isPath says whether an item of --include is a path: names of packages never look like one.
func isPath(item string) bool {
	return slices.ContainsFunc([]string{"/", "./", "../"}, func(p string) bool { return strings.HasPrefix(item, p) })
}

// packageFile returns the real path of a .deb file that can be read.
func packageFile(name string) (string, error) {
	path, err := realPath(name)
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", name)
	}
	return path, nil
}

// keyrings takes --keyring: the last file and the last directory count, as apt has one place for each.
func (c *bootstrapCmd) keyrings(j *job) error {
	last := map[bool]string{} // by being a directory
	for _, name := range c.Keyring {
		path, err := realPath(name)
		if err != nil {
			return fmt.Errorf("--keyring: %w", err)
		}
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("--keyring: %w", err)
		}
		last[info.IsDir()] = path
	}
	for _, isDir := range []bool{false, true} {
		if path, ok := last[isDir]; ok {
			j.options.Keyrings = append(j.options.Keyrings, path)
		}
	}
	return nil
}

// hooks takes the hooks in the order of the command line, whatever options name them.
func (c *bootstrapCmd) hooks(j *job, k *kong.Context) error {
	seen := map[*kong.Flag]int{}
	for _, p := range k.Path {
		if p.Flag == nil {
			continue
		}
		n := seen[p.Flag]
		seen[p.Flag]++
		switch stage := p.Flag.Tag.Get("stage"); {
		case stage != "":
			j.options.Hooks = append(j.options.Hooks, hooks.Hook{
				Stage: hooks.Stage(stage), Command: p.Flag.Target.Interface().([]string)[n], Chrooted: p.Flag.Tag.Has("chrooted"),
			})
		case p.Flag.Name == "hook-directory":
			dir, err := filepath.Abs(c.HookDirectory[n])
			if err != nil {
				return fmt.Errorf("--hook-directory: %w", err)
			}
			list, notes, err := hooks.FromDirectory(dir)
			if err != nil {
				return fmt.Errorf("--hook-directory: %w", err)
			}
			j.options.Hooks = append(j.options.Hooks, list...)
			j.notes = append(j.notes, notes...)
		}
	}
	return nil
}

// realPath returns the absolute path of something that exists, without symbolic links.
func realPath(name string) (string, error) {
	path, err := filepath.EvalSymlinks(name)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// lists splits lists at commas and blanks.
func lists(arguments []string) []string {
	var items []string
	for _, a := range arguments {
		items = append(items, strings.FieldsFunc(a, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })...)
	}
	return items
}

// unique drops what is in a list already.
func unique(list []string) []string {
	var items []string
	for _, item := range list {
		if !slices.Contains(items, item) {
			items = append(items, item)
		}
	}
	return items
}
