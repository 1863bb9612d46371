package bootloader

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/partition"
	"vmbuild/rootfs/offers"
)

var pcFiles = []string{
	"/usr/lib/grub/i386-pc/normal.mod", "/usr/lib/grub/i386-pc/fs.lst", "/usr/lib/grub/i386-pc/efiemu64.o",
	"/usr/lib/grub/i386-pc/boot.img", "/usr/lib/grub/i386-pc/cdboot.img",
}

const settings = `GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200n8 quote=\"\$x\""
GRUB_TERMINAL="console serial"
GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"
`

func TestConfigurePC(t *testing.T) {
	b := row(t, "grub")
	for _, test := range []struct {
		name, table, prefix, holds string
		more                       []partition.Request
	}{
		{"gpt", partition.GPT, "/boot/grub", "root", []partition.Request{rootFS}},
		{"msdos with /boot", partition.MSDOS, "/grub", "boot", []partition.Request{rootFS, bootFS}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := layout(t, b, "amd64", test.table, test.more...)
			uuid := map[string]string{}
			for _, p := range l.Partitions {
				uuid[p.Name] = p.UUID
			}
			tg := newTarget(t, pcFiles...)
			err := b.Configure(context.Background(), Target{
				Arch: architecture(t, "amd64"), Console: "ttyS0", Root: tg.root, Runner: tg, Layout: l, Serial: true, Cmdline: []string{`quote="$x"`},
			})
			if err != nil {
				t.Fatal(err)
			}
			modules := "biosdisk part_" + test.table + " ext2 search_fs_uuid"
			want := []string{
				"grub-mkimage -O i386-pc -d /usr/lib/grub/i386-pc -o /boot/grub/i386-pc/core.img -c /boot/grub/i386-pc/load.cfg -p " +
					test.prefix + " " + modules,
				"update-grub " + uuid["root"],
			}
			if diff := cmp.Diff(want, tg.commands); diff != "" {
				t.Error(diff)
			}
			files := map[string]string{
				"/boot/grub/grub.cfg":                "menu",
				"/boot/grub/grubenv":                 environmentBlock(),
				"/boot/grub/fonts/unicode.pf2":       "/usr/share/grub/unicode.pf2",
				"/boot/grub/i386-pc/boot.img":        "/usr/lib/grub/i386-pc/boot.img",
				"/boot/grub/i386-pc/core.img":        "made of " + modules,
				"/boot/grub/i386-pc/efiemu64.o":      "/usr/lib/grub/i386-pc/efiemu64.o",
				"/boot/grub/i386-pc/fs.lst":          "/usr/lib/grub/i386-pc/fs.lst",
				"/boot/grub/i386-pc/load.cfg":        "search.fs_uuid " + uuid[test.holds] + " root\nset prefix=($root)'" + test.prefix + "'\n",
				"/boot/grub/i386-pc/normal.mod":      "/usr/lib/grub/i386-pc/normal.mod",
				"/etc/default/grub.d/50-console.cfg": settings,
			}
			if diff := cmp.Diff(files, tg.added(t)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(strings.ReplaceAll(libraryScript, "@dir@", "DIR"), tg.standIns["grub-mkconfig_lib"]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestConfigurePCPlain(t *testing.T) {
	tg := newTarget(t, pcFiles...)
	b := row(t, "grub")
	l := layout(t, b, "amd64", partition.MSDOS, rootFS)
	if err := b.Configure(context.Background(), Target{Arch: architecture(t, "amd64"), Console: "ttyS0", Root: tg.root, Runner: tg, Layout: l}); err != nil {
		t.Fatal(err)
	}
	if _, there := tg.added(t)["/etc/default/grub.d/50-console.cfg"]; there {
		t.Error("settings were written although there are none")
	}
}

func TestConfigurePCErrors(t *testing.T) {
	b := row(t, "grub")
	for _, test := range []struct {
		files []string
		more  []partition.Request
		want  string
	}{
		{pcFiles, nil, "configure boot loader grub: the layout has no partition for /boot/grub"},
		{nil, []partition.Request{rootFS}, "configure boot loader grub: no file /usr/lib/grub/i386-pc/*.mod is installed"},
	} {
		tg := newTarget(t, test.files...)
		l := layout(t, b, "amd64", partition.MSDOS, test.more...)
		err := b.Configure(context.Background(), Target{Arch: architecture(t, "amd64"), Console: "ttyS0", Root: tg.root, Runner: tg, Layout: l})
		if got := fmt.Sprint(err); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

// memory is a disk of so many bytes.
type memory []byte

func (m memory) WriteAt(b []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(b)) > int64(len(m)) {
		return 0, io.ErrShortWrite
	}
	return copy(m[at:], b), nil
}

func (m memory) ReadAt(b []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(b)) > int64(len(m)) {
		return 0, io.ErrUnexpectedEOF
	}
	return copy(b, m[at:]), nil
}

// images makes a boot.img of bytes bb and a core.img of bytes cc, with what their fields have before.
func images(sectors int) (boot, core []byte) {
	boot = bytes.Repeat([]byte{0xbb}, 512)
	copy(boot[0x1fe:], []byte{0x55, 0xaa})
	core = bytes.Repeat([]byte{0xcc}, sectors*512)
	copy(core[0x1e8:], make([]byte, 12))
	copy(core[0x1f4:], []byte{2, 0, 0, 0, 0, 0, 0, 0, byte(sectors - 1), byte((sectors - 1) >> 8), 0x20, 0x08})
	return boot, core[:len(core)-100]
}

func embed(t *testing.T, l *partition.Layout, boot, core []byte, disk memory) error {
	t.Helper()
	root := bootTree(t, pcPlatform, map[string]string{"boot.img": string(boot), "core.img": string(core)})
	return row(t, "grub").(Embedder).Embed(context.Background(), Target{Root: root, Layout: l}, disk)
}

func TestEmbed(t *testing.T) {
	for _, test := range []struct {
		table string
		start int
		le    string // start and start + 1, little endian
		next  string
	}{
		{partition.MSDOS, 1, "0100000000000000", "0200000000000000"},
		{partition.GPT, 2048, "0008000000000000", "0108000000000000"},
	} {
		t.Run(test.table, func(t *testing.T) {
			boot, core := images(60)
			disk := memory(bytes.Repeat([]byte{0xdd}, 2<<20))
			if err := embed(t, layout(t, row(t, "grub"), "amd64", test.table, rootFS), boot, core, disk); err != nil {
				t.Fatal(err)
			}
			first := strings.Repeat("bb", 3) + strings.Repeat("dd", 87) + "bbbb" + test.le + "ff" + "bb" + "9090" +
				strings.Repeat("bb", 0x1b8-0x68) + strings.Repeat("dd", 70) + "55aa"
			if got := hex.EncodeToString(disk[:512]); got != first {
				t.Errorf("first sector:\ngot  %s\nwant %s", got, first)
			}
			at := test.start * 512
			diskboot := strings.Repeat("cc", 0x1e8) + strings.Repeat("00", 12) + test.next + "3b00" + "2008"
			if got := hex.EncodeToString(disk[at : at+512]); got != diskboot {
				t.Errorf("first sector of core.img:\ngot  %s\nwant %s", got, diskboot)
			}
			rest := bytes.Repeat([]byte{0xcc}, 59*512-100)
			if got := disk[at+512 : at+60*512]; !bytes.Equal(got, append(rest, make([]byte, 100)...)) {
				t.Error("the rest of core.img is not there, padded with zeroes")
			}
			if after := disk[at+60*512:]; bytes.ContainsFunc(after, func(r rune) bool { return r == 0 || r == 0xcc }) {
				t.Error("something was written behind core.img")
			}
		})
	}
}

func TestEmbedErrors(t *testing.T) {
	boot, core := images(60)
	_, large := images(889)
	_, over := images(700)
	wrong := bytes.Clone(core)
	wrong[0x1fc]++
	msdos := layout(t, row(t, "grub"), "amd64", partition.MSDOS, rootFS)
	narrow := &partition.Layout{Table: partition.MSDOS, Size: 1 << 20, Partitions: []partition.Partition{{Start: 63}}}
	for _, test := range []struct {
		layout     *partition.Layout
		boot, core []byte
		want       string
	}{
		{msdos, boot[:511], core, "boot.img is not a boot sector"},
		{msdos, boot, wrong, "core.img is not what grub-mkimage makes for i386-pc"},
		{msdos, boot, nil, "core.img is not what grub-mkimage makes for i386-pc"},
		{msdos, boot, large, "core.img has 889 sectors, but GRUB can load only 888"},
		{narrow, boot, over, "core.img has 700 sectors, but there is room for 62 only: leave more before the first partition"},
		{&partition.Layout{Table: partition.GPT}, boot, core, "a gpt disk needs a BIOS boot partition for it"},
	} {
		err := embed(t, test.layout, test.boot, test.core, make(memory, 1<<20))
		if got, want := fmt.Sprint(err), "write boot code of grub: "+test.want; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// The stand-ins answer for a disk that does not exist yet.
func TestStandIns(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "sh")
	l := layout(t, row(t, "grub-efi"), "amd64", partition.GPT, rootFS, bootFS)
	probe, relpath := filepath.Join(t.TempDir(), "probe"), filepath.Join(t.TempDir(), "relpath")
	for name, script := range map[string]string{probe: probeScript(l), relpath: relpathScript(l)} {
		if err := os.WriteFile(name, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	root, boot := l.Partitions[2], l.Partitions[1]
	for _, test := range []struct{ program, args, want string }{
		{probe, "--target=device /", "/dev/vda3"},
		{probe, "--target=device /usr/share/grub/unicode.pf2", "/dev/vda3"},
		{probe, "--target=device /bootstrap", "/dev/vda3"},
		{probe, "--target=device /boot", "/dev/vda2"},
		{probe, "--target=device /boot/grub", "/dev/vda2"},
		{probe, "--target=device /boot/efi/EFI", "/dev/vda1"},
		{probe, "--device /dev/vda3 --target=fs_uuid", root.UUID},
		{probe, "--device /dev/vda3 --target=partuuid", root.GUID},
		{probe, "--device /dev/vda2 --target=fs_uuid", boot.UUID},
		{probe, "--device /dev/vda2 --target=fs", "ext2"},
		{probe, "--device /dev/vda1 --target=fs", "fat"},
		{probe, "--device /dev/vda2 --target=partmap", "gpt"},
		{probe, "--device /dev/vda2 --target=hints_string", ""},
		{probe, "-t fs /usr", "ext2"},
		{probe, "-t abstraction /usr", ""},
		{probe, "-t drive /usr", "(hd0,gpt3)"},
		{probe, "--device /dev/vdb --target=fs", "exit status 1"},
		{probe, "--device /dev/vda1 --target=arc_hint", "exit status 1"},
		{relpath, "/", ""},
		{relpath, "/boot", ""},
		{relpath, "/boot/vmlinuz", "/vmlinuz"},
		{relpath, "/boot/efi", ""},
		{relpath, "/bootstrap", "/bootstrap"},
		{relpath, "/usr/../usr/share", "/usr/share"},
	} {
		out, err := exec.Command(test.program, strings.Fields(test.args)...).Output()
		got := strings.TrimSuffix(string(out), "\n")
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s %s: %q, want %q", filepath.Base(test.program), test.args, got, test.want)
		}
	}
}

// The files of the host's own suite are what the code takes them for.
func TestEmbedDebian(t *testing.T) {
	offers.Need(t, "net")
	offers.Programs(t, "apt-get", "dpkg-deb")
	dir := t.TempDir()
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
	}
	run("apt-get", "-o", "APT::Sandbox::User=root", "download", "grub-pc-bin", "grub-common")
	run("sh", "-ec", "for deb in *.deb; do dpkg-deb -x $deb .; done")
	run("usr/bin/grub-mkimage", "-O", "i386-pc", "-d", "usr/lib/grub/i386-pc", "-o", "core.img", "-p", "/boot/grub",
		"biosdisk", "part_msdos", "ext2", "search_fs_uuid")
	boot, err := os.ReadFile(filepath.Join(dir, "usr/lib/grub/i386-pc/boot.img"))
	if err != nil {
		t.Fatal(err)
	}
	core, err := os.ReadFile(filepath.Join(dir, "core.img"))
	if err != nil {
		t.Fatal(err)
	}
	disk := make(memory, 1<<20)
	if err := embed(t, layout(t, row(t, "grub"), "amd64", partition.MSDOS, rootFS), boot, core, disk); err != nil {
		t.Fatal(err)
	}
	// Of the code of boot.img only the drive and the jump that tests it change, since sector 1 is its default.
	if got, want := fmt.Sprintf("%x", disk[0x5a:0x6a]), "00800100000000000000fffa9090f6c2"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !bytes.Equal(disk[0x68:0x1b8], boot[0x68:0x1b8]) {
		t.Error("the code of boot.img has changed")
	}
	copy(core[0x1f4:], []byte{2, 0, 0, 0, 0, 0, 0, 0})
	if !bytes.Equal(disk[512:512+len(core)], core) {
		t.Error("core.img differs in more than the place of its second sector")
	}
}
