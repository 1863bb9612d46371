package transfer

import (
	"archive/tar"
	"fmt"
	"io"
	"path"
	"slices"
	"time"

	"vmbuild/rootfs/tree"
)

// Archive is what UnpackTree has found in an archive of a root filesystem.
type Archive struct {
	Tree   *tree.Tree // device nodes, which only real root can make, are in its list and nowhere on disk
	Newest time.Time  // of all that is in the archive
}

// UnpackTree makes a root filesystem in an empty directory of what a tar archive has: owners, modes, times, links and
// attributes. Links count from that directory, wherever they point; a name with ".." is an error.
func UnpackTree(r io.Reader, dir string) (*Archive, error) {
	root, err := openRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("unpack archive: %w", err)
	}
	defer root.Close()
	a := &Archive{Tree: &tree.Tree{Dir: dir}}
	if err := unpack(r, &place{root: root, base: ".", exact: true, archive: a}); err != nil {
		return nil, fmt.Errorf("unpack archive: %w", err)
	}
	return a, nil
}

// note keeps the time of a member.
func (a *Archive) note(h *tar.Header) {
	if h.ModTime.After(a.Newest) {
		a.Newest = h.ModTime
	}
}

// addDevice lists a device in place of what had its path.
func (a *Archive) addDevice(r *rooted, name string, h *tar.Header) error {
	parent, err := r.resolve(path.Dir(name))
	if err != nil {
		return err
	}
	e := tree.Entry{
		Path: path.Join(parent, path.Base(name)), Type: tree.CharDevice, Mode: uint32(h.Mode) & 0o7777,
		UID: h.Uid, GID: h.Gid, Major: uint32(h.Devmajor), Minor: uint32(h.Devminor),
	}
	if h.Typeflag == tar.TypeBlock {
		e.Type = tree.BlockDevice
	}
	earlier := func(other tree.Entry) bool { return other.Path == e.Path }
	a.Tree.Devices = append(slices.DeleteFunc(a.Tree.Devices, earlier), e)
	return nil
}
