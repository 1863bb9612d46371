package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

// client returns the HTTP client of c.
func (c *Client) client() *http.Client {
	c.once.Do(func() {
		if c.http = c.HTTP; c.http == nil {
			c.http = &http.Client{Transport: c.transport()}
		}
	})
	return c.http
}

func (c *Client) transport() *http.Transport {
	dialer := net.Dialer{Timeout: c.stall(), KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:               proxies(os.DirFS("/etc/apt")),
		DialContext:         dialer.DialContext,
		ForceAttemptHTTP2:   true,
		TLSHandshakeTimeout: c.stall(),
		MaxIdleConnsPerHost: c.parallel(), // all connections are kept for the next file
		IdleConnTimeout:     90 * time.Second,
	}
}

func (c *Client) stall() time.Duration {
	if c.Stall > 0 {
		return c.Stall
	}
	return stallLimit
}

// do sends a request, and cuts the connection if the server is silent for too long, before or within its answer.
func (c *Client) do(req *http.Request) (*http.Response, error) {
	limit := c.stall()
	silent := fmt.Errorf("the server sent nothing for %s", limit)
	ctx, cancel := context.WithCancelCause(req.Context())
	watchdog := time.AfterFunc(limit, func() { cancel(silent) })
	w := &watchedBody{ctx: ctx, cancel: cancel, watchdog: watchdog, limit: limit}
	resp, err := c.client().Do(req.WithContext(ctx))
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
	switch {
	case errors.Is(err, context.Canceled):
		return context.Cause(w.ctx)
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return errors.New("the connection was closed too early")
	}
	return err
}
