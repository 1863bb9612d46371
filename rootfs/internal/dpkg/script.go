package dpkg

import (
	"context"
	"fmt"
	"strings"

	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/span"
)

// scripts runs maintainer scripts and dpkg in the root.
type scripts struct {
	runner  chroot.Runner
	root    *rootDir
	version string // of the root's dpkg
}

// environment of scripts and of dpkg: nothing asks, nothing depends on a locale that is not there.
var environment = []string{
	"DEBIAN_FRONTEND=noninteractive", "DEBCONF_NONINTERACTIVE_SEEN=true",
	"LC_ALL=C.UTF-8", "LANGUAGE=C.UTF-8", "LANG=C.UTF-8",
}

// unpack does what dpkg --unpack does: the preinst scripts may divert what is to be unpacked and add whom it shall
// belong to, so all of them run before.
func (s scripts) unpack(ctx context.Context, o Options, archives []*archive, c *Coming) error {
	for _, a := range archives {
		if err := s.preinst(ctx, a); err != nil {
			return err
		}
	}
	db, err := readDatabase(s.root)
	if err != nil {
		return err
	}
	return c.unpack(ctx, db, o, archives)
}

// preinst runs the package's preinst script, if it has one, among the other control members of the package, where
// dpkg(1) has them and where debconf looks for templates.
func (s scripts) preinst(ctx context.Context, a *archive) error {
	if _, ok := a.control["preinst"]; !ok {
		return nil
	}
	ctx, configuring := span.Start(ctx, span.Stage, "configure")
	defer configuring.End()
	ctx, preinst := span.Start(ctx, span.Step, "preinst "+a.name)
	defer preinst.End()
	if err := s.root.removeFiles(scriptsDir); err != nil {
		return err
	}
	if err := s.root.mkdirAll(scriptsDir); err != nil {
		return err
	}
	for name, member := range a.control {
		mode := uint32(member.Mode)
		if name == "preinst" {
			mode |= 0o555
		}
		if err := s.root.writeFile(scriptsDir+"/"+name, member.Data, mode); err != nil {
			return err
		}
	}
	err := s.runner.Run(ctx, chroot.Command{
		Args: []string{scriptsDir + "/preinst", "install"},
		Env: append([]string{
			"DPKG_MAINTSCRIPT_PACKAGE=" + a.name,
			"DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1",
			"DPKG_MAINTSCRIPT_ARCH=" + a.arch,
			"DPKG_MAINTSCRIPT_NAME=preinst",
			"DPKG_MAINTSCRIPT_DEBUG=0",
			"DPKG_RUNNING_VERSION=" + s.version,
			"DPKG_ADMINDIR=" + adminDir,
			"DPKG_ROOT=",
		}, environment...),
	})
	if err != nil {
		return fmt.Errorf("package %s: preinst: %w", a.id(), err)
	}
	return s.root.removeFiles(scriptsDir)
}

// configure has dpkg configure these packages, in this order as far as their relations leave a choice.
func (s scripts) configure(ctx context.Context, archives []*archive, options ...string) error {
	if len(archives) == 0 {
		return nil
	}
	args := append([]string{"dpkg", "--force-unsafe-io"}, options...)
	args = append(args, "--configure")
	for _, a := range archives {
		args = append(args, a.name+":"+a.arch)
	}
	return s.dpkg(ctx, args)
}

// configurePending has dpkg configure what is left and process all triggers.
func (s scripts) configurePending(ctx context.Context) error {
	return s.dpkg(ctx, []string{"dpkg", "--force-unsafe-io", "--configure", "--pending"})
}

func (s scripts) dpkg(ctx context.Context, args []string) error {
	ctx, configuring := span.Start(ctx, span.Stage, "configure")
	defer configuring.End()
	run := s.runner.Run
	if span.Recording(ctx) {
		run = s.runRecorded
	}
	if err := run(ctx, chroot.Command{Args: args, Env: environment}); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(args[:min(len(args), 4)], " "), err)
	}
	return nil
}
