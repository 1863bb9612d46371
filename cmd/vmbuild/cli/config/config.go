// Package config reads and writes configuration files: settings by name, each a switch, a text or a list of texts. It does
// not know which settings there are: who asks for a value knows what it shall be, and package cli is the one who asks.
//
// There are two forms. YAML is a mapping of names to values; a text counts as it is written (0644, 1.10), and the mapping
// may be that of a key "config", as Python's cliapp has it. INI is what cliapp, the library under vmdebootstrap, reads and
// writes by Python's ConfigParser: a section [config], NAME = VALUE or NAME: VALUE, lines that begin with # or ; as
// comments, also what follows a blank and ; on a value's first line, further lines of a value set in; lists separated by
// commas, with items in quotes that need them. Where cliapp reads a mistake as something, this package calls it one.
//
// What Form.Write has written, Form.Read reads as the same; what a form cannot hold, Write refuses.
package config

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// Setting is a line of a file: a name, without hyphens before it, and a value.
type Setting struct {
	Name  string
	Where Position
	Value
}

// Position is a place in a file; lines count from 1.
type Position struct {
	File string
	Line int
}

func (p Position) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// Value is what a file says of a setting, in the terms of who asks. An error says what the value is not.
type Value interface {
	Switch() (bool, error)
	Text() (string, error)
	List() ([]string, error)
}

// Entry is a setting to be written; its value is a bool, a string or a []string.
type Entry struct {
	Name  string
	Value any
}

// Form is how a file is written.
type Form struct {
	Name     string
	suffixes []string // of file names
	read     func(file string, data []byte) ([]Setting, error)
	write    func(entries []Entry) ([]byte, error)
}

// forms are all that there are. How to add one: a file with its two functions and a row here; then
// go test ./cmd/vmbuild/cli/config.
var forms = []Form{
	{Name: "yaml", suffixes: []string{".yaml", ".yml"}, read: readYAML, write: writeYAML},
	{Name: "ini", read: readINI, write: writeINI},
}

// Names are the names of the forms.
func Names() []string {
	var names []string
	for _, f := range forms {
		names = append(names, f.Name)
	}
	return names
}

// Lookup returns the form of a name.
func Lookup(name string) (Form, error) {
	for _, f := range forms {
		if f.Name == name {
			return f, nil
		}
	}
	return Form{}, fmt.Errorf("%q is not a form of configuration files (%s)", name, strings.Join(Names(), ", "))
}

// Of returns the form of a file: what its suffix says, else INI.
func Of(file string) Form {
	for _, f := range forms {
		if slices.Contains(f.suffixes, filepath.Ext(file)) {
			return f
		}
	}
	return forms[len(forms)-1]
}

// Read returns the settings of a file in their order. Errors name the file and the line. A name may come more than once.
func (f Form) Read(file string, data []byte) ([]Setting, error) {
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%s: it is no text in UTF-8", file)
	}
	return f.read(file, data)
}

// Write returns a file with these settings.
func (f Form) Write(entries []Entry) ([]byte, error) {
	for _, e := range entries {
		if !f.holds(e) {
			return nil, fmt.Errorf("write setting %q: the form %s cannot hold its value", e.Name, f.Name)
		}
	}
	return f.write(entries)
}

// holds says whether an entry is read as it was written. That is simpler to try than to know: the forms have rules for
// blanks, quotes, comments and characters that cannot be seen.
func (f Form) holds(e Entry) bool {
	data, err := f.write([]Entry{e})
	if err != nil {
		return false
	}
	settings, err := f.Read("", data)
	if err != nil || len(settings) != 1 || settings[0].Name != e.Name {
		return false
	}
	var got any
	switch e.Value.(type) {
	case bool:
		got, err = settings[0].Switch()
	case string:
		got, err = settings[0].Text()
	case []string:
		got, err = settings[0].List()
	}
	return err == nil && reflect.DeepEqual(got, e.Value)
}

// switchOf reads the words for yes and no that cliapp and YAML have.
func switchOf(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "yes", "true", "on", "1":
		return true, nil
	case "no", "false", "off", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither yes nor no", text)
}
