package partition

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/diskfs/go-diskfs/partition/mbr"
)

const legacyBoot = 1 << 2 // attribute of a gpt entry (UEFI 2.10, table 5-8)

// WriteTable writes the partition table of l to a disk of l.Size bytes. Bytes 0 to 439 of the disk, where boot code may
// be already, stay as they are. The disk is not synced.
func WriteTable(disk *os.File, l *Layout) error {
	write := writeMSDOS
	if l.Table == GPT {
		write = writeGPT
	}
	if err := write(unsynced{disk}, l); err != nil {
		return fmt.Errorf("write %s partition table: %w", l.Table, err)
	}
	return nil
}

// unsynced hides the Sync of a file: go-diskfs calls it after every one of its writes, which serves a disk in use but not
// an image in the making.
type unsynced struct{ backend.WritableFile }

func writeGPT(disk backend.WritableFile, l *Layout) error {
	table := &gpt.Table{GUID: l.DiskID, ProtectiveMBR: true}
	for _, p := range l.Partitions {
		entry := &gpt.Partition{
			Index: p.Number,
			Start: uint64(p.Start),
			End:   uint64(p.Start + p.Sectors - 1),
			Type:  gpt.Type(p.Type),
			Name:  p.Name,
			GUID:  p.GUID,
		}
		if p.Active {
			entry.Attributes = legacyBoot
		}
		table.Partitions = append(table.Partitions, entry)
	}
	if err := table.Write(disk, l.Size); err != nil {
		return err
	}
	return protect(disk, l.Size)
}

// protect writes the one entry of the protective MBR as UEFI 2.10 (table 5-4) has it. go-diskfs leaves its CHS numbers
// zero and lets the size wrap around above 2 TiB.
func protect(disk backend.WritableFile, size int64) error {
	entry := []byte{0, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0}
	entry = binary.LittleEndian.AppendUint32(entry, uint32(min(size/sector-1, 1<<32-1)))
	_, err := disk.WriteAt(entry, 446)
	return err
}

func writeMSDOS(disk backend.WritableFile, l *Layout) error {
	table := &mbr.Table{LogicalSectorSize: sector, PhysicalSectorSize: sector}
	for _, p := range l.Partitions {
		first, last := chs(p.Start), chs(p.Start+p.Sectors-1)
		table.Partitions = append(table.Partitions, &mbr.Partition{
			Index:    p.Number,
			Bootable: p.Active,
			Type:     mbr.Type(p.MBRType),
			Start:    uint32(p.Start), Size: uint32(p.Sectors),
			StartHead: first[0], StartSector: first[1], StartCylinder: first[2],
			EndHead: last[0], EndSector: last[1], EndCylinder: last[2],
		})
	}
	if err := table.Write(disk, l.Size); err != nil {
		return err
	}
	return sign(disk, l.DiskID)
}

// sign writes the disk signature, for which go-diskfs has no field, and the two zero bytes behind it. The kernel makes
// PARTUUIDs of it.
func sign(disk backend.WritableFile, id string) error {
	b, err := hex.DecodeString(id)
	if err != nil || len(b) != 4 {
		return fmt.Errorf("disk identifier %q does not have 8 hex digits", id)
	}
	field := binary.LittleEndian.AppendUint32(nil, binary.BigEndian.Uint32(b))
	_, err = disk.WriteAt(append(field, 0, 0), 440)
	return err
}

// chs gives head, sector and cylinder as an entry has them, of the usual geometry of 255 heads and 63 sectors; what lies
// beyond gets the mark for that.
func chs(lba int64) [3]byte {
	const heads, sectors = 255, 63
	cylinder := lba / (heads * sectors)
	if cylinder > 1023 {
		return [3]byte{0xfe, 0xff, 0xff}
	}
	return [3]byte{byte(lba / sectors % heads), byte(lba%sectors + 1 | cylinder>>8<<6), byte(cylinder)}
}
