package multistrap

import (
	"fmt"
	"regexp"
	"strings"
)

// file is a configuration file as it stands: sections in their order, each name once.
type file struct {
	name     string
	sections []*section
}

// section is a part of a file, named in lower case.
type section struct {
	name   string
	where  position
	values []value
}

// value is one setting. A key may be given more than once.
type value struct {
	key, text string
	where     position
}

// position is a line of a file, counted from 1.
type position struct {
	file string
	line int
}

func (p position) String() string { return fmt.Sprintf("%s:%d", p.file, p.line) }

// What the lines of a file may be, as Config::IniFiles has it. Comments have a line of their own; there are no
// continuation lines.
var (
	sectionLine = regexp.MustCompile(`^\s*\[\s*(\S|\S.*\S)\s*\]\s*$`)
	valueLine   = regexp.MustCompile(`^\s*([^=]*?[^=\s])\s*=\s*(.*?)\s*$`)
)

// parseFile reads the text of one file. A value that begins with "<<" goes on until a line that is the word behind it.
func parseFile(name string, data []byte) (*file, error) {
	f := &file{name: name}
	var current *section
	lines := splitLines(data)
	for i := 0; i < len(lines); i++ {
		where := position{name, i + 1}
		line := strings.TrimSpace(lines[i])
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if m := sectionLine.FindStringSubmatch(line); m != nil {
			current = f.section(strings.ToLower(m[1]), where)
			continue
		}
		m := valueLine.FindStringSubmatch(line)
		switch {
		case m == nil:
			return nil, fmt.Errorf("%s: %q is neither a [section] nor key=value", where, line)
		case current == nil:
			return nil, fmt.Errorf("%s: %s stands before the first [section]", where, m[1])
		}
		v := value{m[1], m[2], where}
		if end, ok := strings.CutPrefix(m[2], "<<"); ok {
			n := lineOf(lines[i+1:], end)
			if n < 0 {
				return nil, fmt.Errorf("%s: there is no line %q to end %s", where, end, v.key)
			}
			v.text = strings.TrimSpace(strings.Join(lines[i+1:i+1+n], "\n"))
			i += n + 1
		}
		current.values = append(current.values, v)
	}
	if len(f.sections) == 0 {
		return nil, fmt.Errorf("%s: there is no [section]", name)
	}
	return f, nil
}

// splitLines returns the lines of a text whose lines end as on Unix, DOS or an old Macintosh.
func splitLines(data []byte) []string {
	text := strings.TrimPrefix(string(data), "\ufeff")
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	return strings.Split(text, "\n")
}

func lineOf(lines []string, text string) int {
	for i, l := range lines {
		if l == text {
			return i
		}
	}
	return -1
}

// section returns the section of a name; one that stands in a file twice is one.
func (f *file) section(name string, where position) *section {
	for _, s := range f.sections {
		if s.name == name {
			return s
		}
	}
	s := &section{name: name, where: where}
	f.sections = append(f.sections, s)
	return s
}
