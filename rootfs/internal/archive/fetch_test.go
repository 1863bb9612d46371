package archive

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/archivetest"
	"vmbuild/rootfs/layer"
)

func nothing(File, string) error { return nil }

// TestTransfer: what goes wrong on the way and right in the end, with no byte sent twice but where it cannot be helped.
func TestTransfer(t *testing.T) {
	for _, test := range []struct {
		name    string
		faults  func(path string) archivetest.Faults
		ranges  []string // of the requests
		surplus int      // bytes sent beside those of the file
	}{
		{"nothing wrong", func(path string) archivetest.Faults { return archivetest.Faults{} }, []string{""}, 0},
		{"unavailable twice", func(path string) archivetest.Faults {
			return archivetest.Faults{Status: map[string][]int{path: {503, 503}}}
		}, []string{"", "", ""}, 0},
		{"all that may pass", func(path string) archivetest.Faults {
			return archivetest.Faults{Status: map[string][]int{path: {429, 500, 502, 504}}}
		}, []string{"", "", "", "", ""}, 0},
		{"cut", func(path string) archivetest.Faults {
			return archivetest.Faults{Cut: map[string][]int{path: {100_000, 50_000, 0}}}
		}, []string{"", "bytes=100000-", "bytes=150000-", "bytes=150000-"}, 0},
		{"cut, and no validator", func(path string) archivetest.Faults {
			return archivetest.Faults{NoTime: true, Cut: map[string][]int{path: {100_000}}}
		}, []string{"", "bytes=100000-"}, 0},
		{"cut more often than tried without progress", func(path string) archivetest.Faults {
			return archivetest.Faults{Cut: map[string][]int{path: slices.Repeat([]int{0, 0, 0, 70_000}, 4)}}
		}, slices.Concat(
			[]string{"", "", "", ""}, slices.Repeat([]string{"bytes=70000-"}, 4), slices.Repeat([]string{"bytes=140000-"}, 4),
			slices.Repeat([]string{"bytes=210000-"}, 4), []string{"bytes=280000-"},
		), 0},
		{"cut, and no ranges", func(path string) archivetest.Faults {
			return archivetest.Faults{NoRange: true, Cut: map[string][]int{path: {100_000}}}
		}, []string{"", "bytes=100000-"}, 100_000},
		{"silent in the middle", func(path string) archivetest.Faults {
			return archivetest.Faults{Hang: map[string][]int{path: {100_000}}}
		}, []string{"", "bytes=100000-"}, 0},
		{"silent from the beginning", func(path string) archivetest.Faults {
			return archivetest.Faults{Hang: map[string][]int{path: {0}}}
		}, []string{"", ""}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := archivetest.Start(t, sample())
			f := pool(t, server, "big")
			server.Break(test.faults(f.Path))
			c := client(t)
			c.Stall = 300 * time.Millisecond
			if err := c.Fetch(t.Context(), []File{f}, nothing); err != nil {
				t.Fatal(err)
			}
			var ranges []string
			for _, r := range server.Requests(f.Path) {
				ranges = append(ranges, r.Header.Get("Range"))
			}
			if diff := cmp.Diff(test.ranges, ranges); diff != "" {
				t.Errorf("ranges (-want +got):\n%s", diff)
			}
			if got, want := server.Sent(f.Path), int(f.Size)+test.surplus; got != want {
				t.Errorf("%d bytes were sent, not %d", got, want)
			}
		})
	}
}

func TestTransferFails(t *testing.T) {
	good := newSite(t, sample())
	path := good.Path(t, "big")
	size := len(good.Files[path])
	always := func(n int) map[string][]int { return map[string][]int{path: slices.Repeat([]int{n}, 100)} }
	for _, test := range []struct {
		name     string
		edit     func([]byte) []byte
		faults   archivetest.Faults
		want     string
		requests int
		resumes  bool // a partial file stays
	}{
		{name: "not there", faults: archivetest.Faults{Status: always(404)}, requests: 1,
			want: "fetch URL/" + path + ": 404 Not Found"},
		{name: "forbidden", faults: archivetest.Faults{Status: always(403)}, requests: 1,
			want: "fetch URL/" + path + ": 403 Forbidden"},
		{name: "unavailable", faults: archivetest.Faults{Status: always(503)}, requests: 6,
			want: "fetch URL/" + path + ": 503 Service Unavailable (tried 6 times)"},
		{name: "unavailable for an hour", faults: archivetest.Faults{Status: always(503), RetryAfter: "3600"}, requests: 1,
			want: "fetch URL/" + path + ": 503 Service Unavailable; the server asks to come back in 1h0m0s"},
		{name: "cut at once", faults: archivetest.Faults{Cut: always(1000)}, requests: 6, resumes: true,
			want: "fetch URL/" + path + ": the connection was closed too early (tried 6 times)"},
		{name: "silent", faults: archivetest.Faults{Hang: always(0)}, requests: 6,
			want: "fetch URL/" + path + ": the server sent nothing for 400ms (tried 6 times)"},
		{name: "changed byte", edit: archivetest.Flip(-1), requests: 1,
			want: path + " of URL has SHA256 BAD, its index says GOOD"},
		{name: "truncated", edit: archivetest.Truncate(size - 1), requests: 1,
			want: fmt.Sprintf("%s of URL has %d bytes, its index says %d", path, size-1, size)},
		{name: "empty", edit: archivetest.Truncate(0), requests: 1,
			want: fmt.Sprintf("%s of URL has 0 bytes, its index says %d", path, size)},
		{name: "too long", edit: func(data []byte) []byte { return append(data, "more"...) }, requests: 1,
			want: fmt.Sprintf("%s of URL has more than the %d bytes that its index says", path, size)},
		{name: "changed and cut", edit: archivetest.Flip(-1), requests: 2,
			faults: archivetest.Faults{Cut: map[string][]int{path: {1000}}},
			want:   path + " of URL has SHA256 BAD, its index says GOOD"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			site := newSite(t, sample())
			server := site.Start(t)
			f := pool(t, server, "big")
			if test.edit != nil {
				site.Edit(path, test.edit)
			}
			test.faults.Status = copyLists(test.faults.Status)
			server.Break(test.faults)
			c := client(t)
			if test.faults.Hang != nil {
				c.Stall = 400 * time.Millisecond // enough for a busy machine to take the request
			}
			err := c.Fetch(t.Context(), []File{f}, func(File, string) error {
				t.Error("a file is said to be done")
				return nil
			})
			bad := pool(t, server, "big").SHA256
			fails(t, server, err, strings.NewReplacer("BAD", bad, "GOOD", f.SHA256).Replace(test.want))
			if isVerification(err) != (test.edit != nil) {
				t.Errorf("isVerification(%v) is wrong", err)
			}
			if n := len(server.Requests(path)); n != test.requests {
				t.Errorf("there were %d requests, not %d", n, test.requests)
			}
			var want []string
			if test.resumes {
				want = []string{"partial/" + f.SHA256}
			}
			if diff := cmp.Diff(want, left(t, c)); diff != "" {
				t.Errorf("left in the cache (-want +got):\n%s", diff)
			}
		})
	}
}

func copyLists(lists map[string][]int) map[string][]int {
	c := map[string][]int{}
	for name, list := range lists {
		c[name] = slices.Clone(list)
	}
	return c
}

// TestRefused: nothing is gained by asking again at an address where nobody listens.
func TestRefused(t *testing.T) {
	f := File{Archive: "http://127.0.0.1:1/debian", Path: "pool/x.deb", Size: 1, SHA256: strings.Repeat("0", 64)}
	err := client(t).Fetch(t.Context(), []File{f}, nothing)
	want := "fetch http://127.0.0.1:1/debian/pool/x.deb: dial tcp 127.0.0.1:1: connect: connection refused"
	if err == nil || err.Error() != want {
		t.Errorf("error is %v, not %s", err, want)
	}
}

func TestRetryAfter(t *testing.T) {
	server := archivetest.Start(t, sample())
	f := pool(t, server, "big")
	server.Break(archivetest.Faults{Status: map[string][]int{f.Path: {503}}, RetryAfter: "1"})
	start := time.Now()
	if err := client(t).Fetch(t.Context(), []File{f}, nothing); err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(start); waited < time.Second {
		t.Errorf("the server asked for a second, and got %s", waited)
	}
}

// TestCancelled in the middle: the fetch ends at once, leaves only a partial file, and the next run goes on from there.
func TestCancelled(t *testing.T) {
	server := archivetest.Start(t, sample())
	f := pool(t, server, "big")
	server.Break(archivetest.Faults{Hang: map[string][]int{f.Path: {100_000}}})
	c := client(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.Progress = func(p Progress) {
		if p.BytesDone == 100_000 {
			cancel()
		}
	}
	start := time.Now()
	err := c.Fetch(ctx, []File{f}, nothing)
	fails(t, server, err, "fetch URL/"+f.Path+": context canceled")
	if !errors.Is(err, context.Canceled) || time.Since(start) > c.Stall/2 {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
	if diff := cmp.Diff([]string{"partial/" + f.SHA256}, left(t, c)); diff != "" {
		t.Errorf("left in the cache (-want +got):\n%s", diff)
	}
	server.Break(archivetest.Faults{})
	if err := c.Fetch(t.Context(), []File{f}, nothing); err != nil {
		t.Fatal(err)
	}
	if got, want := server.Sent(f.Path), int(f.Size)-100_000; got != want {
		t.Errorf("%d bytes were sent, not %d", got, want)
	}
	if diff := cmp.Diff([]string{"objects/" + f.SHA256[:2] + "/" + f.SHA256}, left(t, c)); diff != "" {
		t.Errorf("left in the cache (-want +got):\n%s", diff)
	}
}

// TestCancelledWhileWaiting for the next attempt.
func TestCancelledWhileWaiting(t *testing.T) {
	server := archivetest.Start(t, sample())
	f := pool(t, server, "big")
	server.Break(archivetest.Faults{Status: map[string][]int{f.Path: {503}}, RetryAfter: "60"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := client(t)
	go func() {
		for closedUntil(c).IsZero() && sleep(ctx, time.Millisecond) {
		}
		cancel()
	}()
	err := c.Fetch(ctx, []File{f}, nothing)
	fails(t, server, err, "fetch URL/"+f.Path+": context canceled")
}

// TestOneFetchPerFile, however many want it.
func TestOneFetchPerFile(t *testing.T) {
	server := archivetest.Start(t, sample())
	f := pool(t, server, "big")
	c := client(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			cache, err := layer.Open(c.Cache.Dir())
			if err != nil {
				t.Error(err)
				return
			}
			other := &Client{Cache: cache}
			if err := other.Fetch(t.Context(), []File{f, f}, nothing); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := len(server.Requests(f.Path)); n != 1 {
		t.Errorf("there were %d requests", n)
	}
}

// TestOneFetchPerFileOfTwoProcesses: the server makes the first one wait until the second is there.
func TestOneFetchPerFileOfTwoProcesses(t *testing.T) {
	if args := os.Getenv("ARCHIVE_TEST_FETCH"); args != "" {
		fetchAsChild(t, strings.Fields(args))
		return
	}
	server := archivetest.Start(t, sample())
	f := pool(t, server, "big")
	server.Break(archivetest.Faults{Cut: map[string][]int{f.Path: {100_000}}})
	c := client(t)
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestOneFetchPerFileOfTwoProcesses$")
			cmd.Env = append(os.Environ(),
				fmt.Sprintf("ARCHIVE_TEST_FETCH=%s %s %s %d %s", c.Cache.Dir(), f.Archive, f.Path, f.Size, f.SHA256))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	group.Wait()
	if got := server.Sent(f.Path); got != int(f.Size) {
		t.Errorf("%d bytes were sent, not %d", got, f.Size)
	}
}

func fetchAsChild(t *testing.T, args []string) {
	cache, err := layer.Open(args[0])
	if err != nil {
		t.Fatal(err)
	}
	f := File{Archive: args[1], Path: args[2], SHA256: args[4]}
	if _, err := fmt.Sscan(args[3], &f.Size); err != nil {
		t.Fatal(err)
	}
	c := &Client{Cache: cache, Delay: 200 * time.Millisecond} // after the cut, so that the processes meet
	if err := c.Fetch(t.Context(), []File{f}, nothing); err != nil {
		t.Fatal(err)
	}
}

// TestOrder: files are started in the order given, and not more at a time than wanted.
func TestOrder(t *testing.T) {
	var packages []archivetest.Package
	for i := range 20 {
		packages = append(packages, archivetest.Package{Name: fmt.Sprintf("package%02d", i)})
	}
	server := archivetest.Start(t, archivetest.Archive{Packages: packages})
	var files []File
	var want, got []string
	for _, p := range slices.Backward(packages) {
		files = append(files, pool(t, server, p.Name))
		want = append(want, files[len(files)-1].Path)
	}
	c := client(t)
	c.Parallel = 1
	server.Break(archivetest.Faults{})
	if err := c.Fetch(t.Context(), files, nothing); err != nil {
		t.Fatal(err)
	}
	for _, r := range server.Requests("") {
		got = append(got, r.Path)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}

	c = client(t)
	c.Parallel = 3
	var running, most atomic.Int32
	err := c.Fetch(t.Context(), files, func(File, string) error {
		defer running.Add(-1)
		now := running.Add(1)
		for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
		}
		time.Sleep(5 * time.Millisecond)
		return nil
	})
	if err != nil || most.Load() > 3 || most.Load() < 2 {
		t.Errorf("%d at a time, %v", most.Load(), err)
	}
}

// TestKeepAlive: files of one server come over the connections that are there.
func TestKeepAlive(t *testing.T) {
	var packages []archivetest.Package
	for i := range 30 {
		packages = append(packages, archivetest.Package{Name: fmt.Sprintf("package%02d", i)})
	}
	server := archivetest.Start(t, archivetest.Archive{Packages: packages})
	var files []File
	for _, p := range packages {
		files = append(files, pool(t, server, p.Name))
	}
	c := client(t)
	c.Parallel = 4
	var opened atomic.Int32
	transport, err := c.transport()
	if err != nil {
		t.Fatal(err)
	}
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		opened.Add(1)
		return dial(ctx, network, address)
	}
	c.HTTP = &http.Client{Transport: transport}
	if err := c.Fetch(t.Context(), files, nothing); err != nil {
		t.Fatal(err)
	}
	if n := opened.Load(); n > 8 {
		t.Errorf("%d connections were opened", n)
	}
}

func TestDoneFails(t *testing.T) {
	server := archivetest.Start(t, sample())
	broken := errors.New("broken")
	err := client(t).Fetch(t.Context(), []File{pool(t, server, "big")}, func(File, string) error { return broken })
	if err != broken {
		t.Errorf("error is %v", err)
	}
}

func TestProgress(t *testing.T) {
	server := archivetest.Start(t, sample())
	files := []File{pool(t, server, "base-files"), pool(t, server, "big"), pool(t, server, "libfoo1")}
	server.Break(archivetest.Faults{Cut: map[string][]int{files[1].Path: {1000, 2000}}})
	c := client(t)
	all := Progress{Files: 3, Bytes: files[0].Size + files[1].Size + files[2].Size}
	for _, run := range []string{"fetched", "cached"} {
		var last Progress
		c.Progress = func(p Progress) {
			if p.Files != all.Files || p.Bytes != all.Bytes || p.BytesDone < last.BytesDone || p.FilesDone < last.FilesDone {
				t.Errorf("%s: after %v comes %v", run, last, p)
			}
			last = p
		}
		if err := c.Fetch(t.Context(), files, nothing); err != nil {
			t.Fatal(err)
		}
		if want := (Progress{3, 3, all.Bytes, all.Bytes}); last != want {
			t.Errorf("%s: the last is %v, not %v", run, last, want)
		}
	}
}
