package rootfs

import (
	"context"
	"fmt"
	"net/url"
	"slices"

	"golang.org/x/sync/errgroup"

	"vmbuild/rootfs/internal/archive"
	"vmbuild/rootfs/internal/control"
	"vmbuild/rootfs/internal/resolve"
	"vmbuild/rootfs/mirror"
	"vmbuild/rootfs/span"
	"vmbuild/rootfs/suite"
)

// indexes are the archives of a Spec with what they offer, in the same order.
type indexes struct {
	sources   []Source
	releases  []*archive.Release
	archives  []resolve.Archive
	splitBins bool // of the release's row
}

// lock begins the Lock of a Spec.
func (i indexes) lock(s Spec) *Lock {
	l := &Lock{
		Arch: s.Arch, Foreign: s.Foreign, Suite: s.Suite, Debconf: s.Debconf, Files: s.Files, Apt: s.Apt, Dpkg: s.Dpkg,
		Skip: s.Skip, TLS: s.TLS, Epoch: s.Epoch,
	}
	for _, src := range i.sources {
		src.Keyrings, src.Unauthenticated, src.IgnoreValidUntil, src.InRelease = nil, false, false, ""
		l.Sources = append(l.Sources, src)
	}
	for _, r := range i.releases {
		if r != nil && r.Date.After(l.Date) {
			l.Date = r.Date
		}
	}
	return l
}

// indexes reads all archives of a Spec at once.
func (b *Builder) indexes(ctx context.Context, s Spec) (indexes, error) {
	sources := s.Archives
	release, err := suite.Lookup(s.Suite)
	if len(sources) == 0 {
		if err != nil {
			return indexes{}, err
		}
		sources = b.sources(s, release)
	}
	found := indexes{
		sources:   sources,
		releases:  make([]*archive.Release, len(sources)),
		archives:  make([]resolve.Archive, len(sources)),
		splitBins: release.SplitBins,
	}
	client := b.client(s.Apt, s.TLS)
	client.Offline = client.Offline || Skips(s.Skip, skipUpdate)
	b.Event(Event{Stage: "resolve"})
	ctx, reading := span.Start(ctx, span.Step, "read indexes")
	defer reading.End()
	group, ctx := errgroup.WithContext(ctx)
	for i, src := range sources {
		keyring, err := b.keyring(s, src)
		if err != nil {
			return indexes{}, err
		}
		group.Go(func() error {
			r, err := client.Release(ctx, archive.Source{
				URI: src.URI, Suite: src.Suite, Components: src.Components, Arch: s.Arch, Keyring: keyring,
				IgnoreValidUntil: s.IgnoreValidUntil || src.IgnoreValidUntil,
				Unauthenticated:  s.Unauthenticated || src.Unauthenticated,
				InRelease:        src.InRelease,
				IgnoreKeyExpiry:  isFrozen(s.Suite),
			})
			if err != nil {
				return err
			}
			found.releases[i] = r
			found.archives[i], err = readIndexes(ctx, client, r, src, s.architectures())
			return err
		})
	}
	return found, group.Wait()
}

// isFrozen says whether nobody signs a suite anew: then its keys may expire and stay right.
func isFrozen(name string) bool {
	return slices.ContainsFunc(suite.Publish(name, nil).Parts, func(p suite.Part) bool { return p.Frozen })
}

// readIndexes reads what an archive has for the architectures that it is asked for.
func readIndexes(ctx context.Context, c *archive.Client, r *archive.Release, src Source, arches []string) (resolve.Archive, error) {
	a := resolve.Archive{
		Suite: r.Suite, Codename: r.Codename, Origin: r.Origin, Label: r.Label, Version: r.Version,
		NotAutomatic: r.NotAutomatic, ButAutomaticUpgrades: r.ButAutomaticUpgrades, Site: src.host(),
	}
	err := src.each(arches, func(component, arch string) error {
		of := *r
		of.Source.Arch = arch
		data, err := c.Packages(ctx, &of, component)
		if err != nil {
			return err
		}
		_, parsing := span.Start(ctx, span.Lane, "parse "+src.Suite+" "+component)
		parsing.Read(int64(len(data)))
		packages, err := control.ParseIndex(data)
		parsing.End()
		if err != nil {
			return fmt.Errorf("read component %s of %s: %w", component, r.Source, err)
		}
		a.Indexes = append(a.Indexes, resolve.Index{Component: component, Arch: arch, Packages: packages})
		return nil
	})
	return a, err
}

// each calls fn for each index of the source: for "" and one architecture in a flat archive, whose one index has all.
func (s Source) each(arches []string, fn func(component, arch string) error) error {
	components := s.Components
	if len(components) == 0 {
		components, arches = []string{""}, arches[:1]
	}
	for _, arch := range arches {
		if len(s.Architectures) > 0 && !slices.Contains(s.Architectures, arch) {
			continue
		}
		for _, component := range components {
			if err := fn(component, arch); err != nil {
				return err
			}
		}
	}
	return nil
}

// host is where the source is on the network.
func (s Source) host() string {
	u, err := url.Parse(s.URI)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// architectures are all whose packages can be installed, the system's own first.
func (s Spec) architectures() []string { return append([]string{s.Arch}, s.Foreign...) }

// sources are the archives of a release: itself, its updates, and its security suite.
func (b *Builder) sources(s Spec, release suite.Suite) []Source {
	components := s.Components
	if len(components) == 0 {
		components = []string{"main"}
	}
	signedBy := ""
	if len(s.Keyrings) == 0 {
		signedBy = DebianKeyring
	}
	host := b.Mirrors
	if release.Archived {
		host = mirror.Mirrors{Main: suite.ArchiveURI, Security: suite.ArchiveSecurityURI}
	}
	main, security := orElse(s.Mirror, host.Main), orElse(s.Security, host.Security)
	list := []Source{{URI: main, Suite: release.Codename, InRelease: s.InRelease}}
	for _, name := range s.ExtraSuites {
		list = append(list, Source{URI: main, Suite: name})
	}
	if release.Updates && !s.NoUpdates {
		list = append(list, Source{URI: main, Suite: release.Codename + "-updates"})
	}
	if release.Security && security != mirror.None {
		list = append(list, Source{URI: security, Suite: release.SecuritySuite()})
	}
	for i := range list {
		list[i].Components, list[i].SignedBy, list[i].IgnoreValidUntil = components, signedBy, release.Archived
	}
	return list
}

// client fetches as apt's options in text say.
func (b *Builder) client(text string, tls TLS) *archive.Client {
	return &archive.Client{Cache: b.Cache, Offline: b.Offline, AptOptions: text, TLS: archive.TLS(tls)}
}
