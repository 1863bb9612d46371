package filesystem

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"
	"unicode/utf16"
)

// fatReader reads a FAT volume by what is on it alone, and fails the test where two parts of it disagree.
type fatReader struct {
	t                       *testing.T
	b                       []byte
	bits                    int
	cluster                 int
	root, rootBytes, dataAt int
	table                   []byte
	used                    map[int]bool
	files                   map[string]string
}

// readFAT gives the content of each file by its path, and "" for each directory, whose path ends in "/".
func readFAT(t *testing.T, disk *os.File, j Job) map[string]string {
	t.Helper()
	b := make([]byte, j.Size)
	if _, err := disk.ReadAt(b, j.Offset); err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	sectors := int(le.Uint16(b[19:]))
	if sectors == 0 {
		sectors = int(le.Uint32(b[32:]))
	}
	if sectors*512 != int(j.Size) || int64(le.Uint32(b[28:])) != j.Offset/512 {
		t.Errorf("%d sectors, %d hidden ones", sectors, le.Uint32(b[28:]))
	}
	tableSectors := int(le.Uint16(b[22:]))
	r := &fatReader{t: t, b: b, cluster: int(b[13]) * 512, used: map[int]bool{}, files: map[string]string{}}
	if tableSectors == 0 {
		tableSectors = int(le.Uint32(b[36:]))
	}
	reserved := int(le.Uint16(b[14:]))
	r.root = (reserved + 2*tableSectors) * 512
	r.rootBytes = int(le.Uint16(b[17:])) * 32
	r.dataAt = r.root + r.rootBytes
	clusters := (len(b) - r.dataAt) / r.cluster
	r.bits = 32
	if clusters < 65525 {
		r.bits = 16
	}
	if clusters < 4085 {
		r.bits = 12
	}
	r.table = b[reserved*512 : (reserved+tableSectors)*512]
	if string(r.table) != string(b[(reserved+tableSectors)*512:r.root]) {
		t.Error("the two allocation tables differ")
	}
	if r.bits == 32 {
		r.dir("", r.chain(int(le.Uint32(b[44:]))), 0, 0)
		if string(b[:1024]) != string(b[6*512:8*512]) {
			t.Error("the copies of the boot and information sectors differ")
		}
		if free := int(le.Uint32(b[512+488:])); free != clusters-len(r.used) {
			t.Errorf("%d clusters are said to be free of %d, but %d are used", free, clusters, len(r.used))
		}
	} else {
		r.dir("", b[r.root:r.root+r.rootBytes], 0, 0)
	}
	for c := 2; c < clusters+2; c++ {
		if r.next(c) != 0 && !r.used[c] {
			t.Errorf("cluster %d is allocated to nothing", c)
		}
	}
	return r.files
}

func (r *fatReader) next(c int) int {
	switch r.bits {
	case 32:
		return int(binary.LittleEndian.Uint32(r.table[4*c:]) & 0x0fffffff)
	case 16:
		return int(binary.LittleEndian.Uint16(r.table[2*c:]))
	}
	pair := int(binary.LittleEndian.Uint16(r.table[c*3/2:]))
	if c%2 == 0 {
		return pair & 0xfff
	}
	return pair >> 4
}

func (r *fatReader) chain(c int) []byte {
	last := 1<<min(r.bits, 28) - 8
	var content []byte
	for ; c != 0 && c < last; c = r.next(c) {
		if r.used[c] {
			r.t.Fatalf("cluster %d belongs to two chains", c)
		}
		r.used[c] = true
		at := r.dataAt + (c-2)*r.cluster
		content = append(content, r.b[at:at+r.cluster]...)
	}
	return content
}

func (r *fatReader) dir(prefix string, b []byte, self, parent int) {
	le := binary.LittleEndian
	long, sum := []uint16{}, byte(0)
	shorts := map[string]bool{}
	for ; len(b) > 0 && b[0] != 0; b = b[32:] {
		if b[11] == 0x0f {
			var units []uint16
			for _, at := range []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
				units = append(units, le.Uint16(b[at:]))
			}
			long, sum = append(units, long...), b[13]
			continue
		}
		var s shortName
		copy(s[:], b)
		if b[11] != 0x08 && shorts[string(b[:11])] {
			r.t.Errorf("%s has %q twice", prefix, b[:11])
		}
		shorts[string(b[:11])] = b[11] != 0x08
		name := strings.TrimRight(string(b[:8]), " ")
		if extension := strings.TrimRight(string(b[8:11]), " "); extension != "" {
			name += "." + extension
		}
		if len(long) > 0 {
			if sum != s.sum() {
				r.t.Errorf("%s%s: check sum %x, not %x", prefix, name, sum, s.sum())
			}
			name, _, _ = strings.Cut(string(utf16.Decode(long)), "\x00")
			long = nil
		}
		first := int(le.Uint16(b[26:])) | int(le.Uint16(b[20:]))<<16
		if date, clock := fatTime(epoch); le.Uint16(b[24:]) != date || le.Uint16(b[22:]) != clock {
			r.t.Errorf("%s%s has not the time of the epoch", prefix, name)
		}
		switch size := int(le.Uint32(b[28:])); {
		case b[11] == 0x08:
			if prefix != "" || string(b[:11]) != "EFI        " {
				r.t.Errorf("%s: label %q", prefix, b[:11])
			}
		case b[11] == 0x10 && name == ".":
			r.expect(prefix+name, first, self)
		case b[11] == 0x10 && name == "..":
			r.expect(prefix+name, first, parent)
		case b[11] == 0x10:
			r.files[prefix+name+"/"] = ""
			r.dir(prefix+name+"/", r.chain(first), first, self)
		case size == 0:
			r.expect(prefix+name, first, 0)
			r.files[prefix+name] = ""
		default:
			r.files[prefix+name] = string(r.chain(first)[:size])
		}
	}
}

func (r *fatReader) expect(name string, got, want int) {
	if got != want {
		r.t.Errorf("%s begins at cluster %d, not %d", name, got, want)
	}
}
