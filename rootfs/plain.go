package rootfs

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/internal/deb"
)

// Where a kernel's modules are compressed, depmod(8) and dracut-install(1) spend nearly all of their time on decompressing them, one
// after the other, and the same ones again: depmod all of them when the kernel is configured, dracut-install those that it takes
// into an initramfs and those that it does not, then depmod those that were taken. By the first bytes of a file, not by its
// name, they tell whether it is compressed. So here they look at directories of ours in which the modules have their names, but
// are decompressed, once and on all processors.
//
// The tree's own liblzma decompresses them, in two thirds of the time that we take. Where its programs are emulated, we do.

// plainModules are modules of the kernels of a tree, decompressed, in directories of the build's own:
//
//	kernel/lib/modules/VERSION    all that a kernel has, and what depmod has made of it
//	gathered/lib/modules/VERSION  what an initramfs will have, while depmod looks at it
type plainModules struct {
	temp  string    // directory of the build's own
	dir   string    // what is made there; empty: nothing is yet
	limit time.Time // the tree has no younger file, save for those that were changed since its packages were installed

	mu      sync.Mutex
	kernels map[string]map[string]fs.FileInfo // what was decompressed of which version, by path
}

// made is what was decompressed of a version; nil: nothing was.
func (m *plainModules) made(version string) map[string]fs.FileInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kernels[version]
}

// Parts of it.
const (
	plainKernel   = "kernel"
	plainGathered = "gathered"
)

// plainDir is where programs in the tree see it, in programsDir.
const plainDir = "plain"

// modulesDir is where a tree has the modules of a kernel.
func modulesDir(version string) string { return path.Join("lib/modules", version) }

// errNotPlain says that a directory of modules has something else in it, and that depmod is to look at it itself.
var errNotPlain = errors.New("not only files, of which modules are compressed by xz")

// binder makes directories of the build visible inside a root, as chroot.Root does.
type binder interface {
	Bind(b chroot.Bind) (unbind func() error, err error)
}

// showPlain makes our modules visible in the tree until programs are removed. It is not possible where programs of the tree
// run other than in a root.
func (p *programs) showPlain() error {
	target, can := p.target.(binder)
	if p.plain == nil || p.dir == nil || p.hidePlain != nil || !can {
		return nil
	}
	if p.plain.dir == "" {
		dir, err := os.MkdirTemp(p.plain.temp, "modules-")
		if err != nil {
			return err
		}
		p.plain.dir = dir
	}
	if err := p.dir.Mkdir(plainDir, 0o755); err != nil {
		return err
	}
	var err error
	p.hidePlain, err = target.Bind(chroot.Bind{Source: p.plain.dir, Target: path.Join("/", programsDir, plainDir)})
	return err
}

// remove removes all of it.
func (m *plainModules) remove() error {
	if m.dir == "" {
		return nil
	}
	dir := m.dir
	m.dir, m.kernels = "", nil
	return os.RemoveAll(dir)
}

// open opens the directory of a part, and makes it if it is missing.
func (m *plainModules) open(part, version string) (*os.Root, error) {
	top, err := os.OpenRoot(m.dir)
	if err != nil {
		return nil, err
	}
	defer top.Close()
	dir := path.Join(part, modulesDir(version))
	if err := top.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return top.OpenRoot(dir)
}

// forget removes the modules of a kernel in a part.
func (m *plainModules) forget(part, version string) error {
	if m.dir == "" {
		return nil
	}
	top, err := os.OpenRoot(m.dir)
	if err != nil {
		return err
	}
	defer top.Close()
	if part == plainKernel {
		m.mu.Lock()
		delete(m.kernels, version)
		m.mu.Unlock()
	}
	return top.RemoveAll(path.Join(part, modulesDir(version)))
}

// note notes of what files the modules of a kernel were made.
func (m *plainModules) note(version string, modules []module) {
	files := map[string]fs.FileInfo{}
	for _, module := range modules {
		files[module.name] = module.info
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kernels == nil {
		m.kernels = map[string]map[string]fs.FileInfo{}
	}
	m.kernels[version] = files
}

// mirrors says whether a tree has still what the modules of a kernel were made of, and the lists that depmod has made of it.
func (m *plainModules) mirrors(root, version string) (bool, error) {
	known := m.made(version)
	if known == nil {
		return false, nil
	}
	from, err := openInside(root, modulesDir(version))
	if err != nil || from == nil {
		return false, err
	}
	defer from.Close()
	plain, err := m.open(plainKernel, version)
	if err != nil {
		return false, err
	}
	defer plain.Close()
	modules, same := 0, true
	err = fs.WalkDir(from.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || !same || e.IsDir() || isSourceLink(name, e) {
			return err
		}
		switch was := known[name]; {
		case !e.Type().IsRegular():
			same = false
		case was != nil:
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				same = isSame(info, was, m.limit)
			}
			modules++
		default:
			same, err = sameContent(from, plain, name)
		}
		return err
	})
	return same && modules == len(known), err
}

// isSourceLink says whether an entry of a kernel's directory is a link to what modules are built with, which depmod leaves out.
func isSourceLink(name string, e fs.DirEntry) bool {
	return (name == "build" || name == "source") && e.Type() == fs.ModeSymlink
}

// isSame says whether a file is still as it was, or a copy with the same times, save that no time is after limit.
func isSame(now, was fs.FileInfo, limit time.Time) bool {
	modified := was.ModTime()
	if modified.After(limit) {
		modified = limit
	}
	return now.Mode() == was.Mode() && now.Size() == was.Size() && now.ModTime().Equal(modified)
}

// sameContent says whether two directories have the same file.
func sameContent(a, b *os.Root, name string) (bool, error) {
	ours, err := a.ReadFile(name)
	if err != nil {
		return false, err
	}
	theirs, err := b.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return bytes.Equal(ours, theirs), err
}

// link links those of the modules in a directory into that of plainGathered which are copies of a kernel's, and returns the others.
func (m *plainModules) link(version string, from, to *os.Root, modules []module) ([]module, error) {
	known := m.made(version)
	if known == nil {
		return modules, nil
	}
	kernel, err := os.Open(filepath.Join(m.dir, plainKernel, modulesDir(version)))
	if err != nil {
		return nil, err
	}
	defer kernel.Close()
	gathered, err := to.Open(".")
	if err != nil {
		return nil, err
	}
	defer gathered.Close()
	var others []module
	for _, module := range modules {
		was := known[module.name]
		if was == nil || !isSame(module.info, was, m.limit) {
			others = append(others, module)
			continue
		}
		if err := unix.Linkat(int(kernel.Fd()), module.name, int(gathered.Fd()), module.name, 0); err != nil {
			return nil, &os.LinkError{Op: "link", Old: module.name, New: plainGathered, Err: err}
		}
	}
	return others, nil
}

// module is a file that is compressed.
type module struct {
	name string // in the directory of its kernel
	info fs.FileInfo
}

// findModules lists the modules in a directory, the largest first, and makes what else there is in another, too.
func findModules(from, to *os.Root) ([]module, error) {
	var modules []module
	err := fs.WalkDir(from.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil || name == "." || isSourceLink(name, e):
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
			modules = append(modules, module{name, info})
		}
		return err
	})
	if err == nil && len(modules) == 0 {
		err = errNotPlain
	}
	slices.SortStableFunc(modules, func(a, b module) int { return cmp.Compare(b.info.Size(), a.info.Size()) })
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

// canDecompress says whether the tree's program runs: it may be there before a library that it needs.
func (p *programs) canDecompress(ctx context.Context) bool {
	if p.emulated {
		return true
	}
	file, err := openInside(p.root, path.Dir(aptHelper))
	if err != nil || file == nil {
		return false
	}
	defer file.Close()
	if _, err := file.Lstat(path.Base(aptHelper)); err != nil {
		return false
	}
	nothing := chroot.Command{Args: []string{aptHelper, "cat-file", "/dev/null"}, Stdout: io.Discard, Stderr: io.Discard}
	return p.target.Run(ctx, nothing) == nil
}

// decompressInside has the tree's own program decompress the modules from one directory, which the tree has as dir, into another.
func (p *programs) decompressInside(ctx context.Context, dir string, from, to *os.Root, modules []module) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range divide(modules, runtime.GOMAXPROCS(0)) {
		out, in, err := os.Pipe()
		if err != nil {
			return errors.Join(err, group.Wait())
		}
		args := []string{aptHelper, "cat-file"}
		for _, m := range part {
			args = append(args, path.Join(dir, m.name))
		}
		group.Go(func() error {
			return errors.Join(p.target.Run(ctx, chroot.Command{Args: args, Stdout: in}), in.Close())
		})
		group.Go(func() error {
			return errors.Join(writeModules(from, to, part, out), out.Close())
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
		size, err := deb.SizeXZ(compressed, m.info.Size())
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
		sizes[least] += m.info.Size()
	}
	return slices.DeleteFunc(divided, func(part []module) bool { return len(part) == 0 })
}
