package cli

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/cmd/vmbuild/cli/config"
)

// writeFiles makes files with their directories; names are below dir.
func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// hostWith has configuration files in etc, and its user in home.
func hostWith(t *testing.T, files map[string]string) (Streams, string) {
	t.Helper()
	dir := t.TempDir()
	writeFiles(t, dir, files)
	t.Setenv("HOME", filepath.Join(dir, "home"))
	t.Setenv("XDG_CONFIG_HOME", "")
	return Streams{etc: filepath.Join(dir, "etc")}, dir
}

// TestConfigFiles lists what is read, and takes the setting that counts.
func TestConfigFiles(t *testing.T) {
	host, dir := hostWith(t, map[string]string{
		"etc/vmbuild/10-a.yaml":             "hostname: etc-a\nswap: 256M\n",
		"etc/vmbuild/20-b":                  "[config]\nhostname = etc-b\n",
		"etc/vmbuild/.hidden":               "no configuration",
		"etc/vmbuild/20-b~":                 "no configuration",
		"etc/vmbuild/20-b.dpkg-old":         "no configuration",
		"etc/vmbuild/directory/x":           "no configuration",
		"home/.config/vmbuild/a.yml":        "hostname: home\n",
		"etc/vmdebootstrap.conf":            "[config]\nhostname = old\n",
		"etc/vmdebootstrap.yaml":            "config:\n  hostname: old-yaml\n",
		"etc/vmdebootstrap/a.conf":          "[config]\nhostname = old-a\n",
		"etc/vmdebootstrap/README":          "no configuration",
		"home/.vmdebootstrap.conf":          "[config]\nhostname = old-home\n",
		"home/.config/vmdebootstrap/b.conf": "[config]\nhostname = old-b\n",
		"other/vmbuild/x.conf":              "[config]\nhostname = other\n",
		"given.yaml":                        "hostname: given\n",
	})
	given, other := filepath.Join(dir, "given.yaml"), filepath.Join(dir, "other")
	ours := []string{"etc/vmbuild/10-a.yaml", "etc/vmbuild/20-b", "home/.config/vmbuild/a.yml"}
	olds := []string{"etc/vmdebootstrap.conf", "etc/vmdebootstrap.yaml", "etc/vmdebootstrap/a.conf", "home/.vmdebootstrap.conf",
		"home/.config/vmdebootstrap/b.conf"}
	for _, c := range []struct {
		args     []string
		xdg      string
		files    []string
		hostname string
	}{
		{[]string{"vmbuild"}, "", ours, "home"},
		{[]string{"vmbuild", "build"}, "", ours, "home"},
		{[]string{"/usr/bin/vmdebootstrap"}, "", append(slices.Clone(olds), ours...), "home"},
		{[]string{"vmbuild"}, other, []string{ours[0], ours[1], "other/vmbuild/x.conf"}, "other"},
		{[]string{"vmbuild", "--config=" + given}, "", append(slices.Clone(ours), "given.yaml"), "given"},
		{[]string{"vmbuild", "--config", given, "--hostname=line"}, "", append(slices.Clone(ours), "given.yaml"), "line"},
		{[]string{"vmbuild", "--no-default-configs"}, "", nil, "debian"},
		{[]string{"vmbuild", "--no-default-configs", "--default-configs"}, "", ours, "home"},
		{[]string{"vmbuild", "--no-default-configs", "--config=" + given}, "", []string{"given.yaml"}, "given"},
	} {
		t.Setenv("XDG_CONFIG_HOME", c.xdg)
		var want strings.Builder
		for _, name := range c.files {
			fmt.Fprintln(&want, filepath.Join(dir, name))
		}
		got := runOn(t, host, append(slices.Clone(c.args), "--list-config-files")...)
		if diff := cmp.Diff(result{Out: want.String()}, got); diff != "" {
			t.Errorf("%q:\n%s", c.args, diff)
		}
		got = runOn(t, host, append(slices.Clone(c.args), "--dump-config")...)
		if got.Status != 0 || !strings.Contains(got.Out, "\nhostname = "+c.hostname+"\n") {
			t.Errorf("%q: %+v, want %s", c.args, got, c.hostname)
		}
	}
	for _, args := range [][]string{{"vmbuild", "run", "--help"}, {"vmbuild", "cache", "list", "--help"}} {
		if got := runOn(t, host, args...); got.Status != 0 {
			t.Errorf("%q: %+v", args, got)
		}
	}
}

// TestSettings are settings of a file and the command lines that say the same.
func TestSettings(t *testing.T) {
	for _, c := range []struct{ name, text, line string }{
		{"a.yaml", "size: 2G\ngrub: true\nuse-uefi: yes\n", "--size=2G --grub --use-uefi"},
		{"a.conf", "[config]\nsize: 2G\ngrub: on\nserial-console = no\n", "--size=2G --grub --no-serial-console"},
		{"a.yaml", "package: [less, 'vim']\nuser: ann/pa,ss\nlog-mode: 0640\n", "--package=less --package=vim --user=ann/pa,ss --log-mode=0640"},
		{"a.conf", "[config]\npackage = less, vim\nuser = \"ann/pa,ss\", bob\n", "--package=less --package=vim --user=ann/pa,ss --user=bob"},
		{"a.conf", "[config]\nno-kernel = True\nno-acpid = 0\nno-sparse = yes\n", "--no-kernel --no-sparse"},
		{"a.yaml", "extlinux: off\n", "--no-extlinux"},
		{"a.yaml", "no-extlinux: false\n", "--extlinux"},
		{"a.yaml", "hook-directory: [/x, /y]\n", "--hook-dir=/x --hook-dir=/y"},
		{"a.yaml", "dry-run: json\n", "--dry-run=json"},
		{"a.conf", "[config]\ndry-run = yes\n", "--dry-run"},
		{"a.yaml", "dry-run: no\nkeyring: ''\nhostname: \"\"\n", "--hostname="},
		{"a.conf", "[config]\nkeyring =\npackage =\nlog-max = 10K\n", "--log-max=10K"},
	} {
		name := filepath.Join(t.TempDir(), c.name)
		writeFiles(t, filepath.Dir(name), map[string]string{c.name: c.text})
		want := run(t, append(strings.Fields(c.line), "--dump-config=yaml")...)
		got := run(t, "--config="+name, "--dump-config=yaml")
		if diff := cmp.Diff(want, got); diff != "" || got.Status != 0 {
			t.Errorf("%q: %d, %s\n%s", c.text, got.Status, got.Err, diff)
		}
	}
}

// TestListsComeFromOnePlace: the command line's, else those of the last file, as cliapp has it.
func TestListsComeFromOnePlace(t *testing.T) {
	host, dir := hostWith(t, map[string]string{
		"a.yaml": "package: [a1, a2]\nuser: ann\n", "b.yaml": "package: [b1, b2]\n",
	})
	for line, want := range map[string]string{
		"":                          "\npackage = b1, b2\n",
		"--package=c1 --package c2": "\npackage = c1, c2\n",
		"--user=bob":                "\nuser = bob\n",
		"--verbose":                 "\nuser = ann\n",
	} {
		args := []string{"vmbuild", "--config=" + dir + "/a.yaml", "--config=" + dir + "/b.yaml", "--dump-config"}
		if got := runOn(t, host, append(args, strings.Fields(line)...)...); !strings.Contains(got.Out, want) {
			t.Errorf("%s: %+v, want %q", line, got, want)
		}
	}
}

func TestWrongSettings(t *testing.T) {
	const words = "size \"many\" is not a number with an optional unit (K, M, G, T: powers of 1024; KB, MB, GB, TB: powers of 1000)"
	for _, c := range []struct{ name, text, want string }{
		{"a.yaml", "# x\nfrob: 1\n", `:2: there is no setting "frob" (--dump-setting-names prints all there are)`},
		{"a.yaml", "use_uefi: yes\n", `:1: there is no setting "use_uefi": it is written use-uefi`},
		{"a.yaml", "--size: 1G\n", `:1: there is no setting "--size": it is written size`},
		{"a.conf", "[config]\nsize = many\n", ":2: size: " + words},
		{"a.yaml", "part-type: bsd\n", `:1: part-type: "bsd" is none of auto, msdos, gpt`},
		{"a.yaml", "package: {a: b}\n", ":1: package: a mapping stands where one value shall"},
		{"a.yaml", "image: [a]\n", ":1: image: a list stands where one value shall"},
		{"a.yaml", "image: true\n", ":1: image: true is yes or no in YAML: put a text that looks so in quotes"},
		{"a.yaml", "mirror:\n", `:1: mirror: there is no value ("" is an empty one)`},
		{"a.conf", "[config]\ngrub = maybe\n", `:2: grub: "maybe" is neither yes nor no`},
		{"a.conf", "[config]\ngrub =\n", `:2: grub: "" is neither yes nor no`},
		{"a.conf", "[config]\nsize =\n", `:2: size: ` + strings.Replace(words, "many", "", 1)},
		{"a.yaml", "size: 1G\nimage: x\nsize: 2G\n", ":3: size is in line 1 already: one of them must go"},
		{"a.yaml", "extlinux: yes\nno-extlinux: yes\n", ":2: extlinux is in line 1 already: one of them must go"},
		{"a.yaml", "config: [b.yaml]\n", ":1: config is for the command line only"},
		{"a.yaml", "no-default-configs: true\n", ":1: no-default-configs is for the command line only"},
		{"a.yaml", "v: true\n", `:1: there is no setting "v" (--dump-setting-names prints all there are)`},
		{"a.yaml", "log-mode: 0999\n", `:1: log-mode: "0999" is no mode in octal digits such as 0640`},
		{"a.yaml", "log-keep: ten\n", `:1: log-keep: expected a valid 64 bit int but got "ten"`},
		{"a.yaml", "dry-run: xml\n", `:1: dry-run: "xml" is not a form of the plan (text, json)`},
		{"a.yaml", "size: 1G\n---\nsize: 2G\n", ":2: a second document begins: there can be one only"},
		{"a.conf", "size = 1G\n", ":1: a setting stands before the line [config]"},
	} {
		name := filepath.Join(t.TempDir(), c.name)
		writeFiles(t, filepath.Dir(name), map[string]string{c.name: c.text})
		want := refusal("read configuration: " + name + c.want)
		for _, line := range [][]string{{"--size=3G", "--part-type=gpt", "--dry-run", "--image=x"}, {"--dump-config"}} {
			if diff := cmp.Diff(want, run(t, append(line, "--config="+name)...)); diff != "" {
				t.Errorf("%q:\n%s", c.text, diff)
			}
		}
	}
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	writeFiles(t, filepath.Dir(broken), map[string]string{"broken.yaml": "]\n"})
	for _, answer := range []string{"--list-config-files", "--help", "--version", "--help-all", "--dump-setting-names"} {
		if got := run(t, "--config="+broken, answer); got.Status != 0 || got.Out == "" {
			t.Errorf("a broken file keeps from %s: %+v", answer, got)
		}
	}
	missing := filepath.Join(t.TempDir(), "none.yaml")
	want := refusal("read configuration: open " + missing + ": no such file or directory")
	if diff := cmp.Diff(want, run(t, "--config="+missing, "--dry-run", "--image=x")); diff != "" {
		t.Error(diff)
	}
	if got := run(t, "--config=x.yaml", "--xyzzy"); got != refusal("unknown flag --xyzzy") {
		t.Errorf("%+v", got)
	}
}

func TestDumpSettingNames(t *testing.T) {
	got := run(t, "--dump-setting-names")
	names := strings.Fields(got.Out)
	for _, name := range []string{"image", "convert-qcow2", "no-kernel", "log", "dump-memory-profile", "cache-dir"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is missing in %q", name, names)
		}
	}
	for _, name := range []string{"config", "default-configs", "dump-config", "help", "version", "generate-manpage"} {
		if slices.Contains(names, name) {
			t.Errorf("%s is no setting", name)
		}
	}
}

func TestDumpConfigRefuses(t *testing.T) {
	want := refusal(`--dump-config: write setting "root-password": the form ini cannot hold its value (--dump-config=yaml)`)
	if diff := cmp.Diff(want, run(t, "--root-password= x", "--dump-config")); diff != "" {
		t.Error(diff)
	}
	if got := run(t, "--root-password= x", "--dump-config=yaml"); !strings.Contains(got.Out, "\nroot-password: ' x'\n") {
		t.Errorf("%+v", got)
	}
	want = refusal(`--dump-config: "json" is not a form of configuration files (yaml, ini)`)
	if diff := cmp.Diff(want, run(t, "--dump-config=json")); diff != "" {
		t.Error(diff)
	}
}

// TestDumpedConfigIsTheSame dumps random options, feeds that back and has all options as they were.
func TestDumpedConfigIsTheSame(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for n := range 15 {
		line := randomLine(t, r)
		before := parse(t, line)
		for _, form := range config.Names() {
			dumped := run(t, append(slices.Clone(line), "--dump-config="+form)...)
			if dumped.Status != 0 {
				t.Errorf("%q: %+v", line, dumped)
				continue
			}
			name := filepath.Join(t.TempDir(), fmt.Sprintf("%d.%s", n, form))
			writeFiles(t, filepath.Dir(name), map[string]string{filepath.Base(name): dumped.Out})
			after := parse(t, []string{"--config=" + name})
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("%s of %q: %s\n%s", form, line, dumped.Out, diff)
			}
		}
	}
}

// parse returns what all settings of build are after a command line and the files that it names.
func parse(t *testing.T, line []string) map[string]any {
	t.Helper()
	c := &commands{}
	parser, err := newParser(c, Streams{}, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	if line, err = configured(parser, line, Streams{etc: "/nonexistent"}); err != nil {
		t.Fatal(err)
	}
	k, err := parser.Parse(line)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	values := map[string]any{}
	for _, f := range settingsOf(k.Selected()) {
		values[f.Name] = f.Target.Interface()
		if list, ok := values[f.Name].([]string); ok && len(list) == 0 {
			values[f.Name] = []string(nil)
		}
	}
	return values
}

// randomLine is a command line with a few random options.
func randomLine(t *testing.T, r *rand.Rand) []string {
	t.Helper()
	texts := []string{"a", "a b", "a,b", `a"b`, `"a"`, "100%", "%%", "a=b", "a:b", "#a", "a#b", "a ;b", "a; b", "[x]", "- a", "yes", "null",
		"0644", "1.10", "é", "'a'", "a\nb", `\n`, "{a}", "*a", "!a", "--a"}
	lists := append(slices.Clone(texts), ";a", " a", "")
	var line []string
	for _, f := range settingsOf(model(t).DefaultCmd) {
		switch {
		case r.IntN(3) > 0:
		case isSwitch(f) && f.Tag.Negatable != "" && r.IntN(2) == 0:
			line = append(line, "--no-"+f.Name)
		case isSwitch(f):
			line = append(line, "--"+f.Name)
		case f.Enum != "":
			choices := f.EnumSlice()
			line = append(line, "--"+f.Name+"="+choices[r.IntN(len(choices))])
		case f.Target.Type() == reflect.TypeFor[dryRun]():
			line = append(line, "--"+f.Name+[]string{"", "=json", "=text"}[r.IntN(3)])
		case f.Target.Type() == reflect.TypeFor[cloudInit]():
			line = append(line, "--"+f.Name+[]string{"", "=seed", "=yes", "=a b/c"}[r.IntN(4)])
		case f.Target.Type() == reflect.TypeFor[fileMode]():
			line = append(line, fmt.Sprintf("--%s=%o", f.Name, r.IntN(0o1000)))
		case f.Target.Kind() == reflect.Int, f.Target.Kind() == reflect.Int64:
			line = append(line, fmt.Sprintf("--%s=%d", f.Name, r.IntN(1<<30)))
		case f.IsSlice():
			for range 1 + r.IntN(3) {
				line = append(line, "--"+f.Name+"="+lists[r.IntN(len(lists))])
			}
		default:
			line = append(line, "--"+f.Name+"="+texts[r.IntN(len(texts))])
		}
	}
	return line
}

// TestSwitches have a --no- form, all of them.
func TestSwitches(t *testing.T) {
	for _, f := range settingsOf(model(t).DefaultCmd) {
		if isSwitch(f) && f.Tag.Negatable != "_" {
			t.Errorf("there is no --no-%s", f.Name)
		}
	}
}
