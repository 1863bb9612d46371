package transfer

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"strings"

	"vmbuild/rootfs/tree"
)

// xattrRecord is what tar programs put before the name of an extended attribute in a pax record.
const xattrRecord = "SCHILY.xattr."

// GNU tar encodes, in names of attributes, what would end the key of a record.
var (
	encodeXattr = strings.NewReplacer("%", "%25", "=", "%3D")
	decodeXattr = strings.NewReplacer("%3D", "=", "%25", "%")
)

var typeflags = map[tree.Type]byte{
	tree.File: tar.TypeReg, tree.Directory: tar.TypeDir, tree.Symlink: tar.TypeSymlink,
	tree.CharDevice: tar.TypeChar, tree.BlockDevice: tar.TypeBlock, tree.FIFO: tar.TypeFifo,
}

// pack writes what is at a path of the host, with all that is below it, as an archive in which it has this name. Sockets
// are left out, as no archive can hold them.
func pack(w io.Writer, from, name string) error {
	archive := tar.NewWriter(w)
	source := tree.Tree{Dir: from}
	err := source.Walk(func(e tree.Entry) error {
		if e.Type == tree.Socket {
			return nil
		}
		if err := archive.WriteHeader(header(e, name)); err != nil || e.Type != tree.File || e.HardLink != "" {
			return err
		}
		return packContent(archive, from, e)
	})
	if err != nil {
		return err
	}
	return archive.Close()
}

func header(e tree.Entry, name string) *tar.Header {
	h := &tar.Header{
		Format: tar.FormatPAX, Typeflag: typeflags[e.Type], Name: member(name, e.Path), Linkname: e.Target,
		Mode: int64(e.Mode), Uid: e.UID, Gid: e.GID, ModTime: e.ModTime,
		Devmajor: int64(e.Major), Devminor: int64(e.Minor),
	}
	switch {
	case e.HardLink != "":
		h.Typeflag, h.Linkname = tar.TypeLink, member(name, e.HardLink)
	case e.Type == tree.File:
		h.Size = e.Size
	case e.Type == tree.Directory:
		h.Name += "/"
	}
	for key, value := range e.Xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[xattrRecord+encodeXattr.Replace(key)] = value
	}
	return h
}

// member is the name in the archive of a path below what has this name.
func member(name, below string) string {
	if below == "/" {
		return name
	}
	return name + below
}

func packContent(archive io.Writer, from string, e tree.Entry) (err error) {
	full := strings.TrimSuffix(from+e.Path, "/")
	f, err := os.Open(full)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.CopyN(archive, f, e.Size)
	if err == io.EOF {
		err = &os.PathError{Op: "read", Path: full, Err: errors.New("it has shrunk")}
	}
	return err
}
