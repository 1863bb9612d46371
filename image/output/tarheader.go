package output

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"vmbuild/rootfs/tree"
)

// tarHeader is what one block of 512 bytes says, or would say if it had room: block cuts what is too long or too large,
// and records gives it whole.
type tarHeader struct {
	name         string
	mode         uint32
	uid, gid     int
	size         int64
	modified     time.Time
	kind         byte
	link         string
	major, minor uint32
	noDevice     bool // the device numbers are left empty
}

func newTarHeader(e tree.Entry) tarHeader {
	h := tarHeader{
		name: tarName(e.Path), mode: e.Mode, uid: e.UID, gid: e.GID, modified: e.ModTime, kind: tarTypes[e.Type],
		link: e.Target, major: e.Major, minor: e.Minor,
	}
	switch {
	case e.HardLink != "":
		h.kind, h.link, h.major, h.minor = '1', tarName(e.HardLink), 0, 0
	case e.Type == tree.Directory:
		h.name += "/"
	case e.Type == tree.File:
		h.size = e.Size
	}
	return h
}

// Largest numbers that fit into fields of 8 and of 12 bytes, a NUL at their end.
const (
	octal7  = 1<<21 - 1
	octal11 = 1<<33 - 1
)

// block gives the header as POSIX.1-2001 has it (pax, "ustar Interchange Format").
func (h tarHeader) block() []byte {
	var b []byte
	text := func(size int, s string) {
		field := make([]byte, size)
		copy(field, s)
		b = append(b, field...)
	}
	octal := func(size int, n, limit int64) {
		if n < 0 || n > limit {
			n = 0
		}
		text(size, fmt.Sprintf("%0*o", size-1, n))
	}
	device := func(n uint32) {
		if h.noDevice {
			text(8, "")
			return
		}
		octal(8, int64(n), octal7)
	}
	text(100, h.name)
	octal(8, int64(h.mode), octal7)
	octal(8, int64(h.uid), octal7)
	octal(8, int64(h.gid), octal7)
	octal(12, h.size, octal11)
	octal(12, h.modified.Unix(), octal11)
	text(8, "        ") // checksum
	text(1, string(h.kind))
	text(100, h.link)
	text(6, "ustar")
	text(2, "00")
	text(32, "") // name of the owner
	text(32, "") // and of the group
	device(h.major)
	device(h.minor)
	text(155, "") // prefix of the name
	text(12, "")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// records gives what block has cut.
func (h tarHeader) records() string {
	var list strings.Builder
	add := func(want bool, key, value string) {
		if want {
			list.WriteString(paxRecord(key, value))
		}
	}
	number := func(n, limit int64, key string) { add(n < 0 || n > limit, key, strconv.FormatInt(n, 10)) }
	add(len(h.link) > 100, "linkpath", h.link)
	add(len(h.name) > 100 || strings.IndexFunc(h.name, notASCII) >= 0, "path", h.name)
	number(int64(h.uid), octal7, "uid")
	number(int64(h.gid), octal7, "gid")
	number(h.size, octal11, "size")
	seconds := h.modified.Unix()
	add(seconds < 0 || seconds > octal11 || h.modified.Nanosecond() != 0, "mtime", paxTime(h.modified))
	number(int64(h.major), octal7, "SCHILY.devmajor")
	number(int64(h.minor), octal7, "SCHILY.devminor")
	return list.String()
}

func notASCII(r rune) bool { return r > unicode.MaxASCII }

// paxTime gives seconds since 1970 with as many decimals as it takes.
func paxTime(t time.Time) string {
	seconds, nano, sign := t.Unix(), int64(t.Nanosecond()), ""
	if seconds < 0 {
		sign, seconds = "-", -seconds
		if nano > 0 {
			seconds, nano = seconds-1, 1e9-nano
		}
	}
	text := fmt.Sprintf("%s%d.%09d", sign, seconds, nano)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// paxRecord gives "LENGTH KEY=VALUE\n", where the length counts its own digits.
func paxRecord(key, value string) string {
	rest := " " + key + "=" + value + "\n"
	length := len(rest) + len(strconv.Itoa(len(rest)))
	if n := len(rest) + len(strconv.Itoa(length)); n != length {
		length = n
	}
	return strconv.Itoa(length) + rest
}
