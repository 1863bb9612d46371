package hooks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/namespace"
	"vmbuild/rootfs/offers"
)

// leaver is a hook that takes nothing back. Its daemons wait for the end of the world.
const leaver = `#!/bin/sh
set -eu
rootdir=$1
. /usr/share/vmdebootstrap/common/customise.lib
cmp -s /usr/share/vmdebootstrap/common/customise.lib "$VMBUILD_HOOKS/customise.lib"
test -d /usr/share/doc
mount_support
disable_daemons
mount -t tmpfs none "$rootdir/mnt"
echo hidden >"$rootdir/mnt/file"
umount -l "$rootdir/proc"
umount "$rootdir/dev/shm"
setsid sleep 98765 >/dev/null 2>&1 &
setsid chroot "$rootdir" sleep 98765 >/dev/null 2>&1 &
while [ "$(pgrep -c -f "^sleep 98765")" -lt 2 ]; do sleep 0.1; done
`

// serveLeavings runs hooks that leave things behind and sends what is there then.
func serveLeavings(ctx context.Context, c namespace.Call) (err error) {
	dir, err := os.MkdirTemp("", "hooks-test-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	tree, work := filepath.Join(dir, "tree"), filepath.Join(dir, "work")
	var binds []chroot.Bind
	for _, name := range []string{"usr/bin", "usr/lib", "usr/lib64"} { // the host's programs are the tree's
		binds = append(binds, chroot.Bind{Source: "/" + name, Target: "/" + name, ReadOnly: true})
		err = errors.Join(err, os.MkdirAll(filepath.Join(tree, name), 0o755), os.Symlink(name, filepath.Join(tree, filepath.Base(name))))
	}
	for _, name := range []string{"usr/sbin", "mnt", "proc", "sys", "dev"} {
		err = errors.Join(err, os.MkdirAll(filepath.Join(tree, name), 0o755))
	}
	err = errors.Join(err, os.Mkdir(work, 0o755), os.WriteFile(filepath.Join(dir, "hook"), []byte(leaver), 0o755),
		os.WriteFile(filepath.Join(dir, "dies"), []byte(leaver+"echo dying >&2\nexit 9\n"), 0o755))
	if err != nil {
		return err
	}
	found := map[string]string{}
	for name, options := range map[string]chroot.Options{"blocked": {BlockDaemons: true}, "not blocked": {}} {
		options.Binds = binds
		for _, hook := range []string{"hook", "dies"} {
			text, err := leavings(ctx, tree, options, Target{Root: tree, Work: work}, filepath.Join(dir, hook))
			if err != nil {
				return err
			}
			found[hook+", "+name] = strings.ReplaceAll(text, dir, "DIR")
		}
	}
	left, err := os.ReadDir(work)
	found["work"] = fmt.Sprint(left)
	return errors.Join(err, c.Send(found))
}

// leavings says what is there after a hook that was not before it, and what is not any more.
func leavings(ctx context.Context, tree string, o chroot.Options, t Target, hook string) (text string, err error) {
	root, err := chroot.Enter(ctx, tree, o)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	var log bytes.Buffer
	t.Log = &log
	before, err := there(tree)
	if err != nil {
		return "", err
	}
	problem := Run(ctx, []Hook{{Stage: Customize, Path: hook}}, Customize, t)
	after, err := there(tree)
	return fmt.Sprintf("%v\n%s%s", problem, &log, cmp.Diff(before, after)), err
}

// there says, sorted, what is mounted, which processes run, and what is in the tree's own directories.
func there(tree string) ([]string, error) {
	var all []string
	mounts, err := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		all = append(all, "mount "+line)
	}
	programs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range programs {
		line, _ := os.ReadFile(p)
		all = append(all, "process "+string(line))
	}
	for _, dir := range []string{"usr/sbin", "mnt"} {
		entries, dirErr := os.ReadDir(filepath.Join(tree, dir))
		err = errors.Join(err, dirErr)
		for _, e := range entries {
			info, infoErr := e.Info()
			err = errors.Join(err, infoErr)
			all = append(all, fmt.Sprintf("file %s %s %v", dir, e, info.ModTime()))
		}
	}
	slices.Sort(all)
	return all, err
}

// TestLeavings: what hooks leave behind is gone when the last has run, and what they took away is there again.
func TestLeavings(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "pgrep", "setsid", "cmp")
	callers := map[string]*syscall.Credential{"caller": nil}
	if os.Getuid() == 0 {
		callers["ordinary user"] = offers.Credential(t, offers.User(t))
	}
	for name, who := range callers {
		cmd := exec.Cmd{
			Path: "/proc/self/exe", Args: []string{outerWord, "leavings"}, Dir: "/", Env: append(os.Environ(), "TMPDIR=/tmp"),
			SysProcAttr: &syscall.SysProcAttr{Credential: who},
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatal(name, err, string(out))
		}
		var got map[string]string
		must(t, json.Unmarshal(out, &got))
		const dies = "run customize hook DIR/dies: exit status 9; its last words:\ndying\ndying\n"
		want := map[string]string{
			"hook, blocked": "<nil>\n", "hook, not blocked": "<nil>\n", "dies, blocked": dies, "dies, not blocked": dies, "work": "[]",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(name, diff)
		}
	}
}
