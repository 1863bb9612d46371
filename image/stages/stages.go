// Package stages makes the tree of a system and runs the user's hooks at the stages in between: what the builds of images
// and of root filesystems have in common. It works in the inner half of a job.
//
// It knows the order of the stages. What is done with a finished tree is its callers' to say, and what a hook is, package
// hooks'.
package stages

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"vmbuild/hooks"
	"vmbuild/image/session"
	"vmbuild/rootfs"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/namespace"
	"vmbuild/rootfs/span"
)

// Stages is a tree in the making.
type Stages struct {
	*session.Session
	Hooks   []hooks.Hook
	Tell    hooks.Target // what hooks are told of the build; what they are told of the tree is added to it
	Resolve func(ctx context.Context, s rootfs.Spec) (*rootfs.Lock, error)

	// HostFiles says that the tree has this host's name and resolver from the start, as mmdebstrap has it.
	HostFiles bool

	Spec rootfs.Spec  // what Tree has made of it says also what setup hooks have changed
	Lock *rootfs.Lock // what Resolve has found
}

// Has says whether there are hooks of a stage.
func (s *Stages) Has(stage hooks.Stage) bool {
	return slices.ContainsFunc(s.Hooks, func(h hooks.Hook) bool { return h.Stage == stage })
}

// Tree makes the system with its packages, all stages but the last. One with hooks before its packages are configured is
// made anew, as nobody knows what they do; any other is a layer of the cache.
func (s *Stages) Tree(ctx context.Context) (*rootfs.Stack, error) {
	if s.Has(hooks.Setup) || s.Has(hooks.Extract) || s.Has(hooks.Essential) {
		return s.fresh(ctx)
	}
	if err := s.resolve(ctx); err != nil {
		return nil, err
	}
	base, err := s.Roots.Base(ctx, s.Lock)
	if err != nil {
		return nil, err
	}
	stack, err := s.Roots.Stack(base, s.Work)
	if err != nil {
		return nil, err
	}
	return stack, s.copyHostFiles(stack.Dir)
}

func (s *Stages) resolve(ctx context.Context) (err error) {
	s.Lock, err = s.Resolve(ctx, s.Spec)
	return err
}

func (s *Stages) copyHostFiles(root string) error {
	if !s.HostFiles {
		return nil
	}
	return rootfs.CopyHostFiles(root)
}

// fresh makes the system in a directory of its own and runs the hooks of each stage in their turn. What a setup hook has
// made of apt's configuration is what packages are chosen by.
func (s *Stages) fresh(ctx context.Context) (*rootfs.Stack, error) {
	root := filepath.Join(s.Work, "tree")
	if err := os.Mkdir(root, 0o755); err != nil {
		return nil, fmt.Errorf("make the tree: %w", err)
	}
	if err := s.Roots.Skeleton(s.Spec, root); err != nil {
		return nil, err
	}
	if err := s.copyHostFiles(root); err != nil {
		return nil, err
	}
	if s.Has(hooks.Setup) {
		if err := s.Run(ctx, hooks.Setup, root, nil); err != nil {
			return nil, err
		}
		var err error
		if s.Spec, err = readApt(s.Spec, root); err != nil {
			return nil, err
		}
	}
	if err := s.resolve(ctx); err != nil {
		return nil, err
	}
	return s.Roots.Fresh(ctx, s.Lock, root, rootfs.Steps{
		Unpacked: s.step(hooks.Extract, root), Configured: s.step(hooks.Essential, root),
	})
}

// step runs the hooks of a stage; nil where there are none, so that nothing is mounted for them.
func (s *Stages) step(stage hooks.Stage, root string) func(context.Context, chroot.Runner) error {
	if !s.Has(stage) {
		return nil
	}
	return func(ctx context.Context, target chroot.Runner) error { return s.Run(ctx, stage, root, target) }
}

// Customize runs the hooks of the last stage in a tree that was entered, with the package lists that they may need.
func (s *Stages) Customize(ctx context.Context, root string, target chroot.Runner) error {
	if s.Has(hooks.Customize) || rootfs.Skips(s.Spec.Skip, rootfs.SkipLists) {
		if err := s.Roots.WriteLists(ctx, s.Spec, root); err != nil {
			return err
		}
	}
	return s.Run(ctx, hooks.Customize, root, target)
}

// Run runs the hooks of one stage. Nil as the target says that programs cannot run in the tree yet.
func (s *Stages) Run(ctx context.Context, stage hooks.Stage, root string, target chroot.Runner) error {
	if !s.Has(stage) {
		return nil
	}
	s.Event(rootfs.Event{Stage: string(stage)})
	ctx, running := span.Start(ctx, span.Stage, string(stage))
	defer running.End()
	t, err := s.target(stage, root, target)
	if err != nil {
		return err
	}
	return hooks.Run(ctx, s.Hooks, stage, t)
}

// target is what hooks are told.
func (s *Stages) target(stage hooks.Stage, root string, runner chroot.Runner) (hooks.Target, error) {
	t := s.Tell
	t.Root, t.Runner, t.Log, t.Work = root, runner, s.Log, s.Work
	t.Arch, t.Suite, t.Skip = s.Spec.Arch, s.Spec.Suite, s.Spec.Skip
	t.AptConfig = filepath.Join(s.Work, "apt.conf")
	switch {
	case len(s.Spec.Archives) > 0:
		t.Mirror = s.Spec.Archives[0].URI
	case s.Lock != nil && len(s.Lock.Sources) > 0:
		t.Mirror = s.Lock.Sources[0].URI
	}
	if t.Mode == "" || t.Mode == "auto" {
		t.Mode = mode()
	}
	if stage == hooks.Extract {
		t.Essential = s.Lock.EssentialFiles()
	}
	if program, err := os.Executable(); err == nil {
		t.Program = program
	}
	if err := os.WriteFile(t.AptConfig, []byte(outsideApt(s.Spec, root)), 0o644); err != nil {
		return t, fmt.Errorf("configure apt for hooks: %w", err)
	}
	return t, nil
}

// mode is how mmdebstrap would call the way in which the tree is made.
func mode() string {
	if namespace.RealRoot() {
		return "root"
	}
	return "unshare"
}
