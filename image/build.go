package image

import (
	"context"
	"errors"

	"vmbuild/hooks/transfer"
	"vmbuild/image/session"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/emulation"
	"vmbuild/rootfs/span"
)

// Host is where a build runs and whom it tells.
type Host = session.Host

// Result is what a build has made.
type Result struct {
	Outputs []Output
}

// Output is one file or directory of a Result.
type Output struct {
	Path string
	Size int64 // bytes, holes included; of a directory 0
}

// Names of the jobs that the inner half knows.
const (
	buildJob = "build"
	runJob   = "run"
)

// Build makes the products of the plan. On failure no output path exists that did not exist before, and an old file there
// is untouched. A cancelled context stops it at once.
func Build(ctx context.Context, p *Plan, h Host) (_ *Result, err error) {
	if err := Check(p, h); err != nil {
		return nil, err
	}
	targets, err := openTargets(p)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, targets.close()) }()
	if h.Users, err = emulated(p.Rootfs.Arch); err != nil {
		return nil, err
	}
	outside, err := transfer.Listen()
	if err != nil {
		return nil, err
	}
	defer outside.Close()
	if err := h.Run(ctx, buildJob, p, append(targets.handles(), outside.Conn)...); err != nil {
		return nil, err
	}
	_, committing := span.Start(ctx, span.Stage, "commit")
	defer committing.End()
	if err := targets.finish(p); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return targets.commit(p)
}

// emulated says whether the programs of an architecture run here by emulation.
func emulated(name string) (bool, error) {
	a, err := arch.Lookup(name)
	return err == nil && !emulation.Native(a), err
}
