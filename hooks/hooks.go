// Package hooks runs the user's own programs on the tree of a build, and does the transfers between host and tree that
// mmdebstrap has as special hooks. Programs run as the build's root inside the build's namespaces, in the caller's working
// directory: what a hook mounts or starts ends with the build, also when the hook dies half-way.
//
// Package hooks neither decides when a stage comes (packages image and bootstrap do) nor enters the tree: a hook gets its
// path, and the packages of the tree run in it by chroot(8); chrooted hooks run by the Runner of whoever has entered it.
package hooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"vmbuild/hooks/transfer"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/namespace"
	"vmbuild/rootfs/span"
)

// Stage is the time at which a hook runs: the word in the code, in the progress line and in the manual.
type Stage string

// The stages in their order.
const (
	// Setup comes when the tree has its skeleton and apt's sources, and nothing was downloaded.
	Setup Stage = "setup"
	// Extract comes when the first packages are unpacked, and none is configured.
	Extract Stage = "extract"
	// Essential comes when those are configured, and the rest is to be installed.
	Essential Stage = "essential"
	// Customize comes when all packages are configured, the accounts are made and apt works; boot loader, initramfs and
	// clean-up follow.
	Customize Stage = "customize"
)

// Stages returns all stages in their order.
func Stages() []Stage { return []Stage{Setup, Extract, Essential, Customize} }

// Hook is what is to be done at a stage: either Path or Command is given.
type Hook struct {
	Stage Stage `json:"stage"`

	// Path is a program on the host, relative to the working directory, or else the name of a script in package examples,
	// that gets the tree and the image as arguments.
	Path string `json:"path,omitempty"`

	// Command is what mmdebstrap takes as a hook: copy-in, copy-out, sync-in, sync-out, tar-in, tar-out, upload or
	// download with paths; else a program, which gets the tree as its argument; else a shell's command, in which $1 is
	// the tree.
	Command string `json:"command,omitempty"`

	// Chrooted says that Command is one for the tree's own shell, run in the tree. There is no such setup hook.
	Chrooted bool `json:"chrooted,omitempty"`
}

// Target is what hooks work on, and what they are told of it.
type Target struct {
	Root   string // directory of the tree: the first argument
	Image  string // path of the image as the user gave it: the second argument
	Arch   string
	Suite  string
	Mirror string
	Epoch  time.Time // SOURCE_DATE_EPOCH; zero: not set
	Log    io.Writer // what hooks print
	Work   string    // directory for what Path hooks find beside the tree; os.TempDir() if empty

	Runner  chroot.Runner // runs chrooted hooks; nil: there can be none
	Outside *os.File      // transfer.Listener's Conn: who has the host's files; nil: this process itself
	Skip    []string      // keys of what is left out: copy-in/mknod, sync-in/mknod, tar-in/mknod

	// The rest is what Command hooks are told, as mmdebstrap tells it.
	Mode      string   // how the tree is made: root or unshare
	Format    string   // of the result
	Verbosity int      // 0 to 3; 1 is the usual one
	Include   []string // packages that were asked for
	Essential []string // for the extract stage: paths of the packages that were unpacked, inside the tree
	AptConfig string   // path of apt's configuration for the tree, on the host; empty: there is none
	Program   string   // path of a program that does "--hook-helper" (transfer.Helper); empty: there is none
}

// Run runs the hooks of one stage in their order and stops at the first that fails. In a build's own namespaces, what those
// of the customize stage have mounted in the tree or left running is taken away after the last; hooks of earlier stages may
// leave it for later ones.
func Run(ctx context.Context, list []Hook, stage Stage, t Target) (err error) {
	list = slices.DeleteFunc(slices.Clone(list), func(h Hook) bool { return h.Stage != stage })
	if len(list) == 0 {
		return nil
	}
	if stage == Customize && namespace.Inner() {
		guard, watchErr := chroot.Watch(t.Root)
		if watchErr != nil {
			return watchErr
		}
		defer func() { err = errors.Join(err, guard.Restore()) }()
	}
	if slices.ContainsFunc(list, func(h Hook) bool { return h.Path != "" }) {
		return runWithLibrary(ctx, list, t)
	}
	return runAll(ctx, list, t, nil)
}

// runWithLibrary runs hooks that may use the library.
func runWithLibrary(ctx context.Context, list []Hook, t Target) (err error) {
	l, err := openLibrary(t.Work, t.Log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	return errors.Join(runAll(ctx, list, t, l), removePolicy(t.Root))
}

func runAll(ctx context.Context, list []Hook, t Target, l *library) error {
	for _, h := range list {
		err := span.Do(ctx, span.Step, h.String(), func(ctx context.Context) error { return run(ctx, h, t, l) })
		if err != nil {
			return fmt.Errorf("run %s hook %s: %w", h.Stage, h, err)
		}
	}
	return nil
}

func run(ctx context.Context, h Hook, t Target, l *library) error {
	w, err := h.work()
	if err != nil {
		return err
	}
	if h.Command != "" && t.Outside == nil {
		l, err := transfer.Listen()
		if err != nil {
			return err
		}
		defer l.Close()
		t.Outside = l.Conn
	}
	before, err := os.Stat(t.Root)
	if err != nil {
		return fmt.Errorf("find the tree: %w", err)
	}
	if err := w.do(ctx, h, t, l); err != nil {
		return err
	}
	after, err := os.Stat(t.Root)
	if err != nil || !os.SameFile(before, after) {
		return fmt.Errorf("the hook has moved the tree away from %s, or changed the build's own root (pivot_root)", t.Root)
	}
	return nil
}

// do does the work and returns a failure in the hook's own words.
func (w work) do(ctx context.Context, h Hook, t Target, l *library) error {
	switch {
	case w.transfer != nil:
		return runTransfer(ctx, *w.transfer, t)
	case w.inside != "":
		return runInside(ctx, w.inside, h.Stage, t)
	case w.example != "":
		path, err := l.example(w.example)
		if err != nil {
			return err
		}
		return runProgram(ctx, []string{path, t.Root, t.Image}, t, program{env: imageEnvironment(t, l.dir())})
	case h.Path != "":
		return runProgram(ctx, append(w.program, t.Root, t.Image), t, program{env: imageEnvironment(t, l.dir())})
	default:
		return runProgram(ctx, append(w.program, t.Root), t,
			program{env: commandEnvironment(h.Stage, t), files: []*os.File{t.Outside}})
	}
}

func runTransfer(ctx context.Context, c transfer.Command, t Target) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	stop := transfer.Interrupt(ctx, t.Outside)
	defer stop()
	err := c.Run(transfer.Tree{Dir: t.Root, Skip: t.Skip}, t.Outside)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func runInside(ctx context.Context, command string, stage Stage, t Target) error {
	if t.Runner == nil {
		return errors.New("programs cannot run in this tree")
	}
	return t.Runner.Run(ctx, chroot.Command{
		Args: []string{"sh", "-c", command}, Env: commandEnvironment(stage, t), Files: []*os.File{t.Outside},
	})
}
