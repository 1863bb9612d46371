package qcow2

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"
)

// headerWith returns a header in which some fields of 4 bytes are others.
func headerWith(fields map[int]uint32) []byte {
	h := header{size: 1 << 30, entriesL1: 2, offsetL1: 1 << 16, offsetRefcounts: 2 << 16, clustersRefcounts: 1}
	b := h.bytes()
	for offset, value := range fields {
		binary.BigEndian.PutUint32(b[offset:], value)
	}
	return b
}

func TestParseHeader(t *testing.T) {
	for _, test := range []struct {
		name string
		data []byte
		want string // the cluster size, or the error
	}{
		{"as written", headerWith(nil), "65536"},
		{"version 2", headerWith(map[int]uint32{4: 2, 72: 1 << 31, 100: 0})[:72], "65536"},
		{"zstd", headerWith(map[int]uint32{76: 8, 104: 1 << 24}), "65536"},
		{"dirty", headerWith(map[int]uint32{76: 1}), "65536"},
		{"clusters of 2 MiB", headerWith(map[int]uint32{20: 21}), "2097152"},
		{"clusters of 512 bytes", headerWith(map[int]uint32{20: 9, 36: 32768}), "512"},

		{"nothing", nil, "it has no qcow2 header"},
		{"another magic", append([]byte("QFI\xfa"), make([]byte, 200)...), "it has no qcow2 header"},
		{"cut", headerWith(nil)[:71], "it has no qcow2 header"},
		{"cut in version 3", headerWith(nil)[:103], "its header is cut off"},
		{"version 1", headerWith(map[int]uint32{4: 1}), "it is a qcow of version 1: only 2 and 3 can be read"},
		{"based", headerWith(map[int]uint32{12: 4, 16: 3}), `it is based on another file ("\x00\x00\x00"), and has only what differs from that`},
		{"based, name elsewhere", headerWith(map[int]uint32{8: 1 << 31, 16: 3}), "it is based on another file, and has only what differs from that"},
		{"based, name over the end", headerWith(map[int]uint32{12: ClusterSize - 2, 16: 3}), "it is based on another file, and has only what differs from that"},
		{"encrypted", headerWith(map[int]uint32{32: 2}), "it is encrypted"},
		{"corrupt", headerWith(map[int]uint32{76: 2}), "it is marked as corrupt"},
		{"data file", headerWith(map[int]uint32{76: 4}), "its data are in another file"},
		{"subclusters", headerWith(map[int]uint32{76: 16}), "it has subclusters (extended L2 entries), which cannot be read"},
		{"unknown feature", headerWith(map[int]uint32{76: 32}), "it has features that are not known (0x20)"},
		{"unknown compression", headerWith(map[int]uint32{104: 2 << 24}), "its compression type 2 is not known"},
		{"short header", headerWith(map[int]uint32{100: 96}), "its header cannot have 96 bytes"},
		{"odd header", headerWith(map[int]uint32{100: 108}), "its header cannot have 108 bytes"},
		{"long header", headerWith(map[int]uint32{100: 1 << 20}), "its header cannot have 1048576 bytes"},
		{"tiny clusters", headerWith(map[int]uint32{20: 8}), "its clusters cannot have 2^8 bytes"},
		{"huge clusters", headerWith(map[int]uint32{20: 22}), "its clusters cannot have 2^22 bytes"},
		{"empty disk", headerWith(map[int]uint32{28: 0}), "its disk has 0 bytes"},
		{"large table", headerWith(map[int]uint32{36: 4<<20 + 1}), "its L1 table cannot have 4194305 entries"},
		{"small table", headerWith(map[int]uint32{36: 1}), "its L1 table maps 536870912 bytes of 1073741824"},
		{"large disk", headerWith(map[int]uint32{24: 1 << 31}), "its L1 table maps 1073741824 bytes of 9223372037928517632"},
	} {
		h, err := parseHeader(test.data)
		got := fmt.Sprint(h.clusterSize)
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// The search for data on a disk of 64 PiB, all of it one hole, ends when it is told to.
func TestInterruptedSearch(t *testing.T) {
	image := headerWith(map[int]uint32{20: 21, 24: 1 << 24, 28: 0, 36: 1 << 17})
	image = append(image, make([]byte, 1<<20)...)
	d, err := newImage(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	reason := errors.New("interrupted")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, reason)
	defer cancel()
	if _, _, err := d.Data(ctx, 0); err != reason {
		t.Error(err)
	}
}

// A file that is cut off is not read as if it ended with zeroes, unless only its last cluster is not whole.
func TestCutOff(t *testing.T) {
	const counts = 2 * ClusterSize // are last, and nobody who only reads needs them
	for _, c := range compressions {
		whole := content(t, convert(t, disks[1].write(t), c))
		image := func(size int) error {
			d, err := newImage(bytes.NewReader(whole[:size]), int64(size))
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, io.NewSectionReader(d, 0, d.Size()))
			return err
		}
		for size := 0; size <= len(whole)-counts-ClusterSize; size += ClusterSize / 2 {
			if err := image(size); err == nil {
				t.Errorf("%s: nothing is wrong with %d bytes of %d", c.Name, size, len(whole))
			}
		}
	}
}

// Writers may leave away what is zero at the end of the last cluster. Here that is the table of the second level, of which
// 16 entries are in use: the one of the first level has found room in the header.
func TestCutLastCluster(t *testing.T) {
	image := content(t, convert(t, disks[1].write(t), Compression{}))
	table := binary.BigEndian.Uint64(image[40:])
	copy(image[4096:], image[table:table+8])
	binary.BigEndian.PutUint64(image[40:], 4096)
	image = image[:table-ClusterSize+16*8]
	d, err := newImage(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	if err := sameData(rawOf(t, disks[1].write(t)), d); err != nil {
		t.Error(err)
	}
}

// Whatever is in a file, reading it ends, without a panic and with no more memory than a table takes.
func FuzzOpen(f *testing.F) {
	for _, c := range compressions {
		image := content(f, convert(f, disk{size: 200000, pieces: []piece{{70000, text(3, 2000)}}}.write(f), c))
		var parts bytes.Buffer // the clusters behind each other as far as there is something in them
		for at := 0; at < len(image); at += ClusterSize {
			parts.Write(image[at : at+1024])
		}
		f.Add(parts.Bytes())
	}
	f.Fuzz(func(t *testing.T, parts []byte) {
		var image []byte
		for len(parts) > 0 {
			n := min(len(parts), 1024)
			image = append(image, parts[:n]...)
			image = append(image, make([]byte, ClusterSize-n)...)
			parts = parts[n:]
		}
		d, err := newImage(bytes.NewReader(image), int64(len(image)))
		if err != nil {
			return
		}
		if d.Size() < 0 {
			t.Errorf("it has %d bytes", d.Size())
		}
		if d.Size() <= 1<<30 { // of a larger one, looking for data takes as long as its tables say
			start, end, err := d.Data(t.Context(), 0)
			if err == nil && (start < 0 || start >= end || end > d.Size()) {
				t.Errorf("it has data from %d to %d of %d", start, end, d.Size())
			}
		}
		buffer := make([]byte, ClusterSize)
		for at := int64(0); at < min(d.Size(), 4*ClusterSize); at += ClusterSize {
			if n, err := d.ReadAt(buffer, at); n < 0 || n > len(buffer) || n < len(buffer) && err == nil {
				t.Errorf("at %d: %d, %v", at, n, err)
			}
		}
	})
}
