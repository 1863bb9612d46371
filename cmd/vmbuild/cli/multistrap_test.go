package cli

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/hooks"
	"vmbuild/image/bootstrap"
	"vmbuild/rootfs"
)

const multistrapConfig = `[General]
arch=armhf
directory=/from/file
bootstrap=Debian
Cleanup=true
[Debian]
packages=a
source=http://m
suite=s
`

// TestMultistrapOptions are a configuration and what the command line says against it.
func TestMultistrapOptions(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "")
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	write(t, dir, "a.conf", multistrapConfig, 0o644)
	keys := write(t, dir, "k.gpg", "", 0o644)
	note := "vmbuild: note: a.conf:5: Cleanup is ignored: keys are in lower case (cleanup)\n"
	for line, c := range map[string]struct {
		notes  string
		change func(*bootstrap.Options)
	}{
		"-f a.conf":       {"", func(*bootstrap.Options) {}},
		"--file a.conf":   {"", func(*bootstrap.Options) {}},
		"-d to -f a.conf": {"", func(o *bootstrap.Options) { o.Target = "to" }},
		"--dir=to --arch=s390x --file=a.conf": {"", func(o *bootstrap.Options) {
			o.Target, o.Architectures = "to", []string{"s390x"}
			o.Mirrors = []bootstrap.Mirror{{Argument: "deb [arch=s390x] http://m s main"}}
		}},
		"--no-auth --tidy-up -f a.conf": {"", func(o *bootstrap.Options) {
			o.NoCheckSignatures, o.Skip = true, []string{rootfs.SkipEmpty}
		}},
		"--source-dir . -f a.conf": {"vmbuild: note: retainsources=. gets the packages, but not their sources: fetch those with apt-get source\n",
			func(o *bootstrap.Options) { o.KeepPackages = dir }},
		"--keyring k.gpg --offline --verbose -f a.conf": {"", func(o *bootstrap.Options) {
			o.Keyrings, o.Offline, o.Verbosity = []string{keys}, true, 2
		}},
	} {
		want := bootstrap.Options{
			Target: "/from/file", Format: "directory", Variant: "custom", Architectures: []string{"armhf"}, UnpackOnly: true,
			Marks:     bootstrap.MarkNone,
			Include:   []string{"?and(?architecture(native),?or(?priority(required),?essential))", "a"},
			Mirrors:   []bootstrap.Mirror{{Argument: "deb [arch=armhf] http://m s main"}},
			Skip:      []string{rootfs.SkipEmpty, "cleanup/apt"},
			Hooks:     []hooks.Hook{{Stage: hooks.Extract, Command: `rm -f "$1/etc/apt/sources.list"`}},
			Verbosity: 1,
		}
		if hostArch() == "armhf" || hostArch() == "s390x" {
			t.Skip("a configuration for another architecture is one for this host")
		}
		c.change(&want)
		for _, program := range [][]string{{"vmbuild", "multistrap"}, {"/usr/sbin/multistrap"}} {
			got := ask(t, "", append(program, strings.Fields(line)...)...)
			if diff := cmp.Diff(asked{want, note + c.notes}, got); diff != "" {
				t.Errorf("%s:\n%s", line, diff)
			}
		}
	}
	for _, option := range []string{"--simulate", "--dry-run"} {
		got := runAs(t, "", nil, "multistrap", option, "-f", "a.conf", "-d", "/to")
		if got.Status != 0 || got.Err != note || !strings.Contains(got.Out, "\ndirectory:         /to\n") {
			t.Errorf("%s: %+v", option, got)
		}
	}
}

func TestMultistrapRefusals(t *testing.T) {
	for line, want := range map[string]string{
		"":                     "a configuration file is needed: -f FILE",
		"-s none-of-this-name": `there is no shortcut "none-of-this-name" in any of [/etc/multistrap.d/ /usr/share/multistrap/]`,
		"-f /none.conf":        "read configuration: open /none.conf: no such file or directory",
		"-f /dev/null":         "read configuration: /dev/null: there is no [section]",
		"--file":               "--file requires an argument",
		"--frob":               "unknown flag --frob",
		"-f x y":               "unexpected argument y",
	} {
		r := runAs(t, "", nil, append([]string{"multistrap"}, strings.Fields(line)...)...)
		if diff := cmp.Diff(refusalOf("multistrap", want), r); diff != "" {
			t.Errorf("%s:\n%s", line, diff)
		}
	}
}

// TestShortcut has the administrator's file before the package's, and both before -f.
func TestShortcut(t *testing.T) {
	etc, usr := t.TempDir()+"/", t.TempDir()+"/"
	write(t, usr, "a.conf", "", 0o644)
	write(t, usr, "b.conf", "", 0o644)
	write(t, etc, "b.conf", "", 0o644)
	for shortcut, want := range map[string]string{"a": usr + "a.conf", "b": etc + "b.conf", "c": "given.conf", "": "given.conf"} {
		got, err := (&multistrapCmd{Shortcut: shortcut, File: "given.conf"}).file(etc, usr)
		if got != want || err != nil {
			t.Errorf("%s: %s, %v, want %s", shortcut, got, err, want)
		}
	}
}
