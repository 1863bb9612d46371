package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/emulation"
)

// Emulate lets programs of an architecture run in all roots of this build until what it returns is closed. It does nothing
// where the host runs them itself. Elsewhere it takes b.Emulator, or QEMU from a tools tree, by the mirrors of the Spec, and registers it
// in the user namespace of the build, which has to have one (namespace.Job.Users). Where there is none, or the kernel does
// not let that be done, what is registered on the host serves if it can; otherwise the error is a *namespace.Problem.
func (b *Builder) Emulate(ctx context.Context, a arch.Arch, s Spec) (io.Closer, error) {
	if emulation.Native(a) {
		return nothing{}, nil
	}
	registry, err := emulation.Open()
	if err != nil {
		if hostErr := emulation.CheckHost(a); hostErr != nil {
			return nil, fmt.Errorf("emulate %s: %w; %w", a.Name, err, hostErr)
		}
		return nothing{}, nil
	}
	if err := b.register(ctx, registry, a, s); err != nil {
		return nil, errors.Join(fmt.Errorf("emulate %s: %w", a.Name, err), registry.Close())
	}
	return registry, nil
}

// nothing is what has to be closed where nothing was opened.
type nothing struct{}

func (nothing) Close() error { return nil }

func (b *Builder) register(ctx context.Context, registry *emulation.Registry, a arch.Arch, s Spec) error {
	emulator, err := b.emulator(ctx, a, s)
	if err != nil {
		return err
	}
	defer emulator.Close()
	if err := registry.Register(a, emulator); err != nil {
		return err
	}
	return emulation.Runs(a)
}

// emulator opens the program that runs those of an architecture: Emulator, or one from a tools tree.
func (b *Builder) emulator(ctx context.Context, a arch.Arch, s Spec) (*os.File, error) {
	if b.Emulator != "" {
		return os.Open(b.Emulator)
	}
	tools, err := b.Tools(ctx, emulatorSpec(a, s), []string{"qemu-user"})
	if err != nil {
		return nil, err
	}
	return os.OpenInRoot(tools.Dir, emulatorPath(a))
}

func emulatorPath(a arch.Arch) string { return "usr/bin/" + a.Emulator }

// emulatorSpec is of the one emulator alone: the package has those of more than thirty architectures, 465 MB. Debian's
// mirror is asked for it; what a Spec's own archives are believed by has no part in that.
func emulatorSpec(a arch.Arch, s Spec) Spec {
	of := Spec{
		Mirror: s.Mirror, Security: s.Security, NoUpdates: s.NoUpdates, IgnoreValidUntil: s.IgnoreValidUntil,
		Dpkg: "path-exclude=/*\npath-include=/" + emulatorPath(a) + "\n",
	}
	if len(s.Archives) == 0 {
		of.Keyrings, of.Unauthenticated = s.Keyrings, s.Unauthenticated
	}
	return of
}
