package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"vmbuild/rootfs/internal/control"
)

// Release is a suite's Release file, verified.
type Release struct {
	Source        Source
	Origin, Label string
	Suite         string // "stable"
	Codename      string // "trixie"
	Date          time.Time
	ValidUntil    time.Time // zero: for ever
	Architectures []string
	Components    []string
	AcquireByHash bool
	Files         map[string]File // indexes by their path below the Release file; File.Path is below the archive

	// separateAll: packages of architecture "all" are in an index of their own only.
	separateAll bool
}

// maxFuture is how far a Release file may be dated in the future, for clocks are not exact: the default of apt's
// Acquire::Max-FutureTime.
const maxFuture = 10 * time.Second

// Release fetches and verifies the Release file of a suite: InRelease, or Release and Release.gpg where there is none.
// It must be signed by a key of the keyring, be of the suite that was asked for, not be from the future, and not have
// expired. An InRelease that the server says has not changed is taken from the cache, and checked in the same way.
func (c *Client) Release(ctx context.Context, s Source) (*Release, error) {
	name := "InRelease"
	text, err := c.inRelease(ctx, s)
	if errors.Is(err, fs.ErrNotExist) {
		name = "Release"
		text, err = c.detachedRelease(ctx, s)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("archive %s has no suite %q: neither InRelease nor Release is there", redact(s.URI), s.Suite)
	}
	if err != nil {
		return nil, err
	}
	r, err := parseRelease(text)
	if err == nil {
		r.bind(s)
		err = r.check(c.now())
	}
	if err != nil {
		return nil, s.refuse(name, err)
	}
	if err := r.checkComponents(); err != nil {
		return nil, err
	}
	return r, nil
}

// refuse makes a VerificationError of what is wrong with a file beside the Release file.
func (s Source) refuse(file string, reason error) error {
	return &VerificationError{File: file, Archive: s.String(), Reason: reason.Error()}
}

// inRelease returns the text of the InRelease file.
func (c *Client) inRelease(ctx context.Context, s Source) ([]byte, error) {
	u, err := locate(s.URI, path.Join(s.dists(), "InRelease"))
	if err != nil {
		return nil, err
	}
	key := sha256.Sum256([]byte(u.String()))
	known, text, err := c.cached(hex.EncodeToString(key[:]), s)
	if err != nil {
		return nil, err
	}
	got, err := c.document(ctx, u, known)
	if err == errNotModified {
		return text, nil
	}
	if err != nil {
		return nil, err
	}
	if s.Unauthenticated {
		return stripSignature(got.data), nil
	}
	if text, err = c.authenticate(got.data, s); err != nil {
		return nil, s.refuse("InRelease", err)
	}
	return text, c.Cache.WriteDocument(hex.EncodeToString(key[:]), got.data, got.modified)
}

// cached returns when the InRelease in the cache was last changed, and its text. It returns zero values if there is
// none, or none that s would believe.
func (c *Client) cached(key string, s Source) (modified time.Time, text []byte, err error) {
	data, modified, err := c.Cache.Document(key)
	if errors.Is(err, fs.ErrNotExist) || s.Unauthenticated {
		return time.Time{}, nil, nil
	}
	if err != nil {
		return time.Time{}, nil, err
	}
	if text, err = c.authenticate(data, s); err != nil {
		return time.Time{}, nil, nil
	}
	return modified, text, nil
}

func (c *Client) authenticate(inRelease []byte, s Source) ([]byte, error) {
	signed, err := splitClearsigned(inRelease)
	if err != nil {
		return nil, err
	}
	if err := s.Keyring.verify(signed, c.now()); err != nil {
		return nil, err
	}
	return signed.text, nil
}

// stripSignature returns the text of an InRelease file that is not to be verified, and which may be unsigned.
func stripSignature(inRelease []byte) []byte {
	signed, err := splitClearsigned(inRelease)
	if err != nil {
		return inRelease
	}
	return signed.text
}

// detachedRelease returns the text of the Release file.
func (c *Client) detachedRelease(ctx context.Context, s Source) ([]byte, error) {
	text, err := c.beside(ctx, s, "Release")
	if err != nil || s.Unauthenticated {
		return text, err
	}
	signature, err := c.beside(ctx, s, "Release.gpg")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, s.refuse("Release", errors.New("is not signed: there is no Release.gpg"))
	}
	if err != nil {
		return nil, err
	}
	signed, err := splitDetached(text, signature)
	if err == nil {
		err = s.Keyring.verify(signed, c.now())
	}
	if err != nil {
		return nil, s.refuse("Release", err)
	}
	return text, nil
}

// beside fetches a file of the directory where InRelease would be.
func (c *Client) beside(ctx context.Context, s Source, name string) ([]byte, error) {
	u, err := locate(s.URI, path.Join(s.dists(), name))
	if err != nil {
		return nil, err
	}
	d, err := c.document(ctx, u, time.Time{})
	return d.data, err
}

// parseRelease reads the fields of a Release file that matter here. Its errors complete "InRelease of … ".
func parseRelease(text []byte) (*Release, error) {
	p, err := control.ParseParagraph(text)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	r := &Release{
		Origin:        p.Get("Origin"),
		Label:         p.Get("Label"),
		Suite:         p.Get("Suite"),
		Codename:      p.Get("Codename"),
		Architectures: strings.Fields(p.Get("Architectures")),
		Components:    strings.Fields(p.Get("Components")),
		AcquireByHash: p.Get("Acquire-By-Hash") == "yes",
	}
	r.separateAll = slices.Contains(r.Architectures, "all") && p.Get("No-Support-for-Architecture-all") != "Packages"
	if r.Date, err = parseDate(p.Get("Date")); err != nil {
		return nil, fmt.Errorf("has no valid Date: %w", err)
	}
	if until := p.Get("Valid-Until"); until != "" {
		if r.ValidUntil, err = parseDate(until); err != nil {
			return nil, fmt.Errorf("has no valid Valid-Until: %w", err)
		}
	}
	r.Files, err = parseSums(p.Get("SHA256"))
	return r, err
}

// parseDate reads a date as Release files have it: RFC 2822 in UTC, where other writers than dak's leave out a leading
// zero or write GMT or +0000.
func parseDate(s string) (time.Time, error) {
	for _, zone := range []string{" UTC", " GMT", " +0000", " Z"} {
		if date, ok := strings.CutSuffix(s, zone); ok {
			return time.ParseInLocation("Mon, _2 Jan 2006 15:04:05", date, time.UTC)
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a date in UTC", s)
}

// parseSums reads the lines of the field SHA256: sum, size in bytes, path.
func parseSums(field string) (map[string]File, error) {
	files := map[string]File{}
	for line := range strings.Lines(field) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) != 3 {
			return nil, fmt.Errorf("has a SHA256 line of %d words: %q", len(words), strings.TrimSpace(line))
		}
		size, err := strconv.ParseInt(words[1], 10, 64)
		sum, sumErr := hex.DecodeString(words[0])
		if err != nil || size < 0 || sumErr != nil || len(sum) != sha256.Size || !fs.ValidPath(words[2]) {
			return nil, fmt.Errorf("has a wrong SHA256 line: %q", strings.TrimSpace(line))
		}
		files[words[2]] = File{Path: words[2], Size: size, SHA256: hex.EncodeToString(sum)}
	}
	if len(files) == 0 {
		return nil, errors.New("has no SHA256 sums")
	}
	return files, nil
}

// bind notes where the release was found.
func (r *Release) bind(s Source) {
	r.Source = s
	for name, f := range r.Files {
		f.Archive, f.Path = s.URI, path.Join(s.dists(), name)
		r.Files[name] = f
	}
}

// check says what speaks against using the release now. Its errors complete "InRelease of … ".
func (r *Release) check(now time.Time) error {
	if !r.isSuite(r.Source.Suite) {
		return fmt.Errorf("is of another suite: %s (%s)", r.Codename, r.Suite)
	}
	if r.Date.After(now.Add(maxFuture)) {
		return fmt.Errorf("is dated %s, which is in the future: this machine's clock says %s",
			r.Date.Format(time.RFC1123), now.UTC().Format(time.RFC1123))
	}
	if !r.ValidUntil.IsZero() && now.After(r.ValidUntil) && !r.Source.IgnoreValidUntil {
		return fmt.Errorf("was valid until %s: the mirror is behind; use another, or --no-check-valid-until to accept it",
			r.ValidUntil.Format(time.RFC1123))
	}
	return nil
}

// isSuite says whether the release is what name stands for. Old security archives were at CODENAME/updates. A flat
// archive has no name.
func (r *Release) isSuite(name string) bool {
	if r.Source.flat() {
		return true
	}
	if name == r.Codename || name == r.Suite {
		return name != ""
	}
	dir, last := path.Split(name)
	return last == "updates" && r.isSuite(path.Clean(dir))
}

func (r *Release) checkComponents() error {
	if len(r.Components) == 0 {
		return nil
	}
	for _, want := range r.Source.Components {
		// The security archive calls them updates/main, though their indexes are in main.
		if !slices.ContainsFunc(r.Components, func(has string) bool { return path.Base(has) == path.Base(want) }) {
			return fmt.Errorf("%s has no component %q (it has %s)", r.Source, want, strings.Join(r.Components, " "))
		}
	}
	return nil
}
