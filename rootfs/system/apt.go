package system

import (
	"fmt"
	"net/url"
	"os"
	"strings"
)

// Source is an archive that the system's apt takes packages from (sources.list(5)).
type Source struct {
	URI        string // a name and password in it stay out of the image, see WithoutPassword
	Suites     []string
	Components []string
	SignedBy   string // path of the keyring in the image; for deb822 only: older apts trust the keys that are installed
	Frozen     bool   // nobody signs it anew: its Release files are past the time they are valid for
}

const (
	oneLineSources = "etc/apt/sources.list"
	deb822Sources  = "etc/apt/sources.list.d/debian.sources"
)

// prepareApt writes apt's sources in the form that its release has, in place of those that the tree was made from.
func prepareApt(root *os.Root, c Config) error {
	if len(c.Sources) == 0 {
		return nil
	}
	if c.OneLine {
		return file{oneLineSources, oneLine(c.Sources)}.write(root)
	}
	if err := removeIfThere(root, oneLineSources); err != nil {
		return fmt.Errorf("replace the apt source: %w", err)
	}
	return file{deb822Sources, deb822(c.Sources)}.write(root)
}

func oneLine(list []Source) string {
	var b strings.Builder
	for _, s := range list {
		for _, suite := range s.Suites {
			fmt.Fprintf(&b, "deb %s %s %s\n", WithoutPassword(s.URI), suite, strings.Join(s.Components, " "))
		}
	}
	return b.String()
}

func deb822(list []Source) string {
	var stanzas []string
	for _, s := range list {
		stanza := fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\n",
			WithoutPassword(s.URI), strings.Join(s.Suites, " "), strings.Join(s.Components, " "))
		if s.Frozen {
			stanza += "Check-Valid-Until: no\n"
		}
		if s.SignedBy != "" {
			stanza += "Signed-By: " + s.SignedBy + "\n"
		}
		stanzas = append(stanzas, stanza)
	}
	return strings.Join(stanzas, "\n")
}

// WithoutPassword returns the URL of an archive without the name and password in it, which are the build's to know: everybody
// can read an image's apt sources. Who shall use such an archive in the image has apt_auth.conf(5) for that.
func WithoutPassword(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.User == nil {
		return uri
	}
	u.User = nil
	return u.String()
}
