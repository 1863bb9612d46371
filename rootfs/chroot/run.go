package chroot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vmbuild/rootfs/chroot/tail"
	"vmbuild/rootfs/span"
)

const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Environment returns what programs in a root get, and nothing of the caller's own environment: that an image depends
// on. SOURCE_DATE_EPOCH comes from Options.Epoch.
func Environment() []string {
	return []string{
		"PATH=" + searchPath,
		"HOME=/root",
		"LC_ALL=C.UTF-8",
		"LANGUAGE=C.UTF-8",
		"LANG=C.UTF-8",
		"DEBIAN_FRONTEND=noninteractive",
		"DEBCONF_NONINTERACTIVE_SEEN=true",
		"TERM=dumb",
	}
}

// CommandError is a program's own failure.
type CommandError struct {
	Args       []string
	ExitStatus int         // -1 if a signal ended it
	Signal     unix.Signal // 0 if none did
	Output     string      // the last lines it printed where nothing else was to take them
}

func (e *CommandError) Error() string {
	text := fmt.Sprintf("%s: exit status %d", commandLine(e.Args), e.ExitStatus)
	if e.Signal != 0 {
		text = fmt.Sprintf("%s: killed by signal %s", commandLine(e.Args), unix.SignalName(e.Signal))
	}
	if e.Output != "" {
		text += "; its last words:\n" + e.Output
	}
	return text
}

// commandLine gives arguments such that one sees where each begins.
func commandLine(args []string) string {
	words := make([]string, len(args))
	for i, arg := range args {
		words[i] = arg
		if arg == "" || strings.ContainsAny(arg, " \t\n\"'\\$`;&|<>()*?#") {
			words[i] = strconv.Quote(arg)
		}
	}
	return strings.Join(words, " ")
}

// outputTime is how long the output of a program is read on after its end, when a daemon it started holds it open.
const outputTime = time.Second

// Run runs a program in the root and waits for it. A failure of the program itself is a *CommandError. When ctx is
// cancelled the program and its process group are killed; the error then wraps the cause.
func (r *Root) Run(ctx context.Context, c Command) error {
	if len(c.Args) == 0 {
		return errors.New("run a program: no arguments")
	}
	if err := r.blockDaemons(); err != nil {
		return fmt.Errorf("run %s: %w", commandLine(c.Args), err)
	}
	ctx, ran := span.Start(ctx, span.Program, filepath.Base(c.Args[0]))
	defer ran.End()
	var last tail.Buffer
	cmd, err := r.command(ctx, c, &last)
	if err == nil {
		err = r.start(cmd)
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", commandLine(c.Args), err)
	}
	err = cmd.Wait()
	if cmd.ProcessState != nil {
		used, _ := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		ran.Ran(used)
	}
	var exit *exec.ExitError
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("run %s: %w", commandLine(c.Args), context.Cause(ctx))
	case errors.As(err, &exit):
		failed := &CommandError{Args: c.Args, ExitStatus: exit.ExitCode(), Output: last.String()}
		if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
			failed.Signal = status.Signal()
		}
		return failed
	default:
		return fmt.Errorf("run %s: %w", commandLine(c.Args), err)
	}
}

// command makes the process of a Command; last gets what goes to the log.
func (r *Root) command(ctx context.Context, c Command, last io.Writer) (*exec.Cmd, error) {
	env := Environment()
	if !r.options.Epoch.IsZero() {
		env = append(env, "SOURCE_DATE_EPOCH="+strconv.FormatInt(r.options.Epoch.Unix(), 10))
	}
	env = append(env, c.Env...)
	program, err := r.lookPath(c.Args[0], env)
	if err != nil {
		return nil, err
	}
	log := last
	if r.options.Log != nil {
		log = io.MultiWriter(&lockedWriter{&r.mu, r.options.Log}, last)
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Args = c.Args
	cmd.Env = env
	cmd.Dir = cmp.Or(c.Dir, "/") // after the change of root
	cmd.Stdin = c.Stdin
	cmd.Stdout, cmd.Stderr = c.Stdout, c.Stderr
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	if cmd.Stderr == nil {
		cmd.Stderr = log
	}
	cmd.ExtraFiles = c.Files
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: r.dir, Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = outputTime
	return cmd, nil
}

// start starts a program, with the filter of NoSync if it is wanted.
func (r *Root) start(cmd *exec.Cmd) error {
	if r.options.NoSync {
		return startWithoutSync(cmd)
	}
	return cmd.Start()
}

// lookPath finds a program as a shell in the root would, by the last PATH in env.
func (r *Root) lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	search := ""
	for _, v := range env {
		if value, ok := strings.CutPrefix(v, "PATH="); ok {
			search = value
		}
	}
	for _, dir := range filepath.SplitList(search) {
		f, err := r.openIn(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		info, err := f.Stat()
		f.Close()
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return filepath.Join(dir, name), nil
		}
	}
	return "", fmt.Errorf("no program of this name in %s of the root: %w", search, fs.ErrNotExist)
}

// lockedWriter lets several programs write to one log.
type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

var _ Runner = (*Root)(nil)
