package qcow2

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Options say how a disk is written; the zero value writes its clusters as they are.
type Options struct {
	Compression Compression
	Progress    func(done int64) // is told how far, in bytes of the disk, the work is; may be nil
}

const (
	entryCopied     uint64 = 1 << 63 // what the entry refers to has a reference count of 1
	entryCompressed uint64 = 1 << 62
	offsetBits             = 62 - (clusterBits - 8) // of a compressed cluster's entry; above are its sectors of 512, less one
	sectorSize             = 512

	// Clusters that do not compress interrupt those that do. With what lies in the rooms that are left so, the file of a
	// Debian system is smaller by 1.5 %, with a quarter of the rooms by 1.1 %.
	maxRooms = 256
)

// Write writes a disk as a qcow2 to an empty file.
//
// The file has its header first, then the clusters in the disk's order, each table of the second level after the clusters
// that it maps, and at last the other tables. A disk that does not end with a sector of 512 bytes gets the rest of one, as
// with QEMU.
func Write(ctx context.Context, out io.WriterAt, d Disk, o Options) error {
	if err := write(ctx, out, d, o); err != nil {
		return fmt.Errorf("write qcow2: %w", err)
	}
	return nil
}

func write(ctx context.Context, out io.WriterAt, d Disk, o Options) error {
	size := roundUp(d.Size(), sectorSize)
	entriesL1 := roundUp(size, entriesL2*ClusterSize) / (entriesL2 * ClusterSize)
	switch {
	case size == 0:
		return errors.New("the disk has 0 bytes")
	case entriesL1 > maxEntriesL1:
		return fmt.Errorf("a disk of %d bytes is too large", d.Size())
	}
	if o.Progress == nil {
		o.Progress = func(int64) {}
	}
	w := &writer{out: out, disk: d, options: o, l1: make([]uint64, entriesL1)}
	w.alloc(1) // the header's
	if err := forChunks(ctx, d, w.newWorker, w.write); err != nil {
		return err
	}
	if err := w.finish(uint64(size)); err != nil {
		return err
	}
	o.Progress(d.Size())
	return nil
}

// writer is a file in the making. Whoever has the turn may use it.
type writer struct {
	out     io.WriterAt
	disk    Disk
	options Options

	refcounts []uint16 // of the clusters of the file, so far
	rooms     []int64  // offsets in the file of what clusters of compressed ones have left, at most maxRooms
	l1        []uint64
	l2        []uint64 // of the clusters at work; nil: none
	indexL2   int64    // in l1
}

// worker has the memory for one chunk.
type worker struct {
	data   []byte
	packed []byte // compressed clusters
	encode encoder
	places []place
}

// place is where a piece of a chunk goes.
type place struct {
	data   []byte
	offset int64
}

func (w *writer) newWorker() *worker {
	k := &worker{data: make([]byte, chunkSize)}
	if w.options.Compression.encoder != nil {
		k.encode = w.options.Compression.encoder()
		k.packed = make([]byte, 0, chunkSize+ClusterSize)
	}
	return k
}

// write reads, compresses and writes a chunk. Only what decides where things are is done by one processor at a time.
func (w *writer) write(ctx context.Context, k *worker, c chunk, t turn) error {
	if err := read(w.disk, k.data[:c.size], c.start); err != nil {
		return err
	}
	clusters := k.pack(c.size)
	if err := t.wait(ctx); err != nil {
		return err
	}
	k.places = k.places[:0]
	for i, p := range clusters {
		if p.data == nil {
			continue
		}
		if err := w.place(k, c.start/ClusterSize+int64(i), p); err != nil {
			return err
		}
	}
	w.options.Progress(min(c.start+int64(c.size), w.disk.Size()))
	t.pass()
	for _, p := range k.places {
		if _, err := w.out.WriteAt(p.data, p.offset); err != nil {
			return err
		}
	}
	return nil
}

// packed is a cluster as it is to be written.
type packed struct {
	data       []byte // nil: nothing but zeroes
	compressed bool
}

var zeroes [ClusterSize]byte

// pack returns the clusters of a chunk, each compressed if that makes it smaller.
func (k *worker) pack(size int) []packed {
	var list []packed
	k.packed = k.packed[:0]
	for cluster := range slices.Chunk(k.data[:size], ClusterSize) {
		switch {
		case bytes.Equal(cluster, zeroes[:]):
			list = append(list, packed{})
			continue
		case k.encode == nil:
			list = append(list, packed{data: cluster})
			continue
		}
		before := len(k.packed)
		k.packed = k.encode(k.packed, cluster)
		if data := k.packed[before:]; len(data) < ClusterSize {
			list = append(list, packed{data, true})
			continue
		}
		k.packed = k.packed[:before]
		list = append(list, packed{data: cluster})
	}
	return list
}

// place finds room for a cluster of the disk and enters it in its table.
func (w *writer) place(k *worker, index int64, p packed) error {
	if err := w.turnTo(index / entriesL2); err != nil {
		return err
	}
	offset, entry := int64(0), uint64(0)
	if p.compressed {
		offset = w.allocBytes(int64(len(p.data)))
		sectors := (offset+int64(len(p.data))-1)/sectorSize - offset/sectorSize
		entry = uint64(offset) | uint64(sectors)<<offsetBits | entryCompressed
	} else {
		offset = w.alloc(1)
		entry = uint64(offset) | entryCopied
	}
	w.l2[index%entriesL2] = entry
	k.put(place{p.data, offset})
	return nil
}

// put adds a piece to what is to be written, joined to the piece before it if it follows that in memory and in the file.
func (k *worker) put(p place) {
	if len(k.places) > 0 {
		last := &k.places[len(k.places)-1]
		size := len(last.data)
		if last.offset+int64(size) == p.offset && size < cap(last.data) && &last.data[:size+1][size] == &p.data[0] {
			last.data = last.data[:size+len(p.data)]
			return
		}
	}
	k.places = append(k.places, p)
}

// alloc returns the offset of n new clusters at the end of the file.
func (w *writer) alloc(n int) int64 {
	offset := int64(len(w.refcounts)) * ClusterSize
	for range n {
		w.refcounts = append(w.refcounts, 1)
	}
	return offset
}

// allocBytes returns the offset of n bytes, less than a cluster's: in the smallest room that they fit in, else at the end of
// the file. A piece may begin in the file's last cluster and end in a new one; both count it.
func (w *writer) allocBytes(n int64) int64 {
	best, end := -1, int64(len(w.refcounts))*ClusterSize
	for i, offset := range w.rooms {
		fits := n <= roomAt(offset) || offset+roomAt(offset) == end
		if fits && (best < 0 || roomAt(offset) < roomAt(w.rooms[best])) {
			best = i
		}
	}
	offset := end
	if best >= 0 {
		offset = w.rooms[best]
		w.rooms = slices.Delete(w.rooms, best, best+1)
		w.refcounts[offset/ClusterSize]++
	}
	if offset+n > end {
		w.alloc(1)
	}
	if after := offset + n; after%ClusterSize != 0 {
		w.rooms = append(w.rooms, after)
	}
	if len(w.rooms) > maxRooms {
		w.rooms = w.rooms[1:]
	}
	return offset
}

// roomAt returns how many bytes there are from an offset to the end of its cluster.
func roomAt(offset int64) int64 { return ClusterSize - offset%ClusterSize }

// turnTo makes l2 the table of that index, and writes the one before it.
func (w *writer) turnTo(index int64) error {
	if w.l2 != nil && w.indexL2 == index {
		return nil
	}
	if err := w.endL2(); err != nil {
		return err
	}
	w.l2, w.indexL2 = make([]uint64, entriesL2), index
	return nil
}

func (w *writer) endL2() error {
	if w.l2 == nil {
		return nil
	}
	offset := w.alloc(1)
	w.l1[w.indexL2] = uint64(offset) | entryCopied
	return w.table(w.l2, offset)
}

// finish writes everything but the clusters.
func (w *writer) finish(size uint64) error {
	if err := w.endL2(); err != nil {
		return err
	}
	h := header{size: size, entriesL1: uint32(len(w.l1)), compression: w.options.Compression.number}
	h.offsetL1 = uint64(w.alloc(clustersOf(len(w.l1) * 8)))
	if err := w.table(w.l1, int64(h.offsetL1)); err != nil {
		return err
	}
	offset, clusters, err := w.finishRefcounts()
	if err != nil {
		return err
	}
	h.offsetRefcounts, h.clustersRefcounts = uint64(offset), uint32(clusters)
	_, err = w.out.WriteAt(h.bytes(), 0)
	return err
}

// finishRefcounts writes the reference counts, which count their own clusters too, and returns where their table is.
func (w *writer) finishRefcounts() (offset int64, clusters int, err error) {
	used, blocks := len(w.refcounts), 0
	for {
		clusters = max(1, clustersOf(blocks*8))
		needed := roundUp(used+blocks+clusters, countsInBlock) / countsInBlock
		if needed == blocks {
			break
		}
		blocks = needed
	}
	offset = w.alloc(clusters)
	first := w.alloc(blocks)
	table := make([]uint64, clusters*ClusterSize/8)
	for i := range blocks {
		table[i] = uint64(first + int64(i)*ClusterSize)
	}
	if err := w.table(table, offset); err != nil {
		return 0, 0, err
	}
	b := make([]byte, 0, blocks*ClusterSize)
	for _, count := range w.refcounts {
		b = binary.BigEndian.AppendUint16(b, count)
	}
	_, err = w.out.WriteAt(b[:cap(b)], first)
	return offset, clusters, err
}

// table writes a table's entries, in whole clusters.
func (w *writer) table(entries []uint64, offset int64) error {
	b := make([]byte, 0, clustersOf(len(entries)*8)*ClusterSize)
	for _, e := range entries {
		b = binary.BigEndian.AppendUint64(b, e)
	}
	_, err := w.out.WriteAt(b[:cap(b)], offset)
	return err
}

// clustersOf returns how many clusters so many bytes take.
func clustersOf(n int) int { return roundUp(n, ClusterSize) / ClusterSize }
