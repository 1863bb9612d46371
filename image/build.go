package image

import (
	"context"

	"vmbuild/image/output"
	"vmbuild/image/session"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/emulation"
)

// Host is where a build runs and whom it tells.
type Host = session.Host

// Result is what a build has made.
type Result struct {
	Outputs []Output
}

// Output is one file of a Result.
type Output struct {
	Path string
	Size int64 // bytes, holes included
}

// Names of the jobs that the inner half knows.
const (
	buildJob = "build"
	runJob   = "run"
)

// Build makes the image of the plan. On failure no output path exists that did not exist before, and an old file there
// is untouched. A cancelled context stops it at once.
func Build(ctx context.Context, p *Plan, h Host) (*Result, error) {
	if err := Check(p, h); err != nil {
		return nil, err
	}
	disk, err := output.Create(p.Image)
	if err != nil {
		return nil, err
	}
	defer disk.Close()
	if h.Users, err = emulated(p.Rootfs.Arch); err != nil {
		return nil, err
	}
	if err := h.Run(ctx, buildJob, p, disk.File); err != nil {
		return nil, err
	}
	if err := disk.Sync(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := disk.Commit(); err != nil {
		return nil, err
	}
	return &Result{Outputs: []Output{{Path: p.Image, Size: p.Layout.Size}}}, nil
}

// emulated says whether the programs of an architecture run here by emulation.
func emulated(name string) (bool, error) {
	a, err := arch.Lookup(name)
	return err == nil && !emulation.Native(a), err
}
