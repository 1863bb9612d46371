package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sync/errgroup"

	"vmbuild/bootloader"
	"vmbuild/hooks"
	"vmbuild/partition"
	"vmbuild/partition/filesystem"
	"vmbuild/rootfs"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/layer"
	"vmbuild/rootfs/namespace"
	"vmbuild/rootfs/suite"
	"vmbuild/rootfs/system"
	"vmbuild/rootfs/tree"
)

// Handlers are the jobs of the inner half, for namespace.Serve.
func Handlers() map[string]namespace.Handler {
	return map[string]namespace.Handler{buildJob: buildInside, sweepJob: sweepInside, runJob: runInside}
}

// workPrefix marks temporary directories of builds.
const workPrefix = ".vmbuild-work-"

func sweepInside(_ context.Context, call namespace.Call) error {
	var j job
	if err := json.Unmarshal(call.Payload, &j); err != nil {
		return fmt.Errorf("read the job: %w", err)
	}
	cache, err := layer.Open(j.Cache)
	if err != nil {
		return err
	}
	return errors.Join(layer.Sweep(j.Temp, workPrefix), cache.Sweep(), cache.Close())
}

// buildInside is the pipeline. It reads as a table of contents; what a stage needs of an earlier one is a value.
func buildInside(ctx context.Context, call namespace.Call) (err error) {
	b, err := openBuild(call)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()

	lock, err := b.roots.Resolve(ctx, b.plan.Rootfs)
	if err != nil {
		return err
	}
	base, tools, err := b.baseAndTools(ctx, lock)
	if err != nil {
		return err
	}
	stack, err := b.roots.Stack(base, b.work.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.Close()) }()
	root, err := b.customize(ctx, lock, base, stack)
	if err != nil {
		return err
	}
	return b.write(ctx, root, base, tools)
}

// build is what the stages of the inner half share: the plan, where they work, and whom they tell.
type build struct {
	plan   *Plan
	loader bootloader.Bootloader
	suite  suite.Suite
	arch   arch.Arch
	roots  *rootfs.Builder
	temp   string // directory that work is in
	work   *layer.Temp
	disk   *os.File
	log    *journal
}

func openBuild(call namespace.Call) (*build, error) {
	var j job
	if err := json.Unmarshal(call.Payload, &j); err != nil {
		return nil, fmt.Errorf("read the job: %w", err)
	}
	b := &build{plan: j.Plan, temp: j.Temp, disk: call.Files[diskFile]}
	var err error
	if b.loader, err = bootloader.Lookup(j.Plan.Bootloader); err != nil {
		return nil, err
	}
	if b.suite, err = suite.Lookup(j.Plan.Rootfs.Suite); err != nil {
		return nil, err
	}
	if b.arch, err = arch.Lookup(j.Plan.Rootfs.Arch); err != nil {
		return nil, err
	}
	var logFileOrNil *os.File
	if j.Log {
		logFileOrNil = call.Files[logFile]
	}
	b.log = newJournal(logFileOrNil, call.Send)
	if b.roots, b.work, err = openRoots(j, b.log); err != nil {
		return nil, err
	}
	return b, nil
}

// Close removes what the build worked with, and once more what killed builds have left: one that was still dying when
// this one began held its directories then.
func (b *build) Close() error {
	err := b.work.Close()
	if err := errors.Join(layer.Sweep(b.temp, workPrefix), b.roots.Cache.Sweep()); err != nil {
		b.log.note(err)
	}
	return errors.Join(err, b.roots.Cache.Close(), b.log.Close())
}

// baseAndTools makes both at the same time: the tools are small, and much of the base's time is spent in scripts that use
// one processor.
func (b *build) baseAndTools(ctx context.Context, lock *rootfs.Lock) (base *rootfs.Base, tools *chroot.Tools, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		base, err = b.roots.Base(ctx, lock)
		return err
	})
	group.Go(func() (err error) {
		tools, err = b.roots.Quietly().Tools(ctx, b.plan.Rootfs, b.toolPackages())
		return err
	})
	err = group.Wait()
	return base, tools, err
}

// toolPackages are the Debian packages whose programs write the plan's filesystems.
func (b *build) toolPackages() []string {
	var names []string
	for _, p := range b.plan.Layout.Partitions {
		if fs, err := filesystem.Lookup(p.Filesystem); err == nil {
			names = append(names, fs.Tools...)
		}
	}
	return unique(names)
}

// customize makes the base the system of the plan: files, accounts, the user's hooks, boot loader, initramfs.
func (b *build) customize(ctx context.Context, lock *rootfs.Lock, base *rootfs.Base, stack *rootfs.Stack) (_ *tree.Tree, err error) {
	dir, err := os.OpenRoot(stack.Dir)
	if err != nil {
		return nil, fmt.Errorf("open the tree: %w", err)
	}
	defer dir.Close()
	config := b.plan.System
	config.Sources = aptSources(lock.Sources)
	if err := system.Prepare(dir, config); err != nil {
		return nil, err
	}
	target, err := b.roots.Enter(ctx, stack, base)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	if err := system.Apply(ctx, target, config); err != nil {
		return nil, err
	}
	if err := b.runHooks(ctx, lock, base, stack); err != nil {
		return nil, err
	}
	if err := b.roots.MakeInitramfs(ctx, stack, target); err != nil {
		return nil, err
	}
	if err := b.configureLoader(ctx, target, stack.Dir); err != nil {
		return nil, err
	}
	if err := b.roots.RenewKeys(ctx, stack, target); err != nil {
		return nil, err
	}
	if err := target.Close(); err != nil {
		return nil, err
	}
	if err := system.Settle(dir, config); err != nil {
		return nil, err
	}
	if err := b.roots.Finish(stack, base); err != nil {
		return nil, err
	}
	return &tree.Tree{Dir: stack.Dir, Devices: tree.StandardDevices()}, nil
}

// aptSources turns the archives of the build into those of the system: one stanza for suites of the same archive.
func aptSources(list []rootfs.Source) []system.Source {
	var sources []system.Source
	for _, s := range list {
		if n := len(sources); n > 0 && sources[n-1].URI == s.URI {
			sources[n-1].Suites = append(sources[n-1].Suites, s.Suite)
			continue
		}
		sources = append(sources, system.Source{
			URI: s.URI, Suites: []string{s.Suite}, Components: s.Components, SignedBy: s.SignedBy,
		})
	}
	return sources
}

func (b *build) runHooks(ctx context.Context, lock *rootfs.Lock, base *rootfs.Base, stack *rootfs.Stack) error {
	if len(b.plan.Hooks) == 0 {
		return nil
	}
	b.log.event(rootfs.Event{Stage: string(hooks.Customize)})
	return hooks.Run(ctx, b.plan.Hooks, hooks.Customize, hooks.Target{
		Root: stack.Dir, Image: b.plan.Image, Arch: b.plan.Rootfs.Arch, Suite: b.plan.Rootfs.Suite,
		Mirror: lock.Sources[0].URI, Epoch: base.Epoch, Log: b.log,
	})
}

func (b *build) configureLoader(ctx context.Context, target chroot.Runner, root string) error {
	b.log.event(rootfs.Event{Stage: "bootloader"})
	return b.loader.Configure(ctx, b.loaderTarget(target, root))
}

func (b *build) loaderTarget(target chroot.Runner, root string) bootloader.Target {
	return bootloader.Target{
		Arch: b.arch, Root: root, Runner: target, Layout: b.plan.Layout, Serial: b.plan.Serial,
	}
}

// write makes the disk: filesystems filled from the tree, then the partition table, then boot code.
func (b *build) write(ctx context.Context, root *tree.Tree, base *rootfs.Base, tools *chroot.Tools) error {
	layout := b.plan.Layout
	b.log.event(rootfs.Event{Stage: "write"})
	if err := b.disk.Truncate(layout.Size); err != nil {
		return fmt.Errorf("size the disk: %w", err)
	}
	for _, p := range layout.Partitions {
		if p.Filesystem == "" {
			continue
		}
		fs, err := filesystem.Lookup(p.Filesystem)
		if err != nil {
			return err
		}
		err = fs.Make(ctx, filesystem.Job{
			Disk: b.disk, Offset: p.Offset(), Size: p.Bytes(), UUID: p.UUID,
			Tree: root, Dir: p.Mount, Exclude: layout.Below(p.Mount), Epoch: base.Epoch,
			Disable: b.suite.Ext4Without, Temp: b.work.Path, Toolbox: tools,
		})
		if err != nil {
			return err
		}
	}
	if err := partition.WriteTable(b.disk, layout); err != nil {
		return err
	}
	if loader, ok := b.loader.(bootloader.Embedder); ok {
		return loader.Embed(ctx, b.loaderTarget(nil, root.Dir), b.disk)
	}
	return nil
}
