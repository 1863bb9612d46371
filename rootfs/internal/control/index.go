package control

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Package is one stanza of a Packages index: what is needed to choose a package, to fetch it and to check it.
// Relation fields are kept as they were written; ParseRelations reads them.
type Package struct {
	Name, Version, Architecture      string
	Source, Section, Priority        string
	MultiArch                        string
	Essential, Protected             bool
	PreDepends, Depends              string
	Recommends, Suggests, Enhances   string
	Conflicts, Breaks, Replaces      string
	Provides, Task, Filename, SHA256 string
	Size                             int64 // of the .deb, bytes
	InstalledSize                    int64 // KiB, as the package's maintainers estimate it
}

// averageStanza is a stanza's length in bytes; in Debian's own indexes it lies between 800 and 850.
const averageStanza = 800

// ParseIndex reads a whole Packages index. It knows the layout that archives write, stanzas as blocks of lines without
// comments, and ignores the fields that Package has no place for. The lines of a relation field that has several are
// joined by line feeds, which ParseRelations takes as blanks.
func ParseIndex(data []byte) ([]Package, error) {
	packages := make([]Package, 0, len(data)/averageStanza+1)
	var current *Package // the stanza being read, nil between stanzas
	var value *string    // where the last field's value is kept, nil if it is not
	for number, rest := 1, data; len(rest) > 0; number++ {
		var line []byte
		line, rest = cutLine(rest)
		var err error
		switch {
		case len(line) == 0:
			if current != nil {
				err = current.complete()
			}
			current, value = nil, nil
		case line[0] == ' ' || line[0] == '\t':
			if current == nil {
				err = errors.New("continuation line without a field before it")
			} else if value != nil {
				*value += "\n" + text(line)
			}
		default:
			if current == nil {
				packages = append(packages, Package{})
				current = &packages[len(packages)-1]
			}
			value, err = current.readField(line)
		}
		if err != nil {
			return nil, fmt.Errorf("parse package index: %w", &SyntaxError{number, err.Error()})
		}
	}
	if current != nil {
		if err := current.complete(); err != nil {
			return nil, fmt.Errorf("parse package index: last stanza: %w", err)
		}
	}
	return packages, nil
}

// cutLine cuts the first line, without its LF or CRLF, from data.
func cutLine(data []byte) (line, rest []byte) {
	end := bytes.IndexByte(data, '\n')
	if end < 0 {
		line = data
	} else {
		line, rest = data[:end], data[end+1:]
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, rest
}

// readField takes the value of a line "Name: value" into p and returns where it is kept as text, or nil.
func (p *Package) readField(line []byte) (*string, error) {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return nil, fmt.Errorf("%q is neither a field nor the continuation of one", line)
	}
	name, value := text(line[:colon]), strings.Trim(text(line[colon+1:]), " \t")
	if place := p.textField(name); place != nil {
		*place = value
		return place, nil
	}
	switch {
	case is(name, "Essential"):
		p.Essential = strings.EqualFold(value, "yes")
	case is(name, "Protected"), is(name, "Important"): // the latter is what apt called it before dpkg had the field
		p.Protected = p.Protected || strings.EqualFold(value, "yes")
	case is(name, "Size"):
		return nil, parseSize(value, &p.Size)
	case is(name, "Installed-Size"):
		return nil, parseSize(value, &p.InstalledSize)
	}
	return nil, nil
}

// textField returns where p keeps the named field as text, nil if it does not. Half of an index is fields that are not
// kept; the first letter is the quick way to know most of them.
func (p *Package) textField(name string) *string {
	switch name[0] | 0x20 {
	case 'a':
		if is(name, "Architecture") {
			return &p.Architecture
		}
	case 'b':
		if is(name, "Breaks") {
			return &p.Breaks
		}
	case 'c':
		if is(name, "Conflicts") {
			return &p.Conflicts
		}
	case 'd':
		if is(name, "Depends") {
			return &p.Depends
		}
	case 'e':
		if is(name, "Enhances") {
			return &p.Enhances
		}
	case 'f':
		if is(name, "Filename") {
			return &p.Filename
		}
	case 'm':
		if is(name, "Multi-Arch") {
			return &p.MultiArch
		}
	case 'p':
		switch {
		case is(name, "Package"):
			return &p.Name
		case is(name, "Priority"):
			return &p.Priority
		case is(name, "Provides"):
			return &p.Provides
		case is(name, "Pre-Depends"):
			return &p.PreDepends
		}
	case 'r':
		switch {
		case is(name, "Recommends"):
			return &p.Recommends
		case is(name, "Replaces"):
			return &p.Replaces
		}
	case 's':
		switch {
		case is(name, "Section"):
			return &p.Section
		case is(name, "SHA256"):
			return &p.SHA256
		case is(name, "Source"):
			return &p.Source
		case is(name, "Suggests"):
			return &p.Suggests
		}
	case 't':
		if is(name, "Task") {
			return &p.Task
		}
	case 'v':
		if is(name, "Version") {
			return &p.Version
		}
	}
	return nil
}

// is compares field names without regard to case, quickly where the case is the usual one.
func is(name, field string) bool {
	return len(name) == len(field) && (name == field || strings.EqualFold(name, field))
}

// complete says what a stanza lacks that every stanza must have.
func (p *Package) complete() error {
	switch {
	case p.Name == "":
		return errors.New("stanza without a Package field")
	case p.Version == "":
		return fmt.Errorf("package %s has no Version field", p.Name)
	case p.Architecture == "":
		return fmt.Errorf("package %s has no Architecture field", p.Name)
	}
	return nil
}

func parseSize(value string, size *int64) error {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is not a size", value)
	}
	*size = n
	return nil
}
