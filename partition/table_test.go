package partition

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/offers"
)

// disk makes an image file that already has boot code, and writes the table of l to it.
func disk(t *testing.T, l *Layout) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(bytes.Repeat([]byte{0xcc}, 440)); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(l.Size); err != nil {
		t.Fatal(err)
	}
	if err := WriteTable(f, l); err != nil {
		t.Fatal(err)
	}
	return name
}

func read(t *testing.T, name string, from, to int64) []byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, to-from)
	if _, err := f.ReadAt(b, from); err != nil {
		t.Fatal(err)
	}
	return b
}

// The bytes are those of sfdisk for the same table (xxd -s 440 -l 72), which aligns CHS numbers as we do.
func TestWriteMSDOS(t *testing.T) {
	l := &Layout{Table: MSDOS, DiskID: "1234abcd", Size: 16 << 30, Partitions: []Partition{
		{Request: Request{Name: "boot", Active: true}, Number: 1, Start: 2048, Sectors: 409600, MBRType: 0x83},
		{Request: Request{Name: "root"}, Number: 2, Start: 411648, Sectors: 33142784, MBRType: 0x83},
	}}
	name := disk(t, l)
	if !bytes.Equal(read(t, name, 0, 440), bytes.Repeat([]byte{0xcc}, 440)) {
		t.Error("boot code has changed")
	}
	want := "cdab3412" + "0000" +
		"80202100" + "839f0619" + "00080000" + "00400600" +
		"009f0719" + "83feffff" + "00480600" + "00b8f901" +
		strings.Repeat("00", 32) + "55aa"
	if got := hex.EncodeToString(read(t, name, 440, 512)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestProtectiveMBR(t *testing.T) {
	for size, sectors := range map[int64]string{1 << 30: "ffff1f00", 4 << 40: "ffffffff"} {
		l, err := Place(Spec{Table: GPT, Size: size, Requests: []Request{rootFS}, Arch: amd64(t)})
		if err != nil {
			t.Fatal(err)
		}
		name := disk(t, l)
		want := strings.Repeat("cc", 2) + "0000" + "00000200" + "eeffffff" + "01000000" + sectors + strings.Repeat("00", 48) + "55aa"
		if got := hex.EncodeToString(read(t, name, 438, 512)); got != strings.Replace(want, "cccc0000", "cccc000000000000", 1) {
			t.Errorf("%d bytes:\ngot  %s\nwant %s", size, got, want)
		}
	}
}

func TestWriteTableErrors(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = WriteTable(f, &Layout{Table: MSDOS, DiskID: "12", Size: 1 << 20})
	if err == nil || !strings.HasPrefix(err.Error(), "write msdos partition table: ") {
		t.Errorf("got %v", err)
	}
}

// sfdisk reads what was meant, and finds nothing to complain of.
func TestSfdisk(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "sfdisk")
	for name, spec := range map[string]Spec{
		"gpt":       {Table: GPT, Size: 2 << 30, Requests: []Request{bios, esp, bootFS, swapArea, rootFS}},
		"gpt odd":   {Table: GPT, Size: 1e9, Flag: "legacy_boot", Requests: []Request{rootFS}},
		"gpt large": {Table: GPT, Size: 4 << 40, Requests: []Request{rootFS}},
		"msdos":     {Table: MSDOS, Size: 2 << 30, Offset: 4 << 20, Requests: []Request{esp, bootFS, swapArea, rootFS}},
	} {
		t.Run(name, func(t *testing.T) {
			spec.Arch = amd64(t)
			l, err := Place(spec)
			if err != nil {
				t.Fatal(err)
			}
			image := disk(t, l)
			out, err := exec.Command("sfdisk", "--verify", image).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "No errors detected.") {
				t.Errorf("sfdisk --verify: %v\n%s", err, out)
			}
			if diff := cmp.Diff(asSfdisk(l, image), sfdisk(t, image)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// sfdiskTable is what sfdisk --json prints.
type sfdiskTable struct {
	Label, ID  string
	Partitions []sfdiskPartition
}

type sfdiskPartition struct {
	Start, Size             int64
	Type, UUID, Name, Attrs string
	Bootable                bool
}

func sfdisk(t *testing.T, image string) sfdiskTable {
	t.Helper()
	out, err := exec.Command("sfdisk", "--json", image).Output()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ PartitionTable sfdiskTable }
	if err := json.Unmarshal(out, &doc); err != nil {
		t.Fatal(err)
	}
	return doc.PartitionTable
}

func asSfdisk(l *Layout, image string) sfdiskTable {
	table := sfdiskTable{Label: "dos", ID: "0x" + l.DiskID}
	if l.Table == GPT {
		table = sfdiskTable{Label: "gpt", ID: strings.ToUpper(l.DiskID)}
	}
	for _, p := range l.Partitions {
		q := sfdiskPartition{Start: p.Start, Size: p.Sectors}
		if l.Table == GPT {
			q.Type, q.UUID, q.Name = p.Type, strings.ToUpper(p.GUID), p.Name
			if p.Active {
				q.Attrs = "LegacyBIOSBootable"
			}
		} else {
			q.Type, q.Bootable = hex.EncodeToString([]byte{p.MBRType}), p.Active
		}
		table.Partitions = append(table.Partitions, q)
	}
	return table
}
