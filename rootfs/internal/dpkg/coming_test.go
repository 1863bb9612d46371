package dpkg

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/chroot"
)

// TestNext: the next package is decompressed when processors are idle and there is room.
func TestNext(t *testing.T) {
	for name, c := range map[string]struct {
		waits   func(*Coming) // for what change does
		change  func(*Coming)
		nothing bool // comes then
	}{
		"busy":   {func(c *Coming) { c.busy = true }, func(c *Coming) { c.busy = false }, false},
		"full":   {func(c *Coming) { c.ahead = mostAhead }, func(c *Coming) { c.ahead-- }, false},
		"closed": {func(c *Coming) { c.busy = true }, func(c *Coming) { c.closed = true }, true},
		"none":   {nil, func(c *Coming) { c.queue = nil }, true},
		"idle":   {nil, func(c *Coming) {}, false},
	} {
		t.Run(name, func(t *testing.T) {
			coming := newComing(nil, Options{})
			first, second := &archive{}, &archive{}
			coming.queue = []*archive{first, second}
			got := make(chan *archive, 1)
			next := func() { got <- coming.next() }
			if c.waits != nil {
				c.waits(coming)
				go next()
				select {
				case a := <-got:
					t.Fatalf("it does not wait: %v", a)
				case <-time.After(20 * time.Millisecond):
				}
				coming.change(func() { c.change(coming) })
			} else {
				c.change(coming)
				next()
			}
			if a := <-got; c.nothing && a != nil || !c.nothing && a != first {
				t.Errorf("%p comes, the first is %p", a, first)
			}
		})
	}
}

// TestDecompressAhead installs a package after another, with a script before it.
func TestDecompressAhead(t *testing.T) {
	r := newTestRoot(t)
	debs := r.write(
		testDeb{name: "first"},
		testDeb{name: "second", fields: "Pre-Depends: first\n", control: map[string]string{"preinst": "#!/bin/sh\n"}},
	)
	var coming *Coming
	var busy []string
	note := func(what string) {
		coming.change(func() {
			if coming.busy {
				what += ": busy"
			}
			busy = append(busy, what)
		})
	}
	r.onRun = func(c chroot.Command) {
		if slices.Contains(c.Env, "DPKG_MAINTSCRIPT_PACKAGE=second") {
			note("script")
		}
	}
	o := Options{Root: r.dir, Parallel: 2, Unpacked: func(name string) { note("unpack " + name) }}
	coming = Prepare(t.Context(), o, debs)
	if err := coming.Install(t.Context(), o, r); err != nil {
		t.Fatal(err)
	}
	note("end")
	if diff := cmp.Diff([]string{"unpack first: busy", "script", "unpack second: busy", "end"}, busy); diff != "" {
		t.Error(diff)
	}
	if err := coming.Close(); err != nil {
		t.Error(err)
	}
	if coming.ahead != 0 || len(coming.lanes) > 0 {
		t.Errorf("%d bytes and %d lanes are taken for ever", coming.ahead, len(coming.lanes))
	}
}

// TestTake: what is taken is room for others again.
func TestTake(t *testing.T) {
	r := newTestRoot(t)
	archives, err := readArchives(t.Context(), r.write(testDeb{name: "a"}), 1)
	if err != nil {
		t.Fatal(err)
	}
	var freed int64
	n := archives[0].decompressAhead(t.Context(), t.TempDir(), func(n int64) { freed += n })
	if n == 0 || freed != 0 {
		t.Errorf("%d bytes, %d freed", n, freed)
	}
	f := archives[0].ahead.take()
	if f == nil || freed != n {
		t.Errorf("%v, %d of %d bytes freed", f, freed, n)
	}
	f.Close()
	if archives[0].decompressAhead(t.Context(), t.TempDir(), nil) != 0 || archives[0].ahead.take() != nil {
		t.Error("it is decompressed again")
	}
}
