package transfer

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
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

// makeTree makes a directory of the entries: "dir/", "file": content, "link -> target".
func makeTree(t *testing.T, entries ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, e := range entries {
		path, target, isLink := strings.Cut(e, " -> ")
		path = filepath.Join(dir, path)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		switch {
		case isLink:
			must(t, os.Symlink(target, path))
		case strings.HasSuffix(e, "/"):
			must(t, os.MkdirAll(path, 0o755))
		default:
			must(t, os.WriteFile(path, []byte(filepath.Base(e)), 0o644))
		}
	}
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// paths lists what is in a directory: "/dir/", "/file": "=" and its content, "/link -> target".
func paths(t *testing.T, dir string) []string {
	t.Helper()
	list := []string{}
	must(t, (&tree.Tree{Dir: dir}).Walk(func(e tree.Entry) error {
		switch e.Type {
		case tree.Directory:
			list = append(list, strings.TrimSuffix(e.Path, "/")+"/")
		case tree.Symlink:
			list = append(list, e.Path+" -> "+e.Target)
		case tree.File:
			content, err := os.ReadFile(dir + e.Path)
			list = append(list, e.Path+"="+string(content))
			return err
		default:
			list = append(list, e.Path+" "+string(e.Type))
		}
		return nil
	}))
	return list
}

// do runs a transfer with a listener in the directory of the host.
func do(t *testing.T, host string, tr Tree, text string) error {
	t.Helper()
	t.Chdir(host)
	c, err := Parse(text)
	must(t, err)
	l, err := Listen()
	must(t, err)
	defer l.Close()
	return c.Run(tr, l.Conn)
}

// A tree like Debian's: /lib is a link, and there are links that lead out, seen from the host.
func debian(t *testing.T) string {
	return makeTree(t, "usr/lib/", "lib -> usr/lib", "etc/", "srv -> /usr/lib", "up -> ../../../etc", "etc/hosts",
		"etc/current -> /etc/hosts", "loop -> loop")
}

var debianPaths = []string{"/", "/etc/", "/etc/current -> /etc/hosts", "/etc/hosts=hosts", "/lib -> usr/lib",
	"/loop -> loop", "/srv -> /usr/lib", "/up -> ../../../etc", "/usr/", "/usr/lib/"}

func TestGoingIn(t *testing.T) {
	host := func(t *testing.T) string {
		dir := makeTree(t, "d/lib/x", "d/l -> lib/x", "f", "g", "link -> d")
		writeTar(t, filepath.Join(dir, "a.tar"), tarEntry("./lib/"), tarEntry("lib/y"))
		return dir
	}
	tests := []struct {
		command string
		added   []string
	}{
		{"copy-in d f /etc", []string{"/etc/d/", "/etc/d/l -> lib/x", "/etc/d/lib/", "/etc/d/lib/x=x", "/etc/f=f"}},
		{"copy-in d/ /", []string{"/d/", "/d/l -> lib/x", "/d/lib/", "/d/lib/x=x"}},
		{"copy-in ./d/lib srv", []string{"/usr/lib/lib/", "/usr/lib/lib/x=x"}},
		{"copy-in link up", []string{"/etc/link -> d"}},
		{"copy-in d/lib/. /etc", []string{"/etc/x=x"}},
		{"sync-in d /", []string{"/l -> lib/x", "/usr/lib/x=x"}},
		{"sync-in link/lib lib/../lib", []string{"/usr/lib/x=x"}},
		{"tar-in a.tar /", []string{"/usr/lib/y=y"}},
		{"upload f /etc/new", []string{"/etc/new=f"}},
		{"upload f g ../../srv/new", []string{"/usr/lib/new=g"}},
	}
	for _, test := range tests {
		t.Run(test.command, func(t *testing.T) {
			root := debian(t)
			if err := do(t, host(t), Tree{Dir: root}, test.command); err != nil {
				t.Fatal(err)
			}
			want := append(debianPaths[:len(debianPaths):len(debianPaths)], test.added...)
			if diff := cmp.Diff(set(want), set(paths(t, root))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestGoingOut(t *testing.T) {
	root := makeTree(t, "usr/lib/a", "usr/lib/b -> /usr/lib/a", "lib -> usr/lib", "etc/f")
	for command, want := range map[string][]string{
		"copy-out /lib etc new/out": {"/", "/new/", "/new/out/", "/new/out/etc/", "/new/out/etc/f=f", "/new/out/lib/",
			"/new/out/lib/a=a", "/new/out/lib/b -> /usr/lib/a"},
		"copy-out lib/b .": {"/", "/a=a"},
		"copy-out / .": {"/", "/etc/", "/etc/f=f", "/lib -> usr/lib", "/usr/", "/usr/lib/", "/usr/lib/a=a",
			"/usr/lib/b -> /usr/lib/a"},
		"sync-out ../../lib .": {"/", "/a=a", "/b -> /usr/lib/a"},
		"download /lib/b x/y":  {"/", "/x/", "/x/y=a"},
	} {
		t.Run(command, func(t *testing.T) {
			host := t.TempDir()
			if err := do(t, host, Tree{Dir: root}, command); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, paths(t, host)); diff != "" {
				t.Error(diff)
			}
		})
	}
	for command, want := range map[string][]string{
		"tar-out /lib x/out.tar":  {"lib/", "lib/a", "lib/b"},
		"tar-out etc/f x/out.tar": {"f"},
		"tar-out / x/out.tar":     {"./", "./etc/", "./etc/f", "./lib", "./usr/", "./usr/lib/", "./usr/lib/a", "./usr/lib/b"},
	} {
		t.Run(command, func(t *testing.T) {
			host := t.TempDir()
			if err := do(t, host, Tree{Dir: root}, command); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, memberNames(t, filepath.Join(host, "x/out.tar"))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFailures(t *testing.T) {
	for command, want := range map[string]string{
		"copy-in f /none":         "copy-in f to /none: open ROOT/none: no such file or directory",
		"copy-in f /etc/hosts":    "copy-in f to /etc/hosts: open ROOT/etc/hosts: not a directory",
		"copy-in f /loop":         "copy-in f to /loop: open ROOT/loop: too many levels of symbolic links",
		"copy-in none /etc":       "copy-in none to /etc: stat none: no such file or directory",
		"sync-in f /etc":          "sync-in f to /etc: stat f/.: not a directory",
		"tar-in f /etc":           "tar-in f to /etc: it is not a tar archive, or a damaged or compressed one",
		"tar-in cut.tar /etc":     "tar-in cut.tar to /etc: unpack big: unexpected EOF",
		"upload f /none/x":        "upload f to /none/x: open ROOT/none/x: no such file or directory",
		"upload f /etc":           "upload f to /etc: open ROOT/etc: is a directory",
		"upload none /etc/x":      "upload none to /etc/x: open none: no such file or directory",
		"copy-out /none out":      "copy-out /none to out: open ROOT/none: no such file or directory",
		"copy-out /etc f":         "copy-out /etc to f: mkdir f: not a directory",
		"sync-out /etc/hosts x":   "sync-out /etc/hosts to x: open ROOT/etc/hosts: not a directory",
		"download /etc x":         "download /etc to x: /etc in the tree is not a file",
		"download /etc/hosts f/x": "download /etc/hosts to f/x: mkdir f: not a directory",
		"tar-out /etc .":          "tar-out /etc to .: open .: is a directory",
	} {
		t.Run(command, func(t *testing.T) {
			host, root := makeTree(t, "f"), debian(t)
			writeTar(t, filepath.Join(host, "cut.tar"), tarEntry("big"))
			must(t, os.Truncate(filepath.Join(host, "cut.tar"), 513))
			err := do(t, host, Tree{Dir: root}, command)
			if err == nil || strings.ReplaceAll(err.Error(), root, "ROOT") != want {
				t.Errorf("%v, want %s", err, want)
			}
		})
	}
}

// After a failure of either side the listener goes on.
func TestListenerSurvives(t *testing.T) {
	host, root := makeTree(t, "f", "g"), debian(t)
	must(t, os.WriteFile(filepath.Join(host, "big"), make([]byte, 1<<20), 0o644))
	t.Chdir(host)
	l, err := Listen()
	must(t, err)
	defer l.Close()
	disk := errors.New("the disk is full")
	x := &exchange{conn: l.Conn, request: requestRead, path: "big"}
	if err := x.get(func(in io.Reader) error { in.Read(make([]byte, 10)); return disk }); err != disk {
		t.Errorf("a failure to take: %v, want %v", err, disk)
	}
	x = &exchange{conn: l.Conn, request: requestWrite, path: "out"}
	if err := x.put(func(out io.Writer) error { out.Write(make([]byte, 1<<20)); return disk }); err != disk {
		t.Errorf("a failure to give: %v, want %v", err, disk)
	}
	must(t, send(l.Conn, wordError, nil)) // of mmdebstrap's helper
	x = &exchange{conn: l.Conn, request: "hello", path: "x"}
	want := `unknown request "hello"`
	if err := x.get(nil); err == nil || err.Error() != want {
		t.Errorf("unknown request: %v, want %s", err, want)
	}
	must(t, Command{"upload", []string{"g"}, "/etc/g"}.Run(Tree{Dir: root}, l.Conn))
	if got, err := os.ReadFile(filepath.Join(root, "etc/g")); err != nil || string(got) != "g" {
		t.Errorf("%q, %v", got, err)
	}
}

// Modes, times, links, attributes, big files and FIFOs arrive as they were, and go back out.
func TestFidelity(t *testing.T) {
	host, root := makeTree(t, "src/sub/f", "src/l -> sub/f"), t.TempDir()
	src := filepath.Join(host, "src")
	must(t, os.Link(filepath.Join(src, "sub/f"), filepath.Join(src, "z")))
	must(t, os.WriteFile(filepath.Join(src, "big"), bytes.Repeat([]byte("0123456789"), 100_001), 0o4711))
	must(t, os.Chmod(filepath.Join(src, "big"), 0o711|fs.ModeSetuid))
	must(t, unix.Mkfifo(filepath.Join(src, "pipe"), 0o640))
	must(t, unix.Setxattr(filepath.Join(src, "big"), "user.a=b%", []byte("v\x00"), 0))
	must(t, os.Mkdir(filepath.Join(src, "closed"), 0o555))
	for _, name := range []string{"sub/f", "big", "closed", "sub", "."} {
		at := time.Unix(1500000000, 123456789)
		must(t, os.Chtimes(filepath.Join(src, name), at, at))
	}
	must(t, do(t, host, Tree{Dir: root}, "copy-in src /"))
	must(t, do(t, host, Tree{Dir: root}, "copy-out /src out"))
	want := describe(t, src)
	if diff := cmp.Diff(want, describe(t, filepath.Join(root, "src"))); diff != "" {
		t.Error("inside:", diff)
	}
	if os.Geteuid() != 0 {
		want["/big"] = strings.Replace(want["/big"], "4711", "0711", 1) // others' programs are not to be his
	}
	if diff := cmp.Diff(want, describe(t, filepath.Join(host, "out/src"))); diff != "" {
		t.Error("outside again:", diff)
	}
}

// describe is tree.Listing with times.
func describe(t *testing.T, dir string) map[string]string {
	t.Helper()
	source := &tree.Tree{Dir: dir}
	list, err := tree.Listing(source)
	must(t, err)
	must(t, source.Walk(func(e tree.Entry) error {
		list[e.Path] += " " + e.ModTime.UTC().Format(time.RFC3339Nano)
		return nil
	}))
	return list
}

// What is there gives way, but directories are kept.
func TestReplacing(t *testing.T) {
	host := makeTree(t, "s/file", "s/dir/new", "s/link -> b", "s/was-dir")
	root := makeTree(t, "file -> dir/old", "dir/old", "link", "was-dir/", "other")
	must(t, do(t, host, Tree{Dir: root}, "sync-in s /"))
	want := []string{"/", "/dir/", "/dir/new=new", "/dir/old=old", "/file=file", "/link -> b", "/other=other",
		"/was-dir=was-dir"}
	if diff := cmp.Diff(want, paths(t, root)); diff != "" {
		t.Error(diff)
	}
	must(t, os.Remove(filepath.Join(root, "was-dir")))
	must(t, os.MkdirAll(filepath.Join(root, "was-dir/full"), 0o755))
	err := do(t, host, Tree{Dir: root}, "sync-in s /")
	if want := "sync-in s to /: unpack ./was-dir: directory not empty"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// A hostile archive changes nothing outside of what it is unpacked in.
func TestHostileArchives(t *testing.T) {
	for name, entries := range map[string][]tar.Header{
		"dots":           {tarEntry("../victim")},
		"dots within":    {tarEntry("a/../../victim")},
		"absolute":       {tarEntry("/victim")},
		"link and file":  {tarLink("a", ".."), tarEntry("a/victim")},
		"absolute link":  {tarLink("a", "HOST"), tarEntry("a/victim")},
		"link and dir":   {tarLink("a", ".."), tarEntry("a/"), tarEntry("a/victim")},
		"file over link": {tarLink("a", "../victim"), tarEntry("a")},
		"hard link":      {{Typeflag: tar.TypeLink, Name: "a", Linkname: "../victim"}, tarEntry("a")},
		"hard link 2":    {tarLink("b", "../victim"), {Typeflag: tar.TypeLink, Name: "a", Linkname: "b"}, tarEntry("a")},
	} {
		for _, verb := range []string{"outside", "inside"} {
			t.Run(name+" "+verb, func(t *testing.T) {
				host := makeTree(t, "d/")
				must(t, os.WriteFile(filepath.Join(host, "victim"), []byte("as it was"), 0o644))
				for i := range entries {
					entries[i].Linkname = strings.ReplaceAll(entries[i].Linkname, "HOST", host)
				}
				file := filepath.Join(t.TempDir(), "a.tar")
				writeTar(t, file, entries...)
				in, err := os.Open(file)
				must(t, err)
				defer in.Close()
				p, err := openBelow(filepath.Join(host, "d"))
				must(t, err)
				if verb == "inside" {
					p.root, err = openRoot(filepath.Join(host, "d"))
					must(t, err)
				}
				err = unpack(in, p)
				want := "unpack " + entries[0].Name + `: the name has a ".."`
				if strings.HasPrefix(name, "dots") && (err == nil || err.Error() != want) {
					t.Errorf("%v, want %s", err, want)
				}
				got, err := os.ReadFile(filepath.Join(host, "victim"))
				if err != nil || string(got) != "as it was" {
					t.Errorf("%q, %v", got, err)
				}
				if entries, err := os.ReadDir(host); err != nil || len(entries) != 2 {
					t.Errorf("%v, %v", entries, err)
				}
			})
		}
	}
}

func FuzzUnpack(f *testing.F) {
	for _, entries := range [][]tar.Header{
		{tarEntry("a/"), tarEntry("a/b"), tarLink("l", "../x"), tarEntry("l/y")},
		{tarEntry("a"), {Typeflag: tar.TypeLink, Name: "b", Linkname: "a"}, {Typeflag: tar.TypeFifo, Name: "c"}},
	} {
		var b bytes.Buffer
		if err := encodeTar(&b, entries...); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, archive []byte) {
		host := makeTree(t, "d/")
		p, err := openBelow(filepath.Join(host, "d"))
		must(t, err)
		defer p.root.Close()
		p.exact = false
		_ = unpack(bytes.NewReader(archive), p)
		if entries, err := os.ReadDir(host); err != nil || len(entries) != 1 {
			t.Errorf("%v, %v", entries, err)
		}
	})
}

// Device nodes need root; in its own namespaces a build is not root enough.
func TestNodes(t *testing.T) {
	offers.Need(t, "build")
	if os.Geteuid() != 0 {
		t.Skip("only root can make device nodes")
	}
	host := makeTree(t, "s/dev/")
	must(t, unix.Mknod(filepath.Join(host, "s/dev/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, unix.Mknod(filepath.Join(host, "s/dev/disk"), unix.S_IFBLK|0o600, int(unix.Mkdev(8, 1))))
	must(t, os.Chown(filepath.Join(host, "s/dev/disk"), 5, 6))
	root := t.TempDir()
	must(t, do(t, host, Tree{Dir: root}, "sync-in s /"))
	if diff := cmp.Diff(describe(t, filepath.Join(host, "s")), describe(t, root)); diff != "" {
		t.Error(diff)
	}
	root = t.TempDir()
	must(t, do(t, host, Tree{Dir: root, Skip: []string{"copy-in/mknod", "sync-in/mknod"}}, "sync-in s /"))
	if diff := cmp.Diff([]string{"/", "/dev/"}, paths(t, root)); diff != "" {
		t.Error(diff)
	}
}

// mmdebstrap's own helper is understood, and ours does what it does.
func TestAgainstMmdebstrap(t *testing.T) {
	offers.Need(t, "build")
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		t.Fatal(err)
	}
	for _, words := range [][]string{
		{"copy-in", "s", "f", "/etc"}, {"copy-in", "s/", "up"}, {"sync-in", "s", "/srv"}, {"tar-in", "a.tar", "srv"},
		{"upload", "f", "/etc/current"}, {"copy-out", "lib", "/etc/hosts", "new/out"}, {"sync-out", "/etc", "f2"},
		{"tar-out", "/srv", "x/out.tar"}, {"download", "/etc/current", "x/y"}, {"copy-out", "etc/current", "f"},
		{"copy-in", "none", "/etc"}, {"copy-in", "f", "/none"}, {"sync-in", "s", "/etc/hosts"}, {"download", "/etc", "x"},
	} {
		t.Run(strings.Join(words, " "), func(t *testing.T) {
			var results []map[string]map[string]string
			for _, helper := range []func(args []string, conn *os.File) error{
				func(args []string, conn *os.File) error { return Helper(args, conn) },
				mmdebstrapsHelper,
			} {
				host, root := makeTree(t, "s/d/x", "s/l -> d/x", "f", "f2/"), debian(t)
				writeTar(t, filepath.Join(host, "a.tar"), tarEntry("./q/"), tarEntry("./q/y"))
				must(t, os.WriteFile(filepath.Join(host, "s/big"), make([]byte, 100_000), 0o600))
				t.Chdir(host)
				l, err := Listen()
				must(t, err)
				err = helper(append([]string{root, "root", "setup", "", "1"}, words...), l.Conn)
				must(t, l.Close())
				inside, err2 := tree.Listing(&tree.Tree{Dir: root})
				must(t, err2)
				outside, err2 := tree.Listing(&tree.Tree{Dir: host})
				must(t, err2)
				if _, ok := outside["/x/out.tar"]; ok {
					outside["/x/out.tar"] = ""
					f, err := os.Open(filepath.Join(host, "x/out.tar"))
					must(t, err)
					members, err := tree.TarListing(f)
					must(t, errors.Join(err, f.Close()))
					maps.Copy(outside, members)
				}
				results = append(results, map[string]map[string]string{
					"inside": inside, "outside": outside, "failed": {"": map[bool]string{true: "yes"}[err != nil]},
				})
			}
			if diff := cmp.Diff(results[1], results[0]); diff != "" {
				t.Error("-mmdebstrap +vmbuild", diff)
			}
		})
	}
}

func mmdebstrapsHelper(args []string, conn *os.File) error {
	cmd := exec.Command("mmdebstrap", append([]string{"--hook-helper"}, args...)...)
	cmd.Stdin, cmd.Stdout = conn, conn
	return cmd.Run()
}

func TestParse(t *testing.T) {
	c, err := Parse(`copy-out "/a b" /c ./out`)
	if diff := cmp.Diff(Command{"copy-out", []string{"/a b", "/c"}, "./out"}, c); diff != "" || err != nil {
		t.Error(err, diff)
	}
	for text, want := range map[string]string{
		"copy-in a":   `read hook "copy-in a": copy-in needs a path on the host and one in the tree`,
		"download /a": `read hook "download /a": download needs a path in the tree and one on the host`,
		"upload a ''": `read hook "upload a ''": upload: a path is empty`,
		"tar-in 'a /": `read hook "tar-in 'a /": a quotation or a backslash is without its end`,
		"mkdir a b":   `read hook "mkdir a b": unknown command "mkdir"`,
		"":            `read hook "": there is no command`,
	} {
		if _, err := Parse(text); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for text, want := range map[string]bool{
		"copy-in a b": true, "copy-in ": true, "copy-in": false, "copy-in\ta b": false, " copy-in a b": false,
		"copy-inn a b": false, "mkdir x; sync-in a b": false, "sync-out a b; true": true,
	} {
		if got := Is(text); got != want {
			t.Errorf("Is(%q) = %v", text, got)
		}
	}
}

// Wrong arguments are found before the listener hears of anything.
func TestHelper(t *testing.T) {
	root := makeTree(t, "etc/")
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{root, "root", "setup", "", "1"}, "--hook-helper needs ROOT MODE HOOK SKIP VERBOSITY COMMAND PATH…"},
		{[]string{root, "root", "setup", "", "1", "mv", "a", "b"}, `unknown command "mv"`},
		{[]string{root + "/none", "root", "setup", "", "1", "upload", "a", "b"},
			"open " + root + "/none: no such file or directory"},
	} {
		if err := Helper(test.args, nil); err == nil || err.Error() != test.want {
			t.Errorf("%v, want %s", err, test.want)
		}
	}
}

// set is a list without its order.
func set(list []string) map[string]bool {
	m := map[string]bool{}
	for _, l := range list {
		m[l] = true
	}
	return m
}

func tarEntry(name string) tar.Header {
	if strings.HasSuffix(name, "/") {
		return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, Uid: os.Getuid(), Gid: os.Getgid()}
	}
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Uid: os.Getuid(), Gid: os.Getgid(),
		Size: int64(len(filepath.Base(name)))}
}

func tarLink(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Uid: os.Getuid(), Gid: os.Getgid()}
}

func writeTar(t *testing.T, path string, entries ...tar.Header) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	must(t, errors.Join(encodeTar(f, entries...), f.Close()))
}

// encodeTar writes files whose content is their name.
func encodeTar(w io.Writer, entries ...tar.Header) error {
	archive := tar.NewWriter(w)
	for _, h := range entries {
		if err := archive.WriteHeader(&h); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(archive, filepath.Base(h.Name)); err != nil {
				return err
			}
		}
	}
	return archive.Close()
}

func memberNames(t *testing.T, path string) []string {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	var names []string
	for archive := tar.NewReader(f); ; {
		h, err := archive.Next()
		if err == io.EOF {
			return names
		}
		must(t, err)
		names = append(names, h.Name)
	}
}
