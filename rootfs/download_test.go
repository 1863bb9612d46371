package rootfs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/internal/control"
	"vmbuild/rootfs/mirror"
)

func TestAptName(t *testing.T) {
	for want, p := range map[string]Package{
		"a_1_amd64.deb":              {Name: "a", Version: "1", Arch: "amd64"},
		"libc++1_1%3a2.0+b1_all.deb": {Name: "libc++1", Version: "1:2.0+b1", Arch: "all"},
		"b_1~rc1-1_i386.deb":         {Name: "b", Version: "1~rc1-1", Arch: "i386"},
		"c_1%5f2%25_a%2eb.deb":       {Name: "c", Version: "1_2%", Arch: "a.b"},
	} {
		if got := aptName(p); got != want {
			t.Errorf("%+v: %s, want %s", p, got, want)
		}
	}
}

// fetch brings the Lock's packages into the cache.
func (b *Builder) fetch(ctx context.Context, l *Lock) error {
	s := b.supply(ctx, l, l.Packages)
	defer s.Close()
	return s.wait(ctx)
}

// TestDownload has the files, also where the cache's copy of one was damaged meanwhile.
func TestDownload(t *testing.T) {
	d, b := newDebian(t), newBuilder(t)
	lock, err := b.Resolve(t.Context(), d.spec("essential"))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.fetch(t.Context(), lock); err != nil {
		t.Fatal(err)
	}
	damaged := b.Cache.ObjectPath(lock.Packages[0].SHA256)
	data, err := os.ReadFile(damaged)
	if err == nil {
		data[100]++
		err = os.WriteFile(damaged, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := b.Download(t.Context(), lock, dir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		sum, err := hashFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name()] = info.Mode().String() + " " + info.ModTime().UTC().String() + " " + sum
	}
	at := "-rw-r--r-- " + lock.Date.String() + " "
	want := map[string]string{
		"libc6_1+deb13u1_amd64.deb": at + lock.Packages[0].SHA256, "dash_1_amd64.deb": at + lock.Packages[1].SHA256,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestTarball writes a tarball twice, and reads it where there is no network.
func TestTarball(t *testing.T) {
	d, b := newDebian(t), newBuilder(t)
	lock, err := b.Resolve(t.Context(), d.spec("apt", "man-db"))
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	if err := errors.Join(b.WriteTarball(t.Context(), lock, &first), b.WriteTarball(t.Context(), lock, &second)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two tarballs of one lock differ")
	}
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	away := newBuilder(t) // with a cache of its own
	away.Offline = true
	s := Spec{Arch: "amd64", Suite: "trixie", Variant: "required", Include: []string{"nano"}, UnpackOnly: true}
	got, err := away.ReadTarball(t.Context(), s, file("good.tgz", first.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	want := &Lock{Arch: "amd64", Suite: "trixie", Sources: []Source{{URI: "file://" + dir, Suite: "./"}}, Date: lock.Date}
	for _, p := range lock.Packages {
		p.Source, p.Path, p.Auto = 0, AptArchives+"/"+aptName(p), p.Essential && p.Auto
		want.Packages = append(want.Packages, p)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lock (-want +got):\n%s", diff)
	}
	if err := away.fetch(t.Context(), got); err != nil {
		t.Errorf("packages are not in the cache: %v", err)
	}

	plain := gunzip(t, first.Bytes())
	if _, err := away.ReadTarball(t.Context(), s, file("plain", plain)); err != nil {
		t.Errorf("not compressed: %v", err)
	}
	foreign := s
	foreign.Arch = "arm64"
	for want, c := range map[string]struct {
		spec Spec
		data []byte
	}{
		"its packages are of architecture amd64, not arm64":                                            {foreign, plain},
		"it has no package man-db, which is in its list":                                               {s, without(t, plain, "man-db")},
		"it has no debootstrap/required or no debootstrap/debpaths: it was not made by --make-tarball": {s, without(t, plain, "required")},
		"unexpected EOF": {s, plain[:len(plain)/2+100]},
	} {
		path := file("bad", c.data)
		_, err := away.ReadTarball(t.Context(), c.spec, path)
		if err == nil || err.Error() != "read tarball "+path+": "+want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func gunzip(t *testing.T, data []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// without is a tarball without the files whose names begin so.
func without(t *testing.T, tarball []byte, name string) []byte {
	t.Helper()
	var b bytes.Buffer
	from, to := tar.NewReader(bytes.NewReader(tarball)), tar.NewWriter(&b)
	for {
		h, err := from.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(filepath.Base(h.Name), name) {
			continue
		}
		if err := to.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(to, from); err != nil {
			t.Fatal(err)
		}
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestTLS has archives read, and packages fetched, from a server that only one certificate vouches for.
func TestTLS(t *testing.T) {
	d := newDebian(t)
	server := httptest.NewUnstartedServer(d.main)
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o644); err != nil {
		t.Fatal(err)
	}
	s := Spec{Arch: "amd64", Suite: "trixie", Mirror: server.URL + "/debian", Security: mirror.None, NoUpdates: true,
		Variant: "essential", Keyrings: []string{d.keyring}}
	for _, tls := range []TLS{{CA: ca}, {NoCheck: true}} {
		b := newBuilder(t)
		s.TLS = tls
		lock, err := b.Resolve(t.Context(), s)
		if err == nil {
			err = b.fetch(t.Context(), lock)
		}
		if err != nil {
			t.Errorf("%+v: %v", tls, err)
		}
	}
	s.TLS = TLS{}
	if _, err := newBuilder(t).Resolve(t.Context(), s); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server that nobody vouches for: %v", err)
	}
}

// FuzzReadMembers: whatever a tarball has, its lists name packages that are in it.
func FuzzReadMembers(f *testing.F) {
	f.Add([]byte("a\n"), []byte("a /var/cache/apt/archives/a.deb\n"), []byte("!<arch>\n"))
	f.Add([]byte("a b"), []byte("a a.deb\nb"), []byte(""))
	f.Fuzz(func(t *testing.T, required, paths, content []byte) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for name, data := range map[string][]byte{tarRequired: required, tarPaths: paths, AptArchives + "/a.deb": content} {
			err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data))})
			if _, again := w.Write(data); errors.Join(err, again) != nil {
				t.Fatal(err, again)
			}
		}
		c := tarContent{texts: map[string]string{}, packages: map[string]control.Package{}}
		if newBuilder(t).readMembers(t.Context(), tar.NewReader(&b), &c) != nil {
			return
		}
		names, packages, err := c.listed()
		if err == nil && len(names) != len(packages) {
			t.Errorf("%d names of %d packages", len(names), len(packages))
		}
	})
}

// TestSkippedCleanUpKeepsPackages: with the clean-up of apt's cache left out, the files of packages stay where apt has them.
func TestSkippedCleanUpKeepsPackages(t *testing.T) {
	for name, c := range map[string]struct {
		skip []string
		want bool
	}{
		"nothing":             {nil, false},
		"apt's cache":         {[]string{"cleanup/apt/cache"}, true},
		"all of the clean-up": {[]string{"cleanup"}, true},
	} {
		b := newBuilder(t)
		_, lock := newTools(t, b)
		lock.Skip = c.skip
		base, err := b.Base(t.Context(), lock)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range lock.Packages {
			_, err := os.Stat(filepath.Join(base.Dirs[0], AptArchives, aptName(p)))
			if there := err == nil; there != c.want {
				t.Errorf("%s left out: the file of %s is there: %t", name, p.Name, there)
			}
		}
	}
}
