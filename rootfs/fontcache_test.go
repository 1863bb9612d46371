package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vmbuild/rootfs/chroot"
)

// TestFontCache asks for a cache whose maker sleeps until the test has him wake up, or not.
func TestFontCache(t *testing.T) {
	const (
		sleeps = "#!/usr/bin/perl\n$SIG{USR1} = sub {};\nopen P, '>', '%[1]s/made'; print P \"$$ @ARGV\"; close P;\nsleep 1000;\n"
		alone  = "#!/bin/sh\necho $$ \"$@\" >%[1]s/made\n"
	)
	for name, c := range map[string]struct {
		program string
		status  int    // that the script gets
		waits   bool   // it does at the end
		want    string // the error at the end
	}{
		"sleeps":           {sleeps + "exit 0;\n", 0, true, ""},
		"sleeps and fails": {sleeps + "exit 3;\n", 0, true, "fc-cache: exit status 3"},
		"does not sleep":   {alone, 0, false, ""},
		"fails":            {alone + "exit 4\n", 4, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := planted(t, map[string]string{"run/": "", "usr/bin/fc-cache": "", "var/lib/dpkg/info/": ""})
			real := root + "/usr/bin/fc-cache"
			err := errors.Join(os.WriteFile(real, fmt.Appendf(nil, c.program, root), 0o755), os.Chmod(real, 0o755))
			if err != nil {
				t.Fatal(err)
			}
			f := &foresight{programs: programs{root: root}}
			if err := f.begin(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(root, programsDir, "fc-cache")
			script, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			text := strings.ReplaceAll(string(script), "PATH=/usr", "PATH="+root+"/usr")
			if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(path, "-s", "a b")
			_ = cmd.Run()
			made, _ := os.ReadFile(root + "/made")
			var pid int
			var args string
			if _, err := fmt.Sscanf(string(made), "%d %s", &pid, &args); err != nil || !strings.HasSuffix(strings.TrimSpace(string(made)), " -s a b") {
				t.Fatalf("it is asked for %q, %v", made, err)
			}
			if got := cmd.ProcessState.ExitCode(); got != c.status {
				t.Errorf("status %d, want %d", got, c.status)
			}
			ended := make(chan error, 1)
			go func() { ended <- f.end(t.Context()) }()
			if c.waits {
				select {
				case err := <-ended:
					t.Fatalf("nobody waits for who sleeps: %v", err)
				default:
				}
				if err := syscall.Kill(pid, syscall.SIGUSR1); err != nil {
					t.Fatal(err)
				}
			}
			if err := <-ended; c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if left, err := os.ReadDir(root + "/run"); err != nil || len(left) > 0 {
				t.Errorf("left in /run: %v, %v", left, err)
			}
		})
	}
}

// TestFontCacheEnded: a build that is ended does not wait.
func TestFontCacheEnded(t *testing.T) {
	f := &foresight{programs: programs{root: planted(t, map[string]string{"run/": ""}), target: &gate{}}}
	if err := f.open(); err != nil {
		t.Fatal(err)
	}
	if err := f.dir.WriteFile("fc-cache.1.asleep", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("no more"))
	if err := f.end(ctx); err != nil {
		t.Error(err)
	}
}

var _ chroot.Runner = hostRunner{}
