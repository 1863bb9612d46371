package rootfs

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Spec says what a root filesystem shall be made of, before any archive was asked: pure data, the same on every host.
type Spec struct {
	Arch             string    `json:"arch"`                // Debian architecture
	Suite            string    `json:"suite"`               // codename
	Mirror           string    `json:"mirror,omitempty"`    // URL of the Debian archive; empty: as Builder.Mirrors says
	Security         string    `json:"security,omitempty"`  // the same of the security archive; mirror.None: without it
	NoUpdates        bool      `json:"noUpdates,omitempty"` // without SUITE-updates
	Components       []string  `json:"components,omitempty"`
	Variant          string    `json:"variant"`
	Include          []string  `json:"include,omitempty"` // packages beside the variant's, in apt's syntax and order
	Debconf          []string  `json:"debconf,omitempty"` // lines for debconf-set-selections
	Keyring          string    `json:"keyring,omitempty"` // path of an OpenPGP keyring; empty: the built-in one
	IgnoreValidUntil bool      `json:"ignoreValidUntil,omitempty"`
	Epoch            time.Time `json:"epoch,omitzero"` // no file is younger; zero: the date of the newest archive used
}

// Lock is what a Spec came to when the archives were asked: exact packages, where they lie and what they hash to.
// Everything that is made later is determined by it.
type Lock struct {
	Arch      string    `json:"arch"`
	Suite     string    `json:"suite"`
	Sources   []Source  `json:"sources"`
	Packages  []Package `json:"packages"` // in the order they are installed: first the essential ones
	Debconf   []string  `json:"debconf,omitempty"`
	MergeUsr  bool      `json:"mergeUsr,omitempty"` // /bin, /lib and /sbin are links before anything is unpacked
	Configure bool      `json:"configure"`          // false: the packages are only unpacked
	Epoch     time.Time `json:"epoch,omitzero"`     // of the Spec
	Date      time.Time `json:"date"`               // of the newest Release file
}

// Source is an archive that packages come from.
type Source struct {
	URI        string   `json:"uri"`
	Suite      string   `json:"suite"` // as apt's sources name it: trixie, trixie-updates, trixie-security
	Components []string `json:"components"`
	SignedBy   string   `json:"signedBy,omitempty"` // Debian's keyring in the image; empty: signed by another
}

// Package is one package of a Lock.
type Package struct {
	Name      string `json:"name"`
	Version   string `json:"version"`
	Arch      string `json:"arch"`
	Source    int    `json:"source"` // index in Lock.Sources
	Path      string `json:"path"`   // below the source's URI
	Size      int64  `json:"size"`   // bytes
	SHA256    string `json:"sha256"`
	Essential bool   `json:"essential,omitempty"` // of the first stage
	Auto      bool   `json:"auto,omitempty"`      // installed only because something depends on it
}

// layerFormat changes whenever the same Lock would give another tree, so that no older layer is taken for it.
const layerFormat = "3"

// key names the layer that the Lock gives under an id mapping, on which the owner of each file on disk depends: a hash
// of everything that goes into it and of nothing else. The date of the archive is none of it: it changes every day, and
// a layer keeps the one it was made with.
func (l *Lock) key(idMap string) (string, error) {
	ingredients := *l
	ingredients.Date = time.Time{}
	data, err := json.Marshal(ingredients)
	if err != nil {
		return "", fmt.Errorf("name the layer: %w", err)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%s\n", layerFormat, idMap, data)
	return hex.EncodeToString(h.Sum(nil)), nil
}

// clamp is the time that no file of the tree is younger than.
func (l *Lock) clamp() time.Time {
	if !l.Epoch.IsZero() {
		return l.Epoch
	}
	return l.Date
}
