package rootfs

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestListKernel(t *testing.T) {
	same := func(b []byte) []byte { return b }
	const listed = "kernel/fs/a.ko.xz module a, kernel/fs/b.ko.xz module b, kernel/fs/c.ko module c, kernel/net/d.ko.xz , " +
		"modules.builtin.bin old, modules.order order"
	for name, c := range map[string]struct {
		with   map[string]string // more files
		system *modulesSystem
		listed string // empty: it is left to depmod itself
	}{
		"by the tree's program": {system: &modulesSystem{helper: same}, listed: listed},
		"emulated":              {system: &modulesSystem{emulated: true}, listed: listed},
		"what modules are built with": {
			with: map[string]string{"usr/lib/modules/6.12/build -> /usr/src": ""}, system: &modulesSystem{helper: same}, listed: listed,
		},
		"a link":                  {with: map[string]string{"usr/lib/modules/6.12/kernel/build -> /usr/src": ""}, system: &modulesSystem{helper: same}},
		"not xz":                  {with: map[string]string{"usr/lib/modules/6.12/x.ko.xz": "x"}, system: &modulesSystem{helper: same}},
		"not xz, emulated":        {with: map[string]string{"usr/lib/modules/6.12/x.ko.xz": "x"}, system: &modulesSystem{emulated: true}},
		"the program says less":   {system: &modulesSystem{helper: func(b []byte) []byte { return b[:len(b)/2] }}},
		"the program says more":   {system: &modulesSystem{helper: func(b []byte) []byte { return append(b, "more"...) }}},
		"depmod fails":            {system: &modulesSystem{helper: same, depmod: errors.New("no")}},
		"depmod fails, emulated":  {system: &modulesSystem{emulated: true, depmod: errors.New("no")}},
		"there is no such kernel": {with: map[string]string{"usr/lib/modules/6.12 -> 6.13": ""}, system: &modulesSystem{helper: same}},
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
			p := s.programs(t)
			err := p.listKernel(t.Context(), "6.12")
			if (err == nil) != (c.listed != "") || s.listed != c.listed {
				t.Errorf("listed %q, want %q: %v", s.listed, c.listed, err)
			}
			kept, err := filepath.Glob(filepath.Join(p.plain.dir, plainKernel, "lib/modules/6.12"))
			if err != nil || (len(kept) > 0) != (c.listed != "") || (p.plain.made("6.12") != nil) != (c.listed != "") {
				t.Errorf("kept: %v, %v", kept, err)
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

// TestListGathered lists what was gathered of a kernel whose modules are known, and more.
func TestListGathered(t *testing.T) {
	const kernel, dir = "usr/lib/modules/6.12/", "var/tmp/mkinitramfs_abc"
	s := &modulesSystem{helper: func(b []byte) []byte { return b }}
	s.root = planted(t, map[string]string{
		"run/": "", "lib -> usr/lib": "", dir + "/lib -> usr/lib": "", dir + "/" + kernel + "kernel/": "",
		kernel + "kernel/a.ko.xz": compressed(t, "module a"), kernel + "kernel/b.ko.xz": compressed(t, "module b"),
		kernel + "kernel/c.ko.xz": compressed(t, "module c"), kernel + "modules.order": "order",
	})
	p := s.programs(t)
	if err := p.listKernel(t.Context(), "6.12"); err != nil {
		t.Fatal(err)
	}
	p.plain.limit = p.plain.made("6.12")["kernel/a.ko.xz"].ModTime().AddDate(1, 0, 0)
	for _, name := range []string{"kernel/a.ko.xz", "kernel/b.ko.xz", "modules.order"} {
		plant(t, s.root, map[string]string{dir + "/" + kernel + name: "of dracut-install's"})
	}
	if err := p.fillModules("/"+dir, "6.12"); err != nil {
		t.Fatal(err)
	}
	plant(t, s.root, map[string]string{dir + "/" + kernel + "kernel/b.ko.xz": compressed(t, "module of a hook"), dir + "/" + kernel + "extra/d.ko": "module d"})
	s.read = nil
	if err := p.listGathered(t.Context(), "/"+dir, "6.12"); err != nil {
		t.Fatal(err)
	}
	const want = "extra/d.ko module d, kernel/a.ko.xz module a, kernel/b.ko.xz module o, modules.order order"
	if s.listed != want {
		t.Errorf("listed %q, want %q", s.listed, want)
	}
	if diff := cmp.Diff([]string{"b.ko.xz"}, s.read); diff != "" {
		t.Errorf("decompressed (-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{
		"kernel/a.ko.xz": compressed(t, "module a"), "modules.order": "order", "modules.dep": "new", "extra/d.ko": "module d",
	} {
		if got, err := os.ReadFile(filepath.Join(s.root, dir, kernel, name)); string(got) != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	if left, err := filepath.Glob(filepath.Join(p.plain.dir, plainGathered, "lib/modules/*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := errors.Join(p.remove(), p.plain.remove()); err != nil {
		t.Error(err)
	}
}

// TestAttendant asks as mkinitramfs and dracut-install do.
func TestAttendant(t *testing.T) {
	const dir = "var/tmp/mkinitramfs_abc"
	s := &modulesSystem{helper: func(b []byte) []byte { return b }}
	s.root = planted(t, map[string]string{
		"run/": "", dir + "/usr/lib/modules/6.12/a.ko.xz": compressed(t, "module a"), dir + "/lib -> usr/lib": "",
		dir + "/usr/lib/modules/6.13/a.ko": "not compressed",
	})
	p := s.programs(t)
	script := filepath.Join(s.root, programsDir, "depmod")
	if err := os.WriteFile(script, []byte(listingScript), 0o755); err != nil {
		t.Fatal(err)
	}
	a, err := p.startAttendant(t.Context())
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
		command := exec.Command(script, c.args...)
		if err := command.Run(); (err == nil) != c.listed || (s.listed != "") != c.listed {
			t.Errorf("depmod %q: listed %q, %v", c.args, s.listed, err)
		}
	}
	a.stop()
	if data, err := os.ReadFile(filepath.Join(s.root, dir, "lib/modules/6.12/modules.dep")); string(data) != "new" {
		t.Errorf("modules.dep: %q, %v", data, err)
	}
	if err := p.remove(); err != nil {
		t.Error(err)
	}
}
