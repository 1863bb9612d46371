package layer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func open(t *testing.T) *Cache {
	t.Helper()
	c, err := Open(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func sumOf(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

// listing returns the paths of all files below the cache, with "/" at the end of directories that are empty.
func listing(t *testing.T, c *Cache) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(c.Dir(), func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && e.Name() != "CACHEDIR.TAG" {
			found = append(found, strings.TrimPrefix(path, c.Dir()+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func expect(t *testing.T, c *Cache, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, listing(t, c)); diff != "" {
		t.Errorf("files in the cache (-want +got):\n%s", diff)
	}
}

// serve returns a Fetch of data, and the offsets it was called with.
func serve(data []byte) (Fetch, *[]int64) {
	var offsets []int64
	return func(_ context.Context, w io.Writer, offset int64) error {
		offsets = append(offsets, offset)
		_, err := w.Write(data[min(offset, int64(len(data))):])
		return err
	}, &offsets
}

func TestObject(t *testing.T) {
	c, data := open(t), []byte("one object")
	sum, size := sumOf(data), int64(len(data))
	fetch, offsets := serve(data)
	for range 2 {
		path, err := c.Object(t.Context(), sum, size, fetch)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("object holds %q, %v", got, err)
		}
	}
	if diff := cmp.Diff([]int64{0}, *offsets); diff != "" {
		t.Errorf("fetched at offsets (-want +got):\n%s", diff)
	}
	expect(t, c, "objects/"+sum[:2]+"/"+sum)
	if err := c.RemoveObject(sum); err != nil {
		t.Fatal(err)
	}
	if c.HasObject(sum, size) {
		t.Error("a removed object is still there")
	}
}

func TestObjectRefused(t *testing.T) {
	data := []byte("one object")
	sum, size := sumOf(data), int64(len(data))
	for _, test := range []struct{ name, got, want string }{
		{"wrong byte", "one Object", "object " + sum + " has SHA256 " + sumOf([]byte("one Object"))},
		{"too short", "one", "object " + sum + " has 3 bytes instead of 10"},
		{"too long", "one object and more", "object " + sum + " has more than 10 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := open(t)
			fetch, offsets := serve([]byte(test.got))
			_, err := c.Object(t.Context(), sum, size, fetch)
			var wrong *VerificationError
			if !errors.As(err, &wrong) || err.Error() != test.want || wrong.Kind() != "verification" {
				t.Errorf("error is %v, not %s", err, test.want)
			}
			if len(*offsets) != 1 {
				t.Errorf("fetched %d times", len(*offsets))
			}
			expect(t, c)
		})
	}
}

func TestObjectResumed(t *testing.T) {
	c, data := open(t), []byte("0123456789")
	sum := sumOf(data)
	cut := errors.New("cut")
	_, err := c.Object(t.Context(), sum, 10, func(_ context.Context, w io.Writer, _ int64) error {
		w.Write(data[:4])
		return cut
	})
	if !errors.Is(err, cut) || err.Error() != "cut" {
		t.Fatalf("error is %v", err)
	}
	expect(t, c, "partial/"+sum)
	fetch, offsets := serve(data)
	if _, err := c.Object(t.Context(), sum, 10, fetch); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int64{4}, *offsets); diff != "" {
		t.Errorf("fetched at offsets (-want +got):\n%s", diff)
	}
	expect(t, c, "objects/"+sum[:2]+"/"+sum)
}

// TestObjectRestarted: bytes that an earlier run has left may be wrong; then everything is fetched.
func TestObjectRestarted(t *testing.T) {
	data := []byte("0123456789")
	sum := sumOf(data)
	for name, left := range map[string]string{"wrong": "xxx", "whole but wrong": "xxxxxxxxxx", "too much": "0123456789abc"} {
		t.Run(name, func(t *testing.T) {
			c := open(t)
			if err := os.WriteFile(c.path("partial", sum), []byte(left), 0o644); err != nil {
				t.Fatal(err)
			}
			fetch, offsets := serve(data)
			if _, err := c.Object(t.Context(), sum, 10, fetch); err != nil {
				t.Fatal(err)
			}
			if (*offsets)[len(*offsets)-1] != 0 {
				t.Errorf("fetched at offsets %v", *offsets)
			}
			expect(t, c, "objects/"+sum[:2]+"/"+sum)
		})
	}
}

// TestObjectOnce: many want the same object, one fetches it.
func TestObjectOnce(t *testing.T) {
	c, data := open(t), bytes.Repeat([]byte("x"), 100_000)
	sum := sumOf(data)
	var fetches atomic.Int32
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			other, err := Open(c.Dir()) // as another process would
			if err != nil {
				t.Error(err)
				return
			}
			_, err = other.Object(t.Context(), sum, int64(len(data)), func(_ context.Context, w io.Writer, _ int64) error {
				fetches.Add(1)
				time.Sleep(30 * time.Millisecond)
				_, err := w.Write(data)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := fetches.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
	expect(t, c, "objects/"+sum[:2]+"/"+sum)
}

func TestObjectWaitCancelled(t *testing.T) {
	c, sum := open(t), sumOf([]byte("x"))
	lock, err := lockFile(t.Context(), c.path("partial", sum))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = c.Object(ctx, sum, 1, nil)
	want := "fetch object: lock " + lock.Name() + ": context deadline exceeded"
	if err == nil || err.Error() != want || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v, not %s", err, want)
	}
}

// TestSums keeps everything but a SHA256 out of file names.
func TestSums(t *testing.T) {
	c := open(t)
	for _, sum := range []string{"", "..", "../../../etc/passwd", strings.Repeat("A", 64), strings.Repeat("/", 64)} {
		want := fmt.Sprintf("look up object: %q is not a SHA256", sum)
		if _, err := c.Object(t.Context(), sum, 1, nil); err == nil || err.Error() != want {
			t.Errorf("Object: error is %v, not %s", err, want)
		}
		want = fmt.Sprintf("look up layer: %q is not a SHA256", sum)
		if _, _, err := c.Layer(t.Context(), sum, nil); err == nil || err.Error() != want {
			t.Errorf("Layer: error is %v, not %s", err, want)
		}
		if c.HasObject(sum, 1) || c.RemoveObject(sum) == nil {
			t.Errorf("%q is taken for an object", sum)
		}
	}
}

func TestDocument(t *testing.T) {
	c := open(t)
	if _, _, err := c.Document("key"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
	modified := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, text := range []string{"one", "two"} {
		if err := c.WriteDocument("key", []byte(text), modified); err != nil {
			t.Fatal(err)
		}
	}
	got, when, err := c.Document("key")
	if err != nil || string(got) != "two" || !when.Equal(modified) {
		t.Errorf("document is %q of %s, %v", got, when, err)
	}
	if err := c.WriteDocument("key", nil, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, when, err := c.Document("key"); err != nil || !when.IsZero() {
		t.Errorf("document of an unknown time is of %s, %v", when, err)
	}
	expect(t, c, "documents/key")
	if err := c.WriteDocument("../key", nil, modified); err == nil {
		t.Error("a document is written outside of the cache")
	}
}

var key = sumOf([]byte("a layer"))

func fill(_ context.Context, dir string) error {
	return os.WriteFile(filepath.Join(dir, "file"), []byte("text"), 0o644)
}

// makeLayer takes the layer and gives it back, as a process of its own does.
func makeLayer(t *testing.T, c *Cache) (hit bool) {
	t.Helper()
	other, err := Open(c.Dir())
	if err != nil {
		t.Fatal(err)
	}
	_, hit, err = other.Layer(t.Context(), key, fill)
	if err := errors.Join(err, other.Close()); err != nil {
		t.Fatal(err)
	}
	return hit
}

func TestLayer(t *testing.T) {
	c := open(t)
	for _, want := range []bool{false, true, true} {
		path, hit, err := c.Layer(t.Context(), key, fill)
		if err != nil || hit != want {
			t.Fatalf("hit is %t, error is %v", hit, err)
		}
		if text, err := os.ReadFile(filepath.Join(path, "file")); string(text) != "text" {
			t.Fatalf("file holds %q, %v", text, err)
		}
	}
	expect(t, c, "layers/"+key+"/complete", "layers/"+key+"/tree/file")
}

func TestLayerFails(t *testing.T) {
	c := open(t)
	broken := errors.New("broken")
	_, _, err := c.Layer(t.Context(), key, func(ctx context.Context, dir string) error {
		return errors.Join(fill(ctx, dir), broken)
	})
	if err == nil || err.Error() != "build layer: broken" || !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
	expect(t, c)
}

// TestLayerIncomplete: what has no mark, or half of one, or one of a machine that was switched off meanwhile, is made again.
func TestLayerIncomplete(t *testing.T) {
	for name, spoil := range map[string]func(mark string) error{
		"no mark":    os.Remove,
		"power cut":  func(mark string) error { return os.WriteFile(mark, []byte("of another boot"), 0o644) },
		"empty mark": func(mark string) error { return os.Truncate(mark, 0) },
		"no fingerprint": func(mark string) error {
			boot, err := bootID()
			return errors.Join(err, os.WriteFile(mark, []byte(markText(boot, "")), 0o644))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t)
			makeLayer(t, c)
			if err := spoil(c.path("layers", key, "complete")); err != nil {
				t.Fatal(err)
			}
			_, hit, err := c.Layer(t.Context(), key, fill)
			if err != nil || hit {
				t.Errorf("hit is %t, error is %v", hit, err)
			}
			expect(t, c, "layers/"+key+"/complete", "layers/"+key+"/tree/file")
		})
	}
}

// TestLayerChanged: a layer whose files are not those that it was made with is made again.
func TestLayerChanged(t *testing.T) {
	for name, spoil := range map[string]func(tree string) error{
		"content": func(tree string) error { return os.WriteFile(tree+"/file", []byte("changed"), 0o644) },
		"cut off": func(tree string) error { return os.Truncate(tree+"/file", 0) },
		"mode":    func(tree string) error { return os.Chmod(tree+"/file", 0o600) },
		"time":    func(tree string) error { return os.Chtimes(tree+"/file", time.Time{}, time.Unix(1, 0)) },
		"removed": func(tree string) error { return os.Remove(tree + "/file") },
		"more":    func(tree string) error { return os.Symlink("file", tree+"/link") },
		"renamed": func(tree string) error { return os.Rename(tree+"/file", tree+"/other") },
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t)
			makeLayer(t, c)
			if c.Rejected(key) {
				t.Error("it is rejected before it was changed")
			}
			if err := spoil(c.Tree(key)); err != nil {
				t.Fatal(err)
			}
			_, hit, err := c.Layer(t.Context(), key, fill)
			if err != nil || hit || !c.Rejected(key) {
				t.Errorf("hit is %t, rejected %t, error is %v", hit, c.Rejected(key), err)
			}
			expect(t, c, "layers/"+key+"/complete", "layers/"+key+"/tree/file")
			again, err := Open(c.Dir())
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			if _, hit, err := again.Layer(t.Context(), key, fill); err != nil || !hit {
				t.Errorf("what was made anew is found: %t, %v", hit, err)
			}
		})
	}
}

// TestLayerDurable: a layer that was used some time after it was made outlives the boot it was made in.
func TestLayerDurable(t *testing.T) {
	c := open(t)
	makeLayer(t, c)
	mark := c.path("layers", key, "complete")
	old := time.Now().Add(-2 * writeback)
	if err := os.Chtimes(mark, old, old); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if hit := makeLayer(t, c); !hit {
			t.Fatal("the layer was made again")
		}
		if said, err := os.ReadFile(mark); !strings.HasPrefix(string(said), durable+"\n") {
			t.Errorf("mark says %q, %v", said, err)
		}
	}
}

func TestLayerOnce(t *testing.T) {
	c := open(t)
	var builds atomic.Int32
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			_, _, err := c.Layer(t.Context(), key, func(ctx context.Context, dir string) error {
				builds.Add(1)
				time.Sleep(30 * time.Millisecond)
				return fill(ctx, dir)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := builds.Load(); n != 1 {
		t.Errorf("built %d times", n)
	}
	expect(t, c, "layers/"+key+"/complete", "layers/"+key+"/tree/file")
}

// TestLayerTakenOver: the next in line builds what the first could not.
func TestLayerTakenOver(t *testing.T) {
	c := open(t)
	started, second := make(chan bool), make(chan error)
	go func() {
		<-started
		_, _, err := c.Layer(context.Background(), key, fill)
		second <- err
	}()
	_, _, err := c.Layer(t.Context(), key, func(context.Context, string) error {
		close(started)
		time.Sleep(30 * time.Millisecond)
		return errors.New("broken")
	})
	if err == nil {
		t.Error("the first build has not failed")
	}
	if err := <-second; err != nil {
		t.Error(err)
	}
	expect(t, c, "layers/"+key+"/complete", "layers/"+key+"/tree/file")
}

func TestSweep(t *testing.T) {
	parent := t.TempDir()
	mine, err := TempDir(parent, "vmbuild-")
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(parent, "outside")
	for _, dir := range []string{outside, filepath.Join(parent, "vmbuild-4711", "sub", "closed")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range []string{filepath.Join(parent, "vmbuild-4711", "sub", "link"), filepath.Join(parent, "vmbuild-link")} {
		if err := os.Symlink(outside, link); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"vmbuild-4711/sub/closed", "vmbuild-4711/sub"} { // as packages may
		if err := os.Chmod(filepath.Join(parent, dir), 0o500); err != nil {
			t.Fatal(err)
		}
	}
	for dir, mode := range map[string]os.FileMode{"vmbuild-4711/sub": 0, "vmbuild-4711": 0o700} {
		if err := os.Chmod(filepath.Join(parent, dir), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, own := range []string{"vmbuild-main", "vmbuild-0815"} { // of the user: another name, another mode
		if err := os.Mkdir(filepath.Join(parent, own), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := Sweep(parent, "vmbuild-"); err != nil {
		t.Fatal(err)
	}
	names := func() (names []string) {
		entries, err := os.ReadDir(parent)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values([]string{"outside", "vmbuild-0815", filepath.Base(mine.Path), "vmbuild-link", "vmbuild-main"})), names()); diff != "" {
		t.Errorf("after Sweep (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(filepath.Join(outside, "file")); err != nil {
		t.Errorf("Sweep followed a link: %v", err)
	}
	if err := mine.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"outside", "vmbuild-0815", "vmbuild-link", "vmbuild-main"}, names()); diff != "" {
		t.Errorf("after Close (-want +got):\n%s", diff)
	}
}

// TestKilled: what a process that was killed was working on is free again, and what it had is used.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("LAYER_TEST_CACHE"); dir != "" {
		hang(t, dir)
	}
	c := open(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), "LAYER_TEST_CACHE="+c.Dir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make([]byte, 6)
	if _, err := io.ReadFull(out, ready); err != nil {
		t.Fatal(err)
	}
	if err := c.Sweep(); err != nil {
		t.Fatal(err)
	}
	sum := sumOf([]byte("0123456789"))
	if n := len(listing(t, c)); n != 3 { // lock, partial and temporary file: the process is alive
		t.Errorf("files in the cache: %q", listing(t, c))
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if err := c.Sweep(); err != nil {
		t.Fatal(err)
	}
	expect(t, c, "layers/"+key+".lock", "partial/"+sum)
	fetch, offsets := serve([]byte("0123456789"))
	if _, err := c.Object(t.Context(), sum, 10, fetch); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int64{4}, *offsets); diff != "" {
		t.Errorf("fetched at offsets (-want +got):\n%s", diff)
	}
	if _, hit, err := c.Layer(t.Context(), key, fill); hit || err != nil {
		t.Errorf("hit is %t, error is %v", hit, err)
	}
	expect(t, c, "layers/"+key+"/complete", "layers/"+key+"/tree/file", "objects/"+sum[:2]+"/"+sum)
}

// hang is the process that will be killed: in the middle of a layer whose build is in the middle of an object.
func hang(t *testing.T, dir string) {
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	data := []byte("0123456789")
	_, _, err = c.Layer(t.Context(), key, func(ctx context.Context, dir string) error {
		if err := fill(ctx, dir); err != nil {
			return err
		}
		_, err := c.Object(ctx, sumOf(data), 10, func(_ context.Context, w io.Writer, _ int64) error {
			w.Write(data[:4])
			fmt.Print("ready\n")
			select {}
		})
		return err
	})
	t.Fatal(err)
}
