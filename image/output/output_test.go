package output

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
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

func TestNamedFile(t *testing.T) {
	dir := t.TempDir()
	tmp, err := os.CreateTemp(dir, ".x.img.vmbuild-*")
	if err != nil {
		t.Fatal(err)
	}
	f := &File{File: tmp, path: filepath.Join(dir, "x.img"), named: tmp.Name()}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"x.img"}, names(t, dir)); d != "" {
		t.Error(d)
	}
	if tmp, err = os.CreateTemp(dir, ".y.img.vmbuild-*"); err != nil {
		t.Fatal(err)
	}
	if err := (&File{File: tmp, path: "y.img", named: tmp.Name()}).Close(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"x.img"}, names(t, dir)); d != "" {
		t.Errorf("a named file that was given up:\n%s", d)
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
