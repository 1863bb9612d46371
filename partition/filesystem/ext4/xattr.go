package ext4

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	attributeMagic  = 0xea020000
	attributeHeader = 32 // bytes of a block of them
	attributeEntry  = 16 // and the name, filled up to 4
	inodeRoom       = inodeSize - 160
)

// attribute is an extended attribute in the filesystem's words.
type attribute struct {
	space byte // of the name
	name  string
	value []byte
}

// spaces are the name spaces by which attributes are stored. Others are of the host's file system only, as those in
// "btrfs." are, and do not get into this one.
var spaces = []struct {
	prefix string
	number byte
	whole  bool // the prefix is all of the name
}{
	{"system.posix_acl_access", 2, true},
	{"system.posix_acl_default", 3, true},
	{"user.", 1, false},
	{"trusted.", 4, false},
	{"security.", 6, false},
}

// setAttributes puts the attributes of a node into its inode, and those that do not fit there into a list for a block.
func (n *node) setAttributes() error {
	list, err := attributes(n.entry.Xattrs)
	if err != nil {
		return err
	}
	var inside []attribute
	left := inodeRoom - 4 - 4 // magic number and end of the list
	for _, a := range list {
		if a.length() <= left {
			left -= a.length()
			inside = append(inside, a)
			continue
		}
		n.outside = append(n.outside, a)
	}
	if len(inside) > 0 {
		n.inside = make([]byte, inodeRoom)
		le.PutUint32(n.inside, attributeMagic)
		putAttributes(n.inside[4:], 0, inside, false)
	}
	left = blockSize - attributeHeader - 4
	for _, a := range n.outside {
		left -= a.length()
	}
	if left < 0 {
		return fmt.Errorf("its extended attributes are %d bytes too large for ext4", -left)
	}
	return nil
}

// attributes sorts them as blocks of them must be: by name space, length and name.
func attributes(xattrs map[string]string) ([]attribute, error) {
	var list []attribute
	for name, value := range xattrs {
		a, known, err := newAttribute(name, value)
		if err != nil {
			return nil, fmt.Errorf("extended attribute %s: %w", name, err)
		}
		if known {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b attribute) int {
		return cmp.Or(cmp.Compare(a.space, b.space), cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	return list, nil
}

func newAttribute(name, value string) (a attribute, known bool, err error) {
	for _, s := range spaces {
		rest, ok := strings.CutPrefix(name, s.prefix)
		switch {
		case !ok || s.whole != (rest == ""):
			continue
		case s.whole:
			stored, err := storedACL([]byte(value))
			return attribute{space: s.number, value: stored}, true, err
		}
		return attribute{s.number, rest, []byte(value)}, true, nil
	}
	return attribute{}, false, nil
}

// storedACL makes what ext4 stores of an access control list as getxattr(2) gives it (acl(5), the kernel's
// fs/ext4/acl.h): version 1 in place of 2, and no identifiers for entries that have none.
func storedACL(b []byte) ([]byte, error) {
	const user, group = 0x2, 0x8
	if len(b) < 4 || le.Uint32(b) != 2 || len(b)%8 != 4 {
		return nil, errors.New("not an access control list of version 2")
	}
	stored := binary.LittleEndian.AppendUint32(nil, 1)
	for entry := range slices.Chunk(b[4:], 8) {
		if tag := le.Uint16(entry); tag == user || tag == group {
			stored = append(stored, entry...)
		} else {
			stored = append(stored, entry[:4]...)
		}
	}
	return stored, nil
}

// length is what an attribute takes, of both ends.
func (a attribute) length() int { return attributeEntry + (len(a.name)+3)/4*4 + a.valueLength() }

func (a attribute) valueLength() int { return (len(a.value) + 3) / 4 * 4 }

// putAttributes writes entries from the begin of b on, and values from its end downwards:
//
//	offset  bytes  field
//	0       1      length of the name
//	1       1      name space
//	2       2      where the value is; from base bytes before b
//	4       4      inode of the value, 0
//	8       4      length of the value
//	12      4      hash; in an inode 0
//	16             name
func putAttributes(b []byte, base int, list []attribute, hashed bool) {
	at, end := 0, len(b)
	for _, a := range list {
		end -= a.valueLength()
		copy(b[end:], a.value)
		e := b[at:]
		e[0], e[1] = byte(len(a.name)), a.space
		if len(a.value) > 0 {
			le.PutUint16(e[2:], uint16(base+end))
		}
		le.PutUint32(e[8:], uint32(len(a.value)))
		if hashed {
			le.PutUint32(e[12:], a.hash())
		}
		copy(e[attributeEntry:], a.name)
		at += attributeEntry + (len(a.name)+3)/4*4
	}
}

// hash is ext4_xattr_hash_entry of the kernel's fs/ext4/xattr.c.
func (a attribute) hash() uint32 {
	sum := uint32(0)
	for _, c := range []byte(a.name) {
		sum = sum<<5 ^ sum>>27 ^ uint32(c)
	}
	value := append(bytes.Clone(a.value), 0, 0, 0)
	for word := range slices.Chunk(value[:a.valueLength()], 4) {
		sum = sum<<16 ^ sum>>16 ^ le.Uint32(word)
	}
	return sum
}

// hashOf is that of a block of attributes, by which the kernel finds equal ones; 0: none.
func hashOf(list []attribute) uint32 {
	sum := uint32(0)
	for _, a := range list {
		hash := a.hash()
		if hash == 0 {
			return 0
		}
		sum = sum<<16 ^ sum>>16 ^ hash
	}
	return sum
}

// putAttributeBlock writes the attributes that are not in the inode:
//
//	offset  bytes  field
//	0       4      magic number
//	4       4      inodes that use the block, 1
//	8       4      blocks, 1
//	12      4      hash
//	16      4      checksum
//	32             entries
func (v *Volume) putAttributeBlock(b []byte, n *node) {
	le.PutUint32(b[0:], attributeMagic)
	le.PutUint32(b[4:], 1)
	le.PutUint32(b[8:], 1)
	le.PutUint32(b[12:], hashOf(n.outside))
	putAttributes(b[attributeHeader:], attributeHeader, n.outside, true)
	if v.checksums() {
		le.PutUint32(b[16:], crc(crc(v.seed, le.AppendUint64(nil, uint64(n.attributes))), b))
	}
}
