package rootfs

import (
	"fmt"
	"io"
	"strings"

	"vmbuild/rootfs/internal/deb"
)

// magics are the first bytes of the compressed files that Decompress reads, and the suffix such files have.
var magics = []struct{ magic, suffix string }{
	{"\x1f\x8b", ".gz"},
	{"\xfd7zXZ\x00", ".xz"},
	{"\x28\xb5\x2f\xfd", ".zst"},
	{"BZh", ".bz2"},
}

// Decompress reads a file of that many bytes which is compressed as its first bytes say, by gzip, xz, zstd or bzip2; any
// other is read as it is. Checksums are verified: read it to io.EOF. Close frees what it holds, and does not close the
// file.
func Decompress(f io.ReaderAt, size int64) (io.ReadCloser, error) {
	start := make([]byte, 6)
	n, err := f.ReadAt(start, 0)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	suffix := ""
	for _, m := range magics {
		if strings.HasPrefix(string(start[:n]), m.magic) {
			suffix = m.suffix
		}
	}
	return deb.Decompress("tar"+suffix, f, size)
}
