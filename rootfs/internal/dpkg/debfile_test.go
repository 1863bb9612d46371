package dpkg

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/tree"
)

// testDeb is a package file as a value.
type testDeb struct {
	name    string            // version is 1, architecture all, unless fields say otherwise
	fields  string            // further lines of the control file
	members []tar.Header      // of data.tar; owner is whoever runs the test
	content map[string]string // of regular files by name in members; "content of NAME" if missing
	control map[string]string // further members of control.tar; md5sums is added unless noSums
	noSums  bool
}

func file(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644} }
func dir(name string) tar.Header  { return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755} }
func link(name, target string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: target}
}
func hard(name, target string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}
}

// write writes the package into dir.
func (d testDeb) write(t testing.TB, dir string) Deb {
	t.Helper()
	fields := "Package: " + d.name + "\n" + d.fields
	for _, needed := range []string{"Version: 1\n", "Architecture: all\n"} {
		if name, _, _ := strings.Cut(needed, " "); !strings.Contains(fields, name) {
			fields += needed
		}
	}
	control := []tar.Header{file("./control")}
	content := map[string]string{"./control": fields + "Description: test\n"}
	for name, text := range d.control {
		header := file("./" + name)
		if strings.HasPrefix(text, "#!") {
			header.Mode = 0o755
		}
		control = append(control, header)
		content["./"+name] = text
	}
	if !d.noSums {
		control = append(control, file("./md5sums"))
		content["./md5sums"] = ""
	}
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, member := range []struct{ name, data string }{
		{"debian-binary", "2.0\n"},
		{"control.tar", tarOf(t, control, content)},
		{"data.tar", tarOf(t, d.members, d.content)},
	} {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n%s", member.name, 0, 0, 0, 0o100644, len(member.data), member.data)
	}
	path := filepath.Join(dir, d.name+".deb")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return Deb{Path: path}
}

func tarOf(t testing.TB, members []tar.Header, content map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range members {
		h.Uid, h.Gid = os.Getuid(), os.Getgid()
		text, ok := content[h.Name]
		if !ok && h.Typeflag == tar.TypeReg {
			text = "content of " + h.Name
		}
		h.Size = int64(len(text))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// testRoot is a root with dpkg's skeleton, and a directory for package files.
type testRoot struct {
	*testing.T
	dir  string
	debs string
	log  []string // what was run
	// onRun, if it is set, plays the scripts.
	onRun  func(c chroot.Command)
	placed func(all bool) error // of Options
}

func newTestRoot(t *testing.T) *testRoot {
	r := &testRoot{T: t, dir: filepath.Join(t.TempDir(), "root"), debs: t.TempDir()}
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Skeleton(r.dir, "amd64"); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *testRoot) write(debs ...testDeb) []Deb {
	r.Helper()
	var files []Deb
	for _, d := range debs {
		files = append(files, d.write(r, r.debs))
	}
	return files
}

// Run plays dpkg, which configures all it is asked to, and calls onRun for scripts.
func (r *testRoot) Run(_ context.Context, c chroot.Command) error {
	r.log = append(r.log, strings.Join(c.Args, " "))
	if r.onRun != nil {
		r.onRun(c)
	}
	if c.Args[0] != "dpkg" {
		return nil
	}
	root, err := openRootDir(r.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	db, err := readDatabase(root)
	if err != nil {
		return err
	}
	for _, p := range db.records {
		if slices.Contains(c.Args, "--pending") || slices.Contains(c.Args, p.name+":"+p.arch) {
			p.status, p.pending, p.awaited = statusInstalled, nil, nil
		}
	}
	return db.writeStatus()
}

// installed extracts and configures packages, and fails the test if that fails.
func (r *testRoot) installed(debs ...testDeb) {
	r.Helper()
	e, err := Extract(r.Context(), Options{Root: r.dir}, r.write(debs...))
	if err == nil {
		err = e.Configure(r.Context(), r)
	}
	if err != nil {
		r.Fatal(err)
	}
	r.log = nil
}

func (r *testRoot) install(debs ...testDeb) error {
	return Install(r.Context(), Options{Root: r.dir, Placed: r.placed}, r, r.write(debs...))
}

// listing is that of the root without dpkg's database, and without owners if they are whoever runs the test.
func (r *testRoot) listing() map[string]string {
	r.Helper()
	listing, err := tree.Listing(&tree.Tree{Dir: r.dir})
	if err != nil {
		r.Fatal(err)
	}
	own := fmt.Sprintf(" %d:%d", os.Getuid(), os.Getgid())
	for name, line := range listing {
		if name == "/" || strings.HasPrefix(name, "/var") || strings.HasPrefix(name, "/etc/dpkg") || name == "/etc" {
			delete(listing, name)
			continue
		}
		listing[name] = strings.Replace(line, own, "", 1)
	}
	return listing
}

// read returns the content of a file of the root, "-" if there is none.
func (r *testRoot) read(name string) string {
	r.Helper()
	data, err := os.ReadFile(r.dir + name)
	if err != nil {
		return "-"
	}
	return string(data)
}

func (r *testRoot) put(name, content string) {
	r.Helper()
	if err := os.WriteFile(r.dir+name, []byte(content), 0o644); err != nil {
		r.Fatal(err)
	}
}

// message is the text of an error, empty for none.
func message(err error) string {
	if err == nil {
		return ""
	}
	return cmp.Or(err.Error(), "an error without text")
}
