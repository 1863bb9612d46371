// Package mirror says where Debian's archives are: those that this host's apt takes packages from, else the world's. Of
// apt's configuration it reads only the sources, neither preferences nor proxies, and it asks no archive.
package mirror

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"

	"vmbuild/rootfs/sources"
	"vmbuild/rootfs/suite"
)

// Where Debian's archives are, for hosts that do not say it themselves.
const (
	Default         = suite.MainURI
	DefaultSecurity = suite.SecurityURI
)

// None in place of a security mirror leaves the security archive out.
const None = "none"

// Mirrors are the addresses of the Debian archive and of its security archive.
type Mirrors struct {
	Main, Security string
}

// OfHost reads from apt's configuration below etc (the host's /etc/apt) where this host gets Debian from: the
// first enabled source of a Debian release, and of a security suite. A mirror of one release has them all. A host that
// runs something else, or has no apt, gives the defaults.
func OfHost(etc fs.FS) (Mirrors, error) {
	var found Mirrors
	names, err := sources.Names(etc)
	if errors.Is(err, fs.ErrPermission) {
		names, err = []string{"sources.list"}, nil
	}
	if err != nil {
		return Mirrors{}, err
	}
	for _, name := range names {
		data, err := fs.ReadFile(etc, name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return Mirrors{}, fmt.Errorf("read apt sources: %w", err)
		}
		// What is wrong in a file the host's apt will have told its user; what comes before it may still be of use.
		f, _ := sources.Parse(name, data)
		for _, e := range f.Entries {
			found.offer(e)
		}
	}
	if found.Main == "" {
		found.Main = Default
	}
	if found.Security == "" {
		found.Security = DefaultSecurity
	}
	return found, nil
}

// offer fills in what is still missing and the entry has.
func (m *Mirrors) offer(e sources.Entry) {
	if e.Disabled || !e.Deb {
		return
	}
	for _, uri := range e.URIs {
		// An address with a password in it is for this host only: it would be in the image.
		if u, err := url.Parse(uri); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
			continue
		}
		for _, s := range e.Suites {
			release, isSecurity := strings.CutSuffix(s, "-security")
			if known, err := suite.Lookup(release); err != nil || known.Archived {
				continue
			}
			if isSecurity && m.Security == "" {
				m.Security = strings.TrimRight(uri, "/")
			}
			if !isSecurity && m.Main == "" {
				m.Main = strings.TrimRight(uri, "/")
			}
		}
	}
}
