package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"vmbuild/hooks"
	"vmbuild/image/output"
	"vmbuild/image/session"
	"vmbuild/rootfs"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/namespace"
	"vmbuild/rootfs/tree"
)

// bootstrapJob is the name of the inner half's job.
const bootstrapJob = "bootstrap"

// Handlers are the jobs of the inner half, for namespace.Serve.
func Handlers() map[string]namespace.Handler {
	return map[string]namespace.Handler{
		bootstrapJob: session.Handle(bootstrapInside),
		execJob:      session.Handle(execInside),
	}
}

// build is what the steps of the inner half share.
type build struct {
	*session.Session
	plan        *Plan
	spec        rootfs.Spec // of the plan, with what setup hooks have made of it
	out         *os.File
	lock        *rootfs.Lock // what resolve has found
	outside     *os.File     // of transfer.Listener: who has the host's files; nil where nothing is made
	format      string
	compression string
}

func bootstrapInside(ctx context.Context, s *session.Session, payload json.RawMessage, files []*os.File) error {
	var j job
	if err := json.Unmarshal(payload, &j); err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	b := &build{
		Session: s, plan: j.Plan, spec: j.Plan.Spec, out: files[0], format: j.Format, compression: j.Compression,
	}
	s.Roots.Offline = b.plan.Offline
	if b.plan.printsOnly() {
		return b.print(ctx)
	}
	if b.plan.packagesOnly() {
		return b.packages(ctx)
	}
	b.outside = files[1]
	return b.bootstrap(ctx)
}

// bootstrap is the pipeline: the tree, the user's customisation of it, clean-up, and the form it is written in.
func (b *build) bootstrap(ctx context.Context) (err error) {
	emulated, err := b.emulate(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, emulated.Close()) }()
	stack, err := b.tree(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.Close()) }()
	if err := b.complete(ctx, stack); err != nil {
		return err
	}
	if err := b.Roots.Finish(stack); err != nil {
		return err
	}
	if err := b.keepPackages(ctx); err != nil {
		return err
	}
	return b.write(ctx, stack, b.devices(stack.Dir))
}

// emulate makes programs of the system's architectures runnable, where something is to be run.
func (b *build) emulate(ctx context.Context) (io.Closer, error) {
	if b.plan.configuresNothing() {
		return io.NopCloser(nil), nil
	}
	a, err := arch.Lookup(b.plan.Spec.Arch)
	if err != nil {
		return nil, err
	}
	return b.Roots.Emulate(ctx, a, b.plan.Spec)
}

// tree makes the system with its packages. One with hooks before its packages are configured is made anew, as nobody
// knows what they do; any other is a layer of the cache.
func (b *build) tree(ctx context.Context) (*rootfs.Stack, error) {
	if b.has(hooks.Setup) || b.has(hooks.Extract) || b.has(hooks.Essential) {
		return b.fresh(ctx)
	}
	lock, err := b.resolve(ctx, b.plan.Spec)
	if err != nil {
		return nil, err
	}
	base, err := b.Roots.Base(ctx, lock)
	if err != nil {
		return nil, err
	}
	stack, err := b.Roots.Stack(base, b.Work)
	if err != nil {
		return nil, err
	}
	return stack, rootfs.CopyHostFiles(stack.Dir)
}

func (b *build) has(stage hooks.Stage) bool {
	for _, h := range b.plan.Hooks {
		if h.Stage == stage {
			return true
		}
	}
	return false
}

// fresh makes the system in a directory of its own and runs the hooks of each stage in their turn. What a setup hook has
// made of apt's configuration is what packages are chosen by.
func (b *build) fresh(ctx context.Context) (*rootfs.Stack, error) {
	root := filepath.Join(b.Work, "tree")
	if err := os.Mkdir(root, 0o755); err != nil {
		return nil, fmt.Errorf("make the tree: %w", err)
	}
	if err := b.Roots.Skeleton(b.spec, root); err != nil {
		return nil, err
	}
	if err := rootfs.CopyHostFiles(root); err != nil {
		return nil, err
	}
	if b.has(hooks.Setup) {
		if err := b.runHooks(ctx, hooks.Setup, root, nil); err != nil {
			return nil, err
		}
		var err error
		if b.spec, err = readApt(b.spec, root); err != nil {
			return nil, err
		}
	}
	lock, err := b.resolve(ctx, b.spec)
	if err != nil {
		return nil, err
	}
	return b.Roots.Fresh(ctx, lock, root, rootfs.Steps{
		Unpacked: b.hookStep(hooks.Extract, root), Configured: b.hookStep(hooks.Essential, root),
	})
}

// hookStep runs the hooks of a stage; nil where there are none, so that nothing is mounted for them.
func (b *build) hookStep(stage hooks.Stage, root string) func(context.Context, chroot.Runner) error {
	if !b.has(stage) {
		return nil
	}
	return func(ctx context.Context, target chroot.Runner) error { return b.runHooks(ctx, stage, root, target) }
}

// complete does what comes after the packages and needs their programs: the initramfs, keys, the user's hooks.
func (b *build) complete(ctx context.Context, stack *rootfs.Stack) (err error) {
	if b.plan.configuresNothing() {
		return b.unpacked(stack)
	}
	target, err := b.Roots.Enter(ctx, stack)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	if err := b.Roots.MakeInitramfs(ctx, stack, target); err != nil {
		return err
	}
	if err := b.Roots.RenewKeys(ctx, stack, target); err != nil {
		return err
	}
	if b.has(hooks.Customize) || rootfs.Skips(b.plan.Spec.Skip, rootfs.SkipLists) {
		if err := b.Roots.WriteLists(ctx, b.spec, stack.Dir); err != nil {
			return err
		}
	}
	return b.runHooks(ctx, hooks.Customize, stack.Dir, target)
}

// hookTarget is what hooks are told.
func (b *build) hookTarget(stage hooks.Stage, root string, target chroot.Runner) (hooks.Target, error) {
	spec := b.spec
	t := hooks.Target{
		Root: root, Arch: spec.Arch, Suite: spec.Suite, Epoch: spec.Epoch, Log: b.Log, Runner: target, Outside: b.outside,
		Skip: spec.Skip, Mode: b.mode(), Format: b.format, Verbosity: b.plan.Verbosity, Include: b.plan.Include,
		AptConfig: filepath.Join(b.Work, "apt.conf"),
	}
	if len(spec.Archives) > 0 {
		t.Mirror = spec.Archives[0].URI
	}
	if stage == hooks.Extract {
		t.Essential = b.lock.EssentialFiles()
	}
	if program, err := os.Executable(); err == nil {
		t.Program = program
	}
	err := os.WriteFile(t.AptConfig, []byte(outsideApt(spec, root)), 0o644)
	if err != nil {
		return t, fmt.Errorf("configure apt for hooks: %w", err)
	}
	return t, nil
}

// mode is how mmdebstrap would call the way in which the tree is made.
func (b *build) mode() string {
	switch {
	case b.plan.Mode != "" && b.plan.Mode != "auto":
		return b.plan.Mode
	case namespace.RealRoot():
		return "root"
	}
	return "unshare"
}

func (b *build) runHooks(ctx context.Context, stage hooks.Stage, root string, target chroot.Runner) error {
	if !b.has(stage) {
		return nil
	}
	b.Event(rootfs.Event{Stage: string(stage)})
	t, err := b.hookTarget(stage, root, target)
	if err != nil {
		return err
	}
	return hooks.Run(ctx, b.plan.Hooks, stage, t)
}

// print writes what would be installed: the names alone in one line, as debootstrap does, or in the words of apt-get -s.
func (b *build) print(ctx context.Context) error {
	lock, err := b.resolve(ctx, b.plan.Spec)
	if err != nil {
		return err
	}
	var text strings.Builder
	for i, p := range lock.Packages {
		if !b.plan.PrintNames {
			fmt.Fprintf(&text, "Inst %s (%s %s [%s])\n", p.Name, p.Version, lock.Sources[p.Source].Suite, p.Arch)
			continue
		}
		if i > 0 {
			text.WriteByte(' ')
		}
		text.WriteString(p.Name)
	}
	if b.plan.PrintNames {
		text.WriteByte('\n')
	}
	_, err = b.out.WriteString(text.String())
	return err
}

// write gives the tree its form.
func (b *build) write(ctx context.Context, stack *rootfs.Stack, devices []tree.Entry) error {
	b.Event(rootfs.Event{Stage: "write"})
	format, err := output.Lookup(b.format)
	if err != nil {
		return err
	}
	compression, err := output.LookupCompression(b.compression)
	if err != nil {
		return err
	}
	made := &tree.Tree{Dir: stack.Dir, Devices: devices}
	j := output.Job{Tree: made, Out: b.out, Compression: compression, Epoch: stack.Epoch(), Temp: b.Work}
	if packages := format.Packages(compression); len(packages) > 0 {
		tools, err := b.Roots.Quietly().Tools(ctx, b.toolsSpec(), packages)
		if err != nil {
			return err
		}
		j.Toolbox = tools
	}
	return format.Write(ctx, j)
}

// devices are what is in the result below /dev, with /dev itself where no package has brought it.
func (b *build) devices(root string) []tree.Entry {
	list := b.devicesBelow()
	if _, err := os.Lstat(filepath.Join(root, "dev")); len(list) > 0 && errors.Is(err, fs.ErrNotExist) {
		list = append([]tree.Entry{{Path: "/dev", Type: tree.Directory, Mode: 0o755}}, list...)
	}
	return list
}

func (b *build) devicesBelow() []tree.Entry {
	switch skip := b.plan.Spec.Skip; {
	case rootfs.Skips(skip, rootfs.SkipDevices):
		return nil
	case rootfs.Skips(skip, rootfs.SkipNodes):
		return slices.DeleteFunc(tree.StandardDevices(), func(e tree.Entry) bool { return e.Type == tree.CharDevice })
	}
	return tree.StandardDevices()
}

// toolsSpec is what says where programs of the build itself come from: not from the user's sources, which need not have
// them.
func (b *build) toolsSpec() rootfs.Spec {
	return rootfs.Spec{Apt: b.plan.Spec.Apt, IgnoreValidUntil: b.plan.Spec.IgnoreValidUntil}
}
