package resolve

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"vmbuild/rootfs/internal/control"
)

// Policy says which of several versions of a package is preferred. The zero value is apt's own policy: 500 for all, 100
// for backports, 1 for experimental.
type Policy struct {
	Preferences    []Preference
	DefaultRelease string // APT::Default-Release: what a Pin of kind release can say; its versions get 990
}

// Preference is one record of apt_preferences(5).
type Preference struct {
	Packages []string // names, globs, /regular expressions/, each perhaps src:… or …:arch; none: all packages ("*")
	Kind     PinKind
	Pin      string // what follows the kind: "1.2*", "a=stable, c=main", "ftp.debian.org"
	Priority int    // never 0; NeverPriority for "never"
}

// PinKind is what a Preference looks at.
type PinKind string

const (
	VersionPin       PinKind = "version"        // the version's number
	SourceVersionPin PinKind = "source-version" // the number of the source package's version
	ReleasePin       PinKind = "release"        // what the Release file says of the archive
	OriginPin        PinKind = "origin"         // the host that the archive lies on
)

// Priorities that apt gives without being asked (apt_preferences(5)).
const (
	defaultPriority   = 500
	backportsPriority = 100 // NotAutomatic: yes and ButAutomaticUpgrades: yes
	manualPriority    = 1   // NotAutomatic: yes
	releasePriority   = 990 // APT::Default-Release
)

// NeverPriority is the priority "never", which no preference for single packages overrides.
const NeverPriority = math.MinInt16

// ParsePreferences reads the text of a preferences file, or of several one after the other: etc/apt/preferences first,
// then those of etc/apt/preferences.d in the order of their names. Records without a Pin mean nothing, as for apt; a
// Pin that apt would only warn about is an error.
func ParsePreferences(data []byte) ([]Preference, error) {
	var list []Preference
	number := 0
	for record, err := range control.Paragraphs(data) {
		number++
		if err != nil {
			return nil, fmt.Errorf("parse preferences: %w", err)
		}
		p, err := parsePreference(record)
		if err != nil {
			return nil, fmt.Errorf("parse preferences: record %d: %w", number, err)
		}
		if p.Kind != "" {
			list = append(list, p)
		}
	}
	return list, nil
}

// parsePreference reads one record; without a Pin its Kind is empty.
func parsePreference(record control.Paragraph) (Preference, error) {
	packages := record.Get("Package")
	if packages == "" {
		return Preference{}, errors.New("it has no Package field")
	}
	var p Preference
	if packages != "*" {
		p.Packages = strings.Fields(packages)
	}
	pin, found := record.Lookup("Pin")
	if !found {
		return Preference{}, nil
	}
	kind, rest, _ := strings.Cut(strings.ReplaceAll(pin.Value, "\t", " "), " ")
	p.Kind, p.Pin = PinKind(strings.ToLower(kind)), strings.TrimSpace(rest)
	var err error
	if p.Priority, err = parsePriority(record.Get("Pin-Priority")); err != nil {
		return Preference{}, err
	}
	if p.Priority == NeverPriority && p.Packages != nil {
		return Preference{}, errors.New(`the Pin-Priority "never" is for "Package: *" alone`)
	}
	_, err = p.compile()
	return p, err
}

func parsePriority(text string) (int, error) {
	if text == "never" {
		return NeverPriority, nil
	}
	n, err := strconv.ParseInt(text, 10, 16)
	switch {
	case err != nil:
		return 0, fmt.Errorf("the Pin-Priority %q is not a number from %d to %d", text, math.MinInt16, math.MaxInt16)
	case n == 0:
		return 0, errors.New("the Pin-Priority 0 has no meaning")
	case n == NeverPriority:
		return NeverPriority + 1, nil // apt does the same: only the word means never
	}
	return int(n), nil
}

// compile returns what decides whether a version is meant. For preferences of all packages it looks at one index at a
// time, with a nil version.
func (p Preference) compile() (func(v *version, in *index) bool, error) {
	switch {
	case p.Kind == VersionPin && p.Packages != nil:
		e, err := newExpression(p.Pin)
		return func(v *version, _ *index) bool { return e.matches(v.Version) }, err
	case p.Kind == SourceVersionPin && p.Packages != nil:
		e, err := newExpression(p.Pin)
		return func(v *version, _ *index) bool { _, number := source(v.Package); return e.matches(number) }, err
	case p.Kind == ReleasePin:
		r, err := newRelease(p.Pin)
		return func(_ *version, in *index) bool { return r.matches(in) }, err
	case p.Kind == OriginPin:
		e, err := newExpression(unquote(p.Pin))
		return func(_ *version, in *index) bool { return e.matches(in.Site) }, err
	}
	return nil, fmt.Errorf("a Pin of kind %q is unknown for these packages", p.Kind)
}

func unquote(text string) string {
	if len(text) >= 2 && text[0] == '"' && text[len(text)-1] == '"' {
		return text[1 : len(text)-1]
	}
	return text
}

// apply gives indexes and, by the preferences that name packages, versions their priority. What comes first wins:
// the default release, then the preferences in their order.
func (u *Universe) apply(p Policy) error {
	fixed := make([]bool, len(u.indexes))
	if p.DefaultRelease != "" {
		release, err := newRelease(p.DefaultRelease)
		if err != nil {
			return fmt.Errorf("default release %q: %w", p.DefaultRelease, err)
		}
		if !u.pinIndexes(fixed, releasePriority, func(_ *version, in *index) bool { return release.matches(in) }) &&
			!strings.Contains(p.DefaultRelease, "=") {
			return fmt.Errorf("default release %q: no archive is of that release", p.DefaultRelease)
		}
	}
	for _, preference := range p.Preferences {
		matches, err := preference.compile()
		if err != nil {
			return fmt.Errorf("apply preferences: %w", err)
		}
		if preference.Packages == nil {
			u.pinIndexes(fixed, preference.Priority, matches)
			continue
		}
		for _, name := range preference.Packages {
			if err := u.pinVersions(name, preference.Priority, matches); err != nil {
				return fmt.Errorf("apply preferences: %w", err)
			}
		}
	}
	return nil
}

// pinIndexes gives a priority to the indexes that match and have none yet, and says whether any matches. "Never" wins
// over what came before.
func (u *Universe) pinIndexes(fixed []bool, priority int, matches func(*version, *index) bool) (found bool) {
	for i := range u.indexes {
		in := &u.indexes[i]
		if !matches(nil, in) {
			continue
		}
		found = true
		if !fixed[i] || priority == NeverPriority {
			in.priority, fixed[i] = priority, true
		}
	}
	return found
}

// pinVersions gives a priority to the versions that match, have none of their own yet and are of packages that the
// words name.
func (u *Universe) pinVersions(words string, priority int, matches func(*version, *index) bool) error {
	words, bySource := strings.CutPrefix(words, "src:")
	arch := u.native
	if i := strings.LastIndexByte(words, ':'); i >= 0 {
		words, arch = words[:i], words[i+1:]
	}
	named, err := newExpression(words)
	if err != nil {
		return err
	}
	pin := func(v *version) {
		if v.pin != 0 || !u.isArch(v.slot.arch, arch) {
			return
		}
		if matches(v, &u.indexes[v.index]) {
			v.pin = priority
		}
		for _, i := range v.indexes {
			if v.pin == 0 && matches(v, &u.indexes[i]) {
				v.pin = priority
			}
		}
	}
	pinName := func(n *name) {
		for _, s := range n.slots {
			for _, v := range s.versions {
				pin(v)
			}
		}
	}
	switch {
	case bySource:
		for _, s := range u.packages {
			for _, v := range s.versions {
				if from, _ := source(v.Package); named.matches(from) {
					pin(v)
				}
			}
		}
	case named.plain():
		if n := u.names[words]; n != nil {
			pinName(n)
		}
	default:
		for _, n := range u.ordered {
			if named.matches(n.text) {
				pinName(n)
			}
		}
	}
	return nil
}

// priority of a version: its own pin, else the highest of the indexes that have it.
func (u *Universe) priority(v *version) int {
	highest := u.indexes[v.index].priority
	for _, i := range v.indexes {
		highest = max(highest, u.indexes[i].priority)
	}
	if v.pin != 0 && highest != NeverPriority {
		return v.pin
	}
	return highest
}

// isArch says whether an architecture is what a word names: itself, "native", or a wildcard such as any or linux-any.
func (u *Universe) isArch(arch, word string) bool {
	if word == "native" {
		word = u.native
	}
	return control.MatchesArchitecture(word, arch)
}

// source returns the name and version of the source package that p was built from.
func source(p *control.Package) (name, number string) {
	name, number = p.Name, p.Version
	if p.Source != "" {
		var inParentheses string
		name, inParentheses, _ = strings.Cut(p.Source, " ")
		if text := strings.Trim(inParentheses, "() "); text != "" {
			number = text
		}
	}
	return name, number
}
