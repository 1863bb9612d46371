package machine

import (
	"bytes"
	"context"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"vmbuild/rootfs/chroot"
)

func TestKeyFilter(t *testing.T) {
	for _, test := range []struct {
		typed, want string
		quit        bool
	}{
		{"ls\r", "ls\r", false},
		{"a\x01xb", "a", true},
		{"a\x01\x01b", "a\x01b", false},
		{"a\x01zb", "ab", false},
		{"\x01\x01x", "\x01x", false},
	} {
		for cut := range len(test.typed) + 1 {
			var k keyFilter
			got, quit := k.filter([]byte(test.typed[:cut]))
			if !quit {
				var rest []byte
				rest, quit = k.filter([]byte(test.typed[cut:]))
				got = append(got, rest...)
			}
			if string(got) != test.want || quit != test.quit {
				t.Errorf("%q cut at %d: %q, %v, want %q, %v", test.typed, cut, got, quit, test.want, test.quit)
			}
		}
	}
}

// screen is what a user sees.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(data)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// echoes is a guest that echoes keys up to a q.
func echoes(ctx context.Context, c chroot.Command) error {
	key := make([]byte, 1)
	for {
		if _, err := io.ReadFull(c.Stdin, key); err != nil {
			<-ctx.Done()
			return ctx.Err()
		}
		c.Stdout.Write(key)
		if key[0] == 'q' {
			return nil
		}
	}
}

func TestInteractOnTerminal(t *testing.T) {
	for _, test := range []struct{ name, typed, want string }{
		{"the guest ends", "ab\x03\rq", "ab\x03\rq"}, // raw: Ctrl-C and carriage return arrive
		{"the user ends", "ab\x01x", "ab"},
	} {
		t.Run(test.name, func(t *testing.T) {
			user, terminal, err := pty.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer user.Close()
			defer terminal.Close()
			before, err := term.GetState(int(terminal.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			var seen screen
			p := begin(t, echoes, Machine{Log: &seen})
			go func() {
				for _, key := range []byte(test.typed) {
					time.Sleep(20 * time.Millisecond)
					user.Write([]byte{key})
				}
			}()
			if err := p.Interact(soon(t, 10*time.Second), terminal); err != nil {
				t.Error(err)
			}
			if seen.String() != test.want {
				t.Errorf("saw %q, want %q", seen.String(), test.want)
			}
			if after, err := term.GetState(int(terminal.Fd())); err != nil || *after != *before {
				t.Errorf("the terminal was not given back: %v", err)
			}
		})
	}
}

func TestInteractOnFile(t *testing.T) {
	input, output, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	var seen screen
	p := begin(t, echoes, Machine{Log: &seen})
	io.WriteString(output, "hello, q")
	output.Close()
	if err := p.Interact(soon(t, 10*time.Second), input); err != nil || seen.String() != "hello, q" {
		t.Errorf("%v, saw %q", err, seen.String())
	}
}

func TestInteractEndsWithContext(t *testing.T) {
	input, output, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	defer output.Close()
	p := begin(t, prints("booting"), Machine{})
	if err := p.Interact(soon(t, 50*time.Millisecond), input); err == nil {
		t.Error("no error")
	}
}
