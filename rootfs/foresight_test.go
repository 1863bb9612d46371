package rootfs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
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

// aLaterKernel is one of which the modules are unpacked, and it itself not yet.
var aLaterKernel = map[string]string{
	"lib/modules/6.12/": "", "run/": "", "var/lib/dpkg/info/linux-modules-6.12.postinst": "if x; then\n  depmod \"$version\"\nfi\n",
}

// gate is a system in which depmod and systemd-hwdb end when they are told.
type gate struct {
	mu  sync.Mutex
	log []string
	end chan error
}

func (g *gate) Run(ctx context.Context, c chroot.Command) error {
	g.mu.Lock()
	g.log = append(g.log, strings.Join(append(c.Env, c.Args...), " "))
	g.mu.Unlock()
	if c.Args[0] == "dpkg" {
		return nil
	}
	select {
	case err := <-g.end:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// aUdev has what is asked of a system in which udev is unpacked.
var aUdev = map[string]string{
	"run/": "", "usr/lib/udev/": "", "lib -> usr/lib": "", "var/lib/dpkg/info/udev.postinst": "\n  systemd-hwdb --usr update || true\n",
}

func TestForesight(t *testing.T) {
	with := func(files map[string]string, name, content string) map[string]string {
		files = maps.Clone(files)
		files[name] = content
		return files
	}
	depmod, hwdb := []string{"/sbin/depmod 6.12"}, []string{"/bin/systemd-hwdb --usr update"}
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"kernel":              {aKernel, depmod},
		"modules":             {aLaterKernel, depmod},
		"another script":      {with(aKernel, "var/lib/dpkg/info/linux-image-6.12.postinst", "depmod -a $version\n"), nil},
		"no package":          {with(aKernel, "lib/modules/6.13/", ""), depmod},
		"kernel with lists":   {with(aKernel, "lib/modules/6.12/modules.dep", ""), nil},
		"drivers to come":     {with(aKernel, "usr/sbin/dkms", ""), nil},
		"order":               {with(aKernel, "etc/depmod.d/x.conf.dpkg-new", ""), nil},
		"udev":                {aUdev, hwdb},
		"udev's next version": {with(aUdev, "var/lib/dpkg/info/udev.postinst", "systemd-hwdb update\n"), nil},
		"udev is configured":  {with(aUdev, "usr/lib/udev/hwdb.bin", ""), nil},
		"more devices":        {with(aUdev, "etc/udev/hwdb.d/x.hwdb.dpkg-new", ""), nil},
		"nothing":             {map[string]string{"run/": ""}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := &gate{end: make(chan error, 1)}
			d := &foresight{programs: programs{root: planted(t, c.files), target: g}}
			if err := d.begin(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			g.end <- nil
			if err := d.end(t.Context()); err != nil {
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

// TestForesightAgain installs packages twice in one tree, the kernel first: it asks once.
func TestForesightAgain(t *testing.T) {
	g := &gate{end: make(chan error, 1)}
	d := &foresight{programs: programs{root: planted(t, aKernel), target: g}}
	if err := d.begin(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.root, "lib/modules/6.12/modules.dep"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	g.end <- nil
	if err := d.begin(t.Context(), true); err != nil {
		t.Error(err)
	}
	if err := d.end(t.Context()); err != nil || len(g.log) != 1 {
		t.Errorf("%q, %v", g.log, err)
	}
}

// TestForesightEarly looks ahead when the kernel is there and when other packages are, too.
func TestForesightEarly(t *testing.T) {
	const own, drivers = "var/lib/dpkg/info/linux-image-6.12.list", "/lib/modules/6.12/kernel/a.ko.xz\n"
	for name, c := range map[string]struct {
		list   string            // of the kernel's package
		early  error             // how depmod ends at first
		others map[string]string // come later
		want   int               // how often depmod runs
		known  bool              // there is an answer at the end
	}{
		"kernel":            {drivers, nil, map[string]string{"var/lib/dpkg/info/a.list": "/etc/a\n"}, 1, true},
		"too early":         {drivers, context.Canceled, nil, 2, true},
		"more drivers":      {drivers, nil, map[string]string{"var/lib/dpkg/info/a.list": "/lib/modules/6.12/b.ko\n"}, 1, false},
		"rules":             {drivers, nil, map[string]string{"lib/depmod.d/a.conf": ""}, 1, false},
		"a way to get more": {drivers, nil, map[string]string{"usr/sbin/dkms": ""}, 1, false},
		"drivers elsewhere": {"/boot/vmlinuz-6.12\n", nil, map[string]string{"var/lib/dpkg/info/linux-modules-6.12.list": drivers}, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			g := &gate{end: make(chan error, 2)}
			d := &foresight{programs: programs{root: planted(t, aKernel), target: g}}
			plant(t, d.root, map[string]string{own: c.list})
			g.end <- c.early
			g.end <- nil
			for _, all := range []bool{false, true} {
				if err := d.begin(t.Context(), all); err != nil {
					t.Fatal(err)
				}
				d.work.Wait()
				plant(t, d.root, c.others)
			}
			_, err := d.dir.Stat("depmod 6.12.foreseen")
			known := err == nil
			if len(g.log) != c.want || known != c.known {
				t.Errorf("asked %d times, known: %t; want %d, %t", len(g.log), known, c.want, c.known)
			}
			if err := d.end(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestKernelReady unpacks a kernel before apt, whose program decompresses modules, or where there is none.
func TestKernelReady(t *testing.T) {
	const list, drivers = "var/lib/dpkg/info/linux-image-6.12.list", "/lib/modules/6.12/kernel/a.ko.xz\n"
	for name, c := range map[string]struct {
		awaitApt bool
		unpacked []string
		want     []int // how often depmod was run by then
	}{
		"no apt":         {false, []string{"adduser", "linux-image-6.12", "tar"}, []int{0, 1, 1}},
		"apt comes":      {true, []string{"linux-image-6.12", "tar", "apt", "tar"}, []int{0, 0, 1, 1}},
		"apt came":       {true, []string{"apt", "linux-image-6.12"}, []int{0, 1}},
		"apt only later": {true, []string{"linux-image-6.12", "tar"}, []int{0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &modulesSystem{helper: func(b []byte) []byte { return b }, root: planted(t, aKernel)}
			plant(t, s.root, map[string]string{list: drivers, "lib/modules/6.12/kernel/a.ko.xz": compressed(t, "module a")})
			d := &foresight{programs: programs{root: s.root, target: s, plain: &plainModules{temp: t.TempDir()}}, awaitApt: c.awaitApt}
			for i, unpacked := range c.unpacked {
				if unpacked == "apt" {
					plant(t, s.root, map[string]string{"usr/lib/apt/apt-helper": ""})
				}
				d.unpacked(t.Context(), unpacked)
				d.work.Wait()
				if s.lists != c.want[i] {
					t.Errorf("after %s was unpacked depmod has run %d times, want %d", unpacked, s.lists, c.want[i])
				}
			}
			if err := d.begin(t.Context(), true); err != nil {
				t.Error(err)
			}
			d.work.Wait()
			if s.lists != 1 || s.listed != "kernel/a.ko.xz module a" {
				t.Errorf("in the end depmod has run %d times and found %q", s.lists, s.listed)
			}
			if err := errors.Join(d.end(t.Context()), d.plain.remove()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestForeseen asks the program of ours what kernel packages and others ask, with a depmod that says how it was called.
func TestForeseen(t *testing.T) {
	const reader, blind = "etc/kernel/postinst.d/kdump-tools", "etc/kernel/postinst.d/initramfs-tools.dpkg-new"
	for name, c := range map[string]struct {
		hook  string
		fail  error // how what was begun ends
		calls [][]string
		waits bool     // until it does
		want  []string // calls of depmod by the program of ours
		again int      // calls at the end
	}{
		"answer":                   {blind, nil, [][]string{{"6.12"}}, false, nil, 0},
		"somebody reads it":        {reader, nil, [][]string{{"6.12"}}, true, nil, 0},
		"only one":                 {reader, nil, [][]string{{"6.12"}, {"6.12"}}, true, []string{"6.12"}, 0},
		"only one for nobody":      {blind, nil, [][]string{{"6.12"}, {"6.12"}}, true, []string{"6.12"}, 0},
		"another kernel":           {blind, nil, [][]string{{"6.13"}}, true, []string{"6.13"}, 0},
		"another question":         {blind, nil, [][]string{{"-a", "6.12"}, {"6.12"}}, true, []string{"-a 6.12", "6.12"}, 0},
		"it has not worked":        {reader, context.Canceled, [][]string{{"6.12"}}, true, []string{"6.12"}, 0},
		"it will not have worked":  {blind, context.Canceled, [][]string{{"6.12"}}, false, nil, 1},
		"it will not, and another": {blind, context.Canceled, [][]string{{"6.12"}, {"-a"}}, true, []string{"-a"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			root := planted(t, aKernel)
			plant(t, root, map[string]string{c.hook: ""})
			g := &gate{end: make(chan error, 2)}
			d := &foresight{programs: programs{root: root, target: g}}
			if err := d.begin(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			program := filepath.Join(root, programsDir, "depmod")
			log := filepath.Join(root, "log")
			script := fmt.Sprintf(foreseen, root+"/depmod")
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
			if c.waits {
				select {
				case err := <-over:
					t.Fatalf("it did not wait: %v", err)
				case <-time.After(50 * time.Millisecond):
				}
				g.end <- c.fail
			}
			if err := <-over; err != nil {
				t.Error(err)
			}
			data, _ := os.ReadFile(log)
			if got := strings.Join(c.want, "\n"); strings.TrimSpace(string(data)) != got {
				t.Errorf("depmod is called with %q, want %q", data, got)
			}
			if !c.waits {
				g.end <- c.fail
			}
			wrong := errors.New("a driver is damaged")
			g.end <- wrong
			if err := d.end(t.Context()); errors.Is(err, wrong) != (c.again > 0) {
				t.Errorf("at the end: %v", err)
			}
			if again := len(g.log) - 1; again != c.again {
				t.Errorf("asked again %d times, want %d", again, c.again)
			}
		})
	}
}

// TestForesightPath: programs of ours are found before the system's, where there are any.
func TestForesightPath(t *testing.T) {
	g := &gate{}
	d := &foresight{programs: programs{root: planted(t, aUdev), target: g}}
	dpkg := chroot.Command{Args: []string{"dpkg"}, Env: []string{"A=b"}}
	for range 2 {
		if err := (quiet{d}).Run(t.Context(), dpkg); err != nil {
			t.Fatal(err)
		}
		if err := d.begin(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.end(t.Context()); err != nil {
		t.Error(err)
	}
	want := []string{"INITRD=No A=b dpkg", "PATH=/run/vmbuild:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin INITRD=No A=b dpkg"}
	if diff := cmp.Diff(want, g.log); diff != "" {
		t.Error(diff)
	}
}

// TestSystemdHelper asks ours what packages ask in new systems, which Debian's program (init-system-helpers 1.69) answers with the
// same status and no word; and all else, about which that one is asked.
func TestSystemdHelper(t *testing.T) {
	const state = "/var/lib/systemd/deb-systemd-"
	for name, c := range map[string]struct {
		file string
		call []string
		env  string
		ours int // the status of ours, or Debian's program is asked
	}{
		"unmask":                      {"", []string{"unmask", "a.service"}, "", 0},
		"was enabled":                 {"", []string{"--quiet", "was-enabled", "a.service"}, "", 0},
		"was installed":               {"", []string{"debian-installed", "a.service"}, "", 1},
		"masked":                      {"/etc/systemd/system/a.service", []string{"unmask", "a.service"}, "", asked},
		"others are masked":           {state + "helper-masked/b.service", []string{"unmask", "a.service"}, "", asked},
		"others are masked for users": {state + "user-helper-masked/b.service", []string{"unmask", "a.service"}, "", asked},
		"known":                       {state + "helper-enabled/a.service.dsh-also", []string{"--quiet", "was-enabled", "a.service"}, "", asked},
		"installed":                   {state + "helper-enabled/a.service.dsh-also", []string{"debian-installed", "a.service"}, "", asked},
		"aloud":                       {"", []string{"was-enabled", "a.service"}, "", asked},
		"several":                     {"", []string{"unmask", "a.service", "b.service"}, "", asked},
		"unmask for users":            {"", []string{"--user", "unmask", "a.service"}, "", 0},
		"was enabled for users":       {"", []string{"--quiet", "--user", "was-enabled", "a.service"}, "", 0},
		"was enabled, options turned": {"", []string{"--user", "--quiet", "was-enabled", "a.service"}, "", 0},
		"was installed for users":     {"", []string{"--user", "debian-installed", "a.service"}, "", 1},
		"masked for users":            {"/etc/systemd/user/a.service", []string{"--user", "unmask", "a.service"}, "", asked},
		"masked, but not for users":   {"/etc/systemd/system/a.service", []string{"--user", "unmask", "a.service"}, "", 0},
		"masks for users":             {state + "user-helper-masked/b.service", []string{"--user", "unmask", "a.service"}, "", asked},
		"known for users":             {state + "user-helper-enabled/a.service.dsh-also", []string{"--quiet", "--user", "was-enabled", "a.service"}, "", asked},
		"known, options turned":       {state + "user-helper-enabled/a.service.dsh-also", []string{"--user", "--quiet", "was-enabled", "a.service"}, "", asked},
		"installed for users":         {state + "user-helper-enabled/a.service.dsh-also", []string{"--user", "debian-installed", "a.service"}, "", asked},
		"installed, not for users":    {state + "helper-enabled/a.service.dsh-also", []string{"--user", "debian-installed", "a.service"}, "", 1},
		"aloud for users":             {"", []string{"--user", "was-enabled", "a.service"}, "", asked},
		"enable for users":            {"", []string{"--user", "enable", "a.service"}, "", asked},
		"enable":                      {"", []string{"enable", "a.service"}, "", asked},
		"a path":                      {"", []string{"unmask", "../a.service"}, "", asked},
		"an option":                   {"", []string{"unmask", "--user"}, "", asked},
		"nothing":                     {"", nil, "", asked},
		"by hand":                     {"", []string{"unmask", "a.service"}, "DPKG_MAINTSCRIPT_PACKAGE=", asked},
		"from outside":                {"", []string{"unmask", "a.service"}, "DPKG_ROOT=/target", asked},
		"with its log":                {"", []string{"unmask", "a.service"}, "_DEB_SYSTEMD_HELPER_DEBUG=1", asked},
	} {
		t.Run(name, func(t *testing.T) {
			root := planted(t, nil)
			if c.file != "" {
				plant(t, root, map[string]string{strings.TrimPrefix(c.file, "/"): ""})
			}
			script := strings.NewReplacer("/etc/", root+"/etc/", "/var/", root+"/var/").Replace(fmt.Sprintf(systemdHelper, "/usr/bin/deb-systemd-helper"))
			wantAnswer(t, root, script, "/usr/bin/deb-systemd-helper", c.call, c.env, c.ours)
		})
	}
}

// TestMaintscriptHelper is TestSystemdHelper for the program of dpkg 1.22.
func TestMaintscriptHelper(t *testing.T) {
	for name, c := range map[string]struct {
		call, env string
		ours      int
	}{
		"removed":              {"rm_conffile /etc/a 1:2.3-1~ -- install", "", 0},
		"removed, of another":  {"rm_conffile /etc/a 2.3-1 b:amd64 -- configure", "", 0},
		"moved":                {"mv_conffile /etc/a /etc/b 2.3-1+deb13u1~bpo1 -- configure", "", 0},
		"moved, of another":    {"mv_conffile /etc/a /etc/b 2.3-1 b -- install", "", 0},
		"upgrade":              {"rm_conffile /etc/a 2 -- configure 1", "", asked},
		"installed once more":  {"mv_conffile /etc/a /etc/b 2 -- install 1", "", asked},
		"upgrade, before":      {"rm_conffile /etc/a 2 -- upgrade 1", "", asked},
		"purge":                {"rm_conffile /etc/a 2 -- purge", "", asked},
		"a link":               {"symlink_to_dir /a /b 2 -- install", "", asked},
		"no version":           {"rm_conffile /etc/a -- install", "", asked},
		"no path":              {"rm_conffile etc/a 2 -- install", "", asked},
		"no new path":          {"mv_conffile /etc/a 2 -- install", "", asked},
		"not a version":        {"rm_conffile /etc/a 2_3 -- install", "", asked},
		"not an epoch":         {"rm_conffile /etc/a 2a:3 -- install", "", asked},
		"no parameters":        {"rm_conffile /etc/a 2 --", "", asked},
		"no parameters at all": {"rm_conffile /etc/a 2", "", asked},
		"nothing":              {"rm_conffile", "", asked},
		"a question":           {"supports rm_conffile", "", asked},
		"by hand":              {"rm_conffile /etc/a 2 -- install", "DPKG_MAINTSCRIPT_PACKAGE=", asked},
		"from outside":         {"rm_conffile /etc/a 2 -- install", "DPKG_ROOT=/target", asked},
		"with its log":         {"rm_conffile /etc/a 2 -- install", "DPKG_DEBUG=maintscript", asked},
	} {
		t.Run(name, func(t *testing.T) {
			wantAnswer(t, planted(t, nil), maintscriptHelper, "/usr/bin/dpkg-maintscript-helper", strings.Fields(c.call), c.env, c.ours)
		})
	}
}

// wantAnswer runs a program of ours with a stand-in for the real one, which ends with status asked and repeats what it is asked.
// The other answers have no words.
func wantAnswer(t *testing.T, dir, script, realPath string, call []string, env string, status int) {
	t.Helper()
	for path, text := range map[string]string{
		"ours": strings.ReplaceAll(script, realPath, filepath.Join(dir, "real")),
		"real": fmt.Sprintf("#!/bin/sh\necho \"$@\"\nexit %d\n", asked),
	} {
		if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(filepath.Join(dir, "ours"), call...)
	cmd.Env = append(os.Environ(), "DPKG_MAINTSCRIPT_PACKAGE=a", "DPKG_MAINTSCRIPT_NAME=postinst", env)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	want := ""
	if status == asked {
		want = strings.Join(call, " ") + "\n"
	}
	if got := cmd.ProcessState.ExitCode(); got != status || string(out) != want {
		t.Errorf("status %d, %q; want %d, %q", got, out, status, want)
	}
}

// asked is the status of what stands for Debian's program.
const asked = 7
