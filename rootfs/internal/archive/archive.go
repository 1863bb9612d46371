// Package archive reads a Debian archive (https://wiki.debian.org/DebianRepository/Format) over HTTP or from a
// directory: its Release file, its Packages indexes, and the packages in its pool.
//
// Its invariant is apt's chain of trust: a signature by a key of the keyring covers the Release file, whose SHA256
// sums cover the indexes, whose SHA256 sums cover the packages. Nothing is returned, and no file gets a name that
// anybody reads, before it was checked. What does not pass is a *VerificationError; it is never fetched again in the
// hope of something better, as it is done after a failure of the network.
//
// The other is that of time: once a Release file was taken, no older one is (see Client.Release).
//
// It does not interpret an index (package control does), chooses no package, and knows of no particular archive or
// suite. Sums other than SHA256 are ignored, sources and translations are not read. Of the host it uses what apt would:
// proxies, logins and certificates (see Client.Etc).
package archive

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"vmbuild/rootfs/layer"
)

// Source says where a suite is and whom to believe about it.
type Source struct {
	URI        string   // the archive: http, https, file or copy; what is above dists/ and pool/
	Mirrors    []string // URIs of the same archive, in the order they are turned to when URI fails
	Suite      string   // codename or alias; one that ends in "/" is a directory of a flat archive, as in sources.list(5)
	Components []string // all of them must be in the suite; none for a flat archive
	Arch       string   // Debian architecture
	Keyring    Keyring

	InRelease string // path below the suite's directory of a file that takes the place of InRelease; empty: the usual ones

	IgnoreValidUntil bool // take a Release file that has expired
	IgnoreKeyExpiry  bool // believe a key that has expired since it signed: what the keys of old suites have
	Unauthenticated  bool // take a Release file without a look at its signature, and indexes without a Release file
}

// String is how errors name a source, without a password that may be in its URI.
func (s Source) String() string { return redact(s.URI) + " " + s.Suite }

func (s Source) flat() bool { return strings.HasSuffix(s.Suite, "/") }

func (s Source) archives() []string { return append([]string{s.URI}, s.Mirrors...) }

// dists is the directory of the Release file, below the URI.
func (s Source) dists() string {
	if s.flat() {
		return path.Join(".", s.Suite)
	}
	return path.Join("dists", s.Suite)
}

// File is a file of an archive as the file that vouches for it describes it.
type File struct {
	Archive string   // URI that Path is below
	Mirrors []string // further ones, as in Source
	Path    string
	Size    int64  // bytes
	SHA256  string // hexadecimal, lower case
}

// Client fetches from archives. A field's zero value is a sane default, but Cache must be there. Its methods may be
// called from several goroutines.
type Client struct {
	Cache    *layer.Cache
	HTTP     *http.Client     // nil: one made of the fields below, which it takes the place of
	Parallel int              // connections that Fetch uses; 0: 8
	Now      func() time.Time // nil: time.Now
	Progress func(Progress)   // the calls for one Fetch or Packages do not overlap
	Delay    time.Duration    // before the first repetition after a failure, doubled each time; 0: half a second
	Stall    time.Duration    // how long a server may be silent; 0: half a minute
	Offline  bool             // take everything from the cache, but for archives in a directory

	// Etc is where apt's configuration is, nil for the host's /etc/apt, and AptOptions are lines of apt.conf(5) that are
	// read after it. They say which proxy, login and certificate to use (see proxies, readLogins, TLS). Of AptOptions
	// alone, Acquire::Check-Valid-Until and Acquire::Check-Date are heeded too: what the host thinks of its own suite
	// says nothing about others.
	Etc        fs.FS
	AptOptions string
	TLS        TLS

	once    sync.Once
	http    *http.Client
	httpErr error

	mu     sync.Mutex
	failed map[string]bool      // archives, by URI, that were of no use; see mirrors
	closed map[string]time.Time // hosts that are not to be asked before that time; see pause
}

// VerificationError says that a file of an archive is not what it should be.
type VerificationError struct {
	File    string // InRelease, or a path below the archive
	Archive string // its URI, and the suite if File is of one
	Reason  string // in words that follow those two
}

func (e *VerificationError) Error() string {
	return fmt.Sprintf("%s of %s %s", e.File, e.Archive, e.Reason)
}

// Kind is "verification".
func (e *VerificationError) Kind() string { return "verification" }

// OfflineError says what would have to be fetched and must not be.
type OfflineError struct {
	Missing []string // files, in the order they were wanted
}

// maxNamed is how many files an OfflineError names, for a whole system may be missing.
const maxNamed = 5

func (e *OfflineError) Error() string {
	named, more := e.Missing, ""
	if len(named) > maxNamed {
		named, more = named[:maxNamed], fmt.Sprintf(" and %d more", len(named)-maxNamed)
	}
	return fmt.Sprintf("not in the cache, and nothing may be fetched: %s%s", strings.Join(named, ", "), more)
}

func (c *Client) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

// locate returns the URL of a path below an archive's URI.
func locate(uri, name string) (*url.URL, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nil, fmt.Errorf("read archive's address: %w", err)
	}
	switch u.Scheme {
	case "http", "https":
		if u.Host == "" {
			return nil, fmt.Errorf("archive %q names no host", redact(uri))
		}
	case "file", "copy":
		if !path.IsAbs(u.Path) {
			return nil, fmt.Errorf("archive %q is not an absolute path", uri)
		}
	default:
		return nil, fmt.Errorf("archive %q is none of http, https, file, copy", redact(uri))
	}
	if name = path.Clean(name); !fs.ValidPath(name) {
		return nil, fmt.Errorf("path %q leads out of archive %q", name, redact(uri))
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/")+"/"+name, ""
	return u, nil
}

// isLocal says whether an archive is in a directory.
func isLocal(uri string) bool {
	return strings.HasPrefix(uri, "file:") || strings.HasPrefix(uri, "copy:")
}

func redact(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return uri
	}
	return u.Redacted()
}
