package machine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	qcow2reader "github.com/lima-vm/go-qcow2reader"
	"github.com/lima-vm/go-qcow2reader/image/qcow2"

	clusters "vmbuild/image/qcow2"
)

// Format is how an image file holds its disk.
type Format string

// The formats that can be told apart.
const (
	Raw   Format = "raw"
	QCOW2 Format = "qcow2"
)

const (
	sectorSize   = 512
	bootCodeSize = 440
	mbrTable     = 446
	mbrTypeNone  = 0
	mbrTypePReP  = 0x41
	mbrTypeESP   = 0xef
	mbrTypeGPT   = 0xee
)

// C12A7328-F81F-11D2-BA4B-00A0C93EC93B and 9E1A2D38-C612-4316-AA26-8B49521E5A8B as GPT writes them, the first three
// groups little endian (UEFI 2.10, 5.3.3).
var (
	gptTypeESP  = []byte{0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b}
	gptTypePReP = []byte{0x38, 0x2d, 0x1a, 0x9e, 0x12, 0xc6, 0x16, 0x43, 0xaa, 0x26, 0x8b, 0x49, 0x52, 0x1e, 0x5a, 0x8b}
)

// disk is an image opened to be looked at.
type disk struct {
	io.ReaderAt
	io.Closer
	format Format
	size   int64 // bytes
}

// openDisk opens an image; with an empty format, the one that its first bytes say.
//
// A guest can write any first bytes to a raw disk, also those of a qcow2 that is based on some file of the host and so
// shows it to the guest. So a qcow2 with a backing or data file is started only if the caller asked for qcow2.
func openDisk(path string, format Format) (*disk, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	d, err := newDisk(file, format)
	if err == nil && d.format == Raw {
		d.size, err = file.Seek(0, io.SeekEnd) // of a block device, too
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	d.Closer = file
	return d, nil
}

func newDisk(r io.ReaderAt, format Format) (*disk, error) {
	header := make([]byte, 104) // qcow2, version 3
	if _, err := r.ReadAt(header, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if format == "" {
		format = Raw
		if bytes.HasPrefix(header, []byte("QFI\xfb")) {
			format = QCOW2
			if refersToFiles(header) {
				return nil, errors.New("it is a qcow2 based on another file: name its format to start it all the same")
			}
		}
	}
	switch format {
	case Raw:
		return &disk{ReaderAt: r, format: Raw}, nil // its size is the file's
	case QCOW2:
		clusters.RegisterDecompressors()
		image, err := qcow2reader.OpenWithType(r, qcow2.Type)
		if err != nil {
			return nil, err
		}
		return &disk{ReaderAt: image, format: QCOW2, size: image.Size()}, nil
	}
	return nil, fmt.Errorf("format %q is none of %s, %s", format, Raw, QCOW2)
}

// refersToFiles looks at backing_file_offset and at bit 2, external data file, of version 3's incompatible_features
// (QEMU's docs/interop/qcow2.txt).
func refersToFiles(header []byte) bool {
	backing := binary.BigEndian.Uint64(header[8:]) != 0
	return backing || binary.BigEndian.Uint32(header[4:]) >= 3 && binary.BigEndian.Uint64(header[72:])&4 != 0
}

// slot is a partition, as the disk's table describes it.
type slot struct {
	start     int64 // byte
	esp, prep bool  // of type EFI system partition, PowerPC PReP boot
	active    bool
}

// hasBootCode looks at the first sector, where a BIOS finds what it starts.
func (d *disk) hasBootCode() (bool, error) {
	first, err := d.firstSector()
	return err == nil && !bytes.Equal(first[:bootCodeSize], make([]byte, bootCodeSize)), err
}

// having returns what looks for a partition.
func having(what func(slot) bool) func(*disk) (bool, error) {
	return func(d *disk) (bool, error) {
		slots, err := d.slots()
		return slices.ContainsFunc(slots, what), err
	}
}

func (d *disk) firstSector() ([]byte, error) {
	first := make([]byte, sectorSize)
	if _, err := d.ReadAt(first, 0); err != nil {
		return nil, fmt.Errorf("read its first sector: %w", err)
	}
	return first, nil
}

// slots returns the partitions of the disk's table, without logical ones. The first sector has four entries of 16 bytes:
//
//	offset  bytes  field
//	0       1      0x80: active
//	4       1      type; 0: none
//	8       4      first sector
func (d *disk) slots() ([]slot, error) {
	first, err := d.firstSector()
	if err != nil {
		return nil, err
	}
	var slots []slot
	for table := first[mbrTable : mbrTable+4*16]; len(table) > 0; table = table[16:] {
		switch kind := table[4]; kind {
		case mbrTypeNone:
		case mbrTypeGPT:
			return d.gptSlots()
		default:
			slots = append(slots, slot{
				start: int64(binary.LittleEndian.Uint32(table[8:])) * sectorSize,
				esp:   kind == mbrTypeESP, prep: kind == mbrTypePReP, active: table[0] == 0x80,
			})
		}
	}
	return slots, nil
}

// gptSlots reads the first copy of the table (UEFI 2.10, 5.3.2): the LBA of the entries at 72, their number at 80 and
// the size of each at 84. Of an entry (5.3.3), the type is at 0, the first LBA at 32 and the attributes at 48, whose bit 2
// is for "legacy BIOS bootable".
func (d *disk) gptSlots() ([]slot, error) {
	header := make([]byte, sectorSize)
	if _, err := d.ReadAt(header, sectorSize); err != nil {
		return nil, fmt.Errorf("read its GPT: %w", err)
	}
	if !bytes.HasPrefix(header, []byte("EFI PART")) {
		return nil, errors.New("its protective MBR is followed by no GPT")
	}
	start := int64(binary.LittleEndian.Uint64(header[72:]))
	number, size := binary.LittleEndian.Uint32(header[80:]), binary.LittleEndian.Uint32(header[84:])
	if number > 1024 || size < 128 || size > 4096 || start < 2 || start > 1<<32 {
		return nil, fmt.Errorf("its GPT has %d entries of %d bytes at sector %d", number, size, start)
	}
	entries := make([]byte, int(number)*int(size))
	if _, err := d.ReadAt(entries, start*sectorSize); err != nil {
		return nil, fmt.Errorf("read its GPT: %w", err)
	}
	var slots []slot
	for ; len(entries) > 0; entries = entries[size:] {
		first := binary.LittleEndian.Uint64(entries[32:])
		if bytes.Equal(entries[:16], make([]byte, 16)) || first > 1<<40 {
			continue
		}
		slots = append(slots, slot{
			start: int64(first) * sectorSize,
			esp:   bytes.HasPrefix(entries, gptTypeESP), prep: bytes.HasPrefix(entries, gptTypePReP),
			active: entries[48]&4 != 0,
		})
	}
	return slots, nil
}
