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
	Version       string // "13.2"

	NotAutomatic, ButAutomaticUpgrades bool // as experimental and backports have them

	Files map[string]File // indexes by their path below the Release file; File.Path is below the archive
	Text  []byte          // InRelease, or Release, as it came

	// separateAll: packages of architecture "all" are in an index of their own only.
	separateAll bool
}

// maxFuture is how far a Release file may be dated in the future, for clocks are not exact: the default of apt's
// Acquire::Max-FutureTime.
const maxFuture = 10 * time.Second

// Release fetches and verifies the Release file of a suite: InRelease, or Release and Release.gpg where there is none.
// It must be signed by a key of the keyring, be of the suite that was asked for, not be from the future, and not have
// expired. What the server says has not changed is taken from the cache, and checked in the same way. So is what was
// there before if the server has something older: this is what an attacker would send who wants a hole unmended.
//
// Without authentication, and only then, there need not be a Release file (see bare).
func (c *Client) Release(ctx context.Context, s Source) (*Release, error) {
	r, err := c.release(ctx, s)
	if isAbsent(err) && s.Unauthenticated {
		r, err = c.bare(ctx, s)
	}
	var several failures
	switch {
	case errors.As(err, new(*OfflineError)):
		return nil, &OfflineError{[]string{"InRelease of " + s.String()}}
	case isAbsent(err) && errors.Is(err, fs.ErrNotExist) && !errors.As(err, &several):
		return nil, fmt.Errorf("archive %s has no suite %q: neither InRelease nor Release is there", redact(s.URI), s.Suite)
	case err != nil:
		return nil, err
	}
	if err := r.checkComponents(); err != nil {
		return nil, err
	}
	return r, nil
}

// edition is a Release file with what vouches for it, as it is in the archive or in the cache.
type edition struct {
	names    []string // InRelease, or Release and Release.gpg
	files    [][]byte
	modified time.Time // of the first of them
}

func (c *Client) release(ctx context.Context, s Source) (r *Release, err error) {
	for _, names := range s.forms() {
		r, err = c.latest(ctx, s, names)
		if !isAbsent(err) && !errors.As(err, new(*OfflineError)) {
			return r, err
		}
	}
	return nil, err
}

// forms are the names of the files in which the Release file may be, the better ones first.
func (s Source) forms() [][]string {
	switch {
	case s.InRelease != "":
		return [][]string{{s.InRelease}}
	case s.Unauthenticated:
		return [][]string{{"InRelease"}, {"Release"}}
	}
	return [][]string{{"InRelease"}, {"Release", "Release.gpg"}}
}

// latest returns the Release file that is in the archive or, if that is not newer, the one in the cache.
func (c *Client) latest(ctx context.Context, s Source, names []string) (*Release, error) {
	old, err := c.cached(s, names)
	if err != nil {
		return nil, err
	}
	got, err := c.published(ctx, s, names, old.modified)
	if err == errNotModified || errors.As(err, new(*OfflineError)) && old.files != nil {
		return c.read(s, old)
	}
	if err != nil {
		return nil, err
	}
	r, err := c.read(s, got)
	if err != nil {
		return nil, err
	}
	if before, err := c.newer(s, r.Date); before != nil || err != nil {
		return before, err
	}
	return r, c.keep(s, got)
}

// newer returns a Release file in the cache that is newer than date, in whichever form it came; nil if there is none.
func (c *Client) newer(s Source, date time.Time) (*Release, error) {
	for _, names := range s.forms() {
		old, err := c.cached(s, names)
		if err != nil {
			return nil, err
		}
		if r, err := c.read(s, old); err == nil && r.Date.After(date) {
			return r, nil
		}
	}
	return nil, nil
}

// published fetches the files of a Release file. The error is errNotModified if the first was last changed at known.
func (c *Client) published(ctx context.Context, s Source, names []string, known time.Time) (edition, error) {
	e := edition{names: names}
	for i, name := range names {
		d, err := c.document(ctx, s.beside(name), known)
		if i > 0 && isAbsent(err) {
			err = s.refuse(names[0], fmt.Errorf("is not signed: there is no %s", name))
		}
		if err != nil {
			return edition{}, err
		}
		if i == 0 {
			e.modified, known = d.modified, time.Time{}
		}
		e.files = append(e.files, d.data)
	}
	return e, nil
}

// beside is where a file of the directory of InRelease is.
func (s Source) beside(name string) copies {
	return copies{s.archives(), []string{path.Join(s.dists(), name)}}
}

// cached returns the Release file in the cache, or nothing if there is none that s would believe. What was never
// verified is for those only who have nothing else.
func (c *Client) cached(s Source, names []string) (edition, error) {
	if isLocal(s.URI) || s.Unauthenticated && !c.Offline {
		return edition{}, nil
	}
	e := edition{names: names}
	for i, name := range names {
		data, modified, err := c.Cache.Document(s.documentKey(name))
		if errors.Is(err, fs.ErrNotExist) {
			return edition{}, nil
		}
		if err != nil {
			return edition{}, err
		}
		if i == 0 {
			e.modified = modified
		}
		e.files = append(e.files, data)
	}
	if _, err := c.authenticate(s, e); err != nil {
		return edition{}, nil
	}
	return e, nil
}

// keep puts a Release file into the cache, but for that of a directory: it is there anyway, and whoever makes archives
// for himself may go back in time.
func (c *Client) keep(s Source, e edition) error {
	if isLocal(s.URI) {
		return nil
	}
	for i, name := range e.names {
		if err := c.Cache.WriteDocument(s.documentKey(name), e.files[i], e.modified); err != nil {
			return err
		}
	}
	return nil
}

// documentKey names a file in the cache by its address. What was not verified is apart from what was.
func (s Source) documentKey(name string) string {
	key := strings.TrimRight(s.URI, "/") + "/" + path.Join(s.dists(), name)
	if s.Unauthenticated {
		key = "unauthenticated " + key
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// read verifies and checks a Release file. Its errors are VerificationErrors.
func (c *Client) read(s Source, e edition) (*Release, error) {
	if e.files == nil {
		return nil, fs.ErrNotExist
	}
	text, err := c.authenticate(s, e)
	var r *Release
	if err == nil {
		r, err = parseRelease(text)
	}
	if err == nil {
		r.Text = e.files[0]
		r.bind(s)
		err = c.check(r)
	}
	if err != nil {
		return nil, s.refuse(e.names[0], err)
	}
	return r, nil
}

// refuse makes a VerificationError of what is wrong with a file beside the Release file.
func (s Source) refuse(file string, reason error) error {
	return &VerificationError{File: file, Archive: s.String(), Reason: reason.Error()}
}

// authenticate returns the text of a Release file that was signed by a key of the source's keyring.
func (c *Client) authenticate(s Source, e edition) ([]byte, error) {
	if s.Unauthenticated {
		return stripSignature(e.files[0]), nil
	}
	signed, err := splitClearsigned(e.files[0])
	if len(e.files) > 1 {
		signed, err = splitDetached(e.files[0], e.files[1])
	}
	if err == nil {
		err = s.Keyring.verify(signed, c.now(), s.IgnoreKeyExpiry)
	}
	return signed.text, err
}

// stripSignature returns the text of an InRelease file that is not to be verified, and which may be unsigned.
func stripSignature(inRelease []byte) []byte {
	signed, err := splitClearsigned(inRelease)
	if err != nil {
		return inRelease
	}
	return signed.text
}

// bare describes an archive that has indexes and no Release file, as dpkg-scanpackages makes them. Nobody vouches for
// the indexes: their sums are those of the files that are there now.
func (c *Client) bare(ctx context.Context, s Source) (*Release, error) {
	r := &Release{Source: s, Files: map[string]File{}, Components: s.Components, Architectures: []string{s.Arch}}
	components := s.Components
	if s.flat() {
		components = []string{""}
	}
	for _, component := range components {
		name := r.indexName(component, s.Arch)
		if err := c.addBare(ctx, r, name); err != nil {
			return nil, err
		}
	}
	r.bind(s)
	return r, nil
}

// addBare adds the first form of an index that is there.
func (c *Client) addBare(ctx context.Context, r *Release, name string) (err error) {
	for _, suffix := range append(suffixes, "") {
		var d document
		d, err = c.document(ctx, r.Source.beside(name+suffix), time.Time{})
		if err == nil {
			sum := sha256.Sum256(d.data)
			r.Files[name+suffix] = File{Path: name + suffix, Size: int64(len(d.data)), SHA256: hex.EncodeToString(sum[:])}
			return nil
		}
		if !isAbsent(err) {
			return err
		}
	}
	return err
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
		Version:       p.Get("Version"),

		NotAutomatic:         p.Get("NotAutomatic") == "yes",
		ButAutomaticUpgrades: p.Get("ButAutomaticUpgrades") == "yes",
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
		f.Archive, f.Mirrors, f.Path = s.URI, s.Mirrors, path.Join(s.dists(), name)
		r.Files[name] = f
	}
}

// check says what speaks against using the release now. Its errors complete "InRelease of … ".
func (c *Client) check(r *Release) error {
	settings := map[string]string{}
	parseAptConf(c.AptOptions, settings)
	if !r.isSuite(r.Source.Suite) {
		return fmt.Errorf("is of another suite: %s (%s)", r.Codename, r.Suite)
	}
	now := c.now()
	if r.Date.After(now.Add(maxFuture)) && !isFalse(settings["acquire::check-date"]) {
		return fmt.Errorf("is dated %s, which is in the future: this machine's clock says %s",
			r.Date.Format(time.RFC1123), now.UTC().Format(time.RFC1123))
	}
	if r.ValidUntil.IsZero() || !now.After(r.ValidUntil) || r.Source.IgnoreValidUntil ||
		isFalse(settings["acquire::check-date"]) || isFalse(settings["acquire::check-valid-until"]) {
		return nil
	}
	remedy := "the mirror is behind; use another"
	if c.Offline {
		remedy = "what is in the cache is too old; fetch it anew"
	}
	return fmt.Errorf("was valid until %s: %s, or --no-check-valid-until to accept it", r.ValidUntil.Format(time.RFC1123), remedy)
}

// isSuite says whether the release is what name stands for. Some archives have suites below others, as the security
// archive had CODENAME/updates: as for apt, what is below does not count. Many small ones do not say what they are. What
// nobody vouches for may say anything.
func (r *Release) isSuite(name string) bool {
	if r.Source.flat() || r.Source.Unauthenticated || r.Suite == "" && r.Codename == "" {
		return true
	}
	if name == r.Codename || name == r.Suite {
		return name != ""
	}
	slash := strings.LastIndexByte(name, '/')
	return slash > 0 && r.isSuite(name[:slash])
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
