package image

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/layer"
	"vmbuild/rootfs/namespace"
	"vmbuild/rootfs/offers"
)

func TestMain(m *testing.M) {
	if namespace.Inner() {
		os.Exit(namespace.Serve(Handlers()))
	}
	os.Exit(m.Run())
}

func sum(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

// fillCache makes a cache of an old layer, three new ones and an old object, and returns how it lists.
func fillCache(t *testing.T, dir string) []layer.Entry {
	t.Helper()
	c, err := layer.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for name, file := range map[string]struct{ path, text string }{
		"old":       {"lock.json", `{"suite":"trixie","arch":"amd64","configure":true,"packages":[{},{}]}`},
		"new":       {"lock.json", `{"suite":"stable","arch":"amd64","packages":[{}]}`},
		"initramfs": {"boot/initrd.img-6.12.1-amd64", ""},
		"other":     {"file", ""},
	} {
		_, _, err := c.Layer(ctx, sum(name), func(_ context.Context, dir string) error {
			path := filepath.Join(dir, file.path)
			return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(file.text), 0o644))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	object, err := c.Object(ctx, sum("object"), 6, func(_ context.Context, w io.Writer, _ int64) error {
		_, err := io.WriteString(w, "object")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-40 * 24 * time.Hour)
	for _, path := range []string{object, filepath.Join(filepath.Dir(c.Tree(sum("old"))), "complete")} {
		if err := os.Chtimes(path, past, past); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := c.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		switch e.Name {
		case sum("old"):
			entries[i].About = "trixie amd64, 2 packages"
		case sum("new"):
			entries[i].About = "stable amd64, 1 package, not configured"
		case sum("initramfs"):
			entries[i].About = "initramfs 6.12.1-amd64"
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return entries
}

// TestCache asks the inner half what is in a cache, for what is damaged, and to remove what is old.
func TestCache(t *testing.T) {
	offers.Need(t, "build")
	h := Host{Cache: filepath.Join(t.TempDir(), "cache"), Temp: t.TempDir()}
	want := fillCache(t, h.Cache)
	got, err := ListCache(t.Context(), h)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("list: %v\n%s", err, diff)
	}
	verified, err := VerifyCache(t.Context(), false, h)
	if diff := cmp.Diff(&Verified{Entries: want}, verified); diff != "" || err != nil {
		t.Errorf("verify: %v\n%s", err, diff)
	}
	o := layer.PruneOptions{Layers: true, Objects: true, OlderThan: 24 * time.Hour}
	pruned, err := PruneCache(t.Context(), o, h)
	if err != nil || len(pruned.Removed) != 2 || len(pruned.Busy) != 0 {
		t.Errorf("prune: %+v, %v", pruned, err)
	}
	got, err = ListCache(t.Context(), h)
	want = slices.DeleteFunc(want, func(e layer.Entry) bool { return e.Name == sum("old") || e.Name == sum("object") })
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("left: %v\n%s", err, diff)
	}
}

// TestVerifyCacheDamage has a damaged object found, and removed when that is asked for.
func TestVerifyCacheDamage(t *testing.T) {
	offers.Need(t, "build")
	h := Host{Cache: filepath.Join(t.TempDir(), "cache"), Temp: t.TempDir()}
	fillCache(t, h.Cache)
	path := filepath.Join(h.Cache, "objects", sum("object")[:2], sum("object"))
	if err := os.WriteFile(path, []byte("objekt"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, remove := range []bool{false, true} {
		v, err := VerifyCache(t.Context(), remove, h)
		if err != nil || len(v.Found) != 1 {
			t.Fatalf("found %+v, %v", v.Found, err)
		}
		f := v.Found[0]
		if f.Entry.Name != sum("object") || f.Problem != "has SHA256 "+sum("objekt") || f.Removed != remove {
			t.Errorf("found %+v", f)
		}
	}
	if v, err := VerifyCache(t.Context(), false, h); err != nil || len(v.Found) != 0 {
		t.Errorf("after the removal: %+v, %v", v.Found, err)
	}
}

// TestNoCache: where there is no cache nothing is made, and what is no cache is left as it is.
func TestNoCache(t *testing.T) {
	dir := t.TempDir()
	h := Host{Cache: filepath.Join(dir, "none"), Temp: dir}
	if got, err := ListCache(t.Context(), h); len(got) != 0 || err != nil {
		t.Errorf("list: %v, %v", got, err)
	}
	if got, err := PruneCache(t.Context(), layer.PruneOptions{Layers: true}, h); len(got.Removed) != 0 || err != nil {
		t.Errorf("prune: %+v, %v", got, err)
	}
	if _, err := os.Lstat(h.Cache); !os.IsNotExist(err) {
		t.Errorf("a cache was made: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "objects"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.Cache = dir
	want := dir + " is no cache of vmbuild: there is no CACHEDIR.TAG of vmbuild's in it"
	if _, err := PruneCache(t.Context(), layer.PruneOptions{Objects: true}, h); err == nil || err.Error() != want {
		t.Errorf("error is %v, not %s", err, want)
	}
}

// TestCacheRequest: options arrive inside as they were outside.
func TestCacheRequest(t *testing.T) {
	want := cacheRequest{Prune: &layer.PruneOptions{Layers: true, Objects: true, OlderThan: time.Hour, MaxSize: 5, DryRun: true},
		Verify: &verifyRequest{Remove: true}}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got cacheRequest
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
