package machine

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
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
		entry := disk[2*sectorSize+128*i:]
		copy(entry, guid)
		binary.LittleEndian.PutUint64(entry[32:], uint64(40+8*i))
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

var gptTypeLinux = bytes.Repeat([]byte{0xaf}, 16)

func TestFirmwareOfDisk(t *testing.T) {
	const (
		second  = mbrTable + 16
		entry   = 2 * sectorSize // of a gpt
		nothing = "it has neither boot code in its first sector nor an EFI system partition: nothing can start it"
		noUBoot = "it has neither an EFI system partition nor a partition marked as active: nothing can start it"
	)
	active := func(kind byte) []byte { return change(change(mbr(0x83), second+4, kind), second, 0x80) }
	for _, test := range []struct {
		name, arch string
		disk       []byte
		want       Firmware
		err        string
	}{
		{"boot code", "amd64", echoDisk(), BIOS, ""},
		{"boot code", "i386", echoDisk(), BIOS, ""},
		{"msdos with ESP", "amd64", mbr(mbrTypeESP), UEFI, ""},
		{"msdos with ESP and boot code", "amd64", bootable(mbr(mbrTypeESP)), BIOS, ""},
		{"gpt with ESP", "amd64", gpt(gptTypeLinux, gptTypeESP), UEFI, ""},
		{"gpt with ESP and boot code", "amd64", bootable(gpt(gptTypeESP, gptTypeLinux)), BIOS, ""},
		{"gpt with ESP and boot code", "arm64", bootable(gpt(gptTypeESP, gptTypeLinux)), UEFI, ""},
		{"gpt without ESP", "amd64", gpt(gptTypeLinux), "", nothing},
		{"no table", "amd64", make([]byte, 4096), "", nothing},
		{"no gpt", "amd64", mbr(mbrTypeGPT), "", "its protective MBR is followed by no GPT"},
		{"mad gpt", "amd64", change(gpt(gptTypeESP), sectorSize+87, 1), "", "its GPT has 16 entries of 16777344 bytes at sector 2"},
		{"cut gpt", "amd64", gpt(gptTypeLinux)[:1536], "", "read its GPT: EOF"},
		{"no disk", "amd64", []byte("text"), "", "read its first sector: EOF"},

		{"msdos with ESP", "armhf", mbr(mbrTypeESP), UEFI, ""},
		{"active partition", "armhf", active(0x83), UBoot, ""},
		{"active partition and boot code", "armhf", bootable(active(0x83)), UBoot, ""},
		{"partition marked as something else", "armhf", change(active(0x83), second, 0x81), "", noUBoot},
		{"active ESP", "arm64", active(mbrTypeESP), UEFI, ""},
		{"active partition", "arm64", active(0x83), UBoot, ""},
		{"active partition of a gpt", "riscv64", change(gpt(gptTypeLinux), entry+48, 4), UBoot, ""},
		{"other attributes", "riscv64", change(gpt(gptTypeLinux), entry+48, 3), "", noUBoot},
		{"attributes of an unused entry", "riscv64", change(gpt(gptTypeLinux), entry+128+48, 4), "", noUBoot},

		{"msdos with PReP", "ppc64el", mbr(mbrTypePReP), OpenFirmware, ""},
		{"gpt with PReP", "ppc64el", gpt(gptTypeLinux, gptTypePReP), OpenFirmware, ""},
		{"gpt without PReP", "ppc64el", gpt(gptTypeLinux), "", "it lacks a PReP partition: nothing can start it"},
		{"gpt with ESP", "loong64", gpt(gptTypeESP), UEFI, ""},
		{"gpt without ESP", "loong64", gpt(gptTypeLinux), "", "it lacks an EFI system partition: nothing can start it"},

		// There is nothing else that could start them.
		{"anything", "s390x", mbr(0x83), Kernel, ""},
		{"anything", "mips64el", gpt(gptTypeLinux), Kernel, ""},
		{"anything", "armel", gpt(gptTypeESP), Kernel, ""},
	} {
		d, err := newDisk(bytes.NewReader(test.disk), "")
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		got, err := modelOf(t, row(test.arch)).choose(d)
		if got != test.want || (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
			t.Errorf("%s, %s: %q, %v, want %q, %s", test.arch, test.name, got, err, test.want, test.err)
		}
	}
}

func TestSlots(t *testing.T) {
	msdos := mbr(0x83)
	copy(msdos[mbrTable:], []byte{
		0x80, 0, 0, 0, 0x83, 0, 0, 0, 0x00, 0x08, 0, 0, 0, 0, 0, 1,
		0x00, 0, 0, 0, 0x00, 0, 0, 0, 0x00, 0x09, 0, 0, 0, 0, 0, 1,
		0x00, 0, 0, 0, 0xef, 0, 0, 0, 0x00, 0x0a, 0, 0, 0, 0, 0, 1,
		0x00, 0, 0, 0, 0x41, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1,
	})
	for _, test := range []struct {
		name string
		disk []byte
		want []slot
	}{
		{"msdos", msdos, []slot{{start: 1 << 20, active: true}, {start: 2560 * 512, esp: true}, {start: 0xffffffff * 512, prep: true}}},
		{"gpt", change(gpt(gptTypeESP, gptTypeLinux, make([]byte, 16), gptTypePReP), 2*sectorSize+128+48, 4), []slot{
			{start: 40 * 512, esp: true}, {start: 48 * 512, active: true}, {start: 64 * 512, prep: true},
		}},
		{"gpt with a sector that no disk has", change(gpt(gptTypeLinux, gptTypeESP), 2*sectorSize+39, 0x80), []slot{{start: 48 * 512, esp: true}}},
		{"none", make([]byte, 512), nil},
	} {
		d, err := newDisk(bytes.NewReader(test.disk), "")
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.slots()
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: %+v, %v, want %+v", test.name, got, err, test.want)
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
		for _, name := range []string{"amd64", "arm64", "ppc64el"} {
			m := modelOf(t, row(name))
			if kind, err := m.choose(d); (err == nil) != m.can(kind) {
				t.Errorf("%q, %v", kind, err)
			}
		}
		d.system()
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
		if got, err := modelOf(t, row("amd64")).choose(d); got != BIOS || err != nil || d.format != QCOW2 {
			t.Errorf("%s: %s of %s, %v", name, got, d.format, err)
		}
	}
}
