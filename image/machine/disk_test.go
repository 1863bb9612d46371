package machine

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	clusters "vmbuild/image/qcow2"
)

// echoDisk returns a disk whose boot sector prints echoText on the first serial port and echoes what is typed; r starts
// it anew, q powers off (PM1a_CNT, where SeaBIOS puts it on a q35). As GNU as sees it, loaded at 0x7c00:
func echoDisk() []byte {
	disk := make([]byte, 1<<20)
	copy(disk, []byte{
		0x31, 0xc0, //                        xor %ax,%ax
		0x8e, 0xd8, //                        mov %ax,%ds
		0xfc,             //                  cld
		0xbe, 0x35, 0x7c, //                  mov $text,%si
		0xba, 0xf8, 0x03, //                  mov $0x3f8,%dx
		0xac,       //                     1: lodsb
		0x84, 0xc0, //                        test %al,%al
		0x74, 0x03, //                        jz 2f
		0xee,       //                        out %al,(%dx)
		0xeb, 0xf8, //                        jmp 1b
		0xb2, 0xfd, //                     2: mov $0xfd,%dl   (line status)
		0xec,       //                        in (%dx),%al
		0xa8, 0x01, //                        test $1,%al
		0x74, 0xf9, //                        jz 2b
		0xb2, 0xf8, //                        mov $0xf8,%dl
		0xec,       //                        in (%dx),%al
		0xee,       //                        out %al,(%dx)
		0x3c, 0x71, //                        cmp $'q',%al
		0x74, 0x09, //                        je 3f
		0x3c, 0x72, //                        cmp $'r',%al
		0x75, 0xed, //                        jne 2b
		0xea, 0xf0, 0xff, 0x00, 0xf0, //      ljmp $0xf000,$0xfff0
		0xba, 0x04, 0x06, //               3: mov $0x604,%dx
		0xb8, 0x00, 0x20, //                  mov $0x2000,%ax
		0xef,       //                        out %ax,(%dx)
		0xf4,       //                     4: hlt
		0xeb, 0xfd, //                        jmp 4b
	})
	copy(disk[0x35:], echoText+"\x00")
	copy(disk[510:], []byte{0x55, 0xaa})
	return disk
}

const echoText = "vmbuild test disk\r\nlogin: "

// mbr returns a disk with one partition of a type and nothing else.
func mbr(kind byte) []byte {
	disk := make([]byte, 64<<10)
	disk[mbrTable+4] = kind
	return disk
}

// gpt returns a disk with partitions of the given types, as they stand in the table.
func gpt(types ...[]byte) []byte {
	disk := mbr(mbrTypeGPT)
	header := disk[sectorSize:]
	copy(header, "EFI PART")
	binary.LittleEndian.PutUint64(header[72:], 2)
	binary.LittleEndian.PutUint32(header[80:], 16)
	binary.LittleEndian.PutUint32(header[84:], 128)
	for i, guid := range types {
		copy(disk[2*sectorSize+128*i:], guid)
	}
	return disk
}

func bootable(disk []byte) []byte {
	disk[0] = 0xeb
	return disk
}

func change(disk []byte, offset int, value byte) []byte {
	disk[offset] = value
	return disk
}

func TestFirmwareOfDisk(t *testing.T) {
	linux := bytes.Repeat([]byte{0xaf}, 16)
	for _, test := range []struct {
		name string
		disk []byte
		want Firmware
		err  string
	}{
		{"boot code", echoDisk(), BIOS, ""},
		{"msdos with ESP", mbr(mbrTypeESP), UEFI, ""},
		{"msdos with ESP and boot code", bootable(mbr(mbrTypeESP)), BIOS, ""},
		{"gpt with ESP", gpt(linux, gptTypeESP), UEFI, ""},
		{"gpt with ESP and boot code", bootable(gpt(gptTypeESP, linux)), BIOS, ""},
		{"gpt without ESP", gpt(linux), "", "it has neither boot code in its first sector nor an EFI system partition: nothing can start it"},
		{"no table", make([]byte, 4096), "", "it has neither boot code in its first sector nor an EFI system partition: nothing can start it"},
		{"no gpt", mbr(mbrTypeGPT), "", "its protective MBR is followed by no GPT"},
		{"mad gpt", change(gpt(gptTypeESP), sectorSize+87, 1), "", "its GPT has 16 entries of 16777344 bytes at sector 2"},
		{"cut gpt", gpt(linux)[:1536], "", "read its GPT: EOF"},
		{"no disk", []byte("text"), "", "read its first sector: EOF"},
	} {
		d, err := newDisk(bytes.NewReader(test.disk), "")
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		got, err := d.firmware()
		if got != test.want || (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
			t.Errorf("%s: %q, %v, want %q, %s", test.name, got, err, test.want, test.err)
		}
	}
}

// qcow2Header returns the header of an empty disk of 1 MiB, version 3, clusters of 64 KiB
// (qemu-img create -f qcow2 x 1M).
func qcow2Header() []byte {
	header := make([]byte, 4<<16)
	copy(header, "QFI\xfb")
	for _, field := range []struct{ offset, value uint32 }{
		{4, 3}, {20, 16}, {28, 1 << 20}, {36, 1}, {44, 3 << 16}, {52, 1 << 16}, {56, 1}, {96, 4}, {100, 104},
	} {
		binary.BigEndian.PutUint32(header[field.offset:], field.value)
	}
	return header
}

func TestFormatOfDisk(t *testing.T) {
	const based = "it is a qcow2 based on another file: name its format to start it all the same"
	for _, test := range []struct {
		name   string
		disk   []byte
		format Format
		want   Format
		err    string
	}{
		{"raw", echoDisk(), "", Raw, ""},
		{"qcow2", qcow2Header(), "", QCOW2, ""},
		{"qcow2 read as raw", qcow2Header(), Raw, Raw, ""},
		{"qcow2 with a backing file", change(qcow2Header(), 15, 104), "", "", based},
		{"qcow2 with a data file", change(qcow2Header(), 79, 4), "", "", based},
		{"other", echoDisk(), "vdi", "", `format "vdi" is none of raw, qcow2`},
	} {
		d, err := newDisk(bytes.NewReader(test.disk), test.format)
		switch {
		case test.err != "":
			if err == nil || err.Error() != test.err {
				t.Errorf("%s: %v, want %s", test.name, err, test.err)
			}
		case err != nil || d.format != test.want:
			t.Errorf("%s: %v, %v, want %s", test.name, d, err, test.want)
		}
	}
}

func FuzzDisk(f *testing.F) {
	for _, seed := range [][]byte{echoDisk()[:512], gpt(gptTypeESP), mbr(mbrTypeESP), qcow2Header()[:1024]} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, image []byte) {
		d, err := newDisk(bytes.NewReader(image), "")
		if err != nil {
			return
		}
		if kind, err := d.firmware(); (err == nil) != (kind == BIOS || kind == UEFI) {
			t.Errorf("%q, %v", kind, err)
		}
	})
}

// The firmware of a compressed image is told by what is in its clusters.
func TestFirmwareOfCompressed(t *testing.T) {
	source, err := os.Open(writeDisk(t, echoDisk()))
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	raw, err := clusters.Raw(source)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range clusters.Compressions() {
		compression, err := clusters.LookupCompression(name)
		if err != nil {
			t.Fatal(err)
		}
		file, err := os.Create(filepath.Join(t.TempDir(), "x.qcow2"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if err := clusters.Write(t.Context(), file, raw, clusters.Options{Compression: compression}); err != nil {
			t.Fatal(err)
		}
		d, err := newDisk(file, "")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := d.firmware(); got != BIOS || err != nil || d.format != QCOW2 {
			t.Errorf("%s: %s of %s, %v", name, got, d.format, err)
		}
	}
}
