package chroot

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Guard knows what was mounted below a tree, and which processes there were, before programs that the build does not know
// had their turn outside of the tree's root, as the user's hooks have.
type Guard struct {
	mounts    newMounts
	kept      []keptMount
	processes map[process]bool
}

// keptMount is a mount directly below the tree, with what is mounted below it, and a copy of all that, mounted nowhere.
type keptMount struct {
	mounts []mountPoint // the first is the mount itself
	copy   *os.File
}

// Watch begins to watch over the tree at dir. It is for a build's own namespaces: Restore ends processes of any kind.
func Watch(dir string) (*Guard, error) {
	g := &Guard{}
	if err := g.look(dir); err != nil {
		g.forget()
		return nil, fmt.Errorf("watch over tree %q: %w", dir, err)
	}
	return g, nil
}

func (g *Guard) look(dir string) error {
	var err error
	if g.mounts, err = watchMounts(dir); err != nil {
		return err
	}
	all, err := mountTable()
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.point == g.mounts.dir || !below(g.mounts.dir, m.point) {
			continue
		}
		if err := g.keep(m); err != nil {
			return fmt.Errorf("copy mount %q: %w", m.point, err)
		}
	}
	g.processes, err = runningProcesses()
	return err
}

// keep makes a copy of a mount, unless there is one of what it is mounted on.
func (g *Guard) keep(m mountPoint) error {
	for i, k := range g.kept {
		if below(k.mounts[0].point, m.point) {
			g.kept[i].mounts = append(k.mounts, m)
			return nil
		}
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, m.point, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return err
	}
	g.kept = append(g.kept, keptMount{[]mountPoint{m}, os.NewFile(uintptr(fd), m.point)})
	return nil
}

// Restore ends the processes that have come since Watch and are not this process's own children or descended from them,
// takes away the mounts that have come since, and puts those back that have gone.
func (g *Guard) Restore() error {
	defer g.forget()
	err := errors.Join(terminate(g.strangers), g.mounts.unmount(), g.putBack())
	if err != nil {
		return fmt.Errorf("restore tree %q: %w", g.mounts.dir, err)
	}
	return nil
}

func (g *Guard) putBack() error {
	there, err := mountTable()
	if err != nil {
		return err
	}
	for _, k := range g.kept {
		if !slices.ContainsFunc(k.mounts, func(m mountPoint) bool { return !slices.Contains(there, m) }) {
			continue
		}
		point := k.mounts[0].point
		_ = unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) // what is left of it
		moveErr := unix.MoveMount(int(k.copy.Fd()), "", unix.AT_FDCWD, point, unix.MOVE_MOUNT_F_EMPTY_PATH)
		if moveErr != nil {
			err = errors.Join(err, fmt.Errorf("mount %q again: %w", point, moveErr))
		}
	}
	return err
}

func (g *Guard) forget() {
	for _, k := range g.kept {
		k.copy.Close()
	}
	g.kept = nil
}

// strangers returns the processes that Restore ends.
func (g *Guard) strangers() ([]*os.File, error) {
	family, err := ownFamily()
	if err != nil {
		return nil, err
	}
	return findProcesses(func(dir *os.File) bool {
		p, err := statProcess(dir)
		return err == nil && !p.ended && !g.processes[p.process] && !family[p.pid] && reachable(dir)
	})
}
