package rootfs

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/internal/dpkg"
	"vmbuild/rootfs/layer"
	"vmbuild/rootfs/span"
)

// Base is the tree of a Lock's packages, complete and unchangeable: a layer of the cache, or one on top of another.
type Base struct {
	Dirs  []string  // the topmost first: what overlayfs shows of them is the tree
	Epoch time.Time // no file in it is younger
	Hit   bool      // all of it was in the cache already
	keys  []string  // of the layers, in the same order
	skip  []string
	arch  string
	plain *plainModules // of its kernels, if they were configured just now
}

// Parts of a layer.
const (
	layerRoot    = "root"      // the tree, or what of it differs from the layer below
	layerLock    = "lock.json" // what it was made of
	layerID      = "id"        // tells it from another that is made of the same after this one has gone
	layerMounted = "mounted"   // while it is made: where it is seen together with the layer below, and
	layerScratch = "scratch"   // what overlayfs needs for that
)

// Base returns the tree of the Lock's packages, unpacked and, if the Lock says so, configured. Each of its layers is made once
// for a cache; whoever wants the same while it is being made, waits.
func (b *Builder) Base(ctx context.Context, l *Lock) (*Base, error) {
	from := &source{builder: b, lock: l}
	defer from.Close()
	base, err := b.base(ctx, l, from)
	if err != nil {
		return nil, err
	}
	base.plain = from.plain()
	return base, nil
}

func (b *Builder) base(ctx context.Context, l *Lock, from *source) (*Base, error) {
	if l.Base == nil {
		key, err := l.key(b.IDMap)
		if err != nil {
			return nil, err
		}
		return b.layer(ctx, l, &Base{Hit: true}, key, func(ctx context.Context, dir string) error {
			return b.buildLayer(ctx, l, dir, from)
		})
	}
	below, err := b.base(ctx, l.Base, from)
	if err != nil {
		return nil, err
	}
	upper := upperLayer{Lock: l, below: below, overlay: b.overlays()}
	key, err := upper.key(b.IDMap)
	if err != nil {
		return nil, err
	}
	if !upper.overlay {
		below = &Base{Hit: below.Hit}
	}
	return b.layer(ctx, l, below, key, func(ctx context.Context, dir string) error {
		return b.buildUpper(ctx, upper, dir, from)
	})
}

// layer gets the layer of a key and puts it on top of others.
func (b *Builder) layer(ctx context.Context, l *Lock, below *Base, key string, build layer.Build) (*Base, error) {
	ctx, getting := span.Start(ctx, span.Step, "layer "+key[:12]) // it is waited for, too
	defer getting.End()
	dir, hit, err := b.Cache.Layer(ctx, key, func(ctx context.Context, dir string) error {
		b.missLock(key, l)
		return build(ctx, dir)
	})
	if err != nil {
		return nil, err
	}
	if hit {
		b.hit(key, l.describe())
	}
	made, err := readLock(filepath.Join(dir, layerLock))
	if err != nil {
		return nil, err
	}
	return &Base{
		Dirs: append([]string{filepath.Join(dir, layerRoot)}, below.Dirs...), keys: append([]string{key}, below.keys...),
		Epoch: made.clamp(), Hit: hit && below.Hit, skip: l.Skip, arch: l.Arch,
	}, nil
}

func readLock(path string) (*Lock, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read layer: %w", err)
	}
	var l Lock
	if err := json.Unmarshal(data, &l); err != nil {
		return nil, fmt.Errorf("read layer: %s: %w", path, err)
	}
	return &l, nil
}

func (b *Builder) buildLayer(ctx context.Context, l *Lock, dir string, from *source) error {
	root := filepath.Join(dir, layerRoot)
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	if !Skips(l.Skip, skipSkeleton) {
		if err := makeSkeleton(root, l); err != nil {
			return err
		}
	}
	if err := b.fill(ctx, l, root, Steps{}, from); err != nil {
		return err
	}
	return span.Do(ctx, span.Stage, "finish", func(ctx context.Context) error { return finishLayer(ctx, l, dir, root, root) })
}

// finishLayer cleans the tree of a layer up, of which root is all and own what is the layer's, and notes what it was made of.
func finishLayer(ctx context.Context, l *Lock, dir, root, own string) error {
	if err := cleanUp(root, l.Skip); err != nil {
		return err
	}
	if err := removeMatches(root, "etc/ssh/ssh_host_*"); err != nil { // see RenewKeys
		return err
	}
	if err := clampTimes(ctx, root, own, l.clamp()); err != nil {
		return err
	}
	data, err := json.MarshalIndent(l, "", "\t")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, layerLock), data, 0o644),
		os.WriteFile(filepath.Join(dir, layerID), []byte(rand.Text()), 0o644),
	)
}

// Steps are what a caller does between the steps of an installation, with the root's own file systems mounted in the
// tree.
type Steps struct {
	Unpacked   func(ctx context.Context, target chroot.Runner) error // the essential packages are unpacked, nothing is configured
	Configured func(ctx context.Context, target chroot.Runner) error // the essential packages are configured
}

// fill fetches and installs the Lock's packages.
func (b *Builder) fill(ctx context.Context, l *Lock, root string, s Steps, from *source) error {
	supply := from.start(ctx, from.lock.inOrder())
	err := b.placeFiles(ctx, l, root, s)
	switch {
	case err != nil:
	case l.Configure:
		err = b.install(ctx, l, root, s, from)
	default:
		err = b.unpackOnly(ctx, l, root, supply, s)
	}
	if err != nil {
		return supply.reason(err)
	}
	return l.takeFilesAway(root)
}

// placeFiles puts package files where apt has them: those of the essential packages for the steps of the caller, the
// others where the clean-up of apt's cache is left out, as apt's own downloads would stay then.
func (b *Builder) placeFiles(ctx context.Context, l *Lock, root string, s Steps) error {
	place := *l
	place.Packages = slices.DeleteFunc(slices.Clone(l.Packages), func(p Package) bool {
		if p.Essential {
			return s.Unpacked == nil && s.Configured == nil && !Skips(l.Skip, skipEssentialUnlink)
		}
		return !Skips(l.Skip, skipAptCache)
	})
	if len(place.Packages) == 0 {
		return nil
	}
	dir := filepath.Join(root, AptArchives)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return b.Quietly().Download(ctx, &place, dir)
}

// takeFilesAway removes the files of the essential packages, which apt has not downloaded.
func (l *Lock) takeFilesAway(root string) error {
	if Skips(l.Skip, skipEssentialUnlink) {
		return nil
	}
	for _, path := range l.EssentialFiles() {
		if err := removeMatches(root, path[1:]); err != nil {
			return err
		}
	}
	return nil
}

// EssentialFiles are the paths in the tree of the files of the essential packages, while there are steps.
func (l *Lock) EssentialFiles() []string {
	var paths []string
	for _, p := range l.Packages {
		if p.Essential {
			paths = append(paths, path.Join("/", AptArchives, aptName(p)))
		}
	}
	return paths
}

// counter reports packages as they are unpacked, and the stage that begins when all are; empty: none does. As long as some of
// them are still to come it is silent, since that is told then.
func (b *Builder) counter(ctx context.Context, from *supply, debs []dpkg.Deb, next string) func(string) {
	var mu sync.Mutex
	total, done, silent := int64(len(debs)), int64(0), true
	tell := func() {
		if silent {
			return
		}
		b.Event(Event{Stage: "unpack", Done: done, Total: total, Unit: "packages"})
		if done == total && done > 0 && next != "" {
			b.Event(Event{Stage: next})
		}
	}
	go func() {
		for _, d := range debs {
			if d.Ready(ctx) != nil {
				return
			}
		}
		mu.Lock()
		defer mu.Unlock()
		from.silence()
		silent = false
		tell()
	}()
	return func(string) {
		mu.Lock()
		defer mu.Unlock()
		done++
		tell()
	}
}

// unpackOnly unpacks all packages and runs nothing of them.
func (b *Builder) unpackOnly(ctx context.Context, l *Lock, root string, from *supply, s Steps) error {
	all := from.steps(l).all()
	rules, err := dpkg.ParsePathRules(l.Dpkg)
	if err != nil {
		return err
	}
	options := dpkg.Options{Root: root, PathRules: rules, Unpacked: b.counter(ctx, from, all, "")}
	if _, err := dpkg.Extract(ctx, options, all); err != nil {
		return err
	}
	if s.Unpacked == nil {
		return nil
	}
	return b.inside(ctx, l, root, s.Unpacked)
}

// inside has something done in the tree while programs can run there.
func (b *Builder) inside(ctx context.Context, l *Lock, root string, do func(context.Context, chroot.Runner) error) (err error) {
	target, err := chroot.Enter(ctx, root, chroot.Options{
		Log: b.Log, BlockDaemons: true, NoSync: true, Epoch: l.clamp(), Without: withoutInChroot(l.Skip),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	return do(ctx, target)
}

// install unpacks and configures the packages in mmdebstrap's two steps: the essential ones, then, with their dpkg, all
// the others; those that would be an upper layer after all that would be below it, so that the tree is the same. The initramfs is left out, it is made once for a finished system.
func (b *Builder) install(ctx context.Context, l *Lock, root string, s Steps, from *source) error {
	rules, err := dpkg.ParsePathRules(l.Dpkg)
	if err != nil {
		return err
	}
	debs := from.supply.steps(l)
	count := b.counter(ctx, from.supply, debs.all(), "configure")
	options := dpkg.Options{Root: root, PathRules: rules, Unpacked: count}
	first, err := dpkg.Extract(ctx, options, debs.essential)
	if err != nil {
		return err
	}
	rest := dpkg.Prepare(ctx, options, debs.rest)
	defer rest.Close()
	err = b.inside(ctx, l, root, func(ctx context.Context, target chroot.Runner) (err error) {
		foresight := from.foresight(l, root, target)
		defer func() { err = errors.Join(err, foresight.end(ctx)) }()
		options.Placed = func(all bool) error {
			if all && from.lock.Base != nil {
				from.added(ctx, options)
			}
			return foresight.begin(ctx, all)
		}
		options.Unpacked = func(name string) {
			count(name)
			foresight.unpacked(ctx, name)
		}
		runner := quiet{foresight}
		steps := []func() error{
			s.bind(ctx, s.Unpacked, target),
			func() error { return foresight.begin(ctx, false) },
			func() error { return first.Configure(ctx, runner) },
			func() error { return preseed(ctx, runner, l.Debconf) },
			s.bind(ctx, s.Configured, target),
			func() error { return rest.Install(ctx, options, runner) },
			func() error {
				if len(debs.added) == 0 {
					return nil
				}
				return from.added(ctx, options).Install(ctx, options, runner)
			},
		}
		for _, step := range steps {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return noteApt(root, l)
}

// bind makes a step of a caller's function, which may be nil.
func (Steps) bind(ctx context.Context, f func(context.Context, chroot.Runner) error, target chroot.Runner) func() error {
	return func() error {
		if f == nil {
			return nil
		}
		return f(ctx, target)
	}
}

// preseed answers packages' questions before they are asked.
func preseed(ctx context.Context, target chroot.Runner, lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	answers := strings.NewReader(strings.Join(lines, "\n") + "\n")
	if err := target.Run(ctx, chroot.Command{Args: []string{"debconf-set-selections"}, Stdin: answers}); err != nil {
		return fmt.Errorf("answer questions of packages: %w", err)
	}
	return nil
}

// quiet is a target whose kernel packages make no initramfs (initramfs-tools and dracut look at INITRD).
type quiet struct{ chroot.Runner }

func (q quiet) Run(ctx context.Context, c chroot.Command) error {
	c.Env = append([]string{"INITRD=No"}, c.Env...)
	return q.Runner.Run(ctx, c)
}
