// Package rootfs makes root filesystems from Debian archives, as debootstrap and mmdebstrap do, with nothing of apt or
// dpkg on the host. Its verbs, in order:
//
//	Resolve       asks the archives what a Spec comes to: a Lock of exact packages
//	Base          fetches, unpacks and configures a Lock's packages, once: the result is a layer of the cache, or one over
//	              another with what a Spec calls Added
//	Stack         lays a writable tree over them, at no cost
//	Enter         makes the programs of that tree runnable
//	MakeInitramfs makes the initramfs, or takes it from the cache
//	Finish        cleans up and leaves a tree that is ready to become an image or an archive
//
// Beside them: Skeleton and Fresh make a tree without a layer, for callers with something to do between the steps;
// Emulate makes programs of another architecture runnable; Download, WriteTarball and ReadTarball have to do with package
// files alone; WriteSecondStage leaves the configuring to the system itself.
//
// Tools does the same for programs that the build itself needs (mke2fs and the like), so that none is taken from the
// host. All of it runs inside the namespaces of a build (package namespace).
//
// For the same packages the tree equals mmdebstrap's; what differs, and why, is listed in the test that compares them.
package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"vmbuild/rootfs/internal/archive"
	"vmbuild/rootfs/internal/resolve"
	"vmbuild/rootfs/layer"
	"vmbuild/rootfs/mirror"
	"vmbuild/rootfs/span"
)

// Builder makes root filesystems. Its methods may be called from several goroutines.
type Builder struct {
	Cache    *layer.Cache
	Mirrors  mirror.Mirrors // where archives are that a Spec does not name
	Event    func(Event)    // must not be nil
	Log      io.Writer      // what programs print
	Temp     string         // directory of the build's own for what does not outlive it
	IDMap    string         // names the id mapping that files are owned under
	Offline  bool           // everything comes from the cache
	Emulator string         // path of a static qemu-user program; empty: that of a tools tree
}

// Quietly returns a builder that does the same without telling how far it is. What becomes of layers it tells.
func (b *Builder) Quietly() *Builder {
	quiet := *b
	quiet.Event = func(e Event) {
		if e.Layer != nil {
			b.Event(e)
		}
	}
	return &quiet
}

// Resolve asks the archives of a Spec for its packages. What it downloads, it verifies.
func (b *Builder) Resolve(ctx context.Context, s Spec) (*Lock, error) {
	ctx, resolving := span.Start(ctx, span.Stage, "resolve")
	defer resolving.End()
	v, err := findVariant(s.Variant)
	if err != nil {
		return nil, err
	}
	indexes, err := b.indexes(ctx, s)
	if err != nil {
		return nil, err
	}
	s.applyApt()
	named := len(indexes.sources)
	include, err := indexes.addFiles(s.Include)
	if err != nil {
		return nil, err
	}
	universe, err := s.universe(indexes.archives)
	if err != nil {
		return nil, err
	}
	lock := indexes.lock(s)
	lock.MergeUsr = indexes.splitBins && !s.SplitUsr
	lock.Configure = !v.unpackOnly && !s.UnpackOnly
	first := resolve.Request{Essential: true, Exclude: s.Exclude, Omit: s.Omit}
	if v.includeOnly {
		first = resolve.Request{Packages: include, Exclude: s.Exclude, Recommends: s.Recommends}
	}
	essential, err := universe.Resolve(first)
	if err != nil {
		return nil, err
	}
	lock.add(essential, true)
	if v.includeOnly {
		return lock, lock.checkDpkg()
	}
	request := resolve.Request{
		Packages:   append(include, v.packages...),
		Priorities: v.priorities,
		Exclude:    s.Exclude,
		Omit:       s.Omit,
		Recommends: s.Recommends,
		Installed:  essential,
	}
	rest, err := universe.Resolve(request)
	if err != nil {
		return nil, err
	}
	if lock.Configure && len(s.Added) > 0 {
		request.Packages = append(s.below(include), v.packages...)
		if base, err := universe.Resolve(request); err == nil { // where they cannot do without the others, there is one layer
			lock.layer(base, rest, named)
		}
	}
	lock.add(rest, false)
	return lock, nil
}

// below are the words of what is included that are not of Added.
func (s Spec) below(words []string) []string {
	var below []string
	for i, word := range words {
		if !slices.Contains(s.Added, s.Include[i]) {
			below = append(below, word)
		}
	}
	return below
}

// layer makes a layer of the packages that base chose for a part of the request, if the choice for all of it, rest, has them
// too. The Lock has the essential ones already, and after so many sources those of package files.
func (l *Lock) layer(base, rest []resolve.Choice, sources int) {
	chosen := map[string]bool{}
	for _, c := range rest {
		chosen[c.SHA256] = true
	}
	if len(base) == len(rest) || slices.ContainsFunc(base, func(c resolve.Choice) bool { return !chosen[c.SHA256] }) {
		return
	}
	below := *l
	below.Packages, below.Sources = slices.Clone(l.Packages), l.Sources[:sources:sources]
	below.add(base, false)
	if len(l.Debconf) > 0 && !below.has("debconf") {
		return // nothing there takes the answers
	}
	l.Base = &below
}

// checkDpkg says whether the packages can be configured, which is the system's own dpkg's work.
func (l *Lock) checkDpkg() error {
	if !l.Configure {
		return nil
	}
	return l.needDpkg()
}

// has says whether a package of that name is among those of the Lock.
func (l *Lock) has(name string) bool {
	return slices.ContainsFunc(l.Packages, func(p Package) bool { return p.Name == name })
}

func (l *Lock) needDpkg() error {
	if l.has("dpkg") {
		return nil
	}
	return errors.New("package dpkg is not among what is included, and nothing else can configure them: include it, or choose variant extract")
}

// applyApt heeds the options of apt that decide about packages; those about fetching are the archive client's.
func (s *Spec) applyApt() {
	settings := archive.AptSettings(s.Apt)
	if release := settings["apt::default-release"]; release != "" {
		s.DefaultRelease = release
	}
	if value, ok := settings["apt::install-recommends"]; ok {
		s.Recommends = archive.IsTrue(value)
	}
}

// universe is what packages are chosen from, with the Spec's preferences among them.
func (s Spec) universe(archives []resolve.Archive) (*resolve.Universe, error) {
	preferences, err := resolve.ParsePreferences([]byte(s.Preferences))
	if err != nil {
		return nil, err
	}
	policy := resolve.Policy{Preferences: preferences, DefaultRelease: s.DefaultRelease}
	return resolve.NewPinnedUniverse(s.Arch, archives, policy)
}

// resolveTools asks for packages and what they depend on, whose programs are run without having been configured.
func (b *Builder) resolveTools(ctx context.Context, s Spec) (*Lock, error) {
	ctx, resolving := span.Start(ctx, span.Stage, "resolve")
	defer resolving.End()
	indexes, err := b.indexes(ctx, s)
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

// add adds packages with texts of their own: those of a choice are parts of the index, which would be kept for them.
func (l *Lock) add(choices []resolve.Choice, essential bool) {
	for _, c := range choices {
		l.Packages = append(l.Packages, Package{
			Name: strings.Clone(c.Name), Version: strings.Clone(c.Version), Arch: strings.Clone(c.Architecture),
			Source: c.Archive, Path: strings.Clone(c.Filename), Size: c.Size, SHA256: strings.Clone(c.SHA256),
			Essential: essential, Auto: c.Auto,
		})
	}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
