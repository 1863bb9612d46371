package filesystem

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// makeSwap writes the header of a swap area, version 1 (union swap_header of Linux's include/linux/swap.h):
//
//	offset      bytes  field
//	0           1024   left to boot blocks
//	1024        4      version, 1
//	1028        4      last usable page
//	1032        4      number of bad pages, 0
//	1036        16     UUID
//	1052        16     label
//	page - 10   10     "SWAPSPACE2"
//
// The integers are little endian. A kernel of the other byte order (s390x) sees that by the version, and swaps them.
func makeSwap(_ context.Context, j Job) error {
	page := j.PageSize
	if page == 0 {
		page = 4096
	}
	pages := j.Size / page
	if pages < 10 { // mkswap(8) and the kernel refuse fewer
		return fmt.Errorf("%d bytes are fewer than 10 pages of %d", j.Size, page)
	}
	uuid, err := parseUUID(j.UUID)
	if err != nil {
		return err
	}
	if len(j.Label) > 16 {
		return fmt.Errorf("label %q is longer than 16 bytes", j.Label)
	}
	header := make([]byte, page)
	binary.LittleEndian.PutUint32(header[1024:], 1)
	binary.LittleEndian.PutUint32(header[1028:], uint32(min(pages-1, 1<<32-1)))
	copy(header[1036:], uuid)
	copy(header[1052:], j.Label)
	copy(header[page-10:], "SWAPSPACE2")
	if _, err := j.Disk.WriteAt(header, j.Offset); err != nil {
		return fmt.Errorf("write swap header: %w", err)
	}
	return nil
}

// parseUUID gives the 16 bytes of a UUID in the form of RFC 9562, section 4.
func parseUUID(s string) ([]byte, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 {
		return nil, fmt.Errorf("%q is not a UUID", s)
	}
	return b, nil
}
