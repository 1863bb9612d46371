package sources

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// parseLines reads the one-line form. With an error it returns the entries before it.
func parseLines(text string) ([]Entry, error) {
	var list []Entry
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimFunc(withoutComment(line), isBlank)
		if line == "" {
			continue
		}
		e, err := parseLine(line)
		if err != nil {
			return list, fmt.Errorf("line %d: %w", number, err)
		}
		list = append(list, e)
	}
	return list, nil
}

// withoutComment cuts a line at the first "#" that is not between brackets.
func withoutComment(line string) string {
	open := 0
	for i, c := range line {
		switch c {
		case '[':
			open++
		case ']':
			open--
		case '#':
			if open <= 0 {
				return line[:i]
			}
		}
	}
	return line
}

// parseLine reads "deb [option=value …] URI SUITE COMPONENT…", as apt-pkg's sourcelist.cc does.
func parseLine(line string) (Entry, error) {
	var e Entry
	end := strings.IndexFunc(line, isBlank)
	if end < 0 {
		end = len(line)
	}
	if err := e.setTypes(line[:end]); err != nil {
		return Entry{}, err
	}
	rest, err := e.cutOptions(strings.TrimLeftFunc(line[end:], isBlank))
	if err != nil {
		return Entry{}, err
	}
	for rest != "" {
		var word string
		if word, rest, err = cutWord(rest); err != nil {
			return Entry{}, err
		}
		switch {
		case e.URIs == nil:
			e.URIs = []string{word}
		case e.Suites == nil:
			e.Suites = []string{word}
		default:
			e.Components = append(e.Components, word)
		}
	}
	return e, e.check()
}

// setTypes sets what kinds of packages the entry is for.
func (e *Entry) setTypes(types ...string) error {
	for _, t := range types {
		switch t {
		case "deb":
			e.Deb = true
		case "deb-src":
			e.DebSrc = true
		default:
			return fmt.Errorf("type %q is neither deb nor deb-src", t)
		}
	}
	if !e.Deb && !e.DebSrc {
		return errors.New("it has no type, deb or deb-src")
	}
	return nil
}

// cutOptions reads "[option=value …]" if the text begins with it, and returns what comes after.
func (e *Entry) cutOptions(text string) (string, error) {
	rest, ok := strings.CutPrefix(text, "[")
	if !ok {
		return text, nil
	}
	rest = strings.TrimLeftFunc(rest, isBlank)
	for !strings.HasPrefix(rest, "]") {
		if rest == "" {
			return "", errors.New("its options have no closing bracket")
		}
		word, after, err := cutWord(rest)
		if err != nil {
			return "", err
		}
		// The bracket that ends the options need not have a blank before it.
		if strings.HasSuffix(strings.TrimRight(rest[:len(rest)-len(after)], blanks), "]") {
			word, after = strings.TrimSuffix(word, "]"), "]"+after
		}
		if err := e.addOption(word); err != nil {
			return "", err
		}
		rest = after
	}
	return strings.TrimLeftFunc(rest[1:], isBlank), nil
}

// addOption reads "option=value". Option names are case-sensitive here; apt ignores those that it does not know, but one
// that it would know in other letters is an error, since it cannot have been meant to be ignored.
func (e *Entry) addOption(word string) error {
	name, value, ok := strings.Cut(word, "=")
	if !ok || name == "" || value == "" {
		return fmt.Errorf("option %q is not NAME=VALUE", word)
	}
	i := slices.IndexFunc(options, func(k known) bool { return k.line == name })
	switch right := misspelled(name); {
	case i >= 0:
		e.set(options[i], value)
	case right != "":
		return fmt.Errorf("option %s is called %s in this form", name, right)
	default:
		e.set(known{field: name}, value)
	}
	return nil
}

// misspelled returns what the option is called in a line that a name in other letters, or its name in the deb822 form,
// stands for; "" if there is none.
func misspelled(name string) string {
	for _, k := range options {
		if strings.EqualFold(k.line, name) || strings.EqualFold(k.field, name) {
			return k.line
		}
	}
	return ""
}

// cutWord cuts the first word from a text that begins with one (ParseQuoteWord of apt-pkg's strutl.cc): blanks between
// double quotes or brackets are part of it, the quotes are not, and %XX is the byte of that number.
func cutWord(text string) (word, rest string, err error) {
	end := 0
	for end < len(text) && !isBlank(rune(text[end])) {
		closing := ""
		switch text[end] {
		case '"':
			closing = `"`
		case '[':
			closing = "]"
		}
		end++
		if closing != "" {
			length := strings.Index(text[end:], closing)
			if length < 0 {
				return "", "", fmt.Errorf("%s has no closing %s", text, closing)
			}
			end += length + 1
		}
	}
	word = decode(text[:end])
	if word == "" {
		return "", "", fmt.Errorf("%s is an empty word", text[:end])
	}
	return word, strings.TrimLeftFunc(text[end:], isBlank), nil
}

func decode(word string) string {
	var b strings.Builder
	for i := 0; i < len(word); i++ {
		switch {
		case word[i] == '"':
		case word[i] == '%' && isHex(word[i+1:]):
			n, _ := strconv.ParseUint(word[i+1:i+3], 16, 8) // isHex has seen to it
			b.WriteByte(byte(n))
			i += 2
		default:
			b.WriteByte(word[i])
		}
	}
	return b.String()
}

// isHex says whether a text begins with two hexadecimal digits.
func isHex(text string) bool {
	if len(text) < 2 {
		return false
	}
	_, err := strconv.ParseUint(text[:2], 16, 8)
	return err == nil
}

// Lines returns the entry in the one-line form: a line for each type, address and suite, as a comment if it is disabled.
// A key that is an option's value, and an option that means something else in a line, have no place in one.
func (e Entry) Lines() (string, error) {
	brackets, err := e.brackets()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, typ := range words(e.types()) {
		for _, uri := range e.URIs {
			for _, s := range e.Suites {
				if e.Disabled {
					b.WriteString("# ")
				}
				b.WriteString(typ + brackets + " " + encode(uri) + " " + encode(s))
				for _, c := range e.Components {
					b.WriteString(" " + encode(c))
				}
				b.WriteByte('\n')
			}
		}
	}
	return b.String(), nil
}

// brackets returns " [option=value …]".
func (e Entry) brackets() (string, error) {
	if len(e.Options) == 0 {
		return "", nil
	}
	var list []string
	for _, o := range e.Options {
		name, value := o.Name, o.Value
		i := slices.IndexFunc(options, func(k known) bool { return k.field == name })
		switch {
		case isKey(value):
			return "", fmt.Errorf("option %s is a key, which has no place in a line", name)
		case i < 0 && (strings.Contains(name, "=") || misspelled(name) != ""):
			return "", fmt.Errorf("option %s would be another one in a line", name)
		case i >= 0 && options[i].list:
			value = strings.ReplaceAll(value, " ", ",")
		}
		if i >= 0 {
			name = options[i].line
		}
		list = append(list, encodeAll(name)+"="+encodeAll(value))
	}
	return " [" + strings.Join(list, " ") + "]", nil
}

// encode makes a word of what decode would not leave as it is, or what would end the word or begin something else.
func encode(text string) string {
	// Brackets are well where they belong, around an address of IPv6 or the label of a medium.
	if i, j := strings.IndexByte(text, '['), strings.IndexByte(text, ']'); i > 0 && i < j && strings.Count(text, "[") == 1 &&
		strings.Count(text, "]") == 1 {
		return encodeAll(text[:i]) + "[" + encodeAll(text[i+1:j]) + "]" + encodeAll(text[j+1:])
	}
	return encodeAll(text)
}

func encodeAll(text string) string {
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		if c <= ' ' || c == 0x7f || strings.IndexByte(`"#[]`, c) >= 0 || c == '%' && isHex(text[i+1:]) {
			fmt.Fprintf(&b, "%%%02x", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}
