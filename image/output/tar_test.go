package output

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"vmbuild/rootfs/offers"
	"vmbuild/rootfs/tree"
)

var epoch = time.Unix(1750000000, 0)

// newTree makes a tree of what stresses a header: long, foreign and late things. It needs no privileges.
func newTree(t testing.TB) *tree.Tree {
	t.Helper()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	deep := strings.Repeat("a", 60) + "/" + strings.Repeat("b", 60)
	for _, d := range []string{deep, "dev/pts", "etc", "é", "lost+found"} {
		if err := os.MkdirAll(in(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{
		deep + "/file": "deep", "etc/passwd": strings.Repeat("root:x:0:0\n", 100), "etc/empty": "", "dev/null": "not this",
		"etc/512": strings.Repeat("5", 512), "etc/old": "older than time",
	} {
		if err := os.WriteFile(in(name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		os.Link(in(deep+"/file"), in("hard")),
		os.Link(in("etc/passwd"), in("etc/passwd-")),
		os.Link(in("etc/empty"), in("etc/empty-")),
		os.Symlink(strings.Repeat("t", 100), in("link100")),
		os.Symlink(strings.Repeat("t", 101), in(strings.Repeat("L", 120))),
		os.Symlink("ünï", in("etc/foreign")),
		unix.Mkfifo(in("fifo"), 0o640),
		os.Chmod(in("etc/passwd"), 0o4711|os.ModeSetuid),
		os.Chmod(dir, 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	err := unix.Setxattr(in("etc/empty"), "user.50%=half", []byte("x\x00y\n"), 0)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		t.Fatal(err)
	}
	for name, when := range map[string]time.Time{
		"etc": time.Unix(1600000000, 120000000), "etc/old": time.Unix(-5, 0), "dev": time.Unix(1, 0), "dev/pts": time.Unix(1, 0),
		"hard": time.Unix(1500000000, 1), "etc/512": epoch, "é": time.Unix(0, 5), "etc/empty": epoch.Add(time.Nanosecond),
	} {
		if err := os.Chtimes(in(name), when, when); err != nil {
			t.Fatal(err)
		}
	}
	return &tree.Tree{Dir: dir, Devices: tree.StandardDevices()}
}

// toFile writes the job into a file of that name.
func toFile(t testing.TB, format, name string, j Job) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	f, c, err := Choose(format, path, Facts{})
	if err != nil {
		t.Fatal(err)
	}
	target, err := Open(path, f)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	j.Out, j.Compression, j.Epoch, j.Temp = target.Handle(), c, epoch, t.TempDir()
	if err := f.Write(context.Background(), j); err != nil {
		t.Fatal(err)
	}
	for _, step := range []func() error{target.Sync, target.Commit} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// The archive lists as the tree does, without lost+found.
func TestTarListsTheTree(t *testing.T) {
	source := newTree(t)
	want, err := tree.Listing(source)
	if err != nil {
		t.Fatal(err)
	}
	delete(want, "/lost+found")
	got, err := tree.TarListing(bytes.NewReader(read(t, toFile(t, "", "x.tar", Job{Tree: source}))))
	if err != nil {
		t.Fatal(err)
	}
	if d := tree.Diff(want, got); len(d) > 0 {
		t.Error(strings.Join(d, "\n"))
	}
}

func TestTarOrderAndTimes(t *testing.T) {
	archive := tar.NewReader(bytes.NewReader(read(t, toFile(t, "", "x.tar", Job{Tree: newTree(t)}))))
	var names []string
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.After(epoch) {
			t.Errorf("%s is of %v", h.Name, h.ModTime)
		}
		if strings.HasPrefix(h.Name, "./dev") && !h.ModTime.Equal(epoch) {
			t.Errorf("%s is of %v", h.Name, h.ModTime)
		}
		if h.Name == "./etc/old" && h.ModTime.Unix() != -5 {
			t.Errorf("%s is of %v", h.Name, h.ModTime)
		}
		names = append(names, h.Name)
	}
	a, b := strings.Repeat("a", 60), strings.Repeat("b", 60)
	want := []string{
		"./dev/", "./dev/console", "./dev/fd", "./dev/full", "./dev/null", "./dev/ptmx", "./dev/pts/", "./dev/random",
		"./dev/shm/", "./dev/stderr", "./dev/stdin", "./dev/stdout", "./dev/tty", "./dev/urandom", "./dev/zero",
		"./", "./" + strings.Repeat("L", 120), "./" + a + "/", "./" + a + "/" + b + "/", "./" + a + "/" + b + "/file",
		"./etc/", "./etc/512", "./etc/empty", "./etc/empty-", "./etc/foreign", "./etc/old", "./etc/passwd", "./etc/passwd-",
		"./fifo", "./hard", "./link100", "./é/",
	}
	if d := cmp.Diff(want, names); d != "" {
		t.Error(d)
	}
}

// The devices are those of mmdebstrap 1.6.0, whose own Perl (@linuxdevfiles, and pack below "my @entries") gave the sum.
func TestTarDevicesAreMmdebstraps(t *testing.T) {
	source := newTree(t)
	source.Devices = append(source.Devices, tree.Entry{Path: "/dev", Type: tree.Directory, Mode: 0o755})
	devices := read(t, toFile(t, "", "x.tar", Job{Tree: source}))[:15*tarBlock]
	const want = "fcd0016b8f899c4fe82fcd6ed7740095b9b86ee011fa640cdd5cbfeef7874ca5"
	if got := fmt.Sprintf("%x", sha256.Sum256(devices)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// mmdebstrapTar is how mmdebstrap 1.6.0 calls GNU tar; but --sparse.
func mmdebstrapTar(dir string) []string {
	return []string{"--sort=name", "--mtime=@1750000000", "--clamp-mtime", "--numeric-owner", "--one-file-system",
		"--format=pax", "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime", "-c",
		"--exclude=./lost+found", "--exclude=./dev", "--xattrs", "-C", dir, "."}
}

// After the devices every byte is GNU tar's.
func TestTarIsGNUs(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "tar")
	source := newTree(t)
	if os.Getuid() == 0 {
		for _, err := range []error{
			unix.Mknod(filepath.Join(source.Dir, "etc/disk"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 70000))),
			os.Lchown(filepath.Join(source.Dir, "etc/foreign"), 3000000, 4000000),
			unix.Setxattr(filepath.Join(source.Dir, "etc/512"), "security.capability",
				[]byte("\x01\x00\x00\x02\x00\x20\x00\x00"+strings.Repeat("\x00", 12)), 0),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	os.Remove(filepath.Join(source.Dir, "etc/old")) // GNU tar warns of it, and writes something else
	got := read(t, toFile(t, "tar", "x", Job{Tree: source}))
	cmd := exec.Command("tar", mmdebstrapTar(source.Dir)...)
	cmd.Stderr = os.Stderr
	want, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	const devices = 15 * tarBlock
	if !bytes.Equal(got[devices:], want) {
		at := 0
		for at < min(len(want), len(got)-devices) && want[at] == got[devices+at] {
			at++
		}
		block := at / tarBlock * tarBlock
		t.Errorf("%d bytes, want %d; they differ at %d:\n%q\nwant\n%q", len(got)-devices, len(want), at,
			got[devices+block:min(len(got), devices+block+tarBlock)], want[block:min(len(want), block+tarBlock)])
	}
}

// GNU tar finds what it extracts to be what is on disk.
func TestTarCompare(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "tar")
	source := newTree(t)
	source.Devices = nil
	err := source.Walk(func(e tree.Entry) error { // what is later than the epoch would differ
		return unix.Lutimes(source.Dir+e.Path, []unix.Timeval{{Sec: 1e9}, {Sec: 1e9}})
	})
	if err != nil {
		t.Fatal(err)
	}
	path := toFile(t, "", "x.tar", Job{Tree: source})
	if out := run(t, "tar", "--compare", "--xattrs", "-f", path, "-C", source.Dir); out != "" {
		t.Error(out)
	}
}

func TestTarHeaderCutsAndRecords(t *testing.T) {
	long := strings.Repeat("n", 101)
	for _, test := range []struct {
		h    tarHeader
		want string
	}{
		{tarHeader{name: "./x", link: "y", modified: epoch}, ""},
		{tarHeader{name: long[:100], link: long[:100], modified: epoch}, ""},
		{tarHeader{name: long, modified: epoch}, "111 path=" + long + "\n"},
		{tarHeader{name: "./\xff", modified: epoch}, "12 path=./\xff\n"},
		{tarHeader{link: long, uid: 2097152, gid: 2097152, size: 1 << 33, modified: time.Unix(1<<33, 0)},
			"115 linkpath=" + long + "\n15 uid=2097152\n15 gid=2097152\n19 size=8589934592\n20 mtime=8589934592\n"},
		{tarHeader{modified: time.Unix(-5, 250000000)}, "15 mtime=-4.75\n"},
		{tarHeader{modified: time.Unix(-1, 999999999)}, "22 mtime=-0.000000001\n"},
		{tarHeader{modified: epoch, major: 1 << 22, minor: 1 << 23}, "27 SCHILY.devmajor=4194304\n27 SCHILY.devminor=8388608\n"},
	} {
		if d := cmp.Diff(test.want, test.h.records()); d != "" {
			t.Error(d)
		}
	}
	if got := paxRecord("k", strings.Repeat("v", 94)); len(got) != 101 || !strings.HasPrefix(got, "101 k=") {
		t.Errorf("a record of %d bytes begins with %.6q", len(got), got)
	}
}

// The bytes of one header, as printed by: tar --format=pax -c … | head -c 512 | xxd
func TestTarHeaderBytes(t *testing.T) {
	h := newTarHeader(tree.Entry{
		Path: "/etc", Type: tree.Directory, Mode: 0o1755, UID: 3, GID: 8, ModTime: time.Unix(1600000000, 0),
	})
	want := make([]byte, 512)
	for at, s := range map[int]string{
		0: "./etc/", 100: "0001755", 108: "0000003", 116: "0000010", 124: "00000000000", 136: "13727410000", 148: "010153\x00 ",
		156: "5", 257: "ustar\x0000", 329: "0000000", 337: "0000000",
	} {
		copy(want[at:], s)
	}
	if d := cmp.Diff(string(want), string(h.block())); d != "" {
		t.Error(d)
	}
}
