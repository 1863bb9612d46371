package stages

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"vmbuild/rootfs"
	"vmbuild/rootfs/sources"
)

// Archives are what the builder asks for packages: one for each address and suite of an entry for binary packages.
func Archives(files []sources.File, architectures []string) []rootfs.Source {
	var list []rootfs.Source
	for _, f := range files {
		for _, e := range f.Entries {
			if e.Deb && !e.Disabled {
				list = append(list, archivesOf(e.Expand(architectures[0]), architectures)...)
			}
		}
	}
	return list
}

func archivesOf(e sources.Entry, architectures []string) []rootfs.Source {
	var list []rootfs.Source
	trusted, _ := e.Flag("Trusted")
	checks, given := e.Flag("Check-Valid-Until")
	for _, uri := range e.URIs {
		for _, s := range e.Suites {
			list = append(list, rootfs.Source{
				URI: uri, Suite: s, Components: e.Components, Architectures: e.Architectures(architectures),
				Keyrings: e.SignedBy(), Unauthenticated: trusted, IgnoreValidUntil: given && !checks,
				InRelease: e.Get("InRelease-Path"),
			})
		}
	}
	return list
}

// outsideApt is configuration by which a host's apt works on the tree, for hooks that have one.
func outsideApt(spec rootfs.Spec, root string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "APT::Architecture %q;\nAPT::Architectures { ", spec.Arch)
	for _, a := range append([]string{spec.Arch}, spec.Foreign...) {
		fmt.Fprintf(&b, "%q; ", a)
	}
	fmt.Fprintf(&b, "};\nDir %q;\nDPkg::Chroot-Directory %q;\nDir::State::Status %q;\n",
		root, root, filepath.Join(root, "var/lib/dpkg/status"))
	b.WriteString("APT::Install-Recommends false;\nAcquire::Languages \"none\";\npkgCacheGen::ForceEssential \",\";\n")
	return b.String()
}

// readApt returns the Spec with what apt's configuration in the tree says now, where a setup hook may have changed it:
// sources, options, preferences, and keys that are trusted for all sources. A tree that had no sources, and has none now, is
// of the archives that the Spec's suite is made of.
func readApt(spec rootfs.Spec, root string) (rootfs.Spec, error) {
	tree, err := os.OpenRoot(root)
	if err != nil {
		return spec, fmt.Errorf("read apt's configuration: %w", err)
	}
	defer tree.Close()
	etc, err := fs.Sub(tree.FS(), "etc/apt")
	if err != nil {
		return spec, fmt.Errorf("read apt's configuration: %w", err)
	}
	files, err := sources.ReadTree(etc)
	if err != nil {
		return spec, err
	}
	found := Archives(files, append([]string{spec.Arch}, spec.Foreign...))
	switch {
	case len(found) > 0:
		spec.Archives = found
	case len(spec.Archives) > 0 || spec.Suite == "":
		return spec, errors.New("read apt's configuration: the setup hooks have left no source of packages")
	}
	if spec.Apt, err = readParts(etc, "apt.conf", "", ".conf"); err != nil {
		return spec, err
	}
	if spec.Preferences, err = readParts(etc, "preferences", "", ".pref"); err != nil {
		return spec, err
	}
	dpkg, err := fs.Sub(tree.FS(), "etc/dpkg")
	if err == nil {
		spec.Dpkg, err = readParts(dpkg, "dpkg.cfg", "", ".cfg")
	}
	if keys, _ := fs.Glob(etc, "trusted.gpg.d/*"); len(keys) > 0 && len(spec.Keyrings) == 0 {
		spec.Keyrings = []string{rootfs.DebianKeyring, filepath.Join(root, "etc/apt/trusted.gpg.d")}
	}
	return spec, err
}

// readParts reads the file of a name and those of the directory NAME.d with one of the suffixes, in apt's order.
func readParts(etc fs.FS, name string, suffixes ...string) (string, error) {
	names := []string{}
	entries, err := fs.ReadDir(etc, name+".d")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read apt's configuration: %w", err)
	}
	for _, e := range entries {
		for _, suffix := range suffixes {
			if path.Ext(e.Name()) == suffix && !e.IsDir() {
				names = append(names, path.Join(name+".d", e.Name()))
			}
		}
	}
	var all strings.Builder
	for _, n := range append([]string{name}, names...) {
		data, err := fs.ReadFile(etc, n)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("read apt's configuration: %w", err)
		}
		all.Write(data)
		all.WriteString("\n")
	}
	return all.String(), nil
}
