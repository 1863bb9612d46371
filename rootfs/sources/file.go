package sources

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// File is a file of sources.
type File struct {
	Name    string // below /etc/apt
	Content string
	Entries []Entry // what Content says, disabled ones too
}

// Parse reads a file. Its form is told by the name's suffix, .list or .sources, or else by the first line that begins as
// one of the forms does. The error has the name and the line; with it, Entries are those before that line.
func Parse(name string, data []byte) (File, error) {
	f := File{Name: name, Content: string(data)}
	form, err := formOf(name, f.Content)
	if err == nil {
		f.Entries, err = form.parse(f.Content)
	}
	if err != nil {
		return f, fmt.Errorf("read apt sources %s: %w", name, err)
	}
	return f, nil
}

// form is one of the two forms of sources.
type form struct {
	suffix string
	parse  func(text string) ([]Entry, error)
	glue   string // between texts that become one file
}

var (
	oneLine = &form{".list", parseLines, "\n"}
	deb822  = &form{".sources", parseStanzas, "\n\n"}
)

var (
	beginsLine  = regexp.MustCompile(`^deb(-src)?[ \t]`)
	beginsField = regexp.MustCompile(`^[^#:\s]+:`)
)

func formOf(name, text string) (*form, error) {
	for _, f := range []*form{oneLine, deb822} {
		if path.Ext(name) == f.suffix {
			return f, nil
		}
	}
	for line := range strings.Lines(text) {
		switch {
		case beginsLine.MatchString(line):
			return oneLine, nil
		case beginsField.MatchString(line):
			return deb822, nil
		}
	}
	return nil, errors.New("no line begins with deb, deb-src or the name of a field and a colon")
}

// ReadTree reads the files that apt reads below etc, the directory /etc/apt of a tree, in apt's order. Sources that
// contradict each other are an error, as they are to apt.
func ReadTree(etc fs.FS) ([]File, error) {
	names, err := Names(etc)
	if err != nil {
		return nil, err
	}
	var files []File
	for _, name := range names {
		data, err := fs.ReadFile(etc, name)
		if err != nil {
			return nil, fmt.Errorf("read apt sources: %w", err)
		}
		f, err := Parse(name, data)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, checkAgreement(files)
}

// partName is what a file in sources.list.d must be called: apt leaves all others alone.
var partName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]*\.(list|sources)$`)

// Names lists the files below etc, a directory such as /etc/apt, that apt reads sources from, in its order.
func Names(etc fs.FS) ([]string, error) {
	candidates := []string{"sources.list"}
	parts, err := fs.ReadDir(etc, "sources.list.d") // sorted
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list apt sources: %w", err)
	}
	for _, p := range parts {
		if partName.MatchString(p.Name()) {
			candidates = append(candidates, path.Join("sources.list.d", p.Name()))
		}
	}
	var names []string
	for _, name := range candidates {
		info, err := fs.Stat(etc, name)
		switch {
		case errors.Is(err, fs.ErrNotExist): // or a link to nothing
		case err != nil:
			return nil, fmt.Errorf("list apt sources: %w", err)
		case info.Mode().IsRegular():
			names = append(names, name)
		}
	}
	return names, nil
}

// checkAgreement finds entries for a suite of an archive that disagree about its Release file: apt refuses to work with
// them.
func checkAgreement(files []File) error {
	type archive struct{ uri, suite string }
	first := map[archive]Entry{}
	for _, f := range files {
		for _, e := range f.Entries {
			if e.Disabled {
				continue
			}
			for _, uri := range e.URIs {
				for _, s := range e.Suites {
					key := archive{strings.TrimRight(uri, "/"), s}
					before, seen := first[key]
					if name := disagreement(before, e); seen && name != "" {
						return fmt.Errorf("read apt sources %s: option %s for %s %s is %q and was %q before",
							f.Name, name, uri, s, e.Get(name), before.Get(name))
					}
					if before.Get(signedBy) == "" {
						first[key] = e
					}
				}
			}
		}
	}
	return nil
}

// disagreement names the first option that two entries for the same archive must not, but do differ in. As to Signed-By,
// apt minds only if it has been given before.
func disagreement(before, after Entry) string {
	i := slices.IndexFunc(options, func(o known) bool {
		was, is := before.meaning(o), after.meaning(o)
		return o.release && was != is && (o.field != signedBy || was != "")
	})
	if i < 0 {
		return ""
	}
	return options[i].field
}

// meaning is the value of an option in one spelling.
func (e Entry) meaning(o known) string {
	value, given := e.Flag(o.field)
	switch {
	case e.Get(o.field) == "":
		return o.unset
	case given && value:
		return "yes"
	case given:
		return "no"
	}
	return e.Get(o.field)
}
