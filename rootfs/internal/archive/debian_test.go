package archive

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vmbuild/rootfs/internal/control"
)

// needs skips the test unless VMBUILD_TEST says that the machine has what it needs.
func needs(t *testing.T, word string) {
	t.Helper()
	if !slices.Contains(strings.Split(os.Getenv("VMBUILD_TEST"), ","), word) {
		t.Skipf("VMBUILD_TEST lacks %q", word)
	}
}

// mirrors returns the archive, and the security archive, that this host installs packages from.
func mirrors(t *testing.T) (debian, security string) {
	t.Helper()
	debian, security = "http://ftp.debian.org/debian", "http://security.debian.org/debian-security"
	lists, err := filepath.Glob("/etc/apt/sources.list.d/*.sources")
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		f, err := os.Open(list)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			uri, _ := strings.CutPrefix(s.Text(), "URIs: ")
			switch uri = strings.TrimRight(uri, "/"); filepath.Base(uri) {
			case "debian":
				debian = uri
			case "debian-security":
				security = uri
			}
		}
	}
	return debian, security
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
	needs(t, "net")
	debian, security := mirrors(t)
	keys := debianKeyring(t)
	for _, test := range []struct{ uri, suite, codename string }{
		{debian, "bullseye", "bullseye"},
		{debian, "bookworm", "bookworm"},
		{debian, "trixie", "trixie"},
		{debian, "trixie-updates", "trixie-updates"},
		{security, "trixie-security", "trixie-security"},
		{debian, "forky", "forky"},
		{debian, "testing", "forky"},
		{debian, "sid", "sid"},
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
	needs(t, "net")
	debian, _ := mirrors(t)
	c := client(t)
	c.Now = time.Now
	s := Source{URI: debian, Suite: "trixie", Components: []string{"main"}, Arch: "amd64", Keyring: debianKeyring(t)}
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
