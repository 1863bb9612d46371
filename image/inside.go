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
	"vmbuild/image/session"
	"vmbuild/partition"
	"vmbuild/partition/filesystem"
	"vmbuild/rootfs"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/namespace"
	"vmbuild/rootfs/suite"
	"vmbuild/rootfs/system"
	"vmbuild/rootfs/tree"
)

// Handlers are the jobs of the inner half, for namespace.Serve.
func Handlers() map[string]namespace.Handler {
	return map[string]namespace.Handler{
		buildJob:         session.Handle(buildInside),
		runJob:           session.Handle(runInside),
		cacheJob:         session.Handle(cacheInside),
		session.SweepJob: session.Handle(session.Sweep),
	}
}

// buildInside is the pipeline. It reads as a table of contents; what a stage needs of an earlier one is a value.
func buildInside(ctx context.Context, s *session.Session, payload json.RawMessage, files []*os.File) (err error) {
	b, err := openBuild(s, payload, files[0])
	if err != nil {
		return err
	}
	emulated, err := b.roots.Emulate(ctx, b.arch, b.plan.Rootfs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, emulated.Close()) }()
	lock, err := b.roots.Resolve(ctx, b.plan.Rootfs)
	if err != nil {
		return err
	}
	base, tools, err := b.baseAndTools(ctx, lock)
	if err != nil {
		return err
	}
	stack, err := b.roots.Stack(base, b.session.Work)
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
	session *session.Session
	plan    *Plan
	loader  bootloader.Bootloader
	suite   suite.Suite
	arch    arch.Arch
	roots   *rootfs.Builder
	disk    *os.File
}

func openBuild(s *session.Session, payload json.RawMessage, disk *os.File) (*build, error) {
	b := &build{session: s, roots: s.Roots, disk: disk}
	err := json.Unmarshal(payload, &b.plan)
	if err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	b.roots.Offline = b.plan.Offline
	if b.loader, err = bootloader.Lookup(b.plan.Bootloader); err != nil {
		return nil, err
	}
	if b.suite, err = suite.Lookup(b.plan.Rootfs.Suite); err != nil {
		return nil, err
	}
	b.arch, err = arch.Lookup(b.plan.Rootfs.Arch)
	return b, err
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
	target, err := b.roots.Enter(ctx, stack)
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
	if err := b.roots.Finish(stack); err != nil {
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
	if err := b.roots.WriteLists(ctx, b.plan.Rootfs, stack.Dir); err != nil {
		return err
	}
	b.session.Event(rootfs.Event{Stage: string(hooks.Customize)})
	return hooks.Run(ctx, b.plan.Hooks, hooks.Customize, hooks.Target{
		Root: stack.Dir, Image: b.plan.Image, Arch: b.plan.Rootfs.Arch, Suite: b.plan.Rootfs.Suite,
		Mirror: lock.Sources[0].URI, Epoch: base.Epoch, Log: b.session.Log,
	})
}

func (b *build) configureLoader(ctx context.Context, target chroot.Runner, root string) error {
	b.session.Event(rootfs.Event{Stage: "bootloader"})
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
	b.session.Event(rootfs.Event{Stage: "write"})
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
			Disable: b.suite.Ext4Without, Temp: b.session.Work, Toolbox: tools,
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
