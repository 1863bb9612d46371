package image

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"vmbuild/rootfs"
	"vmbuild/rootfs/suite"
)

// DebootstrapOpts is what options of debootstrap ask for, in an image's own build. The zero value asks for nothing.
type DebootstrapOpts struct {
	Arch        string
	Variant     string // of package rootfs; empty: the default one
	Components  []string
	ExtraSuites []string // of the same archive
	Include     []string
	Exclude     []string
	Keyring     string // path
	NoCheck     bool   // an archive without a good signature is taken, too
	MergedUsr   bool   // asked for by name: /bin, /lib and /sbin are links into /usr
	SplitUsr    bool   // they are not
	TLS         rootfs.TLS
	InRelease   string   // path below the suite's directory, in place of InRelease
	Verbose     bool     // what the programs of the build print is shown
	Notes       []string // what was asked for and has no meaning here, and why
}

// ParseDebootstrapOpts reads debootstrap's options (debootstrap(8) of 1.0.145 and older) as vmdebootstrap takes them: words with
// blanks between them, with or without the leading dashes, NAME or NAME=VALUE; what is a list has commas. Of an option that
// is given twice the last one counts, as in debootstrap.
func ParseDebootstrapOpts(text string) (DebootstrapOpts, error) {
	var o DebootstrapOpts
	given := map[string]bool{}
	for _, word := range strings.Fields(text) {
		name, value, hasValue := strings.Cut(strings.TrimPrefix(word, "--"), "=")
		if err := o.set(name, value, hasValue); err != nil {
			return DebootstrapOpts{}, err
		}
		given[name] = true
	}
	for _, pair := range [][2]string{
		{"merged-usr", "no-merged-usr"}, {"no-check-gpg", "force-check-gpg"}, {"no-check-sig", "force-check-sig"},
	} {
		if given[pair[0]] && given[pair[1]] {
			return DebootstrapOpts{}, fmt.Errorf("%s and %s exclude each other", pair[0], pair[1])
		}
	}
	if o.TLS.Key != "" && o.TLS.Certificate == "" {
		return DebootstrapOpts{}, errors.New("private-key is of a certificate, which is not given: add certificate=FILE")
	}
	return o, nil
}

// debootstrapOption is one option of debootstrap: it is heeded, has no meaning here, or is refused.
type debootstrapOption struct {
	value   string // what is named after the =; empty: it takes none
	heed    func(o *DebootstrapOpts, value string) error
	note    string // why it has no meaning
	refused string // why it cannot be, and what to do instead
}

// debootstrapOptions has a row for each long option of debootstrap 1.0.145.
var debootstrapOptions = map[string]debootstrapOption{
	"arch":    {value: "ARCH", heed: single(func(o *DebootstrapOpts) *string { return &o.Arch }, nameRule)},
	"variant": {value: "NAME", heed: (*DebootstrapOpts).setVariant},
	"components": {value: "A,B", heed: several(func(o *DebootstrapOpts) *[]string { return &o.Components },
		nameRule)},
	"extra-suites":         {value: "A,B", heed: several(func(o *DebootstrapOpts) *[]string { return &o.ExtraSuites }, nameRule)},
	"include":              {value: "A,B", heed: several(func(o *DebootstrapOpts) *[]string { return &o.Include }, packageRule)},
	"exclude":              {value: "A,B", heed: several(func(o *DebootstrapOpts) *[]string { return &o.Exclude }, packageRule)},
	"keyring":              {value: "FILE", heed: single(func(o *DebootstrapOpts) *string { return &o.Keyring }, anyRule)},
	"ca-certificate":       {value: "FILE", heed: single(func(o *DebootstrapOpts) *string { return &o.TLS.CA }, anyRule)},
	"certificate":          {value: "FILE", heed: single(func(o *DebootstrapOpts) *string { return &o.TLS.Certificate }, anyRule)},
	"private-key":          {value: "FILE", heed: single(func(o *DebootstrapOpts) *string { return &o.TLS.Key }, anyRule)},
	"inrelease-path":       {value: "PATH", heed: single(func(o *DebootstrapOpts) *string { return &o.InRelease }, anyRule)},
	"no-check-gpg":         {heed: toggle(func(o *DebootstrapOpts) *bool { return &o.NoCheck })},
	"no-check-sig":         {heed: toggle(func(o *DebootstrapOpts) *bool { return &o.NoCheck })},
	"merged-usr":           {heed: toggle(func(o *DebootstrapOpts) *bool { return &o.MergedUsr })},
	"no-merged-usr":        {heed: toggle(func(o *DebootstrapOpts) *bool { return &o.SplitUsr })},
	"no-check-certificate": {heed: toggle(func(o *DebootstrapOpts) *bool { return &o.TLS.NoCheck })},
	"verbose":              {heed: toggle(func(o *DebootstrapOpts) *bool { return &o.Verbose })},

	"force-check-gpg":      {note: "signatures are checked anyway"},
	"force-check-sig":      {note: "signatures are checked anyway"},
	"resolve-deps":         {note: "dependencies are always installed"},
	"no-resolve-deps":      {note: "dependencies are always installed"},
	"log-extra-deps":       {note: "there is no debootstrap.log"},
	"keep-debootstrap-dir": {note: "there is no /debootstrap to keep"},
	"extractor":            {value: "TYPE", note: "vmbuild unpacks packages itself"},

	"foreign":             {refused: "an image is complete when it is written; --arch=ARCH makes it for another architecture"},
	"second-stage":        {refused: "the build does all of its stages"},
	"second-stage-target": {value: "DIR", refused: "the build does all of its stages"},
	"print-debs":          {refused: "it makes no image; --dry-run prints what would be installed"},
	"download-only":       {refused: "it makes no image; vmbuild debootstrap has it"},
	"make-tarball":        {value: "FILE", refused: "it makes no image; vmbuild debootstrap has it"},
	"unpack-tarball":      {value: "FILE", refused: "an image's packages come from the archive; --offline takes them from the cache"},
	"cache-dir":           {value: "DIR", refused: "packages are kept where --cache-dir, an option of vmbuild's own, says"},
	"debian-installer":    {refused: "vmbuild does not talk to the installer"},
	"help":                {refused: "it makes no image; vmbuild debootstrap has it"},
	"version":             {refused: "it makes no image; vmbuild debootstrap has it"},
}

func (o *DebootstrapOpts) set(name, value string, hasValue bool) error {
	option, known := debootstrapOptions[name]
	switch {
	case !known:
		return fmt.Errorf("%q is not an option of debootstrap's (%s)", name, strings.Join(slices.Sorted(maps.Keys(debootstrapOptions)), ", "))
	case option.refused != "":
		return fmt.Errorf("%s cannot be had in the build of an image: %s", name, option.refused)
	case option.value == "" && hasValue:
		return fmt.Errorf("%s takes no value: it is %q", name, value)
	case option.value != "" && value == "":
		return fmt.Errorf("%s requires a value: write %[1]s=%s", name, option.value)
	case option.heed == nil:
		o.Notes = append(o.Notes, name+" has no meaning here: "+option.note)
		return nil
	}
	if err := option.heed(o, value); err != nil {
		return fmt.Errorf("%s=%s: %w", name, value, err)
	}
	return nil
}

// setVariant takes debootstrap's names: fakechroot is the default one, made without root, as all are here.
func (o *DebootstrapOpts) setVariant(name string) error {
	switch name {
	case "-", "fakechroot":
		o.Variant = ""
	case "minbase", "buildd":
		o.Variant = name
	default:
		return errors.New("it is not one of minbase, buildd, fakechroot")
	}
	return nil
}

// What values look like: names of packages (Debian Policy, 5.6.1) and of what archives have; a file may be anything.
var (
	packageRule = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	nameRule    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+._/-]*$`)
	anyRule     = regexp.MustCompile(``)
)

func toggle(field func(*DebootstrapOpts) *bool) func(*DebootstrapOpts, string) error {
	return func(o *DebootstrapOpts, _ string) error {
		*field(o) = true
		return nil
	}
}

func single(field func(*DebootstrapOpts) *string, rule *regexp.Regexp) func(*DebootstrapOpts, string) error {
	return func(o *DebootstrapOpts, value string) error {
		if !rule.MatchString(value) {
			return errors.New("it is not a name")
		}
		*field(o) = value
		return nil
	}
}

func several(field func(*DebootstrapOpts) *[]string, rule *regexp.Regexp) func(*DebootstrapOpts, string) error {
	return func(o *DebootstrapOpts, value string) error {
		list := strings.Split(value, ",")
		for _, name := range list {
			if !rule.MatchString(name) {
				return fmt.Errorf("%q is not a name", name)
			}
		}
		*field(o) = list
		return nil
	}
}

// Over returns what both ask for. Where they differ the receiver counts.
func (o DebootstrapOpts) Over(below DebootstrapOpts) DebootstrapOpts {
	for _, f := range []struct{ here, there *string }{
		{&o.Arch, &below.Arch}, {&o.Variant, &below.Variant}, {&o.Keyring, &below.Keyring}, {&o.InRelease, &below.InRelease},
		{&o.TLS.CA, &below.TLS.CA}, {&o.TLS.Certificate, &below.TLS.Certificate}, {&o.TLS.Key, &below.TLS.Key},
	} {
		*f.here = orElse(*f.here, *f.there)
	}
	for _, f := range []struct{ here, there *[]string }{
		{&o.Components, &below.Components}, {&o.ExtraSuites, &below.ExtraSuites},
		{&o.Include, &below.Include}, {&o.Exclude, &below.Exclude},
	} {
		if len(*f.here) == 0 {
			*f.here = *f.there
		}
	}
	if !o.MergedUsr && !o.SplitUsr {
		o.MergedUsr, o.SplitUsr = below.MergedUsr, below.SplitUsr
	}
	o.NoCheck = o.NoCheck || below.NoCheck
	o.TLS.NoCheck = o.TLS.NoCheck || below.TLS.NoCheck
	o.Verbose = o.Verbose || below.Verbose
	o.Notes = slices.Concat(below.Notes, o.Notes)
	return o
}

// checkUsr says why a release cannot have /usr as it is asked for.
func (o DebootstrapOpts) checkUsr(release suite.Suite) error {
	switch {
	case o.SplitUsr && release.NeedsMergedUsr():
		return fmt.Errorf("no-merged-usr: the packages of %s need /bin, /lib and /sbin to be links into /usr", release.Codename)
	case o.MergedUsr && release.Archived:
		return fmt.Errorf("merged-usr: vmbuild leaves /bin, /lib and /sbin of %s as its packages have them; package usrmerge "+
			"of stretch and buster makes them links into /usr", release.Codename)
	}
	return nil
}
