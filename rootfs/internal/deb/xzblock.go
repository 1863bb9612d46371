package deb

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"
	"hash/crc64"
)

// A block of an .xz file:
//
//	header   size/4 - 1, flags, [compressed size], [uncompressed size], filters, padding, CRC32
//	data     LZMA2, if that is the only filter; padding to a multiple of 4
//	check    of the output, as the stream's flags say
const (
	filterLZMA2 = 0x21
	checkCRC32  = 0x01
	checkCRC64  = 0x04
	checkSHA256 = 0x0a
)

var (
	errForeignBlock = errors.New("xz: a block with filters or a check of another kind")
	errBlock        = errors.New("xz: a block is corrupt")
)

// blockHeader is what the header of a block says, as far as decoding needs it.
type blockHeader struct {
	size                     int   // of the header, bytes
	compressed, uncompressed int64 // -1 if it does not say
	dictionary               uint32
}

// decodeBlock decodes a block of LZMA2 into out, which must be as long as the index says. raw holds the block and
// maxSymbol bytes more; unpadded is the block's size in the index.
func decodeBlock(out, raw []byte, unpadded int64, check byte) error {
	h, err := parseBlockHeader(raw[:unpadded])
	if err != nil {
		return err
	}
	sum, err := newCheck(check)
	if err != nil {
		return err
	}
	dataEnd := int(unpadded) - sum.Size()
	if dataEnd < h.size || h.uncompressed >= 0 && h.uncompressed != int64(len(out)) {
		return errBlock
	}
	// The index counts the block without its padding, but with the check, which is behind the padding.
	n, err := decodeLZMA2(out, raw[h.size:], dataEnd-h.size, h.dictionary)
	if err != nil {
		return err
	}
	if n != dataEnd-h.size || h.compressed >= 0 && h.compressed != int64(n) {
		return errBlock
	}
	padding, rest := raw[dataEnd:(dataEnd+3)&^3], raw[(dataEnd+3)&^3:]
	sum.Write(out)
	if len(bytes.Trim(padding, "\x00")) > 0 || !bytes.Equal(littleEndian(sum), rest[:sum.Size()]) {
		return errBlock
	}
	return nil
}

func parseBlockHeader(block []byte) (blockHeader, error) {
	h := blockHeader{compressed: -1, uncompressed: -1}
	if len(block) == 0 {
		return h, errBlock
	}
	h.size = (int(block[0]) + 1) * 4
	if block[0] == 0 || h.size > len(block) {
		return h, errBlock
	}
	body, sum := block[:h.size-4], block[h.size-4:h.size]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(sum) {
		return h, errBlock
	}
	flags, in := body[1], bytes.NewReader(body[2:])
	if flags&0x3f != 0 {
		return h, errForeignBlock // more than one filter, or of a later version of the format
	}
	for _, size := range []struct {
		flag  byte
		value *int64
	}{{0x40, &h.compressed}, {0x80, &h.uncompressed}} {
		if flags&size.flag == 0 {
			continue
		}
		v, err := binary.ReadUvarint(in)
		if err != nil || v > 1<<62 {
			return h, errBlock
		}
		*size.value = int64(v)
	}
	filter := make([]byte, 3) // id, size of its properties, the property: the dictionary's size
	if _, err := in.Read(filter); err != nil || filter[0] != filterLZMA2 || filter[1] != 1 {
		return h, errForeignBlock
	}
	var ok bool
	if h.dictionary, ok = dictionarySize(filter[2]); !ok || h.dictionary > maxDictionary {
		return h, errForeignBlock
	}
	return h, nil
}

// dictionarySize decodes the property of LZMA2: 2 or 3 times a power of two, 40 means 4 GiB - 1.
func dictionarySize(property byte) (uint32, bool) {
	if property == 40 {
		return 1<<32 - 1, true
	}
	return (2 | uint32(property)&1) << (property/2 + 11), property < 40
}

// newCheck returns the hash of a check. Its Sum is big endian; see littleEndian.
func newCheck(check byte) (hash.Hash, error) {
	switch check {
	case checkCRC32:
		return crc32.NewIEEE(), nil
	case checkCRC64:
		return crc64.New(crc64.MakeTable(crc64.ECMA)), nil
	case checkSHA256:
		return sha256.New(), nil
	}
	return nil, errForeignBlock
}

// littleEndian returns the sum as a block has it: a CRC with its lowest byte first.
func littleEndian(sum hash.Hash) []byte {
	switch sum := sum.(type) {
	case hash.Hash32:
		return binary.LittleEndian.AppendUint32(nil, sum.Sum32())
	case hash.Hash64:
		return binary.LittleEndian.AppendUint64(nil, sum.Sum64())
	}
	return sum.Sum(nil)
}
