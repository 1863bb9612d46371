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
	Arch             string    `json:"arch"`                  // Debian architecture
	Foreign          []string  `json:"foreign,omitempty"`     // further architectures, whose packages can be installed too
	Suite            string    `json:"suite"`                 // codename; empty: Archives say all
	Mirror           string    `json:"mirror,omitempty"`      // URL of the Debian archive; empty: as Builder.Mirrors says
	Security         string    `json:"security,omitempty"`    // the same of the security archive; mirror.None: without it
	NoUpdates        bool      `json:"noUpdates,omitempty"`   // without SUITE-updates
	ExtraSuites      []string  `json:"extraSuites,omitempty"` // of the Debian archive, whose packages can be installed too
	InRelease        string    `json:"inRelease,omitempty"`   // of the suite itself, see Source.InRelease
	Archives         []Source  `json:"archives,omitempty"`    // instead of those that the suite is made of
	Components       []string  `json:"components,omitempty"`
	Variant          string    `json:"variant"`
	Include          []string  `json:"include,omitempty"` // packages beside the variant's, in apt's syntax and order, or paths of .deb files
	Added            []string  `json:"added,omitempty"`   // of Include: what is installed over all others, in a layer of its own
	Exclude          []string  `json:"exclude,omitempty"` // names of packages that are not to be installed
	Omit             []string  `json:"omit,omitempty"`    // names that the variant does not have, unless something depends on them
	Recommends       bool      `json:"recommends,omitempty"`
	Preferences      string    `json:"preferences,omitempty"`    // apt_preferences(5)
	DefaultRelease   string    `json:"defaultRelease,omitempty"` // of apt.conf(5)
	Debconf          []string  `json:"debconf,omitempty"`        // lines for debconf-set-selections
	Files            []File    `json:"files,omitempty"`          // are there before the first package
	Apt              string    `json:"apt,omitempty"`            // apt.conf(5): how to fetch, what to recommend
	Dpkg             string    `json:"dpkg,omitempty"`           // dpkg.cfg(5): path-exclude and path-include are heeded
	Keyrings         []string  `json:"keyrings,omitempty"`       // OpenPGP keyrings and directories of them; none: the built-in one
	Unauthenticated  bool      `json:"unauthenticated,omitempty"`
	IgnoreValidUntil bool      `json:"ignoreValidUntil,omitempty"`
	TLS              TLS       `json:"tls,omitzero"`
	UnpackOnly       bool      `json:"unpackOnly,omitempty"` // nothing is configured
	SplitUsr         bool      `json:"splitUsr,omitempty"`   // /bin, /lib and /sbin are merged into /usr by no one but the packages
	Skip             []string  `json:"skip,omitempty"`       // steps that are left out, see Skippable
	Epoch            time.Time `json:"epoch,omitzero"`       // no file is younger; zero: the date of the newest archive used
}

// Lock is what a Spec came to when the archives were asked: exact packages, where they lie and what they hash to.
// Everything that is made later is determined by it.
type Lock struct {
	Arch      string    `json:"arch"`
	Foreign   []string  `json:"foreign,omitempty"`
	Suite     string    `json:"suite"`
	Sources   []Source  `json:"sources"`
	Packages  []Package `json:"packages"` // in the order they are installed: first the essential ones
	Debconf   []string  `json:"debconf,omitempty"`
	Files     []File    `json:"files,omitempty"`
	Apt       string    `json:"apt,omitempty"`
	Dpkg      string    `json:"dpkg,omitempty"`
	MergeUsr  bool      `json:"mergeUsr,omitempty"` // /bin, /lib and /sbin are links before anything is unpacked
	Configure bool      `json:"configure"`          // false: the packages are only unpacked
	Base      *Lock     `json:"base,omitempty"`     // the packages that are a layer of their own, below the others; nil: none are
	Skip      []string  `json:"skip,omitempty"`
	TLS       TLS       `json:"-"`              // has no part in what is made
	Epoch     time.Time `json:"epoch,omitzero"` // of the Spec
	Date      time.Time `json:"date"`           // of the newest Release file
}

// TLS says which servers to believe on https, and who to be to them: paths of PEM files. What is empty is as apt's options
// say, else as the host does.
type TLS struct {
	CA          string `json:"ca,omitempty"` // the only certificates that may have signed a server's
	Certificate string `json:"certificate,omitempty"`
	Key         string `json:"key,omitempty"` // of the certificate; empty: it is in the same file
	NoCheck     bool   `json:"noCheck,omitempty"`
}

// Source is an archive that packages come from.
type Source struct {
	URI           string   `json:"uri"`
	Suite         string   `json:"suite"` // as apt's sources name it: trixie, trixie-updates, trixie-security
	Components    []string `json:"components"`
	Architectures []string `json:"architectures,omitempty"` // whose packages it is asked for; none: all of the Spec
	SignedBy      string   `json:"signedBy,omitempty"`      // Debian's keyring in the image; empty: signed by another

	// What it is believed by, which has no part in what is made of its packages.
	Keyrings         []string `json:"keyrings,omitempty"` // paths, fingerprints or armoured keys; none: those of the Spec
	Unauthenticated  bool     `json:"unauthenticated,omitempty"`
	IgnoreValidUntil bool     `json:"ignoreValidUntil,omitempty"`
	InRelease        string   `json:"inRelease,omitempty"` // path below the suite's directory, in place of InRelease
}

// File is a file of the tree that no package brings.
type File struct {
	Path    string `json:"path"` // below the root
	Content string `json:"content"`
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
const layerFormat = "5"

// key names the layer that the Lock gives under an id mapping, on which the owner of each file on disk depends: a hash
// of everything that goes into it and of nothing else. The date of the archive is none of it: it changes every day, and
// a layer keeps the one it was made with. Nor is the layer below, which an upperLayer's name has in it.
func (l *Lock) key(idMap string) (string, error) {
	ingredients := *l
	ingredients.Date, ingredients.Base = time.Time{}, nil
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
