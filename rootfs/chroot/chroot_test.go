package chroot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"vmbuild/rootfs/namespace"
	"vmbuild/rootfs/offers"
)

// outerWord in argv[0] makes this test binary run scenario argv[1], with the probe argv[2], in namespaces.
const outerWord = "chroot-test-outer"

func TestMain(m *testing.M) {
	switch {
	case namespace.Inner():
		os.Exit(namespace.Serve(map[string]namespace.Handler{"scenario": serveScenario}))
	case os.Args[0] == outerWord:
		job := namespace.Job{Name: "scenario", Payload: os.Args[1:], Stderr: os.Stderr}
		if err := namespace.Run(context.Background(), job); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	default:
		os.Exit(m.Run())
	}
}

// scenario is a test inside the namespaces.
type scenario struct {
	dir      string   // empty, for all it makes
	probe    string   // the program
	problems []string // what was not as expected
}

func (s *scenario) expect(what string, want, got any) {
	if diff := cmp.Diff(want, got); diff != "" {
		s.problems = append(s.problems, what+":\n"+diff)
	}
}

var scenarios = map[string]func(context.Context, *scenario) error{
	"enter":    enterScenario,
	"bare":     bareScenario,
	"run":      runScenario,
	"cancel":   cancelScenario,
	"daemons":  daemonScenario,
	"two":      twoRootsScenario,
	"sync":     syncScenario,
	"mounts":   mountsScenario,
	"bind":     bindScenario,
	"failures": failureScenario,
	"tools":    toolsScenario,
	"overlay":  overlayScenario,
	"refused":  refusedOverlayScenario,
	"without":  withoutScenario,
	"guard":    guardScenario,
	"clear":    clearScenario,
}

// TestScenarios runs all scenarios as the caller and, if that is root, as an ordinary user too.
func TestScenarios(t *testing.T) {
	offers.Need(t, "build")
	probe := buildProbe(t)
	callers := map[string]*syscall.Credential{"as caller": nil}
	if os.Getuid() == 0 {
		callers["ordinary user"] = offers.Credential(t, offers.User(t))
	}
	before, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	for caller, credential := range callers {
		for name := range scenarios {
			t.Run(caller+"/"+name, func(t *testing.T) {
				cmd := exec.Cmd{
					Path:        "/proc/self/exe",
					Args:        []string{outerWord, name, probe},
					Env:         append(os.Environ(), "TMPDIR=/tmp", "VMBUILD_TEST_SECRET=x"),
					Dir:         "/",
					SysProcAttr: &syscall.SysProcAttr{Credential: credential},
				}
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	}
	after, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	if diff := cmp.Diff(string(before), string(after)); diff != "" {
		t.Error(diff)
	}
}

// buildProbe builds the probe where other users can read it.
func buildProbe(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "chroot-test-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(dir, "probe"), "./testdata/probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(dir, "probe")
}

func serveScenario(ctx context.Context, c namespace.Call) (err error) {
	var args []string
	if err := json.Unmarshal(c.Payload, &args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "chroot-test-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s := &scenario{dir: dir, probe: args[1]}
	mounts, err := mountTable()
	if err != nil {
		return err
	}
	if err := scenarios[args[0]](ctx, s); err != nil {
		return err
	}
	after, err := mountTable()
	s.expect("mounts", fmt.Sprint(mounts), fmt.Sprint(after))
	if len(s.problems) > 0 {
		return errors.New(strings.Join(s.problems, "\n"))
	}
	return err
}

// tree makes a tree in which the probe is /bin/probe.
func (s *scenario) tree(name string) (string, error) {
	dir := filepath.Join(s.dir, name)
	for _, sub := range []string{"usr/bin", "usr/sbin", "etc", "proc", "sys", "dev", "mnt", "bound"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return "", err
		}
	}
	probe, err := os.ReadFile(s.probe)
	return dir, errors.Join(err,
		os.WriteFile(filepath.Join(dir, "usr/bin/probe"), probe, 0o755),
		os.WriteFile(filepath.Join(dir, "usr/sbin/start-stop-daemon"), []byte("dpkg's"), 0o755),
		os.Symlink("usr/bin", filepath.Join(dir, "bin")),
		os.Symlink("usr/sbin", filepath.Join(dir, "sbin")),
		os.Symlink("/run/systemd/resolve/stub-resolv.conf", filepath.Join(dir, "etc/resolv.conf")),
	)
}

// files lists a tree: path, mode, time, size.
func files(dir string) (map[string]string, error) {
	found := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			found[path] = fmt.Sprint(info.Mode(), info.ModTime(), info.Size())
		}
		return err
	})
	return found, err
}

func enterScenario(ctx context.Context, s *scenario) error {
	dir, err := s.tree("tree")
	if err != nil {
		return err
	}
	source := filepath.Join(s.dir, "source")
	if err := errors.Join(os.Mkdir(source, 0o755), os.WriteFile(filepath.Join(source, "x"), []byte("bound"), 0o644)); err != nil {
		return err
	}
	before, err := files(dir)
	if err != nil {
		return err
	}
	r, err := Enter(ctx, dir, Options{
		Binds: []Bind{
			{Source: source, Target: "/bound", ReadOnly: true},
			{Source: filepath.Join(source, "x"), Target: "/dev/made/for/x"},
		},
		Network:      true,
		BlockDaemons: true,
		Epoch:        time.Unix(1234567890, 0),
	})
	if err != nil {
		return err
	}
	policy, err := os.ReadFile(filepath.Join(dir, "usr/sbin/policy-rc.d"))
	s.expect("policy-rc.d", policyRC, string(policy))
	stub, stubErr := os.ReadFile(filepath.Join(dir, "usr/sbin/start-stop-daemon"))
	s.expect("start-stop-daemon", startStopDaemon, string(stub))
	var out bytes.Buffer
	err = errors.Join(err, stubErr, r.Run(ctx, Command{Args: []string{"probe", "look"}, Env: []string{"TERM=vt100"}, Stdout: &out}))
	if err != nil {
		return errors.Join(err, r.Close())
	}
	var seen map[string]any
	if err := json.Unmarshal(out.Bytes(), &seen); err != nil {
		return err
	}
	resolver, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return err
	}
	// An ordinary user is refused even before the kernel looks whether the mount is read-only.
	s.expect("a sysctl can be written", false, seen["write /proc/sys/kernel/hostname"] == "<nil>")
	delete(seen, "write /proc/sys/kernel/hostname")
	readOnly := func(path string) string { return "open " + path + ": read-only file system" }
	s.expect("what a program sees", map[string]any{
		"env": []any{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
			"LC_ALL=C.UTF-8", "LANGUAGE=C.UTF-8", "LANG=C.UTF-8",
			"DEBIAN_FRONTEND=noninteractive", "DEBCONF_NONINTERACTIVE_SEEN=true",
			"SOURCE_DATE_EPOCH=1234567890", "TERM=vt100"},
		"cwd": "/",
		"/":   []any{"bin", "bound", "dev", "etc", "mnt", "proc", "sbin", "sys", "usr"},
		"/dev": []any{"console", "fd", "full", "made", "null", "ptmx", "pts", "random", "shm",
			"stderr", "stdin", "stdout", "tty", "urandom", "zero"},
		"/sys/firmware":          nil,
		"own /proc":              true,
		"devpts":                 true,
		"write /dev/null":        "<nil>",
		"write /dev/console":     "<nil>",
		"write /dev/shm/x":       "<nil>",
		"write /dev/ptmx":        "<nil>",
		"write /etc/x":           "<nil>",
		"write /etc/resolv.conf": "<nil>",
		"write /sys/x":           readOnly("/sys/x"),
		"write /bound/x":         readOnly("/bound/x"),
		"read /bound/x":          "bound",
		"read /etc/resolv.conf":  string(resolver),
	}, seen)
	if err := errors.Join(r.Close(), r.Close(), os.Remove(filepath.Join(dir, "etc/x"))); err != nil {
		return err
	}
	after, err := files(dir)
	etc := filepath.Join(dir, "etc")
	delete(before, etc) // the program changed it
	delete(after, etc)
	s.expect("the tree", before, after)
	return err
}

// bareScenario enters a tree with nothing in it but a program.
func bareScenario(ctx context.Context, s *scenario) error {
	dir := filepath.Join(s.dir, "tree")
	probe, err := os.ReadFile(s.probe)
	if err := errors.Join(err, os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "probe"), probe, 0o755)); err != nil {
		return err
	}
	r, err := Enter(ctx, dir, Options{Network: true, BlockDaemons: true})
	if err != nil {
		return err
	}
	return errors.Join(r.Run(ctx, Command{Args: []string{"./probe", "sync"}}), r.Close())
}

func runScenario(ctx context.Context, s *scenario) error {
	dir, err := s.tree("tree")
	if err != nil {
		return err
	}
	var log bytes.Buffer
	r, err := Enter(ctx, dir, Options{Log: &log})
	if err != nil {
		return err
	}
	defer r.Close()
	run := func(args ...string) string {
		err := r.Run(ctx, Command{Args: args})
		var failed *CommandError
		return fmt.Sprintf("%v %v", errors.As(err, &failed), err)
	}
	s.expect("exit status", "true probe fail: exit status 3; its last words:\none\ntwo", run("probe", "fail"))
	s.expect("signal", "true /bin/probe die: killed by signal SIGKILL", run("/bin/probe", "die"))
	s.expect("no program", "false run mkfs: no program of this name in /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:"+
		"/sbin:/bin of the root: file does not exist", run("mkfs"))
	s.expect("no such path", "false run /mkfs: fork/exec /mkfs: no such file or directory", run("/mkfs"))
	s.expect("log", "one\ntwo\n", log.String())

	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	_, err = write.WriteString(" and files")
	var out bytes.Buffer
	err = errors.Join(err, write.Close(), r.Run(ctx, Command{
		Args:   []string{"../bin/probe", "cat"},
		Dir:    "/usr/sbin",
		Stdin:  strings.NewReader("input"),
		Stdout: &out,
		Files:  []*os.File{read},
	}))
	s.expect("streams", "input and files", out.String())
	return err
}

func cancelScenario(ctx context.Context, s *scenario) error {
	dir, err := s.tree("tree")
	if err != nil {
		return err
	}
	r, err := Enter(ctx, dir, Options{})
	if err != nil {
		return err
	}
	defer r.Close()
	enough := errors.New("enough")
	limited, stop := context.WithTimeoutCause(ctx, 100*time.Millisecond, enough)
	defer stop()
	start := time.Now()
	err = r.Run(limited, Command{Args: []string{"probe", "deaf"}})
	s.expect("error", "run probe deaf: enough", fmt.Sprint(err))
	s.expect("cause", true, errors.Is(err, enough))
	s.expect("soon", true, time.Since(start) < outputTime)
	return nil
}

func daemonScenario(ctx context.Context, s *scenario) error {
	dir, err := s.tree("tree")
	if err != nil {
		return err
	}
	r, err := Enter(ctx, dir, Options{})
	if err != nil {
		return err
	}
	start := time.Now()
	if err := r.Run(ctx, Command{Args: []string{"probe", "daemon"}}); err != nil {
		return errors.Join(err, r.Close())
	}
	s.expect("a daemon does not keep Run", true, time.Since(start) < outputTime+time.Second)
	running, err := r.processes()
	s.expect("daemons", 2, len(names(running)))
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	if r.root, err = openDir(dir); err != nil {
		return err
	}
	running, err = r.processes()
	s.expect("daemons after Close", 0, len(names(running)))
	return errors.Join(err, r.root.Close())
}

// twoRootsScenario: to leave one root ends nothing in another, not even in one whose name begins the same.
func twoRootsScenario(ctx context.Context, s *scenario) error {
	var roots []*Root
	for _, name := range []string{"tree", "tree2"} {
		dir, err := s.tree(name)
		if err != nil {
			return err
		}
		r, err := Enter(ctx, dir, Options{})
		if err != nil {
			return err
		}
		defer r.Close()
		roots = append(roots, r)
	}
	if err := roots[1].Run(ctx, Command{Args: []string{"probe", "daemon"}}); err != nil {
		return err
	}
	if err := roots[0].Close(); err != nil {
		return err
	}
	running, err := roots[1].processes()
	s.expect("daemons of the other root", 2, len(names(running)))
	return err
}

func syncScenario(ctx context.Context, s *scenario) error {
	dir, err := s.tree("tree")
	if err != nil {
		return err
	}
	got := make(map[bool]string)
	for _, noSync := range []bool{false, true, false} {
		r, err := Enter(ctx, dir, Options{NoSync: noSync})
		if err != nil {
			return err
		}
		var out bytes.Buffer
		if err := errors.Join(r.Run(ctx, Command{Args: []string{"probe", "sync"}, Stdout: &out}), r.Close()); err != nil {
			return err
		}
		got[noSync] = out.String()
	}
	s.expect("fsync and fdatasync of no file", map[bool]string{
		false: "bad file descriptor bad file descriptor",
		true:  "errno 0 errno 0",
	}, map[bool]string{false: got[false], true: strings.ReplaceAll(got[true], "<nil>", "errno 0")})
	s.expect("fsync of this process", unix.EBADF, unix.Fsync(-1))
	return nil
}

func mountsScenario(ctx context.Context, s *scenario) error {
	dir, err := s.tree("tree")
	if err != nil {
		return err
	}
	// A mount of the caller's stays.
	if err := unix.Mount("tmpfs", filepath.Join(dir, "bound"), "tmpfs", 0, ""); err != nil {
		return err
	}
	defer unix.Unmount(filepath.Join(dir, "bound"), 0)
	before, err := mountTable()
	if err != nil {
		return err
	}
	r, err := Enter(ctx, dir, Options{Binds: []Bind{{Source: s.dir, Target: "/bound/made/here"}}})
	if err != nil {
		return err
	}
	err = errors.Join(r.Run(ctx, Command{Args: []string{"probe", "mount"}}), r.Close())
	after, tableErr := mountTable()
	s.expect("mounts of the caller", fmt.Sprint(before), fmt.Sprint(after))
	left, readErr := os.ReadDir(filepath.Join(dir, "bound"))
	s.expect("mount points made", 0, len(left))
	return errors.Join(err, tableErr, readErr)
}

// bindScenario binds a directory in a root that programs run in already, takes it away, and leaves with it bound again.
func bindScenario(ctx context.Context, s *scenario) error {
	dir, err := s.tree("tree")
	if err != nil {
		return err
	}
	source := filepath.Join(s.dir, "source")
	if err := os.Mkdir(source, 0o755); err != nil {
		return err
	}
	r, err := Enter(ctx, dir, Options{})
	if err != nil {
		return err
	}
	bind := Bind{Source: source, Target: "/bound"}
	unbind, err := r.Bind(bind)
	if err != nil {
		return errors.Join(err, r.Close())
	}
	err = errors.Join(r.Run(ctx, Command{Args: []string{"probe", "touch"}, Dir: "/bound"}), unbind())
	left, readErr := os.ReadDir(filepath.Join(dir, "bound"))
	s.expect("left in the tree", 0, len(left))
	there, statErr := os.ReadFile(filepath.Join(source, "file"))
	s.expect("the file", "touched", string(there))
	_, bindErr := r.Bind(Bind{Source: source, Target: "/no/such"})
	s.expect("no target", fmt.Sprintf("bind %q: open %s/no/such: no such file or directory", source, dir), fmt.Sprint(bindErr))
	if _, again := r.Bind(bind); again != nil {
		err = errors.Join(err, again)
	}
	err = errors.Join(err, readErr, statErr, r.Close())
	mounts, tableErr := mountTable()
	s.expect("left mounted", false, slices.ContainsFunc(mounts, func(m mountPoint) bool { return below(dir, m.point) }))
	return errors.Join(err, tableErr)
}

func failureScenario(ctx context.Context, s *scenario) error {
	dir, err := s.tree("tree")
	if err != nil {
		return err
	}
	before, err := files(dir)
	if err != nil {
		return err
	}
	tests := map[string]Bind{
		"no source": {Source: "/no/such", Target: "/bound"},
		"no target": {Source: "/etc", Target: "/no/such"},
		"relative":  {Source: "/etc", Target: "bound"},
	}
	want := map[string]string{
		"no source": `enter root "DIR": bind "/no/such": stat /no/such: no such file or directory`,
		"no target": `enter root "DIR": bind "/etc": open DIR/no: no such file or directory`,
		"relative":  `enter root "DIR": bind "/etc": target "bound" is no absolute path`,
	}
	got := make(map[string]string)
	for name, b := range tests {
		_, err := Enter(ctx, dir, Options{Network: true, BlockDaemons: true, Binds: []Bind{b}})
		got[name] = strings.ReplaceAll(fmt.Sprint(err), dir, "DIR")
	}
	s.expect("errors", want, got)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = Enter(cancelled, dir, Options{})
	s.expect("cancelled", true, errors.Is(err, context.Canceled))
	_, err = Enter(ctx, "/", Options{})
	s.expect("own root", `enter root "/": it is this process's own root`, fmt.Sprint(err))
	after, err := files(dir)
	s.expect("the tree", before, after)
	return err
}

func toolsScenario(ctx context.Context, s *scenario) error {
	dir, err := s.tree("tools")
	if err != nil {
		return err
	}
	temp := filepath.Join(s.dir, "temp")
	err = errors.Join(os.Mkdir(temp, 0o755), os.Mkdir(filepath.Join(dir, "usr/lib64"), 0o755),
		os.WriteFile(filepath.Join(s.dir, "input"), []byte("of the build"), 0o644))
	if err != nil {
		return err
	}
	before, err := files(dir)
	if err != nil {
		return err
	}
	var toolbox Toolbox = Tools{Dir: dir, Options: Options{Temp: temp, NoSync: true}}
	binds := []Bind{{Source: s.dir, Target: "/bound"}, {Source: filepath.Join(s.dir, "input"), Target: "/job/in"}}
	var runners []Runner
	for range 2 {
		r, closer, err := toolbox.Enter(ctx, binds...)
		if err != nil {
			return err
		}
		defer closer.Close()
		runners = append(runners, r)
	}
	if err := runners[0].(*Root).Close(); err != nil {
		return err
	}
	var out bytes.Buffer
	if err := runners[1].Run(ctx, Command{Args: []string{"probe", "look"}, Stdout: &out}); err != nil {
		return err
	}
	var seen map[string]any
	if err := json.Unmarshal(out.Bytes(), &seen); err != nil {
		return err
	}
	s.expect("root", []any{"bin", "bound", "dev", "etc", "job", "lib64", "proc", "sbin", "tmp", "usr", "var"}, seen["/"])
	s.expect("etc", "open /etc/x: read-only file system", seen["write /etc/x"])
	s.expect("bind", "<nil>", seen["write /bound/x"])
	s.expect("a file of the build", "of the build", readIn(runners[1].(*Root), "job/in"))
	if err := runners[1].(*Root).Close(); err != nil {
		return err
	}
	left, err := os.ReadDir(temp)
	s.expect("mount points", 0, len(left))
	after, filesErr := files(dir)
	s.expect("the tools tree", before, after)
	return errors.Join(err, filesErr)
}

func readIn(r *Root, path string) string {
	data, err := os.ReadFile(filepath.Join(r.Dir(), path))
	return string(data) + strings.TrimPrefix(fmt.Sprint(err), "<nil>")
}

func overlayScenario(_ context.Context, s *scenario) error {
	at := func(name string) string { return filepath.Join(s.dir, name) }
	lower := []string{at(`top:with,odd\names`), at("bottom")}
	upper, work, target := at(`up:p,e\r`), at("wo:r,k"), at("tar:g,et")
	for _, dir := range append(lower, upper, work, target) {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	err := errors.Join(
		os.WriteFile(filepath.Join(lower[0], "file"), []byte("top"), 0o644),
		os.WriteFile(filepath.Join(lower[1], "file"), []byte("bottom"), 0o644),
		os.Mkdir(filepath.Join(lower[1], "dir"), 0o755),
		os.WriteFile(filepath.Join(lower[1], "dir/hidden"), nil, 0o644),
	)
	if err != nil {
		return err
	}
	// Twice: the second time on what the first has left.
	for range 2 {
		if err := Overlay(lower, upper, work, target); err != nil {
			return err
		}
		data, err := os.ReadFile(filepath.Join(target, "file"))
		s.expect("file", "top", string(data))
		err = errors.Join(err,
			os.RemoveAll(filepath.Join(target, "dir")),
			os.Mkdir(filepath.Join(target, "dir"), 0o755),
			os.Chown(filepath.Join(target, "dir"), 12, 34),
		)
		entries, readErr := os.ReadDir(filepath.Join(target, "dir"))
		s.expect("a new directory", 0, len(entries))
		if err := errors.Join(err, readErr, unix.Unmount(target, 0)); err != nil {
			return err
		}
	}
	if err := Overlay(lower, "", "", target); err != nil {
		return err
	}
	_, err = os.Stat(filepath.Join(target, "dir/hidden"))
	s.expect("what a layer has, without an upper", nil, err)
	err = os.WriteFile(filepath.Join(target, "new"), nil, 0o644)
	s.expect("without an upper nothing changes", true, errors.Is(err, unix.EROFS))
	if err := unix.Unmount(target, 0); err != nil {
		return err
	}
	err = Overlay([]string{at("none")}, upper, work, target)
	s.expect("no lower directory", true, errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrNoOverlay))
	return nil
}

// refusedOverlayScenario: the file system of upper cannot have attributes.
func refusedOverlayScenario(_ context.Context, s *scenario) error {
	err := Overlay([]string{s.dir}, "/proc/self", "/proc/self", s.dir)
	s.expect("refused", true, errors.Is(err, ErrNoOverlay))
	return nil
}

// withoutScenario leaves out each thing that a root gets.
func withoutScenario(ctx context.Context, s *scenario) error {
	all := []string{"/proc", "/sys", "/dev", "policy-rc.d", "start-stop-daemon"}
	for _, without := range append(all, "") {
		dir, err := s.tree("without" + strings.ReplaceAll(without, "/", "-"))
		if err != nil {
			return err
		}
		r, err := Enter(ctx, dir, Options{BlockDaemons: true, Without: []string{without}})
		if err != nil {
			return err
		}
		mounts, err := mountTable()
		if err != nil {
			return err
		}
		for _, what := range all[:3] {
			mounted := slices.ContainsFunc(mounts, func(m mountPoint) bool { return m.point == r.Dir()+what })
			s.expect("without "+without+": "+what, what != without, mounted)
		}
		_, err = os.Stat(filepath.Join(dir, "usr/sbin/policy-rc.d"))
		s.expect("without "+without+": policy-rc.d", without != "policy-rc.d", err == nil)
		text, _ := os.ReadFile(filepath.Join(dir, "usr/sbin/start-stop-daemon"))
		s.expect("without "+without+": start-stop-daemon", without != "start-stop-daemon", string(text) == startStopDaemon)
		if err := r.Close(); err != nil {
			return err
		}
	}
	return nil
}
