// Package hooks runs the user's own programs on the tree of a build. They run as the build's root inside the build's
// namespaces: what a hook mounts or starts ends with the build, also when the hook dies half-way. Package hooks neither
// decides when a stage comes (package image does) nor enters the tree: a hook gets its path, and the packages of the
// tree run in it by chroot(8).
package hooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"vmbuild/rootfs/chroot/tail"
)

// Stage is the time at which a hook runs: the word in the code, in the progress line and in the manual.
type Stage string

// Customize comes when all packages are configured, the accounts are made and apt works; boot loader, initramfs and
// clean-up follow.
const Customize Stage = "customize"

// Hook is a program to be run at a stage.
type Hook struct {
	Stage Stage  `json:"stage"`
	Path  string `json:"path"` // on the host; relative to the working directory
}

// Target is what hooks work on, and what they are told of it.
type Target struct {
	Root   string // directory of the tree: the first argument
	Image  string // path of the image as the user gave it: the second argument
	Arch   string
	Suite  string
	Mirror string
	Epoch  time.Time
	Log    io.Writer // what hooks print
}

// Find returns the path of a hook's program or an error that says what to do: it must be there and executable before
// anything is built.
func Find(h Hook) (string, error) {
	path, err := filepath.Abs(h.Path)
	if err != nil {
		return "", fmt.Errorf("find %s hook %q: %w", h.Stage, h.Path, err)
	}
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return "", fmt.Errorf("find %s hook: %w", h.Stage, err)
	case fi.IsDir():
		return "", fmt.Errorf("find %s hook: %s is a directory, not a program", h.Stage, h.Path)
	case fi.Mode()&0o111 == 0:
		return "", fmt.Errorf("find %s hook: %s is not executable (chmod +x %s)", h.Stage, h.Path, h.Path)
	}
	return path, nil
}

// Run runs the hooks of one stage in their order and stops at the first that fails.
func Run(ctx context.Context, list []Hook, stage Stage, t Target) error {
	for _, h := range list {
		if h.Stage != stage {
			continue
		}
		path, err := Find(h)
		if err != nil {
			return err
		}
		if err := run(ctx, path, t); err != nil {
			return fmt.Errorf("run %s hook %s: %w", stage, h.Path, err)
		}
	}
	return nil
}

// outputTime is how long the output of a hook is read on after its end, when a process it started holds it open.
const outputTime = time.Second

func run(ctx context.Context, path string, t Target) error {
	var last tail.Buffer
	output := io.Writer(&last)
	if t.Log != nil {
		output = io.MultiWriter(t.Log, &last)
	}
	cmd := exec.CommandContext(ctx, path, t.Root, t.Image)
	cmd.Env = environment(t)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = outputTime
	err := cmd.Run()
	if cmd.Process != nil { // what it started must not change the tree while that is being written
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case last.String() != "":
		return fmt.Errorf("%w; its last words:\n%s", err, &last)
	}
	return err
}

// private are variables of the caller that mean nothing in a tree, or would make an image depend on who built it.
var private = []string{"PATH", "HOME", "TMPDIR", "TEMP", "TMP", "TZ", "LD_", "LC_", "LANG", "SOURCE_DATE_EPOCH"}

func isPrivate(variable string) bool {
	return slices.ContainsFunc(private, func(p string) bool { return strings.HasPrefix(variable, p) })
}

// environment is the caller's as far as it may be, and what a hook may want to know of the build. PATH has the places
// where an ordinary user's has not: chroot(8) is in one of them.
func environment(t Target) []string {
	return append(slices.DeleteFunc(os.Environ(), isPrivate),
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:"+os.Getenv("PATH"),
		"HOME=/root",
		"ROOTDIR="+t.Root,
		"VMBUILD_ARCH="+t.Arch,
		"VMBUILD_SUITE="+t.Suite,
		"VMBUILD_MIRROR="+t.Mirror,
		"VMBUILD_IMAGE="+t.Image,
		"SOURCE_DATE_EPOCH="+strconv.FormatInt(t.Epoch.Unix(), 10),
		"DEBIAN_FRONTEND=noninteractive",
		"DEBCONF_NONINTERACTIVE_SEEN=true",
		"LC_ALL=C.UTF-8", "LANGUAGE=C.UTF-8", "LANG=C.UTF-8",
	)
}
