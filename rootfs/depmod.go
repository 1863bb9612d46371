package rootfs

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"vmbuild/rootfs/chroot"
)

// listKernel has depmod(8) list the modules of a kernel in the tree, all of which are decompressed for it, and kept for others.
// If it fails, nothing has changed, or depmod itself will write all lists anew.
func (p *programs) listKernel(ctx context.Context, version string) (err error) {
	if p.hidePlain == nil {
		return errNotPlain
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.plain.forget(plainKernel, version))
		}
	}()
	return p.listModules(ctx, plainKernel, "", version)
}

// listGathered has depmod list the modules that were gathered for an initramfs in the directory base of the tree. Those are
// decompressed that are not those of the kernel. If it fails, it is as with listKernel.
func (p *programs) listGathered(ctx context.Context, base, version string) (err error) {
	if p.hidePlain == nil {
		return errNotPlain
	}
	defer func() { err = errors.Join(err, p.plain.forget(plainGathered, version)) }()
	return p.listModules(ctx, plainGathered, base, version)
}

func (p *programs) listModules(ctx context.Context, part, base, version string) error {
	dir := path.Join(base, modulesDir(version))
	from, err := openInside(p.root, dir)
	if err != nil {
		return err
	}
	if from == nil {
		return fs.ErrNotExist
	}
	defer from.Close()
	to, err := p.plain.open(part, version)
	if err != nil {
		return err
	}
	defer to.Close()
	modules, err := findModules(from, to)
	if err != nil {
		return err
	}
	missing := modules
	if part == plainGathered {
		if missing, err = p.plain.link(version, from, to, modules); err != nil {
			return err
		}
	}
	if p.emulated {
		err = decompressModules(ctx, from, to, missing)
	} else {
		err = p.decompressInside(ctx, path.Join("/", dir), from, to, missing)
	}
	if err != nil {
		return err
	}
	if err := p.depmod(ctx, part, version, from, to); err != nil {
		return err
	}
	if part == plainKernel {
		p.plain.note(version, modules)
	}
	return nil
}

// depmod has depmod look at what is in the directory to, and copies the lists that it makes to from.
func (p *programs) depmod(ctx context.Context, part, version string, from, to *os.Root) error {
	before, err := fileInfos(to)
	if err != nil {
		return err
	}
	command := chroot.Command{Args: []string{"/sbin/depmod", "-b", path.Join("/", programsDir, plainDir, part), version}}
	if err := p.target.Run(ctx, command); err != nil {
		return err
	}
	after, err := fileInfos(to)
	if err != nil {
		return err
	}
	for name, info := range after {
		if before[name] == nil || !os.SameFile(before[name], info) { // depmod gives a list its name when it is complete
			if err := copyFile(to, from, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// fileInfos returns what there is to know of the files in a directory, by name.
func fileInfos(dir *os.Root) (map[string]fs.FileInfo, error) {
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return nil, err
	}
	infos := map[string]fs.FileInfo{}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if infos[e.Name()], err = e.Info(); err != nil {
			return nil, err
		}
	}
	return infos, nil
}

// listingScript is what mkinitramfs calls in the place of depmod, for the modules that it has gathered: it asks us to make the
// lists, and has depmod make them if we do not.
const listingScript = `#!/bin/sh
here=${0%/*}
if [ "$#:$1:$2" = 4:-a:-b ]; then
	echo "list $3 $4" >"$here/asked"
	read -r answer <"$here/answer"
	[ "$answer" != done ] || exit 0
fi
exec /sbin/depmod "$@"
`

// fillModules puts the modules of the tree in the place of what dracut-install has copied of ours to a directory of the tree.
func (p *programs) fillModules(base, version string) error {
	from, err := openInside(p.root, modulesDir(version))
	if err != nil {
		return err
	}
	if from == nil {
		return fs.ErrNotExist
	}
	defer from.Close()
	to, err := openInside(p.root, path.Join(base, modulesDir(version)))
	if err != nil || to == nil {
		return err // it has copied no module
	}
	defer to.Close()
	return fs.WalkDir(to.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		return copyFile(from, to, name)
	})
}

// attendant does what scripts of ours ask, one after the other.
type attendant struct {
	asked, answer *os.File
	done          chan struct{}
}

// startAttendant begins to wait for what is asked. Call stop.
func (p *programs) startAttendant(ctx context.Context) (*attendant, error) {
	a := &attendant{done: make(chan struct{})}
	var err error
	if a.asked, err = p.openFIFO("asked"); err != nil {
		return nil, err
	}
	if a.answer, err = p.openFIFO("answer"); err != nil {
		return nil, errors.Join(err, a.asked.Close())
	}
	go func() {
		defer close(a.done)
		for asked := bufio.NewScanner(a.asked); asked.Scan(); {
			answer := "done\n"
			if p.attend(ctx, strings.Fields(asked.Text())) != nil {
				answer = "no\n"
			}
			if _, err := a.answer.WriteString(answer); err != nil {
				return
			}
		}
	}()
	return a, nil
}

// attend does one thing: "list" or "fill", a directory of the tree, and a kernel's version.
func (p *programs) attend(ctx context.Context, words []string) error {
	switch {
	case len(words) == 3 && words[0] == "list":
		return p.listGathered(ctx, words[1], words[2])
	case len(words) == 3 && words[0] == "fill":
		return p.fillModules(words[1], words[2])
	}
	return errors.ErrUnsupported
}

// openFIFO makes a FIFO and opens both of its ends: it has no end of file, and who opens it does not wait.
func (p *programs) openFIFO(name string) (*os.File, error) {
	dir, err := p.dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if err := unix.Mkfifoat(int(dir.Fd()), name, 0o600); err != nil {
		return nil, &fs.PathError{Op: "mkfifo", Path: name, Err: err}
	}
	return p.dir.OpenFile(name, os.O_RDWR|unix.O_NONBLOCK, 0)
}

// stop ends it. Nobody asks any more.
func (a *attendant) stop() {
	a.asked.Close()
	<-a.done
	a.answer.Close()
}
