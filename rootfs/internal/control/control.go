// Package control reads Debian's control data: deb822 paragraphs, Packages indexes, relation fields and versions.
//
// It parses what a caller holds in memory and neither opens files nor judges what the fields mean together: choosing
// packages is package resolve's work. Strings it returns point into the bytes it was given, so those must not be
// changed afterwards; this is what makes reading an index of 57 MB take milliseconds.
package control

import (
	"bytes"
	"fmt"
	"iter"
	"strings"
	"unsafe"
)

// Field is one field of a paragraph. Value is the text after the colon without the blanks around it; the lines of a
// multi-line value are separated by "\n" and keep the blank they begin with.
type Field struct {
	Name, Value string
}

// Lines returns the value's lines without the blanks around them. The first line, which stands beside the field's
// name, is left out if it is empty, as it is in lists such as Conffiles and SHA256.
func (f Field) Lines() []string {
	if f.Value == "" {
		return nil
	}
	lines := strings.Split(f.Value, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	if lines[0] == "" {
		return lines[1:]
	}
	return lines
}

// Paragraph holds the fields of one deb822 stanza in the order in which they were written.
type Paragraph struct {
	fields []Field
}

// Fields returns the fields in order. The slice belongs to the paragraph.
func (p Paragraph) Fields() []Field { return p.fields }

// Get returns the value of the named field, and the empty string if there is none. Names are matched without regard
// to case.
func (p Paragraph) Get(name string) string {
	f, _ := p.Lookup(name)
	return f.Value
}

// Lookup returns the named field and whether the paragraph has it.
func (p Paragraph) Lookup(name string) (Field, bool) {
	for _, f := range p.fields {
		if strings.EqualFold(f.Name, name) {
			return f, true
		}
	}
	return Field{}, false
}

// A SyntaxError says which line of the input is not deb822.
type SyntaxError struct {
	Line   int // counted from 1
	Reason string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

// ParseParagraph reads data that holds exactly one paragraph, such as the control file of a binary package.
func ParseParagraph(data []byte) (Paragraph, error) {
	var found []Paragraph
	for p, err := range Paragraphs(data) {
		if err != nil {
			return Paragraph{}, fmt.Errorf("parse control paragraph: %w", err)
		}
		found = append(found, p)
	}
	if len(found) != 1 {
		return Paragraph{}, fmt.Errorf("parse control paragraph: there are %d paragraphs instead of one", len(found))
	}
	return found[0], nil
}

// Paragraphs yields the paragraphs of data one after the other: fields and continuation lines, paragraphs separated by
// lines that are empty or blank, comment lines beginning with "#" left out, lines ending in LF or CRLF (deb822(5)).
// At the first line that is none of this it yields a *SyntaxError and ends.
func Paragraphs(data []byte) iter.Seq2[Paragraph, error] {
	return func(yield func(Paragraph, error) bool) {
		s := scanner{data: data}
		for {
			p, err := s.paragraph()
			if err != nil {
				yield(Paragraph{}, err)
				return
			}
			if len(p.fields) == 0 || !yield(p, nil) {
				return
			}
		}
	}
}

// scanner walks over the lines of data.
type scanner struct {
	data []byte
	next int // offset of the line to be read next
	line int // number of the line that was read last

	name  string // the field being read, "" before the first
	value []span // its lines
}

// span is a range of data's bytes.
type span struct{ start, end int }

// read returns the next line without its end and without blanks at its end, or false at the end of the data.
func (s *scanner) read() (span, bool) {
	if s.next >= len(s.data) {
		return span{}, false
	}
	s.line++
	line := span{s.next, len(s.data)}
	if length := bytes.IndexByte(s.data[s.next:], '\n'); length >= 0 {
		line.end = s.next + length
	}
	s.next = line.end + 1
	for line.end > line.start && isBlank(s.data[line.end-1]) {
		line.end--
	}
	return line, true
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }

// paragraph reads up to the end of the next paragraph. At the end of the data it returns one without fields.
func (s *scanner) paragraph() (Paragraph, error) {
	var p Paragraph
	for {
		line, ok := s.read()
		switch {
		case !ok || line.start == line.end && s.name != "":
			s.endField(&p)
			return p, nil
		case line.start == line.end || s.data[line.start] == '#':
		case isBlank(s.data[line.start]):
			if s.name == "" {
				return p, s.errorf("continuation line without a field before it")
			}
			s.value = append(s.value, line)
		default:
			s.endField(&p)
			if err := s.startField(line); err != nil {
				return p, err
			}
			if _, found := p.Lookup(s.name); found {
				return p, s.errorf("field %q is given twice", s.name)
			}
		}
	}
}

// startField reads the line that begins a field.
func (s *scanner) startField(line span) error {
	content := s.data[line.start:line.end]
	colon := bytes.IndexByte(content, ':')
	if colon < 0 {
		return s.errorf("%q is neither a field nor the continuation of one", content)
	}
	if reason := checkFieldName(content[:colon]); reason != "" {
		return s.errorf("field name %q %s", content[:colon], reason)
	}
	value := span{line.start + colon + 1, line.end}
	for value.start < value.end && isBlank(s.data[value.start]) {
		value.start++
	}
	s.name = text(content[:colon])
	s.value = append(s.value[:0], value)
	return nil
}

// endField adds the field that was read, if any, to p.
func (s *scanner) endField(p *Paragraph) {
	if s.name != "" {
		p.fields = append(p.fields, Field{s.name, s.joinValue()})
	}
	s.name = ""
}

// joinValue returns the lines of the value. Only those with something between them that is not part of the value,
// such as a comment or a carriage return, are copied.
func (s *scanner) joinValue() string {
	last := s.value[0]
	for _, line := range s.value[1:] {
		if line.start != last.end+1 {
			return s.copyValue()
		}
		last = line
	}
	return text(s.data[s.value[0].start:last.end])
}

func (s *scanner) copyValue() string {
	var b strings.Builder
	for i, line := range s.value {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.Write(s.data[line.start:line.end])
	}
	return b.String()
}

func (s *scanner) errorf(format string, args ...any) error {
	return &SyntaxError{Line: s.line, Reason: fmt.Sprintf(format, args...)}
}

// checkFieldName holds a name against policy 5.1 and says what is wrong with it.
func checkFieldName(name []byte) string {
	if len(name) == 0 {
		return "is empty"
	}
	if name[0] == '-' {
		return "begins with a hyphen"
	}
	for _, c := range name {
		if c <= ' ' || c > '~' {
			return "has a character that is not printable ASCII"
		}
	}
	return ""
}

// text makes a string of b without copying.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
