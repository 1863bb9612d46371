package machine

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
)

// card is QEMU's option for the image as an SD card. The size of a card is written into its registers in a form that only
// powers of two fit (SD Physical Layer 5.3.2), and QEMU takes no others: such an image is started with what is written
// to a layer over it, which is larger, or not at all.
func (m Machine) card(dir string) (string, error) {
	disk, err := openDisk(m.Image, m.Format)
	if err != nil {
		return "", err
	}
	defer disk.Close()
	size := int64(1) << bits.Len64(uint64(disk.size-1))
	switch {
	case size == disk.size && m.Snapshot:
		return fmt.Sprintf("if=sd,format=%s,file=%s,snapshot=on", m.Format, comma(m.Image)), nil
	case size == disk.size:
		return fmt.Sprintf("if=sd,format=%s,file=%s", m.Format, comma(m.Image)), nil
	case !m.Snapshot:
		return "", fmt.Errorf("an SD card has a power of two as its size, and this image has %d bytes: "+
			"make it %d bytes large (truncate -s %[2]d), or start it with a snapshot", disk.size, size)
	}
	layer := filepath.Join(dir, "card.qcow2")
	if err := os.WriteFile(layer, cardLayer(m.Image, m.Format, size), 0o600); err != nil {
		return "", err
	}
	return "if=sd,format=qcow2,file=" + comma(layer), nil
}

// cardLayer returns a qcow2 without data of its own, over a file that may be smaller: what is behind that is zeroes. It
// has four clusters of 64 KiB: header, table of reference counts, the counts, and the first level of the table of
// clusters, each entry of which is for 512 MiB (QEMU's docs/interop/qcow2.txt; qemu-img create -f qcow2 -b).
func cardLayer(file string, format Format, size int64) []byte {
	const (
		clusterBits, cluster = 16, 1 << 16
		headerLength         = 104
		formatName           = 0xe2792aca
	)
	layer := make([]byte, 4*cluster)
	be := binary.BigEndian
	name := headerLength + 8 + 8 + 8 // behind the extensions: the name of the format, and their end
	copy(layer, "QFI\xfb")
	be.PutUint32(layer[4:], 3) // version
	be.PutUint64(layer[8:], uint64(name))
	be.PutUint32(layer[16:], uint32(len(file)))
	be.PutUint32(layer[20:], clusterBits)
	be.PutUint64(layer[24:], uint64(size))
	be.PutUint32(layer[36:], uint32((size+512<<20-1)/(512<<20))) // entries of the first level
	be.PutUint64(layer[40:], 3*cluster)
	be.PutUint64(layer[48:], cluster) // table of reference counts
	be.PutUint32(layer[56:], 1)       // its clusters
	be.PutUint32(layer[96:], 4)       // counts of 16 bits
	be.PutUint32(layer[100:], headerLength)
	be.PutUint32(layer[headerLength:], formatName)
	be.PutUint32(layer[headerLength+4:], uint32(len(format)))
	copy(layer[headerLength+8:], format)
	copy(layer[name:], file)
	be.PutUint64(layer[cluster:], 2*cluster)
	for i := range 4 {
		be.PutUint16(layer[2*cluster+2*i:], 1)
	}
	return layer
}
