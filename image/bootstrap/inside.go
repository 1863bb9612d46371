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
	"vmbuild/image/stages"
	"vmbuild/rootfs"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/namespace"
	"vmbuild/rootfs/span"
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
	out         *os.File
	lock        *rootfs.Lock // what resolve has found
	stages      *stages.Stages
	format      string
	compression string
}

func bootstrapInside(ctx context.Context, s *session.Session, payload json.RawMessage, files []*os.File) error {
	var j job
	if err := json.Unmarshal(payload, &j); err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	b := &build{
		Session: s, plan: j.Plan, out: files[0], format: j.Format, compression: j.Compression,
	}
	s.Roots.Offline = b.plan.Offline
	if b.plan.printsOnly() {
		return b.print(ctx)
	}
	if b.plan.packagesOnly() {
		return b.packages(ctx)
	}
	b.stages = &stages.Stages{
		Session: s, Hooks: b.plan.Hooks, Spec: b.plan.Spec, Resolve: b.resolve, HostFiles: true,
		Tell: hooks.Target{
			Outside: files[1], Epoch: b.plan.Spec.Epoch, Mode: b.plan.Mode, Format: b.format,
			Verbosity: b.plan.Verbosity, Include: b.plan.Include,
		},
	}
	return b.bootstrap(ctx)
}

// bootstrap is the pipeline: the tree, the user's customisation of it, clean-up, and the form it is written in.
func (b *build) bootstrap(ctx context.Context) (err error) {
	emulated, err := b.emulate(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, emulated.Close()) }()
	stack, err := b.stages.Tree(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.Close()) }()
	if err := b.complete(ctx, stack); err != nil {
		return err
	}
	err = span.Do(ctx, span.Stage, "finish", func(ctx context.Context) error { return b.Roots.Finish(ctx, stack) })
	if err != nil {
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
	return b.stages.Customize(ctx, stack.Dir, target)
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
	ctx, writing := span.Start(ctx, span.Stage, "write")
	defer writing.End()
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
