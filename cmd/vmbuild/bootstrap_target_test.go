package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"vmbuild/rootfs/archivetest"
)

// TestBootstrapTarget has what a target may be and what it becomes, for all callers.
func TestBootstrapTarget(t *testing.T) {
	for who, caller := range needProgram(t, "build").callers(t) {
		b := caller.bench(t)
		b.serve(t, "URL", archivetest.Archive{Packages: []archivetest.Package{versioned("a", "1", "")}})
		for _, c := range []struct {
			name   string
			before map[string]string // what is there: files
			dirs   []string          // and directories
			links  map[string]string
			target string
			args   []string
			made   func(t *testing.T, target string) string // what has become of it
			want   string
			err    string
			status int
		}{
			{name: "new directory", target: "new", made: inDirectory, want: "a 1"},
			{name: "new directory with a slash", target: "new/", made: inDirectory, want: "a 1"},
			{name: "empty directory", dirs: []string{"empty"}, target: "empty", made: inDirectory, want: "a 1"},
			{name: "directory with lost+found", dirs: []string{"fs/lost+found"}, target: "fs", made: inDirectory,
				want: "a 1"},
			{name: "directory by format", target: "x.tar", args: []string{"--format=dir"}, made: inDirectory, want: "a 1"},
			{name: "blanks and quotes", target: `new "dir" of 'mine'`, made: inDirectory, want: "a 1"},
			{name: "tar with blanks and quotes", target: `a "b" 'c' \d.tar`, made: inTar, want: "a 1"},
			{name: "tar", target: "a.tar", made: inTar, want: "a 1"},
			{name: "tar instead of an old one", before: map[string]string{"a.tar": "old"}, target: "a.tar", made: inTar,
				want: "a 1"},
			{name: "tar by format", target: "image", args: []string{"--format=tar"}, made: inTar, want: "a 1"},
			{name: "gzip", target: "a.tar.gz", made: inGzip, want: "a 1"},
			{name: "gzip by a short suffix", target: "a.tgz", made: inGzip, want: "a 1"},
			{name: "zstd", target: "a.tar.zst", made: inZstd, want: "a 1"},
			{name: "null", target: "x", args: []string{"--format=null"}, made: whether, want: "nothing"},
			{name: "null device", target: "/dev/null"},
			{name: "character device", target: "/dev/zero"},
			{name: "full device", target: "/dev/full", status: 1,
				err: "vmbuild: write tar: write HANDLE: no space left on device\n"},

			{name: "non-empty directory", before: map[string]string{"full/file": "x"}, target: "full", status: 3,
				err: "vmbuild: target full is not empty: it has file\n"},
			{name: "non-empty directory, permitted", dirs: []string{"full/opt/mine"}, target: "full",
				args: []string{"--skip=check/empty"},
				made: inDirectory, want: "a 1"},
			{name: "file in a non-empty directory is replaced", target: "full",
				before: map[string]string{"full/opt/a": "old", "full/mine": "x"}, args: []string{"--skip=check/empty"},
				made: inDirectory, want: "a 1"},
			{name: "link to elsewhere in a non-empty directory", dirs: []string{"full", "elsewhere"},
				links:  map[string]string{"full/opt": "../elsewhere"},
				target: "full", args: []string{"--skip=check/empty"}, made: whether, want: "[opt]", status: 1,
				err: "vmbuild: write directory: copy \"/opt\": mkdir HANDLE/opt: file exists\n"},
			{name: "non-empty lost+found", before: map[string]string{"fs/lost+found/file": "x"}, target: "fs", status: 3,
				err: "vmbuild: target fs is not empty: it has lost+found/file\n"},
			{name: "parent missing", target: "none/new", status: 3,
				err: "vmbuild: target none/new: none is not a directory: make it first\n"},
			{name: "tar in a missing directory", target: "none/a.tar", status: 3,
				err: "vmbuild: target none/a.tar: none is not a directory: make it first\n"},
			{name: "root", target: "/", status: 3, err: "vmbuild: target / is the root of this host\n"},
			{name: "root by another name", target: "/usr/..", status: 3,
				err: "vmbuild: target /usr/.. is the root of this host\n"},
			{name: "file in place of a directory", before: map[string]string{"file": "x"}, target: "file", status: 3,
				err: "vmbuild: target file is there and is not a directory\n"},
			{name: "directory in place of a tar", dirs: []string{"a.tar"}, target: "a.tar",
				args: []string{"--format=tar"}, status: 3,
				err: "vmbuild: target a.tar is a directory, which format tar cannot be written to\n"},
			{name: "directory on standard output", target: "-", args: []string{"--format=directory"}, status: 3,
				err: "vmbuild: format directory cannot be written to standard output: name a target\n"},
			{name: "image on standard output", target: "-", args: []string{"--format=ext4"}, status: 3,
				err: "vmbuild: format ext4 cannot be written to standard output: name a target\n"},
			{name: "unknown format", target: "x", args: []string{"--format=cpio"}, status: 2,
				err: "vmbuild: --format: format \"cpio\" is not one of directory, tar, squashfs, ext2, ext4, null\n"},

			{name: "failure leaves no directory", target: "new", args: []string{"--setup-hook=false"}, status: 1,
				made: whether, want: "nothing",
				err: "vmbuild: run setup hook \"false\": exit status 1\n"},
			{name: "failure leaves no tar", target: "a.tar", args: []string{"--setup-hook=false"}, status: 1,
				made: whether, want: "nothing",
				err: "vmbuild: run setup hook \"false\": exit status 1\n"},
			{name: "failure leaves the old tar", before: map[string]string{"a.tar": "old"}, target: "a.tar",
				args:   []string{"--extract-hook=false"},
				status: 1, made: whether, want: "old",
				err: "vmbuild: make tree: run extract hook \"false\": exit status 1\n"},
			{name: "failure leaves an empty directory", dirs: []string{"empty"}, target: "empty",
				args:   []string{"--extract-hook=false"},
				status: 1, made: whether, want: "[]", err: "vmbuild: make tree: run extract hook \"false\": exit status 1\n"},
		} {
			t.Run(who+"/"+c.name, func(t *testing.T) {
				b := b
				b.dir = b.workDir(t)
				b.write(t, c.before)
				for _, dir := range c.dirs {
					b.mkdir(t, dir)
				}
				for name, target := range c.links {
					if err := os.Symlink(target, filepath.Join(b.dir, name)); err != nil {
						t.Fatal(err)
					}
				}
				before := b.leftovers(t, b.dir)
				got := b.do(t, request{args: append(unpack(append(c.args, "--keyring=$URLKEY")...), "trixie", c.target, "$URL")})
				got.Err = handle.ReplaceAllString(got.Err, "HANDLE")
				if diff := cmp.Diff(ran{Status: c.status, Err: c.err + hints[c.status]}, got); diff != "" {
					t.Error(diff)
				}
				target := c.target
				if !filepath.IsAbs(target) {
					target = filepath.Join(b.dir, target)
				}
				if c.made != nil {
					if got := c.made(t, target); got != c.want {
						t.Errorf("it has become %q, want %q", got, c.want)
					}
				}
				if diff := cmp.Diff(before, b.leftovers(t, b.dir)); diff != "" && c.status != 0 {
					t.Errorf("left behind:\n%s", diff)
				}
			})
		}
	}
}

// handle is how the inner half names what the outer one has opened.
var handle = regexp.MustCompile(`/proc/self/fd/\d+`)

// What is of package a in a target, by its form.

func inDirectory(t *testing.T, target string) string {
	return string(readFile(t, filepath.Join(target, "opt/a")))
}

func inTar(t *testing.T, target string) string {
	return fromTar(t, bytes.NewReader(readFile(t, target)))
}

func inGzip(t *testing.T, target string) string {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(readFile(t, target)))
	if err != nil {
		t.Fatal(err)
	}
	return fromTar(t, r)
}

func inZstd(t *testing.T, target string) string {
	t.Helper()
	r, err := zstd.NewReader(bytes.NewReader(readFile(t, target)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return fromTar(t, r)
}

func fromTar(t *testing.T, r io.Reader) string {
	t.Helper()
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == "./opt/a" {
			content, err := io.ReadAll(archive)
			if err != nil {
				t.Fatal(err)
			}
			return string(content)
		}
	}
}

// whether says what is there, at a failure's end.
func whether(t *testing.T, target string) string {
	t.Helper()
	entries, err := os.ReadDir(target)
	if err == nil {
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return "[" + strings.Join(names, " ") + "]"
	}
	data, err := os.ReadFile(target)
	if errors.Is(err, fs.ErrNotExist) {
		return "nothing"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestBootstrapFIFO writes to a FIFO whose reader waits.
func TestBootstrapFIFO(t *testing.T) {
	b := newBench(t)
	b.serve(t, "URL", archivetest.Archive{Packages: []archivetest.Package{versioned("a", "1", "")}})
	fifo := filepath.Join(b.dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	read := make(chan []byte)
	go func() {
		data, _ := os.ReadFile(fifo)
		read <- data
	}()
	if got := b.do(t, request{args: append(unpack("--keyring=$URLKEY"), "trixie", "fifo", "$URL")}); got != (ran{}) {
		t.Fatalf("%+v", got)
	}
	if got := fromTar(t, bytes.NewReader(<-read)); got != "a 1" {
		t.Errorf("package a has %q", got)
	}
}

// TestBootstrapSameBytes makes the same tar whoever makes it and wherever.
func TestBootstrapSameBytes(t *testing.T) {
	files := []archivetest.File{
		{Path: "/usr/bin/x", Mode: 0o4755, Content: "x"}, {Path: "/etc/shadow", Mode: 0o640, GID: 42},
		{Path: "/opt/link", Symlink: "a"},
		{Path: "/var/lib/x/", Mode: 0o2775, UID: 5, GID: 50}, {Path: "/usr/bin/y", Hardlink: "/usr/bin/x"},
	}
	server := archivetest.Start(t, archivetest.Archive{Packages: []archivetest.Package{
		{Name: "a", Files: files, Depends: "b, c"}, versioned("b", "1", ""), versioned("c", "1", ""),
	}})
	sums := map[[sha256.Size]byte][]string{}
	for who, caller := range needProgram(t, "build").callers(t) {
		for _, c := range []struct {
			name, shell string
			args        []string
		}{
			{name: "plain", shell: ""},
			{name: "umask", shell: "umask 077; "},
			{name: "locale and time zone", shell: "export TZ=Asia/Kathmandu LC_ALL=de_DE.UTF-8 LANG=tr_TR; "},
			{name: "directory", shell: "mkdir elsewhere; cd elsewhere; "},
			{name: "time", shell: "sleep 0.1; "},
			{name: "without a layer", args: []string{"--setup-hook=true"}},
		} {
			b := caller.bench(t)
			b.words["URL"] = server.URL
			b.write(t, map[string]string{"key.gpg": string(server.Site().Keyring())})
			args := append(unpack("--keyring=$DIR/key.gpg", "trixie", "-", "$URL"), c.args...)
			for i, a := range args {
				args[i] = b.expand(a)
			}
			cmd := b.command(t.Context(), b.dir, args...)
			cmd.Args = append([]string{"sh", "-c", c.shell + `exec "$0" "$@"`}, cmd.Args...)
			var err error
			if cmd.Path, err = exec.LookPath("sh"); err != nil {
				t.Fatal(err)
			}
			cmd.Env = append(cmd.Env, "SOURCE_DATE_EPOCH=1700000000")
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%s, %s: %v", who, c.name, err)
			}
			sum := sha256.Sum256(out)
			sums[sum] = append(sums[sum], who+", "+c.name)
		}
	}
	if len(sums) != 1 {
		t.Errorf("there are %d tars: %v", len(sums), sums)
	}
}

// TestBootstrapForms writes what takes programs of Debian to write. The first bytes say what it is.
func TestBootstrapForms(t *testing.T) {
	caller := needProgram(t, "net", "build").callers(t)["user"]
	b := caller.bench(t)
	b.cache = caller.cache // with the programs
	b.serve(t, "URL", archivetest.Archive{Packages: []archivetest.Package{versioned("a", "1", "")}})
	for target, magic := range map[string]struct {
		offset int
		bytes  string
	}{
		"a.tar.xz":   {0, "\xfd7zXZ\x00"},
		"a.tbz2":     {0, "BZh"},
		"a.squashfs": {0, "hsqs"},
		"a.ext4":     {1080, "\x53\xef"}, // s_magic, 1024 bytes and 0x38 from the beginning
		"a.ext2":     {1080, "\x53\xef"},
	} {
		got := b.do(t, request{args: append(unpack("--keyring=$URLKEY"), "trixie", target, "$URL")})
		if got != (ran{}) {
			t.Errorf("%s: %+v", target, got)
			continue
		}
		data := readFile(t, filepath.Join(b.dir, target))
		if !bytes.HasPrefix(data[magic.offset:], []byte(magic.bytes)) {
			t.Errorf("%s does not have %q at %d", target, magic.bytes, magic.offset)
		}
	}
}
