package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"vmbuild/hooks"
	"vmbuild/hooks/transfer"
	"vmbuild/image"
	"vmbuild/image/output"
	"vmbuild/image/session"
	"vmbuild/rootfs"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/emulation"
	"vmbuild/rootfs/namespace"
	"vmbuild/rootfs/span"
)

// Check looks at the host for everything the plan needs and returns all that is missing at once, as an
// *image.MissingError.
func Check(p *Plan) error {
	var problems []string
	add := func(err error) {
		if err != nil {
			problems = append(problems, strings.Split(err.Error(), "\n")...)
		}
	}
	add(namespace.Check())
	add(p.checkArch())
	for _, h := range p.Hooks {
		_, err := hooks.Find(h)
		add(err)
	}
	if !p.printsOnly() {
		_, _, err := p.choose()
		add(err)
	}
	if len(problems) > 0 {
		return &image.MissingError{Problems: problems}
	}
	return nil
}

// checkArch refuses architectures whose programs would have to run and cannot.
func (p *Plan) checkArch() error {
	a, err := arch.Lookup(p.Spec.Arch)
	if err != nil || p.configuresNothing() || p.printsOnly() {
		return err
	}
	if err := emulation.Check(a); err != nil {
		return fmt.Errorf("%w, or leave the packages unpacked (--foreign)", err)
	}
	return nil
}

// emulated says whether programs of the system run by emulation.
func (p *Plan) emulated() (bool, error) {
	a, err := arch.Lookup(p.Spec.Arch)
	if err != nil || p.configuresNothing() || p.printsOnly() {
		return false, err
	}
	return !emulation.Native(a), nil
}

// result is what is to be written, and where.
func (p *Plan) result() (format, target string) {
	if p.Tarball != "" {
		return "tar", p.Tarball
	}
	return p.Format, p.Target
}

// choose finds the form that the target is written in.
func (p *Plan) choose() (output.Format, output.Compression, error) {
	name, to := p.result()
	facts, err := output.Look(to)
	if err != nil {
		return output.Format{}, output.Compression{}, err
	}
	if rootfs.Skips(p.Spec.Skip, rootfs.SkipEmpty) {
		facts.Holds = ""
	}
	return output.Choose(name, to, facts)
}

// job is what the outer half tells the inner one.
type job struct {
	Plan        *Plan  `json:"plan"`
	Format      string `json:"format,omitempty"` // of package output; empty: lines of text
	Compression string `json:"compression,omitempty"`
}

// Build makes the root filesystem of the plan. A target that is a file, or a directory that was not there, appears when it
// is complete; after a failure there is none, and an old file is untouched. What only is to be printed goes to out.
func Build(ctx context.Context, p *Plan, out *os.File, h session.Host) (err error) {
	if err := Check(p); err != nil {
		return err
	}
	if h.Users, err = p.emulated(); err != nil {
		return err
	}
	if p.printsOnly() {
		return h.Run(ctx, bootstrapJob, job{Plan: p}, out)
	}
	format, compression, err := p.choose()
	if err != nil {
		return err
	}
	_, to := p.result()
	target, err := output.Open(to, format)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	outside, err := transfer.Listen()
	if err != nil {
		return err
	}
	defer outside.Close()
	if err := h.Run(ctx, bootstrapJob, job{p, format.Name, compression.Name}, target.Handle(), outside.Conn); err != nil {
		return err
	}
	_, committing := span.Start(ctx, span.Stage, "commit")
	defer committing.End()
	if err := target.Sync(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return target.Commit()
}
