package archive

import (
	"context"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/archivetest"
	"vmbuild/rootfs/span"
)

// TestRecordedFetch: each file that is fetched is a span, with its bytes and its connection; one that is there is none.
func TestRecordedFetch(t *testing.T) {
	server := archivetest.Start(t, sample())
	big, foo := pool(t, server, "big"), pool(t, server, "libfoo1")
	server.Break(archivetest.Faults{Cut: map[string][]int{big.Path: {1000}}})
	c := client(t)
	c.Parallel = 1
	type fetched struct {
		Kind  span.Kind
		Bytes int64
		Notes map[string]string
	}
	got := map[string]fetched{}
	record := func(do func(ctx context.Context) error) {
		t.Helper()
		clear(got)
		begun := map[int64]span.Record{}
		ctx := span.Send(t.Context(), func(r span.Record) {
			if r.Kind != "" {
				begun[r.ID] = r
				return
			}
			notes := r.End.Notes
			for name, form := range map[string]string{
				"connection": `^127\.0\.0\.1:\d+ to 127\.0\.0\.1:\d+, `, "first byte after": `^[0-9.]+.?s$`,
			} {
				if text, ok := notes[name]; ok {
					notes[name] = regexp.MustCompile(form).ReplaceAllString(text, "")
				}
			}
			got[begun[r.ID].Name] = fetched{begun[r.ID].Kind, r.End.Fetched, notes}
		})
		if err := do(ctx); err != nil {
			t.Fatal(err)
		}
	}
	fetch := func(ctx context.Context) error { return c.Fetch(ctx, []File{foo, big}, nothing) }
	record(fetch)
	want := map[string]fetched{
		path.Base(foo.Path): {span.Network, foo.Size, map[string]string{
			"from": server.URL + "/" + foo.Path, "connection": "new", "first byte after": "",
		}},
		path.Base(big.Path): {span.Network, big.Size, map[string]string{ // the rest of it, after the server had closed
			"from": server.URL + "/" + big.Path, "connection": "new", "first byte after": "",
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	record(fetch)
	if len(got) > 0 {
		t.Errorf("what is there is fetched: %v", got)
	}
	record(func(ctx context.Context) error { // the server's own file, not over the network
		dir := t.TempDir()
		if err := os.MkdirAll(path.Dir(path.Join(dir, foo.Path)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path.Join(dir, foo.Path), server.Site().Files[foo.Path], 0o644); err != nil {
			return err
		}
		local := foo
		local.Archive = "file://" + dir
		return client(t).Fetch(ctx, []File{local}, nothing)
	})
	for name, f := range got {
		if f.Kind != span.Lane || f.Bytes != foo.Size || !strings.HasPrefix(f.Notes["from"], "file://") || len(f.Notes) != 1 {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if len(got) != 1 {
		t.Errorf("of a file of this host, there are %d spans", len(got))
	}
}

func TestFileName(t *testing.T) {
	for name, want := range map[string]string{
		"/debian/pool/main/b/bash/bash_1_amd64.deb":                              "bash_1_amd64.deb",
		"/debian/dists/trixie/main/binary-amd64/by-hash/SHA256/0123456789abcdef": "main/binary-amd64 index",
		"": ".",
	} {
		if got := fileName(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
