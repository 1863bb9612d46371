package chroot

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// listing gives the files of a directory with mode, time and content.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		content := ""
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = string(data)
		} else if info.Mode()&fs.ModeSymlink != 0 {
			content, err = os.Readlink(path)
			if err != nil {
				return err
			}
		}
		files[path[len(dir):]] = info.Mode().String() + " " + info.ModTime().UTC().Format(time.RFC3339Nano) + " " + content
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestCover: what is there before, what a program does meanwhile, what is there at last.
func TestCover(t *testing.T) {
	const old = "2020-01-01T00:00:00Z"
	epoch, _ := time.Parse(time.RFC3339, old)
	write := func(content string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(content), 0o600) }
	}
	link := func(path string) error { return os.Symlink("../run/nowhere", path) }
	nothing := func(string) error { return nil }
	replace := func(path string) error {
		if err := os.WriteFile(path+".new", []byte("new"), 0o600); err != nil {
			return err
		}
		return os.Rename(path+".new", path)
	}
	tests := []struct {
		name          string
		before, doing func(path string) error
		always        bool
		covered       string // what a program sees; "" if nothing
		want          string // what is there after
	}{
		{"a file", write("tree"), nothing, true, "ours", "tree"},
		{"a dangling link", link, nothing, true, "ours", "-> ../run/nowhere"},
		{"nothing", nothing, nothing, true, "ours", ""},
		{"nothing to stand in for", nothing, nothing, false, "", ""},
		{"a file is written to", write("tree"), write("hook"), true, "ours", "hook"},
		{"a file is replaced", write("tree"), replace, false, "ours", "new"},
		{"a file is removed", write("tree"), os.Remove, true, "ours", ""},
		{"a file becomes a link", write("tree"), func(path string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return link(path)
		}, true, "ours", "-> ../run/nowhere"},
		{"a file appears", nothing, write("tree"), false, "", "tree"},
	}
	for _, again := range []bool{false, true} {
		for _, test := range tests {
			name := test.name
			if again {
				name += ", covered again"
			}
			t.Run(name, func(t *testing.T) {
				dir := t.TempDir()
				path := filepath.Join(dir, "file")
				must(t, test.before(path))
				must(t, os.Chtimes(dir, epoch, epoch))
				before := listing(t, dir)
				root, err := os.OpenRoot(dir)
				must(t, err)
				c := cover{dir: root, name: "file", text: "ours", mode: 0o755, always: test.always}
				must(t, c.lay())
				seen, _ := os.ReadFile(path)
				if string(seen) != test.covered {
					t.Errorf("a program sees %q", seen)
				}
				must(t, test.doing(path))
				if again {
					must(t, c.lay())
					seen, err := os.ReadFile(path)
					if want := test.always || err == nil; want != (string(seen) == "ours") {
						t.Errorf("after the second time a program sees %q", seen)
					}
				}
				must(t, c.lift())
				got, err := os.ReadFile(path)
				if target, linkErr := os.Readlink(path); linkErr == nil {
					got = []byte("-> " + target)
				} else if err != nil && test.want != "" {
					t.Error(err)
				}
				if string(got) != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
				after := listing(t, dir)
				if delete(after, "/file"); len(after) != 1 {
					t.Errorf("something of ours is left: %v", after)
				}
				if test.want == "tree" && test.covered == "ours" && before[""] != after[""] {
					t.Errorf("the directory's time is now %s", after[""])
				}
			})
		}
	}
}

// TestCoversOfOneDirectory: the directory's time survives several covers.
func TestCoversOfOneDirectory(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "usr/sbin"), 0o755))
	must(t, os.Symlink("usr/sbin", filepath.Join(dir, "sbin")))
	must(t, os.WriteFile(filepath.Join(dir, "usr/sbin/start-stop-daemon"), []byte("dpkg's"), 0o755))
	before := listing(t, dir)
	root, err := openDir(dir)
	must(t, err)
	r := &Root{dir: dir, root: root, options: Options{BlockDaemons: true}}
	must(t, r.blockDaemons())
	must(t, r.blockDaemons())
	during := listing(t, dir)
	if len(during) != len(before)+2 || len(r.covers) != 2 {
		t.Errorf("%d covers, files %v", len(r.covers), during)
	}
	must(t, r.covers[1].lift())
	must(t, r.covers[0].lift())
	if diff := cmp.Diff(before, listing(t, dir)); diff != "" {
		t.Error(diff)
	}
}
