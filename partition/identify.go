package partition

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// identity derives identifiers from a seed: HMAC-SHA256 of what each is for, so that no two are alike and none tells
// another.
type identity [32]byte

func (id identity) derive(label string) []byte {
	h := hmac.New(sha256.New, id[:])
	h.Write([]byte(label))
	return h.Sum(nil)
}

// uuid is of version 8, which RFC 9562 (5.8) leaves to the application.
func (id identity) uuid(label string) string {
	b := id.derive(label)[:16]
	b[6] = b[6]&0x0f | 0x80
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// word is 32 bits, never 0: an msdos disk or a FAT volume with number 0 counts as having none.
func (id identity) word(label string) uint32 {
	return max(binary.BigEndian.Uint32(id.derive(label)), 1)
}

// serial is the serial number of a FAT volume.
func (id identity) serial(label string) string {
	n := id.word(label)
	return fmt.Sprintf("%04X-%04X", n>>16, n&0xffff)
}

// disk is the identifier of the whole disk.
func (id identity) disk(table string) string {
	if table == MSDOS {
		return fmt.Sprintf("%08x", id.word("disk"))
	}
	return id.uuid("disk")
}
