package sources

import (
	"errors"
	"fmt"
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
		words := strings.Fields(f.Value)
		switch strings.ToLower(f.Name) {
		case "types":
			if err := e.setTypes(words...); err != nil {
				return Entry{}, err
			}
		case "uris":
			e.URIs = words
		case "suites":
			e.Suites = words
		case "components":
			e.Components = words
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

// Stanza returns the entry in the deb822 form.
func (e Entry) Stanza() string {
	var b strings.Builder
	write := func(name string, words ...string) {
		if len(words) > 0 {
			b.WriteString(name + ": " + strings.Join(words, " ") + "\n")
		}
	}
	if e.Disabled {
		write("Enabled", "no")
	}
	switch {
	case e.Deb && e.DebSrc:
		write("Types", "deb", "deb-src")
	case e.Deb:
		write("Types", "deb")
	case e.DebSrc:
		write("Types", "deb-src")
	}
	write("URIs", e.URIs...)
	write("Suites", e.Suites...)
	write("Components", e.Components...)
	for _, o := range e.Options {
		if isKey(o.Value) {
			b.WriteString(o.Name + ":\n" + indent(o.Value))
			continue
		}
		write(o.Name, o.Value)
	}
	return b.String()
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
