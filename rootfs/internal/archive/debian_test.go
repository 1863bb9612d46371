package archive

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"vmbuild/rootfs/internal/control"
	"vmbuild/rootfs/mirror"
	"vmbuild/rootfs/offers"
)

// mirrors returns the archives that this host installs packages from.
func mirrors(t *testing.T) mirror.Mirrors {
	t.Helper()
	m, err := mirror.OfHost(os.DirFS("/etc/apt"))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func debianKeyring(t *testing.T) Keyring {
	t.Helper()
	data, err := os.ReadFile("../../suite/keyrings/debian-archive-keyring.pgp")
	if err != nil {
		t.Fatal(err)
	}
	k := keyring(t, data)
	if len(k.keys) != 9 {
		t.Fatalf("%d keys are read of 9", len(k.keys))
	}
	return k
}

// TestDebian verifies the Release files of Debian's own suites and reads an index.
func TestDebian(t *testing.T) {
	offers.Need(t, "net")
	from := mirrors(t)
	keys := debianKeyring(t)
	for _, test := range []struct{ uri, suite, codename string }{
		{from.Main, "bullseye", "bullseye"},
		{from.Main, "bookworm", "bookworm"},
		{from.Main, "trixie", "trixie"},
		{from.Main, "trixie-updates", "trixie-updates"},
		{from.Security, "trixie-security", "trixie-security"},
		{from.Main, "forky", "forky"},
		{from.Main, "testing", "forky"},
		{from.Main, "sid", "sid"},
	} {
		t.Run(test.suite, func(t *testing.T) {
			c := client(t)
			c.Now = time.Now
			s := Source{URI: test.uri, Suite: test.suite, Components: []string{"main"}, Arch: "amd64", Keyring: keys}
			r, err := c.Release(t.Context(), s)
			if isVerification(err) { // a mirror that lags behind
				s.IgnoreValidUntil = true
				if r, err = c.Release(t.Context(), s); err == nil {
					expired(t, c, s, r)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			if r.Codename != test.codename || r.Origin != "Debian" || !r.hasIndex("main/binary-amd64/Packages") {
				t.Errorf("release is %s of %s with %d files", r.Codename, r.Origin, len(r.Files))
			}
			if r.Source.Keyring = (Keyring{}); !errors.As(mustFail(c.Release(t.Context(), r.Source)), new(*VerificationError)) {
				t.Error("a keyring without keys believes it")
			}
		})
	}
}

func mustFail(_ *Release, err error) error { return err }

// expired checks that a release which was refused had expired, and that the error says so.
func expired(t *testing.T, c *Client, s Source, r *Release) {
	t.Helper()
	s.IgnoreValidUntil = false
	_, err := c.Release(t.Context(), s)
	want := fmt.Sprintf("InRelease of %s was valid until %s: the mirror is behind; "+
		"use another, or --no-check-valid-until to accept it", s, r.ValidUntil.Format(time.RFC1123))
	if time.Now().Before(r.ValidUntil) || err == nil || err.Error() != want {
		t.Errorf("valid until %s, refused with %v", r.ValidUntil, err)
	}
	t.Logf("refused at first: %v", err)
}

// TestDebianPackages reads the largest index, twice, and fetches the packages that all others need.
func TestDebianPackages(t *testing.T) {
	offers.Need(t, "net")
	c := client(t)
	c.Now = time.Now
	s := Source{URI: mirrors(t).Main, Suite: "trixie", Components: []string{"main"}, Arch: "amd64", Keyring: debianKeyring(t)}
	for _, run := range []string{"first", "second"} {
		start := time.Now()
		r, err := c.Release(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		released := time.Now()
		index, err := c.Packages(t.Context(), r, "main")
		if err != nil {
			t.Fatal(err)
		}
		indexed := time.Now()
		packages, err := control.ParseIndex(index)
		if err != nil {
			t.Fatal(err)
		}
		var files []File
		for _, p := range packages {
			if p.Essential {
				files = append(files, File{Archive: s.URI, Path: p.Filename, Size: p.Size, SHA256: p.SHA256})
			}
		}
		if len(packages) < 60_000 || len(files) < 20 {
			t.Errorf("%d packages, %d of them essential", len(packages), len(files))
		}
		parsed := time.Now()
		if err := c.Fetch(t.Context(), files, nothing); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s run: release %s, index of %d bytes %s, parsed %s, %d files %s", run, released.Sub(start),
			len(index), indexed.Sub(released), parsed.Sub(indexed), len(files), time.Since(parsed))
	}
}
