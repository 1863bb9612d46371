package hooks

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"vmbuild/hooks/transfer"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/namespace"
	"vmbuild/rootfs/offers"
	"vmbuild/rootfs/tree"
)

// outerWord in argv[0] makes this test binary run hooks as a build of package image or bootstrap does: in namespaces,
// with a listener outside. argv[1] is the handler that does.
const outerWord = "hooks-test-outer"

func runOuter() error {
	listener, err := transfer.Listen()
	if err != nil {
		return err
	}
	defer listener.Close()
	return namespace.Run(context.Background(), namespace.Job{
		Name: os.Args[1], Files: []*os.File{listener.Conn},
		Message: func(m json.RawMessage) { fmt.Println(string(m)) },
	})
}

// serveOwners runs hooks on a tree and sends a listing of it.
func serveOwners(ctx context.Context, c namespace.Call) (err error) {
	dir, err := os.MkdirTemp("", "hooks-test-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, name := range []string{"usr", "proc", "sys", "dev"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"bin", "lib", "lib64"} { // the host's programs are the tree's
		if err := os.Symlink("usr/"+name, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	target := Target{Root: dir, Outside: c.Files[0]}
	// Nobody but the host's root can make nodes on disk; the usual ones are in each result anyway.
	if err := Run(ctx, []Hook{{Stage: Setup, Command: "tar-in dev.tar /"}}, Setup, target); err != nil {
		return err
	}
	refused := Run(ctx, []Hook{{Stage: Setup, Command: "tar-in disk.tar /"}}, Setup, target)
	root, err := chroot.Enter(ctx, dir, chroot.Options{Binds: []chroot.Bind{{Source: "/usr", Target: "/usr", ReadOnly: true}}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	var list []Hook
	for _, command := range []string{
		`mkdir "$1/etc" && cat mine > "$1/etc/seen"`, "copy-in mine group /etc/passwd etc", "upload mine /etc/new",
		"tar-in dev.tar /", "copy-out /etc out", "download etc/passwd out/passwd",
	} {
		list = append(list, Hook{Stage: Customize, Command: command})
	}
	list = append(list, Hook{
		Stage: Customize, Chrooted: true, Command: `echo $MMDEBSTRAP_HOOK $PWD $(ls -d /etc) > /etc/chrooted`,
	})
	target.Runner = root
	if err := Run(ctx, list, Customize, target); err != nil {
		return err
	}
	listing, err := tree.Listing(&tree.Tree{Dir: filepath.Join(dir, "etc")})
	listing["refused"] = fmt.Sprint(refused)
	return errors.Join(err, c.Send(listing))
}

// TestOwners: a user's hooks see the host's files with his groups' rights and their true owners, and what they bring out
// is his.
func TestOwners(t *testing.T) {
	offers.Need(t, "build")
	if os.Getuid() != 0 {
		t.Skip("only root can be another user")
	}
	const group = 50 // staff
	who := offers.Credential(t, offers.User(t))
	who.Groups = []uint32{group}
	dir, err := os.MkdirTemp("/tmp", "hooks-test-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chown(dir, int(who.Uid), int(who.Gid)))
	write(t, filepath.Join(dir, "mine"), "mine", 0o640)
	must(t, os.Chown(filepath.Join(dir, "mine"), int(who.Uid), int(who.Gid)))
	write(t, filepath.Join(dir, "group"), "group", 0o640)
	must(t, os.Chown(filepath.Join(dir, "group"), 0, group))
	null := tar.Header{Typeflag: tar.TypeChar, Name: "./dev/null", Mode: 0o666, Devmajor: 1, Devminor: 3}
	disk := tar.Header{Typeflag: tar.TypeBlock, Name: "./dev/vda", Mode: 0o600, Devmajor: 254}
	writeNode(t, filepath.Join(dir, "dev.tar"), null)
	writeNode(t, filepath.Join(dir, "disk.tar"), disk)

	cmd := exec.Cmd{
		Path: "/proc/self/exe", Args: []string{outerWord, "owners"}, Dir: dir, Env: append(os.Environ(), "TMPDIR=/tmp", "HOME=/"),
		SysProcAttr: &syscall.SysProcAttr{Credential: who},
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatal(err, string(out))
	}
	var inside map[string]string
	must(t, json.Unmarshal(out, &inside))
	passwd, err := os.ReadFile("/etc/passwd")
	must(t, err)
	want := map[string]string{
		"/":       "dir 0755 0:0",
		"/seen":   "file 0644 0:0 " + sum("mine"),
		"/mine":   fmt.Sprintf("file 0640 %d:%d %s", who.Uid, who.Gid, sum("mine")),
		"/new":    "file 0644 0:0 " + sum("mine"),
		"/group":  fmt.Sprintf("file 0640 0:%d %s", group, sum("group")),
		"/passwd": "file 0644 0:0 " + sum(string(passwd)),
		"refused": `run setup hook "tar-in disk.tar /": tar-in disk.tar to /: unpack ./dev/vda: ` +
			"device nodes cannot be made here: leave them out by --skip=tar-in/mknod (or copy-in/mknod, sync-in/mknod)",
		"/chrooted": "file 0644 0:0 " + sum("customize / /etc\n"),
	}
	if diff := cmp.Diff(want, inside); diff != "" {
		t.Error("inside:", diff)
	}
	for name := range want {
		if name == "/chrooted" || name == "refused" { // made later, and no file
			continue
		}
		var st unix.Stat_t
		err := unix.Lstat(filepath.Join(dir, "out/etc", name), &st)
		if err != nil || st.Uid != who.Uid || st.Gid != who.Gid {
			t.Errorf("out%s: owner %d:%d, %v", name, st.Uid, st.Gid, err)
		}
	}
}

func writeNode(t *testing.T, path string, h tar.Header) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	archive := tar.NewWriter(f)
	must(t, errors.Join(archive.WriteHeader(&h), archive.Close(), f.Close()))
}

// sum is what tree.Listing says of a content.
func sum(content string) string {
	digest := sha256.Sum256([]byte(content))
	return fmt.Sprintf("%.4x", digest[:])
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
