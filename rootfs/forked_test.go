package rootfs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/chroot"
)

// hostRunner runs programs on the host as if a directory were the root.
type hostRunner struct {
	root    string
	started chan *os.Process
}

func (r hostRunner) Run(ctx context.Context, c chroot.Command) error {
	var args []string
	for _, arg := range c.Args {
		args = append(args, strings.NewReplacer("/run/", r.root+"/run/", "/usr/", r.root+"/usr/").Replace(arg))
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	r.started <- cmd.Process
	return cmd.Wait()
}

// tells is a program of Perl that tells all that it was given, and whether it was compiled before; it ends as its first argument
// says.
const tells = `#!/usr/bin/perl -w
use strict;
my $status = shift @ARGV;
print $INC{"Forked.pm"} ? "compiled" : "alone", " $0";
print " <$_>" for @ARGV, $ENV{A}, scalar(readline(STDIN)), umask;
print " ", ` + "`pwd`" + `;
print STDERR "warned\n";
kill 9, $$ if $status eq "killed";
exit $status;
END { print "end\n" }
`

// aHelper is a system in which packages call a program of Perl.
func aHelper(t *testing.T, first string) *foresight {
	root := planted(t, map[string]string{
		"run/": "", "var/lib/dpkg/status": "Package: a\nStatus: install ok unpacked\nArchitecture: all\nVersion: 1\n\n",
		"var/lib/dpkg/info/a.postinst": "#!/bin/sh\n# deb-systemd-helper\n" + strings.Repeat("deb-systemd-helper enable a\n", enoughCalls),
		"usr/bin/deb-systemd-helper":   strings.Replace(tells, "#!/usr/bin/perl -w", first, 1),
	})
	if err := os.Chmod(root+"/usr/bin/deb-systemd-helper", 0o755); err != nil {
		t.Fatal(err)
	}
	return &foresight{programs: programs{root: root, target: hostRunner{root, make(chan *os.Process, 1)}}}
}

// client makes the command that is in the place of the program.
func (f *foresight) client(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path := filepath.Join(f.root, programsDir, "deb-systemd-helper")
	script, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(script), " /usr/bin/", " "+f.root+"/usr/bin/")
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	// The shell's umask is the host's but for this.
	cmd := exec.Command("sh", append([]string{"-c", `umask 027; exec "$0" "$@"`, path}, args...)...)
	cmd.Dir = filepath.Join(f.root, "usr")
	cmd.Env = append(os.Environ(), "A=b=c\nd", "DPKG_MAINTSCRIPT_PACKAGE=a")
	cmd.Stdin = strings.NewReader("line\nmore\n")
	return cmd
}

func TestForked(t *testing.T) {
	f := aHelper(t, "#!/usr/bin/perl -w")
	if err := f.begin(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	waitFor(t, filepath.Join(f.root, programsDir, "deb-systemd-helper.forked/requests"))
	program := f.root + "/usr/bin/deb-systemd-helper"
	said := func(by string, args string) string {
		return fmt.Sprintf("%s %s%s <b=c\nd> <line\n> <23> %s/usr\n", by, program, args, f.root)
	}
	for name, c := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"arguments": {[]string{"0", "a b", "", "-x", "*\n"}, 0, said("compiled", " <a b> <> <-x> <*\n>") + "end\n"},
		"status":    {[]string{"3"}, 3, said("compiled", "") + "end\n"},
		"killed":    {[]string{"killed"}, 128 + 9, strings.TrimSuffix(said("compiled", ""), fmt.Sprintf(" %s/usr\n", f.root))},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := f.client(t, c.args...)
			var warned strings.Builder
			cmd.Stderr = &warned
			out, _ := cmd.Output()
			if diff := cmp.Diff(c.want, string(out)); diff != "" || cmd.ProcessState.ExitCode() != c.status || warned.String() != "warned\n" {
				t.Errorf("status %d, %q\n%s", cmd.ProcessState.ExitCode(), warned.String(), diff)
			}
		})
	}
	t.Run("into a file", func(t *testing.T) { // which would be opened a second time
		out, err := os.Create(filepath.Join(f.root, "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		cmd := f.client(t, "4")
		cmd.Stdout = out
		_ = cmd.Run()
		got, err := os.ReadFile(out.Name())
		if diff := cmp.Diff(said("alone", "")+"end\n", string(got)); diff != "" || err != nil || cmd.ProcessState.ExitCode() != 4 {
			t.Errorf("status %d, %v\n%s", cmd.ProcessState.ExitCode(), err, diff)
		}
	})
	if err := f.begin(t.Context(), true); err != nil { // with more packages in place
		t.Error(err)
	}
	if err := f.end(t.Context()); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(f.root, "run")); err != nil || len(left) > 0 {
		t.Errorf("left in /run: %v, %v", left, err)
	}
}

// TestForkedEnds has who waits for an answer run the program himself, when nobody is left to answer.
func TestForkedEnds(t *testing.T) {
	f := aHelper(t, "#!/usr/bin/perl -w")
	if err := f.begin(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(f.root, programsDir, "deb-systemd-helper.forked")
	waitFor(t, dir+"/requests")
	server := <-f.target.(hostRunner).started
	if err := server.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	cmd := f.client(t, "5")
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, fmt.Sprintf("%s/%d", dir, cmd.Process.Pid))
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	<-ended
	if got := cmd.ProcessState.ExitCode(); got != 5 || !strings.HasPrefix(out.String(), "alone ") {
		t.Errorf("status %d, %q", got, out.String())
	}
	cmd = f.client(t, "6")
	if got, _ := cmd.Output(); cmd.ProcessState.ExitCode() != 6 || !strings.HasPrefix(string(got), "alone ") {
		t.Errorf("after that: %q", got)
	}
	if err := f.end(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestNotForked: only what is of Perl, and is called often.
func TestNotForked(t *testing.T) {
	for name, change := range map[string]func(*foresight) error{
		"shell": func(f *foresight) error {
			return os.WriteFile(f.root+"/usr/bin/deb-systemd-helper", []byte("#!/bin/sh\n# not perl\n"), 0o755)
		},
		"no program": func(f *foresight) error { return os.Remove(f.root + "/usr/bin/deb-systemd-helper") },
		"seldom": func(f *foresight) error {
			seldom := strings.Repeat("deb-systemd-helper enable a\n", enoughCalls-1) + "# deb-systemd-helper\ndeb-systemd-helper-x\n"
			return os.WriteFile(f.root+"/var/lib/dpkg/info/a.postinst", []byte(seldom), 0o755)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := aHelper(t, "#!/usr/bin/perl -w")
			if err := change(f); err != nil {
				t.Fatal(err)
			}
			if err := f.begin(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			if f.endServers != nil {
				t.Error("it is compiled")
			}
			if err := f.end(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
