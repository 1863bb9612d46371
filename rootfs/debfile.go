package rootfs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"vmbuild/rootfs/internal/archive"
	"vmbuild/rootfs/internal/control"
	"vmbuild/rootfs/internal/deb"
	"vmbuild/rootfs/internal/resolve"
)

// localPin is the priority of package files that were named: they win over every archive that has the same package.
const localPin = 1000

// addFiles makes an archive of each directory that has package files which are to be included, and returns what is to be
// included with a name and version in place of each file.
func (i *indexes) addFiles(include []string) ([]string, error) {
	words := make([]string, 0, len(include))
	for _, word := range include {
		if !isFile(word) {
			words = append(words, word)
			continue
		}
		p, err := readDeb(word)
		if err != nil {
			return nil, fmt.Errorf("read package %q: %w", word, err)
		}
		i.sources = append(i.sources, Source{URI: "file://" + filepath.Dir(word), Suite: "./"})
		i.releases = append(i.releases, nil)
		i.archives = append(i.archives, resolve.Archive{Packages: []control.Package{p}, Priority: localPin})
		name := p.Name
		if p.Architecture != "all" {
			name += ":" + p.Architecture
		}
		words = append(words, name+"="+p.Version)
	}
	return words, nil
}

// isFile says whether a word of what is to be included is a path, as apt decides it.
func isFile(word string) bool {
	return strings.HasPrefix(word, "/") || strings.HasPrefix(word, "./") || strings.HasPrefix(word, "../")
}

// readDeb returns what an index would say of a package file.
func readDeb(path string) (p control.Package, err error) {
	f, err := os.Open(path)
	if err != nil {
		return control.Package{}, err
	}
	defer f.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return control.Package{}, err
	}
	d, err := deb.Open(f, size)
	if err != nil {
		return control.Package{}, err
	}
	list, err := control.ParseIndex(d.Control["control"].Data)
	if err != nil {
		return control.Package{}, err
	}
	if len(list) != 1 {
		return control.Package{}, errors.New("its control file is not one stanza")
	}
	p = list[0]
	p.Filename, p.Size, p.SHA256 = filepath.Base(path), size, hex.EncodeToString(sum.Sum(nil))
	return p, nil
}

// file is where the package is, for the archive client.
func (l *Lock) file(p Package) archive.File {
	return archive.File{Archive: l.Sources[p.Source].URI, Path: p.Path, Size: p.Size, SHA256: p.SHA256}
}
