package filesystem

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/tree"
)

// makeBtrfs makes a btrfs by mkfs.btrfs --rootdir. Directories with devices are shown to it as copies that have empty
// files in their place; the inodes of these become devices afterwards, and all get their times. mkfs.btrfs takes the order
// of names from the directories and some identifiers from the clock, so the bytes are not the same each time.
func makeBtrfs(ctx context.Context, j Job) (err error) {
	entries, err := j.entries()
	if err != nil {
		return err
	}
	s, err := newScratch(j)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	binds, err := sourceBinds(j, s.dir)
	if err != nil {
		return err
	}
	stands, err := standIns(j, s.dir, entries)
	if err != nil {
		return err
	}
	err = s.enter(ctx, j, append(binds, stands...), func(tools chroot.Runner) error { return tools.Run(ctx, mkfsBtrfs(j, s)) })
	if err != nil {
		return err
	}
	volume, err := openBtrfs(s.image)
	if err != nil {
		return err
	}
	if err := volume.finish(j, entries); err != nil {
		return err
	}
	return s.copyTo(j)
}

func mkfsBtrfs(j Job, s *scratch) chroot.Command {
	args := []string{"mkfs.btrfs", "-q", "-K", "-U", j.UUID}
	if j.Label != "" {
		args = append(args, "-L", j.Label)
	}
	if len(j.Disable) > 0 {
		args = append(args, "-O", "^"+strings.Join(j.Disable, ",^"))
	}
	return chroot.Command{Args: append(args, "--rootdir", sourceDir, s.in(scratchImage))}
}

// standIns makes copies, in a directory of their own, of the directories that hold devices, and shows them in their place.
func standIns(j Job, scratch string, entries []tree.Entry) ([]chroot.Bind, error) {
	var dirs []string
	for _, d := range j.Tree.Devices {
		if below, ok := within(path.Dir(d.Path), j.Dir); ok && !j.leftOut(d.Path) {
			dirs = append(dirs, "/"+below)
		}
	}
	var binds []chroot.Bind
	for i, dir := range outermost(dirs) {
		if dir == "/" {
			return nil, errors.New("devices in / itself are not supported")
		}
		copied := filepath.Join(scratch, fmt.Sprintf("devices-%d", i))
		if err := copyDir(j, entries, dir, copied); err != nil {
			return nil, err
		}
		binds = append(binds, chroot.Bind{Source: copied, Target: sourceDir + dir, ReadOnly: true})
	}
	return binds, nil
}

// copyDir copies a directory of the filesystem, with empty files for devices.
func copyDir(j Job, entries []tree.Entry, dir, to string) (err error) {
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	c := tree.Copier{From: j.onHost(tree.Entry{Path: dir}), To: to}
	for _, e := range entries {
		below, ok := within(e.Path, dir)
		if !ok {
			continue
		}
		e.Path = "/" + below
		if e.Type == tree.CharDevice || e.Type == tree.BlockDevice {
			if err := os.WriteFile(to+e.Path, nil, 0o600); err != nil {
				return err
			}
			continue
		}
		if first, ok := within(e.HardLink, dir); e.HardLink != "" && ok {
			e.HardLink = "/" + first
		} else {
			e.HardLink = ""
		}
		if err := c.Add(e); err != nil {
			return err
		}
	}
	return c.Close()
}

// finish gives the inodes what mkfs.btrfs does not: devices their numbers, all their times.
func (v *btrfsVolume) finish(j Job, entries []tree.Entry) error {
	inodes := v.paths()
	wanted := map[uint64]tree.Entry{}
	for _, e := range entries {
		number, ok := inodes[e.Path]
		switch {
		case e.Type == tree.Socket:
		case !ok:
			return fmt.Errorf("%s did not get into the filesystem", e.Path)
		case e.HardLink == "":
			wanted[number] = e
		}
	}
	for _, leaf := range v.leaves {
		for _, item := range leaf.items() {
			switch item.kind {
			case btrfsInode:
				e, ok := wanted[item.object]
				if !ok {
					continue
				}
				if len(item.data) < btrfsInodeSize {
					return fmt.Errorf("inode %d of %s is cut off", item.object, e.Path)
				}
				finishBtrfsInode(j, item.data, e)
			case btrfsDirItem, btrfsDirIndex:
				for name := range item.names() {
					if kind, ok := btrfsDevices[wanted[name.inode].Type]; ok {
						name.entry[btrfsNameType] = kind.name
					}
				}
			}
		}
		if err := v.write(leaf); err != nil {
			return err
		}
	}
	return nil
}

// btrfsDevices are the types of devices: in inodes as inode(7) has them, and in directories.
var btrfsDevices = map[tree.Type]struct {
	mode uint32
	name byte
}{
	tree.CharDevice:  {0o020000, 3},
	tree.BlockDevice: {0o060000, 4},
}

// finishBtrfsInode changes these fields of an inode:
//
//	offset  bytes  field
//	44      4      owner
//	48      4      group
//	52      4      type and mode
//	56      8      device, as the kernel has it in memory: major << 20 | minor
//	112     12     time of last access: seconds of 8 bytes, nanoseconds of 4
//	124     12     of last change
//	136     12     of last modification
//	148     12     of creation
func finishBtrfsInode(j Job, inode []byte, e tree.Entry) {
	if kind, ok := btrfsDevices[e.Type]; ok {
		le.PutUint32(inode[44:], uint32(e.UID))
		le.PutUint32(inode[48:], uint32(e.GID))
		le.PutUint32(inode[52:], kind.mode|e.Mode&0o7777)
		le.PutUint64(inode[56:], uint64(e.Major)<<20|uint64(e.Minor))
	}
	t := j.clamp(e.ModTime)
	if t.IsZero() {
		return
	}
	for _, at := range []int{112, 124, 136, 148} {
		le.PutUint64(inode[at:], uint64(t.Unix()))
		le.PutUint32(inode[at+8:], uint32(t.Nanosecond()))
	}
}
