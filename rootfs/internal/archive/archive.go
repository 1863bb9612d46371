// Package archive reads a Debian archive (https://wiki.debian.org/DebianRepository/Format) over HTTP or from a
// directory: its Release file, its Packages indexes, and the packages in its pool.
//
// Its invariant is apt's chain of trust: a signature by a key of the keyring covers the Release file, whose SHA256
// sums cover the indexes, whose SHA256 sums cover the packages. Nothing is returned, and no file gets a name that
// anybody reads, before it was checked. What does not pass is a *VerificationError; it is never fetched again in the
// hope of something better, as it is done after a failure of the network.
//
// It does not interpret an index (package control does), chooses no package, and knows of no particular archive or
// suite. Sums other than SHA256 are ignored, sources and translations are not read.
package archive

import (
	"fmt"
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
	Suite      string   // codename or alias; one that ends in "/" is a directory of a flat archive, as in sources.list(5)
	Components []string // all of them must be in the suite; none for a flat archive
	Arch       string   // Debian architecture
	Keyring    Keyring

	IgnoreValidUntil bool // take a Release file that has expired
	Unauthenticated  bool // take a Release file without a look at its signature
}

// String is how errors name a source, without a password that may be in its URI.
func (s Source) String() string { return redact(s.URI) + " " + s.Suite }

func (s Source) flat() bool { return strings.HasSuffix(s.Suite, "/") }

// dists is the directory of the Release file, below the URI.
func (s Source) dists() string {
	if s.flat() {
		return path.Clean(s.Suite)
	}
	return path.Join("dists", s.Suite)
}

// File is a file of an archive as the file that vouches for it describes it.
type File struct {
	Archive string // URI that Path is below
	Path    string
	Size    int64  // bytes
	SHA256  string // hexadecimal, lower case
}

// Client fetches from archives. A field's zero value is a sane default, but Cache must be there. Its methods may be
// called from several goroutines.
type Client struct {
	Cache    *layer.Cache
	HTTP     *http.Client     // nil: one with the proxies of the environment and of apt's configuration
	Parallel int              // connections that Fetch uses; 0: 8
	Now      func() time.Time // nil: time.Now
	Progress func(Progress)   // the calls for one Fetch or Packages do not overlap
	Delay    time.Duration    // before the first repetition after a failure, doubled each time; 0: half a second
	Stall    time.Duration    // how long a server may be silent; 0: half a minute

	once sync.Once
	http *http.Client
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
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/")+"/"+name, ""
	return u, nil
}

func redact(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return uri
	}
	return u.Redacted()
}
