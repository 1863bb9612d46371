package rootfs

import (
	"context"
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
	"vmbuild/rootfs/internal/archive"
	"vmbuild/rootfs/internal/dpkg"
)

// Base is a layer of the cache: the tree that a Lock's packages give, complete and unchangeable.
type Base struct {
	Dir   string
	Epoch time.Time // no file in it is younger
	Hit   bool      // it was in the cache already
	key   string
	skip  []string
	arch  string
}

// Parts of a layer.
const (
	layerRoot = "root"      // the tree
	layerLock = "lock.json" // what it was made of
)

// Base returns the tree of the Lock's packages, unpacked and, if the Lock says so, configured. It is made once for a
// cache; whoever wants the same while it is being made, waits.
func (b *Builder) Base(ctx context.Context, l *Lock) (*Base, error) {
	key, err := l.key(b.IDMap)
	if err != nil {
		return nil, err
	}
	dir, hit, err := b.Cache.Layer(ctx, key, func(ctx context.Context, dir string) error {
		return b.buildLayer(ctx, l, dir)
	})
	if err != nil {
		return nil, err
	}
	made, err := readLock(filepath.Join(dir, layerLock))
	if err != nil {
		return nil, err
	}
	return &Base{Dir: filepath.Join(dir, layerRoot), Epoch: made.clamp(), Hit: hit, key: key, skip: l.Skip, arch: l.Arch}, nil
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

func (b *Builder) buildLayer(ctx context.Context, l *Lock, dir string) error {
	root := filepath.Join(dir, layerRoot)
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	if !Skips(l.Skip, skipSkeleton) {
		if err := makeSkeleton(root, l); err != nil {
			return err
		}
	}
	if err := b.fill(ctx, l, root, Steps{}); err != nil {
		return err
	}
	if err := cleanUp(root, l.Skip); err != nil {
		return err
	}
	if err := removeMatches(root, "etc/ssh/ssh_host_*"); err != nil { // see RenewKeys
		return err
	}
	if err := clampTimes(root, root, l.clamp()); err != nil {
		return err
	}
	data, err := json.MarshalIndent(l, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, layerLock), data, 0o644)
}

// Steps are what a caller does between the steps of an installation, with the root's own file systems mounted in the
// tree.
type Steps struct {
	Unpacked   func(ctx context.Context, target chroot.Runner) error // the essential packages are unpacked, nothing is configured
	Configured func(ctx context.Context, target chroot.Runner) error // the essential packages are configured
}

// fill fetches and installs the Lock's packages.
func (b *Builder) fill(ctx context.Context, l *Lock, root string, s Steps) error {
	debs, err := b.fetch(ctx, l)
	if err != nil {
		return err
	}
	if err := b.placeFiles(ctx, l, root, s); err != nil {
		return err
	}
	if !l.Configure {
		err = b.unpackOnly(ctx, l, root, debs, s)
	} else {
		err = b.install(ctx, l, root, debs, s)
	}
	if err != nil {
		return err
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

// stages are the package files of the two steps of an installation.
type stages struct {
	essential, rest []dpkg.Deb
}

// fetch brings the Lock's packages into the cache.
func (b *Builder) fetch(ctx context.Context, l *Lock) (stages, error) {
	var files []archive.File
	for _, p := range l.Packages {
		files = append(files, l.file(p))
	}
	client := b.client(l.Apt, l.TLS)
	client.Progress = func(p archive.Progress) {
		b.Event(Event{Stage: "fetch", Done: p.BytesDone, Total: p.Bytes, Unit: Bytes})
	}
	b.Event(Event{Stage: "fetch"})
	var mu sync.Mutex
	paths := map[string]string{}
	err := client.Fetch(ctx, files, func(f archive.File, path string) error {
		mu.Lock()
		defer mu.Unlock()
		paths[f.SHA256] = path
		return nil
	})
	if err != nil {
		return stages{}, err
	}
	var s stages
	for _, p := range l.Packages {
		deb := dpkg.Deb{Path: paths[p.SHA256], SHA256: p.SHA256, Refetch: func(ctx context.Context) error {
			_, err := client.Refetch(ctx, l.file(p))
			return err
		}}
		if p.Essential {
			s.essential = append(s.essential, deb)
		} else {
			s.rest = append(s.rest, deb)
		}
	}
	return s, nil
}

// counter reports packages as they are unpacked, and the stage that begins when all are; empty: none does.
func (b *Builder) counter(total int, next string) func(string) {
	var mu sync.Mutex
	done := 0
	b.Event(Event{Stage: "unpack", Total: int64(total), Unit: "packages"})
	return func(string) {
		mu.Lock()
		defer mu.Unlock()
		done++
		b.Event(Event{Stage: "unpack", Done: int64(done), Total: int64(total), Unit: "packages"})
		if done == total && next != "" {
			b.Event(Event{Stage: next})
		}
	}
}

// unpackOnly unpacks all packages and runs nothing of them.
func (b *Builder) unpackOnly(ctx context.Context, l *Lock, root string, debs stages, s Steps) error {
	all := slices.Concat(debs.essential, debs.rest)
	rules, err := dpkg.ParsePathRules(l.Dpkg)
	if err != nil {
		return err
	}
	if _, err := dpkg.Extract(ctx, dpkg.Options{Root: root, PathRules: rules, Unpacked: b.counter(len(all), "")}, all); err != nil {
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
// the others. The initramfs is left out, it is made once for a finished system.
func (b *Builder) install(ctx context.Context, l *Lock, root string, debs stages, s Steps) error {
	rules, err := dpkg.ParsePathRules(l.Dpkg)
	if err != nil {
		return err
	}
	options := dpkg.Options{
		Root: root, PathRules: rules, Unpacked: b.counter(len(debs.essential)+len(debs.rest), "configure"),
	}
	first, err := dpkg.Extract(ctx, options, debs.essential)
	if err != nil {
		return err
	}
	err = b.inside(ctx, l, root, func(ctx context.Context, target chroot.Runner) error {
		runner := quiet{target}
		steps := []func() error{
			s.bind(ctx, s.Unpacked, target),
			func() error { return first.Configure(ctx, runner) },
			func() error { return preseed(ctx, runner, l.Debconf) },
			s.bind(ctx, s.Configured, target),
			func() error { return dpkg.Install(ctx, options, runner, debs.rest) },
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
