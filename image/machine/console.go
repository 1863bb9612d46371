package machine

import (
	"bytes"
	"context"
	"io"
	"regexp"
	"strings"
	"sync"
)

// console is what a guest has printed and nobody has waited for yet.
type console struct {
	mu     sync.Mutex
	strip  stripper
	unread []byte
	recent []byte        // the end of all that was printed, read or not
	more   chan struct{} // closed, and a new one made, when there is more
	ended  bool
}

const (
	unreadLimit = 4 << 20 // a guest may print for days with nobody waiting
	recentLimit = 4 << 10
	matchLimit  = 4 << 10
	recentLines = 15
)

func newConsole() *console { return &console{more: make(chan struct{})} }

// readFrom takes what the guest prints until its last byte. The log gets it as it is; that the log cannot be written
// does not stop the machine.
func (c *console) readFrom(r io.Reader, log io.Writer) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := r.Read(buffer)
		if n > 0 {
			log.Write(buffer[:n])
			c.add(buffer[:n])
		}
		if err != nil {
			return
		}
	}
}

func (c *console) add(raw []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := c.strip.text(raw)
	c.unread = keepEnd(append(c.unread, text...), unreadLimit)
	c.recent = keepEnd(append(c.recent, text...), recentLimit)
	c.wake()
}

// end says that nothing more will come.
func (c *console) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.wake()
}

func (c *console) wake() {
	close(c.more)
	c.more = make(chan struct{})
}

// expect is Process.Expect but for its error's words.
func (c *console) expect(ctx context.Context, pattern *regexp.Regexp) (string, error) {
	for seen := 0; ; {
		text, ok, ended, more := c.take(pattern, &seen)
		switch {
		case ok:
			return text, nil
		case ended && ctx.Err() == nil: // else it was ctx that ended the machine
			return "", ErrEnded
		}
		select {
		case <-more:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// take cuts off the unread text up to the end of a match. What was seen before is not searched again but for the
// lines in which a match may have begun.
func (c *console) take(pattern *regexp.Regexp, seen *int) (text string, ok, ended bool, more <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	from := 1 + bytes.LastIndexByte(c.unread[:max(0, min(*seen, len(c.unread))-matchLimit)], '\n')
	*seen = len(c.unread)
	match := pattern.FindIndex(c.unread[from:])
	if match == nil {
		return "", false, c.ended, c.more
	}
	end := from + match[1]
	text = string(c.unread[:end])
	c.unread = bytes.Clone(c.unread[end:])
	return text, true, false, nil
}

// lastLines returns the end of what the guest has printed.
func (c *console) lastLines() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return lastLines(string(c.recent), recentLines)
}

func keepEnd(text []byte, limit int) []byte {
	if len(text) <= 2*limit {
		return text
	}
	return append(text[:0], text[len(text)-limit:]...)
}

// lastLines returns the last n lines that are not blank.
func lastLines(text string, n int) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, " \n"); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// stripper takes terminal control sequences (ECMA-48) and control characters but newline and tab out of a stream that
// comes in pieces. A newline ends any sequence, so one that was cut off swallows no more than its line.
type stripper struct{ state stripState }

type stripState int

const (
	inText stripState = iota
	inEscape
	inControl // CSI: parameters up to a final byte, 0x40 to 0x7e
	inString  // OSC, DCS, SOS, PM, APC: up to BEL or ESC \
)

// text returns what of raw is to be read.
func (s *stripper) text(raw []byte) []byte {
	text := make([]byte, 0, len(raw))
	for _, b := range raw {
		switch {
		case b == '\n':
			s.state = inText
			text = append(text, b)
		case b == 0x1b:
			s.state = inEscape
		case s.state == inText && (b >= ' ' && b != 0x7f || b == '\t'):
			text = append(text, b)
		case s.state != inText:
			s.state = s.next(b)
		}
	}
	return text
}

// next returns the state after one more byte of a sequence.
func (s *stripper) next(b byte) stripState {
	switch s.state {
	case inEscape:
		switch {
		case b == '[':
			return inControl
		case strings.IndexByte("]PX^_", b) >= 0:
			return inString
		case b >= 0x20 && b <= 0x2f: // one more is to come
			return inEscape
		}
		return inText
	case inControl:
		if b >= 0x40 && b <= 0x7e {
			return inText
		}
	case inString:
		if b == 0x07 {
			return inText
		}
	}
	return s.state
}
