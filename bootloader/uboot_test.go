package bootloader

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/partition"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/suite"
)

func board(t *testing.T, name string) onBoard {
	t.Helper()
	b, err := ForBoard(name)
	if err != nil {
		t.Fatal(err)
	}
	return b.(onBoard)
}

// boardLayout places what a board asks for, and root.
func boardLayout(t *testing.T, o onBoard, table string) *partition.Layout {
	t.Helper()
	a := architecture(t, o.board.Arch)
	root := rootFS
	root.Active = o.ActivePartition()
	l, err := partition.Place(partition.Spec{
		Table: table, Size: 1 << 30, Offset: o.Offset(), Arch: a, Requests: append(o.Partitions(a, table), root),
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// writes records where a disk is written to.
type writes []string

func (writes) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }

func (w *writes) WriteAt(data []byte, at int64) (int, error) {
	*w = append(*w, fmt.Sprintf("%d+%d", at, len(data)))
	return len(data), nil
}

// packaged is a file of testdata/u-boot.txt.
type packaged struct {
	suite, pack, file string // pack has its architecture
	size              int64
}

func readPackaged(t *testing.T) []packaged {
	t.Helper()
	f, err := os.Open("testdata/u-boot.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []packaged
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var p packaged
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		if _, err := fmt.Sscan(lines.Text(), &p.suite, &p.pack, &p.size, &p.file); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		list = append(list, p)
	}
	return list
}

// TestBoards: the rows are whole, and the files that the packages of each release have go where the rows say, on each table.
func TestBoards(t *testing.T) {
	files := readPackaged(t)
	trees := map[string]string{}
	for _, f := range files {
		dir := trees[f.suite+f.pack]
		if dir == "" {
			dir = t.TempDir()
			trees[f.suite+f.pack] = dir
		}
		name := filepath.Join(dir, loaderDir, f.file)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, f.size); err != nil {
			t.Fatal(err)
		}
	}
	if len(slices.Compact(BoardNames())) != len(Boards()) {
		t.Error("two boards have the same name")
	}
	for _, b := range Boards() {
		if b.Title == "" || !strings.HasPrefix(b.Page, "https://") || len(b.Parts) == 0 || len(b.Tables) == 0 || b.Console == "" ||
			path.Ext(b.Tree) != ".dtb" || b.Name != strings.ToLower(b.Name) {
			t.Errorf("the row is not whole: %+v", b)
		}
		released := 0
		for _, s := range []string{"bookworm", "trixie"} {
			row, err := suite.Lookup(s)
			if err != nil {
				t.Fatal(err)
			}
			o := board(t, b.Name)
			if o.Supports(architecture(t, b.Arch), row) != nil {
				continue
			}
			released++
			for _, table := range b.Tables {
				target := Target{Root: trees[s+b.Package+":"+b.Arch], Layout: boardLayout(t, o, table)}
				var disk writes
				if err := o.Embed(t.Context(), target, &disk); err != nil {
					t.Errorf("%s, %s: %v", s, table, err)
				}
				files := slices.DeleteFunc(slices.Clone(b.Parts), func(p Part) bool { return p.In != "firmware" })
				if len(disk)+len(files) != len(b.Parts) {
					t.Errorf("%s, %s, %s: %v, but there are parts %v", b.Name, s, table, disk, b.Parts)
				}
			}
		}
		if released == 0 {
			t.Errorf("%s: no release has it", b.Name)
		}
	}
}

// TestEmbedBoard: where parts of the smallest size go.
func TestEmbedBoard(t *testing.T) {
	for _, test := range []struct{ board, want string }{
		{"beaglebone-black", ""},
		{"beaglebone-black-raw", "131072+MLO 393216+u-boot.img"},
		{"cubietruck", "8192+u-boot-sunxi-with-spl.bin"},
		{"wandboard", "1024+SPL 70656+u-boot.img"},
		{"rock64", "32768+idbloader.img 8388608+u-boot.itb"},
		{"puma", "32768+idbloader.img 262144+u-boot.itb"},
		{"hifive-unmatched", "4194304+u-boot-spl.bin 1065984+u-boot.itb"},
		{"visionfive2", "1048576+u-boot-spl.bin.normal.out 3145728+u-boot.itb"},
		{"stm32mp157c-dk2", "1048576+u-boot-spl.stm32 2097152+u-boot-spl.stm32 3145728+u-boot.img"},
	} {
		o := board(t, test.board)
		var files []string
		for _, p := range o.board.Parts {
			files = append(files, "/"+path.Join(loaderDir, p.File))
		}
		disk := &contentDisk{}
		tg := newTarget(t, files...)
		if err := o.Embed(t.Context(), Target{Root: tg.root, Layout: boardLayout(t, o, o.Tables()[0])}, disk); err != nil {
			t.Error(err)
		}
		if got := strings.Join(disk.written, " "); got != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", test.board, got, test.want)
		}
	}
}

// TestEmbedBoardErrors: nothing is written unless everything can be.
func TestEmbedBoardErrors(t *testing.T) {
	cubietruck := "/usr/lib/u-boot/Cubietruck/u-boot-sunxi-with-spl.bin"
	spl, itb := "/usr/lib/u-boot/sifive_unmatched/u-boot-spl.bin", "/usr/lib/u-boot/sifive_unmatched/u-boot.itb"
	for _, test := range []struct{ board, layout, want string }{
		{"cubietruck", "rock64", "write u-boot for board cubietruck: " + cubietruck[len("/usr/lib/u-boot/"):] +
			", 52 bytes from byte 8192 on, lies over the partition table, which ends at byte 17408"},
		{"hifive-unmatched", "rock64", `write u-boot for board hifive-unmatched: the layout has no partition "spl" for sifive_unmatched/u-boot-spl.bin`},
		{"wandboard", "wandboard", "write u-boot for board wandboard: openat usr/lib/u-boot/wandboard/SPL: no such file or directory"},
	} {
		l, disk := board(t, test.layout), &writes{}
		target := Target{Root: newTarget(t, cubietruck, spl, itb).root, Layout: boardLayout(t, l, l.Tables()[0])}
		if got := fmt.Sprint(board(t, test.board).Embed(t.Context(), target, disk)); got != test.want || len(*disk) != 0 {
			t.Errorf("%v is written;\ngot  %s\nwant %s", *disk, got, test.want)
		}
	}
}

// contentDisk records what is written, by the last words of its content, which in a test's tree is a path.
type contentDisk struct {
	writes
	written []string
}

func (d *contentDisk) WriteAt(data []byte, at int64) (int, error) {
	d.written = append(d.written, fmt.Sprintf("%d+%s", at, path.Base(string(data))))
	return len(data), nil
}

func TestCheckRoom(t *testing.T) {
	l := func(table string) *partition.Layout {
		return &partition.Layout{Table: table, Size: 1 << 30, Partitions: []partition.Partition{
			{Request: partition.Request{Name: "root"}, Start: 8192, Sectors: 8192},
			{Request: partition.Request{Name: "spl"}, Start: 16384, Sectors: 1},
		}}
	}
	spl := l(partition.GPT).Partitions[1]
	at := func(file string, start int64, size int) block {
		return block{file: file, start: start, data: make([]byte, size)}
	}
	on := func(size int) block { return block{file: "s", in: spl, start: 8 << 20, data: make([]byte, size)} }
	for _, test := range []struct {
		table  string
		blocks []block
		want   string
	}{
		{partition.MSDOS, []block{at("b", 1024, 4<<20-1024), at("a", 512, 512)}, "<nil>"},
		{partition.GPT, []block{at("a", 17408, 8), on(512)}, "<nil>"},
		{partition.MSDOS, []block{at("a", 511, 8)},
			"a, 8 bytes from byte 511 on, lies over the partition table, which ends at byte 512"},
		{partition.GPT, []block{at("a", 17407, 8)},
			"a, 8 bytes from byte 17407 on, lies over the partition table, which ends at byte 17408"},
		{partition.MSDOS, []block{at("a", 4<<20-7, 8)},
			"a, 8 bytes from byte 4194297 on, goes beyond byte 4194304, where the first partition begins"},
		{partition.MSDOS, []block{at("b", 1024, 8), at("a", 1000, 25)},
			"b, 8 bytes from byte 1024 on, lies over a, which ends at byte 1025"},
		{partition.GPT, []block{on(513)},
			`s, 513 bytes from byte 8388608 on, goes beyond partition "spl", which has 512 bytes`},
	} {
		if got := fmt.Sprint(checkRoom(test.blocks, l(test.table))); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

func TestBoardSupports(t *testing.T) {
	for _, test := range []struct{ board, arch, suite, want string }{
		{"cubietruck", "armhf", "bookworm", "<nil>"},
		{"cubietruck", "arm64", "trixie", "board cubietruck is of architecture armhf, not arm64"},
		{"orangepi-pc", "armhf", "bookworm", "board orangepi-pc: Debian has its U-Boot since trixie, not in bookworm"},
		{"", "armhf", "trixie", "<nil>"},
		{"", "amd64", "trixie", "boot loader u-boot starts machines of ARM and RISC-V, not of architecture amd64"},
		{"", "armhf", "bullseye",
			"boot loader u-boot: since bookworm, not in bullseye, the package u-boot-menu takes settings from files beside its own"},
	} {
		var loader Bootloader = uBoot{}
		if test.board != "" {
			loader = board(t, test.board)
		}
		s, err := suite.Lookup(test.suite)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(loader.Supports(architecture(t, test.arch), s)); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
	if _, err := ForBoard("pdp-11"); !strings.HasPrefix(fmt.Sprint(err), `board "pdp-11" is not one of a10-olinuxino-lime, a10s-`) {
		t.Error(err)
	}
	if got := fmt.Sprint(board(t, "wandboard").Packages(arch.Arch{})); got != "[u-boot-menu u-boot-imx]" {
		t.Error(got)
	}
}

func TestBootPackages(t *testing.T) {
	for _, test := range []struct {
		loader      Bootloader
		suite, want string
	}{
		{uBoot{}, "bookworm", "[] <nil>"},
		{uBoot{}, "trixie", "[rsync] <nil>"},
		{board(t, "rock64"), "trixie", "[rsync] <nil>"},
		{board(t, "rock64"), "bookworm",
			"[] board rock64: since trixie, not in bookworm, u-boot-menu copies device trees to a /boot of its own"},
	} {
		s, err := suite.Lookup(test.suite)
		if err != nil {
			t.Fatal(err)
		}
		packages, err := test.loader.(BootPackager).BootPackages(s)
		if got := fmt.Sprint(packages, err); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

// menuRunner plays u-boot-menu: it says what it was asked, and what the stand-in for stat says there.
type menuRunner struct {
	t        *testing.T
	root     string
	commands []string
	sync     bool // rsync is installed
}

func (m *menuRunner) Run(_ context.Context, c chroot.Command) error {
	m.commands = append(m.commands, strings.Join(c.Args, " "))
	if c.Args[0] != "sh" {
		return nil
	}
	for _, dir := range []string{"/", "/boot"} {
		out, err := exec.Command("sh", filepath.Join(m.root, "tmp/u-boot-update/stat"), "--printf", "%d", dir).Output()
		if err != nil {
			m.t.Error(err)
		}
		m.commands = append(m.commands, dir+" is on "+string(out))
	}
	if !m.sync {
		return nil
	}
	return os.MkdirAll(filepath.Join(m.root, "boot/dtbs/6.12-armmp"), 0o755)
}

// TestConfigureUBoot: what the menu is made of, for machines with U-Boot of their own and for boards.
func TestConfigureUBoot(t *testing.T) {
	sync := []string{"sh -ec " + menuScript, "/ is on 1", "/boot is on 2"}
	for _, test := range []struct {
		name     string
		loader   Bootloader
		console  string
		separate bool
		sync     bool
		commands []string
		added    map[string]string
		err      string
	}{{
		name: "virt", loader: uBoot{}, console: "ttyAMA0", commands: []string{"u-boot-update"},
		added: map[string]string{menuSettings: "U_BOOT_PARAMETERS=\"ro console=tty0 console=ttyAMA0,115200n8\"\n"},
	}, {
		name: "no serial port", loader: uBoot{}, commands: []string{"u-boot-update"},
		added: map[string]string{menuSettings: "U_BOOT_PARAMETERS=\"ro\"\n"},
	}, {
		name: "files on a FAT", loader: board(t, "beaglebone-black"), console: "ttyO0", commands: []string{"u-boot-update"},
		added: map[string]string{
			menuSettings:               "U_BOOT_PARAMETERS=\"ro console=tty0 console=ttyO0,115200n8\"\n",
			"boot/firmware/MLO":        "/usr/lib/u-boot/am335x_boneblack/MLO",
			"boot/firmware/u-boot.img": "/usr/lib/u-boot/am335x_boneblack/u-boot.img",
		},
	}, {
		name: "a fast port", loader: board(t, "rock64"), console: "ttyS2", commands: []string{"u-boot-update"},
		added: map[string]string{menuSettings: "U_BOOT_PARAMETERS=\"ro console=tty0 console=ttyS2,1500000n8\"\n"},
	}, {
		name: "a device tree of its own", loader: board(t, "orangepi-pc"), console: "ttyS0", commands: []string{"u-boot-update"},
		added: map[string]string{menuSettings: "U_BOOT_PARAMETERS=\"ro console=tty0 console=ttyS0,115200n8\"\n" +
			"U_BOOT_FDT=\"sun8i-h3-orangepi-pc.dtb\"\n"},
	}, {
		name: "separate /boot", loader: board(t, "wandboard"), console: "ttymxc0", separate: true, sync: true, commands: sync,
		added: map[string]string{menuSettings: "U_BOOT_PARAMETERS=\"ro console=tty0 console=ttymxc0,115200n8\"\n" +
			"U_BOOT_SYNC_DTBS=\"true\"\n"},
	}, {
		name: "separate /boot of a machine that has its device tree", loader: uBoot{}, separate: true, commands: sync,
		added: map[string]string{menuSettings: "U_BOOT_PARAMETERS=\"ro\"\nU_BOOT_SYNC_DTBS=\"true\"\n"},
	}, {
		name: "separate /boot without device trees", loader: board(t, "wandboard"), separate: true, commands: sync,
		added: map[string]string{menuSettings: "U_BOOT_PARAMETERS=\"ro\"\nU_BOOT_SYNC_DTBS=\"true\"\n"},
		err: "configure boot loader u-boot for board wandboard: u-boot reads the device tree from /boot, a filesystem of its own, " +
			"but rsync, by which u-boot-menu puts it there, has not: statat boot/dtbs/6.12-armmp: no such file or directory",
	}} {
		t.Run(test.name, func(t *testing.T) {
			requests := append(test.loader.Partitions(architecture(t, "armhf"), partition.MSDOS), rootFS)
			if test.separate {
				requests = append(requests, bootFS)
			}
			l, err := partition.Place(partition.Spec{
				Table: partition.MSDOS, Size: 1 << 30, Arch: architecture(t, "armhf"), Requests: requests,
			})
			if err != nil {
				t.Fatal(err)
			}
			tg := newTarget(t, "/boot/vmlinuz-6.12-armmp",
				"/usr/lib/u-boot/am335x_boneblack/MLO", "/usr/lib/u-boot/am335x_boneblack/u-boot.img")
			runner := &menuRunner{t: t, root: tg.root, sync: test.sync}
			err = test.loader.Configure(t.Context(), Target{
				Root: tg.root, Runner: runner, Layout: l, Console: test.console, Serial: test.console != "",
			})
			if got := fmt.Sprint(err); got != orNil(test.err) {
				t.Errorf("got  %s\nwant %s", got, test.err)
			}
			want := map[string]string{}
			for name, content := range test.added {
				want["/"+name] = content
			}
			if diff := cmp.Diff(want, tg.added(t)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.commands, runner.commands); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// orNil is how fmt prints an error with that text, which may be none.
func orNil(text string) string {
	if text == "" {
		return "<nil>"
	}
	return text
}
