package measure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if err := Adopt(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func shell(script string) Command { return Command{Args: []string{"sh", "-ec", script}} }

func TestRun(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(log, []byte("before\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := shell(`echo "$A in $(pwd)"; sleep 0.3`)
	c.Dir, c.Env, c.Log = "/", []string{"A=b"}, log
	u, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if u.Wall < 300*time.Millisecond || u.Wall > 3*time.Second || u.CPU <= 0 || u.CPU > 200*time.Millisecond {
		t.Errorf("sleep 0.3 takes %+v", u)
	}
	if text, err := os.ReadFile(log); string(text) != "before\nb in /\n" || err != nil {
		t.Errorf("the log has %q, %v", text, err)
	}
}

// TestProcessorTime: that of all programs counts, not the last one's.
func TestProcessorTime(t *testing.T) {
	busy, idle := shell("head -c 100000000 /dev/zero | tr a b >/dev/null"), shell(":")
	for _, commands := range [][]Command{{busy, idle}, {idle, busy}} {
		u, err := Run(t.Context(), commands...)
		if err != nil {
			t.Fatal(err)
		}
		if u.CPU < 20*time.Millisecond {
			t.Errorf("100 MB through tr take %v of processor time", u.CPU)
		}
	}
}

// TestMemory: that of programs at the same time adds up, also of those that are not the first process, and stays counted
// when they have given it back.
func TestMemory(t *testing.T) {
	const size = 40e6
	hold := shell(`head -c 41000000 /dev/zero | tail -c 40000000 | (sleep 0.4; cat >/dev/null); sleep 0.2`)
	one, err := Run(t.Context(), hold)
	if err != nil {
		t.Fatal(err)
	}
	two, err := Run(t.Context(), hold, hold)
	if err != nil {
		t.Fatal(err)
	}
	if one.Peak < size || two.Peak < 2*size || two.Peak > 3*one.Peak {
		t.Errorf("40 MB in a process: %d bytes; in each of two: %d", one.Peak, two.Peak)
	}
}

func TestRunFails(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	c := shell("echo one; echo two >&2; exit 3")
	c.Log = log
	_, err := Run(t.Context(), c)
	if want := "run sh -ec echo one; echo two >&2; exit 3: exit status 3\none\ntwo"; err == nil || err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	u, err := Run(t.Context(), c, shell("sleep 100")) // which is ended
	if u.Wall > 20*time.Second {
		t.Errorf("the other goes on for %v", u.Wall)
	}
	if want := "run sh -ec echo one; echo two >&2; exit 3: exit status 3\none\ntwo"; err == nil || err.Error() != want {
		t.Errorf("beside another: error %q, want %q", err, want)
	}
}

// TestNothingRunsOn: what a program leaves behind has ended, and its time does not count.
func TestNothingRunsOn(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	c := shell(`setsid sh -c 'echo $$ >>"$PIDS"; trap "" TERM; sleep 100 & echo $! >>"$PIDS"; wait; sleep 100' & sleep 0.2`)
	c.Env = []string{"PIDS=" + pids}
	u, err := Run(t.Context(), c)
	if err != nil || u.Wall > 10*time.Second {
		t.Fatal(u, err)
	}
	text, err := os.ReadFile(pids)
	if err != nil || len(strings.Fields(string(text))) != 2 {
		t.Fatalf("%q, %v", text, err)
	}
	for _, field := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
			t.Errorf("process %d is still there: %v", pid, err)
		}
	}
}

// TestCancel: a program is told to end, and may do what it has to do then.
func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	dir := t.TempDir()
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(dir + "/begun"); err == nil {
				cancel()
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	c := shell(`trap 'echo done >ended; exit 1' TERM; sleep 100 & touch begun; wait`)
	c.Dir = dir
	u, err := Run(ctx, c)
	if !errors.Is(err, context.Canceled) || u.Wall > 10*time.Second {
		t.Errorf("%+v, %v", u, err)
	}
	if text, err := os.ReadFile(dir + "/ended"); string(text) != "done\n" || err != nil {
		t.Errorf("it was not asked to end: %q, %v", text, err)
	}
}

// TestSharedMemory: what is compared is memory, not numbers.
func TestSharedMemory(t *testing.T) {
	if !sharesMemory(os.Getpid(), os.Getpid()) {
		t.Error("a process does not share its own memory")
	}
	if sharesMemory(os.Getpid(), os.Getppid()) {
		t.Error("this process shares the memory of the one that started it")
	}
	if sharesMemory(os.Getpid(), 1<<30) {
		t.Error("this process shares the memory of none")
	}
}

// TestMountsGo: what programs mount is seen by nobody else.
func TestMountsGo(t *testing.T) {
	if !mayMount() {
		t.Skip("not root, or a root that may not mount")
	}
	dir := t.TempDir()
	c := shell(`mount -t tmpfs none "$D"; : >"$D/file"; grep -q " $D " /proc/self/mounts`)
	c.Env = []string{"D=" + dir}
	if _, err := Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if names, err := os.ReadDir(dir); len(names) != 0 || err != nil {
		t.Errorf("the mount is still there, with %v, %v", names, err)
	}
}

func TestFamily(t *testing.T) {
	f := newFamily(1)
	parents := map[int]int{10: 1, 11: 10, 12: gone, 13: 12, 14: 7, 15: 15}
	for pid, want := range map[int]int{10: 1, 11: 1, 12: gone, 13: gone, 14: 7, 15: gone} {
		if got := f.elder(pid, parents); got != want {
			t.Errorf("elder of %d is %d, want %d", pid, got, want)
		}
	}
	if got := parentOf(os.Getpid()); got != os.Getppid() {
		t.Errorf("this process's parent is %d, want %d", got, os.Getppid())
	}
	if got := parentOf(1 << 30); got != gone {
		t.Errorf("the parent of no process is %d", got)
	}
}
