package layer

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestVerify(t *testing.T) {
	bent := bytes.Replace(oldObject, []byte("old"), []byte("odd"), 1)
	for name, test := range map[string]struct {
		spoil func(c *Cache) error
		want  []Finding // without Entry but its kind and name
	}{
		"sound": {func(*Cache) error { return nil }, nil},
		"object": {
			func(c *Cache) error { return os.WriteFile(c.ObjectPath(sumOf(oldObject)), bent, 0o644) },
			[]Finding{{Entry: Entry{Kind: KindObject, Name: sumOf(oldObject)}, Problem: "has SHA256 " + sumOf(bent)}},
		},
		"cut object": {
			func(c *Cache) error { return os.Truncate(c.ObjectPath(sumOf(oldObject)), 0) },
			[]Finding{{Entry: Entry{Kind: KindObject, Name: sumOf(oldObject)}, Problem: "has SHA256 " + sumOf(nil)}},
		},
		"layer without mark": {
			func(c *Cache) error { return os.Remove(markPath(c.path("layers", oldLayer))) },
			[]Finding{{Entry: Entry{Kind: KindLayer, Name: oldLayer}, Problem: "is not complete"}},
		},
		"layer without tree": {
			func(c *Cache) error { return os.RemoveAll(c.Tree(oldLayer)) },
			[]Finding{{Entry: Entry{Kind: KindLayer, Name: oldLayer}, Problem: "has no tree"}},
		},
		"layer with another file": {
			func(c *Cache) error { return os.WriteFile(filepath.Join(c.Tree(oldLayer), "another"), nil, 0o644) },
			[]Finding{{Entry: Entry{Kind: KindLayer, Name: oldLayer}, Problem: "has other files than it was made with"}},
		},
		"layer before a restart": {
			func(c *Cache) error {
				return os.WriteFile(markPath(c.path("layers", oldLayer)), []byte("of another boot"), 0o644)
			},
			[]Finding{{Entry: Entry{Kind: KindLayer, Name: oldLayer}, Harmless: true,
				Problem: "was made shortly before this machine was started again, and may not be complete"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := inhabit(t)
			if err := test.spoil(c); err != nil {
				t.Fatal(err)
			}
			before := len(list(t, c))
			for _, remove := range []bool{false, true} {
				var done, all int64
				got, err := c.Verify(t.Context(), list(t, c), VerifyOptions{
					Remove:   remove,
					Progress: func(d, n int64) { done, all = d, n },
				})
				if err != nil {
					t.Fatal(err)
				}
				var want []Finding
				for _, f := range test.want {
					f.Removed = remove
					want = append(want, f)
				}
				for i := range got {
					got[i].Entry = Entry{Kind: got[i].Entry.Kind, Name: got[i].Entry.Name}
				}
				if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("found (-want +got):\n%s", diff)
				}
				if done != all || all == 0 {
					t.Errorf("progress ended at %d of %d", done, all)
				}
			}
			if after := len(list(t, c)); after != before-len(test.want) {
				t.Errorf("%d of %d things are left", after, before)
			}
			got, err := c.Verify(t.Context(), list(t, c), VerifyOptions{})
			if len(got) != 0 || err != nil {
				t.Errorf("after the removal: %+v, %v", got, err)
			}
		})
	}
}

// TestVerifyInUse: a damaged layer stays as long as somebody works in it.
func TestVerifyInUse(t *testing.T) {
	c := inhabit(t)
	other := reopen(t, c)
	dir, _, err := other.Layer(t.Context(), oldLayer, fill)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(markPath(filepath.Dir(dir))); err != nil {
		t.Fatal(err)
	}
	for _, removed := range []bool{false, true} {
		got, err := c.Verify(t.Context(), list(t, c), VerifyOptions{Remove: true})
		if len(got) != 1 || err != nil || got[0].Removed != removed {
			t.Errorf("%+v, %v; removed should be %t", got, err, removed)
		}
		if err := other.Close(); !removed && err != nil {
			t.Fatal(err)
		}
	}
}

func TestVerifyCancelled(t *testing.T) {
	c := inhabit(t)
	ctx, cancel := context.WithCancel(t.Context())
	entries := list(t, c)
	cancel()
	if _, err := c.Verify(ctx, entries, VerifyOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

// TestLayerHeld: a layer that is of no use is not removed before nobody works in it any more.
func TestLayerHeld(t *testing.T) {
	c := open(t)
	holder := reopen(t, c)
	dir, _, err := holder.Layer(t.Context(), key, fill)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(markPath(filepath.Dir(dir))); err != nil {
		t.Fatal(err)
	}
	var built atomic.Bool
	made := make(chan error, 1)
	go func() {
		_, _, err := c.Layer(context.Background(), key, func(ctx context.Context, dir string) error {
			built.Store(true)
			return fill(ctx, dir)
		})
		made <- err
	}()
	time.Sleep(3 * lockPoll)
	if _, err := os.Stat(filepath.Join(dir, "file")); err != nil || built.Load() {
		t.Errorf("the layer was taken away: %v", err)
	}
	if _, hit, err := holder.Layer(t.Context(), key, fill); !hit || err != nil { // it is its own
		t.Errorf("hit is %t, error is %v", hit, err)
	}
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-made; err != nil || !built.Load() {
		t.Errorf("the layer was not made again: %v", err)
	}
}

// TestLayerReplaced: who waited for a layer that another has replaced meanwhile holds the new one.
func TestLayerReplaced(t *testing.T) {
	c := inhabit(t)
	dir := c.path("layers", oldLayer)
	remover, err := own(dir)
	if err != nil || remover == nil {
		t.Fatalf("%v, %v", remover, err)
	}
	user := reopen(t, c)
	defer user.Close()
	used := make(chan error, 1)
	go func() {
		_, _, err := user.Layer(context.Background(), oldLayer, fill)
		used <- err
	}()
	time.Sleep(3 * lockPoll)
	if err := os.Rename(dir, c.path("tmp", "removed")); err != nil {
		t.Fatal(err)
	}
	maker := reopen(t, c)
	if _, hit, err := maker.Layer(t.Context(), oldLayer, fill); hit || err != nil {
		t.Fatalf("hit is %t, error is %v", hit, err)
	}
	if err := errors.Join(maker.Close(), remover.Close()); err != nil {
		t.Fatal(err)
	}
	if err := <-used; err != nil {
		t.Fatal(err)
	}
	p, err := c.Prune(t.Context(), list(t, c), PruneOptions{Layers: true, OlderThan: time.Nanosecond})
	if err != nil || !slices.Equal(brief(p.Busy), []string{"layer 0"}) {
		t.Errorf("busy: %v, error is %v", brief(p.Busy), err)
	}
}

// TestOpenLeavesTag: to open a cache changes nothing that backup programs look at.
func TestOpenLeavesTag(t *testing.T) {
	c := open(t)
	path, old := c.path(tagName), time.Unix(1e9, 0)
	age(t, path, old)
	if err := reopen(t, c).Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || !info.ModTime().Equal(old) {
		t.Errorf("the tag was written again: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := reopen(t, c).Close(); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); string(data) != tag {
		t.Errorf("the tag is %q, %v", data, err)
	}
}

func TestExists(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "other")
	if err := os.MkdirAll(filepath.Join(other, "objects"), 0o755); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty")
	if err := os.Mkdir(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]struct {
		exists  bool
		message string
	}{
		filepath.Join(dir, "none"): {},
		empty:                      {},
		open(t).Dir():              {exists: true},
		other:                      {message: other + " is no cache of vmbuild: there is no CACHEDIR.TAG of vmbuild's in it"},
	} {
		exists, err := Exists(path)
		message := ""
		if err != nil {
			message = err.Error()
		}
		if exists != want.exists || message != want.message {
			t.Errorf("%s: %t, %q", path, exists, message)
		}
	}
}
