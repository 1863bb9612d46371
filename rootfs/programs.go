package rootfs

import (
	"context"
	"errors"
	"os"
	"path"
	"strings"

	"vmbuild/rootfs/chroot"
)

// programs are ours, in a directory of the tree in which what runs there looks before the system's.
type programs struct {
	root     string
	target   chroot.Runner
	emulated bool     // the tree's programs are
	dir      *os.Root // programsDir; nil: there is none yet

	plain     *plainModules // nil: there are none
	hidePlain func() error  // nil: they are not visible
}

// programsDir is where they are. Nothing of /run is a part of the system.
const programsDir = "run/vmbuild"

// Run runs a program that finds ours, if there are any, before the system's.
func (p *programs) Run(ctx context.Context, c chroot.Command) error {
	if p.dir == nil {
		return p.target.Run(ctx, c)
	}
	for _, variable := range chroot.Environment() {
		if rest, ok := strings.CutPrefix(variable, "PATH="); ok {
			c.Env = append([]string{"PATH=/" + programsDir + ":" + rest}, c.Env...)
		}
	}
	return p.target.Run(ctx, c)
}

// open makes the directory, unless it is there already, or the tree has no place for it: dir is nil then.
func (p *programs) open() error {
	if p.dir != nil {
		return nil
	}
	parent, err := openInside(p.root, path.Dir(programsDir))
	if err != nil || parent == nil {
		return err
	}
	defer parent.Close()
	if err := parent.Mkdir(path.Base(programsDir), 0o755); err != nil {
		return err
	}
	p.dir, err = parent.OpenRoot(path.Base(programsDir))
	return err
}

// remove takes the directory away.
func (p *programs) remove() error {
	if p.hidePlain != nil { // else they were removed with the rest
		if err := p.hidePlain(); err != nil {
			return err
		}
		p.hidePlain = nil
	}
	if p.dir == nil {
		return nil
	}
	err := p.dir.Close()
	p.dir = nil
	parent, openErr := openInside(p.root, path.Dir(programsDir))
	if err = errors.Join(err, openErr); parent == nil {
		return err
	}
	return errors.Join(err, parent.RemoveAll(path.Base(programsDir)), parent.Close())
}
