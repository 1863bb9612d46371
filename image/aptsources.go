package image

import (
	"fmt"
	"net/url"
	"strings"

	"vmbuild/rootfs"
	"vmbuild/rootfs/suite"
	"vmbuild/rootfs/system"
)

// aptSources turns the archives of the build, the main one first, into those of the system: one stanza for suites of the
// same archive. A mirror that is given takes the main archive's place.
func aptSources(list []rootfs.Source, mirror string, release suite.Suite) []system.Source {
	var sources []system.Source
	for _, s := range list {
		uri := s.URI
		if mirror != "" && uri == list[0].URI {
			uri = strings.TrimRight(mirror, "/")
		}
		if n := len(sources); n > 0 && sources[n-1].URI == uri {
			sources[n-1].Suites = append(sources[n-1].Suites, s.Suite)
			continue
		}
		sources = append(sources, system.Source{
			URI: uri, Suites: []string{s.Suite}, Components: s.Components, SignedBy: s.SignedBy, Frozen: release.Archived,
		})
	}
	return sources
}

// passwordNotes say what becomes of passwords in the URLs of mirrors.
func passwordNotes(o Options) []string {
	var notes []string
	for _, c := range []struct{ option, value string }{
		{"--mirror", o.Mirror}, {"--security-mirror", o.Security}, {"--apt-mirror", o.AptMirror},
	} {
		if u, err := url.Parse(c.value); err == nil && u.User != nil {
			notes = append(notes, fmt.Sprintf("%s: the name and password in the URL stay out of the image: apt there needs them from "+
				"/etc/apt/auth.conf.d (machine %s://%s)", c.option, u.Scheme, u.Host))
		}
	}
	return notes
}
