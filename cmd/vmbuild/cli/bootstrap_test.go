package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/hooks"
	"vmbuild/image/bootstrap"
	"vmbuild/image/session"
)

// asked is what a command line asks the bootstrapper for.
type asked struct {
	Options bootstrap.Options
	Notes   string // standard error
}

// ask runs a command line (args[0] is the program) that has to succeed, with a bootstrapper that does nothing.
func ask(t *testing.T, stdin string, args ...string) asked {
	t.Helper()
	var got *bootstrap.Options
	r := runAs(t, stdin, func(_ context.Context, o bootstrap.Options, _ session.Host, _ Streams) error {
		got = &o
		return nil
	}, args...)
	if r.Status != 0 || got == nil || r.Out != "" {
		t.Fatalf("%q: %+v", args, r)
	}
	return asked{*got, r.Err}
}

// runAs runs a command line with a bootstrapper.
func runAs(t *testing.T, stdin string, do bootstrapper, args ...string) result {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.WriteFile(in, []byte(stdin), 0o600); err != nil {
		t.Fatal(err)
	}
	s := Streams{}
	var err error
	if s.In, err = os.Open(in); err != nil {
		t.Fatal(err)
	}
	defer s.In.Close()
	if s.Out, err = os.Create(out); err != nil {
		t.Fatal(err)
	}
	defer s.Out.Close()
	var stderr bytes.Buffer
	s.Err = &stderr
	status := runWith(t.Context(), args, s, do)
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return result{status, string(text), stderr.String()}
}

// write makes a file in a directory and returns its path.
func write(t *testing.T, dir, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// plain are the options of "mmdebstrap trixie out".
func plain(change func(*bootstrap.Options)) bootstrap.Options {
	o := bootstrap.Options{Suite: "trixie", Target: "out", Mode: "auto", Architectures: []string{hostArch()}, Verbosity: 1}
	change(&o)
	return o
}

func TestBootstrapOptions(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "")
	for line, change := range map[string]func(*bootstrap.Options){
		"trixie out": func(*bootstrap.Options) {},
		"trixie":     func(o *bootstrap.Options) { o.Target = "" },
		"trixie out - http://m.example deb-src|http://m|s|main": func(o *bootstrap.Options) {
			o.Mirrors = []bootstrap.Mirror{{Argument: "-", Content: "deb http://in s main\n"}, {Argument: "http://m.example"},
				{Argument: "deb-src http://m s main"}}
		},
		"trixie out a,b": func(o *bootstrap.Options) { o.Mirrors = []bootstrap.Mirror{{Argument: "a,b"}} },
		"": func(o *bootstrap.Options) {
			o.Suite, o.Target = "", ""
			o.Mirrors = []bootstrap.Mirror{{Argument: "-", Content: "deb http://in s main\n"}}
		},
		"--variant=- --format=tar trixie out":     func(o *bootstrap.Options) { o.Variant, o.Format = "-", "tar" },
		"--variant=apt trixie --variant=null out": func(o *bootstrap.Options) { o.Variant = "null" },
		"--include=b,a|c, --include=a trixie out": func(o *bootstrap.Options) { o.Include = []string{"b", "a", "c", "a"} },
		"--include=?and(?name(^a$),!b|c) --include=~n^a,b --include=!x,y --include=(?name(a)|?name(b)) trixie out": func(o *bootstrap.Options) {
			o.Include = []string{"?and(?name(^a$),!b c)", "~n^a,b", "!x,y", "(?name(a) ?name(b))"}
		},
		"--include=a/trixie,b=1.0,c-,lib*,x^ trixie out": func(o *bootstrap.Options) {
			o.Include = []string{"a/trixie", "b=1.0", "c-", "lib*", "x^"}
		},
		"--components=main,contrib --components=main|non-free trixie out": func(o *bootstrap.Options) {
			o.Components = []string{"main", "contrib", "non-free"}
		},
		"--architectures=arm64,amd64 --architectures=arm64 trixie out": func(o *bootstrap.Options) {
			o.Architectures = []string{"arm64", "amd64"}
		},
		"--aptopt=Acquire::x|\"a,b\" --aptopt=file --dpkgopt=path-exclude=/x trixie out": func(o *bootstrap.Options) {
			o.AptOptions, o.DpkgOptions = []string{`Acquire::x "a,b"`, "file"}, []string{"path-exclude=/x"}
		},
		"--skip=cleanup/apt,|check/qemu --skip=update trixie out": func(o *bootstrap.Options) {
			o.Skip = []string{"cleanup/apt", "check/qemu", "update"}
		},
		"--mode=sudo trixie out":                func(o *bootstrap.Options) { o.Mode = "root" },
		"--mode=fakeroot trixie out":            func(o *bootstrap.Options) { o.Mode = "fakechroot" },
		"--mode=chrootless trixie out":          func(o *bootstrap.Options) { o.Mode = "chrootless" },
		"--dry-run trixie out":                  func(o *bootstrap.Options) { o.Simulate = true },
		"-q -v -d trixie out":                   func(o *bootstrap.Options) { o.Verbosity = 3 },
		"-d -v trixie out":                      func(o *bootstrap.Options) { o.Verbosity = 2 },
		"--debug -S trixie out":                 func(o *bootstrap.Options) { o.Verbosity = 0 },
		"-vqv trixie out":                       func(o *bootstrap.Options) { o.Verbosity = 2 },
		"--exclude=a,b --recommends trixie out": func(o *bootstrap.Options) { o.Exclude, o.Recommends = []string{"a", "b"}, true },
		"--foreign --offline trixie out":        func(o *bootstrap.Options) { o.Foreign, o.Offline = true, true },
		"--no-check-signatures trixie out":      func(o *bootstrap.Options) { o.NoCheckSignatures = true },
		"--no-check-valid-until trixie out":     func(o *bootstrap.Options) { o.NoCheckValidUntil = true },
		"trixie --variant apt out -- --x":       func(o *bootstrap.Options) { o.Variant = "apt"; o.Mirrors = []bootstrap.Mirror{{Argument: "--x"}} },
		"--customize-hook=a --setup-hook=b|c,d --customize-hook=copy-in|x|/ --chrooted-extract-hook=e --essential-hook=f " +
			"--chrooted-essential-hook=g --extract-hook=h --chrooted-customize-hook=i trixie out": func(o *bootstrap.Options) {
			o.Hooks = []hooks.Hook{
				{Stage: hooks.Customize, Command: "a"}, {Stage: hooks.Setup, Command: "b c,d"},
				{Stage: hooks.Customize, Command: "copy-in x /"}, {Stage: hooks.Extract, Command: "e", Chrooted: true},
				{Stage: hooks.Essential, Command: "f"}, {Stage: hooks.Essential, Command: "g", Chrooted: true},
				{Stage: hooks.Extract, Command: "h"}, {Stage: hooks.Customize, Command: "i", Chrooted: true},
			}
		},
	} {
		args := strings.Fields(line)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "|", " ")
		}
		for _, program := range [][]string{{"vmbuild", "bootstrap"}, {"/usr/bin/mmdebstrap"}} {
			got := ask(t, "deb http://in s main\n", append(program, args...)...)
			if diff := cmp.Diff(asked{plain(change), ""}, got); diff != "" {
				t.Errorf("%s:\n%s", line, diff)
			}
		}
	}
}

// TestHookOrder has the hooks of a directory where the directory stands on the command line.
func TestHookOrder(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"customize02", "customize01", "setup00"} {
		write(t, dir, name, "#!/bin/sh\n", 0o755)
	}
	fromDirectory, _, err := hooks.FromDirectory(dir)
	if err != nil || len(fromDirectory) != 3 {
		t.Fatalf("%v, %v", fromDirectory, err)
	}
	got := ask(t, "", "mmdebstrap", "--customize-hook=a", "--hook-directory="+dir, "--setup-hook=b", "--customize-hook=c", "trixie", "out")
	var want []hooks.Hook
	want = append(append(want, hooks.Hook{Stage: hooks.Customize, Command: "a"}), fromDirectory...)
	want = append(want, hooks.Hook{Stage: hooks.Setup, Command: "b"}, hooks.Hook{Stage: hooks.Customize, Command: "c"})
	if diff := cmp.Diff(want, got.Options.Hooks); diff != "" {
		t.Error(diff)
	}
}

func TestBootstrapNotes(t *testing.T) {
	const noop = " has no meaning here; wrappers of debootstrap give it"
	for line, want := range map[string][]string{
		"--resolve-deps --merged-usr --no-merged-usr --force-check-gpg --merged-usr trixie out": {
			"--resolve-deps" + noop, "--merged-usr" + noop, "--no-merged-usr" + noop, "--force-check-gpg" + noop},
		"-q --resolve-deps trixie out": nil,
		"--architectures=, trixie out": {"--architectures names none: " + hostArch() + " it is"},
		"trixie out -":                 {"standard input has no apt sources"},
	} {
		var text string
		for _, w := range want {
			text += "vmbuild: note: " + w + "\n"
		}
		got := ask(t, "", append([]string{"mmdebstrap"}, strings.Fields(line)...)...)
		if diff := cmp.Diff(text, got.Notes); diff != "" {
			t.Errorf("%s:\n%s", line, diff)
		}
	}
}

// TestBootstrapPaths are the paths that a command line names.
func TestBootstrapPaths(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	deb := write(t, dir, "a.deb", "", 0o644)
	comma := write(t, dir, `b,c "d".deb`, "", 0o644)
	first, last := write(t, dir, "1.gpg", "", 0o644), write(t, dir, "2.gpg", "", 0o644)
	for link, target := range map[string]string{"link.deb": "a.deb", "keys": dir} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	got := ask(t, "", "mmdebstrap", "--include=x,./link.deb "+deb, `--include=./b,c "d".deb`, "--include=../"+filepath.Base(dir)+"/a.deb",
		"--keyring="+first, "--keyring=keys", "--keyring=2.gpg", "trixie", "out")
	want := plain(func(o *bootstrap.Options) {
		o.Include = []string{"x", deb, deb, comma, deb}
		o.Keyrings = []string{last, dir}
	})
	if diff := cmp.Diff(asked{Options: want}, got); diff != "" {
		t.Error(diff)
	}
	for argument, message := range map[string]string{
		"--include=./none.deb":      "--include: lstat none.deb: no such file or directory",
		"--include=a,/none.deb":     "--include: lstat /none.deb: no such file or directory",
		"--include=" + dir:          "--include: " + dir + " is not a regular file",
		"--keyring=none":            "--keyring: lstat none: no such file or directory",
		"--hook-directory=none":     "--hook-directory: read hook directory: open " + dir + "/none: no such file or directory",
		"--logfile=none/log":        "--logfile: open none/log: no such file or directory",
		"--mode=proot":              `--mode must be one of "auto","root","sudo","unshare","fakechroot","fakeroot","chrootless" but got "proot"`,
		"--keyring=none --include=": "--include requires an argument",
	} {
		args := append(append([]string{"mmdebstrap"}, strings.Fields(argument)...), "trixie", "out")
		r := runAs(t, "", func(context.Context, bootstrap.Options, session.Host, Streams) error {
			t.Errorf("%s: something is made", argument)
			return nil
		}, args...)
		if diff := cmp.Diff(refusalOf("bootstrap", message), r); diff != "" {
			t.Errorf("%s:\n%s", argument, diff)
		}
	}
}

// TestLogfile has everything in the file that would be on standard error.
func TestLogfile(t *testing.T) {
	log := write(t, t.TempDir(), "log", "of an earlier run\n", 0o644)
	r := runAs(t, "", func(_ context.Context, _ bootstrap.Options, _ session.Host, s Streams) error {
		fmt.Fprintln(s.Out, "result")
		fmt.Fprintln(s.Err, "words")
		return errors.New("it is broken")
	}, "mmdebstrap", "--log="+log, "--resolve-deps", "trixie", "out")
	if diff := cmp.Diff(result{statusFailed, "result\n", ""}, r); diff != "" {
		t.Error(diff)
	}
	text, err := os.ReadFile(log)
	want := "vmbuild: note: --resolve-deps has no meaning here; wrappers of debootstrap give it\nwords\nvmbuild: it is broken\n"
	if string(text) != want || err != nil {
		t.Errorf("%q, %v, want %q", text, err, want)
	}
}

// TestBootstrapHost is what the bootstrapper gets besides the options.
func TestBootstrapHost(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	runAs(t, "text", func(_ context.Context, o bootstrap.Options, h session.Host, s Streams) error {
		if o.Epoch != time.Unix(1700000000, 0).UTC() || h.Cache != "/c" || h.Temp != temp || h.Event == nil {
			t.Errorf("%s, %+v", o.Epoch, h)
		}
		if text, err := io.ReadAll(s.In); string(text) != "text" || err != nil {
			t.Errorf("standard input was read: %q is left, %v", text, err)
		}
		return nil
	}, "mmdebstrap", "--cache-dir=/c", "trixie", "out")
	t.Setenv("SOURCE_DATE_EPOCH", "now")
	want := refusalOf("bootstrap", `SOURCE_DATE_EPOCH="now" is not a number of seconds since 1970`)
	if diff := cmp.Diff(want, runAs(t, "", nil, "mmdebstrap", "trixie", "out")); diff != "" {
		t.Error(diff)
	}
}

func TestMan(t *testing.T) {
	for _, option := range []string{"--man", "--help", "-h", "-H", "--hel"} {
		r := runAs(t, "", nil, "mmdebstrap", option)
		if r.Status != 0 || r.Err != "" || !strings.HasPrefix(r.Out, "Usage: vmbuild bootstrap [<suite> [<target> [<mirror> ...]]]") {
			t.Errorf("%s: %+v", option, r)
		}
	}
}

// TestBootstrappersHelp has every option of the commands that stand for other programs in their help.
func TestBootstrappersHelp(t *testing.T) {
	app := model(t)
	for _, command := range app.Children {
		if !command.Tag.Has("like") {
			continue
		}
		r := runAs(t, "", nil, "vmbuild", command.Name, "--help")
		if r.Status != 0 || r.Err != "" || strings.Contains(r.Out, "${") {
			t.Errorf("%s: %+v", command.Name, r)
		}
		for _, f := range command.Flags {
			if !f.Hidden && (!strings.Contains(r.Out, f.Name) || f.Help == "") {
				t.Errorf("%s: there is no help for --%s", command.Name, f.Name)
			}
		}
	}
}
