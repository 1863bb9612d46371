package archive

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	bignum "math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/archivetest"
)

// apt is a configuration of apt's.
func apt(files map[string]string) fstest.MapFS {
	etc := fstest.MapFS{}
	for name, text := range files {
		etc[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return etc
}

// serve starts a server for a handler, over TLS if config is not nil, and returns its address.
func serve(t *testing.T, h http.Handler, config *tls.Config) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = config
	if config != nil {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server
}

func writePEM(t *testing.T, name, kind string, der []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// clientCertificate makes a certificate and its key, in one file and in two.
func clientCertificate(t *testing.T) (certificate *x509.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: bignum.NewInt(1), Subject: pkix.Name{CommonName: "builder"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, writePEM(t, "cert.pem", "CERTIFICATE", der), writePEM(t, "key.pem", "PRIVATE KEY", keyDER)
}

func TestHTTPS(t *testing.T) {
	archive := archivetest.Start(t, sample())
	open := serve(t, archive, &tls.Config{})
	ca := writePEM(t, "ca.pem", "CERTIFICATE", open.Certificate().Raw)
	certificate, certFile, keyFile := clientCertificate(t)
	known := x509.NewCertPool()
	known.AddCert(certificate)
	closed := serve(t, archive, &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: known})
	junk := writePEM(t, "junk.pem", "JUNK", nil)
	for _, test := range []struct {
		name   string
		server *httptest.Server
		tls    TLS
		apt    string
		want   string // part of the error
	}{
		{"host's authorities", open, TLS{}, "", "certificate signed by unknown authority"},
		{"authority", open, TLS{CA: ca}, "", ""},
		{"another authority", open, TLS{CA: certFile}, "", "certificate signed by unknown authority"},
		{"no check", open, TLS{NoCheck: true}, "", ""},
		{"apt's authority", open, TLS{}, `Acquire::https::CaInfo "` + ca + `";`, ""},
		{"apt does not check", open, TLS{}, `Acquire::https { Verify-Peer "false"; };`, ""},
		{"no authority in the file", open, TLS{CA: junk}, "", "read certificates of authorities: none is in " + junk},
		{"no file", open, TLS{CA: "/none"}, "", "read certificates of authorities: open /none: no such file or directory"},
		{"no client certificate", closed, TLS{CA: ca}, "", "InRelease: remote error: tls: certificate required"},
		{"client certificate", closed, TLS{CA: ca, Certificate: certFile, Key: keyFile}, "", ""},
		{"client certificate without key", closed, TLS{CA: ca, Certificate: certFile}, "",
			"read client certificate: tls: found a certificate rather than a key in the PEM for the private key"},
		{"apt's client certificate", closed, TLS{CA: ca},
			`Acquire::https::SslCert "` + certFile + `"; Acquire::https::SslKey "` + keyFile + `";`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, s := client(t), source(t, archive)
			c.TLS, c.Etc = test.tls, apt(map[string]string{"apt.conf": test.apt})
			s.URI = test.server.URL + "/debian"
			_, err := c.Release(t.Context(), s)
			if err != nil && strings.Contains(err.Error(), "tried") {
				t.Errorf("it is of no use to try again: %v", err)
			}
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error is %v, not %q", err, test.want)
			}
		})
	}
}

// TestUnknownServer is asked once: it will not become another.
func TestUnknownServer(t *testing.T) {
	connections := 0
	server := httptest.NewUnstartedServer(archivetest.Start(t, sample()))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections++
		}
	}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	c := client(t)
	_, err := c.Release(t.Context(), Source{URI: server.URL, Suite: "trixie"})
	server.Close()
	if err == nil || strings.Contains(err.Error(), "tried") || connections != 1 {
		t.Errorf("after %d connections: %v", connections, err)
	}
}

func TestRedirects(t *testing.T) {
	archive := archivetest.Start(t, sample())
	to := func(url string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, url+r.URL.Path, http.StatusFound)
		})
	}
	root := strings.TrimSuffix(archive.URL, "/debian")
	secure := serve(t, archive, &tls.Config{})
	var loop *httptest.Server
	loop = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { to(loop.URL).ServeHTTP(w, r) }), nil)
	for _, test := range []struct {
		name, uri string
		want      string
	}{
		{"once", serve(t, to(root), nil).URL, ""},
		{"twice", serve(t, to(serve(t, to(root), nil).URL), nil).URL, ""},
		{"to https", serve(t, to(secure.URL), nil).URL, ""},
		{"from https", serve(t, to(root), &tls.Config{}).URL, "redirected from https to URL/dists/trixie/InRelease"},
		{"for ever", loop.URL, "redirected 10 times, at last to " + loop.URL + "/debian/dists/trixie/InRelease"},
		{"to a file", serve(t, to("file:"), nil).URL, "redirected to file:/debian/dists/trixie/InRelease"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, s := client(t), source(t, archive)
			c.TLS.NoCheck = true
			s.URI = test.uri + "/debian"
			_, err := c.Release(t.Context(), s)
			if test.want != "" {
				fails(t, archive, err, "fetch "+s.URI+"/dists/trixie/InRelease: "+test.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			// A download that breaks off goes on behind the redirect.
			f := pool(t, archive, "big")
			archive.Break(archivetest.Faults{Cut: map[string][]int{f.Path: {1000}}})
			f.Archive = s.URI
			if err := c.Fetch(t.Context(), []File{f}, nothing); err != nil || archive.Sent(f.Path) != int(f.Size) {
				t.Errorf("%d bytes of %d were sent, %v", archive.Sent(f.Path), f.Size, err)
			}
		})
	}
}

func TestIPv6(t *testing.T) {
	listener, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	}
	archive := archivetest.Start(t, sample())
	server := httptest.NewUnstartedServer(archive)
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	c, s := client(t), source(t, archive)
	s.URI = "http://" + listener.Addr().String() + "/debian"
	if !strings.HasPrefix(s.URI, "http://[::1]:") {
		t.Fatalf("URI is %s", s.URI)
	}
	if _, _, err := mainIndex(t, c, s); err != nil {
		t.Error(err)
	}
}

// TestLogin: an archive with a password, given in the URI or in apt's configuration.
func TestLogin(t *testing.T) {
	archive := archivetest.Start(t, sample())
	guard := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, password, _ := r.BasicAuth(); name != "me" || password != "s3cret:@/" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		archive.ServeHTTP(w, r)
	})
	plain, secure := serve(t, guard, nil), serve(t, guard, &tls.Config{})
	host := strings.TrimPrefix(plain.URL, "http://")
	secureHost := strings.TrimPrefix(secure.URL, "https://")
	const entry = " login me password s3cret:@/\n"
	moved := serve(t, http.RedirectHandler(plain.URL+"/debian/dists/trixie/InRelease", http.StatusFound), nil)
	for _, test := range []struct {
		name, uri string
		files     map[string]string
		want      string
	}{
		{"none", plain.URL, nil, "401 Unauthorized"},
		{"in the URI", "http://me:s3cret%3A%40%2F@" + host, nil, ""},
		{"wrong in the URI", "http://me:x@" + host, map[string]string{"auth.conf": "machine http://" + host + entry}, "401 Unauthorized"},
		{"for the host", plain.URL, map[string]string{"auth.conf": "# a comment\nmachine http://127.0.0.1" + entry}, ""},
		{"for the port", plain.URL, map[string]string{"auth.conf.d/x.conf": "machine\nhttp://" + host + entry}, ""},
		{"for the path", plain.URL, map[string]string{"auth.conf.d/x.conf": "machine http://" + host + "/debian/" + entry}, ""},
		{"for another path", plain.URL, map[string]string{"auth.conf": "machine http://" + host + "/ubuntu" + entry}, "401 Unauthorized"},
		{"for https only", plain.URL, map[string]string{"auth.conf": "machine " + host + entry}, "401 Unauthorized"},
		{"for https", secure.URL, map[string]string{"auth.conf": "machine " + secureHost + entry}, ""},
		{"not a .conf", plain.URL, map[string]string{"auth.conf.d/x": "machine http://" + host + entry}, "401 Unauthorized"},
		{"first of two", plain.URL, map[string]string{"auth.conf": "machine http://" + host + entry,
			"auth.conf.d/x.conf": "machine http://" + host + " login you password x"}, ""},
		{"behind a redirect", moved.URL, map[string]string{"auth.conf": "machine http://" + host + entry}, ""},
		{"not behind a redirect", strings.Replace(moved.URL, "http://", "http://me:s3cret%3A%40%2F@", 1), nil, "401 Unauthorized"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, s := client(t), source(t, archive)
			c.Etc, c.TLS.NoCheck = apt(test.files), true
			s.URI = test.uri + "/debian"
			_, err := c.Release(t.Context(), s)
			got := ""
			if err != nil {
				_, got, _ = strings.Cut(err.Error(), "InRelease: ")
				if strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), ":x@") {
					t.Errorf("a password is in the error: %v", err)
				}
			}
			if got != test.want {
				t.Errorf("error is %v, not %q", err, test.want)
			}
		})
	}
}

func TestParseLogins(t *testing.T) {
	for text, want := range map[string][]string{
		"":                                    nil,
		"login x password y":                  nil,
		"machine a login x password y":        {"https a  x:y"},
		"machine http://a/b/c login x":        {"http a /b/c x:"},
		"machine a:1/ account z password y":   {"https a:1 / :y"},
		"machine a login machine password ! ": {"https a  machine:%21"},
		"machine a login x\n#machine b\nmachine c\n\tlogin\n y": {"https a  x:", "https c  y:"},
		"machine": nil,
	} {
		var got []string
		for _, l := range parseLogins(text) {
			scheme := l.scheme
			if scheme == "" {
				scheme = "https"
			}
			got = append(got, strings.Join([]string{scheme, l.host, l.path, l.user.String()}, " "))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func FuzzLogins(f *testing.F) {
	f.Add("machine http://host:80/path login me password x")
	f.Add("machine a\n# comment\nlogin b machine")
	f.Fuzz(func(t *testing.T, text string) {
		for _, l := range parseLogins(text) {
			if strings.Contains(l.host, "/") || l.path != "" && l.path[0] != '/' {
				t.Errorf("%q is read as %+v", text, l)
			}
		}
	})
}
