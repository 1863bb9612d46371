package namespace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// hostname is what a build sees as its host's name, whatever the host: packages write it into files.
const hostname = "localhost"

// Call is what a handler is called with.
type Call struct {
	Payload json.RawMessage
	Files   []*os.File      // Job.Files, at other descriptors
	Send    func(any) error // sends a message to Job.Message, by way of JSON; may be called by several goroutines
}

// Handler does a job inside the namespaces: as root, with umask 022 and no supplementary groups, all mounts private,
// /proc that of the PID namespace. When its ctx is cancelled it has five seconds left. What it prints is kept for the
// error in case that the process dies.
type Handler func(ctx context.Context, c Call) error

// Inner says that this process was started by Run and is to call Serve, before it does anything else.
func Inner() bool { return len(os.Args) > 1 && os.Args[0] == word }

// Serve does what Run wants of this process and returns its exit status.
func Serve(handlers map[string]Handler) int {
	err := fmt.Errorf("unknown stage %q", os.Args[1])
	switch os.Args[1] {
	case stageInit:
		err = serveInit()
	case stageWorker:
		err = serveWorker(handlers)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", word, err)
		return 1
	}
	return 0
}

// serveInit is PID 1 of the namespace. It has no capabilities when there is a user namespace, and needs none.
func serveInit() error {
	// Notified, not ignored, as ignoring is inherited: a script's "kill -TERM -1" must not be the end of the build.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2)
	files, err := strconv.Atoi(os.Args[2])
	if err != nil {
		return fmt.Errorf("parse the number of files: %w", err)
	}
	if b := make([]byte, 1); readByte(requestFD, b) != nil || b[0] != mapped {
		return errors.New("the outer process is gone")
	}
	inherited := []*os.File{nil, os.Stderr, os.Stderr}
	for fd := requestFD; fd < filesFD+files; fd++ {
		inherited = append(inherited, os.NewFile(uintptr(fd), "inherited"))
	}
	worker, err := os.StartProcess("/proc/self/exe", []string{word, stageWorker}, &os.ProcAttr{Files: inherited})
	if err != nil {
		return fmt.Errorf("start the worker: %w", err)
	}
	for fd := requestFD; fd < filesFD+files; fd++ {
		if fd != answerFD {
			inherited[fd].Close() // the worker's alone, so that its end is seen by whoever has the other end of a file
		}
	}
	status, err := reap(worker.Pid)
	if err != nil {
		return fmt.Errorf("wait for the worker: %w", err)
	}
	out := answers{pipe: inherited[answerFD]}
	return out.send(answer{Ended: ending(status)})
}

// readByte reads without os.File, which would put the descriptor into the runtime's poller.
func readByte(fd int, b []byte) error {
	for {
		n, err := unix.Read(fd, b)
		if err == nil && n == 0 {
			return io.EOF
		}
		if err != unix.EINTR {
			return err
		}
	}
}

// reap waits for whatever child ends until the worker has.
func reap(worker int) (unix.WaitStatus, error) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if pid == worker {
			return status, nil
		}
		if err != nil && err != unix.EINTR {
			return 0, err
		}
	}
}

// serveWorker runs the handler. Its own error is for a failure before the handler could be called.
func serveWorker(handlers map[string]Handler) error {
	unix.CloseOnExec(requestFD)
	unix.CloseOnExec(answerFD)
	pipe := os.NewFile(requestFD, "request")
	out := &answers{pipe: os.NewFile(answerFD, "answers")}
	in := json.NewDecoder(pipe)
	var r request
	if err := in.Decode(&r); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, pipe) // ends when the outer process does, or when it wants an end
		cancel()
		time.Sleep(grace)
		os.Exit(1)
	}()

	c := Call{Payload: r.Payload, Send: func(v any) error {
		m, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("send a message: %w", err)
		}
		return out.send(answer{Message: m})
	}}
	for i := range r.Files {
		unix.CloseOnExec(filesFD + i)
		c.Files = append(c.Files, os.NewFile(uintptr(filesFD+i), "file "+strconv.Itoa(i)))
	}
	err := enter()
	if err == nil {
		err = handle(ctx, handlers, r.Job, c)
	}
	return out.send(answer{Done: &result{Error: flatten(err)}})
}

// handle turns a handler's panic into an error, and prints its stack.
func handle(ctx context.Context, handlers map[string]Handler, job string, c Call) (err error) {
	h := handlers[job]
	if h == nil {
		return fmt.Errorf("job %q has no handler", job)
	}
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(os.Stderr, "panic: %v\n\n%s", p, debug.Stack())
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return h(ctx, c)
}

// enter makes the namespaces a build's own.
func enter() error {
	unix.Umask(0o022)
	// The caller's groups would be seen as "nobody" by what looks, but would still open the host's files.
	if err := unix.Setgroups(nil); err != nil {
		return fmt.Errorf("drop supplementary groups: %w", err)
	}
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	if err := makePrivate(); err != nil {
		return fmt.Errorf("make all mounts private: %w", err)
	}
	err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	// Refused in a container whose own /proc is masked. The old one serves too: /proc/self is right in any instance.
	if err != nil && err != unix.EPERM {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}

// makePrivate keeps mounts of this namespace out of all others. In a chroot, "/" is no mount point, and the mounts that
// are to be private begin above it: they are reached as who may call chroot(2) always can (chroot(2), "This call does not
// change the current working directory"), and the root is again what it was.
func makePrivate() error {
	const flags = unix.MS_REC | unix.MS_PRIVATE
	err := unix.Mount("", "/", "", flags, "")
	if err != unix.EINVAL {
		return err
	}
	root, err := os.Open("/")
	if err != nil {
		return err
	}
	defer root.Close()
	work, err := os.Open(".")
	if err != nil {
		return err
	}
	defer work.Close()
	below, err := firstDirectory(root)
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return unix.Chroot(below) }, // from here on "/" is no bound for what is above it
		func() error { return unix.Fchdir(int(root.Fd())) },
		climb,
		func() error { return unix.Chroot(".") },
		func() error { return unix.Mount("", "/", "", flags, "") },
		func() error { return unix.Fchdir(int(root.Fd())) },
		func() error { return unix.Chroot(".") },
		func() error { return unix.Fchdir(int(work.Fd())) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// firstDirectory names a directory in the root.
func firstDirectory(root *os.File) (string, error) {
	entries, err := root.ReadDir(-1)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if e.IsDir() {
			return "/" + e.Name(), nil
		}
	}
	return "", errors.New("the root directory has no directory in it")
}

// climb goes up to where there is nothing above any more.
func climb() error {
	var here, above unix.Stat_t
	for {
		if err := unix.Stat(".", &here); err != nil {
			return err
		}
		if err := unix.Chdir(".."); err != nil {
			return err
		}
		if err := unix.Stat(".", &above); err != nil {
			return err
		}
		if here.Dev == above.Dev && here.Ino == above.Ino {
			return nil
		}
	}
}
