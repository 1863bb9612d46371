package rootfs

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/internal/control"
	"vmbuild/rootfs/mirror"
	"vmbuild/rootfs/offers"
)

// TestVariantsEqualMmdebstraps: for each suite and variant the packages are the ones that mmdebstrap would install.
func TestVariantsEqualMmdebstraps(t *testing.T) {
	offers.Need(t, "net", "build")
	offers.Programs(t, "mmdebstrap")
	server := mirrorOnce(t)
	buildsWithRequired := isBefore14(t)
	for _, suite := range []string{"bullseye", "bookworm", "trixie", "sid"} {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			for _, variant := range []string{"essential", "apt", "required", "buildd", "important", "standard"} {
				spec := Spec{
					Arch: "amd64", Suite: suite, Mirror: server, Security: mirror.None, NoUpdates: true, Variant: variant,
					IgnoreValidUntil: true,
				}
				if variant == "buildd" && buildsWithRequired {
					spec.Variant, spec.Include = "required", []string{"build-essential"}
				}
				got := variantPackages(t, spec)
				want := simulated(t, variant, suite, server)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-mmdebstrap +vmbuild):\n%s", variant, diff)
				}
				t.Logf("%s: %d packages", variant, len(got))
			}
		})
	}
}

// isBefore14 says whether mmdebstrap still has the packages of priority required in variant buildd, as it had before 1.4.0.
func isBefore14(t *testing.T) bool {
	t.Helper()
	out, err := exec.Command("mmdebstrap", "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	version := strings.TrimSpace(strings.TrimPrefix(string(out), "mmdebstrap "))
	return control.CompareVersions(version, "1.4.0") < 0
}

// variantPackages are the names and versions that a Spec comes to, sorted.
func variantPackages(t *testing.T, s Spec) []string {
	t.Helper()
	lock, err := newBuilder(t).Resolve(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, p := range lock.Packages {
		list = append(list, p.Name+" "+p.Version)
	}
	slices.Sort(list)
	return list
}

// installs are the lines in which apt says what it would install.
var installs = regexp.MustCompile(`(?m)^Inst (\S+) (?:\[\S+\] )?\((\S+) `)

func simulated(t *testing.T, variant, suite, server string) []string {
	t.Helper()
	out, err := exec.Command("mmdebstrap", "--simulate", "--verbose", "--variant="+variant, suite, "/dev/null",
		"--aptopt=Acquire::Check-Valid-Until \"false\"", "deb "+server+" "+suite+" main").CombinedOutput()
	if err != nil {
		t.Fatalf("mmdebstrap: %v\n%s", err, out)
	}
	var list []string
	for _, m := range installs.FindAllSubmatch(out, -1) {
		list = append(list, string(m[1])+" "+string(m[2]))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// mirrorOnce serves the host's Debian mirror and fetches each file from it at most once.
func mirrorOnce(t *testing.T) string {
	t.Helper()
	mirrors, err := mirror.OfHost(os.DirFS("/etc/apt"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := sha256.Sum256([]byte(r.URL.Path))
		path := filepath.Join(dir, hex.EncodeToString(name[:]))
		if _, err := os.Stat(path); err != nil {
			if status := fetchOnce(mirrors.Main+r.URL.Path, path); status != http.StatusOK {
				w.WriteHeader(status)
				return
			}
		}
		http.ServeFile(w, r, path)
	}))
	t.Cleanup(server.Close)
	return server.URL
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
		return http.StatusBadGateway
	}
	return http.StatusOK
}
