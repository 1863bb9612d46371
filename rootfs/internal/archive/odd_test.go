package archive

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vmbuild/rootfs/archivetest"
)

// releaseText is a Release file with the fields that head has, and the sums of files.
func releaseText(head string, files map[string][]byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%sDate: %s\nSHA256:\n", head, date.Format("Mon, 2 Jan 2006 15:04:05 +0000"))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&b, " %x %d %s\n", sha256.Sum256(files[name]), len(files[name]), name)
	}
	return b.Bytes()
}

// publish puts files and a signed Release file of them into a directory of the site.
func publish(t *testing.T, site *archivetest.Site, dir, head string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		site.Files[dir+name] = data
	}
	if err := site.Sign(strings.TrimSuffix(dir, "/"), releaseText(head, files)); err != nil {
		t.Fatal(err)
	}
}

// mainIndex returns the Release file and the index of component main.
func mainIndex(t *testing.T, c *Client, s Source) (*Release, string, error) {
	t.Helper()
	component := "main"
	if s.flat() {
		component = ""
	}
	r, err := c.Release(t.Context(), s)
	if err != nil {
		return nil, "", err
	}
	index, err := c.Packages(t.Context(), r, component)
	return r, string(index), err
}

// TestFlat: archives without dists, at the URI itself and below it, in which file names start at the URI.
func TestFlat(t *testing.T) {
	const index = "Package: tool\nFilename: ./tool.deb\n"
	for _, suite := range []string{"/", "./", "flat/", "./some/where/"} {
		for _, form := range []string{"InRelease", "Release.gpg"} {
			site := newSite(t, archivetest.Archive{NoInRelease: form == "Release.gpg"})
			dir := strings.TrimPrefix(strings.TrimPrefix(suite, "."), "/")
			publish(t, site, dir, "", map[string][]byte{"Packages": []byte(index)})
			site.Files["tool.deb"] = []byte("a package")
			server := site.Start(t)
			c, s := client(t), source(t, server)
			s.Suite, s.Components = suite, nil
			r, got, err := mainIndex(t, c, s)
			if err != nil || got != index {
				t.Fatalf("%s, %s: index is %q, %v", suite, form, got, err)
			}
			f := File{Archive: r.Source.URI, Path: "./tool.deb", Size: 9, SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte("a package")))}
			if err := c.Fetch(t.Context(), []File{f}, nothing); err != nil {
				t.Error(err)
			}
			if n := len(server.Requests("tool.deb")); n != 1 {
				t.Errorf("%s: %d requests for the package: %v", suite, n, server.Requests(""))
			}
		}
	}
}

// bzip2Index is what bzip2 makes of plainIndex, since Go has no such writer: printf … | bzip2 | base64.
const (
	plainIndex = "Package: old\nVersion: 1\nArchitecture: amd64\n"
	bzip2Index = "QlpoOTFBWSZTWaDI0oUAAAbfgAAQQAAlECAAQQAu754AIAAjNM001GAanqfqCgAGgZMh8Jm6JwWvSO9zJrGvxaGpKGeC7oBu9SSnBdyRThQkKDI0oUA="
)

// TestOldForms: what archives had in the days of each release since etch, and what no one has at all.
func TestOldForms(t *testing.T) {
	bz2, err := base64.StdEncoding.DecodeString(bzip2Index)
	if err != nil {
		t.Fatal(err)
	}
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	fmt.Fprint(w, plainIndex)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	const dir = "main/binary-amd64/"
	plain := []byte(plainIndex)
	for name, files := range map[string]map[string][]byte{
		"bzip2":             {dir + "Packages": plain, dir + "Packages.bz2": bz2},
		"bzip2 alone":       {dir + "Packages.bz2": bz2},
		"gzip and bzip2":    {dir + "Packages": plain, dir + "Packages.gz": gz.Bytes(), dir + "Packages.bz2": bz2},
		"gzip alone":        {dir + "Packages.gz": gz.Bytes()},
		"nothing but plain": {dir + "Packages": plain},
	} {
		site := newSite(t, archivetest.Archive{NoByHash: true, NoInRelease: true})
		for name := range site.Files {
			delete(site.Files, name)
		}
		publish(t, site, "dists/trixie/", "Codename: trixie\n", files)
		if files[dir+"Packages.bz2"] != nil || files[dir+"Packages.gz"] != nil { // the plain one was never on a mirror
			delete(site.Files, "dists/trixie/"+dir+"Packages")
		}
		server := site.Start(t)
		c := client(t)
		for _, run := range []string{"first", "second"} {
			if _, got, err := mainIndex(t, c, source(t, server)); err != nil || got != plainIndex {
				t.Errorf("%s, %s run: index is %q, %v", name, run, got, err)
			}
		}
		for _, r := range server.Requests("") {
			if strings.Contains(r.Path, "by-hash") {
				t.Errorf("%s: %s is asked for", name, r.Path)
			}
		}
		offline := &Client{Cache: c.Cache, Now: c.Now, Offline: true}
		if _, got, err := mainIndex(t, offline, source(t, server)); err != nil || got != plainIndex {
			t.Errorf("%s: offline, index is %q, %v", name, got, err)
		}
	}
}

// TestWrongSums: sums that are no longer trusted, or not read, are no sums.
func TestWrongSums(t *testing.T) {
	for _, field := range []string{"MD5Sum", "SHA1", "SHA512"} {
		site := newSite(t, sample())
		text := bytes.Replace(site.Files["dists/trixie/Release"], []byte("SHA256:"), []byte(field+":"), 1)
		if err := site.Sign("dists/trixie", text); err != nil {
			t.Fatal(err)
		}
		server := site.Start(t)
		_, err := client(t).Release(t.Context(), source(t, server))
		fails(t, server, err, "InRelease of URL trixie has no SHA256 sums")
	}
}

// TestByHashOnly: an archive in the middle of an update has the new index at its by-hash path only.
func TestByHashOnly(t *testing.T) {
	server := archivetest.Start(t, sample())
	for name := range server.Site().Files {
		if strings.Contains(name, "/Packages") {
			server.Site().Files[name] = []byte("of yesterday")
		}
	}
	if _, index, err := mainIndex(t, client(t), source(t, server)); err != nil || !strings.HasPrefix(index, "Package: base-files") {
		t.Errorf("index is %q, %v", index, err)
	}
}

// TestForbidden: some servers say so of each file that they do not have.
func TestForbidden(t *testing.T) {
	a := sample()
	a.NoInRelease = true
	server := archivetest.Start(t, a)
	server.Break(archivetest.Faults{Status: map[string][]int{"dists/trixie/InRelease": {403}}})
	if _, index, err := mainIndex(t, client(t), source(t, server)); err != nil || index == "" {
		t.Errorf("index is %q, %v", index, err)
	}
	server.Break(archivetest.Faults{Status: map[string][]int{"dists/trixie/InRelease": {403}, "dists/trixie/Release": {403}}})
	_, err := client(t).Release(t.Context(), source(t, server))
	fails(t, server, err, "fetch URL/dists/trixie/Release: 403 Forbidden")
}

// TestReleaseUnavailable: one answer that says "later" is no reason to give up, nor to take the older form.
func TestReleaseUnavailable(t *testing.T) {
	for _, status := range []int{429, 500, 502, 503, 504} {
		server := archivetest.Start(t, sample())
		server.Break(archivetest.Faults{Status: map[string][]int{"dists/trixie/InRelease": {status}}})
		if _, err := client(t).Release(t.Context(), source(t, server)); err != nil {
			t.Errorf("after %d: %v", status, err)
		}
		if n := len(server.Requests("")); n != 2 {
			t.Errorf("after %d there were %d requests", status, n)
		}
	}
}

// TestBare: indexes and nothing that vouches for them, as dpkg-scanpackages makes them.
func TestBare(t *testing.T) {
	site := newSite(t, archivetest.Archive{})
	site.Files = map[string][]byte{"Packages": []byte(plainIndex), "dists/trixie/main/binary-amd64/Packages": []byte(plainIndex)}
	server := site.Start(t)
	dir := t.TempDir()
	if err := site.WriteTo(dir); err != nil {
		t.Fatal(err)
	}
	for _, uri := range []string{server.URL, "copy:" + dir} {
		for _, suite := range []string{"./", "trixie"} {
			s := Source{URI: uri, Suite: suite, Components: []string{"main"}, Arch: "amd64", Unauthenticated: true}
			if _, got, err := mainIndex(t, client(t), s); err != nil || got != plainIndex {
				t.Errorf("%s %s: index is %q, %v", uri, suite, got, err)
			}
			s.Unauthenticated = false
			if _, err := client(t).Release(t.Context(), s); err == nil {
				t.Errorf("%s %s is believed", uri, suite)
			}
		}
	}
	s := Source{URI: server.URL, Suite: "sid", Components: []string{"main"}, Arch: "amd64", Unauthenticated: true}
	_, err := client(t).Release(t.Context(), s)
	fails(t, server, err, `archive URL has no suite "sid": neither InRelease nor Release is there`)
}

// TestOutside: a file name in an index does not lead out of the archive.
func TestOutside(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	f := File{Archive: "file:" + dir + "/archive", Path: "../secret", Size: 1, SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte("x")))}
	err := client(t).Fetch(t.Context(), []File{f}, nothing)
	want := fmt.Sprintf(`path "../secret" leads out of archive %q`, f.Archive)
	if err == nil || err.Error() != want {
		t.Errorf("error is %v, not %s", err, want)
	}
}

// TestAptOptions are those that say what dates are good for.
func TestAptOptions(t *testing.T) {
	for options, want := range map[string]string{
		`Acquire::Check-Valid-Until "true";`:  "was valid until",
		`Acquire::Check-Valid-Until "false";`: "is dated",
		`Acquire::Check-Date "no";`:           "",
	} {
		expired, early := sample(), sample()
		expired.ValidUntil = date
		early.Date = now.Add(time.Hour)
		got := ""
		for _, a := range []archivetest.Archive{expired, early} {
			c := client(t)
			c.AptOptions = options
			_, err := c.Release(t.Context(), source(t, archivetest.Start(t, a)))
			for _, words := range []string{"was valid until", "is dated"} {
				if got == "" && err != nil && strings.Contains(err.Error(), words) {
					got = words
				}
			}
		}
		if got != want {
			t.Errorf("with %s it is refused because it %q, not %q", options, got, want)
		}
	}
}
