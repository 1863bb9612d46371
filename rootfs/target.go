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

// Finish takes out of the tree, which nobody is in any more, what belongs to its making: logs, caches, the machine's
// identity, times after the epoch.
func (b *Builder) Finish(s *Stack) error {
	if err := cleanUp(s.Dir, s.skip); err != nil {
		return err
	}
	if err := resetEmptied(s.Dir, s.epoch); err != nil {
		return err
	}
	return clampTimes(s.Dir, s.upper, s.epoch)
}

// Tools returns a toolbox that holds programs of Debian packages. They are taken from the same mirrors as the Spec's
// packages, but always from the release of suite.Default and for the host: what they write depends neither on the host's
// distribution nor on the one that is installed.
func (b *Builder) Tools(ctx context.Context, s Spec, packages []string) (*chroot.Tools, error) {
	host, err := arch.Host(runtime.GOARCH)
	if err != nil {
		return nil, fmt.Errorf("get tools: %w", err)
	}
	s.Arch, s.Suite, s.Components, s.Include, s.Epoch = host.Name, suite.Default, nil, packages, time.Time{}
	lock, err := b.resolveTools(ctx, s)
	if err != nil {
		return nil, err
	}
	base, err := b.Base(ctx, lock)
	if err != nil {
		return nil, err
	}
	return &chroot.Tools{Dir: base.Dir, Options: chroot.Options{Log: b.Log, NoSync: true, Epoch: base.Epoch, Temp: b.Temp}}, nil
}
