package archive

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// copies are a file of an archive wherever it may be: at each of the archive's mirrors, under each of its paths.
type copies struct {
	archives []string // URIs, the one that is to be asked first in front
	paths    []string // below each of them; the file itself is at the last, which others may be better than
}

// each calls try with the address of one copy after another, until it succeeds. A mirror that has the file under none
// of its paths, or that has failed, is followed by the next; one that has failed is not asked again before all others,
// by any later call. Until the last mirror there is little patience with any. It returns the archive that had the file.
//
// An error that no other mirror can mend (see isFinal) ends it at once; else it is that of all mirrors.
func (c *Client) each(ctx context.Context, f copies, try func(*url.URL, patience) error) (string, error) {
	var failures failures
	archives := c.byHealth(f.archives)
	for i, archive := range archives {
		p := patient
		if i+1 < len(archives) {
			p = hasty
		}
		err := eachPath(archive, f.paths, func(u *url.URL) error { return try(u, p) })
		if err == nil || isFinal(err) || ctx.Err() != nil {
			return archive, err
		}
		if !isAbsent(err) {
			c.noteFailure(archive)
		}
		failures = append(failures, err)
	}
	if len(failures) == 1 {
		return "", failures[0]
	}
	return "", failures
}

func eachPath(archive string, paths []string, try func(*url.URL) error) error {
	var err error
	for _, path := range paths {
		u, locateErr := locate(archive, path)
		if locateErr != nil {
			return locateErr
		}
		if err = try(u); !isAbsent(err) {
			return err
		}
	}
	return err
}

// byHealth returns archives with those behind that have failed. Their order is else as it was.
func (c *Client) byHealth(archives []string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var good, bad []string
	for _, a := range archives {
		if c.failed[a] {
			bad = append(bad, a)
		} else {
			good = append(good, a)
		}
	}
	return slices.Concat(good, bad)
}

func (c *Client) noteFailure(archive string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = map[string]bool{}
	}
	c.failed[archive] = true
}

// isFinal says if err is no fault of the mirror that the file was asked of: the file has not changed, or nobody can
// take it.
func isFinal(err error) bool {
	return errors.Is(err, errNotModified) || errors.As(err, new(ownError)) || errors.As(err, new(*OfflineError))
}

// isAbsent says if a mirror does not have the file. Some that hide which files they have say that it is forbidden.
func isAbsent(err error) bool {
	if errors.As(err, new(ownError)) {
		return false // it may say that a file is not there, too
	}
	var status *statusError
	return errors.Is(err, fs.ErrNotExist) || errors.As(err, &status) && status.code == http.StatusForbidden
}

// failures are what went wrong at several mirrors.
type failures []error

func (f failures) Error() string {
	var all []string
	for _, err := range f {
		all = append(all, err.Error())
	}
	return strings.Join(all, "; ")
}

func (f failures) Unwrap() []error { return f }
