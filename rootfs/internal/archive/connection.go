package archive

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

// TLS says which servers to believe on https, and who to be to them: PEM files. What is empty is what AptOptions and
// the host's apt say about it in Acquire::https (CaInfo, SslCert, SslKey, Verify-Peer), else the host's own store.
type TLS struct {
	CA          string // the only certificates that may have signed a server's
	Certificate string // the client's, for servers that ask for one
	Key         string // its private key; empty: it is in Certificate
	NoCheck     bool   // believe any server; the signatures of archives are verified all the same
}

// client returns the HTTP client of c.
func (c *Client) client() (*http.Client, error) {
	c.once.Do(func() {
		if c.http = c.HTTP; c.http != nil {
			return
		}
		transport, err := c.transport()
		if err != nil {
			c.httpErr = final{ownError{err}}
			return
		}
		c.http = &http.Client{Transport: authorized{transport, readLogins(c.etc())}, CheckRedirect: checkRedirect}
	})
	return c.http, c.httpErr
}

func (c *Client) transport() (*http.Transport, error) {
	settings := aptSettings(c.etc(), c.AptOptions)
	config, err := c.TLS.orElse(settings).config()
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: c.stall(), KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:               proxies(settings, readLogins(c.etc())),
		DialContext:         dialer.DialContext,
		TLSClientConfig:     config,
		ForceAttemptHTTP2:   true,
		TLSHandshakeTimeout: c.stall(),
		MaxIdleConnsPerHost: c.parallel(), // all connections are kept for the next file
		IdleConnTimeout:     90 * time.Second,
	}, nil
}

func (c *Client) etc() fs.FS {
	if c.Etc != nil {
		return c.Etc
	}
	return os.DirFS("/etc/apt")
}

// orElse fills in what apt's settings say.
func (t TLS) orElse(settings map[string]string) TLS {
	if t.CA == "" {
		t.CA = settings["acquire::https::cainfo"]
	}
	if t.Certificate == "" {
		t.Certificate, t.Key = settings["acquire::https::sslcert"], settings["acquire::https::sslkey"]
	}
	t.NoCheck = t.NoCheck || isFalse(settings["acquire::https::verify-peer"])
	return t
}

func (t TLS) config() (*tls.Config, error) {
	config := &tls.Config{InsecureSkipVerify: t.NoCheck}
	if t.CA != "" {
		data, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("read certificates of authorities: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("read certificates of authorities: none is in %s", t.CA)
		}
	}
	if t.Certificate != "" {
		if t.Key == "" {
			t.Key = t.Certificate
		}
		own, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
		if err != nil {
			return nil, fmt.Errorf("read client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}

// maxRedirects is the limit of net/http.
const maxRedirects = 10

// checkRedirect lets a server send us anywhere but, as with apt, from an encrypted connection to another kind.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return final{fmt.Errorf("redirected %d times, at last to %s", maxRedirects, req.URL.Redacted())}
	}
	switch scheme := req.URL.Scheme; {
	case scheme != "http" && scheme != "https":
		return final{fmt.Errorf("redirected to %s", req.URL.Redacted())}
	case via[len(via)-1].URL.Scheme == "https" && scheme != "https":
		return final{fmt.Errorf("redirected from https to %s", req.URL.Redacted())}
	}
	return nil
}

// authorized adds the login that apt has for the address of a request, each time anew when there are redirects.
type authorized struct {
	http.RoundTripper
	logins logins
}

func (a authorized) RoundTrip(req *http.Request) (*http.Response, error) {
	if user := a.logins.of(req.URL); user != nil && req.Header.Get("Authorization") == "" {
		password, _ := user.Password()
		req = req.Clone(req.Context())
		req.SetBasicAuth(user.Username(), password)
	}
	return a.RoundTripper.RoundTrip(req)
}

func (c *Client) stall() time.Duration {
	if c.Stall > 0 {
		return c.Stall
	}
	return stallLimit
}

// do sends a request, and cuts the connection if the server is silent for too long, before or within its answer.
func (c *Client) do(req *http.Request) (*http.Response, error) {
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	limit := c.stall()
	silent := fmt.Errorf("the server sent nothing for %s", limit)
	ctx, cancel := context.WithCancelCause(req.Context())
	watchdog := time.AfterFunc(limit, func() { cancel(silent) })
	w := &watchedBody{ctx: ctx, cancel: cancel, watchdog: watchdog, limit: limit}
	resp, err := client.Do(req.WithContext(ctx))
	watchdog.Stop()
	if err != nil {
		cancel(nil)
		return nil, w.say(err)
	}
	w.body, resp.Body = resp.Body, w
	return resp, nil
}

// watchedBody is the body of an answer. The time its reader takes between two reads does not count.
type watchedBody struct {
	body     io.ReadCloser
	ctx      context.Context
	cancel   context.CancelCauseFunc
	watchdog *time.Timer
	limit    time.Duration
}

func (w *watchedBody) Read(p []byte) (int, error) {
	w.watchdog.Reset(w.limit)
	n, err := w.body.Read(p)
	w.watchdog.Stop()
	if err != nil && err != io.EOF {
		err = w.say(err)
	}
	return n, err
}

func (w *watchedBody) Close() error {
	w.watchdog.Stop()
	w.cancel(nil)
	return w.body.Close()
}

// say puts what net/http says of a broken connection into words. The URL is left out: explain says it.
func (w *watchedBody) say(err error) error {
	var where *url.Error
	if errors.As(err, &where) {
		err = where.Err
	}
	var refused *net.OpError
	switch {
	case errors.Is(err, context.Canceled):
		return context.Cause(w.ctx)
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return errors.New("the connection was closed too early")
	case errors.As(err, &refused) && refused.Op == "remote error": // an alert of TLS, which net/http may have wrapped
		return refused
	}
	return err
}
