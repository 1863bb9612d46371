package rootfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ulikunitz/xz"

	"vmbuild/rootfs/chroot"
)

// modulesSystem is a system whose apt-helper decompresses files and whose depmod lists the modules below a directory, each with
// its content. What is bound is linked.
type modulesSystem struct {
	root     string
	mu       sync.Mutex
	read     []string // files that were decompressed
	lists    int      // calls of depmod
	listed   string   // what it has found
	helper   func([]byte) []byte
	broken   error // what apt-helper says
	depmod   error
	emulated bool
}

func (m *modulesSystem) Bind(b chroot.Bind) (func() error, error) {
	point := filepath.Join(m.root, b.Target)
	unbind := func() error { return errors.Join(os.Remove(point), os.Mkdir(point, 0o755)) }
	return unbind, errors.Join(os.Remove(point), os.Symlink(b.Source, point))
}

// programs are ours in that system.
func (m *modulesSystem) programs(t *testing.T) *programs {
	t.Helper()
	p := &programs{root: m.root, target: m, emulated: m.emulated, plain: &plainModules{temp: t.TempDir()}}
	if err := errors.Join(p.open(), p.showPlain()); err != nil {
		t.Fatal(err)
	}
	return p
}

func (m *modulesSystem) Run(_ context.Context, c chroot.Command) error {
	switch c.Args[0] {
	case aptHelper:
		if m.broken != nil {
			return m.broken
		}
		return m.catFiles(c)
	case "/sbin/depmod":
		m.lists++
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
	m.mu.Lock()
	for _, name := range c.Args[2:] {
		m.read = append(m.read, filepath.Base(name))
	}
	m.mu.Unlock()
	for _, name := range c.Args[2:] {
		if name == os.DevNull {
			continue
		}
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

// TestMirrors decompresses the modules of a kernel in a tree, in which something is changed then.
func TestMirrors(t *testing.T) {
	const dir = "usr/lib/modules/6.12/"
	limit := time.Now().Add(-time.Hour).Truncate(time.Second)
	clamp := func(root string) error {
		for _, name := range []string{"a.ko.xz", "b.ko.xz", "modules.dep"} {
			if err := os.Chtimes(filepath.Join(root, dir, name), limit, limit); err != nil {
				return err
			}
		}
		return nil
	}
	for name, c := range map[string]struct {
		change func(root string) error
		same   bool
	}{
		"nothing":   {func(string) error { return nil }, false}, // younger than any file of a layer is
		"a layer's": {clamp, true},
		"another module": {func(root string) error {
			return errors.Join(clamp(root), os.WriteFile(root+"/"+dir+"c.ko", nil, 0o644))
		}, false},
		"a module less": {func(root string) error { return errors.Join(clamp(root), os.Remove(root+"/"+dir+"a.ko.xz")) }, false},
		"a changed module": {func(root string) error {
			return errors.Join(clamp(root), os.WriteFile(root+"/"+dir+"a.ko.xz", nil, 0o644))
		}, false},
		"a module of no size": {func(root string) error { return errors.Join(clamp(root), os.Truncate(root+"/"+dir+"a.ko.xz", 0)) }, false},
		"a replaced module": {func(root string) error {
			return errors.Join(clamp(root), os.Chtimes(root+"/"+dir+"a.ko.xz", limit, limit.Add(-time.Second)))
		}, false},
		"other lists": {func(root string) error {
			return errors.Join(clamp(root), os.WriteFile(root+"/"+dir+"modules.dep", []byte("older"), 0o644))
		}, false},
		"what modules are built with": {func(root string) error {
			return errors.Join(clamp(root), os.Symlink("/usr/src/linux-headers-6.12", root+"/"+dir+"build"))
		}, true},
		"a link": {func(root string) error {
			return errors.Join(clamp(root), os.Symlink("/etc/passwd", root+"/"+dir+"c.ko.xz"))
		}, false},
		"no kernel": {func(root string) error { return os.RemoveAll(root + "/" + dir) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &modulesSystem{helper: func(b []byte) []byte { return b }}
			s.root = planted(t, map[string]string{
				"run/": "", "lib -> usr/lib": "", dir + "a.ko.xz": compressed(t, "module a"), dir + "b.ko.xz": compressed(t, "module b"),
			})
			p := s.programs(t)
			if err := p.listKernel(t.Context(), "6.12"); err != nil {
				t.Fatal(err)
			}
			if err := c.change(s.root); err != nil {
				t.Fatal(err)
			}
			p.plain.limit = limit
			if same, err := p.plain.mirrors(s.root, "6.12"); same != c.same || err != nil {
				t.Errorf("the same: %t, %v", same, err)
			}
			if same, err := p.plain.mirrors(s.root, "6.13"); same || err != nil {
				t.Errorf("another kernel is the same: %t, %v", same, err)
			}
			if err := errors.Join(p.remove(), p.plain.remove()); err != nil {
				t.Error(err)
			}
			if left, err := os.ReadDir(p.plain.temp); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// TestCanDecompress asks systems whose apt is there, or is not, or lacks a library.
func TestCanDecompress(t *testing.T) {
	with := map[string]string{"usr/lib/apt/apt-helper": ""}
	for name, c := range map[string]struct {
		files  map[string]string
		system *modulesSystem
		want   bool
	}{
		"apt":             {with, &modulesSystem{}, true},
		"no apt":          {nil, &modulesSystem{}, false},
		"no library":      {with, &modulesSystem{broken: errors.New("libapt-pkg.so.7.0: cannot open shared object file")}, false},
		"emulated":        {with, &modulesSystem{emulated: true}, true},
		"emulated, alone": {nil, &modulesSystem{emulated: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := c.system
			s.root = planted(t, c.files)
			p := &programs{root: s.root, target: s, emulated: s.emulated}
			if got := p.canDecompress(t.Context()); got != c.want {
				t.Errorf("got %t, want %t", got, c.want)
			}
		})
	}
}
