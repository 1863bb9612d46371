// Package mirror says where Debian's archives are: those that this host's apt takes packages from, else the world's. Of
// apt's configuration it reads only the sources, neither preferences nor proxies, and it asks no archive.
package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"

	"vmbuild/rootfs/internal/control"
	"vmbuild/rootfs/suite"
)

// Where Debian's archives are, for hosts that do not say it themselves.
const (
	Default         = "http://ftp.debian.org/debian"
	DefaultSecurity = "http://security.debian.org/debian-security"
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
	for _, name := range sourceFiles(etc) {
		data, err := fs.ReadFile(etc, name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return Mirrors{}, fmt.Errorf("read apt sources: %w", err)
		}
		for _, e := range parseSources(name, data) {
			e.offer(&found)
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

// sourceFiles lists the files that apt reads, in its order (sources.list(5)).
func sourceFiles(etc fs.FS) []string {
	names := []string{"sources.list"}
	parts, _ := fs.Glob(etc, "sources.list.d/*")
	for _, p := range parts {
		if ext := path.Ext(p); ext == ".list" || ext == ".sources" {
			names = append(names, p)
		}
	}
	return names
}

// aptSource is what matters here of one entry.
type aptSource struct {
	uris, suites []string
}

// offer fills in what is still missing and this entry has.
func (e aptSource) offer(m *Mirrors) {
	for _, uri := range e.uris {
		// An address with a password in it is for this host only: it would be in the image.
		if u, err := url.Parse(uri); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
			continue
		}
		for _, s := range e.suites {
			release, isSecurity := strings.CutSuffix(s, "-security")
			if !slices.Contains(suite.Names(), release) {
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

// parseSources reads a file in either form. What it cannot read it leaves out: the host's apt will have told its user.
func parseSources(name string, data []byte) []aptSource {
	if strings.HasSuffix(name, ".sources") {
		return parseDeb822(data)
	}
	var list []aptSource
	for line := range bytes.Lines(data) {
		if e, ok := parseOneLine(string(line)); ok {
			list = append(list, e)
		}
	}
	return list
}

func parseDeb822(data []byte) []aptSource {
	var list []aptSource
	for p, err := range control.Paragraphs(data) {
		if err != nil {
			break
		}
		enabled := !strings.EqualFold(p.Get("Enabled"), "no")
		if enabled && slices.Contains(strings.Fields(p.Get("Types")), "deb") {
			list = append(list, aptSource{uris: strings.Fields(p.Get("URIs")), suites: strings.Fields(p.Get("Suites"))})
		}
	}
	return list
}

// parseOneLine reads "deb [options] URI SUITE COMPONENT…".
func parseOneLine(line string) (aptSource, bool) {
	line, _, _ = strings.Cut(line, "#")
	rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb")
	if !ok || rest == "" || !strings.ContainsAny(rest[:1], " \t[") {
		return aptSource{}, false
	}
	rest = strings.TrimSpace(rest)
	if strings.HasPrefix(rest, "[") {
		_, rest, _ = strings.Cut(rest, "]")
	}
	words := strings.Fields(rest)
	if len(words) < 2 {
		return aptSource{}, false
	}
	return aptSource{uris: words[:1], suites: words[1:2]}, true
}
