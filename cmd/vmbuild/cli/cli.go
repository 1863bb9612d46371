// Package cli is vmbuild's command line: kong's structs become options of package image, events become a progress
// display, errors become words, hints and an exit status. It decides nothing about images; what it prints, the README
// documents.
//
// Rules of the terminal: results go to standard output, everything else to standard error; a terminal gets one live
// line for the stage at work, anything else one line per finished stage; an error is the last thing printed and starts
// with "vmbuild: "; nothing asks a question.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kong"

	"vmbuild/bootloader"
	"vmbuild/image"
	"vmbuild/image/live"
	"vmbuild/image/machine"
	"vmbuild/image/output"
	"vmbuild/image/qcow2"
	"vmbuild/rootfs"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/suite"
)

// Streams are the standard streams of the program.
type Streams struct {
	In, Out *os.File
	Err     io.Writer
	program string // as the user called it

	etc    string // the host's configuration; empty: /etc
	syslog string // socket of the system's log; empty: where it is usually
}

// commands is the whole command line; build is what runs when no command is named.
type commands struct {
	Build       buildCmd         `cmd:"" default:"withargs" like:"vmdebootstrap" help:"Build a disk image (the default command)."`
	Run         runCmd           `cmd:"" like:"qemu-wrapper" help:"Start a disk image in QEMU, on the serial console."`
	Convert     convertCmd       `cmd:"" help:"Write a disk image as raw or qcow2."`
	Squash      squashCmd        `cmd:"" help:"Make a root filesystem a live directory: squashfs, kernel, initramfs."`
	Live        liveCmd          `cmd:"" help:"Make a live directory an image for discs and USB sticks."`
	Cache       cacheCmd         `cmd:"" help:"List, prune or verify the cache of downloads and layers."`
	Bootstrap   bootstrapCmd     `cmd:"" like:"mmdebstrap" help:"Make a root filesystem, with mmdebstrap's options."`
	Debootstrap debootstrapCmd   `cmd:"" like:"debootstrap" help:"Make a root filesystem, with debootstrap's options."`
	Multistrap  multistrapCmd    `cmd:"" like:"multistrap" help:"Make a root filesystem as multistrap's configuration says."`
	Version     kong.VersionFlag `help:"Print the version and exit."`
}

// Main runs the command line args (args[0] is the program) and returns the exit status.
func Main(ctx context.Context, args []string, s Streams) int {
	return runWith(ctx, args, s, makeRoot)
}

// runWith is Main with what makes a root filesystem.
func runWith(ctx context.Context, args []string, s Streams, do bootstrapper) int {
	s.program = args[0]
	if help := helperOf(args); help != nil {
		return report(s.Err, help(ctx, args[2:], s))
	}
	status := -1
	parser, err := newParser(&commands{}, s, func(code int) { status = code })
	if err != nil {
		fmt.Fprintf(s.Err, "vmbuild: %v\n", err)
		return statusFailed
	}
	of := func(err error) error { return err }
	if command := likeProgram(parser.Model.Node, args); command != nil {
		of = func(err error) error { return commandError{err, command.Name} }
	}
	line, err := arguments(parser.Model.Node, args)
	if err != nil {
		return report(s.Err, of(usageError{err}))
	}
	if line, err = configured(parser, line, s); err != nil {
		return report(s.Err, of(err))
	}
	parsed, err := parser.Parse(line)
	if status >= 0 {
		return status // --help and --version have answered
	}
	if err != nil {
		return report(s.Err, of(usageError{inPlainWords(err)}))
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	parsed.Bind(do, &s)
	if err := parsed.Run(s); err != nil {
		return report(s.Err, of(err)) // where the command may have sent it
	}
	return statusDone
}

func newParser(c *commands, s Streams, exit func(status int)) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("vmbuild"),
		kong.Description("Build bootable Debian disk images from a package mirror: no root, no loop devices, no tools on the host."),
		kong.Writers(s.Out, s.Err),
		kong.Exit(exit),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 110}),
		kong.Help(help),
		kong.ValueFormatter(withDefault),
		kong.Vars{
			"version":   version(),
			"arch":      hostArch(),
			"arches":    strings.Join(arch.Names(), ", "),
			"loaders":   strings.Join(bootloader.Names(), ", "),
			"disks":     strings.Join(diskFormats(), ", "),
			"clusters":  strings.Join(qcow2.Compressions(), ","),
			"machines":  strings.Join(machine.Architectures(), ","),
			"firmwares": strings.Join(machine.Firmwares(), ","),

			"machineboards": strings.Join(machine.Boards(), ","),

			"suite":     suite.Default,
			"suites":    strings.Join(suite.Names(), ", "),
			"variants":  strings.Join(rootfs.Variants(), ", "),
			"steps":     strings.Join(rootfs.Skippable(), ", "),
			"lives":     strings.Join(live.Architectures(), ","),
			"livearch":  liveArch(),
			"volume":    live.DefaultVolume,
			"tables":    strings.Join(image.PartTypes(), ", "),
			"roottypes": strings.Join(image.RootTypes(), ","),
			"boottypes": strings.Join(image.BootTypes(), ","),
			"formats":   strings.Join(output.Names(), ", "),
		},
	)
}

// inPlainWords says of an option whose argument is missing what kong says in its own terms: of one at the end of the
// line, of one that may be given more than once, and of one that another option follows.
func inPlainWords(err error) error {
	option, reason, _ := strings.Cut(err.Error(), ": ")
	if !strings.HasPrefix(option, "-") {
		return err
	}
	for _, words := range []string{`but got "EOL"`, "missing value, expecting ", " flag)"} {
		if strings.Contains(reason, words) {
			return fmt.Errorf("%s requires an argument", option)
		}
	}
	return err
}

// help prints, where no command is named, the commands and the options of the one that runs then.
func help(o kong.HelpOptions, ctx *kong.Context) error {
	if ctx.Selected() != nil {
		return kong.DefaultHelpPrinter(o, ctx)
	}
	if err := kong.DefaultHelpPrinter(o, ctx); err != nil {
		return err
	}
	build, err := kong.Trace(ctx.Kong, []string{"build"})
	if err != nil {
		return err
	}
	fmt.Fprintln(ctx.Stdout)
	return kong.DefaultHelpPrinter(o, build)
}

// withDefault adds to an option's help what holds when it is not given.
func withDefault(v *kong.Value) string {
	text := kong.DefaultHelpValueFormatter(v)
	if v.HasDefault && !v.IsBool() {
		text = strings.TrimSuffix(text, ".") + " (default " + v.Default + ")."
	}
	return text
}

func hostArch() string {
	a, err := arch.Host(runtime.GOARCH)
	if err != nil {
		return runtime.GOARCH
	}
	return a.Name
}

// version is what the Go tool recorded of the source this program was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "vmbuild (unknown version)"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v += " " + s.Value
		}
	}
	return "vmbuild " + v + " " + info.GoVersion
}
