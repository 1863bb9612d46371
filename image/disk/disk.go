// Package disk is a disk in the making that has no file of its own size: over a file, sparse and mostly empty, lie the
// contents of filesystems, which are read when the disk is, and over these what boot loaders write.
//
// It makes no filesystem and no partition table, and keeps what is written over a content in memory: a boot loader writes
// some hundred KiB. Invariant: it reads like the disk that it would be if everything were written to one file.
package disk

import (
	"context"
	"fmt"
	"io"
	"os"

	"vmbuild/image/qcow2"
	"vmbuild/partition/filesystem"
)

const pageSize = 4096 // bytes; what is written over a content is kept in pieces of that size

// Disk is a disk. Writing to it and adding contents come before the reading that several goroutines may do.
type Disk struct {
	base     qcow2.Disk
	file     *os.File
	contents []content
	pages    map[int64][]byte // of what was written over contents, by their place on the disk
}

// content is a filesystem in its place.
type content struct {
	filesystem.Content
	start int64
}

func (c content) end() int64 { return c.start + c.Size() }

// New makes a disk of that many bytes over an empty file.
func New(file *os.File, size int64) (*Disk, error) {
	if err := file.Truncate(size); err != nil {
		return nil, fmt.Errorf("size the disk: %w", err)
	}
	base, err := qcow2.Raw(file)
	if err != nil {
		return nil, err
	}
	return &Disk{base: base, file: file, pages: map[int64][]byte{}}, nil
}

// Put lays a filesystem over the disk, from a multiple of 512 bytes on. Nothing else may be there.
func (d *Disk) Put(start int64, c filesystem.Content) {
	d.contents = append(d.contents, content{c, start})
}

// Size is that of the disk, in bytes.
func (d *Disk) Size() int64 { return d.base.Size() }

// ReadAt reads what is uppermost.
func (d *Disk) ReadAt(p []byte, offset int64) (int, error) {
	n, err := 0, error(nil)
	for n < len(p) && err == nil {
		from, end := d.under(offset + int64(n))
		part := p[n:min(int64(len(p)), end-offset)]
		var got int
		got, err = from.ReadAt(part, offset+int64(n)-from.start)
		n += got
		if err == io.EOF && got == len(part) {
			err = nil
		}
	}
	for start, page := range d.pages {
		if start < offset+int64(n) && start+int64(len(page)) > offset {
			overlay(p[:n], offset, page, start)
		}
	}
	return n, err
}

// overlay copies to p, which begins at a byte of the disk, what of a page lies in it.
func overlay(p []byte, offset int64, page []byte, start int64) {
	if start < offset {
		page, start = page[offset-start:], offset
	}
	copy(p[start-offset:], page)
}

// source is what a range of the disk is read from, and the byte of the disk where that begins.
type source struct {
	io.ReaderAt
	start int64
}

// under gives what is below the pages at a byte, and where that ends.
func (d *Disk) under(offset int64) (source, int64) {
	end := max(d.Size(), offset+1)
	for _, c := range d.contents {
		if c.start <= offset && offset < c.end() {
			return source{c, c.start}, c.end()
		}
		if c.start > offset {
			end = min(end, c.start)
		}
	}
	return source{d.base, 0}, end
}

// WriteAt writes to the file, or over the contents.
func (d *Disk) WriteAt(p []byte, offset int64) (int, error) {
	n := 0
	for n < len(p) {
		at := offset + int64(n)
		from, end := d.under(at)
		part := p[n:min(int64(len(p)), end-offset)]
		if from.ReaderAt == io.ReaderAt(d.base) {
			written, err := d.file.WriteAt(part, at)
			n += written
			if err != nil {
				return n, err
			}
			continue
		}
		page, err := d.page(at, end, from)
		if err != nil {
			return n, err
		}
		n += copy(page[(at-from.start)%pageSize:], part)
	}
	return n, nil
}

// page gives the page of a content that a byte of the disk lies in. The last one ends with the content.
func (d *Disk) page(at, end int64, from source) ([]byte, error) {
	start := at - (at-from.start)%pageSize
	if page, ok := d.pages[start]; ok {
		return page, nil
	}
	page := make([]byte, min(pageSize, end-start))
	if _, err := from.ReadAt(page, start-from.start); err != nil && err != io.EOF {
		return nil, err
	}
	d.pages[start] = page
	return page, nil
}

// Data returns the first range of bytes, at or after an offset, that may hold anything but zeroes; io.EOF if there is none.
func (d *Disk) Data(ctx context.Context, offset int64) (start, end int64, err error) {
	start, end, err = d.base.Data(ctx, offset)
	if err != nil && err != io.EOF {
		return 0, 0, err
	}
	found := err == nil
	better := func(s, e int64) {
		if s, e = max(s, offset), min(e, d.Size()); e > offset && (!found || s < start || s == start && e > end) {
			start, end, found = s, e, true
		}
	}
	for _, c := range d.contents {
		if c.end() <= offset {
			continue
		}
		s, e, err := c.Data(ctx, max(0, offset-c.start))
		switch {
		case err == nil:
			better(c.start+s, c.start+e)
		case err != io.EOF:
			return 0, 0, err
		}
	}
	for s, page := range d.pages {
		better(s, s+int64(len(page)))
	}
	if !found {
		return 0, 0, io.EOF
	}
	return start, end, nil
}
