package hooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"vmbuild/rootfs/chroot/tail"
)

// outputTime is how long the output of a hook is read on after its end, when a process it started holds it open.
const outputTime = time.Second

// program is what a hook's program gets beside its arguments.
type program struct {
	env   []string
	files []*os.File // from descriptor firstFile on
}

const firstFile = 3

func runProgram(ctx context.Context, args []string, t Target, p program) error {
	var last tail.Buffer
	output := io.Writer(&last)
	if t.Log != nil {
		output = io.MultiWriter(t.Log, &last)
	}
	cmd, err := start(ctx, args, output, p)
	if errors.Is(err, syscall.ENOEXEC) { // a script without "#!" is the shell's: execvp(3)
		cmd, err = start(ctx, append([]string{"/bin/sh"}, args...), output, p)
	}
	if err == nil {
		err = cmd.Wait()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it started must not change the tree from now on
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

func start(ctx context.Context, args []string, output io.Writer, p program) (*exec.Cmd, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = p.env
	cmd.ExtraFiles = p.files
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = outputTime
	return cmd, cmd.Start()
}

// private are variables of the caller that mean nothing in a tree, or would make an image depend on who built it.
var private = []string{"PATH", "HOME", "TMPDIR", "TEMP", "TMP", "TZ", "LD_", "LC_", "LANG", "SOURCE_DATE_EPOCH"}

func isPrivate(variable string) bool {
	return slices.ContainsFunc(private, func(p string) bool { return strings.HasPrefix(variable, p) })
}

// imageEnvironment is the caller's as far as it may be, and what a hook may want to know of the build. PATH has the
// library, and the places where an ordinary user's has not: chroot(8) is in one of them.
func imageEnvironment(t Target, library string) []string {
	env := append(slices.DeleteFunc(os.Environ(), isPrivate), "VMBUILD_HOOKS="+library,
		"PATH="+library+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:"+os.Getenv("PATH"), "HOME=/root")
	return append(env, commonEnvironment(t)...)
}

// commonEnvironment is what all hooks are told.
func commonEnvironment(t Target) []string {
	env := []string{
		"ROOTDIR=" + t.Root,
		"VMBUILD_ARCH=" + t.Arch,
		"VMBUILD_SUITE=" + t.Suite,
		"VMBUILD_MIRROR=" + t.Mirror,
		"VMBUILD_IMAGE=" + t.Image,
		"DEBIAN_FRONTEND=noninteractive",
		"DEBCONF_NONINTERACTIVE_SEEN=true",
		"LC_ALL=C.UTF-8", "LANGUAGE=C.UTF-8", "LANG=C.UTF-8",
	}
	if !t.Epoch.IsZero() {
		env = append(env, "SOURCE_DATE_EPOCH="+strconv.FormatInt(t.Epoch.Unix(), 10))
	}
	return env
}

// commandPath is the caller's PATH and that which apt gives dpkg (DPkg::Path).
func commandPath() string {
	const dpkg = "/usr/sbin:/usr/bin:/sbin:/bin"
	if path := os.Getenv("PATH"); path != "" {
		return path + ":" + dpkg
	}
	return dpkg
}

// notForCommands are variables of the caller that would make programs look for things where there are none in the tree,
// and those that each hook gets anew.
var notForCommands = []string{"TMPDIR=", "APT_CONFIG=", "MMDEBSTRAP_"}

// commandEnvironment is mmdebstrap's: all of the caller's, and what the hook is told.
func commandEnvironment(stage Stage, t Target) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return slices.ContainsFunc(notForCommands, func(p string) bool { return strings.HasPrefix(v, p) })
	})
	env = append(append(env, "PATH="+commandPath()), commonEnvironment(t)...)
	env = append(env,
		"MMDEBSTRAP_MODE="+t.Mode,
		"MMDEBSTRAP_FORMAT="+t.Format,
		"MMDEBSTRAP_HOOK="+string(stage),
		"MMDEBSTRAP_HOOKSOCK="+strconv.Itoa(firstFile),
		"MMDEBSTRAP_VERBOSITY="+strconv.Itoa(t.Verbosity),
		"MMDEBSTRAP_INCLUDE="+listed(t.Include),
	)
	if stage == Extract && len(t.Essential) > 0 {
		env = append(env, "MMDEBSTRAP_ESSENTIAL="+strings.Join(t.Essential, " "))
	}
	if t.Mode == "unshare" {
		env = append(env, "container=mmdebstrap-unshare")
	}
	for _, v := range []struct{ name, value string }{
		{"ARGV0", t.Program}, {"SUITE", t.Suite}, {"APT_CONFIG", t.AptConfig},
	} {
		if v.value != "" {
			env = append(env, "MMDEBSTRAP_"+v.name+"="+v.value)
		}
	}
	return env
}

// listed is a list that may have commas in its items.
func listed(items []string) string {
	escaped := make([]string, len(items))
	for i, item := range items {
		escaped[i] = strings.NewReplacer("%", "%25", ",", "%2C").Replace(item)
	}
	return strings.Join(escaped, ",")
}
