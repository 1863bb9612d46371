package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"vmbuild/bootloader"
	"vmbuild/hooks"
	"vmbuild/image/disk"
	"vmbuild/image/output"
	"vmbuild/image/qcow2"
	"vmbuild/image/session"
	"vmbuild/image/stages"
	"vmbuild/partition"
	"vmbuild/partition/filesystem"
	"vmbuild/rootfs"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/namespace"
	"vmbuild/rootfs/span"
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
	b, err := openBuild(s, payload, files)
	if err != nil {
		return err
	}
	emulated, err := b.roots.Emulate(ctx, b.arch, b.plan.Rootfs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, emulated.Close()) }()
	stack, tools, err := b.treeAndTools(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.Close()) }()
	stack.RootType = b.plan.rootType()
	root, err := b.customize(ctx, stack)
	if err != nil {
		return err
	}
	return b.write(ctx, root, stack.Epoch(), tools)
}

// build is what the stages of the inner half share: the plan, where they work, and whom they tell.
type build struct {
	session *session.Session
	plan    *Plan
	loader  bootloader.Bootloader
	suite   suite.Suite
	arch    arch.Arch
	roots   *rootfs.Builder
	stages  *stages.Stages
	outputs []*os.File // of the products
	lists   []*os.File // of Plan.lists
}

func openBuild(s *session.Session, payload json.RawMessage, files []*os.File) (*build, error) {
	b := &build{session: s, roots: s.Roots}
	err := json.Unmarshal(payload, &b.plan)
	if err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	n := len(b.plan.Products)
	b.outputs, b.lists = files[:n], files[n:len(files)-1]
	b.stages = &stages.Stages{
		Session: s, Hooks: b.plan.Hooks, Spec: b.plan.Rootfs, Resolve: s.Roots.Resolve,
		Tell: hooks.Target{
			Image: b.plan.Name(), Outside: files[len(files)-1], Format: b.plan.Products[0].Format, Verbosity: 1,
			Include: b.plan.Rootfs.Include,
		},
	}
	b.roots.Offline, b.roots.Emulator = b.plan.Offline, b.plan.Emulator
	if b.loader, err = b.plan.openLoader(); err != nil {
		return nil, err
	}
	if b.suite, err = suite.Lookup(b.plan.Rootfs.Suite); err != nil {
		return nil, err
	}
	b.arch, err = arch.Lookup(b.plan.Rootfs.Arch)
	return b, err
}

// treeAndTools makes both at the same time: the tools are small, and much of the tree's time is spent in scripts that use
// one processor.
func (b *build) treeAndTools(ctx context.Context) (stack *rootfs.Stack, tools *chroot.Tools, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		stack, err = b.stages.Tree(ctx)
		return err
	})
	group.Go(func() error {
		packages, err := b.toolPackages()
		if err == nil && len(packages) > 0 {
			tools, err = b.roots.Quietly().Tools(ctx, b.plan.Rootfs, packages)
		}
		return err
	})
	err = group.Wait()
	if err != nil && stack != nil {
		err = errors.Join(err, stack.Close())
	}
	return stack, tools, err
}

// toolPackages are the Debian packages whose programs write the plan's products.
func (b *build) toolPackages() ([]string, error) {
	var names []string
	if b.plan.Layout != nil {
		for _, p := range b.plan.Layout.Partitions {
			if fs, err := filesystem.Lookup(p.Filesystem); err == nil {
				names = append(names, fs.Tools...)
			}
		}
	}
	for _, p := range b.plan.Products {
		format, compression, err := p.form()
		if err != nil {
			return nil, err
		}
		names = append(names, format.Packages(compression)...)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// customize makes the tree the system of the plan: files, accounts, the user's hooks, boot loader, initramfs.
func (b *build) customize(ctx context.Context, stack *rootfs.Stack) (_ *tree.Tree, err error) {
	dir, err := os.OpenRoot(stack.Dir)
	if err != nil {
		return nil, fmt.Errorf("open the tree: %w", err)
	}
	defer dir.Close()
	config, err := b.plan.withSeed()
	if err != nil {
		return nil, err
	}
	config.Sources = aptSources(b.stages.Lock.Sources, b.plan.AptMirror, b.suite)
	inSystem, settling := span.Start(ctx, span.Stage, "system")
	defer settling.End()
	if err := system.Prepare(dir, config); err != nil {
		return nil, err
	}
	target, err := b.roots.Enter(ctx, stack)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	if err := system.Apply(inSystem, target, config); err != nil {
		return nil, err
	}
	if err := system.Authorize(dir, config); err != nil {
		return nil, err
	}
	settling.End()
	if err := b.hooksAndInitramfs(ctx, stack, target); err != nil {
		return nil, err
	}
	if b.plan.Layout != nil {
		if err := b.configureLoader(ctx, target, stack.Dir); err != nil {
			return nil, err
		}
	}
	if err := b.writeLists(ctx, target); err != nil {
		return nil, err
	}
	_, finishing := span.Start(ctx, span.Stage, "finish")
	defer finishing.End()
	if err := target.Close(); err != nil {
		return nil, err
	}
	if err := system.Settle(dir, config); err != nil {
		return nil, err
	}
	if err := b.roots.Finish(ctx, stack); err != nil {
		return nil, err
	}
	return &tree.Tree{Dir: stack.Dir, Devices: tree.StandardDevices()}, nil
}

// hooksAndInitramfs runs the user's hooks and makes the initramfs of what they leave; or, if the plan says so, of what the
// packages brought.
func (b *build) hooksAndInitramfs(ctx context.Context, stack *rootfs.Stack, target chroot.Runner) error {
	steps := []func() error{
		func() error {
			b.stages.Tell.Epoch = stack.Epoch()
			return b.stages.Customize(ctx, stack.Dir, target)
		},
		func() error { return b.roots.MakeInitramfs(ctx, stack, target) },
	}
	if b.plan.EarlyInitramfs {
		slices.Reverse(steps)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// writeLists writes what --pkglist asks for, in the words of the system's own dpkg.
func (b *build) writeLists(ctx context.Context, target chroot.Runner) error {
	if len(b.lists) == 0 {
		return nil
	}
	for i, args := range [][]string{
		{"dpkg", "--list"},
		{"dpkg-query", "--show", "--showformat", `${binary:Package}\t${Version}\n`},
	} {
		list := chroot.Command{Args: args, Env: []string{"COLUMNS=160"}, Stdout: b.lists[i]}
		if err := target.Run(ctx, list); err != nil {
			return fmt.Errorf("list packages: %w", err)
		}
	}
	return nil
}

func (b *build) configureLoader(ctx context.Context, target chroot.Runner, root string) error {
	b.session.Event(rootfs.Event{Stage: "bootloader"})
	ctx, configuring := span.Start(ctx, span.Stage, "bootloader")
	defer configuring.End()
	return b.loader.Configure(ctx, b.loaderTarget(target, root))
}

func (b *build) loaderTarget(target chroot.Runner, root string) bootloader.Target {
	return bootloader.Target{
		Arch: b.arch, Root: root, Runner: target, Layout: b.plan.Layout, Console: b.plan.Console, Serial: b.plan.Serial, Cmdline: b.plan.Cmdline,
		NoMBR: b.plan.NoMBR, Vendor: b.plan.EFIVendor,
	}
}

// write makes the disk, if one of the products is of it, and then all products.
func (b *build) write(ctx context.Context, root *tree.Tree, epoch time.Time, tools *chroot.Tools) error {
	b.session.Event(rootfs.Event{Stage: "write"})
	ctx, writing := span.Start(ctx, span.Stage, "write")
	defer writing.End()
	var whole qcow2.Disk
	if b.plan.Layout != nil {
		file, raw, err := b.openDisk()
		if err != nil {
			return err
		}
		defer file.Close()
		d := diskInMaking{file: file, raw: raw, root: root, epoch: epoch, tools: tools}
		if whole, err = b.makeDisk(ctx, d); err != nil {
			return err
		}
	}
	for i, p := range b.plan.Products {
		format, compression, err := p.form()
		if err != nil {
			return err
		}
		clusters, err := qcow2.LookupCompression(p.clusters())
		if err != nil {
			return err
		}
		j := output.Job{
			Tree: root, Disk: whole, Out: b.outputs[i], Compression: compression, Epoch: epoch, Temp: b.session.Work,
			Toolbox: tools, Qcow2: qcow2.Options{Compression: clusters},
		}
		err = span.Do(ctx, span.Step, format.Name, func(ctx context.Context) error { return format.Write(ctx, j) })
		if err != nil {
			return err
		}
	}
	return nil
}

// openDisk is the raw image among the products, or a file that does not outlive the build.
func (b *build) openDisk() (file *os.File, raw bool, err error) {
	for i, p := range b.plan.Products {
		if p.Format == rawDisk {
			return b.outputs[i], true, nil
		}
	}
	file, err = os.Create(filepath.Join(b.session.Work, "disk"))
	if err != nil {
		return nil, false, fmt.Errorf("make the disk: %w", err)
	}
	return file, false, nil
}

// diskInMaking is what a disk is made of.
type diskInMaking struct {
	file  *os.File // empty
	raw   bool     // the file is a product: everything has to be in it
	root  *tree.Tree
	epoch time.Time
	tools *chroot.Tools
}

// makeDisk makes the disk: filesystems filled from the tree, then the partition table, then boot code. If the file is no
// product, filesystems that can be read without being written are.
func (b *build) makeDisk(ctx context.Context, m diskInMaking) (qcow2.Disk, error) {
	layout := b.plan.Layout
	d, err := disk.New(m.file, layout.Size)
	if err != nil {
		return nil, err
	}
	for _, p := range layout.Partitions {
		if p.Filesystem == "" {
			continue
		}
		err := span.Do(ctx, span.Step, p.Filesystem+" "+p.Mount, func(ctx context.Context) error {
			return b.makeFilesystem(ctx, m, d, p)
		})
		if err != nil {
			return nil, err
		}
	}
	if err := partition.WriteTable(m.file, layout); err != nil {
		return nil, err
	}
	if loader, ok := b.loader.(bootloader.Embedder); ok {
		err := span.Do(ctx, span.Step, "boot code", func(ctx context.Context) error {
			return loader.Embed(ctx, b.loaderTarget(nil, m.root.Dir), d)
		})
		if err != nil {
			return nil, err
		}
	}
	if m.raw {
		return qcow2.Raw(m.file)
	}
	return d, nil
}

// makeFilesystem makes the filesystem of a partition, on the file or over it.
func (b *build) makeFilesystem(ctx context.Context, m diskInMaking, d *disk.Disk, p partition.Partition) error {
	fs, err := filesystem.Lookup(p.Filesystem)
	if err != nil {
		return err
	}
	j := filesystem.Job{
		Disk: m.file, Offset: p.Offset(), Size: p.Bytes(), UUID: p.UUID,
		Tree: m.root, Dir: p.Mount, Exclude: b.plan.Layout.Below(p.Mount), Epoch: m.epoch,
		Disable: b.suite.Without(p.Filesystem), Temp: b.session.Work, Toolbox: m.tools,
	}
	if m.raw || !fs.Planned() {
		return fs.Make(ctx, j)
	}
	content, err := fs.Plan(ctx, j)
	if err != nil {
		return err
	}
	d.Put(p.Offset(), content)
	return nil
}
