package deb

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The ar format as deb(5) restricts it: no long names, no symbol tables.
//
//	magic   "!<arch>\n"                                                                        8 bytes
//	member  name[16] mtime[12] uid[6] gid[6] mode[8] size[10, decimal] "`\n", data, "\n" if odd  60 bytes + size
const (
	arMagic      = "!<arch>\n"
	arHeaderSize = 60
	arHeaderEnd  = "`\n"
	maxArMembers = 64
)

// arMember says where a member's bytes are in the file.
type arMember struct {
	name   string
	offset int64
	size   int64
}

var errAr = errors.New("not an ar archive, or a damaged one")

func readAr(r io.ReaderAt, size int64) ([]arMember, error) {
	magic := make([]byte, len(arMagic))
	if _, err := r.ReadAt(magic, 0); err != nil || string(magic) != arMagic {
		return nil, errAr
	}
	var members []arMember
	for offset := int64(len(arMagic)); offset < size && len(members) < maxArMembers; {
		header := make([]byte, arHeaderSize)
		if _, err := r.ReadAt(header, offset); err != nil {
			return nil, unexpectedEOF(err)
		}
		m, err := parseArHeader(header)
		if err != nil {
			return nil, err
		}
		m.offset = offset + arHeaderSize
		if m.size > size-m.offset {
			return nil, fmt.Errorf("member %q: %w", m.name, io.ErrUnexpectedEOF)
		}
		members = append(members, m)
		offset = m.offset + m.size + m.size%2
	}
	return members, nil
}

func parseArHeader(header []byte) (arMember, error) {
	size, err := strconv.ParseInt(strings.TrimRight(string(header[48:58]), " "), 10, 64)
	if err != nil || size < 0 || string(header[58:]) != arHeaderEnd {
		return arMember{}, errAr
	}
	name := strings.TrimRight(string(header[:16]), " ")
	return arMember{name: strings.TrimSuffix(name, "/"), size: size}, nil // GNU ar ends names with a slash
}
