// Package sources reads and writes apt's sources (sources.list(5)) in both of their forms, and has the rules by which
// arguments of a command line, or the name of a suite, become files of them.
//
// It understands a file as apt does: what apt refuses is an error here, and what apt ignores is kept but means nothing.
// It reads files only through the fs.FS it is given and asks no archive. An Entry that was read from a form, written in
// that form and read again is the same.
package sources

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Entry is a line of the one-line form or a stanza of the deb822 form.
type Entry struct {
	Deb, DebSrc bool // binary packages, source packages
	URIs        []string
	Suites      []string // one that ends in "/" is a directory of a flat archive, which has no components
	Components  []string
	Options     []Option // in their order
	Disabled    bool
}

// Option is a field of the deb822 form. One of the one-line form that apt knows has the name that it has there.
type Option struct {
	Name  string // "Signed-By"
	Value string // words are separated by single blanks; a key has lines, the last one ends as the others do
}

// Get returns the value of an option, "" if it is not there. The name is one that apt knows, in the deb822 form.
func (e Entry) Get(name string) string {
	for _, o := range e.Options {
		if o.Name == name {
			return o.Value
		}
	}
	return ""
}

// Flag returns what an option says that is yes or no, and whether it says so.
func (e Entry) Flag(name string) (value, given bool) {
	switch strings.ToLower(e.Get(name)) {
	case "yes", "true", "with", "on", "enable", "1": // StringToBool of apt-pkg's strutl.cc
		return true, true
	case "no", "false", "without", "off", "disable", "0":
		return false, true
	}
	return false, false
}

// Architectures returns those that packages are wanted of, where all are those that the system has.
func (e Entry) Architectures(all []string) []string {
	list := slices.Clone(all)
	if only := e.Get("Architectures"); only != "" {
		list = words(only)
	}
	for _, a := range words(e.Get("Architectures-Add")) {
		if !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	removed := words(e.Get("Architectures-Remove"))
	return slices.DeleteFunc(list, func(a string) bool { return slices.Contains(removed, a) })
}

// SignedBy returns what signs the archive: paths of keyrings and fingerprints of keys, or one armoured key.
func (e Entry) SignedBy() []string {
	value := e.Get(signedBy)
	if isKey(value) {
		return []string{value}
	}
	return words(value)
}

// Expand returns the entry for a system of that architecture, which $(ARCH) in an address or a suite stands for.
func (e Entry) Expand(arch string) Entry {
	replace := func(list []string) []string {
		list = slices.Clone(list)
		for i := range list {
			list[i] = strings.ReplaceAll(list[i], "$(ARCH)", arch)
		}
		return list
	}
	e.URIs, e.Suites = replace(e.URIs), replace(e.Suites)
	return e
}

const signedBy = "Signed-By"

// known is an option that means something to apt.
type known struct {
	field, line string // its name in the deb822 and in the one-line form
	list        bool   // it has words, which commas separate in the one-line form
	release     bool   // all entries for a suite of an archive must agree about it
	unset       string // what it means to them that it is not there
}

// options are those of apt-pkg's sourcelist.cc (apt 2.9) and of sources.list(5).
var options = []known{
	{field: "Architectures", line: "arch", list: true},
	{field: "Architectures-Add", line: "arch+", list: true},
	{field: "Architectures-Remove", line: "arch-", list: true},
	{field: "Languages", line: "lang", list: true},
	{field: "Languages-Add", line: "lang+", list: true},
	{field: "Languages-Remove", line: "lang-", list: true},
	{field: "Targets", line: "target", list: true},
	{field: "Targets-Add", line: "target+", list: true},
	{field: "Targets-Remove", line: "target-", list: true},
	{field: "PDiffs", line: "pdiffs"},
	{field: "By-Hash", line: "by-hash"},
	{field: "Snapshot", line: "snapshot"},
	{field: "Trusted", line: "trusted", release: true},
	{field: signedBy, line: "signed-by", list: true, release: true},
	{field: "Check-Valid-Until", line: "check-valid-until", release: true},
	{field: "Valid-Until-Min", line: "valid-until-min", release: true},
	{field: "Valid-Until-Max", line: "valid-until-max", release: true},
	{field: "Check-Date", line: "check-date", release: true},
	{field: "Date-Max-Future", line: "date-max-future", release: true},
	{field: "InRelease-Path", line: "inrelease-path", release: true},
	{field: "Allow-Insecure", line: "allow-insecure", release: true, unset: "no"},
	{field: "Allow-Weak", line: "allow-weak", release: true, unset: "no"},
	{field: "Allow-Downgrade-To-Insecure", line: "allow-downgrade-to-insecure", release: true, unset: "no"},
}

// set gives an option its value; of two, the later one counts.
func (e *Entry) set(o known, value string) {
	switch {
	case isKey(value):
		value = keyLines(value)
	case o.list:
		value = strings.Join(words(strings.ReplaceAll(value, ",", " ")), " ")
	default:
		value = strings.Join(words(value), " ")
	}
	if value == "" {
		return
	}
	for i := range e.Options {
		if e.Options[i].Name == o.field {
			e.Options[i].Value = value
			return
		}
	}
	e.Options = append(e.Options, Option{o.field, value})
}

func isBlank(c rune) bool { return strings.ContainsRune(blanks, c) }

const blanks = " \t\n\v\f\r"

// words takes a text apart at blanks, which to apt are those of ASCII.
func words(text string) []string { return strings.FieldsFunc(text, isBlank) }

const keyHeader = "-----BEGIN PGP PUBLIC KEY BLOCK-----"

func isKey(value string) bool { return strings.HasPrefix(strings.TrimSpace(value), keyHeader+"\n") }

// keyLines gives a key its own lines back: in a field they are indented, and an empty one is a dot.
func keyLines(value string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimSpace(value)) {
		line = strings.TrimSpace(line)
		if line == "." {
			line = ""
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// signer is what Signed-By may name: the path of a keyring, or a fingerprint, whose "!" says that its subkeys do not count.
var signer = regexp.MustCompile(`^(/.*|[0-9A-Fa-f]{40}!?)$`)

// check says why apt would not take the entry. Of a disabled one apt reads no more than its types.
func (e Entry) check() error {
	switch {
	case e.Disabled:
		return nil
	case len(e.URIs) == 0:
		return errors.New("it has no URI")
	case len(e.Suites) == 0:
		return errors.New("it has no suite")
	}
	for _, u := range e.URIs {
		if !strings.Contains(u, ":") {
			return fmt.Errorf("%q is no URI", u)
		}
	}
	for _, s := range e.Suites {
		flat := strings.HasSuffix(s, "/")
		if flat && len(e.Components) > 0 {
			return fmt.Errorf("suite %s ends in a slash, which means that it has no components", s)
		}
		if !flat && len(e.Components) == 0 {
			return fmt.Errorf("suite %s has no component", s)
		}
	}
	for _, s := range e.SignedBy() {
		if !isKey(s) && !signer.MatchString(s) {
			return fmt.Errorf("%q in %s is neither an absolute path nor a fingerprint of 40 digits", s, signedBy)
		}
	}
	return nil
}
