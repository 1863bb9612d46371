package rootfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/span"
	"vmbuild/rootfs/suite"
)

// Enter makes the programs of a stacked tree runnable: apt works, daemons do not start.
func (b *Builder) Enter(ctx context.Context, s *Stack) (*chroot.Root, error) {
	return chroot.Enter(ctx, s.Dir, chroot.Options{
		Log: b.Log, Network: true, BlockDaemons: true, NoSync: true, Epoch: s.epoch, Without: withoutInChroot(s.skip),
	})
}

// RenewKeys gives a system with an SSH server keys of its own: those that the package made when it was configured went
// with the layer, which many systems share.
func (b *Builder) RenewKeys(ctx context.Context, s *Stack, target chroot.Runner) error {
	if _, err := os.Lstat(filepath.Join(s.Dir, "usr/sbin/sshd")); err != nil {
		return nil
	}
	if err := target.Run(ctx, chroot.Command{Args: []string{"ssh-keygen", "-A"}}); err != nil {
		return fmt.Errorf("make SSH host keys: %w", err)
	}
	return nil
}

// Finish takes out of the tree, which nobody is in any more, what belongs to its making: mounts of the user's hooks, logs,
// caches, the machine's identity, times after the epoch.
func (b *Builder) Finish(ctx context.Context, s *Stack) error {
	if err := chroot.Clear(s.Dir); err != nil {
		return err
	}
	if err := cleanUp(s.Dir, s.skip); err != nil {
		return err
	}
	if err := resetEmptied(s.Dir, s.epoch); err != nil {
		return err
	}
	return clampTimes(ctx, s.Dir, s.upper, s.epoch)
}

// forTools is the Spec of the host's tools. A mirror of a release that has left the others does not have them.
func (s Spec) forTools(arch string, packages []string) Spec {
	if release, err := suite.Lookup(s.Suite); err == nil && release.Archived {
		s.Mirror, s.Security, s.Keyrings = "", "", nil
	}
	s.Arch, s.Suite, s.Components, s.Include, s.Epoch = arch, suite.Default, nil, packages, time.Time{}
	s.ExtraSuites, s.InRelease = nil, ""
	return s
}

// Tools returns a toolbox that holds programs of Debian packages. They are taken from the same mirrors as the Spec's
// packages, unless those are of an archived release, but always from the release of suite.Default and for the host: what they write depends neither on the host's
// distribution nor on the one that is installed.
func (b *Builder) Tools(ctx context.Context, s Spec, packages []string) (*chroot.Tools, error) {
	host, err := arch.Host(runtime.GOARCH)
	if err != nil {
		return nil, fmt.Errorf("get tools: %w", err)
	}
	return b.ToolsOf(ctx, s, host, packages)
}

// ToolsOf is Tools for an architecture: of another than the host's it is the files that matter, not the programs.
func (b *Builder) ToolsOf(ctx context.Context, s Spec, a arch.Arch, packages []string) (*chroot.Tools, error) {
	ctx, getting := span.Start(ctx, span.Stage, "tools")
	defer getting.End()
	lock, err := b.resolveTools(ctx, s.forTools(a.Name, packages))
	if err != nil {
		return nil, err
	}
	base, err := b.Base(ctx, lock)
	if err != nil {
		return nil, err
	}
	return &chroot.Tools{Dir: base.Dirs[0], Options: chroot.Options{Log: b.Log, NoSync: true, Epoch: base.Epoch, Temp: b.Temp}}, nil
}
