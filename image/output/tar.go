package output

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"vmbuild/rootfs/tree"
)

// writeTar writes the stream that mmdebstrap has GNU tar write for the same tree, byte for byte; but a sparse file's
// holes are written as the zeroes they are, as GNU tar names those files after its own process id.
//
//	tar --sort=name --mtime=@EPOCH --clamp-mtime --numeric-owner --format=pax --xattrs --exclude=./lost+found
//	    --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime
func writeTar(ctx context.Context, j Job) error {
	out, err := openStream(ctx, j.Out)
	if err != nil {
		return err
	}
	err = j.Compression.compress(ctx, j.Toolbox, out, func(w io.Writer) error { return j.tar(ctx, w) })
	return errors.Join(err, closeStream(out, j.Out))
}

const (
	tarBlock  = 512
	tarRecord = 20 * tarBlock // what the archive is filled up to
)

// tar writes the tree.
func (j Job) tar(ctx context.Context, w io.Writer) error {
	out, err := newAssembler(ctx, j.Tree.Dir, w)
	if err != nil {
		return err
	}
	archive := tarStream{out: out, epoch: j.Epoch}
	err = j.addAll(ctx, &archive)
	if err == nil {
		err = archive.end()
	}
	return out.close(err)
}

// addAll writes the entries. Devices come first, with /dev itself, as mmdebstrap writes them: what Walk visits before is held back.
func (j Job) addAll(ctx context.Context, archive *tarStream) error {
	listed := j.listedDevices()
	var held []tree.Entry
	release := func() error {
		archive.size = 0 // to mmdebstrap the archive begins here
		for _, e := range held {
			if err := archive.add(e); err != nil {
				return err
			}
		}
		held = nil
		return nil
	}
	before := true
	err := j.walk(ctx, func(e tree.Entry) error {
		if top, _, _ := strings.Cut(e.Path[1:], "/"); before && top > "dev" {
			before = false
			if err := release(); err != nil {
				return err
			}
		}
		switch {
		case listed[e.Path]:
			return archive.addDevice(e)
		case e.Path == "/"+lostFound:
			return nil
		case before:
			held = append(held, e)
			return nil
		}
		return archive.add(e)
	})
	if err != nil || !before {
		return err
	}
	return release()
}

// listedDevices are the paths of the tree's list below /dev, and /dev if there are any.
func (j Job) listedDevices() map[string]bool {
	listed := map[string]bool{}
	for _, d := range j.Tree.Devices {
		if strings.HasPrefix(d.Path, "/dev/") {
			listed["/dev"], listed[d.Path] = true, true
		}
	}
	return listed
}

// tarStream writes entries in the pax format of POSIX.1-2001, with GNU tar's choices where that leaves any.
type tarStream struct {
	out   *assembler
	epoch time.Time
	size  int64 // bytes written
}

var tarTypes = map[tree.Type]byte{
	tree.File: '0', tree.Symlink: '2', tree.CharDevice: '3', tree.BlockDevice: '4', tree.Directory: '5', tree.FIFO: '6',
}

// add writes an entry. Sockets are left out: they mean nothing without the process that made them.
func (s *tarStream) add(e tree.Entry) error {
	if e.Type == tree.Socket {
		return nil
	}
	h := newTarHeader(e)
	if records := s.records(e, h); records != "" {
		if err := s.extend(e, records); err != nil {
			return err
		}
	}
	if err := s.write(h.block()); err != nil {
		return err
	}
	if h.kind != '0' {
		return nil
	}
	return s.addContent(e)
}

// addDevice writes an entry of the list of devices, which mmdebstrap writes without GNU tar.
func (s *tarStream) addDevice(e tree.Entry) error {
	e.ModTime = s.epoch
	h := newTarHeader(e)
	h.noDevice = e.Type != tree.CharDevice && e.Type != tree.BlockDevice
	if h.records() != "" {
		return s.add(e)
	}
	return s.write(h.block())
}

// addContent writes the bytes of a file.
func (s *tarStream) addContent(e tree.Entry) error {
	if err := s.out.addFile(e.Path, e.Size); err != nil {
		return err
	}
	s.size += e.Size
	return s.pad(tarBlock)
}

// extend writes the header of pax records that belong to the entry after it.
func (s *tarStream) extend(e tree.Entry, records string) error {
	dir, base := path.Split(tarName(e.Path))
	h := tarHeader{
		name: cmp.Or(dir, "./") + "PaxHeaders/" + base, mode: 0o644, size: int64(len(records)),
		modified: s.epoch, kind: 'x', noDevice: true,
	}
	if err := s.write(h.block()); err != nil {
		return err
	}
	if err := s.write([]byte(records)); err != nil {
		return err
	}
	return s.pad(tarBlock)
}

// records gives what the header of an entry has no room for, in GNU tar's order.
func (s *tarStream) records(e tree.Entry, h tarHeader) string {
	records := h.records()
	if h.kind == '1' {
		return records
	}
	for _, name := range slices.Sorted(maps.Keys(e.Xattrs)) {
		key := strings.NewReplacer("%", "%25", "=", "%3D").Replace(name)
		records += paxRecord("SCHILY.xattr."+key, e.Xattrs[name])
	}
	return records
}

// end writes two blocks of zeroes and fills the last record.
func (s *tarStream) end() error {
	if err := s.write(make([]byte, 2*tarBlock)); err != nil {
		return err
	}
	return s.pad(tarRecord)
}

// pad fills up to a multiple of unit.
func (s *tarStream) pad(unit int64) error { return s.write(make([]byte, (unit-s.size%unit)%unit)) }

func (s *tarStream) write(data []byte) error {
	s.size += int64(len(data))
	return s.out.add(data)
}

// tarName gives the name of an entry in the archive, without the slash that ends the names of directories.
func tarName(name string) string {
	if name == "/" {
		return "."
	}
	return "." + name
}
