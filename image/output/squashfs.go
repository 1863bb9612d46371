package output

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/tree"
)

// Where the toolbox sees the tree, and the first of a Command's Files.
const (
	squashfsSource = "/source"
	squashfsOut    = "/proc/self/fd/3"
)

// writeSquashfs makes a filesystem like the one that mmdebstrap has tar2sqfs make: in blocks of 1 MiB.
func writeSquashfs(ctx context.Context, j Job) error { return squash(ctx, j, 1<<20) }

// squash has mksquashfs(1) make a filesystem compressed by xz in blocks of that many bytes, fit for NFS. It keeps
// attributes in user, trusted and security; squashfs knows no others.
func squash(ctx context.Context, j Job, block int) (err error) {
	args, err := mksquashfs(j, block)
	if err != nil {
		return err
	}
	tools, leave, err := j.Toolbox.Enter(ctx, chroot.Bind{Source: j.Tree.Dir, Target: squashfsSource, ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, leave.Close()) }()
	return tools.Run(ctx, chroot.Command{
		Args: args, Env: []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", j.Epoch.Unix())}, Files: []*os.File{j.Out},
	})
}

// mksquashfs gives the command. The tree's devices are pseudo files to it, which must not be on disk too; a directory
// that is there is modified.
func mksquashfs(j Job, block int) ([]string, error) {
	args := []string{
		"mksquashfs", squashfsSource, squashfsOut, "-noappend", "-quiet", "-no-progress", "-comp", "xz", "-b", strconv.Itoa(block),
	}
	exclude := []string{"-e", lostFound} // takes what is left of the line
	for _, d := range j.Tree.Devices {
		info, err := os.Lstat(j.Tree.Dir + d.Path)
		there := err == nil
		pseudo, err := pseudoFile(d, j.Epoch.Unix(), there && info.IsDir())
		if err != nil {
			return nil, err
		}
		args = append(args, "-p", pseudo)
		if there && !info.IsDir() {
			exclude = append(exclude, d.Path[1:])
		}
	}
	return append(args, exclude...), nil
}

// pseudoFile gives mksquashfs's definition of an entry. Capital letters are for definitions with a time.
func pseudoFile(d tree.Entry, epoch int64, isDir bool) (string, error) {
	name := d.Path[1:]
	if strings.ContainsAny(name, " \t\n\\\"") {
		return "", fmt.Errorf("device name %q has a blank, quote or backslash", d.Path)
	}
	owner := fmt.Sprintf("%o %d %d", d.Mode, d.UID, d.GID)
	switch {
	case isDir && d.Type == tree.Directory:
		return fmt.Sprintf("%s M %d %s", name, epoch, owner), nil
	case isDir:
		return "", fmt.Errorf("%s is a directory on disk, but listed as a %s", d.Path, d.Type)
	case d.Type == tree.Directory:
		return fmt.Sprintf("%s D %d %s", name, epoch, owner), nil
	case d.Type == tree.CharDevice:
		return fmt.Sprintf("%s C %d %s %d %d", name, epoch, owner, d.Major, d.Minor), nil
	case d.Type == tree.BlockDevice:
		return fmt.Sprintf("%s B %d %s %d %d", name, epoch, owner, d.Major, d.Minor), nil
	case d.Type == tree.Symlink:
		return fmt.Sprintf("%s S %d %s %s", name, epoch, owner, d.Target), nil
	}
	return "", fmt.Errorf("%s: a %s cannot be listed among the devices", d.Path, d.Type)
}
