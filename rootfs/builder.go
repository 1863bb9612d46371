// Package rootfs makes root filesystems from Debian archives, as debootstrap and mmdebstrap do, with nothing of apt or
// dpkg on the host. Its verbs, in order:
//
//	Resolve     asks the archives what a Spec comes to: a Lock of exact packages
//	Base        fetches, unpacks and configures a Lock's packages, once: the result is a layer of the cache
//	Stack       lays a writable tree over a layer, at no cost
//	Enter         makes the programs of that tree runnable
//	MakeInitramfs makes the initramfs, or takes it from the cache
//	Finish        cleans up and leaves a tree that is ready to become an image
//
// Tools does the same for programs that the build itself needs (mke2fs and the like), so that none is taken from the
// host. All of it runs inside the namespaces of a build (package namespace).
//
// For the same packages the tree equals mmdebstrap's; what differs, and why, is listed in the test that compares them.
package rootfs

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sync/errgroup"

	"vmbuild/rootfs/internal/archive"
	"vmbuild/rootfs/internal/control"
	"vmbuild/rootfs/internal/resolve"
	"vmbuild/rootfs/layer"
	"vmbuild/rootfs/mirror"
	"vmbuild/rootfs/suite"
)

// Builder makes root filesystems. Its methods may be called from several goroutines.
type Builder struct {
	Cache   *layer.Cache
	Mirrors mirror.Mirrors // where archives are that a Spec does not name
	Event   func(Event)    // must not be nil
	Log     io.Writer      // what programs print
	Temp    string         // directory of the build's own for what does not outlive it
	IDMap   string         // names the id mapping that files are owned under
}

// Quietly returns a builder that does the same without telling how far it is.
func (b *Builder) Quietly() *Builder {
	quiet := *b
	quiet.Event = func(Event) {}
	return &quiet
}

// Resolve asks the archives of a Spec for its packages. What it downloads, it verifies.
func (b *Builder) Resolve(ctx context.Context, s Spec) (*Lock, error) {
	v, err := findVariant(s.Variant)
	if err != nil {
		return nil, fmt.Errorf("resolve packages: %w", err)
	}
	release, err := suite.Lookup(s.Suite)
	if err != nil {
		return nil, fmt.Errorf("resolve packages: %w", err)
	}
	indexes, err := b.indexes(ctx, s, release)
	if err != nil {
		return nil, fmt.Errorf("resolve packages: %w", err)
	}
	universe := resolve.NewUniverse(s.Arch, indexes.archives)
	essential, err := universe.Resolve(resolve.Request{Essential: true})
	if err != nil {
		return nil, err
	}
	rest, err := universe.Resolve(resolve.Request{
		Packages:   append(slices.Clone(s.Include), v.packages...),
		Priorities: v.priorities,
		Installed:  essential,
	})
	if err != nil {
		return nil, fmt.Errorf("resolve packages: %w", err)
	}
	lock := indexes.lock(s)
	lock.MergeUsr = release.SplitBins
	lock.Debconf = s.Debconf
	lock.Configure = true
	lock.add(essential, true)
	lock.add(rest, false)
	return lock, nil
}

// resolveTools asks for packages and what they depend on, whose programs are run without having been configured.
func (b *Builder) resolveTools(ctx context.Context, s Spec) (*Lock, error) {
	release, err := suite.Lookup(s.Suite)
	if err != nil {
		return nil, fmt.Errorf("resolve tools: %w", err)
	}
	indexes, err := b.indexes(ctx, s, release)
	if err != nil {
		return nil, fmt.Errorf("resolve tools: %w", err)
	}
	choices, err := resolve.NewUniverse(s.Arch, indexes.archives).Resolve(resolve.Request{Packages: s.Include})
	if err != nil {
		return nil, fmt.Errorf("resolve tools: %w", err)
	}
	lock := indexes.lock(s)
	lock.add(choices, false)
	return lock, nil
}

func (l *Lock) add(choices []resolve.Choice, essential bool) {
	for _, c := range choices {
		l.Packages = append(l.Packages, Package{
			Name: c.Name, Version: c.Version, Arch: c.Architecture, Source: c.Archive, Path: c.Filename,
			Size: c.Size, SHA256: c.SHA256, Essential: essential, Auto: c.Auto,
		})
	}
}

// indexes are the archives of a Spec with what they offer, in the same order.
type indexes struct {
	sources  []Source
	releases []*archive.Release
	archives []resolve.Archive
}

func (i indexes) lock(s Spec) *Lock {
	l := &Lock{Arch: s.Arch, Suite: s.Suite, Sources: i.sources, Epoch: s.Epoch}
	for _, r := range i.releases {
		if r.Date.After(l.Date) {
			l.Date = r.Date
		}
	}
	return l
}

// indexes reads all archives of a Spec at once.
func (b *Builder) indexes(ctx context.Context, s Spec, release suite.Suite) (indexes, error) {
	keyring, err := readKeyring(s.Keyring)
	if err != nil {
		return indexes{}, err
	}
	sources := b.sources(s, release)
	found := indexes{
		sources:  sources,
		releases: make([]*archive.Release, len(sources)),
		archives: make([]resolve.Archive, len(sources)),
	}
	client := &archive.Client{Cache: b.Cache}
	group, ctx := errgroup.WithContext(ctx)
	b.Event(Event{Stage: "resolve"})
	for i, src := range sources {
		group.Go(func() error {
			r, err := client.Release(ctx, archive.Source{
				URI: src.URI, Suite: src.Suite, Components: src.Components, Arch: s.Arch, Keyring: keyring,
				IgnoreValidUntil: s.IgnoreValidUntil,
			})
			if err != nil {
				return err
			}
			found.releases[i] = r
			found.archives[i], err = readIndexes(ctx, client, r, src.Components)
			return err
		})
	}
	return found, group.Wait()
}

func readIndexes(ctx context.Context, c *archive.Client, r *archive.Release, components []string) (resolve.Archive, error) {
	a := resolve.Archive{Suite: r.Suite, Codename: r.Codename}
	for _, component := range components {
		data, err := c.Packages(ctx, r, component)
		if err != nil {
			return a, err
		}
		packages, err := control.ParseIndex(data)
		if err != nil {
			return a, fmt.Errorf("read component %s of %s: %w", component, r.Source, err)
		}
		a.Packages = append(a.Packages, packages...)
	}
	return a, nil
}

// sources are the archives of a release: itself, its updates, and its security suite.
func (b *Builder) sources(s Spec, release suite.Suite) []Source {
	components := s.Components
	if len(components) == 0 {
		components = []string{"main"}
	}
	signedBy := ""
	if s.Keyring == "" {
		signedBy = debianKeyring
	}
	main, security := orElse(s.Mirror, b.Mirrors.Main), orElse(s.Security, b.Mirrors.Security)
	list := []Source{{main, release.Codename, components, signedBy}}
	if release.Updates && !s.NoUpdates {
		list = append(list, Source{main, release.Codename + "-updates", components, signedBy})
	}
	if release.Security && security != mirror.None {
		list = append(list, Source{security, release.Codename + "-security", components, signedBy})
	}
	return list
}

// debianKeyring is where package debian-archive-keyring, which apt depends on, has it in every release of the table.
const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

func readKeyring(path string) (archive.Keyring, error) {
	data := suite.Keyring()
	if path != "" {
		var err error
		if data, err = os.ReadFile(path); err != nil {
			return archive.Keyring{}, fmt.Errorf("read keyring: %w", err)
		}
	}
	k, err := archive.ReadKeyring(data)
	if err != nil {
		return archive.Keyring{}, fmt.Errorf("read keyring %s: %w", orElse(path, "of Debian"), err)
	}
	return k, nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
