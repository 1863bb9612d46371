package rootfs

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/chroot"
)

// aKernel is a system in which a kernel is unpacked.
var aKernel = map[string]string{
	"lib/modules/6.12/": "", "run/": "", "var/lib/dpkg/info/linux-image-6.12.postinst": "set -e\ndepmod $version\nexit\n",
}

// gate is a system in which depmod ends when it is told.
type gate struct {
	mu  sync.Mutex
	log []string
	end chan error
}

func (g *gate) Run(ctx context.Context, c chroot.Command) error {
	g.mu.Lock()
	g.log = append(g.log, strings.Join(append(c.Env, c.Args...), " "))
	g.mu.Unlock()
	if c.Args[0] != "/sbin/depmod" {
		return nil
	}
	select {
	case err := <-g.end:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestDriverLists(t *testing.T) {
	with := func(name, content string) map[string]string {
		files := maps.Clone(aKernel)
		files[name] = content
		return files
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"kernel":            {aKernel, []string{"/sbin/depmod 6.12"}},
		"another script":    {with("var/lib/dpkg/info/linux-image-6.12.postinst", "depmod -a $version\n"), nil},
		"no package":        {with("lib/modules/6.13/", ""), []string{"/sbin/depmod 6.12"}},
		"kernel with lists": {with("lib/modules/6.12/modules.dep", ""), nil},
		"drivers to come":   {with("usr/sbin/dkms", ""), nil},
		"order":             {with("etc/depmod.d/x.conf.dpkg-new", ""), nil},
		"nothing":           {map[string]string{"run/": ""}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := &gate{end: make(chan error, 1)}
			d := &driverLists{root: planted(t, c.files), target: g}
			if err := d.begin(t.Context()); err != nil {
				t.Fatal(err)
			}
			g.end <- nil
			if err := d.end(); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(c.want, g.log); diff != "" {
				t.Error(diff)
			}
			if left, err := os.ReadDir(filepath.Join(d.root, "run")); err != nil || len(left) > 0 {
				t.Errorf("left in /run: %v, %v", left, err)
			}
		})
	}
}

// TestDriverListsAgain installs packages twice in one tree, the kernel first: it asks once.
func TestDriverListsAgain(t *testing.T) {
	g := &gate{end: make(chan error, 1)}
	d := &driverLists{root: planted(t, aKernel), target: g}
	if err := d.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.root, "lib/modules/6.12/modules.dep"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	g.end <- nil
	if err := d.begin(t.Context()); err != nil {
		t.Error(err)
	}
	if err := d.end(); err != nil || len(g.log) != 1 {
		t.Errorf("%q, %v", g.log, err)
	}
}

// TestWaitingDepmod asks the program of ours what kernel packages and others ask, with a depmod that says how it was called.
func TestWaitingDepmod(t *testing.T) {
	for name, c := range map[string]struct {
		fail  error
		calls [][]string
		want  []string
	}{
		"answer":            {nil, [][]string{{"6.12"}}, nil},
		"only one":          {nil, [][]string{{"6.12"}, {"6.12"}}, []string{"6.12"}},
		"another kernel":    {nil, [][]string{{"6.13"}}, []string{"6.13"}},
		"another question":  {nil, [][]string{{"-a", "6.12"}, {"6.12"}}, []string{"-a 6.12", "6.12"}},
		"it has not worked": {context.Canceled, [][]string{{"6.12"}}, []string{"6.12"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := planted(t, aKernel)
			g := &gate{end: make(chan error, 1)}
			d := &driverLists{root: root, target: g}
			if err := d.begin(t.Context()); err != nil {
				t.Fatal(err)
			}
			program := filepath.Join(root, driverListsDir, "depmod")
			log := filepath.Join(root, "log")
			script := strings.Replace(waitingDepmod, "/sbin/depmod", root+"/depmod", 1)
			for path, text := range map[string]string{program: script, root + "/depmod": "#!/bin/sh\necho \"$*\" >>" + log + "\n"} {
				if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			over := make(chan error, 1)
			go func() {
				var err error
				for _, call := range c.calls {
					if err == nil {
						err = exec.Command(program, call...).Run()
					}
				}
				over <- err
			}()
			select {
			case err := <-over:
				t.Fatalf("it did not wait: %v", err)
			case <-time.After(50 * time.Millisecond):
			}
			g.end <- c.fail
			if err := <-over; err != nil {
				t.Error(err)
			}
			data, _ := os.ReadFile(log)
			if diff := cmp.Diff(c.want, slices.DeleteFunc(strings.Split(string(data), "\n"), func(s string) bool { return s == "" })); diff != "" && len(c.want)+len(data) > 0 {
				t.Error(diff)
			}
			if err := d.end(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDriverListsPath(t *testing.T) {
	g := &gate{}
	d := &driverLists{target: g}
	if err := (quiet{d}).Run(t.Context(), chroot.Command{Args: []string{"dpkg"}, Env: []string{"A=b"}}); err != nil {
		t.Fatal(err)
	}
	want := []string{"PATH=/run/vmbuild:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin INITRD=No A=b dpkg"}
	if diff := cmp.Diff(want, g.log); diff != "" {
		t.Error(diff)
	}
}
