package bootloader

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/partition"
	"vmbuild/partition/filesystem/extfs"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/offers"
)

var le = binary.LittleEndian

// parts are what an extlinux program is made of.
type parts struct {
	vbr, sys, c32 []byte
	constants     []uint32
}

// partsOf gives a small loader of 8 sectors: patch area at 0x18, the extended one at 0x200, pieces at 0x240, directory at
// 0x300, ADV at 0x380.
func partsOf() parts {
	vbr := bytes.Repeat([]byte{0xbb}, sector)
	copy(vbr, "\xeb\x58\x90SYSLINUX")
	le.PutUint32(vbr[0x1f8:], ldlinuxMagic)
	copy(vbr[0x1fe:], []byte{0x55, 0xaa})
	sys := bytes.Repeat([]byte{0xcc}, 8*sector)
	copy(sys, "\r\nSYSLINUX 6.04\x00")
	le.PutUint32(sys[0x18:], ldlinuxMagic)
	le.PutUint16(sys[0x18+22:], 0x200)
	for i, n := range []uint16{0x380, 0x300, 32, 0, 1, 0x240, 3, 0x11a, 0x120, 0x1ca} {
		le.PutUint16(sys[0x200+2*i:], n)
	}
	c32 := make([]byte, 0x200)
	copy(c32, "\x7fELF\x01\x01\x01")
	for at, n := range map[int]uint16{0x10: 3, 0x12: 3, 0x20: 0x100, 0x2e: 40, 0x30: 6} {
		le.PutUint16(c32[at:], n)
	}
	return parts{vbr, sys, c32[:0x100+6*40], []uint32{7, 512, 8 * sector, 1000}}
}

// program is an ELF program with the parts in .data, and the constants in .rodata.
func (p parts) program() []byte {
	constants := []byte{}
	for _, c := range p.constants {
		constants = le.AppendUint32(constants, c)
	}
	names := "\x00.data\x00.rodata\x00.shstrtab\x00"
	const header, entry = 64, 64
	sections := []struct {
		name, kind uint32
		content    []byte
	}{
		{0, 0, nil},
		{1, 1, slices.Concat(p.vbr, p.c32, p.sys)},
		{7, 1, constants},
		{15, 3, []byte(names)},
	}
	body, table := make([]byte, header), []byte{}
	for _, s := range sections {
		row := make([]byte, entry)
		le.PutUint32(row, s.name)
		le.PutUint32(row[4:], s.kind)
		le.PutUint64(row[24:], uint64(len(body)))
		le.PutUint64(row[32:], uint64(len(s.content)))
		body, table = append(body, s.content...), append(table, row...)
	}
	copy(body, "\x7fELF\x02\x01\x01")
	for at, n := range map[int]uint16{16: 3, 18: 62, 20: 1, 52: header, 58: entry, 60: uint16(len(sections)), 62: 3} {
		le.PutUint16(body[at:], n)
	}
	le.PutUint64(body[40:], uint64(len(body)))
	return append(body, table...)
}

func TestPayload(t *testing.T) {
	p := partsOf()
	got, err := readPayload(bytes.NewReader(p.program()))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(payload{p.vbr, p.sys, p.c32}, *got, cmp.AllowUnexported(payload{})); diff != "" {
		t.Error(diff)
	}
}

func TestPayloadErrors(t *testing.T) {
	for _, test := range []struct {
		harm func(*parts)
		want string
	}{
		{func(p *parts) { p.vbr = nil }, "there is no boot sector in it"},
		{func(p *parts) { p.vbr[0x1fe] = 0 }, "its boot sector is not one of syslinux 6"},
		{func(p *parts) { p.sys = nil }, "there is no ldlinux.sys in it"},
		{func(p *parts) { p.constants = p.constants[:2] }, "it does not tell the length of its ldlinux.sys"},
		{func(p *parts) { p.sys[0x18] = 0 }, "its ldlinux.sys has no magic number"},
		{func(p *parts) { le.PutUint16(p.sys[0x18+22:], 0xfff0) }, "its ldlinux.sys has no extended patch area"},
		{func(p *parts) { le.PutUint16(p.sys[0x200:], 0xfff0) }, "the extended patch area of its ldlinux.sys leads outside of it"},
		{func(p *parts) { le.PutUint16(p.sys[0x20e:], 509) }, "the extended patch area of its ldlinux.sys leads outside of the boot sector"},
		{func(p *parts) { p.c32[0x12] = 62 }, "there is no ldlinux.c32 in it"},
	} {
		p := partsOf()
		test.harm(&p)
		_, err := readPayload(bytes.NewReader(p.program()))
		if got := fmt.Sprint(err); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

// What install changes, as libinstaller/syslxmod.c does.
func TestInstall(t *testing.T) {
	parts := partsOf()
	p := payload{parts.vbr, parts.sys, parts.c32}
	vbr, sys, err := p.install(installation{
		sectors: []int64{1 << 33, 100, 101, 102, 200, 201, 300, 301, 302, 400}, start: 2048, size: 1 << 20, dir: "/boot/extlinux",
	})
	if err != nil {
		t.Fatal(err)
	}
	wantVBR := slices.Clone(parts.vbr)
	for at, field := range map[int]string{
		0x0b: "\x00\x02", 0x13: "\x00\x00", 0x18: "\x3f\x00\xff\x00", 0x1c: "\x00\x08\x00\x00\x00\x00\x10\x00",
		0x11a: "\x00\x00\x00\x00", 0x120: "\x02\x00\x00\x00",
	} {
		copy(wantVBR[at:], field)
	}
	if diff := cmp.Diff(wantVBR, vbr); diff != "" {
		t.Error(diff)
	}
	wantSys := slices.Clone(parts.sys)
	for at, field := range map[int]string{
		0x20:  "\x08\x00\x02\x00\x00\x04\x00\x00",
		0x240: "d\x00\x00\x00\x00\x00\x00\x00\x03\x00\xc8\x00\x00\x00\x00\x00\x00\x00\x02\x00\x2c\x01\x00\x00\x00\x00\x00\x00\x02\x00",
		0x300: "/boot/extlinux\x00",
		0x380: "\x2e\x01\x00\x00\x00\x00\x00\x00\x90\x01\x00\x00\x00\x00\x00\x00",
		0x28:  string(sys[0x28:0x2c]), // the checksum, see below
	} {
		copy(wantSys[at:], field)
	}
	adv := make([]byte, sector)
	copy(adv, "\xa5\x2f\x2d\x5a\x67\x17\x04\xa3")
	copy(adv[508:], "\x64\xbf\x28\xdd")
	if diff := cmp.Diff(slices.Concat(wantSys, adv, adv), sys); diff != "" {
		t.Error(diff)
	}
	if got := sum(sys[:8*sector]); got != ldlinuxMagic {
		t.Errorf("all words add up to %#x", got)
	}
}

func TestInstallErrors(t *testing.T) {
	parts := partsOf()
	p := payload{parts.vbr, parts.sys, parts.c32}
	near, far := []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, []int64{1, 3, 5, 7, 9, 11, 13, 15, 17, 19}
	for _, test := range []struct {
		at   installation
		want string
	}{
		{installation{sectors: near[:9]}, "ldlinux.sys has 9 sectors instead of 10"},
		{installation{sectors: near, start: 1 << 32}, "extlinux starts from the first 2 TiB of a disk only"},
		{installation{sectors: near, dir: "/" + strings.Repeat("d", 31)}, "directory /" + strings.Repeat("d", 31) + " has too long a name"},
		{installation{sectors: far}, "ldlinux.sys lies in 7 pieces, but only 3 can be listed"},
	} {
		_, _, err := p.install(test.at)
		if got := fmt.Sprint(err); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

// A piece has fewer than 64 KiB.
func TestPieces(t *testing.T) {
	var sectors []int64
	for i := range int64(130) {
		sectors = append(sectors, 1000+i)
	}
	if got := fmt.Sprint(inPieces(append(sectors, 7))); got != "[{1000 127} {1127 3} {7 1}]" {
		t.Error(got)
	}
}

func FuzzPayload(f *testing.F) {
	f.Add(uint16(0), []byte("\x7fELF"))
	f.Add(uint16(64+512+0x100+6*40+0x18), []byte{0xfe, 2})
	f.Fuzz(func(t *testing.T, at uint16, damage []byte) {
		program := partsOf().program()
		copy(program[min(int(at), len(program)):], damage)
		p, err := readPayload(bytes.NewReader(program))
		if err != nil {
			return
		}
		to := installation{dir: "/extlinux"}
		for i := range len(p.sys)/sector + advSectors {
			to.sectors = append(to.sectors, int64(3*i))
		}
		if _, sys, err := p.install(to); err == nil && sum(sys[:len(p.sys)]) != ldlinuxMagic {
			t.Errorf("all words add up to %#x", sum(sys[:len(p.sys)]))
		}
	})
}

// extlinuxTree is a tree with the program, a kernel, and links to it.
func extlinuxTree(t *testing.T, files ...string) *target {
	t.Helper()
	tg := newTarget(t, append(files, "/usr/lib/EXTLINUX/mbr.bin", "/usr/lib/EXTLINUX/gptmbr.bin", "/usr/bin/extlinux", "/etc/")...)
	if err := os.WriteFile(filepath.Join(tg.root, "usr/bin/extlinux"), partsOf().program(), 0o755); err != nil {
		t.Fatal(err)
	}
	return tg
}

func (tg *target) link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, filepath.Join(tg.root, name)); err != nil {
		t.Fatal(err)
	}
}

func TestConfigureExtlinux(t *testing.T) {
	b := row(t, "extlinux")
	l := layout(t, b, "amd64", partition.MSDOS, rootFS)
	tg := extlinuxTree(t, "/boot/vmlinuz-6.12", "/boot/initrd.img-6.12")
	tg.link(t, "boot/vmlinuz-6.12", "vmlinuz")
	tg.link(t, "boot/initrd.img-6.12", "initrd.img")
	for range 2 { // what is there already is replaced
		err := b.Configure(context.Background(), Target{Arch: architecture(t, "amd64"), Console: "ttyS0", Root: tg.root, Layout: l, Serial: true, Cmdline: []string{"quiet"}})
		if err != nil {
			t.Fatal(err)
		}
	}
	entry := "\nLABEL %s\n  LINUX /vmlinuz%s\n  INITRD /initrd.img%[2]s\n  APPEND root=UUID=" + l.Partitions[0].UUID +
		" ro console=tty0 console=ttyS0,115200n8 quiet\n"
	want := map[string]string{
		"/boot/extlinux/extlinux.conf": "SERIAL 0 115200\nDEFAULT linux\nPROMPT 1\nTIMEOUT 20\n" +
			fmt.Sprintf(entry, "linux", "") + fmt.Sprintf(entry, "old", ".old"),
		"/boot/extlinux/ldlinux.c32": string(partsOf().c32),
		"/boot/extlinux/ldlinux.sys": strings.Repeat("ldlinux.sys here", 10*sector/16),
	}
	got := tg.added(t)
	for name := range got {
		if !strings.HasPrefix(name, "/boot/extlinux/") {
			delete(got, name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// With /boot apart, the links and the menu's paths are those of that filesystem, and stay there.
func TestConfigureExtlinuxBoot(t *testing.T) {
	b := row(t, "extlinux")
	l := layout(t, b, "amd64", partition.GPT, rootFS, bootFS)
	tg := extlinuxTree(t, "/boot/vmlinuz-6.12", "/boot/initrd.img-6.12")
	tg.link(t, "boot/vmlinuz-6.12", "vmlinuz")
	tg.link(t, "boot/initrd.img-6.12", "initrd.img")
	update := runner(func(c chroot.Command) error {
		if got := strings.Join(c.Args, " "); got != "linux-update-symlinks install 6.12 /boot/vmlinuz-6.12" {
			t.Error(got)
		}
		tg.link(t, "vmlinuz-6.12", "boot/vmlinuz")
		return nil
	})
	err := b.Configure(context.Background(), Target{Arch: architecture(t, "amd64"), Console: "ttyS0", Root: tg.root, Runner: update, Layout: l})
	if err != nil {
		t.Fatal(err)
	}
	entry := "\nLABEL %s\n  LINUX /vmlinuz%s\n  APPEND root=UUID=" + l.Partitions[1].UUID + " ro\n"
	got := tg.added(t)
	for name, want := range map[string]string{
		"/etc/kernel-img.conf":         "do_symlinks = yes\nlink_in_boot = yes\n",
		"/boot/extlinux/extlinux.conf": "DEFAULT linux\nPROMPT 1\nTIMEOUT 20\n" + fmt.Sprintf(entry, "linux", "") + fmt.Sprintf(entry, "old", ".old"),
	} {
		if diff := cmp.Diff(want, got[name]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for _, gone := range []string{"vmlinuz", "initrd.img"} {
		if _, err := os.Lstat(filepath.Join(tg.root, gone)); err == nil {
			t.Errorf("/%s is still there", gone)
		}
	}
}

// runner runs programs of a target.
type runner func(chroot.Command) error

func (r runner) Run(_ context.Context, c chroot.Command) error { return r(c) }

func TestConfigureExtlinuxErrors(t *testing.T) {
	b := row(t, "extlinux")
	onXFS := rootFS
	onXFS.Filesystem = "xfs"
	for _, test := range []struct {
		files    []string
		requests []partition.Request
		want     string
	}{
		{nil, nil, "the layout has no partition for /boot/extlinux"},
		{nil, []partition.Request{onXFS}, "extlinux: xfs is not yet supported as filesystem of / or /boot: use ext2, ext3 or ext4, or grub"},
		{[]string{"/boot/vmlinuz-6.12"}, []partition.Request{rootFS}, "/boot/vmlinuz-6.12 is there, but /vmlinuz, " +
			"which the menu starts, does not lead to a kernel: make the link, as linux-update-symlinks does"},
	} {
		tg := extlinuxTree(t, test.files...)
		l := layout(t, b, "amd64", partition.MSDOS, test.requests...)
		err := b.Configure(context.Background(), Target{Arch: architecture(t, "amd64"), Console: "ttyS0", Root: tg.root, Layout: l})
		if got, want := fmt.Sprint(err), "configure boot loader extlinux: "+test.want; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	tg := newTarget(t, "/usr/bin/extlinux")
	err := b.Configure(context.Background(), Target{Root: tg.root, Layout: layout(t, b, "amd64", partition.MSDOS, rootFS)})
	if want := "configure boot loader extlinux: take the loader out of /usr/bin/extlinux: bad magic number '[47 117 115 114]' in record at byte 0x0"; fmt.Sprint(err) != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// The program of this host's suite is what the code takes it for, on each filesystem, and e2fsck finds that clean.
func TestEmbedExtlinux(t *testing.T) {
	offers.Need(t, "net")
	offers.Programs(t, "apt-get", "dpkg-deb", "mke2fs", "debugfs", "e2fsck")
	download := t.TempDir()
	cmd := exec.Command("sh", "-ec", "apt-get -o APT::Sandbox::User=root download extlinux; dpkg-deb -x extlinux_*.deb tree; mkdir tree/boot")
	cmd.Dir = download
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, root := row(t, "extlinux"), filepath.Join(download, "tree")
	for _, kind := range []string{"ext2", "ext3", "ext4"} {
		for _, table := range []string{partition.MSDOS, partition.GPT} {
			t.Run(kind+" "+table, func(t *testing.T) {
				on := rootFS
				on.Filesystem = kind
				l := layout(t, b, "amd64", table, on)
				tg := Target{Arch: architecture(t, "amd64"), Console: "ttyS0", Root: root, Layout: l, NoMBR: kind == "ext2"}
				if err := b.Configure(context.Background(), tg); err != nil {
					t.Fatal(err)
				}
				embedAndJudge(t, tg, kind)
			})
		}
	}
}

func embedAndJudge(t *testing.T, tg Target, kind string) {
	p := tg.Layout.Partitions[0]
	disk, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if err := disk.Truncate(tg.Layout.Size); err != nil {
		t.Fatal(err)
	}
	at := fmt.Sprintf("%s?offset=%d", disk.Name(), p.Offset())
	run := func(name string, args ...string) string {
		t.Helper()
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	run("mke2fs", "-q", "-F", "-t", kind, "-b", "4096", "-E", fmt.Sprintf("offset=%d", p.Offset()), "-d", tg.Root, disk.Name(), fmt.Sprint(p.Bytes()/4096))
	if err := row(t, "extlinux").(Embedder).Embed(context.Background(), tg, disk); err != nil {
		t.Fatal(err)
	}
	run("e2fsck", "-fn", at)
	if stat := run("debugfs", "-R", "stat /boot/extlinux/ldlinux.sys", at); !strings.Contains(stat, "Flags: 0x10") && !strings.Contains(stat, "Flags: 0x80010") {
		t.Errorf("ldlinux.sys is not immutable:\n%s", stat)
	}
	head := make([]byte, sector)
	if _, err := disk.ReadAt(head, 0); err != nil {
		t.Fatal(err)
	}
	code := map[string]string{partition.MSDOS: "mbr.bin", partition.GPT: "gptmbr.bin"}[tg.Layout.Table]
	want, err := os.ReadFile(filepath.Join(tg.Root, "usr/lib/EXTLINUX", code))
	if err != nil {
		t.Fatal(err)
	}
	if tg.NoMBR {
		want = make([]byte, mbrCode)
	}
	if !bytes.Equal(head[:mbrCode], want) {
		t.Errorf("the first sector does not have the code of %s (wanted: %v)", code, !tg.NoMBR)
	}
	judgeChain(t, disk, p)
}

// judgeChain follows the boot sector to ldlinux.sys, as the machine does.
func judgeChain(t *testing.T, disk *os.File, p partition.Partition) {
	vbr, first := make([]byte, sector), make([]byte, sector)
	if _, err := disk.ReadAt(vbr, p.Offset()); err != nil {
		t.Fatal(err)
	}
	at := int64(le.Uint32(vbr[0x11a:])) | int64(le.Uint32(vbr[0x120:]))<<32
	if _, err := disk.ReadAt(first, p.Offset()+at*sector); err != nil {
		t.Fatal(err)
	}
	volume, err := extfs.Open(disk, p.Offset())
	if err != nil {
		t.Fatal(err)
	}
	file, err := volume.Lookup("/boot/extlinux/ldlinux.sys")
	if err != nil {
		t.Fatal(err)
	}
	sectors, err := file.Sectors()
	if err != nil {
		t.Fatal(err)
	}
	sys := make([]byte, len(sectors)*sector)
	for i, s := range sectors {
		if _, err := disk.ReadAt(sys[i*sector:(i+1)*sector], p.Offset()+s*sector); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first, sys[:sector]) {
		t.Errorf("the boot sector leads to sector %d, which is not the first of ldlinux.sys", at)
	}
	if got := sum(sys[:len(sys)-advSectors*sector]); got != ldlinuxMagic {
		t.Errorf("all words of ldlinux.sys add up to %#x", got)
	}
}
