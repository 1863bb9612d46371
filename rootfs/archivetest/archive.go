// Package archivetest makes a signed Debian archive out of a Go value, for tests: real .debs, indexes, by-hash paths,
// InRelease, Release and Release.gpg, served over HTTP or written to a directory. apt and dpkg take it for a real one.
//
// Everything is held in memory and made in milliseconds. Two archives of the same value differ in nothing but their
// signatures, whose keys are new ones unless they are given.
//
// Faults of content are edits of Site.Files (see Site.Edit); faults of transfer are fields of Faults.
package archivetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Archive is an archive with one suite. The zero value is an empty one.
type Archive struct {
	Suite         string    // "stable"; default: Codename
	Codename      string    // "trixie"; default: Suite, or "trixie" if that is empty too
	Origin        string    // default: "Debian"
	Label         string    // default: Origin
	Date          time.Time // default: now, in whole seconds
	ValidUntil    time.Time // default: none
	Architectures []string  // default: amd64
	Components    []string  // default: main, and those that the packages name
	Packages      []Package

	Keys        []Key    // that sign it; default: a new one
	Suffixes    []string // of the indexes; default: "", ".gz", ".xz"
	NoByHash    bool     // no Acquire-By-Hash, no by-hash paths
	SeparateAll bool     // packages of architecture "all" in an index of their own
	NoInRelease bool     // Release and Release.gpg only
	Unsigned    bool     // Release only, also under the name InRelease
}

// Site is the files of an archive.
type Site struct {
	Files   map[string][]byte // by their path below the archive's URI
	Keys    []Key             // that have signed it
	Date    time.Time
	byHash  map[string]string // by-hash path -> the index it is a copy of
	archive Archive
}

// New makes the files of an archive.
func New(a Archive) (*Site, error) {
	a = a.withDefaults()
	s := &Site{Files: map[string][]byte{}, Keys: a.Keys, Date: a.Date, byHash: map[string]string{}, archive: a}
	if len(s.Keys) == 0 {
		key, err := NewKey()
		if err != nil {
			return nil, err
		}
		s.Keys = []Key{key}
	}
	indexes, err := s.pool()
	if err != nil {
		return nil, err
	}
	names := slices.Compact([]string{a.Codename, a.Suite})
	for _, name := range names {
		if err := s.dists(path.Join("dists", name), indexes); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (a Archive) withDefaults() Archive {
	if a.Codename == "" {
		a.Codename = or(a.Suite, "trixie")
	}
	a.Suite = or(a.Suite, a.Codename)
	a.Origin = or(a.Origin, "Debian")
	a.Label = or(a.Label, a.Origin)
	if a.Date.IsZero() {
		a.Date = time.Now()
	}
	a.Date = a.Date.UTC().Truncate(time.Second)
	if a.Architectures == nil {
		a.Architectures = []string{"amd64"}
	}
	if a.Suffixes == nil {
		a.Suffixes = []string{"", ".gz", ".xz"}
	}
	a.Packages = slices.Clone(a.Packages)
	components := map[string]bool{"main": a.Components == nil}
	for i := range a.Packages {
		a.Packages[i].Architecture = or(a.Packages[i].Architecture, a.Architectures[0])
		a.Packages[i] = a.Packages[i].withDefaults()
		components[a.Packages[i].Component] = true
	}
	if a.Components == nil {
		a.Components = slices.Sorted(maps.Keys(components))
	}
	return a
}

func or(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}

// index names a Packages file below dists/SUITE.
type index struct{ component, arch string }

func (i index) path() string { return path.Join(i.component, "binary-"+i.arch, "Packages") }

// pool adds the packages and returns the indexes of them.
func (s *Site) pool() (map[index]string, error) {
	indexes := map[index]string{}
	for _, component := range s.archive.Components {
		for _, arch := range s.indexed() {
			indexes[index{component, arch}] = ""
		}
	}
	for _, p := range s.archive.Packages {
		data, err := p.Deb()
		if err != nil {
			return nil, err
		}
		s.Files[p.Filename()] = data
		for _, arch := range s.indexed() {
			if arch == p.Architecture || p.Architecture == "all" && !s.archive.SeparateAll {
				indexes[index{p.Component, arch}] += p.stanza(data) + "\n"
			}
		}
	}
	return indexes, nil
}

// indexed returns the architectures that have an index.
func (s *Site) indexed() []string {
	if s.archive.SeparateAll {
		return append(slices.Clone(s.archive.Architectures), "all")
	}
	return s.archive.Architectures
}

// dists adds what is in a suite's directory.
func (s *Site) dists(dir string, indexes map[index]string) error {
	sums := map[string]string{} // by path below dir
	for i, text := range indexes {
		for _, suffix := range s.archive.Suffixes {
			data, err := compress(suffix, []byte(text))
			if err != nil {
				return err
			}
			sums[i.path()+suffix] = s.add(dir, i.path()+suffix, data)
		}
	}
	return s.Sign(dir, s.release(sums))
}

// add adds an index and returns its line for the Release file.
func (s *Site) add(dir, name string, data []byte) string {
	sum := sha256.Sum256(data)
	hexSum := hex.EncodeToString(sum[:])
	s.Files[path.Join(dir, name)] = data
	if !s.archive.NoByHash {
		twin := path.Join(dir, path.Dir(name), "by-hash", "SHA256", hexSum)
		s.Files[twin] = data
		s.byHash[twin] = path.Join(dir, name)
	}
	return fmt.Sprintf(" %s %d %s\n", hexSum, len(data), name)
}

// dateFormat is dak's.
const dateFormat = "Mon, 02 Jan 2006 15:04:05 UTC"

func (s *Site) release(sums map[string]string) []byte {
	a := s.archive
	var b bytes.Buffer
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	field("Origin", a.Origin)
	field("Label", a.Label)
	field("Suite", a.Suite)
	field("Codename", a.Codename)
	field("Date", a.Date.Format(dateFormat))
	if !a.ValidUntil.IsZero() {
		field("Valid-Until", a.ValidUntil.UTC().Format(dateFormat))
	}
	if !a.NoByHash {
		field("Acquire-By-Hash", "yes")
	}
	if !a.SeparateAll {
		field("No-Support-for-Architecture-all", "Packages")
	}
	field("Architectures", strings.Join(append([]string{"all"}, a.Architectures...), " "))
	field("Components", strings.Join(a.Components, " "))
	field("Description", "made by archivetest")
	b.WriteString("SHA256:\n")
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		b.WriteString(sums[name])
	}
	return b.Bytes()
}

// Sign adds the Release file of a directory, in the forms that the archive has. Tests call it for what New does not make:
//
//	site.Sign("flat", []byte("Date: …\nSHA256:\n …"))
func (s *Site) Sign(dir string, release []byte) error {
	s.Files[path.Join(dir, "Release")] = release
	if s.archive.Unsigned {
		s.Files[path.Join(dir, "InRelease")] = release
		return nil
	}
	detached, err := signDetached(s.Keys, release, s.Date)
	if err != nil {
		return err
	}
	s.Files[path.Join(dir, "Release.gpg")] = detached
	if s.archive.NoInRelease {
		return nil
	}
	s.Files[path.Join(dir, "InRelease")], err = signClear(s.Keys, release, s.Date)
	return err
}

// Keyring returns the certificates of the keys that have signed the site.
func (s *Site) Keyring() []byte {
	var all []byte
	for _, k := range s.Keys {
		all = append(all, k.Public()...)
	}
	return all
}

// Edit replaces a file, also at its by-hash path. It is how a test damages an archive:
//
//	site.Edit("dists/trixie/InRelease", archivetest.Flip(100))
func (s *Site) Edit(name string, change func([]byte) []byte) {
	if _, ok := s.Files[name]; !ok {
		panic(fmt.Sprintf("archivetest: there is no file %q to edit", name)) // a mistake in the test
	}
	s.Files[name] = change(bytes.Clone(s.Files[name]))
	for twin, of := range s.byHash {
		if of == name {
			s.Files[twin] = s.Files[name]
		}
	}
}

// Flip inverts a bit of the byte at offset, from the end if that is negative.
func Flip(offset int) func([]byte) []byte {
	return func(data []byte) []byte {
		if offset < 0 {
			offset += len(data)
		}
		data[offset] ^= 1
		return data
	}
}

// Truncate keeps the first size bytes.
func Truncate(size int) func([]byte) []byte {
	return func(data []byte) []byte { return data[:size] }
}

// WriteTo writes the site below dir.
func (s *Site) WriteTo(dir string) error {
	for name, data := range s.Files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, data, fs.FileMode(0o644)); err != nil {
			return err
		}
	}
	return nil
}

// Path returns the pool path of a package of the site, whatever its version and architecture.
func (s *Site) Path(t testing.TB, name string) string {
	t.Helper()
	for _, p := range s.archive.Packages {
		if p.Name == name {
			return p.Filename()
		}
	}
	t.Fatalf("archivetest: there is no package %q", name)
	return ""
}
