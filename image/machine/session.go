package machine

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Session is a shell on a guest's console. It is for one goroutine at a time.
type Session struct {
	process *Process
	count   int // of commands
}

// terminalLine is how many bytes of a line Linux' terminals take (N_TTY_BUF_SIZE in drivers/tty/n_tty.c, less one).
const terminalLine = 4095

var (
	// A name and "login:", as agetty prints it; "Last login:" comes after it.
	loginPrompt = regexp.MustCompile(`(?m)^\S+ login:`)
	// What may follow the name: a shell's prompt, a question for the password or a refusal.
	loginAnswer = regexp.MustCompile(`[Pp]assword:|Login incorrect|[#$] $`)
	shellPrompt = regexp.MustCompile(`Login incorrect|[#$] $`)
	shellReady  = regexp.MustCompile(`vmbuild:0:ready`)
)

// takeShell ends in a silent shell on a silent terminal. The kernel may print amid a command's output; only root can
// keep it from that. Marks are typed with quotes inside, so that the terminal's echo of the typing is not taken for them.
const takeShell = `exec env TERM=dumb ENV= PS1= PS2= ` +
	`/bin/sh -c "stty -echo; dmesg -n 1 2>/dev/null; echo vm''build:0:ready; exec /bin/sh"`

// Login waits for a login prompt, logs in and takes a plain /bin/sh in place of the user's shell, whose prompt has to end
// in "# " or "$ ": bash edits lines and, since Debian 14, prints escape sequences before each command.
func (p *Process) Login(ctx context.Context, user, password string) (*Session, error) {
	s := &Session{process: p}
	if err := s.login(ctx, user, password); err != nil {
		return nil, fmt.Errorf("log in as %q: %w", user, err)
	}
	if _, err := s.answer(ctx, takeShell, shellReady); err != nil {
		return nil, fmt.Errorf("take a shell as %q: %w", user, err)
	}
	return s, nil
}

func (s *Session) login(ctx context.Context, user, password string) error {
	if _, err := s.process.Expect(ctx, loginPrompt); err != nil {
		return err
	}
	answer, err := s.answer(ctx, user, loginAnswer)
	if err == nil && strings.HasSuffix(answer, "assword:") {
		answer, err = s.answer(ctx, password, shellPrompt)
	}
	if err == nil && strings.HasSuffix(answer, "Login incorrect") {
		return errors.New("the guest says: Login incorrect")
	}
	return err
}

func (s *Session) answer(ctx context.Context, line string, next *regexp.Regexp) (string, error) {
	if err := s.process.Send(line + "\n"); err != nil {
		return "", err
	}
	return s.process.Expect(ctx, next)
}

// Run runs a command of /bin/sh and returns what it printed, without the last newline, and its exit status. Each
// command has a shell of its own: a cd or a variable is gone after it. Its standard input is empty.
func (s *Session) Run(ctx context.Context, command string) (output string, status int, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("run %q in the guest: %w", command, err)
		}
	}()
	s.count++
	typed := script(s.count, command)
	for line := range strings.Lines(typed) {
		if len(line) > terminalLine {
			return "", 0, fmt.Errorf("a line of %d bytes is more than its terminal takes", len(line))
		}
	}
	if err := s.process.Send(typed); err != nil {
		return "", 0, err
	}
	end := regexp.MustCompile(fmt.Sprintf(`vmbuild:%d:end:(\d+):`, s.count))
	text, err := s.process.Expect(ctx, end)
	if err != nil {
		return "", 0, err
	}
	if status, err = strconv.Atoi(end.FindStringSubmatch(text)[1]); err != nil {
		return "", 0, err
	}
	return between(text, fmt.Sprintf("vmbuild:%d:", s.count)), status, nil
}

// script writes what is typed for a command. Each mark around its output is printed twice, as a message of the guest's
// system may cut one of them.
func script(number int, command string) string {
	quoted := "'" + strings.ReplaceAll(command, "'", `'\''`) + "'"
	begin := fmt.Sprintf("vm''build:%d:begin:", number)
	end := fmt.Sprintf("vm''build:%d:end:$?:", number)
	return fmt.Sprintf("echo %[1]s; echo %[1]s; /bin/sh -c %[2]s </dev/null 2>&1; printf '\\n%%s\\n%%s\\n' %[3]s %[3]s\n",
		begin, quoted, end)
}

// between returns what stands after the last begin mark and before the first end mark.
func between(text, mark string) string {
	if i := strings.LastIndex(text, mark+"begin:"); i >= 0 {
		_, text, _ = strings.Cut(text[i:], "\n")
	}
	text, _, _ = strings.Cut(text, mark+"end:")
	return strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\n")
}
