package archive

import (
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

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
			settings := aptSettings(apt(test.files), "")
			got := map[string]string{}
			for _, scheme := range []string{"http", "https"} {
				u, err := parseProxy(aptProxy(settings, scheme, ""))
				if err != nil {
					t.Fatal(err)
				}
				if u != nil {
					got[scheme] = u.String()
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
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

// TestProxyChoice: the proxy of the host itself, else that of all.
func TestProxyChoice(t *testing.T) {
	for _, name := range []string{"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"} {
		t.Setenv(name, "")
	}
	t.Setenv("no_proxy", "exempt.test,.local")
	etc := apt(map[string]string{
		"apt.conf": `Acquire::http::Proxy "http://apt:1"; Acquire::http::Proxy::direct.test "DIRECT";
Acquire { http { Proxy { Special.test "http://special:2/"; nonsense.test "special"; exempt.test "http://special:2"; };
	Proxy::127.0.0.2 "http://local:3"; }; https::Proxy::secure.test "https://secure:4"; };`,
		"auth.conf": "machine http://special:2 login me password x\nmachine secure login you password y",
	})
	choose := proxies(aptSettings(etc, `Acquire::http::Proxy::option.test "http://option:5";`), readLogins(etc))
	for target, want := range map[string]string{
		"http://archive.test/debian":  "http://apt:1",
		"https://archive.test/debian": "http://apt:1",
		"http://exempt.test/debian":   "",
		"http://a.local/debian":       "",
		"http://127.0.0.1:80/debian":  "",
		"http://localhost/debian":     "",
		"http://[::1]/debian":         "",
		"http://direct.test/":         "",
		"https://direct.test/":        "",
		"http://special.test:8080/":   "http://me:x@special:2/",
		"http://SPECIAL.test/":        "http://me:x@special:2/",
		"http://127.0.0.2/":           "http://local:3",
		"http://secure.test/":         "http://apt:1",
		"https://secure.test/":        "https://you:y@secure:4",
		"http://option.test/":         "http://option:5",
		"http://nonsense.test/":       `apt's proxy "special" is not an address`,
	} {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		proxy, err := choose(&http.Request{URL: u})
		got := ""
		if proxy != nil {
			got = proxy.String()
		}
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s goes by %q, not %q", target, got, want)
		}
	}
}

// TestProxyOfOptions goes by a proxy that only AptOptions name, and to which a password belongs.
func TestProxyOfOptions(t *testing.T) {
	for _, name := range []string{"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy"} {
		t.Setenv(name, "")
	}
	server := archivetest.Start(t, sample())
	proxy := strings.Replace(strings.TrimSuffix(server.URL, "/debian"), "http://", "http://me:x@", 1)
	c, s := client(t), source(t, server)
	c.Etc, c.AptOptions = apt(nil), `Acquire::http::Proxy "`+proxy+`";`
	s.URI = "http://archive.test/debian"
	if _, _, err := mainIndex(t, c, s); err != nil {
		t.Fatal(err)
	}
	for _, r := range server.Requests("") {
		if r.Header.Get("Proxy-Authorization") != "Basic bWU6eA==" || r.Header.Get("Authorization") != "" {
			t.Errorf("request %v", r)
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
	// For https it is the same one, as nothing else is said about that; and apt's word about one host is more exact.
	for target, direct := range map[string]bool{"https://archive.test/": false, "http://direct.test/": true} {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		settings := aptSettings(apt(nil), `Acquire::http::Proxy "http://apt:1"; Acquire::http::Proxy::direct.test "DIRECT";`)
		proxy, err := proxies(settings, nil)(&http.Request{URL: u})
		if err != nil || (proxy == nil) != direct || proxy != nil && proxy.String() != os.Getenv("http_proxy") {
			t.Errorf("%s goes by %v, %v", target, proxy, err)
		}
	}
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
