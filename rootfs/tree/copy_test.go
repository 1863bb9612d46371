package tree

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestCopier(t *testing.T) {
	from := newTree(t)
	from.Devices = []Entry{
		{Path: "/dev/pts", Type: Directory, Mode: 0o555},
		{Path: "/dev/fd", Type: Symlink, Mode: 0o777, Target: "/proc"},
	}
	in := func(name string) string { return filepath.Join(from.Dir, name) }
	for _, err := range []error{
		unix.Chmod(in("usr/bin/z"), 0o6751),
		unix.Chmod(in("etc"), 0o2555),
		unix.Mkfifo(in("pipe"), 0o600),
		unix.Mknod(in("socket"), unix.S_IFSOCK|0o600, 0),
		unix.Lutimes(in("bin"), []unix.Timeval{{Sec: 5}, {Sec: 5}}),
		os.Chtimes(in("etc"), time.Unix(7, 9), time.Unix(7, 9)),
		os.Chtimes(from.Dir, time.Unix(6, 0), time.Unix(6, 0)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range from.Devices {
		from.Devices[i].UID, from.Devices[i].GID = os.Getuid(), os.Getgid()
	}
	to := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(to, link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // else only root could remove them
		for _, dir := range []string{in("etc"), filepath.Join(to, "etc")} {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Error(err)
			}
		}
	})
	c := Copier{From: from.Dir, To: link}
	times := map[string]time.Time{}
	err := from.Walk(func(e Entry) error { times[e.Path] = e.ModTime; return c.Add(e) })
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(to, "etc")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("before it is complete /etc is %v, %v", info.Mode(), err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	want, err := Listing(from)
	if err != nil {
		t.Fatal(err)
	}
	delete(want, "/socket")
	got, err := Listing(&Tree{Dir: to})
	if err != nil {
		t.Fatal(err)
	}
	if d := Diff(want, got); len(d) > 0 {
		t.Error(strings.Join(d, "\n"))
	}
	gotTimes := map[string]time.Time{}
	if err := (&Tree{Dir: to}).Walk(func(e Entry) error { gotTimes[e.Path] = e.ModTime; return nil }); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/", "/bin", "/etc", "/usr/bin/z"} {
		if !gotTimes[name].Equal(times[name]) {
			t.Errorf("%s is of %v, want %v", name, gotTimes[name], times[name])
		}
	}
}

// A device that may not be made is an error, unless it may be left out.
func TestCopierDevices(t *testing.T) {
	null := Entry{Path: "/null", Type: CharDevice, Mode: 0o666, UID: os.Getuid(), GID: os.Getgid(), Major: 1, Minor: 3}
	to := t.TempDir()
	err := (&Copier{To: to}).Add(null)
	var got unix.Stat_t
	if os.Getuid() == 0 && err == nil {
		if err := unix.Stat(to+"/null", &got); err != nil || got.Mode != unix.S_IFCHR|0o666 || got.Rdev != unix.Mkdev(1, 3) {
			t.Errorf("%#o, device %#x, %v", got.Mode, got.Rdev, err)
		}
		return
	}
	if err == nil || err.Error() != `copy "/null": operation not permitted` {
		t.Errorf("%v", err)
	}
	if err := (&Copier{To: to, SkipDevices: true}).Add(null); err != nil {
		t.Error(err)
	}
	if err := unix.Stat(to+"/null", &got); err != unix.ENOENT {
		t.Errorf("it was made: %v", err)
	}
}

func TestCopierErrors(t *testing.T) {
	to := t.TempDir()
	for _, test := range []struct {
		e    Entry
		want string
	}{
		{Entry{Path: "/a/b", Type: Directory}, `copy "/a/b": mkdir ` + to + `/a/b: no such file or directory`},
		{Entry{Path: "/x", Type: File}, `copy "/x": open /nonexistent/x: no such file or directory`},
		{Entry{Path: "/x", HardLink: "/y"}, `copy "/x": link ` + to + `/y ` + to + `/x: no such file or directory`},
	} {
		err := (&Copier{From: "/nonexistent", To: to}).Add(test.e)
		if err == nil {
			t.Errorf("%+v: no error", test.e)
		} else if d := cmp.Diff(test.want, err.Error()); d != "" {
			t.Error(d)
		}
	}
}
