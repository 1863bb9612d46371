// Package measure runs programs and says what they took: time on the clock, processor time, memory. It leaves nothing of
// them behind: processes, mounts and loop devices go with each run, however it ends.
//
// It changes no setting of the machine and drops no cache: who wants both sides of a comparison warm runs both before.
package measure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"vmbuild/rootfs/chroot/tail"
)

// Command is a program to be run.
type Command struct {
	Args []string // the program and its arguments
	Dir  string   // where it runs
	Env  []string // added to this process's own
	Log  string   // file that gets what it prints, behind what is there; empty: nobody does
}

// Usage is what one run, of one program or of several at once, has taken.
type Usage struct {
	Wall time.Duration
	CPU  time.Duration // user and system, of all processes that were waited for
	// Peak is the most memory that was resident at once, in bytes, added up over the processes: shared pages count for each
	// of them. It is looked at every 50 ms, and is not less than the largest process's own peak, which the kernel knows.
	Peak int64
}

// grace is how long a program may take to clean up after it was told to end.
const grace = 30 * time.Second

// Adopt makes this process the parent of all that its programs leave running, so that Run finds them. It is for main.
func Adopt() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("adopt processes: %w", err)
	}
	return nil
}

// Run runs programs at the same time and waits for all of them. What they started has ended when it returns, so there must
// be no other child processes. Programs that may mount get a mount namespace of their own. If ctx ends, so do they: first politely.
//
// The error has a program's command line, exit status and last lines.
func Run(ctx context.Context, commands ...Command) (Usage, error) {
	watch := watchMemory()
	start := time.Now()
	usages := make([]Usage, len(commands))
	group, ctx := errgroup.WithContext(ctx)
	for i, c := range commands {
		group.Go(func() (err error) {
			usages[i], err = c.run(ctx)
			return err
		})
	}
	err := group.Wait()
	total := Usage{Wall: time.Since(start), Peak: watch.stop()}
	for _, u := range usages {
		total.CPU += u.CPU
		total.Peak = max(total.Peak, u.Peak)
	}
	return total, errors.Join(err, endOrphans())
}

func (c Command) run(ctx context.Context) (u Usage, err error) {
	log, err := c.openLog()
	if err != nil {
		return u, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	begin, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return u, err
	}
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Dir, cmd.Env = c.Dir, append(os.Environ(), c.Env...)
	// The file itself: of a pipe, the end would come with that of the last process that has it.
	cmd.Stdout, cmd.Stderr = log, log
	// A terminal's Ctrl-C is for this process alone, which then ends the programs.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if mayMount() {
		cmd.SysProcAttr.Unshareflags = unix.CLONE_NEWNS
	}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGTERM) }
	cmd.WaitDelay = grace
	err = cmd.Run()
	if state := cmd.ProcessState; state != nil {
		u.CPU = state.UserTime() + state.SystemTime()
		if r, ok := state.SysUsage().(*syscall.Rusage); ok {
			u.Peak = r.Maxrss << 10
		}
	}
	if ctx.Err() != nil {
		return u, ctx.Err()
	}
	if err != nil {
		return u, fmt.Errorf("run %s: %w\n%s", strings.Join(c.Args, " "), err, lastLines(log, begin))
	}
	return u, nil
}

// mayMount says whether this process's programs can mount anything: some containers' root cannot.
func mayMount() bool {
	in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_ADMIN, 0, 0, 0)
	return err == nil && in == 1 && os.Geteuid() == 0
}

func (c Command) openLog() (*os.File, error) {
	if c.Log == "" {
		return os.OpenFile(os.DevNull, os.O_RDWR, 0)
	}
	return os.OpenFile(c.Log, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
}

// lastLines returns the end of what is in a file behind a byte.
func lastLines(f *os.File, begin int64) string {
	const enough = 4096
	last := tail.Buffer{Lines: 12}
	if end, err := f.Seek(0, io.SeekEnd); err == nil && end-begin > enough {
		begin = end - enough
	}
	_, _ = io.Copy(&last, io.NewSectionReader(f, begin, enough)) // the error that they are for matters more
	return last.String()
}
