package machine

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
)

func TestStripper(t *testing.T) {
	for _, test := range []struct{ name, raw, want string }{
		{"text", "Grüße,\tWelt\r\n", "Grüße,\tWelt\n"},
		{"colour", "[\x1b[0;32m  OK  \x1b[0m] Started", "[  OK  ] Started"},
		{"window title", "\x1b]0;root@vmtest: ~\x07# ", "# "},
		{"OSC 3008 of sid's bash", "\x1b]3008;start=x;user=root\x1b\\output\x1b]3008;end=x\x1b\\", "output"},
		{"character set", "\x1b(Btext\x1b=", "text"},
		{"bell and backspace", "a\x07b\x08c\x7fd\x00e", "abcde"},
		{"cut sequence ends with its line", "\x1b]3008;start=\nnext", "\nnext"},
		{"sequence in a sequence", "\x1b[1\x1b[mx", "x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for cut := range len(test.raw) + 1 {
				var s stripper
				got := string(s.text([]byte(test.raw[:cut]))) + string(s.text([]byte(test.raw[cut:])))
				if got != test.want {
					t.Errorf("cut at %d: %q, want %q", cut, got, test.want)
				}
			}
		})
	}
}

func FuzzStripper(f *testing.F) {
	f.Add([]byte("\x1b]3008;start=x\x1b\\output\r\n\x1b[1;31m"), 5)
	f.Fuzz(func(t *testing.T, raw []byte, cut int) {
		if cut < 0 || cut > len(raw) {
			return
		}
		var whole, pieces stripper
		want := whole.text(raw)
		got := append(pieces.text(raw[:cut]), pieces.text(raw[cut:])...)
		if !bytes.Equal(got, want) {
			t.Errorf("cut at %d: %q, at once %q", cut, got, want)
		}
		if bytes.ContainsAny(want, "\x1b\r\x07") {
			t.Errorf("%q is left of %q", want, raw)
		}
	})
}

func TestMatchAcrossPiecesOfLongOutput(t *testing.T) {
	c := newConsole()
	found := make(chan string, 1)
	go func() {
		text, err := c.expect(t.Context(), regexp.MustCompile(`(?m)^vmtest login:`))
		if err != nil {
			t.Error(err)
		}
		found <- text
	}()
	var all strings.Builder
	for range 2000 {
		all.WriteString("not the vmtest login: at the start of a line\n")
		c.add([]byte("not the vmtest login: at the start of a line\r\n"))
	}
	for _, piece := range []string{"vmte", "st lo", "gin: "} {
		c.add([]byte(piece))
	}
	if got := <-found; got != all.String()+"vmtest login:" {
		t.Errorf("matched the wrong place: …%q", got[max(0, len(got)-100):])
	}
}

func TestUnreadTextIsLimited(t *testing.T) {
	c := newConsole()
	line := []byte(strings.Repeat("x", 1<<16) + "\n")
	for range 300 {
		c.add(line)
	}
	c.add([]byte("end"))
	c.end()
	text, err := c.expect(t.Context(), regexp.MustCompile("end"))
	if err != nil || len(text) < unreadLimit || len(text) > 3*unreadLimit {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if _, err := c.expect(context.Background(), regexp.MustCompile("end")); !errors.Is(err, ErrEnded) {
		t.Error(err)
	}
}
