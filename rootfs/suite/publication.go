package suite

import (
	_ "embed"
	"slices"
)

// Publication says where the packages of a suite are and whose keys sign them. There is one for many more suites than
// images can be made of: for all that debootstrap and mmdebstrap are used for.
type Publication struct {
	Vendor  string // "Debian", for a suite that nobody knows, too
	Keyring string // where hosts that have the vendor's package of keys keep them
	Base    string // the suite that this one only adds to: experimental cannot be installed alone
	Parts   []Part // for apt's sources, in this order
}

// Part is an archive that packages of a suite come from.
type Part struct {
	Site          Site
	URI           string // where it is if no mirror of its site is named
	Suite         string
	Frozen        bool     // nobody signs it anew: the time that its Release file is valid for is over
	Architectures []string // those of the wanted ones that it has; none: all
}

// Site tells a user's mirror from addresses that a mirror of Debian does not stand for.
type Site int

const (
	Elsewhere Site = iota // only where Part.URI says
	Main                  // the Debian archive
	Security              // Debian's security archive
)

// Where Debian's archives are for hosts that have no mirror of their own.
const (
	MainURI     = "http://ftp.debian.org/debian"
	SecurityURI = "http://security.debian.org/debian-security"
)

// Where releases are that have left those.
const (
	ArchiveURI         = "http://archive.debian.org/debian"
	ArchiveSecurityURI = "http://archive.debian.org/debian-security"
)

// Publish returns where the suite of that name is published, for a system of these architectures. A name that no table
// has is taken for a suite of the Debian archive, which then consists of nothing else.
func Publish(name string, architectures []string) Publication {
	if s, ok := find(name); ok {
		return s.publish(name)
	}
	for _, s := range archived {
		if s.codename == name {
			return s.publish()
		}
	}
	for _, v := range vendors {
		for _, site := range v.sites {
			if slices.Contains(site.suites, name) {
				return v.publish(name, site, architectures)
			}
		}
	}
	p := debian(Part{Site: Main, URI: MainURI, Suite: name})
	if name == "experimental" || name == "rc-buggy" {
		p.Base = "sid"
		p.Parts = slices.Insert(p.Parts, 0, Part{Site: Main, URI: MainURI, Suite: p.Base})
	}
	return p
}

func debian(parts ...Part) Publication {
	return Publication{Vendor: "Debian", Keyring: "/usr/share/keyrings/debian-archive-keyring.gpg", Parts: parts}
}

// publish names the release's suites by the codename or by the alias that was asked for.
func (s Suite) publish(name string) Publication {
	if s.Archived {
		return old{s.Codename, s.Updates, s.Security}.publish()
	}
	p := debian(Part{Site: Main, URI: MainURI, Suite: name})
	if s.Updates {
		p.Parts = append(p.Parts, Part{Site: Main, URI: MainURI, Suite: name + "-updates"})
	}
	if s.Security {
		p.Parts = append(p.Parts, Part{Site: Security, URI: SecurityURI, Suite: securitySuite(name)})
	}
	return p
}

// SecuritySuite is what the security archive calls the release: since bullseye as the Debian archive calls its updates
// (release notes of Debian 11: "Changed security archive layout").
func (s Suite) SecuritySuite() string {
	if s.Since("bullseye") {
		return securitySuite(s.Codename)
	}
	return oldSecuritySuite(s.Codename)
}

func securitySuite(name string) string    { return name + "-security" }
func oldSecuritySuite(name string) string { return name + "/updates" }

// old is a release of Debian that has left the mirrors for archive.debian.org.
type old struct {
	codename string
	updates  bool // CODENAME-updates was kept
	security bool // CODENAME/updates was kept
}

// archived are those that no image can be made of. When a release leaves the mirrors, its row of the table becomes Archived,
// and its keys go to keyrings/debian-archive-removed-keys.pgp; go test ./rootfs/suite ./rootfs/sources.
var archived = []old{
	{codename: "potato"},
	{codename: "woody"},
	{codename: "sarge"},
	{codename: "etch", security: true},
	{codename: "lenny", security: true},
	{codename: "squeeze", security: true},
}

func (o old) publish() Publication {
	p := debian(Part{URI: ArchiveURI, Suite: o.codename, Frozen: true})
	p.Keyring = "/usr/share/keyrings/debian-archive-removed-keys.gpg"
	if o.updates {
		p.Parts = append(p.Parts, Part{URI: ArchiveURI, Suite: o.codename + "-updates", Frozen: true})
	}
	if o.security {
		p.Parts = append(p.Parts, Part{URI: ArchiveSecurityURI, Suite: oldSecuritySuite(o.codename), Frozen: true})
	}
	return p
}

// vendor is another distribution.
type vendor struct {
	name, keyring string
	sites         []site
}

// site is where some of a vendor's suites are.
type site struct {
	suites   []string
	main     string
	updates  bool     // SUITE-updates is there, too
	security string   // of SUITE-security; empty: there is none
	only     []string // architectures that it has; none: all
	ports    string   // where those that it has not are
}

// How to add one: a row here; go test ./rootfs/suite ./rootfs/sources. The addresses are those of debootstrap's scripts.
var vendors = []vendor{
	{"Ubuntu", "/usr/share/keyrings/ubuntu-archive-keyring.gpg", []site{
		{
			suites: []string{"trusty", "xenial", "bionic", "focal", "jammy", "noble", "questing", "resolute"},
			main:   "http://archive.ubuntu.com/ubuntu", updates: true,
			security: "http://security.ubuntu.com/ubuntu",
			only:     []string{"amd64", "i386"}, ports: "http://ports.ubuntu.com/ubuntu-ports",
		},
		{
			suites: []string{"warty", "hoary", "breezy", "dapper", "edgy", "feisty", "gutsy", "hardy", "intrepid", "jaunty",
				"karmic", "lucid", "maverick", "natty", "oneiric", "precise", "quantal", "raring", "saucy", "utopic", "vivid",
				"wily", "yakkety", "zesty", "artful", "cosmic", "disco", "eoan", "groovy", "hirsute", "impish", "kinetic", "lunar",
				"mantic", "oracular", "plucky"},
			main: "http://old-releases.ubuntu.com/ubuntu", updates: true,
			security: "http://old-releases.ubuntu.com/ubuntu",
		},
	}},
	{"Kali", "/usr/share/keyrings/kali-archive-keyring.gpg", []site{{
		suites: []string{"kali-rolling", "kali-last-snapshot", "kali-dev", "kali-bleeding-edge"},
		main:   "https://http.kali.org/kali",
	}}},
	{"Tanglu", "/usr/share/keyrings/tanglu-archive-keyring.gpg", []site{{
		suites: []string{"aequorea", "bartholomea", "chromodoris", "dasyatis"},
		main:   "http://archive.tanglu.org/tanglu", updates: true,
	}}},
}

// publish names the vendor's archive, that of its ports, or both, each for the architectures that it has.
func (v vendor) publish(name string, s site, architectures []string) Publication {
	var here, there []string
	for _, a := range architectures {
		if s.ports == "" || slices.Contains(s.only, a) {
			here = append(here, a)
		} else {
			there = append(there, a)
		}
	}
	p := Publication{Vendor: v.name, Keyring: v.keyring}
	switch {
	case len(there) == 0:
		p.Parts = s.parts(name, nil)
	case len(here) == 0:
		p.Parts = s.atPorts().parts(name, nil)
	default:
		p.Parts = append(s.parts(name, here), s.atPorts().parts(name, there)...)
	}
	return p
}

// atPorts is the site with everything where the ports are.
func (s site) atPorts() site {
	s.main, s.security = s.ports, s.ports
	return s
}

func (s site) parts(name string, architectures []string) []Part {
	list := []Part{{URI: s.main, Suite: name, Architectures: architectures}}
	if s.updates {
		list = append(list, Part{URI: s.main, Suite: name + "-updates", Architectures: architectures})
	}
	if s.security != "" {
		list = append(list, Part{URI: s.security, Suite: name + "-security", Architectures: architectures})
	}
	return list
}

// Keys returns the built-in OpenPGP keys that sign the suite of that name: RemovedKeyring for a release that has left the
// mirrors, else Keyring.
func Keys(name string) []byte {
	s, _ := find(name)
	if s.Archived || slices.ContainsFunc(archived, func(o old) bool { return o.codename == name }) {
		return RemovedKeyring()
	}
	return Keyring()
}

// RemovedKeyring returns the keys that signed releases of Debian up to buster, as shipped by Debian in
// debian-archive-keyring 2023.3+deb12u2, file /usr/share/keyrings/debian-archive-removed-keys.gpg (SHA256
// 0ff45da93c7fd62cc3f10b4c5019985caf49e5959bb3bf992f558d11963870fa). Most of them have expired: those of stretch in 2025,
// those of buster will in 2027. What only an expired key signed is not verified.
func RemovedKeyring() []byte { return slices.Clone(removed) }

//go:embed keyrings/debian-archive-removed-keys.pgp
var removed []byte
