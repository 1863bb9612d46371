package archivetest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server serves a site over HTTP: ranges, If-Range, If-Modified-Since.
type Server struct {
	URL string // of the archive: dists/ and pool/ are below it

	mu       sync.Mutex
	site     *Site
	faults   Faults
	requests []*Request
}

// Faults are what goes wrong between the server and its clients. Files are named by their path; the name of an index
// stands for its by-hash path as well.
type Faults struct {
	Status     map[string][]int // the first answers have these status codes, and no file; 0: none of that
	RetryAfter string           // header of those answers
	Cut        map[string][]int // the first answers break off after so many bytes; -1: not
	Hang       map[string][]int // the first answers stop after so many bytes until the client goes; -1: not
	NoRange    bool             // the server sends whole files, whatever part is asked for
	NoTime     bool             // it sends neither ETag nor Last-Modified
}

// Request is one that was answered.
type Request struct {
	Path   string // below the archive's URI
	Header http.Header
	Status int
	Sent   int // bytes of the file
}

// Start serves an archive until the test ends.
func Start(t testing.TB, a Archive) *Server {
	t.Helper()
	site, err := New(a)
	if err != nil {
		t.Fatal(err)
	}
	return site.Start(t)
}

// Start serves the site until the test ends.
func (s *Site) Start(t testing.TB) *Server {
	server := &Server{site: s}
	h := httptest.NewServer(server)
	t.Cleanup(h.CloseClientConnections)
	t.Cleanup(h.Close)
	server.URL = h.URL + "/debian"
	return server
}

// Site returns what is being served.
func (s *Server) Site() *Site {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.site
}

// Publish serves another site from now on.
func (s *Server) Publish(site *Site) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.site = site
}

// Break makes things go wrong from now on, and forgets about earlier requests.
func (s *Server) Break(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.requests = f, nil
}

// Requests returns those since the last Break for the named file, or all if name is empty, in the order they came.
func (s *Server) Requests(name string) []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Request
	for _, r := range s.requests {
		if name == "" || r.Path == name {
			found = append(found, *r)
		}
	}
	return found
}

// Sent returns how many bytes of the named file were sent since the last Break.
func (s *Server) Sent(name string) int {
	sum := 0
	for _, r := range s.Requests(name) {
		sum += r.Sent
	}
	return sum
}

// ServeHTTP answers a request for a path that starts with /debian/, also one that was sent to it as to a proxy.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/debian/")
	data, date, t := s.next(name)
	a := &answer{ResponseWriter: w, trouble: t, gone: r.Context().Done(), server: s, note: s.note(name, r.Header)}
	if t.status != 0 {
		w.Header().Set("Retry-After", t.retryAfter)
		a.WriteHeader(t.status)
		return
	}
	if data == nil {
		a.WriteHeader(http.StatusNotFound)
		return
	}
	if t.noRange {
		r = r.Clone(r.Context())
		r.Header.Del("Range")
	}
	if !date.IsZero() {
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(data)))
	}
	http.ServeContent(a, r, name, date, bytes.NewReader(data))
}

// trouble is what goes wrong with one answer.
type trouble struct {
	status     int
	retryAfter string
	cut, hang  int // bytes; negative: no
	noRange    bool
}

// next returns the named file, its time, and what is to go wrong this time.
func (s *Server) next(name string) ([]byte, time.Time, trouble) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, date := s.site.Files[name], s.site.Date
	if s.faults.NoTime {
		date = time.Time{}
	}
	names := []string{name, s.site.byHash[name]}
	return data, date, trouble{
		status:     shift(s.faults.Status, names, 0),
		retryAfter: s.faults.RetryAfter,
		cut:        shift(s.faults.Cut, names, -1),
		hang:       shift(s.faults.Hang, names, -1),
		noRange:    s.faults.NoRange,
	}
}

// shift takes the first number out of a list under one of the names.
func shift(lists map[string][]int, names []string, otherwise int) int {
	for _, name := range names {
		if list := lists[name]; len(list) > 0 {
			lists[name] = list[1:]
			return list[0]
		}
	}
	return otherwise
}

func (s *Server) note(name string, header http.Header) *Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &Request{Path: name, Header: header.Clone()}
	s.requests = append(s.requests, r)
	return r
}

// answer notes what is sent of a file, before the client can have it, and stops where the trouble says.
type answer struct {
	http.ResponseWriter
	trouble
	gone   <-chan struct{}
	server *Server
	note   *Request
	sent   int
}

func (a *answer) WriteHeader(status int) {
	a.server.mu.Lock()
	a.note.Status = status
	a.server.mu.Unlock()
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	limit := len(p)
	for _, end := range []int{a.cut, a.hang} {
		if end >= 0 {
			limit = min(limit, end-a.sent)
		}
	}
	a.sent += limit
	a.server.mu.Lock()
	a.note.Sent = a.sent
	a.server.mu.Unlock()
	n, err := a.ResponseWriter.Write(p[:limit])
	if err != nil || limit == len(p) {
		return n, err
	}
	http.NewResponseController(a.ResponseWriter).Flush()
	if a.hang >= 0 {
		<-a.gone
	}
	panic(http.ErrAbortHandler) // net/http closes the connection
}
