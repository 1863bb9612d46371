package machine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

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
	mbrTable     = 446 // four entries of 16 bytes, the type at 4
	mbrTypeESP   = 0xef
	mbrTypeGPT   = 0xee
)

// C12A7328-F81F-11D2-BA4B-00A0C93EC93B as GPT writes it, its first three groups little endian (UEFI 2.10, 5.3.3).
var gptTypeESP = []byte{0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b}

// disk is an image opened to be looked at.
type disk struct {
	io.ReaderAt
	io.Closer
	format Format
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
		return &disk{ReaderAt: r, format: Raw}, nil
	case QCOW2:
		clusters.RegisterDecompressors()
		image, err := qcow2reader.OpenWithType(r, qcow2.Type)
		if err != nil {
			return nil, err
		}
		return &disk{ReaderAt: image, format: QCOW2}, nil
	}
	return nil, fmt.Errorf("format %q is none of %s, %s", format, Raw, QCOW2)
}

// refersToFiles looks at backing_file_offset and at bit 2, external data file, of version 3's incompatible_features
// (QEMU's docs/interop/qcow2.txt).
func refersToFiles(header []byte) bool {
	backing := binary.BigEndian.Uint64(header[8:]) != 0
	return backing || binary.BigEndian.Uint32(header[4:]) >= 3 && binary.BigEndian.Uint64(header[72:])&4 != 0
}

// firmware says what can start the disk: BIOS if there is boot code in its first sector, else UEFI if there is an EFI
// system partition.
func (d *disk) firmware() (Firmware, error) {
	first := make([]byte, sectorSize)
	if _, err := d.ReadAt(first, 0); err != nil {
		return "", fmt.Errorf("read its first sector: %w", err)
	}
	if !bytes.Equal(first[:bootCodeSize], make([]byte, bootCodeSize)) {
		return BIOS, nil
	}
	found, err := d.hasESP(first)
	switch {
	case err != nil:
		return "", err
	case !found:
		return "", errors.New("it has neither boot code in its first sector nor an EFI system partition: nothing can start it")
	}
	return UEFI, nil
}

func (d *disk) hasESP(first []byte) (bool, error) {
	for entry := range 4 {
		switch first[mbrTable+16*entry+4] {
		case mbrTypeESP:
			return true, nil
		case mbrTypeGPT:
			return d.gptHasESP()
		}
	}
	return false, nil
}

// gptHasESP reads the first copy of the table (UEFI 2.10, 5.3.2): the LBA of the entries at 72, their number at 80 and
// the size of each at 84.
func (d *disk) gptHasESP() (bool, error) {
	header := make([]byte, sectorSize)
	if _, err := d.ReadAt(header, sectorSize); err != nil {
		return false, fmt.Errorf("read its GPT: %w", err)
	}
	if !bytes.HasPrefix(header, []byte("EFI PART")) {
		return false, errors.New("its protective MBR is followed by no GPT")
	}
	start := int64(binary.LittleEndian.Uint64(header[72:]))
	number, size := binary.LittleEndian.Uint32(header[80:]), binary.LittleEndian.Uint32(header[84:])
	if number > 1024 || size < 128 || size > 4096 || start < 2 || start > 1<<32 {
		return false, fmt.Errorf("its GPT has %d entries of %d bytes at sector %d", number, size, start)
	}
	entries := make([]byte, int(number)*int(size))
	if _, err := d.ReadAt(entries, start*sectorSize); err != nil {
		return false, fmt.Errorf("read its GPT: %w", err)
	}
	for ; len(entries) > 0; entries = entries[size:] {
		if bytes.HasPrefix(entries, gptTypeESP) {
			return true, nil
		}
	}
	return false, nil
}
