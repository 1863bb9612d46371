package chroot

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestCommandError(t *testing.T) {
	tests := map[string]*CommandError{
		"dpkg --configure -a: exit status 1; its last words:\ndpkg: error\nhere": {
			Args: []string{"dpkg", "--configure", "-a"}, ExitStatus: 1, Output: "dpkg: error\nhere"},
		`sh -c "exit 3" "": exit status 3`:       {Args: []string{"sh", "-c", "exit 3", ""}, ExitStatus: 3},
		"mke2fs -d /x: killed by signal SIGKILL": {Args: []string{"mke2fs", "-d", "/x"}, ExitStatus: -1, Signal: unix.SIGKILL},
	}
	for want, err := range tests {
		if diff := cmp.Diff(want, err.Error()); diff != "" {
			t.Error(diff)
		}
	}
}

// TestLookPath: links are those of the root, whatever the host has there.
func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "usr/bin"), 0o755))
	must(t, os.MkdirAll(filepath.Join(dir, "usr/sbin"), 0o755))
	must(t, os.Symlink("/usr/bin", filepath.Join(dir, "bin")))
	must(t, os.WriteFile(filepath.Join(dir, "usr/bin/tool"), nil, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "usr/sbin/tool"), nil, 0o644))
	must(t, os.Symlink("/../../usr/bin/tool", filepath.Join(dir, "usr/bin/alias")))
	must(t, os.Symlink("/proc/self/exe", filepath.Join(dir, "usr/bin/sh")))
	must(t, os.Mkdir(filepath.Join(dir, "usr/bin/dir"), 0o755))
	root, err := openDir(dir)
	must(t, err)
	defer root.Close()
	r := &Root{dir: dir, root: root}
	tests := map[string]string{
		"tool": "/bin/tool", "alias": "/bin/alias", "sh": "", "dir": "", "none": "", "/x/y": "/x/y", "./y": "./y",
	}
	got := make(map[string]string)
	for name := range tests {
		program, err := r.lookPath(name, append(Environment(), "PATH=/usr/sbin:/bin:/usr/bin"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		got[name] = program
	}
	if diff := cmp.Diff(tests, got); diff != "" {
		t.Error(diff)
	}
}
