package namespace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"vmbuild/rootfs/offers"
)

// Words in argv[0] under which this test binary is something else than a test.
const (
	outerWord  = "namespace-test-outer"  // runs job argv[1] with payload argv[2] and prints what comes back
	bereftWord = "namespace-test-bereft" // drops CAP_SYS_ADMIN, then the same
	daemonWord = "namespace-test-daemon" // sleeps
)

func TestMain(m *testing.M) {
	switch {
	case Inner():
		os.Exit(Serve(handlers()))
	case os.Args[0] == daemonWord:
		time.Sleep(time.Minute)
	case os.Args[0] == outerWord:
		os.Exit(runOuter())
	case os.Args[0] == bereftWord:
		os.Exit(runBereft())
	default:
		os.Exit(m.Run())
	}
}

type kindError struct{ error }

func (kindError) Kind() string { return "verification" }

// facts are what a handler sees.
type facts struct {
	PID, UID, GID   int
	Groups          int
	Hostname        string
	Capable         bool // of mounting
	ChownedTo       int
	ProcIsOurs      bool
	HasTerminal     bool
	OtherFile, Echo string
}

func handlers() map[string]Handler {
	return map[string]Handler{
		"facts":  lookAround,
		"fail":   func(context.Context, Call) error { return errors.New("no such suite") },
		"kind":   func(context.Context, Call) error { return fmt.Errorf("fetch: %w", kindError{errors.New("bad hash")}) },
		"panic":  func(context.Context, Call) error { panic("out of tea") },
		"exit":   func(context.Context, Call) error { os.Exit(7); return nil },
		"killed": func(context.Context, Call) error { return unix.Kill(os.Getpid(), unix.SIGKILL) },
		"many": func(_ context.Context, c Call) error {
			for i := range 1000 {
				if err := c.Send(i); err != nil {
					return err
				}
			}
			return nil
		},
		"length": func(_ context.Context, c Call) error { return c.Send(len(c.Payload)) },
		"polite": func(ctx context.Context, c Call) error {
			if err := c.Send("ready"); err != nil {
				return err
			}
			<-ctx.Done()
			return fmt.Errorf("unpack: %w", ctx.Err())
		},
		"stubborn": func(_ context.Context, c Call) error {
			if err := spawn(c); err != nil {
				return err
			}
			time.Sleep(time.Minute)
			return nil
		},
		"orphans": orphans,
	}
}

func lookAround(_ context.Context, c Call) error {
	f := facts{PID: os.Getpid(), UID: os.Getuid(), GID: os.Getgid()}
	groups, err := os.Getgroups()
	if err != nil {
		return err
	}
	f.Groups = len(groups)
	f.Hostname, _ = os.Hostname()
	dir, err := os.MkdirTemp("", "namespace-test-")
	if err != nil {
		return err
	}
	defer os.Remove(dir)
	f.Capable = unix.Mount("tmpfs", dir, "tmpfs", 0, "") == nil
	defer unix.Unmount(dir, unix.MNT_DETACH)
	name := filepath.Join(dir, "file")
	if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Chown(name, 65534, 65534)); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return err
	}
	f.ChownedTo = int(st.Uid)
	self, _ := os.Readlink("/proc/self")
	f.ProcIsOurs = self == strconv.Itoa(f.PID)
	tty, err := os.Open("/dev/tty")
	f.HasTerminal = err == nil
	tty.Close()
	other, err := io.ReadAll(c.Files[0])
	if err != nil {
		return err
	}
	f.OtherFile = string(other)
	if err := json.Unmarshal(c.Payload, &f.Echo); err != nil {
		return err
	}
	return c.Send(f)
}

// spawn leaves processes and mounts of all sorts behind.
func spawn(c Call) error {
	for i := range 3 {
		cmd := exec.Cmd{Path: "/proc/self/exe", Args: []string{daemonWord}, SysProcAttr: &syscall.SysProcAttr{Setsid: i > 0}}
		if i == 2 {
			cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWNS | unix.CLONE_NEWPID
		}
		if err := cmd.Start(); err != nil {
			return err
		}
	}
	if err := unix.Mount("tmpfs", "/mnt", "tmpfs", 0, ""); err != nil {
		return err
	}
	return c.Send("ready")
}

// orphans starts a program whose own child outlives it, kills that, and reports how many zombies are there.
func orphans(_ context.Context, c Call) error {
	if err := exec.Command("/bin/sh", "-c", "sleep 0.05 & exit").Run(); err != nil {
		return err
	}
	time.Sleep(200 * time.Millisecond)
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return err
	}
	zombies := 0
	for _, name := range stats {
		if stat, err := os.ReadFile(name); err == nil && bytes.Contains(stat, []byte(") Z ")) {
			zombies++
		}
	}
	return c.Send(zombies)
}

func TestFacts(t *testing.T) {
	forEachCaller(t, func(t *testing.T, c testCaller) {
		out, err := c.command("facts", "hello").Output()
		if err != nil {
			t.Fatal(err, stderrOf(err))
		}
		var got facts
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%v in %q", err, out)
		}
		if got.PID > 50 {
			t.Errorf("process id %d is not one of a new namespace", got.PID)
		}
		want := facts{PID: got.PID, Hostname: "localhost", Capable: true, ChownedTo: 65534, ProcIsOurs: true,
			OtherFile: "a file", Echo: "hello"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestErrors(t *testing.T) {
	offers.Need(t, "build")
	tests := map[string]string{
		"fail":    `*namespace.Error kind "": no such suite`,
		"kind":    `*namespace.Error kind "verification": fetch: bad hash`,
		"panic":   `*namespace.Error kind "": panic: out of tea`,
		"exit":    `*errors.errorString: the build process ended with exit status 7`,
		"killed":  `*errors.errorString: the build process was killed by signal SIGKILL`,
		"unknown": `*namespace.Error kind "": job "unknown" has no handler`,
	}
	got := make(map[string]string)
	for name := range tests {
		var stderr bytes.Buffer
		err := Run(t.Context(), Job{Name: name, Stderr: &stderr})
		if e, ok := err.(*Error); ok {
			got[name] = fmt.Sprintf("%T kind %q: %v", e, e.Kind(), e)
		} else {
			got[name] = fmt.Sprintf("%T: %v", errors.New(""), err)
		}
		if name == "panic" && !strings.Contains(stderr.String(), "goroutine ") {
			t.Errorf("no stack in the log: %q", stderr.String())
		}
	}
	if diff := cmp.Diff(tests, got); diff != "" {
		t.Error(diff)
	}
}

func TestMessages(t *testing.T) {
	offers.Need(t, "build")
	var got []string
	err := Run(t.Context(), Job{Name: "many", Message: func(m json.RawMessage) { got = append(got, string(m)) }})
	if err != nil || len(got) != 1000 || got[999] != "999" {
		t.Errorf("%d messages, error %v", len(got), err)
	}
}

func TestLargePayload(t *testing.T) {
	offers.Need(t, "build")
	var got string
	job := Job{Name: "length", Payload: strings.Repeat("x", 1<<20), Message: func(m json.RawMessage) { got = string(m) }}
	if err := Run(t.Context(), job); err != nil || got != strconv.Itoa(1<<20+2) {
		t.Errorf("%s bytes arrived, error %v", got, err)
	}
}

func TestOrphansAreReaped(t *testing.T) {
	offers.Need(t, "build")
	var got string
	err := Run(t.Context(), Job{Name: "orphans", Message: func(m json.RawMessage) { got = string(m) }})
	if err != nil || got != "0" {
		t.Errorf("%s zombies, error %v", got, err)
	}
}

func TestCancel(t *testing.T) {
	offers.Need(t, "build")
	tests := []struct {
		job, want string
		atMost    time.Duration
	}{
		{"polite", "unpack: context canceled", grace - time.Second},
		{"stubborn", "stop the build process: user has had enough", grace + 2*time.Second},
	}
	for _, test := range tests {
		t.Run(test.job, func(t *testing.T) {
			t.Parallel()
			enough := errors.New("user has had enough")
			ctx, cancel := context.WithCancelCause(t.Context())
			var since time.Time
			err := Run(ctx, Job{Name: test.job, Message: func(json.RawMessage) {
				since = time.Now()
				cancel(enough)
			}})
			if err == nil || err.Error() != test.want || !errors.Is(err, enough) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if took := time.Since(since); took > test.atMost {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestCancelBeforeStart(t *testing.T) {
	offers.Need(t, "build")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, Job{Name: "stubborn"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestKill kills the outer or an inner process at some moment of its life; nothing may be left.
func TestKill(t *testing.T) {
	forEachCaller(t, func(t *testing.T, c testCaller) {
		mounts := mountTable(t)
		for i := range 50 {
			mark := fmt.Sprintf("NAMESPACE_TEST_MARK=%d-%d-%s", os.Getpid(), i, t.Name())
			cmd := c.command("stubborn", "")
			cmd.Env = append(cmd.Environ(), mark)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			// The handler is reached after 10 to 40 ms; most kills are to come before that.
			after := rand.N([]time.Duration{15, 40, 120}[i%3] * time.Millisecond)
			time.Sleep(after)
			victims := slices.DeleteFunc(marked(t, mark), func(pid int) bool { return pid == cmd.Process.Pid })
			victim := cmd.Process.Pid
			if rand.IntN(2) == 0 && len(victims) > 0 {
				victim = victims[rand.IntN(len(victims))]
			}
			_ = unix.Kill(victim, unix.SIGKILL)
			if victim != cmd.Process.Pid {
				// If it was only a daemon of the build, the build goes on.
				time.AfterFunc(50*time.Millisecond, func() { _ = cmd.Process.Kill() })
			}
			_ = cmd.Wait()
			for deadline := time.Now().Add(grace + 3*time.Second); ; time.Sleep(5 * time.Millisecond) {
				left := marked(t, mark)
				if len(left) == 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("after a kill of %d at %v these are left: %v", victim, after, left)
				}
			}
		}
		if diff := cmp.Diff(mounts, mountTable(t)); diff != "" {
			t.Error(diff)
		}
	})
}

// marked returns the processes that have the mark in their environment, zombies left out.
func marked(t *testing.T, mark string) []int {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, name := range names {
		environ, err := os.ReadFile(name)
		if err == nil && bytes.Contains(environ, []byte(mark)) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			pids = append(pids, pid)
		}
	}
	return pids
}

func mountTable(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// testCaller is a kind of process that calls Run.
type testCaller struct {
	name    string
	command func(args ...string) *exec.Cmd
}

// forEachCaller runs a test as each kind of caller that this process can become: root can be any.
func forEachCaller(t *testing.T, test func(*testing.T, testCaller)) {
	offers.Need(t, "build")
	own := func(args ...string) *exec.Cmd {
		return &exec.Cmd{Path: "/proc/self/exe", Args: append([]string{outerWord}, args...), Dir: "/"}
	}
	callers := []testCaller{{"as caller", own}}
	if os.Getuid() == 0 {
		user := offers.Credential(t, offers.User(t))
		callers = append(callers,
			testCaller{"ordinary user", func(args ...string) *exec.Cmd {
				cmd := own(args...)
				cmd.Env = append(os.Environ(), "USER=", "HOME=/", "TMPDIR=/tmp")
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user}
				return cmd
			}},
			testCaller{"root of a user namespace", func(args ...string) *exec.Cmd {
				cmd := own(args...)
				cmd.SysProcAttr = &syscall.SysProcAttr{
					Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
					UidMappings: []syscall.SysProcIDMap{
						{ContainerID: 0, HostID: int(user.Uid), Size: 1}, {ContainerID: 1, HostID: 100000, Size: 65536}},
					GidMappings: []syscall.SysProcIDMap{
						{ContainerID: 0, HostID: int(user.Gid), Size: 1}, {ContainerID: 1, HostID: 100000, Size: 65536}},
					GidMappingsEnableSetgroups: true,
					Credential:                 &syscall.Credential{}, // 0 inside
				}
				return cmd
			}},
			testCaller{"root without CAP_SYS_ADMIN", func(args ...string) *exec.Cmd {
				cmd := own(args...)
				cmd.Args[0] = bereftWord
				return cmd
			}},
		)
	}
	for _, c := range callers {
		t.Run(c.name, func(t *testing.T) { test(t, c) })
	}
}

// runBereft executes the outer process without CAP_SYS_ADMIN, which root gets back only from the bounding set.
func runBereft() int {
	err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_ADMIN, 0, 0, 0)
	if err == nil {
		err = syscall.Exec("/proc/self/exe", append([]string{outerWord}, os.Args[1:]...), os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// runOuter calls Run, prints the messages, and ends with status 1 and the error's text after an error.
func runOuter() int {
	r, w, err := os.Pipe()
	if err == nil {
		_, _ = w.WriteString("a file")
		w.Close()
		err = Check()
	}
	if err == nil {
		err = Run(context.Background(), Job{
			Name:    os.Args[1],
			Payload: os.Args[2],
			Files:   []*os.File{r},
			Message: func(m json.RawMessage) { fmt.Println(string(m)) },
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func stderrOf(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(exit.Stderr)
	}
	return ""
}
