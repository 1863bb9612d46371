package archive

import (
	"io/fs"
	"net/url"
	"path"
	"strings"
)

// login is an entry of apt_auth.conf(5).
type login struct {
	scheme string // the only one that it is for; empty: https
	host   string // and port, if it is for one only
	path   string // what the path of an address starts with
	user   *url.Userinfo
}

// logins are in apt's order: the first that fits is used.
type logins []login

// readLogins returns those that apt has below etc (/etc/apt). A file that is not for this user is passed over, as by
// apt: those for whom it is have no other way to keep it from the rest.
func readLogins(etc fs.FS) logins {
	var all logins
	for _, name := range append([]string{"auth.conf"}, aptParts(etc, "auth.conf.d", ".conf")...) {
		if data, err := fs.ReadFile(etc, name); err == nil {
			all = append(all, parseLogins(string(data))...)
		}
	}
	return all
}

// parseLogins reads "machine [SCHEME://]HOST[:PORT][/PATH] login NAME password WORD", with any white space between the
// words. Other words mean nothing; a line that starts with "#" is a comment.
func parseLogins(text string) logins {
	var words []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			words = append(words, strings.Fields(line)...)
		}
	}
	var all logins
	var name, password string
	for i := 0; i+1 < len(words); i++ {
		value := words[i+1]
		switch {
		case words[i] == "machine":
			all = append(all, parseMachine(value))
			name, password = "", ""
		case len(all) == 0:
			continue
		case words[i] == "login":
			name = value
		case words[i] == "password":
			password = value
		default:
			continue
		}
		all[len(all)-1].user = url.UserPassword(name, password)
		i++
	}
	return all
}

func parseMachine(word string) login {
	var l login
	if scheme, rest, ok := strings.Cut(word, "://"); ok {
		l.scheme, word = scheme, rest
	}
	slash := strings.IndexByte(word+"/", '/')
	l.host, l.path = word[:slash], word[slash:]
	return l
}

// of returns who to be at an address; nil: nobody, or the address says it itself.
func (all logins) of(u *url.URL) *url.Userinfo {
	if u.User != nil {
		return nil
	}
	for _, l := range all {
		if l.fits(u) {
			return l.user
		}
	}
	return nil
}

// fits is apt's rule. Without a scheme an entry is for https only, so that no password goes over the wire for all to
// read because nobody thought of it.
func (l login) fits(u *url.URL) bool {
	scheme := l.scheme
	if scheme == "" {
		scheme = "https"
	}
	return u.Scheme == scheme && (l.host == u.Host || l.host == u.Hostname()) && strings.HasPrefix(u.Path, l.path)
}

// aptParts returns the files with one of the suffixes in a directory of apt's configuration, in the order it reads them.
func aptParts(etc fs.FS, dir string, suffixes ...string) []string {
	entries, err := fs.ReadDir(etc, dir)
	if err != nil {
		return nil // many hosts have none
	}
	var files []string
	for _, e := range entries {
		for _, suffix := range suffixes {
			if path.Ext(e.Name()) == suffix && !e.IsDir() {
				files = append(files, path.Join(dir, e.Name()))
			}
		}
	}
	return files
}
