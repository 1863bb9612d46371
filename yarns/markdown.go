package yarns

import (
	"bytes"
	"regexp"
	"strings"
)

// line is a line of a file, without its end.
type line struct {
	file   string
	number int // from 1
	text   string
}

// block is the text of one code block, never empty.
type block []line

// What a line that is not indented makes of an indented one behind it.
var (
	listItem = regexp.MustCompile(`^ {0,3}([-+*]|[0-9]+\.) +`) // its continuation
	heading  = regexp.MustCompile(`^(#|=+ *$|-+ *$)`)          // code, with no empty line between
)

// codeBlocks returns the top-level code blocks of a Markdown text: lines that are indented by four columns or more, which
// follow an empty line or a heading and are not part of a list. Blocks that only empty lines separate are one. The rest
// of Markdown is prose here.
func codeBlocks(file string, data []byte) []block {
	var blocks []block
	var code block
	list, prose := false, false // the last text begins a list; the last line is text
	end := func() {
		if len(code) > 0 {
			blocks = append(blocks, code)
		}
		code = nil
	}
	empty := 0 // lines since the last that was not
	number := 0
	for text := range bytes.Lines(data) {
		number++
		l := line{file, number, expandTabs(strings.TrimRight(string(text), "\r\n"))}
		switch {
		case strings.TrimSpace(l.text) == "":
			empty++
			prose = false
			continue
		case strings.HasPrefix(l.text, "    ") && !list && !prose:
			for n := number - empty; n < number && len(code) > 0; n++ {
				code = append(code, line{file, n, ""})
			}
			l.text = l.text[4:]
			code = append(code, l)
		case !strings.HasPrefix(l.text, "    "):
			end()
			list = listItem.MatchString(l.text) || list && prose
			prose = !heading.MatchString(l.text)
		}
		empty = 0
	}
	end()
	return blocks
}

// expandTabs has tab stops at each fourth column, as Markdown.
func expandTabs(text string) string {
	if !strings.Contains(text, "\t") {
		return text
	}
	var b strings.Builder
	column := 0
	for _, r := range text {
		if r != '\t' {
			b.WriteRune(r)
			column++
			continue
		}
		for first := true; first || column%4 != 0; column++ {
			b.WriteByte(' ')
			first = false
		}
	}
	return b.String()
}
