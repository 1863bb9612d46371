package main

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/diskfs/go-diskfs/partition"

	"vmbuild/partition/filesystem/extfs"
)

// statusFile is dpkg's database of packages, in any tree.
const statusFile = "var/lib/dpkg/status"

// countPackages says how many packages are installed in a tar archive or a raw disk, whose tool is not asked.
func countPackages(path string) (n int, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("count packages in %s: %w", path, err)
		}
	}()
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if filepath.Ext(path) == ".tar" {
		return countInArchive(f)
	}
	return countOnDisk(f)
}

func countInArchive(r io.Reader) (int, error) {
	archive := tar.NewReader(bufio.NewReaderSize(r, 1<<20))
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("it has no %s", statusFile)
		}
		if err != nil {
			return 0, err
		}
		if strings.TrimLeft(header.Name, "./") == statusFile {
			return countInstalled(archive)
		}
	}
}

// countOnDisk looks into the ext filesystems of a disk with partitions, or of one without.
func countOnDisk(f *os.File) (int, error) {
	starts := []int64{0}
	if table, err := partition.Read(f, 512, 512); err == nil {
		for _, p := range table.GetPartitions() {
			starts = append(starts, p.GetStart())
		}
	}
	for _, start := range starts {
		volume, err := extfs.Open(readOnly{f}, start)
		if err != nil {
			continue
		}
		status, err := volume.Lookup(statusFile)
		if err != nil {
			continue
		}
		r, w := io.Pipe()
		go func() {
			_, err := status.WriteTo(w)
			w.CloseWithError(err)
		}()
		n, err := countInstalled(r)
		return n, errors.Join(err, r.Close())
	}
	return 0, fmt.Errorf("no ext filesystem of it has %s", statusFile)
}

// readOnly keeps a disk from being changed.
type readOnly struct{ io.ReaderAt }

func (readOnly) WriteAt([]byte, int64) (int, error) { return 0, os.ErrPermission }

// countInstalled counts the stanzas of what is installed in dpkg's status.
func countInstalled(r io.Reader) (n int, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if lines.Text() == "Status: install ok installed" {
			n++
		}
	}
	return n, lines.Err()
}
