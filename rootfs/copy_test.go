package rootfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"vmbuild/rootfs/tree"
)

// TestCopyTree copies one of everything that a user without privileges can make.
func TestCopyTree(t *testing.T) {
	from := planted(t, map[string]string{
		"a/first": strings.Repeat("content ", 10_000), "b/empty": "", "b/script": "#!/bin/sh\n", "d/sticky/": "",
		"link -> a/first": "", "dangling -> /nonexistent": "", "tolink -> link": "", "name\nwith [odd] bytes\xff": "x",
	})
	inside := func(name string) string { return filepath.Join(from, name) }
	for _, err := range []error{
		os.Link(inside("a/first"), inside("b/twin")),
		os.Link(inside("link"), inside("b/linktwin")),
		unix.Mkfifo(inside("fifo"), 0o640),
		unix.Mknod(inside("socket"), unix.S_IFSOCK|0o600, 0),
		unix.Chmod(inside("b/script"), 0o4751),
		unix.Chmod(inside("b/empty"), 0o2640),
		unix.Chmod(inside("d/sticky"), 0o1777),
		unix.Chmod(inside("d"), 0o2711),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a/first", "d"} {
		if err := unix.Setxattr(inside(name), "user.note", []byte("x\x00y"), 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
			t.Fatal(err)
		}
	}
	when := time.Date(2001, 2, 3, 4, 5, 6, 789, time.UTC)
	for name := range times(t, from) {
		setTimes(t, inside(name), when)
		when = when.Add(time.Second)
	}
	checkCopy(t, from)
}

// TestCopyTreeOfRoot copies what only root can make: other owners, devices, capabilities of files.
func TestCopyTreeOfRoot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may make such files")
	}
	from := planted(t, map[string]string{"setuid": "", "capable": "", "dir/": "", "link -> setuid": "", "readonly/file": ""})
	inside := func(name string) string { return filepath.Join(from, name) }
	// Of version 2 (linux/capability.h): CAP_NET_RAW, permitted and effective.
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00" + strings.Repeat("\x00", 12)
	for _, err := range []error{
		os.Lchown(inside("setuid"), 7, 42), unix.Chmod(inside("setuid"), 0o6755),
		os.Lchown(inside("link"), 8, 43),
		os.Lchown(inside("dir"), 9, 44), unix.Chmod(inside("dir"), 0o3775),
		os.Lchown(inside("capable"), 10, 45), unix.Setxattr(inside("capable"), "security.capability", []byte(capability), 0),
		unix.Chmod(inside("readonly"), 0o555),
		unix.Mknod(inside("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))), unix.Chmod(inside("null"), 0o666),
		unix.Mknod(inside("disk"), unix.S_IFBLK|0o660, int(unix.Mkdev(8, 1))), os.Lchown(inside("disk"), 0, 6),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	checkCopy(t, from)
}

// checkCopy copies a tree and compares all that Walk tells of the two; a socket is left out.
func checkCopy(t *testing.T, from string) {
	t.Helper()
	to := t.TempDir()
	if err := copyTree(from, to); err != nil {
		t.Fatal(err)
	}
	want, got := entries(t, from), entries(t, to)
	delete(want, "/socket")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the copy differs:\n%s", diff)
	}
	lines := listing(t, from)
	delete(lines, "/socket")
	wantTree(t, to, lines)
}

func entries(t *testing.T, dir string) map[string]tree.Entry {
	t.Helper()
	found := map[string]tree.Entry{}
	err := (&tree.Tree{Dir: dir}).Walk(func(e tree.Entry) error {
		found[e.Path] = e
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestCopyTreeErrors(t *testing.T) {
	dir := t.TempDir()
	err := copyTree(dir+"/none", dir)
	wantError(t, err, `copy tree: read tree "`+dir+`/none": lstat `+dir+`/none: no such file or directory`)
	from, to := planted(t, map[string]string{"x/": ""}), planted(t, map[string]string{"x": ""})
	err = copyTree(from, to)
	wantError(t, err, `copy tree: copy "/x": mkdir `+to+`/x: file exists`)
}
