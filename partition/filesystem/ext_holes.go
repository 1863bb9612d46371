package filesystem

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"vmbuild/partition/filesystem/extfs"
	"vmbuild/rootfs/tree"
)

// bootFiles is where files are that boot loaders read.
const bootFiles = "/boot"

// filesWithHoles lists the files in /boot that mke2fs(8) gives holes, for it leaves blocks of zeroes out: paths of the
// tree. syslinux cannot read a hole between extents, so they get all their blocks. ext2 and ext3 have no extents.
func filesWithHoles(kind string, j Job) ([]tree.Entry, error) {
	if kind != "ext4" {
		return nil, nil
	}
	if _, below := within(bootFiles, j.Dir); !below {
		return nil, nil
	}
	boot := &tree.Tree{Dir: filepath.Join(j.Tree.Dir, bootFiles)}
	if info, err := os.Lstat(boot.Dir); err != nil || !info.IsDir() {
		return nil, nil
	}
	var files []tree.Entry
	err := boot.Walk(func(e tree.Entry) error {
		e.Path = bootFiles + e.Path
		if e.Type != tree.File || j.leftOut(e.Path) {
			return nil
		}
		zeroes, err := hasZeroBlock(filepath.Join(j.Tree.Dir, e.Path))
		if zeroes {
			files = append(files, e)
		}
		return err
	})
	return files, err
}

// hasZeroBlock says whether a block of a file is all zero, or what its last one has of it.
func hasZeroBlock(name string) (bool, error) {
	f, err := os.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var block, zero [extBlock]byte
	for {
		n, err := io.ReadFull(f, block[:])
		switch {
		case err == io.EOF:
			return false, nil
		case err != nil && err != io.ErrUnexpectedEOF:
			return false, err
		case bytes.Equal(block[:n], zero[:n]):
			return true, nil
		}
	}
}

// fillScript gives the commands of debugfs(8) that reserve all blocks of files.
func fillScript(j Job, files []tree.Entry) (string, error) {
	var script strings.Builder
	for _, f := range files {
		below, _ := within(f.Path, j.Dir)
		if strings.ContainsAny(below, "\"\n") {
			return "", fmt.Errorf("file name %q has a quote or line break", f.Path)
		}
		fmt.Fprintf(&script, "fallocate \"/%s\" 0 %d\n", below, (f.Size-1)/extBlock)
	}
	return script.String(), nil
}

// fillHoles makes zeroes of the blocks that the script has reserved.
func fillHoles(j Job, files []tree.Entry) error {
	if len(files) == 0 {
		return nil
	}
	volume, err := extfs.Open(j.Disk, j.Offset)
	if err != nil {
		return err
	}
	for _, f := range files {
		below, _ := within(f.Path, j.Dir)
		file, err := volume.Lookup(below)
		if err != nil {
			return err
		}
		if err := file.Fill(); err != nil {
			return err
		}
	}
	return nil
}
