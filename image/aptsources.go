package image

import (
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
