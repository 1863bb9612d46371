package transfer

import (
	"errors"
	"strings"
)

var errQuote = errors.New("a quotation or a backslash is without its end")

// split splits a text into words as shellwords of Perl's Text::ParseWords does: white space separates, a backslash
// stands for the character after it, but keeps itself between single quotes.
func split(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	begun := false
	end := func() {
		if begun {
			words = append(words, word.String())
		}
		word.Reset()
		begun = false
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case strings.IndexByte(" \t\n\r\f\v", c) >= 0:
			end()
			continue
		case c == '"' || c == '\'':
			n := quoted(&word, text[i:])
			if n == 0 {
				return nil, errQuote
			}
			i += n - 1
		case c == '\\':
			i++
			if i == len(text) {
				return nil, errQuote
			}
			word.WriteByte(text[i])
		default:
			word.WriteByte(c)
		}
		begun = true
	}
	end()
	return words, nil
}

// quoted adds what is between the quotes that the text begins with and returns how many bytes that and the quotes are,
// or 0 if there is no second quote.
func quoted(word *strings.Builder, text string) int {
	quote := text[0]
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == quote:
			return i + 1
		case c == '\\' && i+1 < len(text):
			if quote == '\'' {
				word.WriteByte(c)
			}
			i++
			word.WriteByte(text[i])
		default:
			word.WriteByte(c)
		}
	}
	return 0
}
