// Package archive serves Debian's archives on the loopback address, so that all programs of a comparison take their packages
// from the same place and none waits for the network. It is a mirror (http://127.0.0.1:PORT/debian), and a proxy for
// programs that have an address of their own.
//
// Keep fetches each file once and serves it from disk from then on; Pass keeps nothing, and says how long the network took.
// It checks no signature: those who take packages from here do.
package archive

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"vmbuild/rootfs/mirror"
)

// The archives' names, which are the first parts of their paths here.
const (
	Main     = "debian"
	Security = "debian-security"
)

// Server answers at URL until it is closed.
type Server struct {
	URL string // without a slash at its end; the archives are below it
	http.Server
}

// Start serves what keeps or passes on the files of archives, on a port of the loopback address that is free.
func Start(h http.Handler) (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("serve archives: %w", err)
	}
	s := &Server{URL: "http://" + listener.Addr().String(), Server: http.Server{Handler: h}}
	go func() { _ = s.Serve(listener) }() // it ends when the server is closed
	return s, nil
}

// Close breaks off what is being answered.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return s.Server.Close()
}

// Environment are the variables by which programs take this server as their proxy.
func (s *Server) Environment() []string {
	return []string{"http_proxy=" + s.URL, "HTTP_PROXY=" + s.URL, "no_proxy=", "NO_PROXY="}
}

// upstream finds the address of what a request asks for: a path below an archive's name, or as a proxy's client has it the
// whole address. It returns nil for what is in none of the archives.
func upstream(m mirror.Mirrors, r *http.Request) *url.URL {
	address := r.URL.String()
	if !r.URL.IsAbs() || r.URL.Host == localHost(r) {
		name, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
		base := map[string]string{Main: m.Main, Security: m.Security}[name]
		if base == "" {
			return nil
		}
		address = base + "/" + rest
	}
	u, err := url.Parse(address)
	if err != nil || !below(m.Main, address) && !below(m.Security, address) {
		return nil
	}
	return u
}

func below(base, address string) bool { return base != "" && strings.HasPrefix(address, base+"/") }

// localHost is the address at which a request came in.
func localHost(r *http.Request) string {
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		return a.String()
	}
	return ""
}

// Passed are archives' files that are fetched anew for each request, and how long that took.
type Passed struct {
	Meter
	proxy httputil.ReverseProxy
	from  mirror.Mirrors
}

// Pass passes requests on to the mirrors.
func Pass(from mirror.Mirrors) *Passed {
	p := &Passed{from: from}
	p.proxy = httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL = upstream(from, r.In)
			r.Out.Host = r.Out.URL.Host
		},
		Transport:     &p.Meter,
		FlushInterval: -1,
	}
	return p
}

func (p *Passed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if upstream(p.from, r) == nil {
		http.NotFound(w, r)
		return
	}
	p.proxy.ServeHTTP(w, r)
}
