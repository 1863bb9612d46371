package multistrap

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/hooks"
	"vmbuild/image/bootstrap"
	"vmbuild/rootfs"
)

const (
	required  = "?and(?architecture(native),?or(?priority(required),?essential))"
	important = "?and(?architecture(native),?priority(important))"
	// noSources is the command of a system without sources of its own.
	noSources = `rm -f "$1/etc/apt/sources.list"`
)

// plain are the options of minimal with directory=/d on an amd64 host.
func plain(change func(*bootstrap.Options)) bootstrap.Options {
	o := bootstrap.Options{
		Target: "/d", Format: "directory", Variant: "custom", Architectures: []string{"amd64"},
		Include: []string{required}, Mirrors: mirrors("deb [arch=amd64] http://m s main"),
		Skip: []string{rootfs.SkipEmpty, "cleanup/apt"}, Verbosity: 1, Marks: bootstrap.MarkNone,
		Hooks: []hooks.Hook{{Stage: hooks.Customize, Command: noSources}},
	}
	change(&o)
	return o
}

func mirrors(lines ...string) []bootstrap.Mirror {
	var list []bootstrap.Mirror
	for _, l := range lines {
		list = append(list, bootstrap.Mirror{Argument: l})
	}
	return list
}

// TestOptions has what each setting becomes, on an amd64 host.
func TestOptions(t *testing.T) {
	two := func(c *Config) {
		c.Sections = []Section{
			{Name: "debian", Source: "http://m/", Suite: "s", Components: "main  contrib", Packages: []string{"b", "a"}, Keyring: "k"},
			{Name: "flat", Source: "[trusted=yes] http://f ./", Packages: []string{"c"}, Additional: []string{"z", "a"}},
			{Name: "other", Source: "http://o", Suite: "o", Packages: []string{"unused"}, Keyring: "unused", Additional: []string{"y"}},
		}
		c.Bootstrap = []string{"debian", "flat"}
	}
	twoMirrors := mirrors("deb [arch=amd64] http://m/ s main contrib", "deb [arch=amd64 trusted=yes] http://f ./")
	for name, c := range map[string]struct {
		config func(*Config)
		want   func(*bootstrap.Options)
		notes  []string
	}{
		"minimal":      {func(*Config) {}, func(*bootstrap.Options) {}, nil},
		"cleanup":      {func(c *Config) { c.Cleanup = true }, func(o *bootstrap.Options) { o.Skip = []string{rootfs.SkipEmpty} }, nil},
		"omitrequired": {func(c *Config) { c.OmitRequired = true }, func(o *bootstrap.Options) { o.Include = nil }, nil},
		"addimportant": {func(c *Config) { c.AddImportant = true }, func(o *bootstrap.Options) {
			o.Include = []string{required, important}
		}, nil},
		"noauth, allowrecommends": {func(c *Config) { c.NoAuth, c.AllowRecommends = true, true }, func(o *bootstrap.Options) {
			o.NoCheckSignatures, o.Recommends = true, true
		}, nil},
		"unpack=false": {func(c *Config) { c.NoUnpack = true }, func(o *bootstrap.Options) {
			o.DownloadOnly, o.Hooks = true, nil
		}, nil},
		"unpack=false, scripts": {func(c *Config) { c.NoUnpack, c.SetupScript, c.HookDirs = true, "/none", []string{"/h"} },
			func(o *bootstrap.Options) { o.DownloadOnly, o.Hooks = true, nil },
			[]string{"unpack=false: setupscript, hookdir: not run, as there is no system"}},
		"markauto": {func(c *Config) { c.MarkAuto = true }, func(o *bootstrap.Options) { o.Marks = bootstrap.MarkUnnamed }, nil},
		"foreign": {func(c *Config) { c.Arch = "armhf" }, func(o *bootstrap.Options) {
			o.UnpackOnly, o.Architectures, o.Hooks[0].Stage = true, []string{"armhf"}, hooks.Extract
			o.Mirrors = mirrors("deb [arch=armhf] http://m s main")
		}, nil},
		"arch": {func(c *Config) { c.Arch = "amd64" }, func(*bootstrap.Options) {}, nil},
		"ignorenativearch": {func(c *Config) { c.IgnoreNative = true }, func(o *bootstrap.Options) {
			o.UnpackOnly, o.Hooks[0].Stage = true, hooks.Extract
		}, nil},
		"multiarch": {func(c *Config) {
			c.MultiArch, c.Sections[0].Packages, c.Sections[0].Architecture = []string{"amd64", "armhf"}, []string{"a"}, "armhf"
			c.ExplicitSuite = true
		}, func(o *bootstrap.Options) {
			o.Architectures, o.Include = []string{"amd64", "armhf"}, []string{required, "a:armhf/s"}
			o.Mirrors = mirrors("deb [arch=amd64] http://m s main", "deb [arch=armhf] http://m s main")
		}, nil},
		"multiarch without the native one": {func(c *Config) { c.MultiArch = []string{"armhf"} }, func(o *bootstrap.Options) {
			o.Architectures, o.Mirrors = []string{"amd64", "armhf"}, mirrors("deb [arch=armhf] http://m s main")
		}, []string{"multiarch has no amd64: no source is asked for the system's own packages"}},
		"sections": {two, func(o *bootstrap.Options) {
			o.Mirrors, o.Include = twoMirrors, []string{required, "a", "b", "c", "k", "y", "z"}
		}, nil},
		"explicitsuite": {func(c *Config) { two(c); c.ExplicitSuite = true }, func(o *bootstrap.Options) {
			o.Mirrors, o.Include = twoMirrors, []string{required, "a/s", "b/s", "c", "k", "a", "y", "z"}
		}, nil},
		"aptsources": {func(c *Config) {
			two(c)
			c.Sections[2].OmitSource = true
			c.AptSources = []string{"flat", "other"}
		}, func(o *bootstrap.Options) {
			o.Mirrors, o.Include = twoMirrors, []string{required, "a", "b", "c", "k", "unused", "y", "z"}
			o.Hooks[0].Command += ` && printf '%s\n' 'deb [arch=amd64 trusted=yes] http://f ./' ` +
				`'deb-src [trusted=yes] http://f ./' >"$1/etc/apt/sources.list.d/multistrap-flat.list"` +
				` && printf '%s\n' 'deb [arch=amd64] http://o o main' >"$1/etc/apt/sources.list.d/multistrap-other.list"`
		}, nil},
		"reinstall": {func(c *Config) { c.Sections[0].Reinstall = []string{"x", "it's"} }, func(o *bootstrap.Options) {
			o.Hooks = append([]hooks.Hook{
				{Stage: hooks.Customize, Chrooted: true, Command: `apt-get --reinstall -y install 'it'\''s'`},
				{Stage: hooks.Customize, Chrooted: true, Command: "apt-get --reinstall -y install 'x'"},
			}, o.Hooks...)
		}, nil},
		"aptdefaultrelease": {func(c *Config) { c.DefaultRelease = "testing" }, func(o *bootstrap.Options) {
			o.Release = "testing"
		}, nil},
		"aptdefaultrelease=*": {func(c *Config) { c.DefaultRelease = "*" }, func(*bootstrap.Options) {}, nil},
		"tarballname": {func(c *Config) { c.Tarball, c.Directory = "x y.tar.gz", "sub/d/" }, func(o *bootstrap.Options) {
			o.Target, o.Format = "sub/x y.tar.gz", "tar"
		}, nil},
		"tarballname=x.tar": {func(c *Config) { c.Tarball = "x.tar" }, func(o *bootstrap.Options) {
			o.Target, o.Format = "/x.tar", "tar"
		}, []string{"tarballname=x.tar: it is compressed as its name says, not by gzip"}},
		"omitpreinst": {func(c *Config) { c.OmitPreinst = true }, func(*bootstrap.Options) {}, []string{
			"omitpreinst is ignored: dpkg runs every package's scripts in their order"}},
		"retainsources": {func(c *Config) { c.RetainSources = "/" }, func(o *bootstrap.Options) { o.KeepPackages = "/" }, []string{
			"retainsources=/ gets the packages, but not their sources: fetch those with apt-get source"}},
	} {
		t.Run(name, func(t *testing.T) {
			config := changed(func(c *Config) { c.Directory = "/d" })
			c.config(config)
			got, notes, err := config.Options("amd64")
			if diff := cmp.Diff(plain(c.want), got); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
			if diff := cmp.Diff(c.notes, notes); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestFiles has the files that a configuration names: scripts and hooks in multistrap's order, seeds and preferences.
func TestFiles(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if err := errorsOf(os.Mkdir("h 1", 0o755), os.Mkdir("h2", 0o755), os.Mkdir("h2/native-dir", 0o755)); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{
		"set'up": 0o755, "config": 0o755, "plain": 0o644, "h 1/download1": 0o755, "h2/download0": 0o755, "h2/native": 0o755,
		"h 1/completion": 0o755, "h2/download-not": 0o644, "h2/other": 0o755,
	} {
		if err := os.WriteFile(name, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := errorsOf(os.WriteFile("seed", []byte("a b c d\n\ne f g h"), 0o644), os.WriteFile("pref", []byte("Package: *\n"), 0o644),
		os.Symlink("set'up", "setup")); err != nil {
		t.Fatal(err)
	}
	config := changed(func(c *Config) {
		c.Directory, c.SetupScript, c.ConfigScript = "/d", "setup", "./config"
		c.HookDirs, c.DebconfSeeds, c.Preferences = []string{"h 1", "h2", "h3"}, []string{"seed", "none"}, "pref"
		c.Sections[0].Reinstall = []string{"x"}
	})
	setup := hooks.Hook{Stage: hooks.Extract, Command: "'" + dir + `/set'\''up' "$1" 'amd64'`}
	download := []hooks.Hook{{Stage: hooks.Extract, Command: dir + "/h 1/download1"}, {Stage: hooks.Extract, Command: dir + "/h2/download0"}}
	late := func(stage hooks.Stage) []hooks.Hook {
		return []hooks.Hook{{Stage: stage, Command: "copy-in '" + dir + "/config' /"}, {Stage: stage, Command: noSources},
			{Stage: stage, Command: dir + "/h 1/completion"}}
	}
	notes := []string{"debconfseed: open none: no such file or directory: it is left out",
		"hookdir: open h3: no such file or directory: it is left out"}
	check := func(steps ...[]hooks.Hook) {
		t.Helper()
		want := plain(func(o *bootstrap.Options) {
			o.Debconf, o.Preferences, o.Hooks = []string{"a b c d", "e f g h"}, "Package: *\n", nil
			o.UnpackOnly = config.IgnoreNative
			for _, s := range steps {
				o.Hooks = append(o.Hooks, s...)
			}
		})
		got, gotNotes, err := config.Options("amd64")
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
		if diff := cmp.Diff(notes, gotNotes); diff != "" {
			t.Error(diff)
		}
	}
	native := func(stage hooks.Stage, word string) []hooks.Hook {
		return []hooks.Hook{{Stage: stage, Command: "'" + dir + `/h2/native' "$1" ` + word}}
	}
	reinstall := []hooks.Hook{{Stage: hooks.Customize, Command: "apt-get --reinstall -y install 'x'", Chrooted: true}}
	check([]hooks.Hook{setup}, download, native(hooks.Extract, "start"), reinstall, native(hooks.Customize, "end"), late(hooks.Customize))
	config.IgnoreNative = true
	check([]hooks.Hook{setup}, download, late(hooks.Extract))
	config.SetupScript, config.ConfigScript = "plain", "gone"
	notes = append(notes, "setupscript: plain is not a program that can be run (chmod +x 'plain'): it is left out",
		"configscript: gone is not a program that can be run (chmod +x 'gone'): it is left out")
	check(download, late(hooks.Extract)[1:])
}

func errorsOf(list ...error) error {
	for _, err := range list {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestFinalSources runs the command that writes the sources of the finished system.
func TestFinalSources(t *testing.T) {
	root := filepath.Join(t.TempDir(), "a root")
	list := filepath.Join(root, "etc/apt/sources.list")
	if err := errorsOf(os.MkdirAll(list+".d", 0o755), os.WriteFile(list, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	config := changed(func(c *Config) { c.AptSources = []string{"debian"}; c.Sections[0].Source = "http://m/it's" })
	command, err := config.finalSources("amd64")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("sh", "-c", command, "sh", root).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got, err := os.ReadFile(list + ".d/multistrap-debian.list")
	if want := "deb [arch=amd64] http://m/it's s main\ndeb-src http://m/it's s main\n"; string(got) != want || err != nil {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	if _, err := os.Stat(list); !os.IsNotExist(err) {
		t.Errorf("sources.list: %v", err)
	}
}

func TestWrongOptions(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"no directory is given": func(c *Config) { c.Directory = "" },
		"[a b]: apt reads no file of such a name": func(c *Config) {
			c.Sections[0].Name, c.AptSources, c.Bootstrap = "a b", []string{"a b"}, []string{"a b"}
		},
		"aptpreferences: read /: is a directory":                func(c *Config) { c.Preferences = "/" },
		"debconfseed: read /: is a directory":                   func(c *Config) { c.DebconfSeeds = []string{"/"} },
		"retainsources: lstat /none: no such file or directory": func(c *Config) { c.RetainSources = "/none" },
		"retainsources: /dev/null is not a directory":           func(c *Config) { c.RetainSources = "/dev/null" },
		"hookdir: open /dev/null/x: not a directory":            func(c *Config) { c.HookDirs = []string{"/dev/null/x"} },
	} {
		config := changed(func(c *Config) { c.Directory = "/d" })
		change(config)
		if _, _, err := config.Options("amd64"); err == nil || err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
