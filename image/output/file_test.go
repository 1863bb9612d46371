package output

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	list := []string{}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func write(t *testing.T, path, text string) *File {
	t.Helper()
	f, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestNothingIsThereBeforeCommit(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.img")
	f := write(t, path, "new")
	if d := cmp.Diff([]string{}, names(t, dir)); d != "" {
		t.Errorf("while it is written:\n%s", d)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{}, names(t, dir)); d != "" {
		t.Errorf("given up:\n%s", d)
	}
}

func TestCommit(t *testing.T) {
	for _, old := range []string{"", "old"} {
		dir := t.TempDir()
		path := filepath.Join(dir, "x.img")
		if old != "" {
			if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		f := write(t, path, "new")
		if data, _ := os.ReadFile(path); string(data) != old {
			t.Errorf("before the commit %q is there, not %q", data, old)
		}
		for _, step := range []func() error{f.Sync, f.Commit, f.Close} {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		if data, _ := os.ReadFile(path); string(data) != "new" {
			t.Errorf("after the commit: %q", data)
		}
		if d := cmp.Diff([]string{"x.img"}, names(t, dir)); d != "" {
			t.Errorf("over %q:\n%s", old, d)
		}
	}
}

// On a file system without O_TMPFILE the file has a hidden name, and the mode that the caller's umask gives any file.
func TestNamedFile(t *testing.T) {
	dir := t.TempDir()
	old := unix.Umask(0o027)
	defer unix.Umask(old)
	for _, commit := range []bool{false, true} {
		f, err := createNamed(filepath.Join(dir, "x.img"))
		if err != nil {
			t.Fatal(err)
		}
		if got := names(t, dir); len(got) != 1 || !strings.HasPrefix(got[0], ".x.img.vmbuild-") {
			t.Errorf("while it is written there is %q", got)
		}
		want := []string{}
		if commit {
			want = []string{"x.img"}
			if err := f.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, names(t, dir)); d != "" {
			t.Error(d)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "x.img")); err != nil || info.Mode() != 0o640 {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
}

func TestCreateRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := Create(dir); err == nil || err.Error() != "create output "+dir+": it is there and is not a regular file" {
		t.Errorf("a directory: %v", err)
	}
	if _, err := Create("/dev/null"); err == nil || err.Error() != "create output /dev/null: it is there and is not a regular file" {
		t.Errorf("a device: %v", err)
	}
	missing := filepath.Join(dir, "no", "x.img")
	want := "create output " + missing + ": open " + filepath.Join(dir, "no") + ": no such file or directory"
	if _, err := Create(missing); err == nil || err.Error() != want {
		t.Errorf("a missing directory: %v, want %s", err, want)
	}
}
