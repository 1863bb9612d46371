package image

import (
	"context"
	"errors"
	"fmt"
	"os"

	qcow2reader "github.com/lima-vm/go-qcow2reader"
	"github.com/lima-vm/go-qcow2reader/image/raw"

	"vmbuild/image/output"
	"vmbuild/image/qcow2"
	"vmbuild/rootfs"
	"vmbuild/rootfs/span"
)

// ConvertOptions name a disk image and what is to be made of it.
type ConvertOptions struct {
	In, Out     string
	Format      string             // of Out, a row of package output that is one of disks; empty: as Out's suffix says
	Compression string             // of Out's clusters, a row of package qcow2; empty: none
	Event       func(rootfs.Event) // may be nil
}

// Convert writes the disk that is in one image, raw or qcow2, as another image. Out appears when it is complete, in place of
// what was there before. In may be a block device.
//
// Errors: *RefusedError if the options do not fit together; else what is wrong with In, or with the writing of Out.
func Convert(ctx context.Context, o ConvertOptions) (err error) {
	format, options, err := o.form()
	if err != nil {
		return &RefusedError{[]string{err.Error()}}
	}
	in, err := os.Open(o.In)
	if err != nil {
		return fmt.Errorf("open image: %w", err)
	}
	defer in.Close()
	if err := o.apart(in); err != nil {
		return &RefusedError{[]string{err.Error()}}
	}
	disk, err := openImage(in)
	if err != nil {
		return err
	}
	out, err := output.Create(o.Out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	options.Progress = o.progress(disk.Size())
	err = span.Do(ctx, span.Stage, "convert", func(ctx context.Context) error {
		return format.WriteDisk(ctx, out.File, disk, options)
	})
	if err != nil {
		return fmt.Errorf("convert %s: %w", o.In, err)
	}
	_, committing := span.Start(ctx, span.Stage, "commit")
	defer committing.End()
	if err := out.Sync(); err != nil {
		return err
	}
	return out.Commit()
}

// form is what Out is to be.
func (o ConvertOptions) form() (output.Format, qcow2.Options, error) {
	format, err := output.ChooseDisk(o.Format, o.Out)
	if err != nil {
		return format, qcow2.Options{}, fmt.Errorf("--format: %w", err)
	}
	compression, err := qcow2.LookupCompression(o.Compression)
	if err == nil && !compression.None() && !format.Clusters {
		err = fmt.Errorf("a %s image is not compressed", format.Name)
	}
	if err != nil {
		return format, qcow2.Options{}, fmt.Errorf("--compression=%s: %w", o.Compression, err)
	}
	return format, qcow2.Options{Compression: compression}, nil
}

// apart makes sure that Out is another file than In, by whatever names.
func (o ConvertOptions) apart(in *os.File) error {
	a, err := in.Stat()
	if err != nil {
		return err
	}
	if b, err := os.Stat(o.Out); err == nil && os.SameFile(a, b) {
		return fmt.Errorf("%s and %s are the same file: name another one to write", o.In, o.Out)
	}
	return nil
}

func (o ConvertOptions) progress(total int64) func(int64) {
	if o.Event == nil {
		return nil
	}
	return func(done int64) {
		o.Event(rootfs.Event{Stage: "convert", Done: done, Total: total, Unit: rootfs.Bytes})
	}
}

// openImage opens an image as what its first bytes say. Of a raw disk the guest may have written them: that shows it nothing
// of the host, since a qcow2 that is based on other files is refused.
func openImage(f *os.File) (qcow2.Disk, error) {
	first := make([]byte, len(qcow2.Magic))
	if _, err := f.ReadAt(first, 0); err == nil && string(first) == qcow2.Magic {
		return qcow2.Open(f)
	}
	disk, err := qcow2.Raw(f)
	if err != nil {
		return nil, err
	}
	known, err := qcow2reader.Open(f)
	if err != nil {
		return nil, fmt.Errorf("open image %q: %w", f.Name(), err)
	}
	if kind := known.Type(); kind != raw.Type {
		return nil, fmt.Errorf("open image %q: it is a %s image: only raw and qcow2 can be read", f.Name(), kind)
	}
	return disk, nil
}
