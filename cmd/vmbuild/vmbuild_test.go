package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vmbuild/rootfs/offers"
)

// program is vmbuild itself, as a user would have it, and a cache that lasts from run to run.
type program struct {
	path, cache string
	user        *user.User // nil: whoever runs the tests
	env         []string   // beside the test's own environment
}

// built is where build puts vmbuild; TestMain removes it.
var built string

func TestMain(m *testing.M) {
	status := m.Run()
	if built != "" {
		os.RemoveAll(filepath.Dir(built))
	}
	os.Exit(status)
}

// build builds vmbuild once for all tests.
func build(t *testing.T) string {
	t.Helper()
	if built != "" {
		return built
	}
	dir, err := os.MkdirTemp("", "vmbuild-binary-")
	if err != nil {
		t.Fatal(err)
	}
	built = filepath.Join(dir, "vmbuild")
	cmd := exec.Command("go", "build", "-trimpath", "-o", built, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build vmbuild: %v\n%s", err, out)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return built
}

// needProgram gives vmbuild to tests that build real trees.
func needProgram(t *testing.T, words ...string) program {
	t.Helper()
	offers.Need(t, words...)
	return program{path: build(t), cache: testCache(t, "")}
}

// testCache is where the downloads of tests are kept; each user has one.
func testCache(t *testing.T, of string) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "vmbuild-test"+of)
}

// callers are the kinds of users that vmbuild serves, as far as the user of the tests may become them: root, and an
// ordinary user with subordinate ids (the one that VMBUILD_TEST_USER names).
func (p program) callers(t *testing.T) map[string]program {
	t.Helper()
	if os.Getuid() != 0 {
		return map[string]program{"user": p}
	}
	u := offers.User(t)
	ordinary := program{path: p.path, user: u, cache: filepath.Join(u.HomeDir, ".cache", "vmbuild-test")}
	return map[string]program{"root": p, "user": ordinary}
}

// apart returns the program with a cache of its own that has the downloads of the common one: other packages' tests use
// that at the same time, and leave things in it that are not this test's.
func (p program) apart(t *testing.T) program {
	t.Helper()
	dir := p.workDir(t)
	if err := os.MkdirAll(filepath.Join(p.cache, "objects"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cp", "-al", filepath.Join(p.cache, "objects"), dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		cmd = exec.Command("cp", "-a", filepath.Join(p.cache, "objects"), dir) // on another file system
		if again, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s%s", out, again)
		}
	}
	p.cache = dir
	t.Cleanup(func() { // the layers' files may belong to subordinate ids
		if out, err := p.command(context.Background(), dir, "cache", "prune", "--layers").CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	return p
}

// workDir makes a directory that the program's user may write to.
func (p program) workDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "vmbuild-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if p.user != nil {
		if err := os.Chown(dir, id(t, p.user.Uid), id(t, p.user.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func id(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// command is a run of vmbuild in dir. Temporary files are made below dir, so that the test sees what stays behind.
func (p program) command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.path, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "XDG_CACHE_HOME="+filepath.Dir(p.cache))
	cmd.Env = append(cmd.Env, p.env...)
	cmd.Args = append(cmd.Args, "--cache-dir="+p.cache)
	if p.user != nil {
		uid, _ := strconv.Atoi(p.user.Uid)
		gid, _ := strconv.Atoi(p.user.Gid)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		cmd.Env = append(cmd.Env, "HOME="+p.user.HomeDir, "USER="+p.user.Username)
	}
	return cmd
}

// run runs vmbuild to its end and returns what it printed.
func (p program) run(t *testing.T, dir string, args ...string) (output string, status int) {
	t.Helper()
	var both bytes.Buffer
	cmd := p.command(t.Context(), dir, args...)
	cmd.Stdout, cmd.Stderr = &both, &both
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return both.String(), cmd.ProcessState.ExitCode()
}

// mustBuild builds an image and fails the test when that fails.
func (p program) mustBuild(t *testing.T, dir string, args ...string) {
	t.Helper()
	start := time.Now()
	output, status := p.run(t, dir, args...)
	if status != 0 {
		t.Fatalf("vmbuild %s: exit status %d\n%s", strings.Join(args, " "), status, output)
	}
	t.Logf("vmbuild %s: %.1f s\n%s", strings.Join(args, " "), time.Since(start).Seconds(), output)
}

// leftovers lists what a build could leave on the host: processes, mounts, loop devices, files in dir and in the
// temporary directory of the cache.
func (p program) leftovers(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "mounts:\n%s", mounts)
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	fmt.Fprintf(&b, "loop devices: %v\n", loops)
	for _, pid := range processesOf(dir) {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		fmt.Fprintf(&b, "process: %d %q\n", pid, line)
	}
	for _, d := range []string{dir, filepath.Join(p.cache, "tmp")} {
		entries, _ := os.ReadDir(d)
		for _, e := range entries {
			fmt.Fprintf(&b, "file: %s\n", filepath.Join(d, e.Name()))
		}
	}
	return b.String()
}

// processesOf lists, outermost first, the processes that have inherited the environment of a build in dir.
func processesOf(dir string) []int {
	var found []int
	environments, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, name := range environments {
		environment, err := os.ReadFile(name)
		if err == nil && slices.Contains(strings.Split(string(environment), "\x00"), "TMPDIR="+dir) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			found = append(found, pid)
		}
	}
	slices.Sort(found)
	return found
}
