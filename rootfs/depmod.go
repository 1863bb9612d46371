package rootfs

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/internal/deb"
)

// Where a kernel's modules are compressed, depmod(8) spends nearly all of its time on decompressing them, one after the other. By the
// first bytes of a file, not by its name, it tells whether it is compressed. So here it looks at a directory of ours in which the
// modules have their names, but are decompressed before, on all processors. The lists it makes are the same, byte for byte.
//
// The tree's own liblzma decompresses them, in two thirds of the time that we take. Where its programs are emulated, we do.

// plainDir is that directory, in programsDir: a root of its own, as depmod's option -b has it.
const plainDir = "plain"

// errNotPlain says that a directory of modules has something else in it, and that depmod is to look at it itself.
var errNotPlain = errors.New("not only files, of which modules are compressed by xz")

// listModules has depmod list the modules of a kernel that are below a directory of the tree, which is empty for its root.
// If it fails, nothing has changed, or depmod itself will write all lists anew.
func (p *programs) listModules(ctx context.Context, base, version string) (err error) {
	from, err := openInside(p.root, path.Join(base, "lib/modules", version))
	if err != nil {
		return err
	}
	if from == nil || p.dir == nil {
		return fs.ErrNotExist
	}
	defer from.Close()
	dir := path.Join(plainDir, "lib/modules", version)
	if err := p.dir.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.dir.RemoveAll(dir)) }()
	to, err := p.dir.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer to.Close()
	modules, err := findModules(from, to)
	if err != nil {
		return err
	}
	if p.emulated {
		err = decompressModules(ctx, from, to, modules)
	} else {
		err = p.decompressInside(ctx, path.Join("/", base, "lib/modules", version), from, to, modules)
	}
	if err != nil {
		return err
	}
	before, err := fileInfos(to)
	if err != nil {
		return err
	}
	command := chroot.Command{Args: []string{"/sbin/depmod", "-b", "/" + path.Join(programsDir, plainDir), version}}
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

// module is a file that is compressed.
type module struct {
	name string // in the directory of its kernel
	size int64  // bytes
}

// findModules lists the modules in a directory, the largest first, and makes what else there is in another, too.
func findModules(from, to *os.Root) ([]module, error) {
	var modules []module
	err := fs.WalkDir(from.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil || name == ".":
			return err
		case e.IsDir():
			return to.Mkdir(name, 0o755)
		case !e.Type().IsRegular():
			return fmt.Errorf("%s: %w", name, errNotPlain)
		case path.Ext(name) != ".xz":
			return copyFile(from, to, name)
		}
		info, err := e.Info()
		if err == nil {
			modules = append(modules, module{name, info.Size()})
		}
		return err
	})
	if err == nil && len(modules) == 0 {
		err = errNotPlain
	}
	slices.SortStableFunc(modules, func(a, b module) int { return cmp.Compare(b.size, a.size) })
	return modules, err
}

// decompressModules decompresses modules from one directory into another.
func decompressModules(ctx context.Context, from, to *os.Root, modules []module) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range divide(modules, runtime.GOMAXPROCS(0)) {
		group.Go(func() error {
			var buf []byte
			for _, m := range part {
				if err := ctx.Err(); err != nil {
					return err
				}
				compressed, err := from.ReadFile(m.name)
				if err != nil {
					return err
				}
				if buf, err = deb.DecodeXZ(compressed, buf); err != nil {
					return fmt.Errorf("%s: %w", m.name, err)
				}
				if err := writeModule(to, m.name, buf); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// aptHelper is a program of apt's that writes files to its standard output, one after the other and decompressed.
const aptHelper = "/usr/lib/apt/apt-helper"

// decompressInside has the tree's own program decompress the modules from one directory, which the tree has as dir, into another.
func (p *programs) decompressInside(ctx context.Context, dir string, from, to *os.Root, modules []module) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range divide(modules, runtime.GOMAXPROCS(0)) {
		out, in := io.Pipe()
		args := []string{aptHelper, "cat-file"}
		for _, m := range part {
			args = append(args, path.Join(dir, m.name))
		}
		group.Go(func() error {
			err := p.target.Run(ctx, chroot.Command{Args: args, Stdout: in})
			in.CloseWithError(err)
			return err
		})
		group.Go(func() error {
			err := writeModules(from, to, part, out)
			out.CloseWithError(err)
			return err
		})
	}
	return group.Wait()
}

// writeModules writes modules that come one after the other. How large they are, the files in from say that they come from.
func writeModules(from, to *os.Root, modules []module, in io.Reader) error {
	var buf []byte
	for _, m := range modules {
		compressed, err := from.Open(m.name)
		if err != nil {
			return err
		}
		size, err := deb.SizeXZ(compressed, m.size)
		compressed.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		buf = slices.Grow(buf[:0], int(size))[:size]
		if _, err := io.ReadFull(in, buf); err != nil {
			return err
		}
		if err := writeModule(to, m.name, buf); err != nil {
			return err
		}
	}
	if n, err := io.Copy(io.Discard, in); n != 0 || err != nil {
		return cmp.Or(err, errNotPlain)
	}
	return nil
}

// divide divides modules into parts that take about the same time.
func divide(modules []module, parts int) [][]module {
	divided, sizes := make([][]module, parts), make([]int64, parts)
	for _, m := range modules {
		least := slices.Index(sizes, slices.Min(sizes))
		divided[least] = append(divided[least], m)
		sizes[least] += m.size
	}
	return slices.DeleteFunc(divided, func(part []module) bool { return len(part) == 0 })
}

// writeModule writes a module, with holes where there is what depmod does not look at.
func writeModule(to *os.Root, name string, module []byte) error {
	f, err := to.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(writeParts(f, module), f.Close())
}

func writeParts(f *os.File, module []byte) error {
	done := int64(0)
	for _, s := range unread(module) {
		if s.start > done {
			if _, err := f.WriteAt(module[done:s.start], done); err != nil {
				return err
			}
		}
		done = max(done, s.end)
	}
	_, err := f.WriteAt(module[done:], done)
	return err
}

// stretch is a part of a file, from one offset to before another.
type stretch struct{ start, end int64 }

// leastHole is what is worth a hole, in bytes: what is shorter is written.
const leastHole = 8 << 10

// unread are the parts of a module that depmod does not look at, two thirds of it: code, relocations, and what describes code and
// types to debuggers and unwinders. The last end is before the module's.
func unread(module []byte) []stretch {
	if len(module) < 2*leastHole {
		return nil
	}
	file, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil // it is depmod's to say so
	}
	var parts []stretch
	for _, s := range file.Sections {
		size := int64(s.FileSize)
		switch {
		case s.Type == elf.SHT_NOBITS || size < leastHole || s.Offset >= uint64(len(module)) || size >= int64(len(module))-int64(s.Offset):
		case s.Type == elf.SHT_REL, s.Type == elf.SHT_RELA, s.Flags&elf.SHF_EXECINSTR != 0,
			strings.HasPrefix(s.Name, ".BTF"), strings.HasPrefix(s.Name, ".orc_"), strings.HasPrefix(s.Name, ".debug_"):
			parts = append(parts, stretch{int64(s.Offset), int64(s.Offset) + size})
		}
	}
	slices.SortFunc(parts, func(a, b stretch) int { return cmp.Compare(a.start, b.start) })
	return parts
}

// listingScript is what mkinitramfs calls in the place of depmod(8), for the modules that it has gathered: it asks us to make the
// lists, and has depmod make them if we do not.
const listingScript = `#!/bin/sh
here=${0%/*}
if [ "$#:$1:$2" = 4:-a:-b ]; then
	echo "$3 $4" >"$here/depmod.asked"
	read -r answer <"$here/depmod.answer"
	[ "$answer" != listed ] || exit 0
fi
exec /sbin/depmod "$@"
`

// lister makes the lists for who asks by listingScript, one after the other.
type lister struct {
	asked, answer *os.File
	done          chan struct{}
}

// startLister puts listingScript in its place. Call stop.
func (p *programs) startLister(ctx context.Context) (*lister, error) {
	if err := p.dir.WriteFile("depmod", []byte(listingScript), 0o755); err != nil {
		return nil, err
	}
	l := &lister{done: make(chan struct{})}
	var err error
	if l.asked, err = p.openFIFO("depmod.asked"); err != nil {
		return nil, err
	}
	if l.answer, err = p.openFIFO("depmod.answer"); err != nil {
		return nil, errors.Join(err, l.asked.Close())
	}
	go func() {
		defer close(l.done)
		for asked := bufio.NewScanner(l.asked); asked.Scan(); {
			answer := "no\n"
			base, version, _ := strings.Cut(asked.Text(), " ")
			if p.listModules(ctx, base, version) == nil {
				answer = "listed\n"
			}
			if _, err := l.answer.WriteString(answer); err != nil {
				return
			}
		}
	}()
	return l, nil
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
func (l *lister) stop() {
	l.asked.Close()
	<-l.done
	l.answer.Close()
}
