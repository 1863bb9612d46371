package machine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"vmbuild/rootfs/chroot"
)

// shellGuest boots to a login prompt; user root has no password, others have secret. Behind it is this host's /bin/sh
// on a real terminal, with echo, and around it all that disturbs: escape sequences, a message of the day with "login:".
func shellGuest(ctx context.Context, c chroot.Command) error {
	keys := bufio.NewReader(c.Stdin)
	fmt.Fprint(c.Stdout, "[    0.000000] Linux version 6\r\n\r\nDebian GNU/Linux 13 vmtest ttyS0\r\n\r\nvmtest login: ")
	user, err := keys.ReadString('\n')
	if err != nil {
		return err
	}
	if user != "root\n" {
		fmt.Fprint(c.Stdout, user+"\r\nPassword: ")
		password, err := keys.ReadString('\n')
		if err != nil {
			return err
		}
		if password != "secret\n" {
			fmt.Fprint(c.Stdout, "\r\n\r\nLogin incorrect\r\nvmtest login: ")
			<-ctx.Done()
			return ctx.Err()
		}
	}
	fmt.Fprint(c.Stdout, "\r\nLinux vmtest 6.12 #1 SMP\r\nLast login: Sat\r\n\x1b]3008;start=1\x1b\\\x1b[?2004hroot@vmtest:~# ")
	cmd := exec.CommandContext(ctx, "/bin/sh", "-i")
	cmd.Env = []string{"PATH=/usr/bin:/bin", "PS1=$ "}
	terminal, err := pty.Start(cmd)
	if err != nil {
		return err
	}
	defer terminal.Close()
	go io.Copy(terminal, keys)
	io.Copy(c.Stdout, terminal) // ends with EIO
	return cmd.Wait()
}

func TestSession(t *testing.T) {
	ctx := soon(t, 30*time.Second)
	for _, user := range []string{"root", "debian"} {
		p := begin(t, shellGuest, Machine{})
		s, err := p.Login(ctx, user, "secret")
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			command, output string
			status          int
		}{
			{"true", "", 0},
			{"echo one; echo two", "one\ntwo", 0},
			{"printf 'no newline'; exit 7", "no newline", 7},
			{"printf 'blank line\n\n'", "blank line\n", 0},
			{"printf '%s\n' 'it'\\''s \"quoted\" $((1+1)) %s\\n'", "it's \"quoted\" $((1+1)) %s\\n", 0},
			{"printf '\\033[31mred\\033[m\\r\\n'; echo error >&2", "red\nerror", 0},
			{"cat", "", 0}, // has no input to wait for
			{"for i in 1 2; do\n\techo $i\ndone", "1\n2", 0},
			{"echo 'not closed", "", 2},
			{"echo vmbuild:1:end:0:", "vmbuild:1:end:0:", 0}, // another command's mark
		} {
			output, status, err := s.Run(ctx, test.command)
			if test.status == 2 { // a shell's own words
				output = ""
			}
			if err != nil || output != test.output || status != test.status {
				t.Errorf("Run(%q) = %q, %d, %v, want %q, %d", test.command, output, status, err, test.output, test.status)
			}
		}
		if output, _, err := s.Run(ctx, "echo "+strings.Repeat("x", 3900)); err != nil || len(output) != 3900 {
			t.Errorf("a long line: %d bytes, %v", len(output), err)
		}
		_, _, err = s.Run(ctx, "true "+strings.Repeat("x", 4000))
		if err == nil || !strings.HasSuffix(err.Error(), "in the guest: a line of 4150 bytes is more than its terminal takes") {
			t.Errorf("a line that is too long: %v", err)
		}
		if _, _, err := s.Run(ctx, "kill -9 $PPID"); !errors.Is(err, ErrEnded) {
			t.Errorf("Run in a shell that ends: %v", err)
		}
	}
}

func TestLoginRefused(t *testing.T) {
	p := begin(t, shellGuest, Machine{})
	_, err := p.Login(soon(t, 30*time.Second), "debian", "wrong")
	if want := `log in as "debian": the guest says: Login incorrect`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestOutputBetweenMarks(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"plain", "vmbuild:3:begin:\nvmbuild:3:begin:\nout\n\nvmbuild:3:end:0:", "out"},
		{"first mark cut", "vmbu[  3.1] usb 1-1\nild:3:begin:\nvmbuild:3:begin:\nout\n\nvmbuild:3:end:0:", "out"},
		{"first end mark cut", "vmbuild:3:begin:\nvmbuild:3:begin:\nout\n\nvmbuild:3:e[ 9.1] usb\nnd:0:\nvmbuild:3:end:0:", "out\n\nvmbuild:3:e[ 9.1] usb\nnd:0:"},
		{"prompt before", "# \nvmbuild:3:begin:\nvmbuild:3:begin:\n\nvmbuild:3:end:0:", ""},
	} {
		if got := between(test.text, "vmbuild:3:"); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
