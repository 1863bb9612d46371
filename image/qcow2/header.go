package qcow2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// ClusterSize is that of the files that Write writes, in bytes.
const ClusterSize = 1 << clusterBits

const (
	clusterBits  = 16
	refcountBits = 4 // the exponent: counts of 16 bits

	entriesL2     = ClusterSize / 8 // clusters that a table of the second level maps
	countsInBlock = ClusterSize / 2
	maxEntriesL1  = 32 << 20 / 8 // QCOW_MAX_L1_SIZE in QEMU's block/qcow2.h
	headerSize    = 112
)

// Magic is what qcow2 files begin with.
const Magic = "QFI\xfb"

// Bits of incompatible_features.
const (
	featureDirty uint64 = 1 << iota
	featureCorrupt
	featureDataFile
	featureCompression
	featureExtendedL2
)

// header has the fields of the file's header that differ from file to file.
type header struct {
	size              uint64 // of the disk
	entriesL1         uint32
	offsetL1          uint64
	offsetRefcounts   uint64 // of the table
	clustersRefcounts uint32 // of the table
	compression       byte
}

// bytes returns the first bytes of the file: the header's fields in order, its extensions, and zeroes.
func (h header) bytes() []byte {
	incompatible := uint64(0)
	if h.compression != 0 {
		incompatible = featureCompression
	}
	be := binary.BigEndian
	b := make([]byte, 0, ClusterSize)
	b = append(b, Magic...)
	b = be.AppendUint32(b, 3)                   //   4 version
	b = be.AppendUint64(b, 0)                   //   8 backing_file_offset
	b = be.AppendUint32(b, 0)                   //  16 backing_file_size
	b = be.AppendUint32(b, clusterBits)         //  20 cluster_bits
	b = be.AppendUint64(b, h.size)              //  24 size
	b = be.AppendUint32(b, 0)                   //  32 crypt_method
	b = be.AppendUint32(b, h.entriesL1)         //  36 l1_size
	b = be.AppendUint64(b, h.offsetL1)          //  40 l1_table_offset
	b = be.AppendUint64(b, h.offsetRefcounts)   //  48 refcount_table_offset
	b = be.AppendUint32(b, h.clustersRefcounts) //  56 refcount_table_clusters
	b = be.AppendUint32(b, 0)                   //  60 nb_snapshots
	b = be.AppendUint64(b, 0)                   //  64 snapshots_offset
	b = be.AppendUint64(b, incompatible)        //  72 incompatible_features
	b = be.AppendUint64(b, 0)                   //  80 compatible_features
	b = be.AppendUint64(b, 0)                   //  88 autoclear_features
	b = be.AppendUint32(b, refcountBits)        //  96 refcount_order
	b = be.AppendUint32(b, headerSize)          // 100 header_length
	b = append(b, h.compression)                // 104 compression_type
	b = append(b, make([]byte, 7)...)           // 105 padding
	b = appendFeatureNames(b)
	b = be.AppendUint64(b, 0) // the end of the extensions
	return b[:ClusterSize]
}

// feature names a feature bit to programs that do not know it.
type feature struct {
	kind, bit byte // kind: 0 incompatible, 1 compatible, 2 autoclear
	name      string
}

// features are those that QEMU names in the files it writes (qcow2_update_header in block/qcow2.c).
var features = []feature{
	{0, 0, "dirty bit"}, {0, 1, "corrupt bit"}, {0, 2, "external data file"}, {0, 3, "compression type"},
	{0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"}, {2, 0, "bitmaps"}, {2, 1, "raw external data"},
}

// appendFeatureNames appends the extension with the names of all features, 48 bytes each.
func appendFeatureNames(b []byte) []byte {
	const entry = 48
	b = binary.BigEndian.AppendUint32(b, 0x6803f857)
	b = binary.BigEndian.AppendUint32(b, uint32(len(features)*entry))
	for _, f := range features {
		b = append(b, f.kind, f.bit)
		b = append(b, f.name...)
		b = append(b, make([]byte, entry-2-len(f.name))...)
	}
	return b
}

// foreign is what matters of the header of a file that somebody else may have written.
type foreign struct {
	clusterSize int64
}

// parseHeader reads the header of a file, of which it gets the first bytes, and says why this package cannot or should not
// read the file. The limits are QEMU's: a file within them cannot make a reader take much memory.
func parseHeader(data []byte) (foreign, error) {
	const sizeV2, sizeV3 = 72, 104
	if len(data) < sizeV2 || !bytes.HasPrefix(data, []byte(Magic)) {
		return foreign{}, errors.New("it has no qcow2 header")
	}
	be := binary.BigEndian
	version := be.Uint32(data[4:])
	switch {
	case version != 2 && version != 3:
		return foreign{}, fmt.Errorf("it is a qcow of version %d: only 2 and 3 can be read", version)
	case be.Uint64(data[8:]) != 0:
		return foreign{}, fmt.Errorf("it is based on another file%s, and has only what differs from that", backingName(data))
	case be.Uint32(data[32:]) != 0:
		return foreign{}, errors.New("it is encrypted")
	case version == 3 && len(data) < sizeV3:
		return foreign{}, errors.New("its header is cut off")
	}
	if version == 3 {
		if err := readable(be.Uint64(data[72:]), data); err != nil {
			return foreign{}, err
		}
	}
	return parseGeometry(be.Uint32(data[20:]), be.Uint64(data[24:]), be.Uint32(data[36:]))
}

// readable says what of the incompatible features is in the way.
func readable(incompatible uint64, data []byte) error {
	length := binary.BigEndian.Uint32(data[100:])
	switch {
	case incompatible&featureCorrupt != 0:
		return errors.New("it is marked as corrupt")
	case incompatible&featureDataFile != 0:
		return errors.New("its data are in another file")
	case incompatible&featureExtendedL2 != 0:
		return errors.New("it has subclusters (extended L2 entries), which cannot be read")
	case incompatible >= featureExtendedL2<<1:
		return fmt.Errorf("it has features that are not known (%#x)", incompatible)
	case length < 104 || length%8 != 0 || length > ClusterSize:
		return fmt.Errorf("its header cannot have %d bytes", length)
	case length > 104 && len(data) > 104 && data[104] > 1:
		return fmt.Errorf("its compression type %d is not known", data[104])
	}
	return nil
}

// parseGeometry checks that the table of the first level, with entriesL1, maps the whole disk.
func parseGeometry(bits uint32, size uint64, entriesL1 uint32) (foreign, error) {
	if bits < 9 || bits > 21 {
		return foreign{}, fmt.Errorf("its clusters cannot have 2^%d bytes", bits)
	}
	if size == 0 {
		return foreign{}, errors.New("its disk has 0 bytes")
	}
	if entriesL1 > maxEntriesL1 {
		return foreign{}, fmt.Errorf("its L1 table cannot have %d entries", entriesL1)
	}
	mapped := uint64(entriesL1) << (2*bits - 3)
	if size > mapped {
		return foreign{}, fmt.Errorf("its L1 table maps %d bytes of %d", mapped, size)
	}
	return foreign{clusterSize: 1 << bits}, nil
}

// backingName returns the name of the file that a file is based on, quoted, where it is among the first bytes.
func backingName(data []byte) string {
	offset, size := binary.BigEndian.Uint64(data[8:]), binary.BigEndian.Uint32(data[16:])
	if size == 0 || size > 1023 || offset > uint64(len(data)) || uint64(size) > uint64(len(data))-offset {
		return ""
	}
	return fmt.Sprintf(" (%q)", data[offset:][:size])
}
