package archive

import (
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/archivetest"
	"vmbuild/rootfs/layer"
)

func TestAptProxies(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		want  map[string]string
	}{
		{"nothing", nil, map[string]string{}},
		{"one line", map[string]string{"apt.conf": `Acquire::http::Proxy "http://proxy:3142";`},
			map[string]string{"http": "http://proxy:3142", "https": "http://proxy:3142"}},
		{"no quotes", map[string]string{"apt.conf": `acquire::HTTP::proxy http://proxy:3142/;`},
			map[string]string{"http": "http://proxy:3142/", "https": "http://proxy:3142/"}},
		{"scopes", map[string]string{"apt.conf.d/50x": `APT { NeverAutoRemove { "^linux.*"; }; };
Acquire {
  Retries "3"; # Acquire::http::Proxy "http://comment";
  http { Timeout "10"; Proxy "http://proxy:1"; Proxy::archive.test DIRECT; };
  https::Proxy "http://proxy:2";
}; // the end`}, map[string]string{"http": "http://proxy:1", "https": "http://proxy:2"}},
		{"later files win", map[string]string{
			"apt.conf.d/10first.conf": `Acquire::http::Proxy "http://first";`,
			"apt.conf.d/20second":     `Acquire::http::Proxy "http://second";`,
			"apt.conf.d/30third.bak":  `Acquire::http::Proxy "http://third";`,
		}, map[string]string{"http": "http://second", "https": "http://second"}},
		{"direct", map[string]string{
			"apt.conf.d/10first": `Acquire::http::Proxy "http://first";`,
			"apt.conf":           `/* not today */ Acquire::http::Proxy "DIRECT";`,
		}, map[string]string{}},
		{"not for https", map[string]string{
			"apt.conf": `Acquire::http::Proxy "http://first"; Acquire::https::Proxy "DIRECT";`,
		}, map[string]string{"http": "http://first"}},
		{"nonsense", map[string]string{"apt.conf": `}}}; { "; Acquire::http::Proxy`}, map[string]string{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			etc := fstest.MapFS{}
			for name, text := range test.files {
				etc[name] = &fstest.MapFile{Data: []byte(text)}
			}
			if diff := cmp.Diff(test.want, aptProxies(etc)); diff != "" {
				t.Errorf("proxies (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzAptConf(f *testing.F) {
	f.Add(`Acquire::http::Proxy "http://proxy:3142";`)
	f.Add(`Acquire { http { Proxy "http://proxy"; }; }; // x`)
	f.Add(`#clear Acquire; /* */ "`)
	f.Fuzz(func(t *testing.T, text string) {
		settings := map[string]string{}
		parseAptConf(text, settings)
		for name := range settings {
			if name != strings.ToLower(name) {
				t.Errorf("name %q", name)
			}
		}
	})
}

func TestProxyChoice(t *testing.T) {
	apt := fstest.MapFS{"apt.conf": &fstest.MapFile{Data: []byte(`Acquire::http::Proxy "http://apt:1";`)}}
	for _, name := range []string{"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"} {
		t.Setenv(name, "")
	}
	t.Setenv("no_proxy", "exempt.test,.local")
	choose := proxies(apt)
	for target, want := range map[string]string{
		"http://archive.test/debian":  "http://apt:1",
		"https://archive.test/debian": "http://apt:1",
		"http://exempt.test/debian":   "",
		"http://a.local/debian":       "",
		"http://127.0.0.1:80/debian":  "",
		"http://localhost/debian":     "",
		"http://[::1]/debian":         "",
	} {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		got, err := choose(&http.Request{URL: u})
		if err != nil {
			t.Fatal(err)
		}
		if got == nil {
			got = &url.URL{}
		}
		if got.String() != want {
			t.Errorf("%s goes by %q, not %q", target, got, want)
		}
	}
}

// TestProxyOfEnvironment is run again as a process of its own, since net/http looks at the environment once.
func TestProxyOfEnvironment(t *testing.T) {
	if dir := os.Getenv("ARCHIVE_TEST_PROXY"); dir != "" {
		fetchByProxy(t, dir)
		return
	}
	server := archivetest.Start(t, sample())
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/keyring", server.Site().Keyring(), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestProxyOfEnvironment$")
	cmd.Env = append(os.Environ(), "ARCHIVE_TEST_PROXY="+dir, "http_proxy="+strings.TrimSuffix(server.URL, "/debian"), "no_proxy=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := len(server.Requests("dists/trixie/InRelease")); n != 1 {
		t.Errorf("there were %d requests for InRelease", n)
	}
}

func fetchByProxy(t *testing.T, dir string) {
	cache, err := layer.Open(dir + "/cache")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(dir + "/keyring")
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{Cache: cache}
	s := Source{URI: "http://archive.test/debian", Suite: "trixie", Arch: "amd64", Keyring: keyring(t, data)}
	if _, err := c.Release(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}
