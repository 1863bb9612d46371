package filesystem

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/offers"
	"vmbuild/rootfs/tree"
)

// fitTrees are trees that need room for different things; room is the share of the blocks, in percent, that may be free.
var fitTrees = []struct {
	name string
	room [2]int
	fill func(dir string) error
}{
	{"nothing", [2]int{50, 100}, func(string) error { return nil }},
	{"a large file", [2]int{5, 15}, func(dir string) error { return write(dir, "file", 150) }},
	{"a larger file", [2]int{5, 15}, func(dir string) error { return write(dir, "file", 480) }},
	{"many small files", [2]int{5, 40}, func(dir string) error {
		for i := range 4000 {
			if err := os.WriteFile(filepath.Join(dir, "a rather long name of "+strconv.Itoa(i)), []byte("x"), 0o644); err != nil {
				return err
			}
		}
		return nil
	}},
	{"many empty files of long names", [2]int{5, 95}, func(dir string) error {
		for i := range 6000 {
			below := filepath.Join(dir, strconv.Itoa(i/100)) // mke2fs is slow with large directories
			name := strings.Repeat("n", 240) + strconv.Itoa(10000+i)
			if err := errors.Join(os.MkdirAll(below, 0o755), write(below, name, 0)); err != nil {
				return err
			}
		}
		return nil
	}},
	{"many directories and links", [2]int{5, 60}, func(dir string) error {
		for i := range 3000 {
			name := filepath.Join(dir, strconv.Itoa(i))
			if err := os.MkdirAll(name+"/x/y", 0o755); err != nil {
				return err
			}
			if err := os.Symlink(strings.Repeat("t", 60), name+"/link"); err != nil {
				return err
			}
		}
		return nil
	}},
}

// write makes a file without holes, as mke2fs keeps those.
func write(dir, name string, mib int) error {
	return os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte("x"), mib<<20), 0o644)
}

// Whatever a tree consists of, it fits, and no more room is left than it takes.
func TestFitExt(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "mke2fs", "dumpe2fs", "e2fsck")
	for _, test := range fitTrees {
		dir := t.TempDir()
		if err := test.fill(dir); err != nil {
			t.Fatal(err)
		}
		source := &tree.Tree{Dir: dir}
		size, err := FitExt(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"ext2", "ext4"} {
			t.Run(kind+" of "+test.name, func(t *testing.T) {
				at := image(t, kind, Job{
					Offset: 1 << 20, Size: size, UUID: testUUID, Tree: source, Dir: "/", Epoch: epoch, Toolbox: chroot.Tools{Dir: "/"},
				}).Name() + "?offset=1048576"
				run(t, "e2fsck", "-fn", at)
				total, free := extCount(t, at, "Block count:"), extCount(t, at, "Free blocks:")
				percent := 100 * free / total
				t.Logf("%d MiB, %d%% free, %d inodes free", size>>20, percent, extCount(t, at, "Free inodes:"))
				most := test.room[1]
				if kind == "ext2" {
					most += 20 // it has no journal
				}
				if percent < test.room[0] || percent > most {
					t.Errorf("%d of %d blocks are free: %d%%, want %d%% to %d%%", free, total, percent, test.room[0], most)
				}
			})
		}
	}
}

func extCount(t *testing.T, at, field string) int {
	t.Helper()
	for line := range strings.Lines(run(t, "dumpe2fs", "-h", at)) {
		if value, ok := strings.CutPrefix(line, field); ok {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %q", field)
	return 0
}

// What is in a file does not matter, nor do further links to it.
func TestFitExtCounts(t *testing.T) {
	fit := func(source *tree.Tree) int64 {
		size, err := FitExt(source)
		if err != nil {
			t.Fatal(err)
		}
		if size%extBlock != 0 {
			t.Errorf("%d is no multiple of a block", size)
		}
		return size
	}
	small := makeTree(t, map[string]string{"etc/x": "x"})
	if got := fit(small); got != extLeast {
		t.Errorf("a file of a byte makes %d, want %d", got, int64(extLeast))
	}
	if err := os.Truncate(filepath.Join(small.Dir, "etc/x"), 200<<20); err != nil {
		t.Fatal(err)
	}
	one := fit(small)
	if used := int64(200<<20 + 200<<20/512 + 16<<20); one < used || one > used*5/4 {
		t.Errorf("200 MiB of data and 16 MiB of journal make %d MiB", one>>20)
	}
	if err := os.Link(filepath.Join(small.Dir, "etc/x"), filepath.Join(small.Dir, "y")); err != nil {
		t.Fatal(err)
	}
	if got := fit(small); got != one {
		t.Errorf("with a further link it is %d, want %d", got, one)
	}
	_, err := FitExt(&tree.Tree{Dir: "/nonexistent"})
	const want = `size filesystem: read tree "/nonexistent": lstat /nonexistent: no such file or directory`
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
