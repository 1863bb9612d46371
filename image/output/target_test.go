package output

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"vmbuild/rootfs/offers"
	"vmbuild/rootfs/tree"
)

func TestLook(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.MkdirAll(in("empty"), 0o755), os.MkdirAll(in("disk/lost+found"), 0o755), os.MkdirAll(in("used/lost+found/#1"), 0o755),
		os.MkdirAll(in("full/etc"), 0o755), os.WriteFile(in("file"), nil, 0o644), unix.Mkfifo(in("fifo"), 0o644),
		unix.Mknod(in("socket"), unix.S_IFSOCK|0o644, 0), os.Symlink("empty", in("link")), os.Symlink("/", in("rootlink")),
		os.WriteFile(in("odd"), nil, 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for target, want := range map[string]Facts{
		in("missing"):     {},
		in("missing/"):    {},
		in("no/such/dir"): {NoParent: in("no/such")},
		in("file/x"):      {NoParent: in("file")},
		in("empty"):       {Kind: Directory},
		in("link"):        {Kind: Directory},
		in("disk"):        {Kind: Directory},
		in("used"):        {Kind: Directory, Holds: "lost+found/#1"},
		in("full"):        {Kind: Directory, Holds: "etc"},
		in("file"):        {Kind: Regular},
		in("fifo"):        {Kind: FIFO},
		in("socket"):      {Kind: Other},
		"/dev/null":       {Kind: CharDevice, Null: true},
		"/dev/full":       {Kind: CharDevice},
	} {
		got, err := Look(target)
		if err != nil {
			t.Errorf("%s: %v", target, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", target, d)
		}
	}
	for _, target := range []string{"/", "//", "/usr/..", in("rootlink")} {
		if got, err := Look(target); err != nil || !got.Root {
			t.Errorf("%s: %+v, %v, want the root", target, got, err)
		}
	}
}

// asStdout makes a file this process's standard output while do runs.
func asStdout(t *testing.T, f *os.File, do func()) {
	t.Helper()
	old := os.Stdout
	os.Stdout = f
	defer func() { os.Stdout = old }()
	do()
}

func TestStandardOutput(t *testing.T) {
	master, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer terminal.Close()
	asStdout(t, terminal, func() {
		if got, err := Look("-"); err != nil || !got.Terminal {
			t.Errorf("%+v, %v, want a terminal", got, err)
		}
	})
	path := filepath.Join(t.TempDir(), "redirected")
	if err := os.WriteFile(path, []byte("before:"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	asStdout(t, f, func() {
		source := newTree(t)
		format, _, err := Choose("", "", Facts{})
		if err != nil {
			t.Fatal(err)
		}
		target, err := Open("-", format)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []func() error{
			func() error {
				return format.Write(context.Background(), Job{Tree: source, Epoch: epoch, Out: target.Handle()})
			},
			target.Sync, target.Commit, target.Close,
		} {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		want := "before:" + string(read(t, toFile(t, "", "x.tar", Job{Tree: source})))
		if got := read(t, path); string(got) != want {
			t.Errorf("%d bytes, want %d", len(got), len(want))
		}
	})
	if _, err := f.WriteString("after"); err != nil {
		t.Errorf("standard output was closed: %v", err)
	}
}

func fifo(t *testing.T, name string) (path string, target Target, j Job, f Format) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, c, err := Choose("", path, Facts{Kind: FIFO})
	if err != nil {
		t.Fatal(err)
	}
	if target, err = Open(path, f); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	return path, target, Job{Tree: newTree(t), Compression: c, Epoch: epoch, Out: target.Handle(), Toolbox: hostTools{}}, f
}

// receive opens a FIFO, after a while, and reads slowly until its end.
func receive(path string, after time.Duration) <-chan []byte {
	got := make(chan []byte, 1)
	go func() {
		time.Sleep(after)
		f, err := os.Open(path)
		if err != nil {
			got <- nil
			return
		}
		defer f.Close()
		time.Sleep(after)
		data, _ := io.ReadAll(f)
		got <- data
	}()
	return got
}

func TestFIFO(t *testing.T) {
	for _, late := range []time.Duration{0, 2 * readerPoll} {
		path, _, j, f := fifo(t, "x")
		got := receive(path, late)
		if err := f.Write(context.Background(), j); err != nil {
			t.Fatal(err)
		}
		if want := read(t, toFile(t, "", "x.tar", Job{Tree: j.Tree})); !bytes.Equal(<-got, want) {
			t.Error("the reader got something else")
		}
	}
}

// A program that writes to a FIFO does so as if it had opened it itself.
func TestFIFOOfAProgram(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "bzip2")
	path, _, j, f := fifo(t, "x.bz2")
	big := make([]byte, 1<<20) // more than a pipe holds, also when compressed
	rand.NewChaCha8([32]byte{}).Read(big)
	if err := os.WriteFile(filepath.Join(j.Tree.Dir, "big"), big, 0o644); err != nil {
		t.Fatal(err)
	}
	got := receive(path, 2*readerPoll)
	if err := f.Write(context.Background(), j); err != nil {
		t.Fatal(err)
	}
	want := read(t, toFile(t, "", "x.bz2", Job{Tree: j.Tree, Toolbox: hostTools{}}))
	if len(want) < 1<<16 || !bytes.Equal(<-got, want) {
		t.Errorf("the reader got something else than the %d bytes", len(want))
	}
}

func TestFIFOIsGivenUp(t *testing.T) {
	_, _, j, f := fifo(t, "nobody-reads")
	why := errors.New("asked to stop")
	ctx, cancel := context.WithCancelCause(context.Background())
	time.AfterFunc(2*readerPoll, func() { cancel(why) })
	const want = "write tar: wait for a reader of the FIFO: asked to stop"
	if err := f.Write(ctx, j); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestFIFOWithAStalledReader(t *testing.T) {
	path, _, j, f := fifo(t, "stalled")
	reader, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := os.Truncate(filepath.Join(j.Tree.Dir, "etc/empty"), 1<<20); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*readerPoll)
	defer cancel()
	if err := f.Write(ctx, j); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v, want a deadline", err)
	}
}

// inDirectory writes a tree to a directory target, whose name it returns with the error of the writing.
func inDirectory(t *testing.T, path string, source *tree.Tree) error {
	t.Helper()
	f, err := Lookup("directory")
	if err != nil {
		t.Fatal(err)
	}
	target, err := Open(path, f)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := target.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := f.Write(context.Background(), Job{Tree: source, Epoch: epoch, Out: target.Handle()}); err != nil {
		return err
	}
	for _, step := range []func() error{target.Sync, target.Commit} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func TestDirectory(t *testing.T) {
	for _, there := range []bool{false, true} {
		parent := t.TempDir()
		path := filepath.Join(parent, "root")
		if there {
			if err := os.MkdirAll(filepath.Join(path, "lost+found"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		source := newTree(t)
		source.Devices = nil
		if err := os.Remove(filepath.Join(source.Dir, "lost+found")); err != nil {
			t.Fatal(err)
		}
		if err := inDirectory(t, path, source); err != nil {
			t.Fatal(err)
		}
		want, got := listing(t, source), listing(t, &tree.Tree{Dir: path})
		delete(got, "/lost+found")
		if d := tree.Diff(want, got); len(d) > 0 {
			t.Error(strings.Join(d, "\n"))
		}
		for name, when := range map[string]time.Time{"etc": time.Unix(1600000000, 120000000), "etc/passwd": epoch, "": epoch} {
			if info, err := os.Stat(filepath.Join(path, name)); err != nil || !info.ModTime().Equal(when) {
				t.Errorf("%q is of %v, %v, want %v", name, info.ModTime(), err, when)
			}
		}
		if d := cmp.Diff([]string{"root"}, names(t, parent)); d != "" {
			t.Error(d)
		}
	}
}

// A directory that was not there is not, and one that was is as empty, when the tree cannot be written.
func TestDirectoryGivenUp(t *testing.T) {
	broken := newTree(t)
	broken.Devices = []tree.Entry{{Path: "/etc/passwd/x", Type: tree.Directory}, {Path: "/zz/y", Type: tree.Directory},
		{Path: "/zz", Type: tree.Type("hole")}, {Path: "/fifo", Type: tree.FIFO}, {Path: "/usr", Type: tree.Symlink}}
	parent := t.TempDir()
	for path, left := range map[string][]string{"new": {"there"}, "there": {"there"}} {
		if err := os.MkdirAll(filepath.Join(parent, "there/lost+found"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := inDirectory(t, filepath.Join(parent, path), broken); err == nil {
			t.Error("no error")
		}
		if d := cmp.Diff(left, names(t, parent)); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{"lost+found"}, names(t, filepath.Join(parent, "there"))); d != "" {
			t.Error(d)
		}
	}
}

// What has appeared meanwhile at the target is not replaced.
func TestDirectoryCommitReplacesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root")
	f, err := Lookup("dir")
	if err != nil {
		t.Fatal(err)
	}
	target, err := Open(path, f)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	want := "commit target " + path + ": file exists"
	if err := target.Commit(); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if err := target.Close(); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff([]string{"root"}, names(t, filepath.Dir(path))); d != "" {
		t.Error(d)
	}
}

// The next build into a directory removes what a killed one has left beside it, and nothing else.
func TestDirectorySweeps(t *testing.T) {
	parent := t.TempDir()
	for name, mode := range map[string]os.FileMode{
		".root.vmbuild-123": 0o700, ".root.vmbuild-x": 0o700, ".root.vmbuild-7": 0o755, ".other.vmbuild-123": 0o700,
	} {
		if err := os.Mkdir(filepath.Join(parent, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	source := newTree(t)
	source.Devices = nil
	if err := inDirectory(t, filepath.Join(parent, "root"), source); err != nil {
		t.Fatal(err)
	}
	want := []string{".other.vmbuild-123", ".root.vmbuild-7", ".root.vmbuild-x", "root"}
	if d := cmp.Diff(want, names(t, parent)); d != "" {
		t.Error(d)
	}
}

// A simulation chooses and looks, but writes nothing: to take hold of a target changes nothing of it.
func TestOpenChangesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.tar")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for format, target := range map[string]string{"tar": path, "null": path, "dir": filepath.Join(dir, "new")} {
		f, err := Lookup(format)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := Open(target, f)
		if err != nil {
			t.Fatal(err)
		}
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := read(t, path); string(got) != "old" {
		t.Errorf("it holds %q", got)
	}
	if d := cmp.Diff([]string{"x.tar"}, names(t, dir)); d != "" {
		t.Error(d)
	}
}
