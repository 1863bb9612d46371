package archive

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	userAgent     = "vmbuild"
	firstDelay    = 500 * time.Millisecond
	maxDelay      = time.Minute
	maxRetryAfter = 2 * time.Minute // a server that asks for more has failed
	stallLimit    = 30 * time.Second
	progressBytes = 64 << 10 // an attempt that brought this much has made progress
	maxDocument   = 64 << 20 // bytes; the largest InRelease there is has 200 kB
)

// patience is how often a file is asked for without progress before its server is given up.
type patience struct {
	failures  int // after any failure that may pass
	throttled int // after failures of which the last is that the server wants to be asked less often
}

var (
	patient = patience{6, 10} // 0.5, 1, 2, 4, 8 s: 15 s in all; throttled: up to a minute each, 4 minutes in all
	hasty   = patience{2, 1}
)

// transfer is a file on its way: over as many connections as it takes, and from several servers.
type transfer struct {
	w         io.Writer
	offset    int64  // bytes that w has
	server    string // where those came from, and
	validator string // what they belong to there
}

// download writes the rest of u to t. It returns nil when the server says that there are no more bytes.
func (c *Client) download(ctx context.Context, u *url.URL, t *transfer, p patience) error {
	if t.server != u.String() { // another server's file cannot be told to be the same, but by the hash of the whole
		t.server, t.validator = u.String(), ""
	}
	ctx, fetching := c.startFetch(ctx, u)
	defer fetching.End()
	return c.retry(ctx, u, p, func(ctx context.Context) (int64, error) {
		a, err := c.open(ctx, u, question{offset: t.offset, validator: t.validator})
		if err != nil {
			return 0, err
		}
		defer a.body.Close()
		t.validator = a.validator
		// A server that knows no ranges starts over. What is there already need not be compared: it will be hashed.
		if _, err := io.CopyN(io.Discard, a.body, t.offset-a.offset); err == io.EOF {
			return 0, nil
		} else if err != nil {
			return 0, err
		}
		n, err := copyBody(t.w, a.body)
		t.offset += n
		fetching.Fetched(n)
		return n, err
	})
}

// document is a small file that is held in memory.
type document struct {
	data     []byte
	modified time.Time // as the server has it; zero if it does not say
}

// errNotModified is what a server answers if the file is the known one.
var errNotModified = errors.New("not modified")

// document fetches a small file whose hash nobody knows, so that each attempt starts from the beginning. The error is
// errNotModified if it was last changed at known.
func (c *Client) document(ctx context.Context, f copies, known time.Time) (document, error) {
	var d document
	_, err := c.each(ctx, f, func(u *url.URL, p patience) error {
		ctx, fetching := c.startFetch(ctx, u)
		defer fetching.End()
		return c.retry(ctx, u, p, func(ctx context.Context) (int64, error) {
			var err error
			d, err = c.readDocument(ctx, u, known)
			fetching.Fetched(int64(len(d.data)))
			return 0, err
		})
	})
	return d, err
}

func (c *Client) readDocument(ctx context.Context, u *url.URL, known time.Time) (document, error) {
	a, err := c.open(ctx, u, question{known: known})
	if err != nil {
		return document{}, err
	}
	defer a.body.Close()
	var buffer bytes.Buffer
	n, err := copyBody(&buffer, io.LimitReader(a.body, maxDocument+1))
	if n > maxDocument {
		err = final{fmt.Errorf("more than %d bytes", maxDocument)}
	}
	return document{buffer.Bytes(), a.modified}, err
}

// final marks an error after which a server is not asked again.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// ownError is one of this side, such as of the writer that a file goes to: no server can help.
type ownError struct{ error }

func (e ownError) Unwrap() error { return e.error }

// copyBody copies all of body to w.
func copyBody(w io.Writer, body io.Reader) (int64, error) {
	s := sink{w: w}
	n, err := io.Copy(&s, body)
	if s.err != nil {
		return n, final{ownError{s.err}}
	}
	return n, err
}

type sink struct {
	w   io.Writer
	err error
}

func (s *sink) Write(p []byte) (n int, err error) {
	n, s.err = s.w.Write(p)
	return n, s.err
}

// retry calls try until it succeeds, its error is final, or it has failed too often without making progress; try
// returns how many bytes it has brought.
func (c *Client) retry(ctx context.Context, u *url.URL, p patience, try func(context.Context) (int64, error)) error {
	delay, failures := c.delay(), 0
	for {
		if !c.admitted(ctx, u.Host) {
			return explain(u, context.Cause(ctx))
		}
		n, err := try(ctx)
		if err == nil {
			return nil
		}
		if n >= progressBytes {
			delay, failures = c.delay(), 0
		}
		failures++
		wait, limit := backoff(err, delay, p)
		switch {
		case limit == 0:
		case ctx.Err() != nil:
			err = context.Cause(ctx)
		case failures >= limit:
			err = fmt.Errorf("%w (%s)", err, times(failures))
		default:
			c.pause(u.Host, wait, err)
			if !sleep(ctx, wait) {
				return explain(u, context.Cause(ctx))
			}
			delay = min(2*delay, maxDelay)
			continue
		}
		return explain(u, err)
	}
}

func times(n int) string {
	if n == 1 {
		return "tried once"
	}
	return fmt.Sprintf("tried %d times", n)
}

// pause keeps all connections from a host that has asked for fewer requests. One that goes on, while another waits,
// would only make it last longer.
func (c *Client) pause(host string, wait time.Duration, err error) {
	var status *statusError
	if !errors.As(err, &status) || !status.throttles() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed == nil {
		c.closed = map[string]time.Time{}
	}
	if until := time.Now().Add(wait); until.After(c.closed[host]) {
		c.closed[host] = until
	}
}

// admitted waits until a host may be asked. It returns false if ctx ends before.
func (c *Client) admitted(ctx context.Context, host string) bool {
	for {
		c.mu.Lock()
		wait := time.Until(c.closed[host])
		c.mu.Unlock()
		if wait <= 0 {
			return true
		}
		if !sleep(ctx, wait) {
			return false
		}
	}
}

// explain says what was being fetched, except about an answer that is none of the user's business and an error of the
// writer, who has said all there is to say.
func explain(u *url.URL, err error) error {
	var f final
	if errors.As(err, &f) {
		err = f.error
	}
	var offline *OfflineError
	if err == errNotModified || errors.As(err, &offline) {
		return err
	}
	return fmt.Errorf("fetch %s: %w", u.Redacted(), err)
}

func (c *Client) delay() time.Duration {
	if c.Delay > 0 {
		return c.Delay
	}
	return firstDelay
}

// backoff says when to try again after err, and after how many failures not to; 0: not at all. The delay varies by a
// quarter up or down, so that several clients of a server that has just come back do not come at the same time.
func backoff(err error, delay time.Duration, p patience) (wait time.Duration, limit int) {
	if errors.As(err, new(final)) {
		return 0, 0
	}
	wait = delay - delay/4 + rand.N(delay/2+1)
	var status *statusError
	if !errors.As(err, &status) {
		if isTransient(err) {
			return wait, p.failures
		}
		return 0, 0
	}
	switch {
	case !status.temporary() || status.after > maxRetryAfter:
		return 0, 0
	case status.throttles():
		return max(wait, status.after), p.throttled
	}
	return wait, p.failures
}

// isTransient says if the failure of a connection may pass. What cannot pass is listed here: a server that is not
// there, or that is not who it says.
func isTransient(err error) bool {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return !dns.IsNotFound
	}
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var remote *net.OpError
	if errors.As(err, &remote) && remote.Op == "remote error" { // so crypto/tls says what the server says against us
		return false
	}
	return !errors.As(err, &certificate) && !errors.As(err, &record) && !errors.Is(err, syscall.ECONNREFUSED)
}

// sleep says whether it has slept for all of d.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// statusError is an answer that holds no file.
type statusError struct {
	code  int
	after time.Duration // of Retry-After
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("%d %s", e.code, http.StatusText(e.code))
	if e.after > maxRetryAfter {
		text += fmt.Sprintf("; the server asks to come back in %s", e.after)
	}
	return text
}

// Is makes "404 Not Found" the same as a missing file of an archive in a directory.
func (e *statusError) Is(target error) bool {
	return target == fs.ErrNotExist && (e.code == http.StatusNotFound || e.code == http.StatusGone)
}

// throttles says if the server is there and wants to be asked less often.
func (e *statusError) throttles() bool {
	return e.code == http.StatusTooManyRequests || e.code == http.StatusServiceUnavailable && e.after > 0
}

func (e *statusError) temporary() bool {
	switch e.code {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// question is what is asked about a file.
type question struct {
	offset    int64     // first byte wanted
	validator string    // for If-Range: what the bytes before that belong to
	known     time.Time // for If-Modified-Since
}

// answer is a file from offset on.
type answer struct {
	body      io.ReadCloser
	offset    int64
	validator string
	modified  time.Time
}

// open asks for a file once.
func (c *Client) open(ctx context.Context, u *url.URL, q question) (answer, error) {
	if u.Scheme == "file" || u.Scheme == "copy" {
		return openFile(u.Path, q.offset)
	}
	if c.Offline {
		return answer{}, final{&OfflineError{[]string{u.Redacted()}}}
	}
	resp, err := c.ask(ctx, u, q)
	if err != nil {
		return answer{}, err
	}
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && q.offset > 0 {
		// The file is shorter than what is there of it. Its bytes will tell.
		resp.Body.Close()
		return c.open(ctx, u, question{})
	}
	a, err := read(resp, q)
	if err != nil {
		resp.Body.Close()
	}
	return a, err
}

func openFile(path string, offset int64) (answer, error) {
	f, err := os.Open(path)
	if err != nil {
		return answer{}, final{err}
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		f.Close()
		return answer{}, final{err}
	}
	return answer{body: f, offset: offset}, nil
}

func (c *Client) ask(ctx context.Context, u *url.URL, q question) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, final{err}
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept-Encoding", "identity") // else net/http unpacks what is meant to stay packed
	if q.offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", q.offset))
	}
	if q.offset > 0 && q.validator != "" {
		req.Header.Set("If-Range", q.validator)
	}
	if !q.known.IsZero() {
		req.Header.Set("If-Modified-Since", q.known.UTC().Format(http.TimeFormat))
	}
	return c.do(req)
}

// read understands the head of an answer.
func read(resp *http.Response, q question) (answer, error) {
	a := answer{body: resp.Body, validator: validator(resp.Header)}
	a.modified, _ = http.ParseTime(resp.Header.Get("Last-Modified"))
	switch resp.StatusCode {
	case http.StatusOK:
		return a, nil
	case http.StatusPartialContent:
		a.offset = q.offset
		if r := resp.Header.Get("Content-Range"); !strings.HasPrefix(r, fmt.Sprintf("bytes %d-", q.offset)) {
			return answer{}, final{fmt.Errorf("the server was asked for bytes from %d on and sent %q", q.offset, r)}
		}
		return a, nil
	case http.StatusNotModified:
		return answer{}, final{errNotModified}
	}
	return answer{}, &statusError{resp.StatusCode, retryAfter(resp.Header.Get("Retry-After"))}
}

// validator returns what If-Range takes: a strong ETag, else the date (RFC 9110, section 13.1.5).
func validator(h http.Header) string {
	if tag := h.Get("ETag"); strings.HasPrefix(tag, `"`) {
		return tag
	}
	return h.Get("Last-Modified")
}

// retryAfter reads the header of that name: seconds or a date. It is zero if there is none.
func retryAfter(s string) time.Duration {
	if seconds, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(s); err == nil {
		return max(0, time.Until(date).Round(time.Second))
	}
	return 0
}
