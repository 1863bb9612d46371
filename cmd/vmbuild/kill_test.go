package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestKills ends builds at random moments by every signal that a person, a terminal or a job scheduler sends, the outer
// process or the inner one. Afterwards the host is as before; what SIGKILL leaves in the temporary directory, the next
// build removes. VMBUILD_KILLS sets the number of builds per caller.
func TestKills(t *testing.T) {
	p := needProgram(t, "net", "build")
	t.Parallel()
	kills := 6
	if n, err := strconv.Atoi(os.Getenv("VMBUILD_KILLS")); err == nil {
		kills = n
	}
	for name, caller := range p.callers(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			caller.kills(t, kills)
		})
	}
}

func (p program) kills(t *testing.T, count int) {
	p = p.apart(t)
	args := []string{"--image=test.img", "--grub", "--package=less"}
	dir := p.workDir(t)
	p.mustBuild(t, dir, args...) // every download is in the cache then
	start := time.Now()
	p.mustBuild(t, dir, args...)
	warm := time.Since(start)
	if err := os.Remove(filepath.Join(dir, "test.img")); err != nil {
		t.Fatal(err)
	}
	before := p.leftovers(t, dir)
	seed := time.Now().UnixNano()
	t.Logf("seed %d; a build takes %.1f s", seed, warm.Seconds())
	random := rand.New(rand.NewPCG(uint64(seed), 0))
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGKILL}
	killed := false
	for i := range count {
		limit := warm
		run := args
		if i%3 == 0 { // a layer that is not there yet: the kill comes while packages are unpacked and configured
			run = append(run[:len(run):len(run)], "--package=nano", "--package=bc", "--seed="+strconv.Itoa(i))
			limit = 20 * time.Second
			p.forget(t)
		}
		delay := time.Duration(random.Int64N(int64(limit)))
		signal, inner := signals[random.IntN(len(signals))], random.IntN(3) == 0
		what := "after " + delay.Round(time.Millisecond).String() + " " + signal.String() + map[bool]string{true: " to the inner process"}[inner]
		finished, output := p.killed(t, dir, run, delay, signal, inner)
		if finished {
			os.Remove(filepath.Join(dir, "test.img"))
		}
		after := p.leftovers(t, dir)
		// What a SIGKILL has left is there until a build gets to its end.
		killed = (killed || signal == syscall.SIGKILL) && !finished
		if !killed && after != before {
			t.Fatalf("%s: something stayed behind:\n%s\nbefore:\n%s\nit printed:\n%s", what, after, before, output)
		}
		if without := p.withoutTemporary(after); without != p.withoutTemporary(before) {
			t.Fatalf("%s: something stayed behind:\n%s\nbefore:\n%s", what, without, p.withoutTemporary(before))
		}
	}
	p.mustBuild(t, dir, args...)
	if err := os.Remove(filepath.Join(dir, "test.img")); err != nil {
		t.Fatal(err)
	}
	if after := p.leftovers(t, dir); after != before {
		t.Errorf("the next build left what SIGKILL had left:\n%s\nbefore:\n%s", after, before)
	}
}

// forget makes the layers of the test's own cache unknown.
func (p program) forget(t *testing.T) {
	t.Helper()
	marks, err := filepath.Glob(filepath.Join(p.cache, "layers/*/complete"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range marks {
		os.Remove(m)
	}
}

// killed starts a build and sends it, or all of its inner processes, a signal. It says whether the build was faster, and
// what it printed.
func (p program) killed(t *testing.T, dir string, args []string, delay time.Duration, signal syscall.Signal, inner bool) (finished bool, output string) {
	t.Helper()
	var both bytes.Buffer
	cmd := p.command(t.Context(), dir, args...)
	cmd.Stdout, cmd.Stderr = &both, &both
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(delay)
	pids := []int{cmd.Process.Pid}
	if inner {
		if found := processesOf(dir); len(found) > 1 {
			pids = found[1:2] // the first is the outer one
		}
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, signal) // it may have ended
	}
	err := cmd.Wait()
	waitForEnd(t, dir)
	return err == nil, both.String()
}

// waitForEnd waits for processes of the build, which the kernel ends a moment after an outer one was killed.
func waitForEnd(t *testing.T, dir string) {
	t.Helper()
	for range 100 {
		if len(processesOf(dir)) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("processes of the build live on after ten seconds")
}

// withoutTemporary leaves out of a list what the next build removes: working directories, and all in the temporary
// directory of the cache.
func (p program) withoutTemporary(leftovers string) string {
	var kept []string
	for line := range strings.Lines(leftovers) {
		if file, ok := strings.CutPrefix(strings.TrimSpace(line), "file: "); ok {
			if strings.HasPrefix(filepath.Base(file), ".vmbuild-work-") || filepath.Dir(file) == filepath.Join(p.cache, "tmp") {
				continue
			}
		}
		kept = append(kept, line)
	}
	return strings.Join(kept, "")
}
