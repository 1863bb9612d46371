package deb

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"runtime"

	"github.com/mikelolasagasti/xz"
)

// maxBlock is the largest block that is decoded whole in memory, in bytes before and after decoding. dpkg-deb and xz -T
// write blocks of 24 MiB at their default level 6, 192 MiB at level 9; files with larger blocks are decoded as one
// stream.
const maxBlock = 64 << 20

// newXZReader decodes a file block by block, several at the same time; one that has no index or too large blocks as one
// stream.
func newXZReader(section *io.SectionReader) (io.ReadCloser, error) {
	index, err := readXZIndex(section, section.Size())
	if err != nil || len(index.blocks) == 0 || index.largest() > maxBlock {
		// An index that cannot be read gives its error where the stream decoder meets it.
		decoder, err := xz.NewReader(bufio.NewReaderSize(section, readAhead), maxDictionary)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(decoder), nil
	}
	return newBlockReader(section, index), nil
}

// DecodeXZ decodes a small .xz file at once. The result is in buf if that is large enough.
func DecodeXZ(file, buf []byte) ([]byte, error) {
	r := bytes.NewReader(file)
	index, err := readXZIndex(r, r.Size())
	if err == nil && len(index.blocks) == 1 && index.largest() <= maxBlock {
		return index.decode(r, index.blocks[0], buf)
	}
	stream, err := newXZReader(io.NewSectionReader(r, 0, r.Size()))
	if err != nil {
		return buf, err
	}
	defer stream.Close()
	out := bytes.NewBuffer(buf[:0])
	_, err = out.ReadFrom(stream)
	return out.Bytes(), err
}

// SizeXZ returns how many bytes a .xz file of size bytes has when it is decoded.
func SizeXZ(r io.ReaderAt, size int64) (int64, error) {
	index, err := readXZIndex(r, size)
	if err != nil {
		return 0, err
	}
	var decoded int64
	for _, b := range index.blocks {
		decoded += b.uncompressed
	}
	return decoded, nil
}

// The .xz file format, https://tukaani.org/xz/xz-file-format.txt. All integers are little endian.
//
//	stream header   FD "7zXZ" 00, 2 bytes of flags, CRC32 of the flags      12 bytes
//	blocks          each padded to a multiple of 4
//	index           00, number of records, {unpadded size, uncompressed size}…, padding, CRC32
//	stream footer   CRC32, index size/4 - 1, flags, "YZ"                    12 bytes
//	padding         zeros, a multiple of 4
const (
	xzHeaderSize   = 12
	xzMagic        = "\xfd7zXZ\x00"
	xzFooterMagic  = "YZ"
	xzMaxIndexSize = 1 << 20 // more than 100,000 blocks
)

// xzIndex says where the blocks of a file that is a single stream are.
type xzIndex struct {
	flags  [2]byte // stream flags: which check its blocks carry
	blocks []xzBlock
}

type xzBlock struct {
	offset       int64 // in the file
	unpadded     int64 // bytes in the file without padding to 4
	uncompressed int64 // bytes of output
}

// largest returns the largest size of a block, in the file or of its output.
func (x *xzIndex) largest() int64 {
	var largest int64
	for _, b := range x.blocks {
		largest = max(largest, b.unpadded, b.uncompressed)
	}
	return largest
}

// errXZIndex says that the index of a file is not one that blocks can be located by: damaged, or of several streams.
var errXZIndex = errors.New("xz: no index of a single stream")

// readXZIndex reads the index from the tail of a file of size bytes and checks it against the file's size, so that
// every block it names lies within the file.
func readXZIndex(r io.ReaderAt, size int64) (*xzIndex, error) {
	footer, end, err := readXZFooter(r, size)
	if err != nil {
		return nil, err
	}
	indexSize := (int64(binary.LittleEndian.Uint32(footer[4:])) + 1) * 4
	if indexSize > xzMaxIndexSize || indexSize > end-2*xzHeaderSize {
		return nil, errXZIndex
	}
	raw := make([]byte, indexSize)
	if _, err := r.ReadAt(raw, end-xzHeaderSize-indexSize); err != nil {
		return nil, err
	}
	index, err := parseXZIndex(raw)
	if err != nil {
		return nil, err
	}
	copy(index.flags[:], footer[8:10])
	if index.end() != end-xzHeaderSize-indexSize {
		return nil, errXZIndex
	}
	header := make([]byte, xzHeaderSize)
	if _, err := r.ReadAt(header, 0); err != nil {
		return nil, err
	}
	if !bytes.Equal(header, index.header()) {
		return nil, errXZIndex
	}
	return index, nil
}

// readXZFooter returns the stream footer and where it ends, before padding.
func readXZFooter(r io.ReaderAt, size int64) (footer []byte, end int64, err error) {
	footer = make([]byte, xzHeaderSize)
	for end = size; end >= 3*xzHeaderSize-4; end -= 4 {
		if _, err := r.ReadAt(footer, end-xzHeaderSize); err != nil {
			return nil, 0, err
		}
		if binary.LittleEndian.Uint32(footer[8:]) != 0 {
			break
		}
	}
	if string(footer[10:]) != xzFooterMagic || crc32.ChecksumIEEE(footer[4:10]) != binary.LittleEndian.Uint32(footer) {
		return nil, 0, errXZIndex
	}
	return footer, end, nil
}

// parseXZIndex reads the index field of a stream and gives the blocks their offsets.
func parseXZIndex(raw []byte) (*xzIndex, error) {
	body, sum := raw[:len(raw)-4], raw[len(raw)-4:]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(sum) || body[0] != 0 {
		return nil, errXZIndex
	}
	in := bytes.NewReader(body[1:])
	count, err := binary.ReadUvarint(in)
	if err != nil || count > uint64(len(raw)) {
		return nil, errXZIndex
	}
	index := &xzIndex{blocks: make([]xzBlock, 0, count)}
	for offset := int64(xzHeaderSize); count > 0; count-- {
		unpadded, err1 := binary.ReadUvarint(in)
		uncompressed, err2 := binary.ReadUvarint(in)
		if err1 != nil || err2 != nil || unpadded == 0 || unpadded > 1<<60 || uncompressed > 1<<60 {
			return nil, errXZIndex
		}
		index.blocks = append(index.blocks, xzBlock{offset, int64(unpadded), int64(uncompressed)})
		offset += int64(unpadded+3) &^ 3
		if offset < 0 {
			return nil, errXZIndex
		}
	}
	if in.Len() > 3 {
		return nil, errXZIndex
	}
	return index, nil
}

// end is the offset behind the last block.
func (x *xzIndex) end() int64 {
	if len(x.blocks) == 0 {
		return xzHeaderSize
	}
	last := x.blocks[len(x.blocks)-1]
	return last.offset + (last.unpadded+3)&^3
}

// header is the header of a stream with x's flags.
func (x *xzIndex) header() []byte {
	header := append([]byte(xzMagic), x.flags[:]...)
	return binary.LittleEndian.AppendUint32(header, crc32.ChecksumIEEE(x.flags[:]))
}

// tail is the index and footer of a stream that has b as its only block.
func (x *xzIndex) tail(b xzBlock) []byte {
	index := binary.AppendUvarint([]byte{0, 1}, uint64(b.unpadded))
	index = binary.AppendUvarint(index, uint64(b.uncompressed))
	for len(index)%4 != 0 {
		index = append(index, 0)
	}
	index = binary.LittleEndian.AppendUint32(index, crc32.ChecksumIEEE(index))

	footer := binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1))
	footer = append(footer, x.flags[:]...)
	index = binary.LittleEndian.AppendUint32(index, crc32.ChecksumIEEE(footer))
	return append(append(index, footer...), xzFooterMagic...)
}

// decode decodes block b of r into buf, which it may replace by a larger one.
func (x *xzIndex) decode(r io.ReaderAt, b xzBlock, buf []byte) ([]byte, error) {
	padded := (b.unpadded + 3) &^ 3
	raw := make([]byte, padded+maxSymbol)
	if _, err := r.ReadAt(raw[:padded], b.offset); err != nil {
		return buf, unexpectedEOF(err)
	}
	if int64(cap(buf)) < b.uncompressed {
		buf = make([]byte, b.uncompressed)
	}
	buf = buf[:b.uncompressed]
	err := decodeBlock(buf, raw, b.unpadded, x.flags[1])
	if err == errForeignBlock {
		err = x.decodeForeign(buf, raw[:padded], b)
	}
	return buf, err
}

// decodeForeign decodes a block by the stream decoder, which knows all filters.
func (x *xzIndex) decodeForeign(out, raw []byte, b xzBlock) error {
	stream := io.MultiReader(bytes.NewReader(x.header()), bytes.NewReader(raw), bytes.NewReader(x.tail(b)))
	decoder, err := xz.NewReader(stream, maxDictionary)
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(decoder, out); err != nil {
		return unexpectedEOF(err)
	}
	// The decoder compares the block's check and the sizes of the index only when asked for what comes behind.
	if n, err := decoder.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return errors.Join(xz.ErrData, err)
	}
	return nil
}

func unexpectedEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// blockReader returns the blocks of a stream in order while those that follow are decoded.
type blockReader struct {
	decoded chan chan decodedBlock // in order; its capacity bounds the blocks in memory
	spare   chan []byte            // buffers to be used again
	stop    chan struct{}
	current decodedBlock
	rest    []byte // of current.data
}

type decodedBlock struct {
	data []byte
	err  error
}

func newBlockReader(r io.ReaderAt, index *xzIndex) *blockReader {
	workers := runtime.GOMAXPROCS(0)
	b := &blockReader{
		decoded: make(chan chan decodedBlock, workers-1),
		spare:   make(chan []byte, workers+1),
		stop:    make(chan struct{}),
	}
	go b.start(r, index)
	return b
}

// start decodes each block in a goroutine of its own, as many at a time as there is room for in b.decoded.
func (b *blockReader) start(r io.ReaderAt, index *xzIndex) {
	defer close(b.decoded)
	for _, block := range index.blocks {
		result := make(chan decodedBlock, 1)
		select {
		case b.decoded <- result:
		case <-b.stop:
			return
		}
		go func() {
			var buf []byte
			select {
			case buf = <-b.spare:
			default:
			}
			data, err := index.decode(r, block, buf)
			result <- decodedBlock{data, err}
		}()
	}
}

func (b *blockReader) Read(p []byte) (int, error) {
	for len(b.rest) == 0 {
		if b.current.err != nil {
			return 0, b.current.err
		}
		b.next()
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// next waits for the next block. A block whose check is wrong is not returned at all.
func (b *blockReader) next() {
	if b.current.data != nil {
		b.spare <- b.current.data
	}
	result, more := <-b.decoded
	if !more {
		b.current = decodedBlock{err: io.EOF}
		return
	}
	b.current = <-result
	if b.current.err == nil {
		b.rest = b.current.data
	}
}

// Close ends decoding; blocks being decoded are finished and dropped.
func (b *blockReader) Close() error {
	select {
	case <-b.stop:
	default:
		close(b.stop)
	}
	return nil
}
