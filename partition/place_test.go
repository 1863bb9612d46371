package partition

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/system"
)

func amd64(t testing.TB) arch.Arch {
	t.Helper()
	a, err := arch.Lookup("amd64")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var (
	rootFS   = Request{Name: "root", Role: Root, Filesystem: "ext4", Mount: "/"}
	bootFS   = Request{Name: "boot", Role: Boot, Size: 200 << 20, Filesystem: "ext2", Mount: "/boot", Option: "--bootsize"}
	swapArea = Request{Name: "swap", Role: Swap, Size: 256 << 20, Filesystem: "swap", Option: "--swap"}
	bios     = Request{Name: "bios", Role: BIOSBoot, Size: 1 << 20}
	esp      = Request{Name: "esp", Role: ESP, Size: 128 << 20, Filesystem: "vfat", Mount: "/boot/efi", Option: "--esp-size"}
)

// lines gives the partitions of a layout in the manner of sfdisk --dump.
func lines(l *Layout) []string {
	out := []string{fmt.Sprintf("%s %s %d", l.Table, l.DiskID, l.Size)}
	for _, p := range l.Partitions {
		kind := p.Type
		if l.Table == MSDOS {
			kind = fmt.Sprintf("%02x", p.MBRType)
		}
		active := ""
		if p.Active {
			active = " active"
		}
		out = append(out, fmt.Sprintf("%d %s %d+%d %s %s %s%s", p.Number, p.Name, p.Start, p.Sectors, kind, p.GUID, p.UUID, active))
	}
	return out
}

func TestPlace(t *testing.T) {
	for _, test := range []struct {
		name string
		spec Spec
		want []string
	}{{
		name: "gpt with everything, in any order",
		spec: Spec{Table: GPT, Size: 4 << 30, Requests: []Request{rootFS, swapArea, bootFS, bios, esp}},
		want: []string{
			"gpt 0016a6e9-5fdc-8dd2-9476-40ed2198c407 4294967296",
			"1 esp 2048+262144 C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
			"2 bios 264192+2048 21686148-6449-6E6F-744E-656564454649",
			"3 boot 266240+409600 BC13C2FF-59E6-4262-A352-B275FD6F7172",
			"4 swap 675840+524288 0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",
			"5 root 1200128+7186432 4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
		},
	}, {
		name: "msdos: the only partition is active",
		spec: Spec{Table: MSDOS, Size: 1 << 30, Requests: []Request{rootFS}},
		want: []string{"msdos", "1 root 2048+2095104 83 active"},
	}, {
		name: "msdos: the first partition is active",
		spec: Spec{Table: MSDOS, Size: 1 << 30, Requests: []Request{rootFS, bootFS, swapArea, esp}},
		want: []string{"msdos", "1 esp 2048+262144 ef active", "2 boot 264192+409600 83", "3 swap 673792+524288 82", "4 root 1198080+899072 83"},
	}, {
		name: "msdos: swap is never active",
		spec: Spec{Table: MSDOS, Size: 1 << 30, Requests: []Request{rootFS, swapArea}},
		want: []string{"msdos", "1 swap 2048+524288 82", "2 root 526336+1570816 83 active"},
	}, {
		name: "a size of powers of 1000, an offset that is not whole MiB",
		spec: Spec{Table: MSDOS, Size: 1e9 + 1, Offset: 3<<20 + 1, Requests: []Request{rootFS}},
		want: []string{"msdos 1000000512", "1 root 8192+1943552 83 active"},
	}, {
		name: "flag",
		spec: Spec{Table: GPT, Size: 1 << 30, Flag: "legacy_boot", Requests: []Request{rootFS}},
		want: []string{"gpt", "1 root 2048+2093056 4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709 active"},
	}, {
		name: "a fixed size leaves the end free",
		spec: Spec{Table: GPT, Size: 1 << 30, Requests: []Request{{Name: "root", Role: Root, Size: 1<<20 + 1, Filesystem: "ext4", Mount: "/"}}},
		want: []string{"gpt", "1 root 2048+4096 4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"},
	}} {
		t.Run(test.name, func(t *testing.T) {
			test.spec.Arch = amd64(t)
			l, err := Place(test.spec)
			if err != nil {
				t.Fatal(err)
			}
			got := lines(l)
			for i := range test.want {
				if i < len(got) && !sameWords(got[i], test.want[i]) {
					t.Errorf("line %d:\ngot  %s\nwant %s (in this order, not all words)", i, got[i], test.want[i])
				}
			}
			if len(got) != len(test.want) {
				t.Errorf("%d lines, want %d:\n%s", len(got), len(test.want), strings.Join(got, "\n"))
			}
		})
	}
}

// sameWords says whether the words of want are in got, in the same order.
func sameWords(got, want string) bool {
	have := strings.Fields(got)
	for _, w := range strings.Fields(want) {
		i := slices.Index(have, w)
		if i < 0 {
			return false
		}
		have = have[i+1:]
	}
	return true
}

// The identifiers of a seed never change: an image of next year's vmbuild has those of today's.
func TestIdentifiers(t *testing.T) {
	l, err := Place(Spec{Table: GPT, Size: 1 << 30, Requests: []Request{esp, rootFS}, Arch: amd64(t), Seed: [32]byte{1, 2, 3}})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{l.DiskID, l.Partitions[0].GUID, l.Partitions[0].UUID, l.Partitions[1].GUID, l.Partitions[1].UUID}
	want := []string{
		"2ae518fe-1f29-8ab9-8e97-3f4bc2ec429c",
		"85c657be-8725-8ba6-9c52-ac5be3be6f30",
		"F908-566B",
		"c915787b-8445-84f0-9eec-070fcf265f23",
		"a10e55c2-f4a3-8929-a09e-8163c80debe5",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPlaceErrors(t *testing.T) {
	big := func(size int64) Request {
		return Request{Name: "boot", Role: Boot, Size: size, Filesystem: "ext2", Mount: "/boot"}
	}
	for _, test := range []struct {
		spec Spec
		want string
	}{
		{Spec{Table: "apm", Size: 1 << 30}, `partition table "apm" is not one of msdos, gpt`},
		{Spec{Table: GPT, Size: 512 << 20, Requests: []Request{swapArea, esp, bootFS, rootFS}},
			"512 MiB are too few for 128 MiB for --esp-size, 200 MiB for --bootsize, 256 MiB for --swap and at least 1 MiB for root: 75 MiB are missing"},
		{Spec{Table: MSDOS, Size: 512 << 20, Offset: 500 << 20, Requests: []Request{big(100 << 20)}},
			"512 MiB are too few for 500 MiB before the first partition and 100 MiB for boot: 88 MiB are missing"},
		{Spec{Table: GPT, Size: 0, Requests: []Request{rootFS}}, "0 bytes are too few for at least 1 MiB for root: 2 MiB are missing"},
		{Spec{Table: GPT, Size: 1 << 30, Requests: []Request{{Name: "swap", Role: Swap, Size: 1 << 62, Filesystem: "swap"}}},
			"swap of 4194304 TiB is absurd"},
		{Spec{Table: MSDOS, Size: 3 << 40, Requests: []Request{rootFS}}, "an msdos table cannot address 3 TiB, only 2 TiB; gpt can"},
		{Spec{Table: MSDOS, Size: 1 << 30, Requests: []Request{esp, bootFS, swapArea, rootFS, big(1)}},
			"an msdos table has room for 4 partitions, but 5 are needed (esp, boot, swap, root, boot); gpt has room for 128"},
		{Spec{Table: MSDOS, Size: 1 << 30, Requests: []Request{bios}}, `partition "bios": an msdos table has no such partition: use gpt`},
		{Spec{Table: GPT, Size: 1 << 30, Requests: []Request{rootFS, rootFS}}, `there are two partitions with the name "root"`},
		{Spec{Table: GPT, Size: 1 << 30, Requests: []Request{rootFS, {Name: "b", Role: Boot, Filesystem: "ext2", Mount: "/boot"}}},
			"more than one partition asks for all the room that is left"},
		{Spec{Table: GPT, Size: 1 << 30, Requests: []Request{{Name: "root", Role: Root, Filesystem: "vfat", Mount: "/"}}},
			`partition "root": vfat keeps no owners and links: it cannot be mounted on /`},
		{Spec{Table: GPT, Size: 1 << 30, Requests: []Request{{Name: "root", Role: Root, Filesystem: "hfs", Mount: "/"}}},
			`partition "root": filesystem "hfs" is not one of ext4, ext3, ext2, btrfs, xfs, vfat, swap`},
		{Spec{Table: GPT, Size: 1 << 30, Requests: []Request{{Name: "root", Role: "toor"}}}, `partition "root": partition role "toor" is unknown`},
		{Spec{Table: GPT, Size: 1 << 30, Requests: []Request{{Name: "root", Role: Root, Mount: "/"}}},
			`partition "root": it is mounted on / but has no filesystem`},
		{Spec{Table: GPT, Size: 1 << 30, Requests: []Request{{Name: strings.Repeat("\U0001f427", 19), Role: Root}}},
			`partition "` + strings.Repeat("\U0001f427", 19) + `": its name must have 1 to 36 UTF-16 units`},
		{Spec{Table: GPT, Size: 1 << 30, Requests: []Request{{Name: "root", Role: Root, Size: -1}}}, `partition "root": its size of -1 bytes is negative`},
		{Spec{Table: GPT, Size: 1 << 30, Offset: -1}, "room of -1 bytes before the first partition is negative"},
		{Spec{Table: MSDOS, Size: 1 << 30, Flag: "bios_grub", Requests: []Request{rootFS}},
			`flag "bios_grub" is not one of boot, esp, bls_boot, swap, raid, lvm, prep, lba, those of an msdos table`},
	} {
		_, err := Place(test.spec)
		if got, want := fmt.Sprint(err), "lay out the disk: "+test.want; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestMounts(t *testing.T) {
	l, err := Place(Spec{Table: MSDOS, Size: 1 << 30, Requests: []Request{swapArea, esp, rootFS, bootFS}, Arch: amd64(t)})
	if err != nil {
		t.Fatal(err)
	}
	uuid := map[string]string{}
	for _, p := range l.Partitions {
		uuid[p.Name] = "UUID=" + p.UUID
	}
	want := []system.Mount{
		{Source: uuid["root"], Dir: "/", Type: "ext4", Options: "errors=remount-ro", Pass: 1},
		{Source: uuid["boot"], Dir: "/boot", Type: "ext2", Options: "errors=remount-ro", Pass: 2},
		{Source: uuid["esp"], Dir: "/boot/efi", Type: "vfat", Options: "umask=0077", Pass: 2},
		{Source: uuid["swap"], Dir: "none", Type: "swap", Options: "sw"},
	}
	if diff := cmp.Diff(want, l.Mounts()); diff != "" {
		t.Error(diff)
	}
}

// Filesystems that fsck has nothing to do for are not given to it; /boot may be one that boot ROMs read.
func TestMountsUnchecked(t *testing.T) {
	l, err := Place(Spec{Table: MSDOS, Size: 1 << 30, Arch: amd64(t), Requests: []Request{
		{Name: "root", Role: Root, Filesystem: "btrfs", Mount: "/"},
		{Name: "boot", Role: Boot, Size: 50 << 20, Filesystem: "vfat", Mount: "/boot"},
		{Name: "srv", Role: Boot, Size: 400 << 20, Filesystem: "xfs", Mount: "/srv"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, m := range l.Mounts() {
		got = append(got, fmt.Sprint(m.Dir, " ", m.Type, " ", m.Options, " ", m.Pass))
		got = append(got, fmt.Sprintf("type %02x", l.Partitions[i].MBRType))
	}
	want := []string{"/ btrfs defaults 0", "type 0c", "/boot vfat umask=0077 2", "type 83", "/srv xfs defaults 0", "type 83"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestHolding(t *testing.T) {
	l, err := Place(Spec{Table: MSDOS, Size: 1 << 30, Requests: []Request{esp, rootFS, bootFS}, Arch: amd64(t)})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"/":             "root /",
		"/usr/lib":      "root /usr/lib",
		"/bootstrap":    "root /bootstrap",
		"/boot":         "boot /",
		"/boot/grub":    "boot /grub",
		"/boot/efi/EFI": "esp /EFI",
		"/boot/efivars": "boot /efivars",
	} {
		p, rest, ok := l.Holding(name)
		if got := p.Name + " " + rest; !ok || got != want {
			t.Errorf("%s is on %q, want %q", name, got, want)
		}
	}
	for dir, want := range map[string][]string{"/": {"/boot", "/boot/efi"}, "/boot": {"/boot/efi"}, "/boot/efi": nil} {
		if diff := cmp.Diff(want, l.Below(dir)); diff != "" {
			t.Errorf("below %s: %s", dir, diff)
		}
	}
}

func TestLayoutIsData(t *testing.T) {
	l, err := Place(Spec{Table: GPT, Size: 1 << 30, Requests: []Request{bios, rootFS}, Arch: amd64(t)})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	var back Layout
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*l, back); diff != "" {
		t.Error(diff)
	}
}

// Whatever is asked for, partitions lie in order, aligned, apart and within the disk.
func FuzzPlace(f *testing.F) {
	f.Add(true, int64(1<<30), int64(0), int64(128<<20), int64(0))
	f.Add(false, int64(100), int64(1), int64(1), int64(1))
	f.Add(true, int64(2<<20+33*512), int64(0), int64(1), int64(0))
	f.Fuzz(func(t *testing.T, isGPT bool, size, offset, boot, root int64) {
		table, end := MSDOS, size/sector
		if isGPT {
			table, end = GPT, size/sector-gptTail
		}
		b, r := bootFS, rootFS
		b.Size, r.Size = boot, root
		l, err := Place(Spec{Table: table, Size: size, Offset: offset, Requests: []Request{b, r}, Arch: amd64(t)})
		if err != nil {
			return
		}
		next := max(int64(2048), offset/sector)
		for _, p := range l.Partitions {
			if p.Start < next || p.Start%2048 != 0 || p.Sectors <= 0 || p.Sectors%2048 != 0 || p.Bytes() < p.Size {
				t.Fatalf("%+v at or after %d", p, next)
			}
			next = p.Start + p.Sectors
		}
		if next > end+1 { // a size that is no whole sector is rounded up
			t.Fatalf("ends at %d of %d", next, end)
		}
	})
}
