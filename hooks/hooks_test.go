package hooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/examples"
	"vmbuild/hooks/transfer"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/namespace"
)

// TestMain lets hooks use this test binary as their helper.
func TestMain(m *testing.M) {
	switch {
	case namespace.Inner():
		os.Exit(namespace.Serve(map[string]namespace.Handler{"owners": serveOwners, "leavings": serveLeavings}))
	case os.Args[0] == outerWord:
		exit(runOuter())
	case len(os.Args) > 1 && os.Args[1] == "--hook-helper":
		exit(transfer.Helper(os.Args[2:], struct {
			io.Reader
			io.Writer
		}{os.Stdin, os.Stdout}))
	}
	os.Exit(m.Run())
}

func exit(err error) {
	if err != nil {
		fmt.Fprint(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func script(t *testing.T, text string) Hook {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook")
	write(t, path, "#!/bin/sh\n"+text, 0o755)
	return Hook{Stage: Customize, Path: path}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), mode))
}

func TestRun(t *testing.T) {
	var log bytes.Buffer
	root := t.TempDir()
	target := Target{Root: root, Image: "x.img", Arch: "amd64", Suite: "trixie", Mirror: "http://m.example/debian",
		Epoch: time.Unix(1700000000, 0), Log: &log, Work: t.TempDir()}
	first := script(t, `echo first "$1" "$2" $ROOTDIR $VMBUILD_ARCH $VMBUILD_SUITE $VMBUILD_MIRROR $VMBUILD_IMAGE`)
	second := script(t, `echo second $SOURCE_DATE_EPOCH $DEBIAN_FRONTEND $HOME $TMPDIR >&2`)
	other := Hook{Stage: "other", Path: "/missing"}
	t.Setenv("TMPDIR", "/a/directory/of/the/host")
	if err := Run(t.Context(), []Hook{first, other, second}, Customize, target); err != nil {
		t.Fatal(err)
	}
	want := "first ROOT x.img ROOT amd64 trixie http://m.example/debian x.img\nsecond 1700000000 noninteractive /root\n"
	if got := strings.ReplaceAll(log.String(), root, "ROOT"); got != want {
		t.Errorf("hooks printed %q, want %q", got, want)
	}
}

func TestRunStopsAtTheFirstFailure(t *testing.T) {
	var log bytes.Buffer
	bad := script(t, "echo the disk is on fire\nexit 7")
	err := Run(t.Context(), []Hook{bad, script(t, "echo never")}, Customize, Target{Root: t.TempDir(), Log: &log})
	want := "run customize hook " + bad.Path + ": exit status 7; its last words:\nthe disk is on fire"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if strings.Contains(log.String(), "never") {
		t.Error("the next hook ran")
	}
}

// A hook's children die with it when the build is cancelled, and one that lives on does not hold the build up.
func TestRunIsCancelled(t *testing.T) {
	for name, hook := range map[string]Hook{
		"path":     script(t, "sleep 60 & wait"),
		"command":  {Stage: Customize, Command: "sleep 60 & wait"},
		"transfer": {Stage: Customize, Command: "upload pipe /x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := syscall.Mkfifo("pipe", 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			reason := errors.New("Ctrl-C")
			time.AfterFunc(200*time.Millisecond, func() { cancel(reason) })
			start := time.Now()
			err := Run(ctx, []Hook{hook}, Customize, Target{Root: t.TempDir()})
			if !errors.Is(err, reason) || time.Since(start) > 10*time.Second {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
		})
	}
}

func TestRunDoesNotWaitForADaemon(t *testing.T) {
	start := time.Now()
	err := Run(t.Context(), []Hook{script(t, "sleep 8 &")}, Customize, Target{Root: t.TempDir()})
	if err != nil || time.Since(start) > 6*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}

// inside stands for a tree in which programs run.
type inside struct {
	commands []chroot.Command
	err      error
}

func (r *inside) Run(_ context.Context, c chroot.Command) error {
	r.commands = append(r.commands, c)
	return r.err
}

// Each class of commands at each stage: what mmdebstrap would take it for, and in which order they run.
func TestCommands(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("PATH", filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	if err := os.Mkdir("bin", 0o755); err != nil {
		t.Fatal(err)
	}
	say := func(word string) string { return "#!/bin/sh\necho " + word + ` "$0 $1 $#"` + "\n" }
	write(t, "bin/in-path", say("path"), 0o755)
	write(t, "in-path", say("wrong"), 0o755)
	write(t, "here", say("here"), 0o755)
	write(t, "my hook; true", say("odd"), 0o755)
	write(t, "no-line", `echo no line "$1"`, 0o755)
	write(t, "file", "content", 0o644)
	for _, stage := range Stages() {
		root := t.TempDir()
		var log bytes.Buffer
		var list []Hook
		for _, command := range []string{
			"in-path", "./here", "here", "my hook; true", "./no-line",
			`echo shell $0 "$1" $# "$(basename "$PWD")"`, "upload file /x", `test "$(cat "$1/x")" = content && echo there`,
		} {
			list = append(list, Hook{Stage: stage, Command: command}, Hook{Stage: "other", Command: "false"})
		}
		err := Run(t.Context(), list, stage, Target{Root: root, Log: &log})
		if err != nil {
			t.Fatal(err)
		}
		want := `path DIR/bin/in-path ROOT 1
here DIR/here ROOT 1
here DIR/here ROOT 1
odd DIR/my hook; true ROOT 1
no line ROOT
shell exec ROOT 1 BASE
there
`
		got := strings.NewReplacer(root, "ROOT", dir, "DIR", filepath.Base(dir)+"\n", "BASE\n").Replace(log.String())
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(stage, diff)
		}
	}
}

func TestChrooted(t *testing.T) {
	root := t.TempDir()
	t.Setenv("TMPDIR", "/a/directory/of/the/host")
	t.Setenv("CALLERS", "yes")
	tree := &inside{}
	target := Target{Root: root, Runner: tree}
	for _, stage := range Stages()[1:] {
		tree.commands, tree.err = nil, nil
		hook := Hook{Stage: stage, Command: "copy-in a b", Chrooted: true}
		if err := Run(t.Context(), []Hook{hook}, stage, target); err != nil {
			t.Fatal(err)
		}
		if len(tree.commands) != 1 {
			t.Fatal(tree.commands)
		}
		c := tree.commands[0]
		if diff := cmp.Diff([]string{"sh", "-c", "copy-in a b"}, c.Args); diff != "" || len(c.Files) != 1 {
			t.Error(diff, c.Files)
		}
		want := map[string]string{"CALLERS": "yes", "TMPDIR": "", "MMDEBSTRAP_HOOK": string(stage), "MMDEBSTRAP_HOOKSOCK": "3"}
		if diff := cmp.Diff(want, variables(c.Env, want)); diff != "" {
			t.Error(diff)
		}
		tree.err = errors.New("sh -c false: exit status 1")
		err := Run(t.Context(), []Hook{hook}, stage, target)
		if want := "run " + string(stage) + ` hook "copy-in a b": sh -c false: exit status 1`; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	target.Runner = nil
	err := Run(t.Context(), []Hook{{Stage: Extract, Command: "true", Chrooted: true}}, Extract, target)
	if want := `run extract hook "true": programs cannot run in this tree`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// variables picks those that are wanted.
func variables(env []string, wanted map[string]string) map[string]string {
	found := map[string]string{}
	for name := range wanted {
		found[name] = ""
		for _, v := range env {
			if value, ok := strings.CutPrefix(v, name+"="); ok {
				found[name] = value
			}
		}
	}
	return found
}

// What a command of mmdebstrap's is told.
func TestEnvironment(t *testing.T) {
	root := t.TempDir()
	for name, value := range map[string]string{
		"TMPDIR": "/host", "APT_CONFIG": "/host", "MMDEBSTRAP_ESSENTIAL": "old", "HOME": "/home/me", "LC_ALL": "de_DE.UTF-8",
		"PATH": "/opt/bin:/usr/bin", "TZ": "CET", "SOURCE_DATE_EPOCH": "5",
	} {
		t.Setenv(name, value)
	}
	target := Target{Root: root, Suite: "trixie", Mode: "unshare", Format: "tar", Verbosity: 3,
		Include: []string{"a", "b,c", "100%", "?essential"}, Essential: []string{"/d/a.deb", "/d/b.deb"},
		AptConfig: "/r/tmp/apt.conf", Program: "/usr/bin/x"}
	want := map[string]string{
		"TMPDIR": "", "APT_CONFIG": "", "HOME": "/home/me", "TZ": "CET", "PATH": "/opt/bin:/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LC_ALL": "C.UTF-8", "LANGUAGE": "C.UTF-8", "LANG": "C.UTF-8", "container": "mmdebstrap-unshare",
		"DEBIAN_FRONTEND": "noninteractive", "DEBCONF_NONINTERACTIVE_SEEN": "true", "SOURCE_DATE_EPOCH": "5",
		"MMDEBSTRAP_ARGV0": "/usr/bin/x", "MMDEBSTRAP_MODE": "unshare", "MMDEBSTRAP_SUITE": "trixie", "MMDEBSTRAP_FORMAT": "tar",
		"MMDEBSTRAP_HOOK": "extract", "MMDEBSTRAP_VERBOSITY": "3", "MMDEBSTRAP_INCLUDE": "a,b%2Cc,100%25,?essential",
		"MMDEBSTRAP_ESSENTIAL": "/d/a.deb /d/b.deb", "MMDEBSTRAP_APT_CONFIG": "/r/tmp/apt.conf", "VMBUILD_SUITE": "trixie",
	}
	if diff := cmp.Diff(want, variables(commandEnvironment(Extract, target), want)); diff != "" {
		t.Error(diff)
	}
	target = Target{Mode: "root", Essential: target.Essential, Epoch: time.Unix(7, 0)}
	want = map[string]string{"MMDEBSTRAP_ESSENTIAL": "", "container": "", "MMDEBSTRAP_INCLUDE": "", "SOURCE_DATE_EPOCH": "7"}
	env := commandEnvironment(Customize, target)
	if diff := cmp.Diff(want, variables(env, want)); diff != "" {
		t.Error(diff)
	}
	for _, v := range env {
		for _, absent := range []string{"SUITE", "APT_CONFIG", "ARGV0", "ESSENTIAL"} {
			if strings.HasPrefix(v, "MMDEBSTRAP_"+absent+"=") {
				t.Error(v)
			}
		}
	}
}

// A hook uses the helper as mmdebstrap's own hooks do, also after one that has failed.
func TestHookHelper(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "file", "content", 0o644)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	var log bytes.Buffer
	l, err := transfer.Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	hook := Hook{Stage: Setup, Command: `
		help() {
			"$MMDEBSTRAP_ARGV0" --hook-helper "$1" "$MMDEBSTRAP_MODE" "$MMDEBSTRAP_HOOK" "" "$MMDEBSTRAP_VERBOSITY" \
				"$2" "$3" "$4" <&"$MMDEBSTRAP_HOOKSOCK" >&"$MMDEBSTRAP_HOOKSOCK"
		}
		help "$1" upload none /x || echo " (failed)"
		help "$1" upload file /x && cat "$1/x"`}
	target := Target{Root: root, Log: &log, Program: program, Mode: "root", Verbosity: 1, Outside: l.Conn}
	if err := Run(t.Context(), []Hook{hook, {Stage: Setup, Command: "download x y"}}, Setup, target); err != nil {
		t.Fatal(err)
	}
	want := "upload none to /x: open none: no such file or directory (failed)\ncontent"
	if log.String() != want {
		t.Errorf("%q, want %q", &log, want)
	}
	if got, err := os.ReadFile("y"); err != nil || string(got) != "content" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestCommandFailures(t *testing.T) {
	t.Chdir(t.TempDir())
	root := t.TempDir()
	for command, want := range map[string]string{
		"echo on fire; exit 3": `exit status 3; its last words:` + "\non fire",
		"false":                "exit status 1",
		"upload none /x":       "upload none to /x: open none: no such file or directory",
		`rm -r "$1"`:           "the hook has moved the tree away from " + root + ", or changed the build's own root (pivot_root)",
	} {
		if err := os.MkdirAll(root, 0o755); err != nil {
			t.Fatal(err)
		}
		err := Run(t.Context(), []Hook{{Stage: Setup, Command: command}}, Setup, Target{Root: root})
		want = "run setup hook " + (Hook{Command: command}).String() + ": " + want
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	plain := filepath.Join(dir, "plain")
	write(t, plain, "", 0o644)
	for _, test := range []struct {
		hook Hook
		want string
	}{
		{Hook{Path: filepath.Join(dir, "none")}, "stat " + filepath.Join(dir, "none") + ": no such file or directory"},
		{Hook{Path: "none"}, `there is no script "none", neither in the working directory nor among the examples (` +
			strings.Join(examples.Names(), ", ") + ")"},
		{Hook{Path: "./customise-sshd.sh"}, "stat " + filepath.Join(dir, "customise-sshd.sh") + ": no such file or directory"},
		{Hook{Path: dir}, dir + " is a directory, not a program"},
		{Hook{Path: plain}, plain + " is not executable (chmod +x " + plain + ")"},
		{Hook{Command: plain}, plain + " is not executable (chmod +x " + plain + ")"},
		{Hook{Command: "./none"}, "stat " + filepath.Join(dir, "none") + ": no such file or directory"},
		{Hook{Command: "no-such-program"}, `there is no program "no-such-program", neither in PATH nor in the working directory`},
		{Hook{Command: "copy-in a"}, `read hook "copy-in a": copy-in needs a path on the host and one in the tree`},
		{Hook{Command: "\t"}, "the command is empty"},
		{Hook{}, "the command is empty"},
		{Hook{Stage: Setup, Command: "true", Chrooted: true}, `nothing can run in the tree yet: "true"`},
	} {
		if test.hook.Stage == "" {
			test.hook.Stage = Customize
		}
		want := "find " + string(test.hook.Stage) + " hook: " + test.want
		if _, err := Find(test.hook); err == nil || err.Error() != want {
			t.Errorf("Find(%+v): %v, want %s", test.hook, err, want)
		}
	}
	h := script(t, "")
	if got, err := Find(h); err != nil || got != h.Path {
		t.Errorf("Find(%s) = %s, %v", h.Path, got, err)
	}
	for _, command := range []string{"copy-in none /none", "no-such-program; true", "true"} {
		if _, err := Find(Hook{Stage: Extract, Command: command}); err != nil {
			t.Errorf("Find(%s): %v", command, err)
		}
	}
}

func TestFromDirectory(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"setup20.sh", "setup10", "customize-a", "extract", "essential00.sh", "other"} {
		write(t, filepath.Join(dir, name), "#!/bin/sh\n", 0o755)
	}
	write(t, filepath.Join(dir, "essential01.sh"), "", 0o644)
	write(t, filepath.Join(dir, "README"), "", 0o644)
	for _, name := range []string{"setup.d", "more"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("none", filepath.Join(dir, "setup-gone")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	list, warnings, err := FromDirectory("./")
	if err != nil {
		t.Fatal(err)
	}
	wantList := []Hook{
		{Stage: Setup, Command: "./setup10"}, {Stage: Setup, Command: "./setup20.sh"}, {Stage: Extract, Command: "./extract"},
		{Stage: Essential, Command: "./essential00.sh"}, {Stage: Customize, Command: "./customize-a"},
	}
	wantWarnings := []string{
		"./essential01.sh is named like a hook but is not executable",
		"./other is executable but its name does not begin with that of a stage",
		"./setup-gone is no hook: stat ./setup-gone: no such file or directory",
		"./setup.d is named like a hook but is a directory",
	}
	if diff := cmp.Diff(wantList, list) + cmp.Diff(wantWarnings, warnings); diff != "" {
		t.Error(diff)
	}
	list, warnings, err = FromDirectory("more")
	if diff := cmp.Diff([]string{"there are no hooks in more"}, warnings); diff != "" || list != nil || err != nil {
		t.Error(diff, list, err)
	}
	want := "read hook directory: open none: no such file or directory"
	if _, _, err = FromDirectory("none"); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
