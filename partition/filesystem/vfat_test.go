package filesystem

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/offers"
	"vmbuild/rootfs/tree"
)

var epoch = time.Date(2025, 6, 15, 15, 6, 40, 0, time.UTC)

// makeTree writes files, by path; a path that ends in "/" is a directory. All are of 2030, after the epoch.
func makeTree(t testing.TB, files map[string]string) *tree.Tree {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		full := filepath.Join(dir, name)
		parent := filepath.Dir(full)
		if strings.HasSuffix(name, "/") {
			parent = full
		}
		if err := os.MkdirAll(parent, 0o755); err != nil {
			t.Fatal(err)
		}
		if parent == full {
			continue
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	late := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(name, late, late)
	})
	if err != nil {
		t.Fatal(err)
	}
	return &tree.Tree{Dir: dir}
}

// several has what is hard: no content, one byte more than clusters hold, deep and long names, names that are alike.
func several() map[string]string {
	files := map[string]string{
		"EFI/BOOT/BOOTX64.EFI":              strings.Repeat("0123456789abcdef", 4097),
		"EFI/BOOT/grubx64.efi":              strings.Repeat("x", 512),
		"EFI/debian/grub.cfg":               "configfile\n",
		"EFI/debian/empty":                  "",
		"EFI/none/":                         "",
		"a/b/c/d/e/f/g/deep":                "deep",
		"names/LONGNA~1.TXT":                "a name that looks made up",
		"names/long name one.txt":           "1",
		"names/long name two.txt":           "2",
		"names/.hidden":                     "dot",
		"names/a+b=c,[d];e":                 "+",
		"names/Größe.tar.xz":                "umlaut",
		"names/\U0001f427":                  "penguin",
		"names/" + strings.Repeat("n", 255): "longest",
		"names/thirteen.char":               "no zero behind it: 13 units",
		"UPPER":                             "A",
	}
	for i := range 40 {
		files[fmt.Sprintf("many/file number %d", i)] = fmt.Sprint(i)
	}
	return files
}

// image makes a disk of junk, zero where the filesystem will be, and the filesystem in it.
func image(t testing.TB, name string, j Job) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	junk := bytes.Repeat([]byte{0xee}, sectorSize)
	for _, at := range []int64{j.Offset - sectorSize, j.Offset + j.Size} {
		if _, err := f.WriteAt(junk, at); err != nil {
			t.Fatal(err)
		}
	}
	j.Disk = f
	row, err := Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := row.Make(context.Background(), j); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{j.Offset - sectorSize, j.Offset + j.Size} {
		around := make([]byte, sectorSize)
		if _, err := f.ReadAt(around, at); err != nil || !bytes.Equal(around, junk) {
			t.Errorf("what lies at %d, outside of the filesystem, has changed (%v)", at, err)
		}
	}
	return f
}

func vfatJob(t testing.TB, size int64, files map[string]string) Job {
	return Job{Offset: 1 << 20, Size: size, UUID: "CAFE-0123", Tree: makeTree(t, files), Dir: "/", Epoch: epoch}
}

// sizes are those of which writers have been wrong, and both sides of each limit.
var sizes = []int64{1, 2, 4, 5, 8, 16, 32, 33, 34, 64, 100, 128, 129, 194, 259, 260, 261, 505, 506, 507, 512, 1024}

func TestGeometry(t *testing.T) {
	check := func(size int64) {
		g, err := newGeometry(size, 0)
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		limits := map[int][2]int64{12: {1, 4085}, 16: {4085, 65525}, 32: {65525, 1<<28 - 11}}[g.bits]
		entries := g.table * sectorSize * 8 / int64(g.bits)
		switch {
		case g.clusters < limits[0] || g.clusters >= limits[1]:
			t.Errorf("%d bytes: FAT%d with %d clusters", size, g.bits, g.clusters)
		case entries < g.clusters+2:
			t.Errorf("%d bytes: %d entries for %d clusters", size, entries, g.clusters)
		case g.data()+g.clusters*g.perCluster > g.sectors || (g.sectors-g.data())/g.perCluster != g.clusters:
			t.Errorf("%d bytes: %d clusters of %d from %d on in %d", size, g.clusters, g.perCluster, g.data(), g.sectors)
		}
	}
	for size := int64(64 << 10); size < 80<<20; size += 4096 {
		check(size)
	}
	for size := int64(1 << 20); size < 9<<30; size += 1 << 20 {
		check(size)
	}
	for _, size := range []int64{17 << 30, 40 << 30, 2<<40 - 512} {
		check(size)
	}
	for size, want := range map[int64]string{
		0:        "0 bytes are too few for a FAT volume",
		16 << 10: "16384 bytes are too few for a FAT volume",
		2 << 40:  "2199023255552 bytes are more than the 2 TiB that a FAT volume can have",
	} {
		if _, err := newGeometry(size, 0); fmt.Sprint(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestMBRType(t *testing.T) {
	for size, want := range map[int64]byte{2 << 20: 0x01, 16 << 20: 0x0e, 64 << 20: 0x0c} {
		if got := mbrFAT(size); got != want {
			t.Errorf("%d bytes: %#x, want %#x", size, got, want)
		}
	}
}

func TestVFATReadBack(t *testing.T) {
	files := several()
	for _, size := range []int64{1, 5, 32, 64, 300} {
		t.Run(fmt.Sprint(size, " MiB"), func(t *testing.T) {
			j := vfatJob(t, size<<20, files)
			j.Label = "efi"
			got := readFAT(t, image(t, "vfat", j), j)
			want := map[string]string{}
			for name, content := range files {
				for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
					want[dir+"/"] = ""
				}
				want[name] = content
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestVFATManyInRoot(t *testing.T) {
	files := map[string]string{}
	for i := range 700 { // more than the usual 512 entries
		files[fmt.Sprintf("F%d", i)] = ""
	}
	j := vfatJob(t, 4<<20, files)
	if diff := cmp.Diff(files, readFAT(t, image(t, "vfat", j), j)); diff != "" {
		t.Error(diff)
	}
}

func TestVFATExclude(t *testing.T) {
	j := vfatJob(t, 4<<20, map[string]string{"boot/efi/a": "a", "boot/efi/mnt/b": "b", "c": "c"})
	j.Dir, j.Exclude = "/boot/efi", []string{"/boot/efi/mnt"}
	want := map[string]string{"a": "a", "mnt/": ""}
	if diff := cmp.Diff(want, readFAT(t, image(t, "vfat", j), j)); diff != "" {
		t.Error(diff)
	}
}

// The bytes are those that xxd prints of the image; fsck.fat and mtools agree with them in TestVFATForeign.
func TestVFATBootSector(t *testing.T) {
	for size, want := range map[int64]string{
		64 << 20: "eb5890 4d5357494e342e31 0002 01 2000 02 0000 0000 f8 0000 3f00 ff00 00080000 00000200" +
			"00040000 0000 0000 02000000 0100 0600 000000000000000000000000 80 00 29 2301feca" +
			"4e4f204e414d4520202020 4641543332202020 cd18f4ebfd",
		2 << 20: "eb3c90 4d5357494e342e31 0002 01 0100 02 0002 0010 f8 0c00 3f00 ff00 00080000 00000000" +
			"80 00 29 2301feca 4e4f204e414d4520202020 4641543132202020 cd18f4ebfd",
	} {
		j := vfatJob(t, size, nil)
		f := image(t, "vfat", j)
		got := make([]byte, sectorSize)
		if _, err := f.ReadAt(got, j.Offset); err != nil {
			t.Fatal(err)
		}
		b, err := hex.DecodeString(strings.ReplaceAll(want, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		sector := append(b, make([]byte, sectorSize-2-len(b))...)
		sector = append(sector, 0x55, 0xaa)
		if diff := cmp.Diff(hex.Dump(sector), hex.Dump(got)); diff != "" {
			t.Errorf("%d bytes: %s", size, diff)
		}
	}
}

func TestVFATReproducible(t *testing.T) {
	var images [2][]byte
	for i := range images {
		j := vfatJob(t, 2<<20, several())
		b := make([]byte, j.Size)
		if _, err := image(t, "vfat", j).ReadAt(b, j.Offset); err != nil {
			t.Fatal(err)
		}
		images[i] = b
	}
	if !bytes.Equal(images[0], images[1]) {
		t.Error("two volumes of the same files differ")
	}
}

func TestFATTime(t *testing.T) {
	for given, want := range map[string]string{
		"1969-12-31T23:59:59Z":      "0021 0000",
		"1980-01-01T00:00:00Z":      "0021 0000",
		"2025-06-15T15:06:41Z":      "5acf 78d4",
		"2025-06-15T17:06:41+02:00": "5acf 78d4",
		"2107-12-31T23:59:59Z":      "ff9f bf7d",
		"2200-01-01T00:00:00Z":      "ff9f bf7d",
	} {
		at, err := time.Parse(time.RFC3339, given)
		if err != nil {
			t.Fatal(err)
		}
		date, clock := fatTime(at)
		if got := fmt.Sprintf("%04x %04x", date, clock); got != want {
			t.Errorf("%s: got %s, want %s", given, got, want)
		}
	}
}

func TestVFATErrors(t *testing.T) {
	dir := makeTree(t, map[string]string{"a/x": "", "b/Name": "", "b/name": "", "c/what?": "", "d/dot.": "", "e/big": strings.Repeat("x", 2<<20)})
	if err := os.Symlink("/a/x", filepath.Join(dir.Dir, "a/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(dir.Dir, "etc")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		job  Job
		want string
	}{
		{Job{Dir: "/a", UUID: "1"}, `make vfat filesystem for /a: "1" is not a FAT serial number as in 12AB-34CD`},
		{Job{Dir: "/a", UUID: "0000-0001", Label: "twelve chars"}, `make vfat filesystem for /a: "twelve chars" is not a FAT label: at most 11 letters, digits and some signs`},
		{Job{Dir: "/a", UUID: "0000-0001"}, "make vfat filesystem for /a: /a/link is a symbolic link: vfat holds files and directories only"},
		{Job{Dir: "/b", UUID: "0000-0001"}, `make vfat filesystem for /b: directory /b: names "Name" and "name" differ only in case`},
		{Job{Dir: "/c", UUID: "0000-0001"}, `make vfat filesystem for /c: directory /c: name "what?" has a character that vfat cannot store`},
		{Job{Dir: "/d", UUID: "0000-0001"}, `make vfat filesystem for /d: directory /d: name "dot." ends in a dot or space, which vfat does not keep`},
		{Job{Dir: "/e", UUID: "0000-0001"}, "make vfat filesystem for /e: the files below /e need 1071616 bytes more than the 1048576 of the partition"},
		{Job{Dir: "/etc", UUID: "0000-0001"}, "make vfat filesystem for /etc: /etc is a link, and a filesystem cannot be mounted there"},
	} {
		test.job.Tree, test.job.Size = dir, 1<<20
		row, err := Lookup("vfat")
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(row.Make(context.Background(), test.job)); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

// A link to a file in the same filesystem becomes a copy: what names the link still finds it.
func TestVFATLinks(t *testing.T) {
	j := vfatJob(t, 8<<20, map[string]string{"vmlinuz-6": "kernel"})
	if err := os.Symlink("vmlinuz-6", filepath.Join(j.Tree.Dir, "vmlinuz")); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"vmlinuz": "kernel", "vmlinuz-6": "kernel"}
	if diff := cmp.Diff(want, readFAT(t, image(t, "vfat", j), j)); diff != "" {
		t.Error(diff)
	}
}

// fsck.fat finds every size clean, and mtools read what was written.
func TestVFATForeign(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "fsck.fat", "mcopy")
	files := several()
	delete(files, "names/\U0001f427") // mtools knows the first 65536 characters only
	for _, size := range sizes {
		t.Run(fmt.Sprint(size, " MiB"), func(t *testing.T) {
			j := vfatJob(t, size<<20, files)
			disk := image(t, "vfat", j)
			volume := filepath.Join(t.TempDir(), "volume")
			run(t, "dd", "status=none", "bs=1M", "skip=1", fmt.Sprint("count=", size), "conv=sparse", "if="+disk.Name(), "of="+volume)
			run(t, "fsck.fat", "-nv", volume)
			copied := t.TempDir()
			run(t, "mcopy", "-s", "-n", "-i", fmt.Sprintf("%s@@%d", disk.Name(), j.Offset), "::*", copied)
			run(t, "diff", "-r", j.Tree.Dir, copied)
		})
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}
