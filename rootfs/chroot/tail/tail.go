// Package tail keeps the last lines of what a program prints, for the error that says it failed. It keeps no more than
// that: the whole output goes to a log beside it.
package tail

import (
	"bytes"
	"strings"
	"sync"
)

// maxLine is the length in bytes from which on a line is cut, so that a program that prints no newline costs no memory.
const maxLine = 1000

// Buffer is an io.Writer that keeps the last lines written to it. It may be used by several goroutines at once.
type Buffer struct {
	Lines int // how many lines are kept; 20 if zero

	mu   sync.Mutex
	done []string // complete lines, oldest first
	last []byte   // the line that has no newline yet
}

// Write never fails.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for rest := p; len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, []byte("\n"))
		b.last = append(b.last, line[:min(len(line), maxLine-len(b.last))]...)
		if ended {
			b.done = append(b.done, string(b.last))
			b.done = b.done[max(0, len(b.done)-b.limit()):]
			b.last = b.last[:0]
		}
		rest = after
	}
	return len(p), nil
}

// String returns the lines kept, without a newline at the end.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	lines := b.done
	if len(b.last) > 0 {
		lines = append(lines[:len(lines):len(lines)], string(b.last))
	}
	return strings.Join(lines[max(0, len(lines)-b.limit()):], "\n")
}

func (b *Buffer) limit() int {
	if b.Lines == 0 {
		return 20
	}
	return b.Lines
}
