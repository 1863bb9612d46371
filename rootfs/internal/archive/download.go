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
	attempts      = 6                      // without progress, for one file
	firstDelay    = 500 * time.Millisecond // then 1, 2, 4, 8 s: 15 s in all, give or take the jitter
	maxRetryAfter = 2 * time.Minute        // a server that asks for more has failed
	stallLimit    = 30 * time.Second
	progressBytes = 64 << 10 // an attempt that brought this much has made progress
	maxDocument   = 64 << 20 // bytes; the largest InRelease there is has 200 kB
)

// download writes the bytes of u to w, from offset on, over as many connections as it takes. It returns nil when the
// server says that there are no more, and an error of w as it is.
func (c *Client) download(ctx context.Context, u *url.URL, w io.Writer, offset int64) error {
	validator := ""
	return c.retry(ctx, u, func(ctx context.Context) (int64, error) {
		a, err := c.open(ctx, u, question{offset: offset, validator: validator})
		if err != nil {
			return 0, err
		}
		defer a.body.Close()
		validator = a.validator
		// A server that knows no ranges starts over. What is there already need not be compared: it will be hashed.
		if _, err := io.CopyN(io.Discard, a.body, offset-a.offset); err == io.EOF {
			return 0, nil
		} else if err != nil {
			return 0, err
		}
		n, err := copyBody(w, a.body)
		offset += n
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
func (c *Client) document(ctx context.Context, u *url.URL, known time.Time) (document, error) {
	var d document
	err := c.retry(ctx, u, func(ctx context.Context) (int64, error) {
		a, err := c.open(ctx, u, question{known: known})
		if err != nil {
			return 0, err
		}
		defer a.body.Close()
		var buffer bytes.Buffer
		n, err := copyBody(&buffer, io.LimitReader(a.body, maxDocument+1))
		if n > maxDocument {
			err = final{fmt.Errorf("more than %d bytes", maxDocument)}
		}
		d = document{buffer.Bytes(), a.modified}
		return 0, err
	})
	return d, err
}

// final marks an error after which nothing is tried again.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// copyBody copies all of body to w, and marks an error of w as final.
func copyBody(w io.Writer, body io.Reader) (int64, error) {
	s := sink{w: w}
	n, err := io.Copy(&s, body)
	if s.err != nil {
		return n, final{s.err}
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
func (c *Client) retry(ctx context.Context, u *url.URL, try func(context.Context) (int64, error)) error {
	delay, failures := c.delay(), 0
	for {
		n, err := try(ctx)
		if err == nil {
			return nil
		}
		if n >= progressBytes {
			delay, failures = c.delay(), 0
		}
		failures++
		wait, again := backoff(err, delay)
		switch {
		case !again:
		case ctx.Err() != nil:
			err = context.Cause(ctx)
		case failures == attempts:
			err = fmt.Errorf("%w (tried %d times)", err, failures)
		case !sleep(ctx, wait):
			err = context.Cause(ctx)
		default:
			delay *= 2
			continue
		}
		return explain(u, err)
	}
}

// explain says what was being fetched, except about an answer that is none of the user's business and an error of the
// writer, who has said all there is to say.
func explain(u *url.URL, err error) error {
	var f final
	if errors.As(err, &f) {
		err = f.error
	}
	if err == errNotModified {
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

// backoff says if and when to try again after err. The delay varies by a quarter up or down, so that several clients
// of a server that has just come back do not come at the same time.
func backoff(err error, delay time.Duration) (wait time.Duration, again bool) {
	if errors.As(err, new(final)) {
		return 0, false
	}
	wait = delay - delay/4 + rand.N(delay/2+1)
	var status *statusError
	if errors.As(err, &status) {
		wait = max(wait, status.after)
		return wait, status.temporary() && status.after <= maxRetryAfter
	}
	return wait, isTransient(err)
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
