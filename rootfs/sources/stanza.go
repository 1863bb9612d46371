package sources

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"vmbuild/rootfs/internal/control"
)

// parseStanzas reads the deb822 form. With an error it returns the entries before it.
func parseStanzas(text string) ([]Entry, error) {
	var list []Entry
	for _, s := range splitStanzas(text) {
		for p, err := range control.Paragraphs([]byte(s.text)) { // none if there are only comments
			var syntax *control.SyntaxError
			if errors.As(err, &syntax) {
				return list, &control.SyntaxError{Line: s.line + syntax.Line - 1, Reason: syntax.Reason}
			}
			if err != nil {
				return list, err
			}
			e, err := newEntry(p)
			if err != nil {
				return list, fmt.Errorf("stanza at line %d: %w", s.line, err)
			}
			list = append(list, e)
		}
	}
	return list, nil
}

type stanza struct {
	line int // that it begins at, counted from 1
	text string
}

// splitStanzas cuts a text at lines that are blank.
func splitStanzas(text string) []stanza {
	var list []stanza
	number, inside := 0, false
	for line := range strings.Lines(text) {
		number++
		switch blank := strings.Trim(line, " \t\r\n") == ""; {
		case blank:
			inside = false
		case inside:
			list[len(list)-1].text += line
		default:
			inside = true
			list = append(list, stanza{number, line})
		}
	}
	return list
}

func newEntry(p control.Paragraph) (Entry, error) {
	var e Entry
	for _, f := range p.Fields() {
		list := words(f.Value)
		switch strings.ToLower(f.Name) {
		case "types":
			if err := e.setTypes(list...); err != nil {
				return Entry{}, err
			}
		case "uris":
			e.URIs = list
		case "suites":
			e.Suites = list
		case "components":
			e.Components = list
		case "enabled":
			enabled, given := Entry{Options: []Option{{"Enabled", strings.TrimSpace(f.Value)}}}.Flag("Enabled")
			e.Disabled = given && !enabled
		default:
			e.set(optionOf(f.Name), f.Value)
		}
	}
	if err := e.setTypes(); err != nil {
		return Entry{}, err
	}
	return e, e.check()
}

// optionOf returns what is known of the option of a field, whose name may be in any letters.
func optionOf(field string) known {
	for _, k := range options {
		if strings.EqualFold(k.field, field) {
			return k
		}
	}
	return known{field: field}
}

// Stanza returns the entry in the deb822 form. A blank inside of a word, which quotes allow in a line, and an option with a
// name that its field cannot have, have no place in it.
func (e Entry) Stanza() (string, error) {
	fields := []Option{{"Types", e.types()}}
	if e.Disabled {
		fields = slices.Insert(fields, 0, Option{"Enabled", "no"})
	}
	for _, f := range []struct {
		name string
		list []string
	}{{"URIs", e.URIs}, {"Suites", e.Suites}, {"Components", e.Components}} {
		for _, word := range f.list {
			if strings.IndexFunc(word, isBlank) >= 0 {
				return "", fmt.Errorf("%q in field %s has a blank", word, f.name)
			}
		}
		if len(f.list) > 0 {
			fields = append(fields, Option{f.name, strings.Join(f.list, " ")})
		}
	}
	for _, o := range e.Options {
		taken := func(f Option) bool { return strings.EqualFold(f.Name, o.Name) }
		if !fieldName.MatchString(o.Name) || slices.ContainsFunc(fields, taken) || isEntryField(o.Name) {
			return "", fmt.Errorf("an option cannot be a field with the name %q", o.Name)
		}
		fields = append(fields, o)
	}
	var b strings.Builder
	for _, f := range fields {
		if isKey(f.Value) {
			b.WriteString(f.Name + ":\n" + indent(f.Value))
			continue
		}
		b.WriteString(f.Name + ": " + f.Value + "\n")
	}
	return b.String(), nil
}

// isEntryField says whether the name is that of a field that is no option.
func isEntryField(name string) bool {
	return slices.ContainsFunc([]string{"Enabled", "Types", "URIs", "Suites", "Components"}, func(field string) bool {
		return strings.EqualFold(field, name)
	})
}

// fieldName is one that policy 5.1 allows.
var fieldName = regexp.MustCompile(`^[!-"$-,./0-9;-~][!-9;-~]*$`)

// types are words; an entry that says nothing is for binary packages.
func (e Entry) types() string {
	switch {
	case e.Deb && e.DebSrc:
		return "deb deb-src"
	case e.DebSrc:
		return "deb-src"
	}
	return "deb"
}

// indent makes a field's value of a key: what keyLines undoes.
func indent(key string) string {
	var b strings.Builder
	for line := range strings.Lines(key) {
		if line == "\n" {
			line = ".\n"
		}
		b.WriteString(" " + line)
	}
	return b.String()
}
