package archive

import (
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"regexp"
	"strings"
)

// proxies returns which proxy a request goes through: the environment's, else the one of apt's configuration, which is
// below etc (/etc/apt), since a host that reaches its mirror by a proxy often has told apt alone. Like apt, it heeds
// no_proxy for both; like Go, it reaches this machine itself directly.
func proxies(etc fs.FS) func(*http.Request) (*url.URL, error) {
	apt := aptProxies(etc)
	return func(req *http.Request) (*url.URL, error) {
		if inEnvironment() {
			return http.ProxyFromEnvironment(req)
		}
		proxy := apt[req.URL.Scheme]
		if proxy == "" || isExempt(req.URL.Hostname()) {
			return nil, nil
		}
		return url.Parse(proxy)
	}
}

func inEnvironment() bool {
	for _, name := range []string{"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return false
}

// isExempt says if apt would go to the host directly: it is in no_proxy, or below a domain in it that starts with a dot.
func isExempt(host string) bool {
	ip := net.ParseIP(host)
	if host == "localhost" || ip != nil && ip.IsLoopback() {
		return true
	}
	for domain := range strings.SplitSeq(os.Getenv("no_proxy"), ",") {
		if domain == host || strings.HasPrefix(domain, ".") && strings.HasSuffix(host, domain) {
			return true
		}
	}
	return false
}

// aptProxies returns the proxy for each of the schemes http and https, if there is one.
func aptProxies(etc fs.FS) map[string]string {
	settings := map[string]string{}
	for _, name := range aptFiles(etc) {
		data, err := fs.ReadFile(etc, name)
		if err != nil {
			continue // apt would not get far without it, but a build need not
		}
		parseAptConf(string(data), settings)
	}
	proxy := map[string]string{"http": settings["acquire::http::proxy"], "https": settings["acquire::https::proxy"]}
	if proxy["https"] == "" { // apt-transport-https(1): as for http
		proxy["https"] = proxy["http"]
	}
	for scheme, value := range proxy {
		if value == "" || strings.EqualFold(value, "DIRECT") {
			delete(proxy, scheme)
		}
	}
	return proxy
}

// aptFiles returns the files that apt reads, in its order (apt.conf(5)); what a later one sets is valid.
func aptFiles(etc fs.FS) []string {
	var files []string
	entries, err := fs.ReadDir(etc, "apt.conf.d")
	if err != nil {
		entries = nil // most hosts have none
	}
	for _, e := range entries {
		if ext := path.Ext(e.Name()); ext == "" || ext == ".conf" {
			files = append(files, path.Join("apt.conf.d", e.Name()))
		}
	}
	return append(files, "apt.conf")
}

// aptToken is a comment, a string, a mark or a word of apt.conf.
var aptToken = regexp.MustCompile(`(?s)//[^\n]*|#[^\n]*|/\*.*?\*/|"[^"\n]*"|[{};]|[^\s"{};]+`)

// parseAptConf adds the settings in the text of a configuration file of apt to settings, by their whole names in lower
// case ("acquire::http::proxy"). Both styles of apt.conf(5) are understood, A::B "value"; and A { B "value"; };.
// What is not a setting is passed over.
func parseAptConf(text string, settings map[string]string) {
	var scopes, words []string
	for _, token := range aptToken.FindAllString(text, -1) {
		switch {
		case strings.HasPrefix(token, "//"), strings.HasPrefix(token, "#"), strings.HasPrefix(token, "/*"):
		case token == "{":
			scopes = append(scopes, strings.Join(words, "::"))
			words = nil
		case token == "}":
			scopes = scopes[:max(0, len(scopes)-1)]
			words = nil
		case token == ";":
			if len(words) == 2 {
				name := strings.Join(append(scopes[:len(scopes):len(scopes)], words[0]), "::")
				settings[strings.ToLower(name)] = strings.Trim(words[1], `"`)
			}
			words = nil
		default:
			words = append(words, token)
		}
	}
}
