package filesystem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/tree"
)

const (
	extBlock  = 4096      // bytes; smaller blocks give holes that boot loaders cannot read
	sourceDir = "/source" // where the toolbox sees the directory
	extDisk   = "/proc/self/fd/3"
)

// ext gives the function that makes an ext2 or ext3 by mke2fs(8). Devices that the build may not make in the tree
// are added by debugfs(8).
func ext(kind string) func(context.Context, Job) error {
	return func(ctx context.Context, j Job) (err error) {
		scratch, err := os.MkdirTemp(j.Temp, "mountpoints-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
		binds, err := sourceBinds(j, scratch)
		if err != nil {
			return err
		}
		tools, leave, err := j.Toolbox.Enter(ctx, binds...)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, leave.Close()) }()
		if err := tools.Run(ctx, mke2fs(kind, j)); err != nil {
			return err
		}
		devices, err := deviceScript(j)
		if err != nil {
			return err
		}
		return debugfs(ctx, tools, j, devices)
	}
}

// sourceBinds shows the toolbox the directory of the tree, and an empty one in place of each mount point below it.
func sourceBinds(j Job, scratch string) ([]chroot.Bind, error) {
	source := filepath.Join(j.Tree.Dir, j.Dir)
	binds := []chroot.Bind{{Source: source, Target: sourceDir, ReadOnly: true}}
	for _, mount := range outermost(j.Exclude) {
		below, ok := within(mount, j.Dir)
		if !ok {
			continue
		}
		empty, err := emptyLike(filepath.Join(source, below), scratch)
		if err != nil {
			return nil, fmt.Errorf("leave out mount point %s: %w", mount, err)
		}
		binds = append(binds, chroot.Bind{Source: empty, Target: path.Join(sourceDir, below), ReadOnly: true})
	}
	return binds, nil
}

// outermost drops the paths below others of the list.
func outermost(paths []string) []string {
	var kept []string
	for _, p := range slices.Sorted(slices.Values(paths)) {
		if !slices.ContainsFunc(kept, func(k string) bool { _, ok := within(p, k); return ok }) {
			kept = append(kept, p)
		}
	}
	return kept
}

// within gives what of a path of the tree is below a directory of it. A directory is within itself.
func within(name, dir string) (string, bool) {
	name, dir = path.Clean(name), path.Clean(dir)
	if dir == "/" || name == dir || strings.HasPrefix(name, dir+"/") {
		return strings.Trim(strings.TrimPrefix(name, dir), "/"), true
	}
	return "", false
}

// leftOut says whether a path of the tree is a mount point of another filesystem, or below one.
func (j Job) leftOut(name string) bool {
	return slices.ContainsFunc(j.Exclude, func(mount string) bool { _, in := within(name, mount); return in })
}

// emptyLike makes an empty directory with the mode and time of another. Mount points belong to root, as it does.
func emptyLike(dir, parent string) (string, error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", errors.New("not a directory")
	}
	empty, err := os.MkdirTemp(parent, "")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(empty, info.Mode()); err != nil {
		return "", err
	}
	return empty, os.Chtimes(empty, info.ModTime(), info.ModTime())
}

// mke2fs gives the command that makes and fills the filesystem. That the range is zero saves writing inode tables and
// journal. The hash seed need not be secret, only of its own for each filesystem.
func mke2fs(kind string, j Job) chroot.Command {
	args := []string{"mke2fs", "-q", "-F", "-t", kind, "-b", fmt.Sprint(extBlock), "-U", j.UUID,
		"-E", fmt.Sprintf("offset=%d,hash_seed=%s,root_owner=0:0,assume_storage_prezeroed=1", j.Offset, j.UUID)}
	if j.Label != "" {
		args = append(args, "-L", j.Label)
	}
	if len(j.Disable) > 0 {
		args = append(args, "-O", "^"+strings.Join(j.Disable, ",^"))
	}
	args = append(args, "-d", sourceDir, extDisk, fmt.Sprint(j.Size/extBlock))
	return chroot.Command{Args: args, Env: j.extClock(), Files: []*os.File{j.Disk}}
}

// extClock makes e2fsprogs take the epoch for the present time; since 1.47.1 no file has a later one then.
func (j Job) extClock() []string {
	if j.Epoch.IsZero() {
		return nil
	}
	now := fmt.Sprint(j.Epoch.Unix())
	return []string{"SOURCE_DATE_EPOCH=" + now, "E2FSPROGS_FAKE_TIME=" + now}
}

// debugfs runs commands of debugfs(8), which says nothing by its exit status: what it prints on standard error below its
// own version is a failure.
func debugfs(ctx context.Context, tools chroot.Runner, j Job, script string) error {
	if script == "" {
		return nil
	}
	var said bytes.Buffer
	err := tools.Run(ctx, chroot.Command{
		Args:   []string{"debugfs", "-w", "-f", "-", fmt.Sprintf("%s?offset=%d", extDisk, j.Offset)},
		Env:    j.extClock(),
		Stdin:  strings.NewReader(script),
		Stdout: io.Discard, // repeats the script
		Stderr: &said,
		Files:  []*os.File{j.Disk},
	})
	if err != nil {
		return err
	}
	for line := range strings.Lines(said.String()) {
		if !strings.HasPrefix(line, "debugfs 1.") {
			return fmt.Errorf("add to it by debugfs: %s", strings.TrimSpace(line))
		}
	}
	return nil
}

// deviceScript gives the commands of debugfs(8) that make the tree's devices below the directory, with what else is in
// their list. They win over what mke2fs has made of the same path.
func deviceScript(j Job) (string, error) {
	var script strings.Builder
	for _, d := range j.Tree.Devices {
		below, ok := within(d.Path, j.Dir)
		if !ok || j.leftOut(d.Path) {
			continue
		}
		if strings.ContainsAny(below+d.Target, "\"\n") {
			return "", fmt.Errorf("device name %q has a quote or line break", d.Path)
		}
		command, typeBits, err := makeNode(d)
		if err != nil {
			return "", err
		}
		info, err := os.Lstat(filepath.Join(j.Tree.Dir, d.Path))
		dir, name := path.Split("/" + below)
		fmt.Fprintf(&script, "cd \"%s\"\n", dir)
		switch {
		case err != nil:
			fmt.Fprintln(&script, command)
		case !info.IsDir():
			fmt.Fprintf(&script, "rm \"%s\"\n%s\n", name, command)
		case d.Type != tree.Directory:
			return "", fmt.Errorf("%s is a directory on disk, but listed as a %s", d.Path, d.Type)
		}
		for _, f := range j.inodeFields(d, typeBits) {
			fmt.Fprintf(&script, "set_inode_field \"%s\" %s\n", name, f)
		}
	}
	return script.String(), nil
}

// makeNode gives debugfs's command that makes an entry in the current directory, and the type bits of inode(7).
func makeNode(d tree.Entry) (command string, typeBits uint32, err error) {
	name := path.Base(d.Path)
	switch d.Type {
	case tree.CharDevice:
		return fmt.Sprintf("mknod \"%s\" c %d %d", name, d.Major, d.Minor), 0o020000, nil
	case tree.BlockDevice:
		return fmt.Sprintf("mknod \"%s\" b %d %d", name, d.Major, d.Minor), 0o060000, nil
	case tree.FIFO:
		return fmt.Sprintf("mknod \"%s\" p", name), 0o010000, nil
	case tree.Directory:
		return fmt.Sprintf("mkdir \"%s\"", name), 0o040000, nil
	case tree.Symlink:
		return fmt.Sprintf("symlink \"%s\" \"%s\"", name, d.Target), 0o120000, nil
	}
	return "", 0, fmt.Errorf("%s: a %s cannot be listed among the devices", d.Path, d.Type)
}

// inodeFields gives what debugfs would set by itself, and by the clock. An entry without a time has the epoch's.
func (j Job) inodeFields(d tree.Entry, typeBits uint32) []string {
	fields := []string{
		fmt.Sprintf("mode 0%o", typeBits|d.Mode&07777),
		fmt.Sprintf("uid %d", d.UID),
		fmt.Sprintf("gid %d", d.GID),
	}
	modified := j.Epoch
	if !d.ModTime.IsZero() {
		modified = j.clamp(d.ModTime)
	}
	if modified.IsZero() {
		return fields
	}
	for _, stamp := range []string{"atime", "ctime", "mtime", "crtime"} {
		fields = append(fields, fmt.Sprintf("%s @%d", stamp, modified.Unix()))
	}
	return fields
}
