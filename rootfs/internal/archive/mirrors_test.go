package archive

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/archivetest"
)

// nobody is an archive at whose address nobody listens.
const nobody = "http://127.0.0.1:1/debian"

// twins are two servers of one site.
func twins(t *testing.T) (first, second *archivetest.Server) {
	site := newSite(t, sample())
	return site.Start(t), site.Start(t)
}

func at(first, second *archivetest.Server, f File) File {
	f.Archive, f.Mirrors = first.URL, []string{second.URL}
	return f
}

// TestNextMirror: whatever is wrong with the first one, the second goes on where that stopped.
func TestNextMirror(t *testing.T) {
	always := func(n int) []int { return slices.Repeat([]int{n}, 100) }
	for _, test := range []struct {
		name   string
		faults func(path string) archivetest.Faults
		first  int    // requests to the first mirror
		ranges string // of the request to the second
	}{
		{"works", func(string) archivetest.Faults { return archivetest.Faults{} }, 1, "-"},
		{"busy for a moment", func(path string) archivetest.Faults {
			return archivetest.Faults{Status: map[string][]int{path: {500}}}
		}, 2, "-"},
		{"lacks the file", func(path string) archivetest.Faults {
			return archivetest.Faults{Status: map[string][]int{path: always(404)}}
		}, 1, ""},
		{"forbids it", func(path string) archivetest.Faults {
			return archivetest.Faults{Status: map[string][]int{path: always(403)}}
		}, 1, ""},
		{"fails", func(path string) archivetest.Faults {
			return archivetest.Faults{Status: map[string][]int{path: always(500)}}
		}, 2, ""},
		{"throttles", func(path string) archivetest.Faults {
			return archivetest.Faults{Status: map[string][]int{path: always(429)}}
		}, 1, ""},
		{"asks to come back tomorrow", func(path string) archivetest.Faults {
			return archivetest.Faults{Status: map[string][]int{path: always(503)}, RetryAfter: "86400"}
		}, 1, ""},
		{"dies in the middle", func(path string) archivetest.Faults {
			return archivetest.Faults{Cut: map[string][]int{path: append([]int{100_000}, always(0)...)}}
		}, 2, "bytes=100000-"},
		{"falls silent in the middle", func(path string) archivetest.Faults {
			return archivetest.Faults{Hang: map[string][]int{path: append([]int{50_000}, always(0)...)}}
		}, 2, "bytes=50000-"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			first, second := twins(t)
			f := at(first, second, pool(t, first, "big"))
			first.Break(test.faults(f.Path))
			second.Break(archivetest.Faults{})
			c := client(t)
			c.Stall = 200 * time.Millisecond
			if err := c.Fetch(t.Context(), []File{f}, nothing); err != nil {
				t.Fatal(err)
			}
			ranges := "-"
			for _, r := range second.Requests(f.Path) {
				ranges = r.Header.Get("Range")
				if r.Header.Get("If-Range") != "" {
					t.Error("the second mirror is asked about the file of the first")
				}
			}
			if n := len(first.Requests(f.Path)); n != test.first || ranges != test.ranges {
				t.Errorf("%d requests to the first, range of that to the second: %q", n, ranges)
			}
			if sent := first.Sent(f.Path) + second.Sent(f.Path); sent != int(f.Size) {
				t.Errorf("%d bytes were sent, not %d", sent, f.Size)
			}
		})
	}
}

// TestDeadMirror is asked once, by whichever file comes first, and by no client that knows of it.
func TestDeadMirror(t *testing.T) {
	first, second := twins(t)
	c, s := client(t), source(t, first)
	c.Parallel = 1
	s.URI, s.Mirrors = first.URL, []string{nobody, second.URL}
	first.Break(archivetest.Faults{Status: map[string][]int{"dists/trixie/InRelease": {500, 500}}})
	r, _, err := mainIndex(t, c, s)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(first.Requests("")); n != 2 {
		t.Errorf("%d requests to the one that fails: %v", n, first.Requests(""))
	}
	if diff := cmp.Diff(s.Mirrors, r.Files["main/binary-amd64/Packages"].Mirrors); diff != "" {
		t.Errorf("mirrors of the index (-want +got):\n%s", diff)
	}
	files := []File{pool(t, first, "big"), pool(t, first, "base-files"), pool(t, first, "libfoo1")}
	for i := range files {
		files[i].Archive, files[i].Mirrors = s.URI, s.Mirrors
	}
	if err := c.Fetch(t.Context(), files, nothing); err != nil {
		t.Fatal(err)
	}
	if n := len(first.Requests("")); n != 2 {
		t.Errorf("it is asked again: %v", first.Requests(""))
	}
	// When the others have nothing, it has its chance.
	delete(c.failed, s.URI)
	c.failed[s.URI] = true
	files = []File{{Archive: s.URI, Mirrors: []string{nobody}, Path: files[0].Path, Size: files[0].Size, SHA256: files[0].SHA256}}
	c.Cache = client(t).Cache
	if err := c.Fetch(t.Context(), files, nothing); err != nil {
		t.Error(err)
	}
}

func TestAllMirrorsFail(t *testing.T) {
	first, second := twins(t)
	f := at(first, second, pool(t, first, "big"))
	first.Break(archivetest.Faults{Status: map[string][]int{f.Path: {404}}})
	second.Break(archivetest.Faults{Status: map[string][]int{f.Path: slices.Repeat([]int{500}, 10)}})
	err := client(t).Fetch(t.Context(), []File{f}, nothing)
	fails(t, first, err, "fetch URL/"+f.Path+": 404 Not Found; "+
		"fetch "+second.URL+"/"+f.Path+": 500 Internal Server Error (tried 6 times)")

	s := source(t, first)
	s.URI, s.Mirrors, s.Suite = nobody, []string{first.URL}, "sid"
	_, err = client(t).Release(t.Context(), s)
	fails(t, first, err, "fetch URL/dists/sid/Release: 404 Not Found; "+ // it is asked first since the other has failed
		"fetch "+nobody+"/dists/sid/Release: dial tcp 127.0.0.1:1: connect: connection refused")
}

// TestBadMirror: bytes that are not what they should be end it, and the mirror that sent them is named.
func TestBadMirror(t *testing.T) {
	good := newSite(t, sample())
	bad := newSite(t, sample())
	bad.Edit(bad.Path(t, "big"), archivetest.Flip(-1))
	first, second := good.Start(t), bad.Start(t)
	f := at(first, second, pool(t, first, "big"))
	first.Break(archivetest.Faults{Status: map[string][]int{f.Path: {404}}})
	err := client(t).Fetch(t.Context(), []File{f}, nothing)
	fails(t, second, err, fmt.Sprintf("%s of URL has SHA256 %s, its index says %s", f.Path, pool(t, second, "big").SHA256, f.SHA256))
	if !isVerification(err) {
		t.Errorf("%v is no VerificationError", err)
	}
}

// TestBoundedPatience with a server that throttles: longer than with one that fails, and not for ever.
func TestBoundedPatience(t *testing.T) {
	server := archivetest.Start(t, sample())
	f := pool(t, server, "base-files")
	server.Break(archivetest.Faults{Status: map[string][]int{f.Path: slices.Repeat([]int{429}, 9)}})
	if err := client(t).Fetch(t.Context(), []File{f}, nothing); err != nil {
		t.Error(err)
	}
	server.Break(archivetest.Faults{Status: map[string][]int{f.Path: slices.Repeat([]int{429}, 100)}})
	err := client(t).Fetch(t.Context(), []File{f}, nothing)
	fails(t, server, err, "fetch URL/"+f.Path+": 429 Too Many Requests (tried 10 times)")
}

// TestThrottled: when a server asks for fewer requests, none comes from any connection until the time is over.
func TestThrottled(t *testing.T) {
	a := archivetest.Archive{}
	for i := range 20 {
		a.Packages = append(a.Packages, archivetest.Package{Name: fmt.Sprintf("package%02d", i)})
	}
	server := archivetest.Start(t, a)
	var files []File
	for _, p := range a.Packages {
		files = append(files, pool(t, server, p.Name))
	}
	server.Break(archivetest.Faults{Status: map[string][]int{files[0].Path: {429}}, RetryAfter: "1"})
	c := client(t)
	c.Parallel = 2
	var before, after atomic.Int32
	err := c.Fetch(t.Context(), files, func(File, string) error {
		for closedUntil(c).IsZero() { // the other connection's answer, which may come later than this one's file
			if !sleep(t.Context(), time.Millisecond) {
				return t.Context().Err()
			}
		}
		if time.Now().Before(closedUntil(c)) {
			before.Add(1)
		} else {
			after.Add(1)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if before.Load() > 1 || before.Load()+after.Load() != 20 { // what was on its way when it asked
		t.Errorf("%d files came before the second was over, %d after", before.Load(), after.Load())
	}
}

// closedUntil is the time until which a server wants to be left alone; zero if none has said so.
func closedUntil(c *Client) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, until := range c.closed {
		return until
	}
	return time.Time{}
}

// TestSlowLink cuts each connection after a while, as some networks do: every byte is sent once.
func TestSlowLink(t *testing.T) {
	server := archivetest.Start(t, sample())
	f := pool(t, server, "big")
	cuts := slices.Repeat([]int{30_000}, 30)
	server.Break(archivetest.Faults{Cut: map[string][]int{f.Path: cuts}})
	c := client(t)
	if err := c.Fetch(t.Context(), []File{f}, nothing); err == nil || !strings.Contains(err.Error(), "tried 6 times") {
		t.Errorf("pieces that are too small are no progress: %v", err)
	}
	if err := c.Fetch(t.Context(), []File{f}, nothing); err != nil { // the rest
		t.Error(err)
	}
	if sent := server.Sent(f.Path); sent != int(f.Size) {
		t.Errorf("%d bytes were sent, not %d", sent, f.Size)
	}
}

// TestRollback: what was once taken is not replaced by something older, whoever signed it.
func TestRollback(t *testing.T) {
	for _, forms := range [][2]bool{{false, false}, {true, true}, {false, true}, {true, false}} {
		detached, detachedLater := forms[0], forms[1]
		newer := sample()
		newer.Date, newer.NoInRelease = date.Add(time.Hour), detached
		server := archivetest.Start(t, newer)
		c, s := client(t), source(t, server)
		if _, _, err := mainIndex(t, c, s); err != nil {
			t.Fatal(err)
		}
		files := maps.Clone(server.Site().Files)
		older := sample()
		older.Keys, older.NoInRelease, older.Packages = server.Site().Keys, detachedLater, older.Packages[:1]
		server.Publish(newSite(t, older))
		server.Break(archivetest.Faults{NoTime: true}) // an attacker does not say that it is older
		for range 2 {
			r, index, err := mainIndex(t, c, s)
			if err != nil || !r.Date.Equal(newer.Date) || index != string(files["dists/trixie/main/binary-amd64/Packages"]) {
				t.Errorf("detached %v: after the old one came, the release is of %v, %v", forms, r, err)
			}
		}
		// A client that has never been here has no choice, and one that must not believe what it has neither.
		if r, err := client(t).Release(t.Context(), s); err != nil || !r.Date.Equal(date) {
			t.Errorf("a new client gets %v, %v", r, err)
		}
	}
}

// TestFutureIsNotKept: a Release file that was refused does not make the right one look old.
func TestFutureIsNotKept(t *testing.T) {
	wrong := sample()
	wrong.Date = now.Add(time.Hour)
	server := archivetest.Start(t, wrong)
	c, s := client(t), source(t, server)
	if _, err := c.Release(t.Context(), s); !isVerification(err) {
		t.Fatalf("error is %v", err)
	}
	right := sample()
	right.Keys = server.Site().Keys
	server.Publish(newSite(t, right))
	if r, err := c.Release(t.Context(), s); err != nil || !r.Date.Equal(date) {
		t.Errorf("release is of %v, %v", r, err)
	}
}
