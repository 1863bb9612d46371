package archive

import (
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
)

// proxies returns which proxy a request goes through: the one that apt's settings have for its host, else the
// environment's, else the one that apt's settings have for all hosts, since a host that reaches its mirror by a proxy
// often has told apt alone. Like apt, it heeds no_proxy for all of them; like Go, it reaches this machine itself
// directly unless apt's settings name it. A proxy may have a login of apt's.
func proxies(settings map[string]string, logins logins) func(*http.Request) (*url.URL, error) {
	return func(req *http.Request) (*url.URL, error) {
		proxy, err := chooseProxy(settings, req)
		if proxy != nil && proxy.User == nil {
			proxy.User = logins.of(proxy)
		}
		return proxy, err
	}
}

func chooseProxy(settings map[string]string, req *http.Request) (*url.URL, error) {
	host := req.URL.Hostname()
	if proxy := aptProxy(settings, req.URL.Scheme, "::"+strings.ToLower(host)); proxy != "" {
		if isExempt(host) {
			return nil, nil
		}
		return parseProxy(proxy)
	}
	if inEnvironment() {
		return environmentProxy(req)
	}
	if isThisMachine(host) || isExempt(host) {
		return nil, nil
	}
	return parseProxy(aptProxy(settings, req.URL.Scheme, ""))
}

// parseProxy reads a proxy of apt's settings.
func parseProxy(proxy string) (*url.URL, error) {
	if proxy == "" || strings.EqualFold(proxy, "DIRECT") {
		return nil, nil
	}
	u, err := url.Parse(proxy)
	if err != nil || u.Host == "" {
		return nil, final{fmt.Errorf("apt's proxy %q is not an address", redact(proxy))}
	}
	return u, nil
}

// aptProxy returns the setting Proxy, or Proxy::HOST; https has that of http if none is its own (apt-transport-https(1)).
func aptProxy(settings map[string]string, scheme, host string) string {
	proxy := settings["acquire::"+scheme+"::proxy"+host]
	if proxy == "" && scheme == "https" {
		proxy = settings["acquire::http::proxy"+host]
	}
	return proxy
}

// environmentProxy is Go's choice, but that http_proxy is for https too if that has none, as for apt.
func environmentProxy(req *http.Request) (*url.URL, error) {
	proxy, err := http.ProxyFromEnvironment(req)
	if proxy != nil || err != nil || req.URL.Scheme != "https" || isSet("https_proxy", "HTTPS_PROXY") {
		return proxy, err
	}
	plain := *req.URL
	plain.Scheme = "http"
	return http.ProxyFromEnvironment(&http.Request{URL: &plain})
}

func inEnvironment() bool { return isSet("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY") }

func isSet(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return os.Getenv(name) != "" })
}

func isThisMachine(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// isExempt says if apt would go to the host directly: it is in no_proxy, or below a domain in it that starts with a dot.
func isExempt(host string) bool {
	for domain := range strings.SplitSeq(os.Getenv("no_proxy"), ",") {
		if domain == host || strings.HasPrefix(domain, ".") && strings.HasSuffix(host, domain) {
			return true
		}
	}
	return false
}

// aptSettings returns what apt's configuration below etc says, and then the text more, by the settings' whole names in
// lower case ("acquire::http::proxy"). What is set last is valid.
func aptSettings(etc fs.FS, more string) map[string]string {
	settings := map[string]string{}
	for _, name := range append(aptParts(etc, "apt.conf.d", "", ".conf"), "apt.conf") { // apt.conf(5): in this order
		data, err := fs.ReadFile(etc, name)
		if err != nil {
			continue // apt would not get far without it, but a build need not
		}
		parseAptConf(string(data), settings)
	}
	parseAptConf(more, settings)
	return settings
}

// AptSettings returns the settings in a text of apt.conf(5), by their whole names in lower case: "acquire::http::proxy".
func AptSettings(text string) map[string]string {
	settings := map[string]string{}
	parseAptConf(text, settings)
	return settings
}

// IsTrue says whether a setting switches something on.
func IsTrue(setting string) bool {
	return slices.Contains([]string{"yes", "true", "with", "on", "enable", "1"}, strings.ToLower(setting))
}

// isFalse is apt's StringToBool: a word that it does not know leaves the default, which is true wherever this is asked.
func isFalse(setting string) bool {
	return slices.Contains([]string{"no", "false", "without", "off", "disable", "0"}, strings.ToLower(setting))
}

// aptToken is a comment, a string, a mark or a word of apt.conf.
var aptToken = regexp.MustCompile(`(?s)//[^\n]*|#[^\n]*|/\*.*?\*/|"[^"\n]*"|[{};]|[^\s"{};]+`)

// parseAptConf adds the settings in the text of a configuration file of apt to settings. Both styles of apt.conf(5) are
// understood, A::B "value"; and A { B "value"; };. What is not a setting is passed over.
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
