package main

import (
	"archive/tar"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/offers"
)

// smallSystem writes a tarball that has what a live directory needs, at least by name, and all kinds of entries.
func smallSystem(t *testing.T, name string) {
	t.Helper()
	noise := make([]byte, 3<<19) // which cannot be compressed to less than a live system may have
	rand.NewChaCha8([32]byte{}).Read(noise)
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := tar.NewWriter(f)
	for _, m := range []struct {
		tar.Header
		content string
	}{
		{tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755}, ""},
		{tar.Header{Typeflag: tar.TypeDir, Name: "./boot/", Mode: 0o755}, ""},
		{tar.Header{Typeflag: tar.TypeReg, Name: "./boot/vmlinuz-6.1", Mode: 0o600}, "kernel"},
		{tar.Header{Typeflag: tar.TypeReg, Name: "./boot/initrd.img-6.1", Mode: 0o600}, "initramfs"},
		{tar.Header{Typeflag: tar.TypeDir, Name: "./dev/", Mode: 0o755}, ""},
		{tar.Header{Typeflag: tar.TypeChar, Name: "./dev/null", Mode: 0o666, Devmajor: 1, Devminor: 3}, ""},
		{tar.Header{Typeflag: tar.TypeDir, Name: "./etc/", Mode: 0o755}, ""},
		{tar.Header{Typeflag: tar.TypeReg, Name: "./etc/shadow", Mode: 0o640, Gid: 42}, "root"},
		{tar.Header{
			Typeflag: tar.TypeReg, Name: "./etc/x", Mode: 0o4755, Uid: 1000, Gid: 1000,
			PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"},
		}, string(noise)},
		{tar.Header{Typeflag: tar.TypeLink, Name: "./etc/y", Linkname: "./etc/x"}, ""},
		{tar.Header{Typeflag: tar.TypeSymlink, Name: "./etc/z", Linkname: "/etc/x", Mode: 0o777}, ""},
	} {
		m.Size, m.ModTime, m.Format = int64(len(m.content)), time.Unix(1750000000, 0), tar.FormatPAX
		if err := w.WriteHeader(&m.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(m.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// smallSquashfs is how unsquashfs lists smallSystem.
const smallSquashfs = `drwxr-xr-x 0/0 49 2025-06-15 15:06 squashfs-root
drwxr-xr-x 0/0 56 2025-06-15 15:06 squashfs-root/boot
-rw------- 0/0 9 2025-06-15 15:06 squashfs-root/boot/initrd.img-6.1
-rw------- 0/0 6 2025-06-15 15:06 squashfs-root/boot/vmlinuz-6.1
drwxr-xr-x 0/0 27 2025-06-15 15:06 squashfs-root/dev
crw-rw-rw- 0/0 1, 3 2025-06-15 15:06 squashfs-root/dev/null
drwxr-xr-x 0/0 56 2025-06-15 15:06 squashfs-root/etc
-rw-r----- 0/42 4 2025-06-15 15:06 squashfs-root/etc/shadow
-rwsr-xr-x 1000/1000 1572864 2025-06-15 15:06 squashfs-root/etc/x
-rwsr-xr-x 1000/1000 1572864 2025-06-15 15:06 squashfs-root/etc/y
lrwxrwxrwx 0/0 6 2025-06-15 15:06 squashfs-root/etc/z -> /etc/x
`

var blanks = regexp.MustCompile(` {2,}`)

func listSquashfs(t *testing.T, dir string) string {
	t.Helper()
	cmd := exec.Command("unsquashfs", "-llnumeric", filepath.Join(dir, "filesystem.squashfs"))
	cmd.Env = append(os.Environ(), "TZ=UTC")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return blanks.ReplaceAllString(string(out), " ")
}

// TestSquash: every compression of a tarball gives the same squashfs, and to root the tree itself one with the same entries.
func TestSquash(t *testing.T) {
	p := needProgram(t, "net", "build")
	offers.Programs(t, "bzip2", "gzip", "lz4", "tar", "unsquashfs", "xz", "zstd")
	for name, p := range p.callers(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := p.workDir(t)
			plain := filepath.Join(dir, "x.tar")
			smallSystem(t, plain)
			p.mustBuild(t, dir, "squash", "x.tar", "plain")
			if d := cmp.Diff(smallSquashfs, listSquashfs(t, filepath.Join(dir, "plain"))); d != "" {
				t.Error(d)
			}
			if p.user == nil && os.Getuid() == 0 {
				output(t, "sh", "-c", "mkdir "+dir+"/tree && tar -C "+dir+"/tree --xattrs --xattrs-include='*' -xpf "+plain)
				p.mustBuild(t, dir, "squash", "tree", "of-tree")
				if d := cmp.Diff(smallSquashfs, listSquashfs(t, filepath.Join(dir, "of-tree"))); d != "" {
					t.Errorf("of the tree: %s", d)
				}
				return
			}
			sum := sumOf(t, filepath.Join(dir, "plain/filesystem.squashfs"))
			for _, program := range []string{"bzip2", "gzip", "lz4", "xz", "zstd"} {
				output(t, "sh", "-c", program+" -c <"+plain+" >"+filepath.Join(dir, program))
				p.mustBuild(t, dir, "squash", program, "of-"+program)
				if got := sumOf(t, filepath.Join(dir, "of-"+program, "filesystem.squashfs")); got != sum {
					t.Errorf("%s: another squashfs", program)
				}
			}
		})
	}
}

// TestSquashFails: a source that cannot be read to its end gives an error and nothing else.
func TestSquashFails(t *testing.T) {
	p := needProgram(t, "net", "build")
	offers.Programs(t, "lz4")
	for name, p := range p.callers(t) {
		t.Run(name, func(t *testing.T) {
			dir := p.workDir(t)
			smallSystem(t, filepath.Join(dir, "x.tar"))
			output(t, "sh", "-c", "cd "+dir+` && lz4 -q -c <x.tar | head -c 9999 >cut.lz4 && head -c 9999 x.tar >cut.tar
				mkdir private && touch private/x && chmod 0 private/x && chown -R 0:0 private || true`)
			before := p.leftovers(t, dir)
			for source, want := range map[string]string{
				"none":    "vmbuild: source: stat " + dir + "/none: no such file or directory",
				"cut.tar": "vmbuild: read source " + dir + "/cut.tar: unpack archive: unpack ./etc/x: unexpected EOF",
				"cut.lz4": "vmbuild: read source " + dir + "/cut.lz4: unpack archive: lz4 -dc: exit status ",
			} {
				got, status := p.run(t, dir, "squash", source, "live")
				if status == 0 || !strings.Contains(got, want) {
					t.Errorf("%s: exit status %d\n got %s\nwant %s", source, status, got, want)
				}
			}
			if p.user != nil {
				const want = "belongs to a user whom you cannot stand in for: run vmbuild as root, or give it a tarball of the tree"
				if got, status := p.run(t, dir, "squash", "private", "live"); status == 0 || !strings.Contains(got, want) {
					t.Errorf("private: exit status %d\n got %s\nwant %s", status, got, want)
				}
			}
			if d := cmp.Diff(before, p.leftovers(t, dir)); d != "" {
				t.Errorf("something stayed: %s", d)
			}
		})
	}
}
