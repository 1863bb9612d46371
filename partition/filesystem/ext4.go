package filesystem

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"vmbuild/partition/filesystem/ext4"
	"vmbuild/rootfs/tree"
)

// planExt4 lays an ext4 out as mke2fs(8) would make it.
func planExt4(ctx context.Context, j Job) (Content, error) {
	entries, err := j.entries()
	if err != nil {
		return nil, err
	}
	if err := j.mountPoints(entries); err != nil {
		return nil, err
	}
	created := j.Epoch
	if created.IsZero() {
		created = time.Now()
	}
	for i := range entries {
		entries[i].ModTime = j.clamp(entries[i].ModTime)
		if entries[i].ModTime.IsZero() {
			entries[i].ModTime = created
		}
	}
	return ext4.Plan(ctx, ext4.Options{
		Size: j.Size, UUID: j.UUID, Label: j.Label, Created: created, Without: j.Disable, Entries: entries,
		File: j.onHost, Dense: j.forBootLoader,
	})
}

// mountPoints makes sure that those of other filesystems are there.
func (j Job) mountPoints(entries []tree.Entry) error {
	found := map[string]tree.Type{}
	for _, e := range entries {
		found[e.Path] = e.Type
	}
	for _, mount := range outermost(j.Exclude) {
		below, ok := within(mount, j.Dir)
		if !ok {
			continue
		}
		var err error
		switch found["/"+below] {
		case tree.Directory:
			continue
		case "":
			err = errors.New("it is not there")
		default:
			err = errors.New("not a directory")
		}
		return fmt.Errorf("leave out mount point %s: %w", mount, err)
	}
	return nil
}

// bootFiles is where files are that boot loaders read.
const bootFiles = "/boot"

// forBootLoader says whether a file is one that boot loaders read. syslinux cannot read a hole between extents.
func (j Job) forBootLoader(e tree.Entry) bool {
	_, below := within(path.Join("/", j.Dir, e.Path), bootFiles)
	return below
}
