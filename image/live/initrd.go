package live

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"

	"vmbuild/rootfs"
)

// liveScript is the file of live-boot's in an initramfs that initramfs-tools has made: what boot=live names.
const liveScript = "scripts/live"

// hasLiveBoot says whether an initramfs of that many bytes has live-boot. It is a series of cpio archives with zeroes
// between them, of which the last may be compressed (the kernel's Documentation/driver-api/early-userspace/buffer-format).
// One that is compressed in a way that is not read here is taken to have it.
func hasLiveBoot(r io.ReaderAt, size int64) (bool, error) {
	at := int64(0)
	for at < size {
		magic := make([]byte, len(cpioMagic))
		if _, err := r.ReadAt(magic, at); err != nil && err != io.EOF {
			return false, err
		}
		switch {
		case magic[0] == 0:
			at++
		case isCPIO(magic):
			c := &cpio{r: io.NewSectionReader(r, at, size-at)}
			if found, err := c.find(liveScript); found || err != nil {
				return found, err
			}
			at += c.at
		default:
			return hasCompressed(r, at, size)
		}
	}
	return false, nil
}

// hasCompressed looks into what is compressed from an offset on.
func hasCompressed(r io.ReaderAt, at, size int64) (bool, error) {
	plain, err := rootfs.Decompress(io.NewSectionReader(r, at, size-at), size-at)
	if err != nil {
		return false, err
	}
	defer plain.Close()
	start := make([]byte, len(cpioMagic))
	if _, err := io.ReadFull(plain, start); err != nil {
		return false, err
	}
	if !isCPIO(start) {
		return true, nil
	}
	return (&cpio{r: io.MultiReader(bytes.NewReader(start), plain)}).find(liveScript)
}

// cpioMagic begins each header; the last digit is 2 where there are checksums.
const cpioMagic = "070701"

func isCPIO(magic []byte) bool {
	return string(magic) == cpioMagic || string(magic) == "070702"
}

// cpio reads an archive in the format "newc": for each file a header, its name and its content, each filled up with zeroes
// to a multiple of 4. The header is, all in ASCII, after the magic 13 numbers of 8 hexadecimal digits: inode, mode, uid,
// gid, links, time, size, device, rdev (each major, minor), length of the name with a final zero, checksum.
type cpio struct {
	r  io.Reader
	at int64
}

const (
	cpioHeader  = 110
	cpioSize    = 6 + 6*8  // offset of the size
	cpioName    = 6 + 11*8 // offset of the name's length
	longestName = 4096
	cpioTrailer = "TRAILER!!!"
)

// find reads up to a file, or to the end of the archive.
func (c *cpio) find(name string) (bool, error) {
	for {
		header := make([]byte, cpioHeader)
		if err := c.read(header); err != nil {
			return false, err
		}
		size, errSize := hexadecimal(header[cpioSize:])
		length, errName := hexadecimal(header[cpioName:])
		if !isCPIO(header[:6]) || errSize != nil || errName != nil || length == 0 || length > longestName {
			return false, fmt.Errorf("damaged at byte %d of a cpio archive", c.at-cpioHeader)
		}
		entry := make([]byte, length)
		if err := errors.Join(c.read(entry), c.align()); err != nil {
			return false, err
		}
		switch found := string(entry[:length-1]); {
		case found == cpioTrailer:
			return false, nil
		case path.Clean(found) == name:
			return true, nil
		}
		if err := errors.Join(c.skip(size), c.align()); err != nil {
			return false, err
		}
	}
}

func hexadecimal(digits []byte) (int64, error) {
	n, err := strconv.ParseUint(string(digits[:8]), 16, 32)
	return int64(n), err
}

func (c *cpio) read(p []byte) error {
	n, err := io.ReadFull(c.r, p)
	c.at += int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (c *cpio) skip(n int64) error {
	n, err := io.CopyN(io.Discard, c.r, n)
	c.at += n
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (c *cpio) align() error { return c.skip(-c.at & 3) }
