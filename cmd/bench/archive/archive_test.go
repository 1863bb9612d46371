package archive

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/mirror"
)

// origin is a mirror that counts what it is asked for.
type origin struct {
	*httptest.Server
	mu    sync.Mutex
	asked map[string]int
	wait  chan struct{} // answers wait until it is closed; nil: they do not
}

func newOrigin(t *testing.T) *origin {
	t.Helper()
	o := &origin{asked: map[string]int{}}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		o.asked[r.URL.Path]++
		o.mu.Unlock()
		if o.wait != nil {
			<-o.wait
		}
		switch {
		case strings.HasSuffix(r.URL.Path, "absent"):
			http.NotFound(w, r)
		case strings.HasSuffix(r.URL.Path, "broken"):
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "no more than this")
		default:
			_, _ = io.WriteString(w, "text of "+r.URL.Path)
		}
	}))
	t.Cleanup(o.Close)
	return o
}

func (o *origin) mirrors() mirror.Mirrors {
	return mirror.Mirrors{Main: o.URL + "/d", Security: o.URL + "/s"}
}

// serve starts a handler until the test ends.
func serve(t *testing.T, h http.Handler) *Server {
	t.Helper()
	s, err := Start(h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func keep(t *testing.T, o *origin, dir string) *Kept {
	t.Helper()
	k, err := Keep(o.mirrors(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// get returns an answer's status and text. Its client asks a proxy for the whole address if it has one.
func get(t *testing.T, client *http.Client, address string) (int, string) {
	t.Helper()
	answer, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// through is a client whose proxy is the server.
func through(t *testing.T, s *Server) *http.Client {
	t.Helper()
	proxy, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(proxy)}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestServers(t *testing.T) {
	o := newOrigin(t)
	for name, handler := range map[string]http.Handler{"keep": keep(t, o, t.TempDir()), "pass": Pass(o.mirrors())} {
		s := serve(t, handler)
		direct, proxied := http.DefaultClient, through(t, s)
		for _, c := range []struct {
			client  *http.Client
			address string
			status  int
			text    string
		}{
			{direct, s.URL + "/debian/pool/a+b%7e%23.deb", 200, "text of /d/pool/a+b~#.deb"},
			{direct, s.URL + "/debian-security/dists/x/InRelease", 200, "text of /s/dists/x/InRelease"},
			{proxied, o.URL + "/d/pool/c", 200, "text of /d/pool/c"},
			{proxied, s.URL + "/debian/pool/d", 200, "text of /d/pool/d"},
			{direct, s.URL + "/debian/absent", 404, ""},
			{direct, s.URL + "/other/file", 404, ""},
			{direct, s.URL + "/", 404, ""},
			{proxied, o.URL + "/elsewhere", 404, ""},
			{proxied, "http://other.example/d/pool/c", 404, ""},
		} {
			status, text := get(t, c.client, c.address)
			if status != c.status || c.status == 200 && text != c.text {
				t.Errorf("%s: %s: %d %q, want %d %q", name, c.address, status, text, c.status, c.text)
			}
		}
	}
	if o.asked["/elsewhere"] != 0 {
		t.Error("the servers pass on what is in none of the archives")
	}
}

// TestKeepFetchesOnce: also for those who ask at the same time, for what is absent, and in later runs for what never changes.
func TestKeepFetchesOnce(t *testing.T) {
	o := newOrigin(t)
	dir := t.TempDir()
	for run := range 2 {
		if run == 0 {
			o.wait = make(chan struct{})
			time.AfterFunc(50*time.Millisecond, func() { close(o.wait) })
		}
		k := keep(t, o, dir)
		s := serve(t, k)
		var group sync.WaitGroup
		for range 4 {
			for _, path := range []string{"pool/p.deb", "dists/x/by-hash/SHA256/00", "dists/x/InRelease"} {
				group.Go(func() {
					if status, text := get(t, http.DefaultClient, s.URL+"/debian/"+path); status != 200 || text != "text of /d/"+path {
						t.Errorf("%s: %d %q", path, status, text)
					}
				})
			}
		}
		group.Wait()
		for range 2 {
			get(t, http.DefaultClient, s.URL+"/debian/absent")
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}
	want := map[string]int{"/d/pool/p.deb": 1, "/d/dists/x/by-hash/SHA256/00": 1, "/d/dists/x/InRelease": 2, "/d/absent": 2}
	if diff := cmp.Diff(want, o.asked); diff != "" {
		t.Errorf("fetches (-want +got):\n%s", diff)
	}
	left, err := filepath.Glob(dir + "/*")
	if err != nil || len(left) != 2 {
		t.Errorf("after the runs there are %q, %v; want the two files that never change", left, err)
	}
}

// TestKeepWhole: what breaks off is not kept.
func TestKeepWhole(t *testing.T) {
	o := newOrigin(t)
	dir := t.TempDir()
	s := serve(t, keep(t, o, dir))
	for range 2 {
		if status, text := get(t, http.DefaultClient, s.URL+"/debian/pool/broken"); status != http.StatusBadGateway {
			t.Errorf("%d %q, want a bad gateway", status, text)
		}
	}
	if o.asked["/d/pool/broken"] != 2 {
		t.Errorf("it was fetched %d times, want 2", o.asked["/d/pool/broken"])
	}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestEnvironment(t *testing.T) {
	s := &Server{URL: "http://127.0.0.1:8"}
	want := []string{"http_proxy=http://127.0.0.1:8", "HTTP_PROXY=http://127.0.0.1:8", "no_proxy=", "NO_PROXY="}
	if diff := cmp.Diff(want, s.Environment()); diff != "" {
		t.Error(diff)
	}
}

// slowly answers after a time that the host of the request says, with a body of as many bytes as its path is long.
type slowly struct{}

func (slowly) RoundTrip(r *http.Request) (*http.Response, error) {
	wait, err := time.ParseDuration(r.URL.Host)
	if err != nil {
		return nil, err
	}
	time.Sleep(wait)
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(r.URL.Path)), Request: r}, nil
}

// TestMeter: time in which answers overlap counts once, time between them does not, and an answer ends only once.
func TestMeter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &Meter{Next: slowly{}}
		client := http.Client{Transport: m}
		if _, err := client.Get("http://never/"); err == nil {
			t.Error("the request succeeds")
		}
		var group sync.WaitGroup
		for n := range 3 {
			group.Go(func() {
				time.Sleep(time.Duration(n) * 50 * time.Millisecond)
				get(t, &client, "http://100ms/four")
			})
		}
		group.Wait()
		time.Sleep(time.Second)
		get(t, &client, "http://50ms/two")
		want := Traffic{Requests: 5, Bytes: 3*5 + 4, Busy: 250 * time.Millisecond}
		if got := m.Take(); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		if again := m.Take(); again != (Traffic{}) {
			t.Errorf("afterwards %+v", again)
		}
	})
}

// TestMeterTakesWhatIsUnderWay: an answer that is being received is divided between the two who ask.
func TestMeterTakesWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &Meter{Next: slowly{}}
		answer, err := m.RoundTrip(httptest.NewRequest(http.MethodGet, "http://10ms/x", nil))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
		got := []time.Duration{m.Take().Busy}
		time.Sleep(20 * time.Millisecond)
		answer.Body.Close()
		answer.Body.Close()
		got = append(got, m.Take().Busy)
		time.Sleep(20 * time.Millisecond)
		got = append(got, m.Take().Busy)
		if diff := cmp.Diff([]time.Duration{210 * time.Millisecond, 20 * time.Millisecond, 0}, got); diff != "" {
			t.Errorf("busy (-want +got):\n%s", diff)
		}
	})
}
