package rootfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"

	"vmbuild/rootfs/chroot"
)

// modulesSystem is a system whose apt-helper decompresses files and whose depmod lists the modules below a directory, each with
// its content.
type modulesSystem struct {
	root     string
	log      []string // programs that were run
	listed   string   // what depmod has found
	helper   func([]byte) []byte
	depmod   error
	emulated bool
}

func (m *modulesSystem) Run(_ context.Context, c chroot.Command) error {
	switch c.Args[0] {
	case aptHelper:
		return m.catFiles(c)
	case "/sbin/depmod":
		m.log = append(m.log, strings.Join(c.Args, " "))
		if m.depmod != nil {
			return m.depmod
		}
		return m.list(filepath.Join(m.root, c.Args[2], "lib/modules", c.Args[3]))
	}
	return fmt.Errorf("%s is not there", c.Args[0])
}

func (m *modulesSystem) catFiles(c chroot.Command) error {
	if m.emulated {
		return errors.New("emulated programs are slow")
	}
	for _, name := range c.Args[2:] {
		data, err := os.ReadFile(filepath.Join(m.root, name))
		if err != nil {
			return err
		}
		plain, err := Decompress(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return err
		}
		defer plain.Close()
		var out bytes.Buffer
		if _, err := out.ReadFrom(plain); err != nil {
			return err
		}
		if _, err := c.Stdout.Write(m.helper(out.Bytes())); err != nil {
			return err
		}
	}
	return nil
}

func (m *modulesSystem) list(dir string) error {
	var lines []string
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		lines = append(lines, fmt.Sprintf("%s %.8s", strings.TrimPrefix(name, dir+"/"), data))
		return err
	})
	slices.Sort(lines)
	m.listed = strings.Join(lines, ", ")
	for name, text := range map[string]string{"modules.dep": "new", "modules.builtin.bin": "newer"} {
		temporary := filepath.Join(dir, name+".tmp")
		err = errors.Join(err, os.WriteFile(temporary, []byte(text), 0o644), os.Rename(temporary, filepath.Join(dir, name)))
	}
	return err
}

// compressed is a file of xz's.
func compressed(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	if err == nil {
		_, err = w.Write([]byte(text))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestListModules(t *testing.T) {
	same := func(b []byte) []byte { return b }
	const listed = "kernel/fs/a.ko.xz module a, kernel/fs/b.ko.xz module b, kernel/fs/c.ko module c, kernel/net/d.ko.xz , " +
		"modules.builtin.bin old, modules.order order"
	for name, c := range map[string]struct {
		with   map[string]string // more files
		system modulesSystem
		listed string // empty: it is left to depmod itself
	}{
		"by the tree's program":   {system: modulesSystem{helper: same}, listed: listed},
		"emulated":                {system: modulesSystem{emulated: true}, listed: listed},
		"a link":                  {with: map[string]string{"usr/lib/modules/6.12/build -> /usr/src": ""}, system: modulesSystem{helper: same}},
		"not xz":                  {with: map[string]string{"usr/lib/modules/6.12/x.ko.xz": "x"}, system: modulesSystem{helper: same}},
		"not xz, emulated":        {with: map[string]string{"usr/lib/modules/6.12/x.ko.xz": "x"}, system: modulesSystem{emulated: true}},
		"the program says less":   {system: modulesSystem{helper: func(b []byte) []byte { return b[:len(b)/2] }}},
		"the program says more":   {system: modulesSystem{helper: func(b []byte) []byte { return append(b, "more"...) }}},
		"depmod fails":            {system: modulesSystem{helper: same, depmod: errors.New("no")}},
		"depmod fails, emulated":  {system: modulesSystem{emulated: true, depmod: errors.New("no")}},
		"there is no such kernel": {with: map[string]string{"usr/lib/modules/6.12 -> 6.13": ""}, system: modulesSystem{helper: same}},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"run/": "", "lib -> usr/lib": ""}
			maps.Copy(files, c.with)
			if _, gone := c.with["usr/lib/modules/6.12 -> 6.13"]; !gone {
				for file, text := range map[string]string{
					"fs/a.ko.xz": compressed(t, "module a"), "fs/b.ko.xz": compressed(t, "module b"), "fs/c.ko": "module c",
					"net/d.ko.xz": compressed(t, ""), "../modules.order": "order", "../modules.builtin.bin": "old",
				} {
					files[filepath.Join("usr/lib/modules/6.12/kernel", file)] = text
				}
			}
			s := c.system
			s.root = planted(t, files)
			want := listing(t, s.root)
			p := &programs{root: s.root, target: &s, emulated: s.emulated}
			if err := p.open(); err != nil {
				t.Fatal(err)
			}
			err := p.listModules(t.Context(), "", "6.12")
			if (err == nil) != (c.listed != "") || s.listed != c.listed {
				t.Errorf("listed %q, want %q: %v", s.listed, c.listed, err)
			}
			if left, err := filepath.Glob(filepath.Join(s.root, programsDir, plainDir, "lib/modules/*")); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
			if c.listed != "" {
				want["/usr/lib/modules/6.12/modules.dep"] = file(0o644, "new")
				want["/usr/lib/modules/6.12/modules.builtin.bin"] = file(0o644, "newer")
			}
			if err := p.remove(); err != nil {
				t.Error(err)
			}
			wantTree(t, s.root, want)
		})
	}
}

// TestWriteModule writes this test itself: its code is left out, the rest is as it was.
func TestWriteModule(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	module, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	holes := unread(module)
	if len(holes) == 0 {
		t.Fatal("nothing is left out")
	}
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := writeModule(dir, "self.ko.xz", module); err != nil {
		t.Fatal(err)
	}
	got, err := dir.ReadFile("self.ko.xz")
	if err != nil {
		t.Fatal(err)
	}
	code := bytes.Index(module, []byte("code that is left out, if it were code"))
	for _, h := range holes {
		if h.start <= int64(code) && int64(code) < h.end {
			t.Error("constants are left out")
		}
		if len(bytes.Trim(got[h.start:h.end], "\x00")) > 0 {
			t.Errorf("code from %d to %d is written", h.start, h.end)
		}
		copy(got[h.start:h.end], module[h.start:h.end])
	}
	if !bytes.Equal(got, module) {
		t.Error("the rest is not as it was")
	}
}

// TestLister asks for lists as mkinitramfs does.
func TestLister(t *testing.T) {
	const dir = "var/tmp/mkinitramfs_abc"
	s := &modulesSystem{helper: func(b []byte) []byte { return b }}
	s.root = planted(t, map[string]string{
		"run/": "", dir + "/usr/lib/modules/6.12/a.ko.xz": compressed(t, "module a"), dir + "/lib -> usr/lib": "",
		dir + "/usr/lib/modules/6.13/a.ko": "not compressed",
	})
	p := &programs{root: s.root, target: s}
	if err := p.open(); err != nil {
		t.Fatal(err)
	}
	l, err := p.startLister(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		listed bool // else the system's own depmod is run, which finds nothing there
	}{
		{[]string{"-a", "-b", "/" + dir, "6.12"}, true},
		{[]string{"-a", "-b", "/" + dir, "6.13"}, false},
		{[]string{"-a", "-b", "/" + dir, "6.12"}, true},
		{[]string{"-n", "-b", "/" + dir, "6.12"}, false},
	} {
		s.listed = ""
		command := exec.Command(filepath.Join(s.root, programsDir, "depmod"), c.args...)
		if err := command.Run(); (err == nil) != c.listed || (s.listed != "") != c.listed {
			t.Errorf("depmod %q: listed %q, %v", c.args, s.listed, err)
		}
	}
	l.stop()
	if data, err := os.ReadFile(filepath.Join(s.root, dir, "lib/modules/6.12/modules.dep")); string(data) != "new" {
		t.Errorf("modules.dep: %q, %v", data, err)
	}
	if err := p.remove(); err != nil {
		t.Error(err)
	}
}
