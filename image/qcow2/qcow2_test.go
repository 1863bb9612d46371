package qcow2

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/offers"
)

// piece is data at an offset of a disk.
type piece struct {
	offset int64
	data   []byte
}

// random returns bytes that do not compress, the same each time.
func random(seed uint64, size int) []byte {
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(seed)}).Read(data)
	return data
}

// text returns bytes that compress to an eighth or so, no two clusters alike.
func text(seed uint64, size int) []byte {
	var b bytes.Buffer
	for i := seed << 32; b.Len() < size; i++ {
		fmt.Fprintf(&b, "line %d: %x of some file\n", i, i*0x9e3779b97f4a7c15)
	}
	return b.Bytes()[:size]
}

// disk is a test's disk: a file with holes.
type disk struct {
	name   string
	size   int64
	pieces []piece
}

// disks are what is written and read back. The last has more clusters of all kinds than processors take at once.
var disks = []disk{
	{"zeroes", 10 << 20, nil},
	{"a byte at each end", 1 << 20, []piece{{0, []byte{1}}, {1<<20 - 1, []byte{2}}}},
	{"half a cluster", 3*ClusterSize + ClusterSize/2, []piece{{3*ClusterSize + 100, text(1, 30000)}}},
	{"half a sector", ClusterSize + 700, []piece{{ClusterSize + 650, []byte("the end")}}},
	{"written zeroes", 1 << 20, []piece{{0, make([]byte, 1<<20)}, {5 * ClusterSize, []byte("x")}}},
	{"incompressible", 8 << 20, []piece{{0, random(1, 3<<20)}, {5<<20 + 777, random(2, 100000)}}},
	{"several tables", 2 << 30, []piece{{511 << 20, text(2, 2<<20)}, {1536<<20 - 5, []byte("0123456789")}}},
	{"mixed", 10<<20 - 700, mixed(10 << 20)},
}

// mixed alternates between all kinds of clusters.
func mixed(size int64) []piece {
	var pieces []piece
	for at, i := int64(0), uint64(0); at < size; at, i = at+ClusterSize, i+1 {
		switch (i * 0x9e3779b97f4a7c15) >> 61 {
		case 0:
		case 1, 2:
			pieces = append(pieces, piece{at, random(i, ClusterSize)})
		case 3:
			pieces = append(pieces, piece{at + 60000, random(i, 5000)})
		default:
			pieces = append(pieces, piece{at, append(text(i, ClusterSize/2), random(i, ClusterSize/2)...)})
		}
	}
	return pieces
}

func (d disk) write(t testing.TB) *os.File {
	t.Helper()
	f := newFile(t)
	if err := f.Truncate(d.size); err != nil {
		t.Fatal(err)
	}
	for _, p := range d.pieces {
		p.data = p.data[:min(int64(len(p.data)), d.size-p.offset)]
		if _, err := f.WriteAt(p.data, p.offset); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func newFile(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func rawOf(t testing.TB, f *os.File) Disk {
	t.Helper()
	d, err := Raw(f)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// convert writes a raw disk's file as qcow2.
func convert(t testing.TB, from *os.File, c Compression) *os.File {
	t.Helper()
	f := newFile(t)
	if err := Write(t.Context(), f, rawOf(t, from), Options{Compression: c}); err != nil {
		t.Fatal(err)
	}
	return f
}

// content reads a file as a whole; a part of a gigabyte of zeroes is as cheap as it is large.
func content(t testing.TB, f *os.File) []byte {
	t.Helper()
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func sizeOf(t testing.TB, f *os.File) int64 {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// sameData compares what two disks have where one of them may have data, up to the size of the first one.
func sameData(a, b Disk) error {
	for _, d := range []Disk{a, b} {
		for c, err := range chunks(context.Background(), d) {
			if err != nil {
				return err
			}
			x, y := make([]byte, c.size), make([]byte, c.size)
			if err := errors.Join(read(a, x, c.start), read(b, y, c.start)); err != nil {
				return err
			}
			if !bytes.Equal(x, y) {
				return fmt.Errorf("they differ in the %d bytes at %d", c.size, c.start)
			}
		}
	}
	return nil
}

// What is written is what was there, read by another's program as far as that goes.
func TestReadBack(t *testing.T) {
	for _, d := range disks {
		source := d.write(t)
		want := rawOf(t, source)
		for _, c := range compressions {
			t.Run(d.name+" "+c.Name, func(t *testing.T) {
				file := convert(t, source, c)
				got, err := Open(file)
				if err != nil {
					t.Fatal(err)
				}
				if size := roundUp(d.size, 512); got.Size() != size {
					t.Errorf("it has %d bytes, want %d", got.Size(), size)
				}
				if err := sameData(want, got); err != nil {
					t.Error(err)
				}
				back := newFile(t)
				if err := WriteRaw(t.Context(), back, got, nil); err != nil {
					t.Fatal(err)
				}
				if err := sameData(want, rawOf(t, back)); err != nil {
					t.Errorf("as a raw disk again: %v", err)
				}
			})
		}
	}
}

// QEMU finds nothing wrong and the same content, and writes what is read here.
func TestJudges(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "qemu-img")
	qemu := func(t *testing.T, args ...string) string {
		t.Helper()
		out, err := exec.Command("qemu-img", args...).CombinedOutput()
		if err != nil {
			t.Errorf("qemu-img %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	for _, d := range disks {
		source := d.write(t)
		for _, c := range compressions {
			t.Run(d.name+" "+c.Name, func(t *testing.T) {
				file := convert(t, source, c).Name()
				qemu(t, "check", "-f", "qcow2", file)
				qemu(t, "compare", "-f", "raw", "-F", "qcow2", source.Name(), file)
			})
		}
		for _, args := range [][]string{
			{}, {"-c"}, {"-c", "-o", "compression_type=zstd"}, {"-o", "cluster_size=4k"}, {"-c", "-o", "cluster_size=2M"},
			{"-o", "compat=0.10"},
		} {
			t.Run(d.name+" from QEMU "+strings.Join(args, " "), func(t *testing.T) {
				file := newFile(t)
				qemu(t, append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, args...), source.Name(), file.Name())...)
				got, err := Open(file)
				if err != nil {
					t.Fatal(err)
				}
				if err := sameData(rawOf(t, source), got); err != nil {
					t.Error(err)
				}
			})
		}
	}
	empty := newFile(t)
	qemu(t, "create", "-q", "-f", "qcow2", empty.Name(), "1M")
	if got := content(t, empty)[:len(goldenHeader())]; !bytes.Equal(got, goldenHeader()) {
		t.Errorf("QEMU begins an empty disk with\n%s", hex.Dump(got))
	}
}

// goldenHeader is what QEMU 7.2 to 10.0 write first:
//
//	qemu-img create -q -f qcow2 x 1M && head -c 592 x | xxd
func goldenHeader() []byte {
	b := make([]byte, 592)
	for offset, words := range map[int]string{
		0x00: "514649fb00000003", 0x10: "000000000000001000000000" + "00100000", 0x20: "0000000000000001" + "0000000000030000",
		0x30: "0000000000010000" + "0000000100000000", 0x60: "0000000400000070", 0x70: "6803f85700000180",
	} {
		data, _ := hex.DecodeString(words)
		copy(b[offset:], data)
	}
	for i, name := range []string{
		"\x00\x00dirty bit", "\x00\x01corrupt bit", "\x00\x02external data file", "\x00\x03compression type",
		"\x00\x04extended L2 entries", "\x01\x00lazy refcounts", "\x02\x00bitmaps", "\x02\x01raw external data",
	} {
		copy(b[0x78+i*48:], name)
	}
	return b
}

func TestHeader(t *testing.T) {
	h := header{size: 1 << 20, entriesL1: 1, offsetL1: 0x30000, offsetRefcounts: 0x10000, clustersRefcounts: 1}
	b := h.bytes()
	if d := cmp.Diff(hex.Dump(goldenHeader()), hex.Dump(b[:592])); d != "" {
		t.Error(d)
	}
	if len(b) != ClusterSize || !isZero(b[592:]) {
		t.Errorf("there is more than the header in its %d bytes", len(b))
	}
	h.compression = 1
	b = h.bytes()
	if b[79] != 8 || b[104] != 1 {
		t.Errorf("of zstd, bit 3 of the incompatible features is not set (%#x), or the type is %d, not 1", b[79], b[104])
	}
}

// The bytes depend neither on the number of processors nor on where the source has holes.
func TestSameBytes(t *testing.T) {
	last := disks[len(disks)-1]
	source := last.write(t)
	full := newFile(t)
	if _, err := full.Write(content(t, source)); err != nil {
		t.Fatal(err)
	}
	for _, c := range compressions {
		want := content(t, convert(t, source, c))
		if !bytes.Equal(want, content(t, convert(t, full, c))) {
			t.Errorf("%s: holes make a difference", c.Name)
		}
		for _, processors := range []int{1, 7} {
			before := runtime.GOMAXPROCS(processors)
			got := content(t, convert(t, source, c))
			runtime.GOMAXPROCS(before)
			if !bytes.Equal(want, got) {
				t.Errorf("%s: it differs with %d processors", c.Name, processors)
			}
		}
	}
}

// A file is as small as it can be: clusters of zeroes take no room, and others fill what is left between them.
func TestSizes(t *testing.T) {
	for _, test := range []struct {
		disk        string
		compression string
		clusters    int64 // of the file: those of data, five for the header and a table of each kind, further tables
	}{
		{"zeroes", "none", 4},
		{"written zeroes", "none", 1 + 5},
		{"written zeroes", "zstd", 1 + 5},
		{"several tables", "none", 34 + 5 + 3},
		{"several tables", "zlib", 9 + 5 + 3},
		{"incompressible", "zlib", 50 + 5},
	} {
		d := disks[slices.IndexFunc(disks, func(d disk) bool { return d.name == test.disk })]
		c, err := LookupCompression(test.compression)
		if err != nil {
			t.Fatal(err)
		}
		if got := sizeOf(t, convert(t, d.write(t), c)); got != test.clusters*ClusterSize {
			t.Errorf("%s, %s: %d clusters and %d bytes, want %d", d.name, c.Name, got/ClusterSize, got%ClusterSize, test.clusters)
		}
	}
}

func TestAllocBytes(t *testing.T) {
	w := &writer{}
	w.alloc(1)
	var got []int64
	for _, n := range []int64{60000, 10000, -1, 30000, -1, 50000, 8000, 61072, 100, 65535, 1, 1} {
		if n < 0 {
			got = append(got, -w.alloc(1))
			continue
		}
		got = append(got, w.allocBytes(n))
	}
	want := []int64{
		65536, 125536, // over the end of the cluster into a new one
		-3 * 65536, 135536, // in what is left of that
		-4 * 65536, 5 * 65536, // what is left is too small, and not the last cluster
		377680, // the last cluster's rest is smaller than the older one, and ends in a new cluster if need be
		385680, 446752, 446852, 512387, 512388,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]uint16{1, 2, 2, 1, 1, 3, 3, 3}, w.refcounts); d != "" {
		t.Errorf("reference counts: %s", d)
	}
}

// The counts of a large file have blocks of their own, which are counted too.
func TestRefcounts(t *testing.T) {
	for _, test := range []struct{ used, blocks int }{
		{1, 1}, {countsInBlock - 2, 1}, {countsInBlock - 1, 2}, {2*countsInBlock - 3, 2}, {2*countsInBlock - 2, 3},
	} {
		out := newFile(t)
		w := &writer{out: out, refcounts: make([]uint16, test.used)}
		offset, clusters, err := w.finishRefcounts()
		if err != nil {
			t.Fatal(err)
		}
		all := test.used + 1 + test.blocks
		if offset != int64(test.used)*ClusterSize || clusters != 1 || len(w.refcounts) != all || sizeOf(t, out) != int64(all)*ClusterSize {
			t.Errorf("%d clusters: table at %d, %d clusters, %d in all, file of %d bytes, want %d clusters in all",
				test.used, offset/ClusterSize, clusters, len(w.refcounts), sizeOf(t, out), all)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	for d, want := range map[Disk]string{
		sizedDisk{size: 1 << 62}: "write qcow2: a disk of 4611686018427387904 bytes is too large",
		sizedDisk{size: 0}:       "write qcow2: the disk has 0 bytes",
	} {
		if err := Write(t.Context(), newFile(t), d, Options{}); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for name, want := range map[string]string{
		"": "", "none": "", "zlib": "", "zstd": "", "lzma": `qcow2 compression "lzma" is not one of none, zlib, zstd`,
	} {
		c, err := LookupCompression(name)
		if got := fmt.Sprint(err); got != want && (err != nil || want != "") || c.None() != (name == "" || name == "none" || err != nil) {
			t.Errorf("%q: %v, %v, want %s", name, c.Name, err, want)
		}
	}
}

type sizedDisk struct {
	Disk
	size int64
}

func (d sizedDisk) Size() int64 { return d.size }

// failing fails the n-th of its calls.
type failing struct {
	Disk
	io.WriterAt
	calls, n int64
}

var errTest = errors.New("no luck")

func (f *failing) ReadAt(p []byte, offset int64) (int, error) {
	if atomic.AddInt64(&f.calls, 1) == f.n {
		return 0, errTest
	}
	return f.Disk.ReadAt(p, offset)
}

func (f *failing) Data(ctx context.Context, offset int64) (int64, int64, error) {
	if atomic.AddInt64(&f.calls, 1) == f.n {
		return 0, 0, errTest
	}
	return f.Disk.Data(ctx, offset)
}

func (f *failing) WriteAt(p []byte, offset int64) (int, error) {
	if atomic.AddInt64(&f.calls, 1) == f.n {
		return 0, errTest
	}
	return f.WriterAt.WriteAt(p, offset)
}

// Whatever read or write fails, that is what is said, and nobody waits for a turn that does not come.
func TestWriteFails(t *testing.T) {
	d := disk{size: 40 << 20, pieces: []piece{{0, random(1, 100000)}, {5 << 20, text(1, 100000)}, {39 << 20, []byte("x")}}}
	source, out := rawOf(t, d.write(t)), newFile(t)
	for n := int64(1); ; n++ {
		f := &failing{Disk: source, WriterAt: out, n: n}
		err := Write(t.Context(), f, f, Options{})
		if err == nil {
			if n < 10 {
				t.Errorf("no more than %d calls were made", n)
			}
			return
		}
		if !errors.Is(err, errTest) || err.Error() != "write qcow2: no luck" {
			t.Fatalf("call %d: %v", n, err)
		}
	}
}

func TestInterrupted(t *testing.T) {
	source := rawOf(t, disks[len(disks)-1].write(t))
	reason := errors.New("interrupted")
	for name, write := range map[string]func(context.Context, func(int64)) error{
		"qcow2": func(ctx context.Context, progress func(int64)) error {
			return Write(ctx, newFile(t), source, Options{Progress: progress})
		},
		"raw": func(ctx context.Context, progress func(int64)) error {
			return WriteRaw(ctx, newFile(t), source, progress)
		},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		var last int64
		err := write(ctx, func(done int64) {
			last = done
			cancel(reason)
		})
		if !errors.Is(err, reason) || last == source.Size() {
			t.Errorf("%s: %v, after %d of %d bytes", name, err, last, source.Size())
		}
	}
}

func TestProgress(t *testing.T) {
	d := disk{size: 10 << 20, pieces: []piece{{0, random(1, 7<<20)}}} // the end is a hole
	source := rawOf(t, d.write(t))
	var got []int64
	if err := Write(t.Context(), newFile(t), source, Options{Progress: func(done int64) { got = append(got, done) }}); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(got); i++ {
		if got[i] < got[i-1] {
			t.Errorf("it goes backwards: %d", got)
		}
	}
	if len(got) < 5 || got[len(got)-1] != source.Size() {
		t.Errorf("it ends at %d", got)
	}
}
