// Package namespace lets a build live in namespaces of its own. Run, on the outer side, starts the program once more as
// an inner process in a new mount, PID, IPC and UTS namespace, plus a user namespace where the caller is not root with
// CAP_SYS_ADMIN, hands it a job and open files, and gets messages and an error back. Serve is the inner side.
//
// There are two inner processes. The first, init, is PID 1 of the new PID namespace: it waits until its ids are
// mapped, starts the second, reaps orphans, and does nothing else. The second, the worker, runs the job's handler as
// root of the namespaces. It has to be a process of its own for two reasons: init, started before its ids were mapped,
// lost its capabilities when it was executed and only another execve gives them back; and a process that reaps whatever
// child ends would take from os/exec the children that it waits for.
//
// The invariant: however a process of this package ends, and whenever, no process and no mount stays behind. The
// kernel kills all of a PID namespace when its init ends; init has SIGKILL as its parent-death signal, and none of its
// own doings (an execve that raises capabilities) clears that; before the signal is set, init ends by itself when the
// pipe it waits on is closed. All mounts are made in the mount namespace, which goes with its last process.
//
// It does not isolate the network, does not limit resources, and is no security border against the packages that are
// installed: as real root it is none at all.
package namespace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vmbuild/rootfs/chroot/tail"
)

// word is what argv[0] of the inner processes is, in place of the program's name.
const word = "vmbuild-build"

// Stages of the inner side, argv[1].
const (
	stageInit   = "init"
	stageWorker = "worker"
)

// grace is the time that a handler has for its clean-up after its context was cancelled.
const grace = 5 * time.Second

// Job is what is to be done inside.
type Job struct {
	Name    string                // of the handler
	Payload any                   // what the handler gets, by way of JSON
	Files   []*os.File            // what else it gets; they stay open here
	Users   bool                  // a user namespace is made even where the caller is root and needs none
	Stderr  io.Writer             // gets all that the inner processes print; may be nil
	Message func(json.RawMessage) // is called with what the handler sends, in its order, one at a time; may be nil
}

// Run has the job's handler run inside new namespaces and returns when no process of them is left. An error of the
// handler arrives as *Error. When ctx is cancelled the handler's context is too; what is left of the namespaces some
// seconds later is killed; the error then wraps the cause of ctx.
func Run(ctx context.Context, job Job) error {
	host := readHost()
	host.ownUsers = job.Users
	if err := errors.Join(host.problems()...); err != nil {
		return err
	}
	ids := host.mapping()
	payload, err := json.Marshal(job.Payload)
	if err != nil {
		return fmt.Errorf("encode job %q: %w", job.Name, err)
	}

	// The parent-death signal is sent when the *thread* ends that started the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	p, err := start(ids, job)
	if err != nil {
		return fmt.Errorf("start the build process: %w", err)
	}
	stopped := context.AfterFunc(ctx, p.stop)
	defer stopped()
	feedErr := p.feed(ctx, ids, request{job.Name, payload, len(job.Files)})
	if feedErr != nil {
		p.kill()
	}
	done, ended := receive(p.answers, job.Message)
	if how := p.wait(); ended == "" {
		ended = how
	}
	switch cause := context.Cause(ctx); {
	case done != nil && done.Error == nil:
		return nil
	case done != nil:
		done.Error.cause = cause
		return done.Error
	case cause != nil:
		return fmt.Errorf("stop the build process: %w", cause)
	case feedErr != nil:
		return fmt.Errorf("start the build process: %w", feedErr)
	default:
		return fmt.Errorf("the build process %s%s", ended, p.lastWords())
	}
}

// process is the outer side's view of the inner processes.
type process struct {
	cmd     *exec.Cmd // of init
	request *os.File  // write end; closed to ask for an end
	answers *os.File  // read end
	stderr  tail.Buffer
	ended   chan struct{} // closed when init has ended
}

// start starts init in its namespaces; it then waits for feed.
func start(ids mapping, job Job) (*process, error) {
	requestR, requestW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer requestR.Close()
	answersR, answersW, err := os.Pipe()
	if err != nil {
		requestW.Close()
		return nil, err
	}
	defer answersW.Close()

	p := &process{request: requestW, answers: answersR, ended: make(chan struct{})}
	var stderr io.Writer = &p.stderr
	if job.Stderr != nil {
		stderr = io.MultiWriter(job.Stderr, &p.stderr)
	}
	p.cmd = &exec.Cmd{
		Path:       "/proc/self/exe",
		Args:       []string{word, stageInit, strconv.Itoa(len(job.Files))},
		Stdout:     stderr,
		Stderr:     stderr,
		ExtraFiles: append([]*os.File{requestR, answersW}, job.Files...),
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: ids.cloneFlags(),
			Setsid:     true, // Ctrl-C reaches the outer process only, which then decides
			Pdeathsig:  syscall.SIGKILL,
		},
	}
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, requestW.Close(), answersR.Close())
	}
	return p, nil
}

// feed maps the ids of the new user namespace, if there is one, and sends the request.
func (p *process) feed(ctx context.Context, ids mapping, r request) error {
	if err := ids.write(ctx, p.cmd.Process.Pid); err != nil {
		return err
	}
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	// An error is the end of the inner side, whose reason is known better from there.
	_, _ = p.request.Write(append([]byte{mapped}, line...))
	return nil
}

// stop asks the inner side to end, and kills it when it does not.
func (p *process) stop() {
	p.request.Close()
	select {
	case <-p.ended:
	case <-time.After(grace + time.Second):
		p.kill()
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails only if it has ended
}

// wait returns how init ended. Then all processes of its namespace have ended too: the kernel lets init's parent know
// only after that.
func (p *process) wait() string {
	_ = p.cmd.Wait() // the status is asked for below
	close(p.ended)
	p.request.Close()
	p.answers.Close()
	return ending(unix.WaitStatus(p.cmd.ProcessState.Sys().(syscall.WaitStatus)))
}

func (p *process) lastWords() string {
	if s := p.stderr.String(); s != "" {
		return "; its last words:\n" + s
	}
	return ""
}
