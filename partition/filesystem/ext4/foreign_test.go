package ext4

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/offers"
)

// write writes a filesystem to a file.
func write(t *testing.T, v *Volume) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(v.Size()); err != nil {
		t.Fatal(err)
	}
	for next := int64(0); ; {
		start, end, err := v.Data(t.Context(), next)
		if err == io.EOF {
			return name
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.NewOffsetWriter(f, start), io.NewSectionReader(v, start, end-start)); err != nil {
			t.Fatal(err)
		}
		next = end
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// facts are what dumpe2fs(8) says of a superblock, but for what depends on where files are and how they were written.
func facts(t *testing.T, name string) []string {
	t.Helper()
	return slices.DeleteFunc(strings.Split(run(t, "dumpe2fs", "-h", name), "\n"), func(line string) bool {
		field, _, _ := strings.Cut(line, ":")
		return slices.Contains([]string{"Free blocks", "Free inodes", "Lifetime writes", "Checksum"}, field) ||
			strings.HasPrefix(line, "dumpe2fs ")
	})
}

// allFeatures are those of mke2fs 1.47.2, which other versions do not all make by default.
const allFeatures = "has_journal,ext_attr,resize_inode,dir_index,orphan_file,filetype,extent,64bit,flex_bg,metadata_csum_seed," +
	"sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum"

// e2fsck finds every filesystem clean, and dumpe2fs cannot tell it from mke2fs's.
func TestForeign(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "mke2fs", "dumpe2fs", "e2fsck")
	for _, test := range []struct {
		mib     int64
		without string
	}{
		{24, ""}, {6, ""}, {130, ""}, {513, ""}, {3 << 10, ""}, {40 << 10, ""},
		{64, "metadata_csum,64bit,metadata_csum_seed,orphan_file"}, {1 << 10, "metadata_csum,64bit,metadata_csum_seed,orphan_file"},
		{600, "metadata_csum_seed,orphan_file"}, {64, "has_journal,orphan_file"}, {200, "resize_inode"}, {64, "dir_index"},
		{300, "64bit"},
	} {
		t.Run(fmt.Sprintf("%d MiB without %s", test.mib, test.without), func(t *testing.T) {
			t.Parallel()
			o := manyOptions(t)
			o.Size = test.mib << 20
			if o.Size < 16<<20 {
				o.Entries = o.Entries[:5]
			}
			features := allFeatures
			if test.without != "" {
				o.Without = strings.Split(test.without, ",")
				features += ",^" + strings.ReplaceAll(test.without, ",", ",^")
			}
			ours := write(t, mustPlan(t, o))
			if out, err := exec.Command("e2fsck", "-fn", ours).CombinedOutput(); err != nil || strings.Contains(string(out), "ix?") {
				t.Errorf("e2fsck: %v\n%s", err, out)
			}
			theirs := filepath.Join(t.TempDir(), "theirs")
			c := exec.Command("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-U", testUUID, "-L", "root", "-O", features,
				"-E", "hash_seed="+testUUID, theirs, fmt.Sprint(o.Size/1024, "k"))
			c.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1750000000", "E2FSPROGS_FAKE_TIME=1750000000")
			if out, err := c.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if d := cmp.Diff(facts(t, theirs), facts(t, ours)); d != "" {
				t.Error(d)
			}
		})
	}
}

// debugfs reads what the kernel would.
func TestForeignInodes(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "debugfs")
	name := write(t, mustPlan(t, manyOptions(t)))
	for _, test := range []struct{ path, facts string }{
		{"/bin/sh", "Type: regular    Mode:  04755|Links: 2|mtime: 0x3b9aca00:1d6f3454|crtime: 0x684ee180"},
		{"/block", "Type: block special    Mode:  0660|Group: 70000|Device major/minor number: 08:01"},
		{"/great", "Type: character special    Mode:  0600|Device major/minor number: 300:70000 (hex 12c:11170)"},
		{"/deep", "User: 100000|Size: 16384000|(ETB0)"},
		{"/dense", "(0-399)"},
		{"/empty", "Size: 0|mtime: 0x00000000:00000016"},
		{"/fifo", "Type: FIFO|mtime: 0xfffffffb:00000000"},
		{"/socket", "Type: socket    Mode:  0600"},
		{"/long", "Type: symlink|Size: 60|Blockcount: 8"},
		{"/short", `Fast link dest: "ttttt`},
		{"/lost+found", "Inode: 11 |Mode:  0711|Size: 16384"},
		{"/many", "Type: directory|Links: 2"},
		{"/", "Links: 6"},
	} {
		stat := run(t, "debugfs", "-R", "stat "+test.path, name)
		for fact := range strings.SplitSeq(test.facts, "|") {
			if !strings.Contains(stat, fact) {
				t.Errorf("%s: no %q in\n%s", test.path, fact, stat)
			}
		}
	}
	for _, test := range []struct{ path, attribute, want string }{
		{"/bin/capable", "security.capability", "security.capability (20) = 01 00 00 02 00 20 "},
		{"/listed", "trusted.abc", "trusted.abc (5) = 31 32 33 34 35 "},
		{"/listed", "user.empty", "user.empty (0)"},
		{"/listed", "user.long", "user.long (3000) = 76 76 76 "},
		{"/listed", "system.posix_acl_default",
			"system.posix_acl_default (52) = 02 00 00 00 01 00 07 00 00 00 00 00 02 00 05 00 e8 03 00 00 04 00"},
	} {
		if got := run(t, "debugfs", "-R", "ea_get -x "+test.path+" "+test.attribute, name); !strings.Contains(got, test.want) {
			t.Errorf("%s: no %q in\n%s", test.path, test.want, got)
		}
	}
}

// Filesystems grow by resize2fs(8), as they do when a system starts on a larger disk, and are whole afterwards.
func TestForeignGrowth(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "resize2fs", "e2fsck")
	o := manyOptions(t)
	o.Size = 1 << 30
	name := write(t, mustPlan(t, o))
	for _, to := range []string{"4G", "40G"} {
		run(t, "resize2fs", "-f", name, to)
		if out, err := exec.Command("e2fsck", "-fn", name).CombinedOutput(); err != nil || strings.Contains(string(out), "ix?") {
			t.Errorf("e2fsck: %v\n%s", err, out)
		}
	}
}
