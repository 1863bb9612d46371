package archive

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/archivetest"
	"vmbuild/rootfs/layer"
)

var (
	date = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	now  = date.Add(24 * time.Hour)
)

// big is a package of many bytes that do not compress.
func big() archivetest.Package {
	var noise strings.Builder
	for i := range 10_000 {
		sum := sha256.Sum256(fmt.Append(nil, i))
		noise.Write(sum[:])
	}
	return archivetest.Package{Name: "big", Compression: "none",
		Files: []archivetest.File{{Path: "/usr/share/big", Content: noise.String()}}}
}

func sample() archivetest.Archive {
	return archivetest.Archive{Suite: "stable", Codename: "trixie", Date: date, Packages: []archivetest.Package{
		{Name: "base-files", Essential: true},
		{Name: "libfoo1", Source: "libfoo", Version: "1:2.0+dfsg~1-1", Component: "contrib"},
		big(),
	}}
}

func newSite(t *testing.T, a archivetest.Archive) *archivetest.Site {
	t.Helper()
	site, err := archivetest.New(a)
	if err != nil {
		t.Fatal(err)
	}
	return site
}

// client returns one with an empty cache and short delays.
func client(t *testing.T) *Client {
	t.Helper()
	cache, err := layer.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &Client{Cache: cache, Delay: time.Millisecond, Stall: 5 * time.Second, Now: func() time.Time { return now }}
}

func source(t *testing.T, s *archivetest.Server) Source {
	t.Helper()
	return Source{URI: s.URL, Suite: "trixie", Components: []string{"main"}, Arch: "amd64", Keyring: keyring(t, s.Site().Keyring())}
}

func keyring(t *testing.T, data []byte) Keyring {
	t.Helper()
	k, err := ReadKeyring(data)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// pool returns the file of a package as an index of the site describes it.
func pool(t *testing.T, s *archivetest.Server, name string) File {
	t.Helper()
	path := s.Site().Path(t, name)
	data := s.Site().Files[path]
	return File{Archive: s.URL, Path: path, Size: int64(len(data)), SHA256: fmt.Sprintf("%x", sha256.Sum256(data))}
}

// left returns the files in the cache, of which nobody shall read one that was not verified.
func left(t *testing.T, c *Client) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(c.Cache.Dir(), func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && e.Name() != "CACHEDIR.TAG" {
			found = append(found, strings.TrimPrefix(path, c.Cache.Dir()+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// fails checks an error's whole text, in which URL stands for the server's.
func fails(t *testing.T, s *archivetest.Server, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatalf("there is no error, but should be: %s", want)
	}
	if got := strings.ReplaceAll(err.Error(), s.URL, "URL"); got != want {
		t.Errorf("error is\n%s\nnot\n%s", got, want)
	}
}

func isVerification(err error) bool {
	var wrong *VerificationError
	return errors.As(err, &wrong) && wrong.Kind() == "verification"
}

func TestWholeChain(t *testing.T) {
	server := archivetest.Start(t, sample())
	c, s := client(t), source(t, server)
	s.Components = []string{"main", "contrib"}
	r, err := c.Release(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	got := []any{r.Origin, r.Label, r.Suite, r.Codename, r.Date, r.AcquireByHash, r.Architectures, r.Components}
	want := []any{"Debian", "Debian", "stable", "trixie", date, true, []string{"all", "amd64"}, []string{"contrib", "main"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("release (-want +got):\n%s", diff)
	}
	for _, component := range s.Components {
		index, err := c.Packages(t.Context(), r, component)
		if err != nil {
			t.Fatal(err)
		}
		plain := server.Site().Files["dists/trixie/"+component+"/binary-amd64/Packages"]
		if diff := cmp.Diff(string(plain), string(index)); diff != "" {
			t.Errorf("index (-want +got):\n%s", diff)
		}
	}
	var paths sync.Map
	files := []File{pool(t, server, "base-files"), pool(t, server, "libfoo1"), pool(t, server, "big")}
	err = c.Fetch(t.Context(), files, func(f File, path string) error {
		data, err := os.ReadFile(path)
		paths.Store(f.Path, slices.Equal(data, server.Site().Files[f.Path]))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if same, done := paths.Load(f.Path); !done || !same.(bool) {
			t.Errorf("%s was not fetched", f.Path)
		}
	}
	for _, r := range server.Requests("") {
		if r.Header.Get("User-Agent") != "vmbuild" {
			t.Errorf("%s is asked for by %q", r.Path, r.Header.Get("User-Agent"))
		}
	}
}

// TestSecondRun asks for one thing only: whether InRelease has changed.
func TestSecondRun(t *testing.T) {
	server := archivetest.Start(t, sample())
	c, s := client(t), source(t, server)
	use := func(c *Client) {
		t.Helper()
		r, err := c.Release(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Packages(t.Context(), r, "main"); err != nil {
			t.Fatal(err)
		}
		if err := c.Fetch(t.Context(), []File{pool(t, server, "big")}, func(File, string) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	use(c)
	server.Break(archivetest.Faults{})
	use(&Client{Cache: c.Cache, Now: c.Now})
	got := server.Requests("")
	if len(got) != 1 || got[0].Path != "dists/trixie/InRelease" || got[0].Status != http.StatusNotModified {
		t.Errorf("requests of the second run: %v", got)
	}

	// A server that does not say when a file was changed is not asked whether it was.
	server.Break(archivetest.Faults{NoTime: true})
	silent := &Client{Cache: client(t).Cache, Now: c.Now}
	for range 2 {
		use(silent)
	}
	for _, r := range server.Requests("dists/trixie/InRelease") {
		if r.Status != http.StatusOK || r.Header.Get("If-Modified-Since") != "" {
			t.Errorf("request %v", r)
		}
	}

	newer := sample()
	newer.Date, newer.Keys = date.Add(time.Hour), server.Site().Keys
	server.Publish(newSite(t, newer))
	r, err := c.Release(t.Context(), s)
	if err != nil || !r.Date.Equal(newer.Date) {
		t.Errorf("release after an update is of %v, %v", r, err)
	}
}

// TestCachedIsNotBelieved: an InRelease in the cache is verified as if it had just come.
func TestCachedIsNotBelieved(t *testing.T) {
	server := archivetest.Start(t, sample())
	c, s := client(t), source(t, server)
	if _, err := c.Release(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for _, name := range left(t, c) {
		file := filepath.Join(c.Cache.Dir(), name)
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		spoilt := strings.Replace(string(data), "Label: Debian", "Label: Devian", 1)
		if err := os.WriteFile(file, []byte(spoilt), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
	r, err := c.Release(t.Context(), s)
	if err != nil || r.Label != "Debian" {
		t.Errorf("release is %v, %v", r, err)
	}
	stranger, err := archivetest.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	s.Keyring = keyring(t, stranger.Public())
	if _, err := c.Release(t.Context(), s); !isVerification(err) {
		t.Errorf("with another keyring, the error is %v", err)
	}
}

func TestReleaseRefused(t *testing.T) {
	const in = "dists/trixie/InRelease"
	stranger, err := archivetest.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	edit := func(name string, change func([]byte) []byte) func(*archivetest.Site) {
		return func(s *archivetest.Site) { s.Edit(name, change) }
	}
	add := func(before, after string) func([]byte) []byte {
		return func(data []byte) []byte { return slices.Concat([]byte(before), data, []byte(after)) }
	}
	for _, test := range []struct {
		name    string
		archive func(*archivetest.Archive)
		site    func(*archivetest.Site)
		source  func(*Source)
		want    string // KEY stands for the key of the archive
	}{
		{name: "wrong key", source: func(s *Source) { s.Keyring = keyring(t, stranger.Public()) },
			want: "InRelease of URL trixie is signed by key KEY, which is not in the keyring"},
		{name: "wrong keys", archive: func(a *archivetest.Archive) { a.Keys = []archivetest.Key{stranger, stranger} },
			source: func(s *Source) { s.Keyring = Keyring{} },
			want:   "InRelease of URL trixie is signed by keys KEY, KEY, none of which is in the keyring"},
		{name: "changed byte", site: edit(in, archivetest.Flip(200)),
			want: "InRelease of URL trixie is signed by key KEY, but not rightly: openpgp: invalid signature: EdDSA verification failure"},
		{name: "unsigned", archive: func(a *archivetest.Archive) { a.Unsigned = true },
			want: "InRelease of URL trixie does not start with a signed text"},
		{name: "text before", site: edit(in, add("Origin: evil\n", "")),
			want: "InRelease of URL trixie does not start with a signed text"},
		{name: "newline before", site: edit(in, add("\n", "")),
			want: "InRelease of URL trixie does not start with a signed text"},
		{name: "text after", site: edit(in, add("", "Origin: evil\n")),
			want: "InRelease of URL trixie goes on after its signature"},
		{name: "twice", site: edit(in, func(data []byte) []byte { return slices.Concat(data, data) }),
			want: "InRelease of URL trixie goes on after its signature"},
		{name: "truncated", site: edit(in, archivetest.Truncate(300)),
			want: "InRelease of URL trixie is not a well-formed signed text"},
		{name: "empty", site: edit(in, archivetest.Truncate(0)),
			want: "InRelease of URL trixie does not start with a signed text"},
		{name: "detached, changed byte", archive: func(a *archivetest.Archive) { a.NoInRelease = true },
			site: edit("dists/trixie/Release", archivetest.Flip(200)),
			want: "Release of URL trixie is signed by key KEY, but not rightly: openpgp: invalid signature: EdDSA verification failure"},
		{name: "detached, no signature", archive: func(a *archivetest.Archive) { a.NoInRelease = true },
			site: func(s *archivetest.Site) { delete(s.Files, "dists/trixie/Release.gpg") },
			want: "Release of URL trixie is not signed: there is no Release.gpg"},
		{name: "detached, empty signature", archive: func(a *archivetest.Archive) { a.NoInRelease = true },
			site: edit("dists/trixie/Release.gpg", archivetest.Truncate(0)),
			want: "Release of URL trixie is not signed"},
		{name: "expired", archive: func(a *archivetest.Archive) { a.ValidUntil = now.Add(-time.Second) },
			want: "InRelease of URL trixie was valid until Sat, 03 Jan 2026 03:04:04 UTC: the mirror is behind; " +
				"use another, or --no-check-valid-until to accept it"},
		{name: "from the future", archive: func(a *archivetest.Archive) { a.Date = now.Add(time.Hour) },
			want: "InRelease of URL trixie is dated Sat, 03 Jan 2026 04:04:05 UTC, which is in the future: " +
				"this machine's clock says Sat, 03 Jan 2026 03:04:05 UTC"},
		{name: "clock of long ago", archive: func(a *archivetest.Archive) { a.Date = now.AddDate(56, 0, 0) },
			want: "InRelease of URL trixie is dated Sat, 03 Jan 2082 03:04:05 UTC, which is in the future: " +
				"this machine's clock says Sat, 03 Jan 2026 03:04:05 UTC"},
		{name: "another suite", site: func(s *archivetest.Site) { s.Files["dists/sid/InRelease"] = s.Files[in] },
			source: func(s *Source) { s.Suite = "sid" },
			want:   "InRelease of URL sid is of another suite: trixie (stable)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := sample()
			if test.archive != nil {
				test.archive(&a)
			}
			site := newSite(t, a)
			if test.site != nil {
				test.site(site)
			}
			server := site.Start(t)
			c, s := client(t), source(t, server)
			if test.source != nil {
				test.source(&s)
			}
			_, err := c.Release(t.Context(), s)
			fails(t, server, err, strings.ReplaceAll(test.want, "KEY", site.Keys[0].ID()))
			if !isVerification(err) {
				t.Errorf("%v is no VerificationError", err)
			}
			if len(left(t, c)) > 0 {
				t.Errorf("the cache holds %q", left(t, c))
			}
		})
	}
}

func TestReleaseErrors(t *testing.T) {
	server := archivetest.Start(t, sample())
	for _, test := range []struct {
		name   string
		source func(*Source)
		want   string
	}{
		{"no such suite", func(s *Source) { s.Suite = "trixxie" },
			`archive URL has no suite "trixxie": neither InRelease nor Release is there`},
		{"no such component", func(s *Source) { s.Components = []string{"main", "mian"} },
			`URL trixie has no component "mian" (it has contrib main)`},
		{"no such scheme", func(s *Source) { s.URI = "ftp://user:secret@example.org/debian" },
			`archive "ftp://user:xxxxx@example.org/debian" is none of http, https, file, copy`},
		{"no host", func(s *Source) { s.URI = "http:/debian" }, `archive "http:/debian" names no host`},
		{"relative", func(s *Source) { s.URI = "copy:debian" }, `archive "copy:debian" is not an absolute path`},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := source(t, server)
			test.source(&s)
			_, err := client(t).Release(t.Context(), s)
			fails(t, server, err, test.want)
			if isVerification(err) {
				t.Error("it is a VerificationError")
			}
		})
	}
}

// TestReleaseAccepted: what is unusual and all the same good, or wished for.
func TestReleaseAccepted(t *testing.T) {
	stranger, err := archivetest.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		archive func(*archivetest.Archive)
		site    func(*archivetest.Site)
		source  func(*Source, *archivetest.Site)
	}{
		{name: "by alias", source: func(s *Source, _ *archivetest.Site) { s.Suite = "stable" }},
		{name: "detached signature", archive: func(a *archivetest.Archive) { a.NoInRelease = true }},
		{name: "armoured keyring", source: func(s *Source, site *archivetest.Site) {
			s.Keyring = keyring(t, slices.Concat(stranger.Armoured(), site.Keys[0].Armoured()))
		}},
		{name: "second signature", archive: func(a *archivetest.Archive) {
			own, err := archivetest.NewKey()
			if err != nil {
				t.Fatal(err)
			}
			a.Keys = []archivetest.Key{stranger, own}
		}, source: func(s *Source, site *archivetest.Site) { s.Keyring = keyring(t, site.Keys[1].Public()) }},
		{name: "clock that is a little slow", archive: func(a *archivetest.Archive) { a.Date = now.Add(5 * time.Second) }},
		{name: "expired and accepted", archive: func(a *archivetest.Archive) { a.ValidUntil = date },
			source: func(s *Source, _ *archivetest.Site) { s.IgnoreValidUntil = true }},
		{name: "unsigned and accepted", archive: func(a *archivetest.Archive) { a.Unsigned = true },
			source: func(s *Source, _ *archivetest.Site) { s.Keyring, s.Unauthenticated = Keyring{}, true }},
		{name: "detached, unsigned and accepted", archive: func(a *archivetest.Archive) { a.NoInRelease = true },
			site:   func(s *archivetest.Site) { delete(s.Files, "dists/trixie/Release.gpg") },
			source: func(s *Source, _ *archivetest.Site) { s.Keyring, s.Unauthenticated = Keyring{}, true }},
		{name: "security archive", archive: func(a *archivetest.Archive) {
			a.Suite, a.Codename = "stable-security", "trixie-security"
		}, source: func(s *Source, _ *archivetest.Site) { s.Suite = "trixie-security" }},
		{name: "only gzip", archive: func(a *archivetest.Archive) { a.Suffixes = []string{"", ".gz"} }},
		{name: "only lzma", archive: func(a *archivetest.Archive) { a.Suffixes = []string{"", ".lzma"} }},
		{name: "only zstd", archive: func(a *archivetest.Archive) { a.Suffixes = []string{"", ".zst"} }},
		{name: "uncompressed only", archive: func(a *archivetest.Archive) { a.Suffixes = []string{""} }},
		{name: "compressed only", archive: func(a *archivetest.Archive) { a.Suffixes = []string{".xz"} }},
		{name: "no by-hash", archive: func(a *archivetest.Archive) { a.NoByHash = true }},
		{name: "by-hash promised and not there", site: func(s *archivetest.Site) {
			for name := range s.Files {
				if strings.Contains(name, "by-hash") {
					delete(s.Files, name)
				}
			}
		}},
		{name: "promises more forms than it has", site: func(s *archivetest.Site) {
			for name := range s.Files {
				if strings.HasSuffix(name, ".xz") || strings.Contains(name, "by-hash") {
					delete(s.Files, name)
				}
			}
		}},
		{name: "has none of the compressed forms any more", site: func(s *archivetest.Site) {
			for name := range s.Files {
				if strings.HasSuffix(name, ".xz") || strings.HasSuffix(name, ".gz") || strings.Contains(name, "by-hash") {
					delete(s.Files, name)
				}
			}
		}},
		{name: "InRelease elsewhere", site: func(s *archivetest.Site) {
			s.Files["dists/trixie/20260102/InRelease"] = s.Files["dists/trixie/InRelease"]
			delete(s.Files, "dists/trixie/InRelease")
			delete(s.Files, "dists/trixie/Release")
		}, source: func(s *Source, _ *archivetest.Site) { s.InRelease = "20260102/InRelease" }},
		{name: "of another suite and not verified", source: func(s *Source, site *archivetest.Site) {
			for name, data := range site.Files {
				if rest, ok := strings.CutPrefix(name, "dists/trixie/"); ok {
					site.Files["dists/sid/"+rest] = data
				}
			}
			s.Suite, s.Unauthenticated = "sid", true
		}},
		{name: "URI ends in a slash", source: func(s *Source, _ *archivetest.Site) { s.URI += "/" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := sample()
			if test.archive != nil {
				test.archive(&a)
			}
			site := newSite(t, a)
			if test.site != nil {
				test.site(site)
			}
			server := site.Start(t)
			c, s := client(t), source(t, server)
			if test.source != nil {
				test.source(&s, site)
			}
			r, err := c.Release(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			index, err := c.Packages(t.Context(), r, "main")
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(index), "Package: base-files\n") {
				t.Errorf("index is %q", index)
			}
		})
	}
}

func TestPackagesRefused(t *testing.T) {
	sum := func(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }
	const name = "dists/trixie/main/binary-amd64/Packages.xz"
	for _, test := range []struct {
		name string
		edit func([]byte) []byte
		want func(good, bad []byte) string
	}{
		{"changed byte", archivetest.Flip(50), func(good, bad []byte) string {
			return name + " of URL has SHA256 " + sum(bad) + ", its index says " + sum(good)
		}},
		{"truncated", archivetest.Truncate(50), func(good, bad []byte) string {
			return fmt.Sprintf("%s of URL has 50 bytes, its index says %d", name, len(good))
		}},
		{"longer", func(data []byte) []byte { return append(data, 0) }, func(good, bad []byte) string {
			return fmt.Sprintf("%s of URL has more than the %d bytes that its index says", name, len(good))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			site := newSite(t, sample())
			good := site.Files[name]
			site.Edit(name, test.edit)
			server := site.Start(t)
			c := client(t)
			r, err := c.Release(t.Context(), source(t, server))
			if err != nil {
				t.Fatal(err)
			}
			before := left(t, c)
			server.Break(archivetest.Faults{})
			_, err = c.Packages(t.Context(), r, "main")
			fails(t, server, err, test.want(good, site.Files[name]))
			if !isVerification(err) || len(server.Requests("")) != 1 {
				t.Errorf("%v after requests %v", err, server.Requests(""))
			}
			if diff := cmp.Diff(before, left(t, c)); diff != "" {
				t.Errorf("left in the cache (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPackagesErrors(t *testing.T) {
	server := archivetest.Start(t, sample())
	c, s := client(t), source(t, server)
	s.Arch = "riscv64"
	r, err := c.Release(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Packages(t.Context(), r, "main")
	fails(t, server, err, `URL trixie has no main packages for architecture "riscv64" (it has all amd64)`)
}

func TestSeparateAll(t *testing.T) {
	a := sample()
	a.SeparateAll = true
	a.Packages = []archivetest.Package{{Name: "native"}, {Name: "any", Architecture: "all"}}
	server := archivetest.Start(t, a)
	c := client(t)
	r, err := c.Release(t.Context(), source(t, server))
	if err != nil {
		t.Fatal(err)
	}
	index, err := c.Packages(t.Context(), r, "main")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(index)) {
		if name, ok := strings.CutPrefix(line, "Package: "); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
	if diff := cmp.Diff([]string{"native", "any"}, names); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
}

// TestPackagesOf several architectures: each index once.
func TestPackagesOf(t *testing.T) {
	a := sample()
	a.SeparateAll, a.Architectures = true, []string{"amd64", "i386"}
	a.Packages = []archivetest.Package{{Name: "native"}, {Name: "foreign", Architecture: "i386"}, {Name: "any", Architecture: "all"}}
	server := archivetest.Start(t, a)
	c := client(t)
	r, err := c.Release(t.Context(), source(t, server))
	if err != nil {
		t.Fatal(err)
	}
	for arch, name := range map[string]string{"amd64": "native", "i386": "foreign", "all": "any"} {
		index, err := c.PackagesOf(t.Context(), r, "main", arch)
		if err != nil || strings.Count(string(index), "Package: ") != 1 || !strings.HasPrefix(string(index), "Package: "+name+"\n") {
			t.Errorf("index of %s is %q, %v", arch, index, err)
		}
	}
}

// TestDirectory reads an archive from a directory, with the same checks.
func TestDirectory(t *testing.T) {
	for _, scheme := range []string{"file://", "file:", "copy:"} {
		site := newSite(t, sample())
		big := site.Path(t, "big")
		good := site.Files[big]
		dir := filepath.Join(t.TempDir(), "an archive")
		if err := site.WriteTo(dir); err != nil {
			t.Fatal(err)
		}
		c := client(t)
		r, err := c.Release(t.Context(), Source{URI: scheme + dir, Suite: "trixie", Arch: "amd64", Keyring: keyring(t, site.Keyring())})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Packages(t.Context(), r, "main"); err != nil {
			t.Fatal(err)
		}
		f := File{Archive: scheme + dir, Path: big, Size: int64(len(good)), SHA256: fmt.Sprintf("%x", sha256.Sum256(good))}
		if err := c.Fetch(t.Context(), []File{f}, func(File, string) error { return nil }); err != nil {
			t.Fatal(err)
		}
		f.Path = "pool/none.deb"
		f.SHA256 = strings.Repeat("0", 64)
		err = c.Fetch(t.Context(), []File{f}, nil)
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("error is %v", err)
		}
	}
}

func TestCancelledBefore(t *testing.T) {
	server := archivetest.Start(t, sample())
	c := client(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Release(ctx, source(t, server))
	fails(t, server, err, "fetch URL/dists/trixie/InRelease: context canceled")
	err = c.Fetch(ctx, []File{pool(t, server, "big")}, nil)
	fails(t, server, err, "context canceled")
}
