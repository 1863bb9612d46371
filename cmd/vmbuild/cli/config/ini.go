package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// section is the only one that a file has.
const section = "[config]"

// readINI reads a file line by line.
func readINI(file string, data []byte) ([]Setting, error) {
	text := strings.TrimPrefix(string(data), "\ufeff")
	text = strings.ReplaceAll(text, "\r\n", "\n")
	r := iniReader{}
	for i, line := range strings.Split(text, "\n") {
		if err := r.line(line, Position{file, i + 1}); err != nil {
			return nil, err
		}
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	return r.settings, nil
}

// iniReader has the settings of the lines so far, and the one that the next line may go on with.
type iniReader struct {
	settings []Setting
	inside   bool // of the section
	current  *Setting
	value    []string // the current setting's lines
}

func (r *iniReader) line(line string, where Position) error {
	text := strings.TrimSpace(line)
	switch {
	case text == "" || text[0] == '#' || text[0] == ';':
		return nil
	case r.current != nil && strings.TrimLeftFunc(line, unicode.IsSpace) != line:
		r.value = append(r.value, text)
		return nil
	}
	if err := r.end(); err != nil {
		return err
	}
	if text[0] == '[' {
		if text != section {
			return fmt.Errorf("%s: %s: settings are in the section %s, and there is no other", where, text, section)
		}
		r.inside = true
		return nil
	}
	separator := strings.IndexAny(text, "=:")
	switch {
	case separator <= 0:
		return fmt.Errorf("%s: %q is neither %s nor NAME = VALUE", where, text, section)
	case !r.inside:
		return fmt.Errorf("%s: a setting stands before the line %s", where, section)
	}
	r.current = &Setting{Name: strings.ToLower(strings.TrimSpace(text[:separator])), Where: where}
	r.value = []string{firstLine(text[separator+1:])}
	return nil
}

// inlineComment begins behind a blank.
var inlineComment = regexp.MustCompile(`\s;`)

// firstLine is what counts of a value's first line, as in Python 2, which vmdebootstrap was written in.
func firstLine(text string) string {
	if comment := inlineComment.FindStringIndex(text); comment != nil {
		text = text[:comment[0]]
	}
	if text = strings.TrimSpace(text); text == `""` {
		return ""
	}
	return text
}

// interpolation is what Python's ConfigParser replaces by the value of another setting.
var interpolation = regexp.MustCompile(`%\([^)]*\)s`)

// end ends the current setting. A value that begins on the line below its name has no empty line in front.
func (r *iniReader) end() error {
	if r.current == nil {
		return nil
	}
	if len(r.value) > 1 && r.value[0] == "" {
		r.value = r.value[1:]
	}
	value := strings.Join(r.value, "\n")
	if found := interpolation.FindString(value); found != "" {
		return fmt.Errorf("%s: %s: %s is not replaced by another setting: write the value itself",
			r.current.Where, r.current.Name, found)
	}
	r.current.Value = iniValue(value)
	r.settings = append(r.settings, *r.current)
	r.current = nil
	return nil
}

// iniValue is a value as it stands in the file.
type iniValue string

func (v iniValue) Switch() (bool, error) { return switchOf(string(v)) }
func (v iniValue) Text() (string, error) { return string(v), nil }

// List splits at commas. Quotes may stand around an item or a part of it; inside, two of them are one. Blanks around an
// item do not count unless they are in quotes.
func (v iniValue) List() ([]string, error) {
	items := []string{}
	for rest := string(v); strings.TrimSpace(rest) != ""; {
		item, after, err := nextItem(rest)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
		rest = after
	}
	return items, nil
}

// nextItem returns the first item of a list, and what stands behind its comma.
func nextItem(list string) (item, rest string, err error) {
	var text strings.Builder
	inside, quoted, kept := false, false, 0 // kept: how much of the text is not to be trimmed
	i := 0
	for ; i < len(list) && (inside || list[i] != ','); i++ {
		switch {
		case list[i] != '"':
			if text.Len() > 0 || inside || !isBlank(list[i]) {
				text.WriteByte(list[i])
			}
			if inside || !isBlank(list[i]) {
				kept = text.Len()
			}
		case inside && strings.HasPrefix(list[i+1:], `"`):
			text.WriteByte('"')
			kept = text.Len()
			i++
		default:
			inside, quoted = !inside, true
		}
	}
	item = text.String()[:kept]
	switch {
	case inside:
		return "", "", errors.New(`a quote (") is not closed`)
	case item == "" && !quoted:
		return "", "", errors.New("an item of the list is empty")
	case i < len(list):
		i++ // the comma
	}
	return item, list[i:], nil
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' }

func writeINI(entries []Entry) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(section + "\n")
	for _, e := range entries {
		var text string
		switch v := e.Value.(type) {
		case bool:
			text = map[bool]string{true: "yes", false: "no"}[v]
		case string:
			text = v
		case []string:
			text = joinItems(v)
		default:
			return nil, fmt.Errorf("%s: a %T is no value", e.Name, v)
		}
		if inlineComment.MatchString(" "+text) || text == `""` {
			text = "\n" + text
		}
		if text != "" && text[0] != '\n' {
			text = " " + text
		}
		b.WriteString(e.Name + " =" + strings.ReplaceAll(text, "\n", "\n\t") + "\n")
	}
	return b.Bytes(), nil
}

func joinItems(items []string) string {
	var quoted []string
	for _, item := range items {
		if item == "" || strings.ContainsAny(item, "\",\n") || strings.ContainsAny(item[:1], "#;") || strings.TrimSpace(item) != item {
			item = `"` + strings.ReplaceAll(item, `"`, `""`) + `"`
		}
		quoted = append(quoted, item)
	}
	return strings.Join(quoted, ", ")
}
