package archive

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"vmbuild/rootfs/archivetest"
)

// TestOffline: everything that was fetched once is there without a server, in both forms of a Release file.
func TestOffline(t *testing.T) {
	for _, change := range []func(*archivetest.Archive, *Source){
		func(*archivetest.Archive, *Source) {},
		func(a *archivetest.Archive, _ *Source) { a.NoInRelease = true },
		func(a *archivetest.Archive, _ *Source) { a.Suffixes = []string{".gz"} },
		func(a *archivetest.Archive, s *Source) { a.Unsigned, s.Unauthenticated = true, true },
		func(a *archivetest.Archive, _ *Source) { a.SeparateAll = true },
	} {
		a := sample()
		change(&a, &Source{})
		server := archivetest.Start(t, a)
		c, s := client(t), source(t, server)
		change(&a, &s)
		_, want, err := mainIndex(t, c, s)
		if err != nil {
			t.Fatal(err)
		}
		f := pool(t, server, "big")
		if err := c.Fetch(t.Context(), []File{f}, nothing); err != nil {
			t.Fatal(err)
		}
		server.Break(archivetest.Faults{})
		offline := &Client{Cache: c.Cache, Now: c.Now, Offline: true}
		if _, got, err := mainIndex(t, offline, s); err != nil || got != want {
			t.Errorf("index is %q, %v", got, err)
		}
		if err := offline.Fetch(t.Context(), []File{f}, nothing); err != nil {
			t.Error(err)
		}
		if n := len(server.Requests("")); n > 0 {
			t.Errorf("there were %d requests", n)
		}
	}
}

func TestOfflineMissing(t *testing.T) {
	server := archivetest.Start(t, sample())
	c, s := client(t), source(t, server)
	offline := &Client{Cache: c.Cache, Now: c.Now, Offline: true}
	_, err := offline.Release(t.Context(), s)
	fails(t, server, err, "not in the cache, and nothing may be fetched: InRelease of URL trixie")
	r, err := c.Release(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	_, err = offline.Packages(t.Context(), r, "main")
	fails(t, server, err, "not in the cache, and nothing may be fetched: main/binary-amd64/Packages of URL trixie")

	var files []File
	for i := range 7 {
		files = append(files, File{Archive: server.URL, Path: fmt.Sprintf("pool/%d.deb", i), Size: 1, SHA256: fmt.Sprintf("%064d", i)})
	}
	err = offline.Fetch(t.Context(), append(files, pool(t, server, "big"))[3:], nothing)
	fails(t, server, err, "not in the cache, and nothing may be fetched: pool/3.deb, pool/4.deb, pool/5.deb, pool/6.deb, "+
		server.Site().Path(t, "big"))
	err = offline.Fetch(t.Context(), files, nothing)
	fails(t, server, err, "not in the cache, and nothing may be fetched: pool/0.deb, pool/1.deb, pool/2.deb, pool/3.deb, pool/4.deb and 2 more")
	var missing *OfflineError
	if !errors.As(err, &missing) || len(missing.Missing) != 7 {
		t.Errorf("%v names %v", err, missing)
	}
}

// TestOfflineVerified: what is in the cache is believed no more than what comes from a server.
func TestOfflineVerified(t *testing.T) {
	a := sample()
	a.ValidUntil = now.Add(1)
	server := archivetest.Start(t, a)
	c, s := client(t), source(t, server)
	if _, err := c.Release(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	later := &Client{Cache: c.Cache, Now: func() time.Time { return now.Add(2) }, Offline: true}
	_, err := later.Release(t.Context(), s)
	fails(t, server, err, "InRelease of URL trixie was valid until Sat, 03 Jan 2026 03:04:05 UTC: "+
		"what is in the cache is too old; fetch it anew, or --no-check-valid-until to accept it")
	stranger, err := archivetest.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	s.Keyring = keyring(t, stranger.Public())
	_, err = (&Client{Cache: c.Cache, Now: c.Now, Offline: true}).Release(t.Context(), s)
	fails(t, server, err, "not in the cache, and nothing may be fetched: InRelease of URL trixie")
}

// TestOfflineDirectory: no network is needed for it.
func TestOfflineDirectory(t *testing.T) {
	site, dir := newSite(t, sample()), t.TempDir()
	if err := site.WriteTo(dir); err != nil {
		t.Fatal(err)
	}
	c := client(t)
	c.Offline = true
	s := Source{URI: "file:" + dir, Suite: "trixie", Arch: "amd64", Keyring: keyring(t, site.Keyring())}
	if _, _, err := mainIndex(t, c, s); err != nil {
		t.Error(err)
	}
}

// spoil changes a byte of each object in the cache.
func spoil(t *testing.T, c *Client) {
	t.Helper()
	for _, name := range left(t, c) {
		if !strings.HasPrefix(name, "objects/") {
			continue
		}
		data, err := os.ReadFile(c.Cache.Dir() + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(c.Cache.Dir()+"/"+name, archivetest.Flip(10)(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDamaged: what a disk has spoilt is made anew.
func TestDamaged(t *testing.T) {
	for _, suffixes := range [][]string{nil, {""}, {".xz"}} {
		a := sample()
		a.Suffixes = suffixes
		server := archivetest.Start(t, a)
		c, s := client(t), source(t, server)
		_, want, err := mainIndex(t, c, s)
		if err != nil {
			t.Fatal(err)
		}
		spoil(t, c)
		if _, got, err := mainIndex(t, c, s); err != nil || got != want {
			t.Errorf("forms %q: index is %q, %v", suffixes, got, err)
		}
		spoil(t, c)
		_, _, err = mainIndex(t, &Client{Cache: c.Cache, Now: c.Now, Offline: true}, s)
		fails(t, server, err, "not in the cache, and nothing may be fetched: main/binary-amd64/Packages of URL trixie")
	}

	server := archivetest.Start(t, sample())
	c, f := client(t), pool(t, server, "big")
	if err := c.Fetch(t.Context(), []File{f}, nothing); err != nil {
		t.Fatal(err)
	}
	spoil(t, c)
	path, err := c.Refetch(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil || string(data) != string(server.Site().Files[f.Path]) {
		t.Errorf("after Refetch, the file is wrong, %v", err)
	}
	offline := &Client{Cache: c.Cache, Offline: true}
	_, err = offline.Refetch(t.Context(), f)
	fails(t, server, err, "not in the cache, and nothing may be fetched: "+f.Path)
}

// TestUnverifiedApart: what a run without authentication got does not take the place of what was verified.
func TestUnverifiedApart(t *testing.T) {
	server := archivetest.Start(t, sample())
	c, s := client(t), source(t, server)
	if _, err := c.Release(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	forged := sample()
	forged.Unsigned, forged.Label = true, "forged"
	server.Publish(newSite(t, forged))
	open := s
	open.Unauthenticated = true
	if r, err := c.Release(t.Context(), open); err != nil || r.Label != "forged" {
		t.Fatalf("release is %v, %v", r, err)
	}
	c = &Client{Cache: c.Cache, Now: c.Now, Offline: true}
	if r, err := c.Release(t.Context(), s); err != nil || r.Label != "Debian" {
		t.Errorf("release is %v, %v", r, err)
	}
}
