// Package deb reads Debian binary packages (.deb, format 2.0; deb(5)): the ar container, the members of control.tar and
// the decompressed stream of data.tar.
//
// It reads from an io.ReaderAt and keeps only the control members in memory. It unpacks nothing to disk and checks no
// signature or hash of the whole file: that a package is the one an archive promised is for its caller to know. What a
// hostile package can do here is bounded: control members by maxControl, decoder windows by maxDictionary.
//
// Decompress is the decompressor behind it, for index files too. xz, which nearly all of Debian is compressed with, is
// decoded here, block by block on all cores where a file has several, as dpkg-deb writes anything large; filters that
// Debian does not use are left to a library.
package deb

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// maxControl is the size that all members of a package's control.tar may have together, in bytes. The largest in
// Debian stay below 10 MB (md5sums of packages with many files).
const maxControl = 64 << 20

// Package is an opened package.
type Package struct {
	// Control has the members of control.tar by name without "./": "control", "md5sums", "postinst", …
	Control map[string]Member
	data    arMember
	file    io.ReaderAt
}

// Member is a file of control.tar.
type Member struct {
	Data []byte
	Mode int64 // permission bits
}

// Open reads the ar members and control.tar of the package in the first size bytes of r. Members that begin with an
// underscore are skipped, as deb(5) says; any other order than debian-binary, control.tar*, data.tar* is refused.
func Open(r io.ReaderAt, size int64) (*Package, error) {
	p, err := open(r, size)
	if err != nil {
		return nil, fmt.Errorf("open package: %w", err)
	}
	return p, nil
}

func open(r io.ReaderAt, size int64) (*Package, error) {
	members, err := readAr(r, size)
	if err != nil {
		return nil, err
	}
	var known []arMember
	for _, m := range members {
		if !strings.HasPrefix(m.name, "_") {
			known = append(known, m)
		}
	}
	if len(known) < 3 || known[0].name != "debian-binary" ||
		!isTar(known[1].name, "control") || !isTar(known[2].name, "data") {
		return nil, errors.New("not debian-binary, control.tar, data.tar in this order")
	}
	if err := checkVersion(r, known[0]); err != nil {
		return nil, err
	}
	control, err := readControl(r, known[1])
	if err != nil {
		return nil, err
	}
	return &Package{Control: control, data: known[2], file: r}, nil
}

func isTar(name, stem string) bool {
	return strings.TrimSuffix(name, path.Ext(name)) == stem+".tar" || name == stem+".tar"
}

// checkVersion accepts format 2 in any minor version, "which may add members at the end" (deb(5)).
func checkVersion(r io.ReaderAt, m arMember) error {
	version := make([]byte, min(m.size, 16))
	if _, err := r.ReadAt(version, m.offset); err != nil {
		return unexpectedEOF(err)
	}
	if !bytes.HasPrefix(version, []byte("2.")) {
		return fmt.Errorf("package format %q, not 2.0", version)
	}
	return nil
}

func readControl(r io.ReaderAt, m arMember) (map[string]Member, error) {
	stream, err := Decompress(m.name, io.NewSectionReader(r, m.offset, m.size), m.size)
	if err != nil {
		return nil, err
	}
	defer stream.Close()

	control := map[string]Member{}
	archive := tar.NewReader(io.LimitReader(stream, maxControl))
	for {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		name := path.Clean(header.Name)
		if header.Typeflag != tar.TypeReg || strings.Contains(name, "/") {
			continue // "./", and what dpkg does not take from there either
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		control[name] = Member{data, header.Mode & 0o777}
	}
	if _, ok := control["control"]; !ok {
		return nil, fmt.Errorf("%s: no file control", m.name)
	}
	return control, nil
}

// Data returns the decompressed data.tar. The stream ends only when it was read to the end of its last checksum, so
// read it to io.EOF. Close it.
func (p *Package) Data() (io.ReadCloser, error) {
	stream, err := Decompress(p.data.name, io.NewSectionReader(p.file, p.data.offset, p.data.size), p.data.size)
	if err != nil {
		return nil, fmt.Errorf("open package: %w", err)
	}
	return stream, nil
}
