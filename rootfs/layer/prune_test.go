package layer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Things that inhabit puts into a cache, by what they were last used for in days.
var (
	oldObject = []byte(strings.Repeat("old object ", 1000))
	newObject = []byte(strings.Repeat("new object ", 1000))
	oldLayer  = sumOf([]byte("old layer"))
	newLayer  = sumOf([]byte("new layer"))
)

// inhabit makes a cache with something old (40 days) and something new (2 days) of each kind, that nobody uses.
func inhabit(t *testing.T) *Cache {
	t.Helper()
	c := open(t)
	past := func(days int) time.Time { return time.Now().Add(-time.Duration(days) * 24 * time.Hour) }
	for _, l := range []struct {
		key  string
		days int
	}{{oldLayer, 40}, {newLayer, 2}} {
		other := reopen(t, c)
		if _, _, err := other.Layer(t.Context(), l.key, fill); err != nil {
			t.Fatal(err)
		}
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
		age(t, markPath(c.path("layers", l.key)), past(l.days))
	}
	for _, o := range []struct {
		data []byte
		days int
	}{{oldObject, 41}, {newObject, 3}} {
		age(t, get(t, c, o.data), past(o.days))
	}
	for name, days := range map[string]int{sumOf([]byte("old partial")): 42, sumOf([]byte("new partial")): 4} {
		path := c.path("partial", name)
		if err := os.WriteFile(path, []byte("part"), 0o644); err != nil {
			t.Fatal(err)
		}
		age(t, path, past(days))
	}
	for name, days := range map[string]int{"old": 43, "new": 5} {
		if err := c.WriteDocument(name, []byte(name), past(100)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(c.path("documents", name), past(days), past(100)); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// reopen opens the cache as another process does.
func reopen(t *testing.T, c *Cache) *Cache {
	t.Helper()
	other, err := Open(c.Dir())
	if err != nil {
		t.Fatal(err)
	}
	return other
}

// get has an object in the cache.
func get(t *testing.T, c *Cache, data []byte) (path string) {
	t.Helper()
	fetch, _ := serve(data)
	path, err := c.Object(t.Context(), sumOf(data), int64(len(data)), fetch)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func age(t *testing.T, path string, used time.Time) {
	t.Helper()
	if err := os.Chtimes(path, used, used); err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, c *Cache) []Entry {
	t.Helper()
	entries, err := c.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// brief names entries by kind and age, which inhabit has made unique.
func brief(entries []Entry) []string {
	var names []string
	for _, e := range entries {
		names = append(names, fmt.Sprintf("%s %d", e.Kind, time.Since(e.Used)/(24*time.Hour)))
	}
	return names
}

// TestList compares sizes with those of du.
func TestList(t *testing.T) {
	c := inhabit(t)
	for _, name := range []string{"layers/" + oldLayer + ".lock", "partial/README", "objects/ab"} { // no entries
		if err := os.WriteFile(c.path(name), nil, 0o644); err != nil && !strings.HasSuffix(name, "ab") {
			t.Fatal(err)
		}
	}
	os.Remove(c.path("objects/ab"))
	if err := os.Link(c.path("layers", newLayer, "tree/file"), c.path("layers", newLayer, "tree/again")); err != nil {
		t.Fatal(err)
	}
	entries := list(t, c)
	got := brief(entries)
	slices.Sort(got)
	want := []string{"document 43", "document 5", "layer 2", "layer 40", "object 3", "object 41", "partial 4", "partial 42"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	for _, e := range entries {
		out, err := exec.Command("du", "-s", "--block-size=1", c.entryPath(e)).Output()
		if err != nil {
			t.Fatal(err)
		}
		size, err := strconv.ParseInt(strings.Fields(string(out))[0], 10, 64)
		if err != nil || size != e.Size || size == 0 {
			t.Errorf("%s %s takes %d bytes, du says %s", e.Kind, e.Name, e.Size, out)
		}
	}
}

func TestPrune(t *testing.T) {
	const day = 24 * time.Hour
	// In the order of their last use, but for documents, which go by age alone.
	layers, objects := []string{"layer 40", "layer 2"}, []string{"partial 42", "object 41", "partial 4", "object 3"}
	for name, test := range map[string]struct {
		options PruneOptions
		max     func(*Cache) int64
		want    []string
	}{
		"nothing":             {PruneOptions{OlderThan: day}, nil, nil},
		"all layers":          {PruneOptions{Layers: true}, nil, layers},
		"all objects":         {PruneOptions{Objects: true}, nil, objects},
		"everything":          {PruneOptions{Layers: true, Objects: true}, nil, []string{"partial 42", "object 41", "layer 40", "partial 4", "object 3", "layer 2"}},
		"old":                 {PruneOptions{Layers: true, Objects: true, OlderThan: 30 * day}, nil, []string{"document 43", "partial 42", "object 41", "layer 40"}},
		"old layers":          {PruneOptions{Layers: true, OlderThan: 30 * day}, nil, layers[:1]},
		"old objects":         {PruneOptions{Objects: true, OlderThan: 41*day + time.Hour}, nil, []string{"document 43", "partial 42"}},
		"nothing so old":      {PruneOptions{Layers: true, Objects: true, OlderThan: 50 * day}, nil, nil},
		"size of one layer":   {PruneOptions{Layers: true}, sizeOf(newLayer), layers[:1]},
		"size of one object":  {PruneOptions{Objects: true}, sizeOf(sumOf(newObject)), objects[:3]},
		"size that is enough": {PruneOptions{Layers: true, Objects: true, MaxSize: 1 << 30}, nil, nil},
		"age or size":         {PruneOptions{Layers: true, OlderThan: 30 * day, MaxSize: 1}, nil, layers},
	} {
		t.Run(name, func(t *testing.T) {
			c := inhabit(t)
			before := list(t, c)
			if test.max != nil {
				test.options.MaxSize = test.max(c)
			}
			for _, dry := range []bool{true, false} {
				test.options.DryRun = dry
				p, err := c.Prune(t.Context(), before, test.options)
				if err != nil || len(p.Busy) > 0 {
					t.Errorf("busy: %v, error is %v", brief(p.Busy), err)
				}
				if diff := cmp.Diff(test.want, brief(p.Removed)); diff != "" {
					t.Errorf("removed (-want +got):\n%s", diff)
				}
				left := slices.DeleteFunc(slices.Clone(before), func(e Entry) bool { return slices.Contains(p.Removed, e) })
				if p.Left != total(left) {
					t.Errorf("%d bytes are left, not %d", p.Left, total(left))
				}
				if dry {
					left = before
				}
				if diff := cmp.Diff(left, list(t, c)); diff != "" {
					t.Errorf("in the cache (-want +got), dry run %t:\n%s", dry, diff)
				}
			}
			if n, err := os.ReadDir(c.path("tmp")); len(n) != 1 || err != nil { // c is open
				t.Errorf("%d temporary directories, %v", len(n), err)
			}
		})
	}
}

func sizeOf(name string) func(*Cache) int64 {
	return func(c *Cache) int64 {
		entries, _ := c.List(context.Background())
		return entries[slices.IndexFunc(entries, func(e Entry) bool { return e.Name == name })].Size
	}
}

func total(entries []Entry) (size int64) {
	for _, e := range entries {
		size += e.Size
	}
	return size
}

// TestPruneInUse: what another process has asked for stays, until it has closed the cache.
func TestPruneInUse(t *testing.T) {
	c := inhabit(t)
	other := reopen(t, c)
	if _, hit, err := other.Layer(t.Context(), oldLayer, fill); !hit || err != nil {
		t.Fatalf("hit is %t, error is %v", hit, err)
	}
	get(t, other, oldObject)
	if _, _, err := other.Document("old"); err != nil {
		t.Fatal(err)
	}
	partial, err := lockFile(t.Context(), c.path("partial", sumOf([]byte("old partial"))))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // file systems' clocks tick in steps
	pruner := reopen(t, c)            // opened later than the other has asked
	defer pruner.Close()
	prune := func() (removed, busy []string) {
		p, err := pruner.Prune(t.Context(), list(t, c), PruneOptions{Layers: true, Objects: true})
		if err != nil {
			t.Fatal(err)
		}
		return brief(p.Removed), brief(p.Busy)
	}
	removed, busy := prune()
	if diff := cmp.Diff([]string{"partial 4", "object 3", "layer 2"}, removed); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"partial 42", "layer 0", "object 0"}, sortedAs(busy, "partial 42", "layer 0", "object 0")); diff != "" {
		t.Errorf("busy (-want +got):\n%s", diff)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := partial.Close(); err != nil {
		t.Fatal(err)
	}
	// c, which is open for longer, has asked for nothing that the cache could tell from what the other has asked for.
	if err := c.user.Close(); err != nil {
		t.Fatal(err)
	}
	if removed, busy := prune(); len(removed) != 3 || len(busy) != 0 {
		t.Errorf("removed %v, busy %v", removed, busy)
	}
	if c.user, err = c.TempDir(userPrefix); err != nil {
		t.Fatal(err)
	}
}

// sortedAs returns got in the order of want, as far as it is the same.
func sortedAs(got []string, want ...string) []string {
	slices.SortStableFunc(got, func(a, b string) int { return slices.Index(want, a) - slices.Index(want, b) })
	return got
}

// TestPruneSince: what was asked for after it was listed stays, whoever has closed the cache meanwhile.
func TestPruneSince(t *testing.T) {
	c := inhabit(t)
	entries := list(t, c)
	other := reopen(t, c)
	get(t, other, oldObject)
	if _, _, err := other.Layer(t.Context(), oldLayer, fill); err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	p, err := c.Prune(t.Context(), entries, PruneOptions{Layers: true, Objects: true, OlderThan: 30 * 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"object 41", "layer 40"}, brief(p.Busy)); diff != "" {
		t.Errorf("busy (-want +got):\n%s", diff)
	}
}

// TestPruneConcurrently: a path that the cache gave stays good, and nothing is made again that is in use, while another
// does nothing but to remove everything.
func TestPruneConcurrently(t *testing.T) {
	c := open(t)
	data := []byte("an object")
	var stop atomic.Bool
	var pruners, users sync.WaitGroup
	var removed atomic.Int32
	pruners.Go(func() {
		for !stop.Load() {
			other := reopen(t, c)
			entries, err := other.List(t.Context())
			if err != nil {
				t.Error(err)
			}
			p, err := other.Prune(t.Context(), entries, PruneOptions{Layers: true, Objects: true})
			if err != nil {
				t.Error(err)
			}
			removed.Add(int32(len(p.Removed)))
			other.Close()
		}
	})
	for range 3 {
		users.Go(func() {
			for n := 0; n < 50 || removed.Load() < 10 && n < 2000; n++ {
				other := reopen(t, c)
				object := get(t, other, data)
				dir, _, err := other.Layer(t.Context(), key, fill)
				if err != nil {
					t.Error(err)
				}
				time.Sleep(time.Millisecond)
				if got, err := os.ReadFile(object); string(got) != string(data) {
					t.Errorf("object: %q, %v", got, err)
				}
				if got, err := os.ReadFile(filepath.Join(dir, "file")); string(got) != "text" {
					t.Errorf("layer: %q, %v", got, err)
				}
				other.Close()
				time.Sleep(rand.N(10 * time.Millisecond)) // now and then nobody uses anything
			}
		})
	}
	users.Wait()
	stop.Store(true)
	pruners.Wait()
	if n := removed.Load(); n < 10 {
		t.Errorf("%d things were removed", n)
	}
}

func TestPruneLocks(t *testing.T) {
	c := open(t)
	free, held := c.path("layers", oldLayer+".lock"), c.path("layers", newLayer+".lock")
	if err := os.WriteFile(free, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	lock, err := lockFile(t.Context(), held)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := c.Prune(t.Context(), nil, PruneOptions{Layers: true}); err != nil {
		t.Fatal(err)
	}
	expect(t, c, "layers/"+newLayer+".lock")
}

// TestPruneGoesOn: what cannot be removed is told, and everything else is removed.
func TestPruneGoesOn(t *testing.T) {
	c := inhabit(t)
	entries := list(t, c)
	path := c.ObjectPath(sumOf(oldObject))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	used := entries[slices.IndexFunc(entries, func(e Entry) bool { return e.Name == sumOf(oldObject) })].Used
	if err := os.MkdirAll(filepath.Join(path, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	age(t, path, used)
	p, err := c.Prune(t.Context(), entries, PruneOptions{Objects: true})
	want := "prune cache: remove object " + sumOf(oldObject) + ": remove " + path + ": directory not empty"
	if err == nil || err.Error() != want {
		t.Errorf("error is %v, not %s", err, want)
	}
	if diff := cmp.Diff([]string{"partial 42", "partial 4", "object 3"}, brief(p.Removed)); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
}

func TestPruneCancelled(t *testing.T) {
	c := inhabit(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p, err := c.Prune(ctx, list(t, c), PruneOptions{Objects: true})
	if err == nil || err.Error() != "prune cache: context canceled" || len(p.Removed) != 0 {
		t.Errorf("removed %v, error is %v", brief(p.Removed), err)
	}
}
