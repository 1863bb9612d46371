package offers

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vmbuild/rootfs/mirror"
)

// Mirror serves the host's Debian mirror on the loopback address, and fetches each file from it at most once: for programs
// that judge, which have no cache of their own. What never changes, by its path, is kept from run to run.
func Mirror(t testing.TB) (url string) {
	t.Helper()
	mirrors, err := mirror.OfHost(os.DirFS("/etc/apt"))
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	lasting := filepath.Join(cache, "vmbuild-test", "mirror")
	if err := os.MkdirAll(lasting, 0o755); err != nil {
		t.Fatal(err)
	}
	m := onceMirror{main: mirrors.Main, lasting: lasting, passing: t.TempDir()}
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	return server.URL
}

type onceMirror struct{ main, lasting, passing string }

func (m onceMirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	dir := m.passing
	if strings.HasPrefix(r.URL.Path, "/pool/") || strings.Contains(r.URL.Path, "/by-hash/") {
		dir = m.lasting
	}
	name := sha256.Sum256([]byte(r.URL.Path))
	path := filepath.Join(dir, hex.EncodeToString(name[:]))
	if _, err := os.Stat(path); err != nil {
		if status := fetchOnce(m.main+r.URL.Path, path); status != http.StatusOK {
			w.WriteHeader(status)
			return
		}
	}
	http.ServeFile(w, r, path)
}

// fetchOnce keeps what a URL has and returns the status of the answer.
func fetchOnce(url, path string) int {
	answer, err := http.Get(url)
	if err != nil {
		return http.StatusBadGateway
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return answer.StatusCode
	}
	f, err := os.CreateTemp(filepath.Dir(path), "part-")
	if err != nil {
		return http.StatusInternalServerError
	}
	defer f.Close()
	if _, err := io.Copy(f, answer.Body); err != nil || os.Rename(f.Name(), path) != nil {
		os.Remove(f.Name())
		return http.StatusBadGateway
	}
	return http.StatusOK
}
