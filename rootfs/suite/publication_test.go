package suite

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPublish(t *testing.T) {
	const debianKeys, removedKeys = "/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-removed-keys.gpg"
	unknown := func(name string) Publication {
		return Publication{Vendor: "Debian", Keyring: debianKeys, Parts: []Part{{Site: Main, URI: MainURI, Suite: name}}}
	}
	for name, want := range map[string]Publication{
		"oldstable": {Vendor: "Debian", Keyring: debianKeys, Parts: []Part{
			{Site: Main, URI: MainURI, Suite: "oldstable"}, {Site: Main, URI: MainURI, Suite: "oldstable-updates"},
			{Site: Security, URI: SecurityURI, Suite: "oldstable-security"}}},
		"unstable": unknown("unstable"), "nonsense": unknown("nonsense"),
		"experimental": {Vendor: "Debian", Keyring: debianKeys, Base: "sid", Parts: []Part{
			{Site: Main, URI: MainURI, Suite: "sid"}, {Site: Main, URI: MainURI, Suite: "experimental"}}},
		"stretch": {Vendor: "Debian", Keyring: removedKeys, Parts: []Part{
			{URI: "http://archive.debian.org/debian", Suite: "stretch", Frozen: true},
			{URI: "http://archive.debian.org/debian-security", Suite: "stretch/updates", Frozen: true}}},
		"sarge": {Vendor: "Debian", Keyring: removedKeys, Parts: []Part{
			{URI: "http://archive.debian.org/debian", Suite: "sarge", Frozen: true}}},
		"kali-rolling": {Vendor: "Kali", Keyring: "/usr/share/keyrings/kali-archive-keyring.gpg", Parts: []Part{
			{URI: "https://http.kali.org/kali", Suite: "kali-rolling"}}},
	} {
		if diff := cmp.Diff(want, Publish(name, []string{"arm64"})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Ubuntu has amd64 and i386 in one archive and everything else in another.
func TestPublishUbuntu(t *testing.T) {
	const here, secure, there = "http://archive.ubuntu.com/ubuntu", "http://security.ubuntu.com/ubuntu", "http://ports.ubuntu.com/ubuntu-ports"
	three := func(main, security string, arches ...string) []Part {
		return []Part{{URI: main, Suite: "noble", Architectures: arches}, {URI: main, Suite: "noble-updates", Architectures: arches},
			{URI: security, Suite: "noble-security", Architectures: arches}}
	}
	for _, c := range []struct {
		arches []string
		want   []Part
	}{
		{nil, three(here, secure)},
		{[]string{"i386", "amd64"}, three(here, secure)},
		{[]string{"arm64", "armhf"}, three(there, there)},
		{[]string{"amd64", "arm64", "i386"}, append(three(here, secure, "amd64", "i386"), three(there, there, "arm64")...)},
	} {
		if diff := cmp.Diff(c.want, Publish("noble", c.arches).Parts); diff != "" {
			t.Errorf("%v: %s", c.arches, diff)
		}
	}
}

func TestPublishedNamesAreUnique(t *testing.T) {
	names := Names()
	for _, s := range archived {
		names = append(names, s.codename)
	}
	for _, v := range vendors {
		for _, s := range v.sites {
			names = append(names, s.suites...)
		}
	}
	seen := map[string]bool{}
	for _, n := range names {
		if seen[n] {
			t.Errorf("%q stands in the tables twice", n)
		}
		seen[n] = true
	}
}

func TestKeys(t *testing.T) {
	for name, want := range map[string][]byte{"trixie": Keyring(), "stable": Keyring(), "buster": RemovedKeyring(), "nonsense": Keyring()} {
		if !bytes.Equal(Keys(name), want) {
			t.Errorf("the keys of %s are not the expected ones", name)
		}
	}
}
