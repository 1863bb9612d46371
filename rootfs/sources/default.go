package sources

import (
	"errors"
	"strings"

	"vmbuild/rootfs/suite"
)

// Wanted is a suite that no source was named for.
type Wanted struct {
	Suite          string
	Components     []string // none: main
	Architectures  []string // of the system: Ubuntu has some of them in an archive of their own
	Main, Security string   // mirrors of Debian and of its security archive; empty: those for all the world
}

// Default returns the sources of a suite, as lines in sources.list: where package suite says that it is published.
func Default(w Wanted) ([]File, error) {
	if w.Suite == "" {
		return nil, errors.New("no suite: name one, or give apt sources")
	}
	f := File{Name: "sources.list"}
	for _, p := range suite.Publish(w.Suite, w.Architectures).Parts {
		e := w.entry(p)
		if err := e.check(); err != nil {
			return nil, err
		}
		text, err := e.Lines()
		if err != nil {
			return nil, err
		}
		f.Content += text
		f.Entries = append(f.Entries, e)
	}
	return []File{f}, nil
}

func (w Wanted) entry(p suite.Part) Entry {
	uri := p.URI
	switch {
	case p.Site == suite.Main && w.Main != "":
		uri = w.Main
	case p.Site == suite.Security && w.Security != "":
		uri = w.Security
	}
	e := Entry{Deb: true, URIs: []string{uri}, Suites: []string{p.Suite}}
	if !strings.HasSuffix(p.Suite, "/") {
		e.Components = orMain(w.Components)
	}
	if len(p.Architectures) > 0 {
		e.Options = append(e.Options, Option{"Architectures", strings.Join(p.Architectures, " ")})
	}
	if p.Frozen {
		e.Options = append(e.Options, Option{"Check-Valid-Until", "no"})
	}
	return e
}
