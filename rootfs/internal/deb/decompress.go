package deb

import (
	"bufio"
	"compress/bzip2"
	"fmt"
	"io"
	"path"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz/lzma"
)

// maxDictionary bounds what a compressed file may make us allocate for its window, in bytes. xz -9 uses 64 MiB; dpkg-deb
// and apt write nothing larger.
const maxDictionary = 256 << 20

// readAhead is the size of the buffer between a file and its decompressor, in bytes.
const readAhead = 128 << 10

// Decompress reads the first size bytes of r, compressed as the suffix of name says: .xz, .zst, .gz, .bz2 or .lzma. A name
// without one of these is read as it is. Checksums that the format has are verified; a damaged or truncated file gives
// an error from Read before its last byte was returned as good. Close frees what the decompressor holds and must be
// called; it does not close r.
func Decompress(name string, r io.ReaderAt, size int64) (io.ReadCloser, error) {
	section := io.NewSectionReader(r, 0, size)
	decompressed, err := decompressor(path.Ext(name), section)
	if err != nil {
		return nil, fmt.Errorf("decompress %q: %w", name, err)
	}
	return decompressed, nil
}

func decompressor(suffix string, section *io.SectionReader) (io.ReadCloser, error) {
	switch suffix {
	case ".xz":
		return newXZReader(section)
	case ".zst":
		d, err := zstd.NewReader(section, zstd.WithDecoderMaxWindow(maxDictionary))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case ".gz":
		return gzip.NewReader(bufio.NewReaderSize(section, readAhead))
	case ".bz2":
		return io.NopCloser(bzip2.NewReader(section)), nil
	case ".lzma":
		d, err := lzma.ReaderConfig{DictCap: maxDictionary}.NewReader(bufio.NewReaderSize(section, readAhead))
		if err != nil {
			return nil, err
		}
		return io.NopCloser(d), nil
	}
	return io.NopCloser(bufio.NewReaderSize(section, readAhead)), nil
}
