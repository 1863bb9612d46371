package rootfs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/internal/dpkg"
	"vmbuild/rootfs/span"
	"vmbuild/rootfs/tree"
)

// upperLayer is a layer to be made on top of another: the packages of its Lock that the Lock of the other does not have are
// installed over it, as apt-get install would in the finished system.
type upperLayer struct {
	*Lock
	below   *Base
	overlay bool // it has only what differs from the layer below; else it is a copy of that, changed
}

// key names the layer. The one below is part of the name as what it is, not as what it was made of: what overlayfs keeps in an
// upper layer is for that very directory.
func (u upperLayer) key(idMap string) (string, error) {
	key, err := u.Lock.key(idMap)
	if err != nil {
		return "", err
	}
	id, err := os.ReadFile(filepath.Join(filepath.Dir(u.below.Dirs[0]), layerID))
	if err != nil {
		return "", fmt.Errorf("name the layer: %w", err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%t\n", key, id, u.overlay))
	return hex.EncodeToString(sum[:]), nil
}

// part is the Lock of the packages that are installed.
func (u upperLayer) part() *Lock {
	below := map[string]bool{}
	for _, p := range u.Base.Packages {
		below[p.SHA256] = true
	}
	part := *u.Lock
	part.Base = nil
	part.Packages = slices.DeleteFunc(slices.Clone(u.Packages), func(p Package) bool { return below[p.SHA256] })
	return &part
}

// buildUpper makes an upper layer.
func (b *Builder) buildUpper(ctx context.Context, u upperLayer, dir string, from *source) (err error) {
	own := filepath.Join(dir, layerRoot)
	if err := os.Mkdir(own, 0o755); err != nil {
		return err
	}
	root := own
	if !u.overlay {
		err = copyTree(u.below.Dirs[0], own)
	} else {
		root = filepath.Join(dir, layerMounted)
		var mounted *overlay
		if mounted, err = mountOverlay(u.below.Dirs, own, filepath.Join(dir, layerScratch), root); err == nil {
			defer func() { err = errors.Join(err, mounted.Close()) }()
		}
	}
	if err != nil {
		return err
	}
	if err := b.addPackages(ctx, u, root, from); err != nil {
		return err
	}
	return span.Do(ctx, span.Stage, "finish", func(ctx context.Context) error { return finishLayer(ctx, u.Lock, dir, root, own) })
}

// addPackages installs the packages of the layer in the tree, which has the others.
func (b *Builder) addPackages(ctx context.Context, u upperLayer, root string, from *source) error {
	part := u.part()
	supply := from.start(ctx, part.Packages)
	err := b.placeFiles(ctx, part, root, Steps{})
	if err == nil {
		err = b.installAdded(ctx, part, root, from)
	}
	if err != nil {
		return supply.reason(err)
	}
	return noteApt(root, u.Lock)
}

func (b *Builder) installAdded(ctx context.Context, part *Lock, root string, from *source) error {
	rules, err := dpkg.ParsePathRules(part.Dpkg)
	if err != nil {
		return err
	}
	debs := from.supply.steps(from.lock).added
	count := b.counter(ctx, from.supply, debs, "configure")
	options := dpkg.Options{Root: root, PathRules: rules, Unpacked: count}
	added := from.added(ctx, options)
	return b.inside(ctx, part, root, func(ctx context.Context, target chroot.Runner) (err error) {
		foresight := from.foresight(from.lock, root, target)
		defer func() { err = errors.Join(err, foresight.end(ctx)) }()
		options.Placed = func(all bool) error { return foresight.begin(ctx, all) }
		options.Unpacked = func(name string) {
			count(name)
			foresight.unpacked(ctx, name)
		}
		return added.Install(ctx, options, quiet{foresight})
	})
}

// overlay is a mounted overlay of which only the directory of changes is to stay.
type overlay struct{ target, scratch string }

// mountOverlay makes the directories scratch and target and mounts there what the lower directories are together, changes going
// to upper.
func mountOverlay(lower []string, upper, scratch, target string) (*overlay, error) {
	for _, dir := range []string{scratch, target} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if err := chroot.Overlay(lower, upper, scratch, target); err != nil {
		return nil, err
	}
	return &overlay{target, scratch}, nil
}

// Close unmounts the overlay and removes the directories that it was made with.
func (o *overlay) Close() error {
	if err := unix.Unmount(o.target, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %q: %w", o.target, err)
	}
	return errors.Join(os.Remove(o.target), os.RemoveAll(o.scratch))
}

// overlays says whether layers of the cache can be laid over each other, by trying it with empty directories.
func (b *Builder) overlays() bool {
	temp, err := b.Cache.TempDir("overlay-")
	if err != nil {
		return false
	}
	defer temp.Close()
	path := func(name string) string { return filepath.Join(temp.Path, name) }
	for _, name := range []string{"lower", "upper"} {
		if err := os.Mkdir(path(name), 0o755); err != nil {
			return false
		}
	}
	o, err := mountOverlay([]string{path("lower")}, path("upper"), path("scratch"), path("mounted"))
	return err == nil && o.Close() == nil
}

// copyBase copies the tree of a base into the empty directory to.
func copyBase(base *Base, to string) (err error) {
	from := base.Dirs[0]
	if len(base.Dirs) > 1 {
		if from, err = os.MkdirTemp(filepath.Dir(to), "layers-"); err != nil {
			return err
		}
		if err := chroot.Overlay(base.Dirs, "", "", from); err != nil {
			return errors.Join(err, os.Remove(from))
		}
		defer func() { err = errors.Join(err, unix.Unmount(from, unix.MNT_DETACH), os.Remove(from)) }()
	}
	return copyTree(from, to)
}

// copyTree copies the tree below from into the empty directory to: owners, modes, times, links, extended attributes.
func copyTree(from, to string) error {
	c := tree.Copier{From: from, To: to}
	err := (&tree.Tree{Dir: from}).Walk(c.Add)
	if err == nil {
		err = c.Close()
	}
	if err != nil {
		return fmt.Errorf("copy tree: %w", err)
	}
	return nil
}
