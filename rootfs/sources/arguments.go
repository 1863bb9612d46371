package sources

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
)

// Argument is what a command line says of a source: an address, a line, the name of a file, "-", or nothing. Content is
// what the file or, for "-", standard input has; it is empty for the others.
type Argument struct {
	Argument string
	Content  string
}

// ErrNone says that arguments hold no source. That is well where a hook is to write some.
var ErrNone = errors.New("the MIRROR arguments hold no apt source")

// FromArguments makes files of sources of a command line's arguments, as mmdebstrap does: an address stands for the suite
// with its components in that archive. Sources that follow each other, come from no file and have the same form become one
// file. The first one is sources.list if it has lines and comes from no file; all others are in sources.list.d, under
// their number.
func FromArguments(suite string, components []string, arguments []Argument) ([]File, error) {
	var parts []part
	for _, a := range arguments {
		p, err := newPart(suite, components, a)
		if err != nil {
			return nil, err
		}
		if p.form == nil {
			continue
		}
		if n := len(parts); n > 0 && parts[n-1].joins(p) {
			parts[n-1].text += p.form.glue + p.text
			parts[n-1].entries = append(parts[n-1].entries, p.entries...)
			continue
		}
		parts = append(parts, p)
	}
	var files []File
	for i, p := range parts {
		files = append(files, File{Name: p.fileName(i), Content: p.text, Entries: p.entries})
	}
	if len(files) == 0 {
		return nil, ErrNone
	}
	return files, checkAgreement(files)
}

// part is a piece of a file in the making. Without a form it is none.
type part struct {
	name    string // of the file that it comes from; empty: of none
	form    *form
	text    string
	entries []Entry
}

func (p part) joins(next part) bool { return p.name == "" && next.name == "" && p.form == next.form }

// newPart looks at an argument. The order of the tests is mmdebstrap's.
func newPart(suite string, components []string, a Argument) (part, error) {
	switch text := a.Argument; {
	case text == "-":
		return parsePart("", "of standard input", a.Content)
	case beginsLine.MatchString(text):
		return parsePart("", fmt.Sprintf("%q", text), text+"\n")
	case isAddress(text):
		if suite == "" {
			return part{}, fmt.Errorf("MIRROR %s is an address, and there is no SUITE to look for in it", text)
		}
		return parsePart("", fmt.Sprintf("%q", text), line(text, suite, components))
	case a.Content != "":
		return parsePart(path.Base(text), text, a.Content)
	case text == "":
		return part{}, nil
	}
	return part{}, fmt.Errorf("MIRROR %q is no address (scheme://…), no line of apt sources (deb …) and no file with any",
		a.Argument)
}

// isAddress takes what mmdebstrap takes, and the addresses of sources.list(5) that need no double slash.
func isAddress(text string) bool {
	return strings.Contains(text, "://") || strings.HasPrefix(text, "file:/") || strings.HasPrefix(text, "copy:/")
}

// parsePart reads a text that comes from the file of a name, or from what is called title.
func parsePart(name, title, text string) (part, error) {
	if text == "" {
		return part{}, nil
	}
	form, err := formOf(name, text)
	if err != nil {
		return part{}, fmt.Errorf("read apt sources %s: %w", title, err)
	}
	p := part{name: name, form: form, text: text}
	if p.entries, err = form.parse(text); err != nil {
		return part{}, fmt.Errorf("read apt sources %s: %w", title, err)
	}
	return p, nil
}

// line names a suite of the archive at an address, which may have options in brackets before it.
func line(address, suite string, components []string) string {
	words := []string{"deb", address, suite}
	if !strings.HasSuffix(suite, "/") {
		words = append(words, orMain(components)...)
	}
	return strings.Join(words, " ") + "\n"
}

func orMain(components []string) []string {
	if len(components) == 0 {
		return []string{"main"}
	}
	return components
}

// ignored are characters that no file in sources.list.d may have in its name: apt leaves it alone then.
var ignored = regexp.MustCompile(`[^A-Za-z0-9_.-]`)

// fileName is what the file is called that the part of that number becomes. Where mmdebstrap would give it a name that apt
// does not read, it gets another one.
func (p part) fileName(number int) string {
	if number == 0 && p.name == "" && p.form == oneLine {
		return "sources.list"
	}
	name := p.name
	if name == "" {
		name = "main"
	}
	name = fmt.Sprintf("%04d%s", number, ignored.ReplaceAllString(name, "_"))
	if path.Ext(name) != p.form.suffix {
		name += p.form.suffix
	}
	return path.Join("sources.list.d", name)
}
