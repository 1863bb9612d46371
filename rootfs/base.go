package rootfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	return &Base{Dir: filepath.Join(dir, layerRoot), Epoch: made.clamp(), Hit: hit, key: key}, nil
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
	if err := makeSkeleton(root, l); err != nil {
		return err
	}
	debs, err := b.fetch(ctx, l)
	if err != nil {
		return err
	}
	if l.Configure {
		err = b.install(ctx, l, root, debs)
	} else {
		err = b.unpackOnly(ctx, root, debs)
	}
	if err != nil {
		return err
	}
	if err := cleanUp(root); err != nil {
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

// stages are the package files of the two steps of an installation.
type stages struct {
	essential, rest []dpkg.Deb
}

// fetch brings the Lock's packages into the cache.
func (b *Builder) fetch(ctx context.Context, l *Lock) (stages, error) {
	var files []archive.File
	for _, p := range l.Packages {
		files = append(files, archive.File{
			Archive: l.Sources[p.Source].URI, Path: p.Path, Size: p.Size, SHA256: p.SHA256,
		})
	}
	client := &archive.Client{Cache: b.Cache, Progress: func(p archive.Progress) {
		b.Event(Event{Stage: "fetch", Done: p.BytesDone, Total: p.Bytes, Unit: Bytes})
	}}
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
		deb := dpkg.Deb{Path: paths[p.SHA256], SHA256: p.SHA256}
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

func (b *Builder) unpackOnly(ctx context.Context, root string, debs stages) error {
	_, err := dpkg.Extract(ctx, dpkg.Options{Root: root, Unpacked: b.counter(len(debs.rest), "")}, debs.rest)
	return err
}

// install unpacks and configures the packages in mmdebstrap's two steps: the essential ones, then, with their dpkg, all
// the others. The initramfs is left out, it is made once for a finished system.
func (b *Builder) install(ctx context.Context, l *Lock, root string, debs stages) (err error) {
	options := dpkg.Options{Root: root, Unpacked: b.counter(len(debs.essential)+len(debs.rest), "configure")}
	first, err := dpkg.Extract(ctx, options, debs.essential)
	if err != nil {
		return err
	}
	target, err := chroot.Enter(ctx, root, chroot.Options{Log: b.Log, BlockDaemons: true, NoSync: true, Epoch: l.clamp()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	runner := quiet{target}
	if err := first.Configure(ctx, runner); err != nil {
		return err
	}
	if err := preseed(ctx, runner, l.Debconf); err != nil {
		return err
	}
	if err := dpkg.Install(ctx, options, runner, debs.rest); err != nil {
		return err
	}
	return noteApt(root, l)
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
