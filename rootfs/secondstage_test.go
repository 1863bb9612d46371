package rootfs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/emulation"
	"vmbuild/rootfs/mirror"
	"vmbuild/rootfs/namespace"
	"vmbuild/rootfs/offers"
)

// TestWriteSecondStage has the calls of the script's functions: those of install, with what a package pre-depends on
// configured before its preinst runs.
func TestWriteSecondStage(t *testing.T) {
	root := t.TempDir()
	stanza := func(name, more string) string {
		return "Package: " + name + "\nStatus: install ok unpacked\nArchitecture: amd64\nVersion: 1\n" + more + "\n"
	}
	status := stanza("dpkg", "") + stanza("libc6", "Multi-Arch: same\n") + stanza("daemon", "Pre-Depends: users (>= 1) | none\n") +
		stanza("adduser", "Provides: users (= 1)\nDepends: perl\n") + stanza("perl", "") + stanza("rest", "")
	for name, content := range map[string]string{"var/lib/dpkg/status": status, "var/lib/apt/x": ""} {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	l := &Lock{Arch: "amd64", Debconf: []string{"a b c d", "e f g h"}}
	for i, name := range []string{"libc6", "dpkg", "rest", "daemon", "adduser", "perl"} {
		l.Packages = append(l.Packages, Package{Name: name, Version: "1", Arch: "amd64", Essential: i < 2, Auto: name == "perl"})
	}
	if err := errors.Join(l.WriteSecondStage(root), l.WriteMarks(root)); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, name := range []string{"debootstrap/debootstrap", "debootstrap/steps", "debootstrap/answers", "var/lib/apt/extended_states"} {
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		got[fmt.Sprintf("%s %s", info.Mode(), name)] = string(data)
	}
	want := map[string]string{
		"-rwxr-xr-x debootstrap/debootstrap": secondStageScript,
		"-rw-r--r-- debootstrap/steps": `device /dev/console 5 1
device /dev/full 1 7
device /dev/null 1 3
device /dev/ptmx 5 2
device /dev/random 1 8
device /dev/tty 5 0
device /dev/urandom 1 9
device /dev/zero 1 5
prepare libc6:amd64 dpkg:amd64
configure --force-depends libc6:amd64 dpkg:amd64
debconf-set-selections "$here/answers"
prepare rest:amd64 perl:amd64 adduser:amd64
configure --no-triggers perl:amd64 adduser:amd64
prepare daemon:amd64
`,
		"-rw-r--r-- debootstrap/answers":         "a b c d\ne f g h\n",
		"-rw-r--r-- var/lib/apt/extended_states": "Package: perl\nArchitecture: amd64\nAuto-Installed: 1\n\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWriteSecondStageRefusals(t *testing.T) {
	const write = "write the script of the second stage: "
	for want, names := range map[string][]string{
		write + "package dpkg is not among what is included, and nothing else can configure them: include it, or choose variant extract": {"a"},
		write + "plan how to configure packages: package a:amd64 is not in the root":                                                     {"a", "dpkg"},
	} {
		l := &Lock{Arch: "amd64"}
		for _, name := range names {
			l.Packages = append(l.Packages, Package{Name: name, Arch: "amd64", Essential: true})
		}
		if err := l.WriteSecondStage(t.TempDir()); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestSecondStage runs the script in trees of unpacked packages, for the host's architecture and by emulation: it is
// killed, run again, and leaves what install would have left.
func TestSecondStage(t *testing.T) {
	offers.Need(t, "net", "build")
	as, cache := ordinaryUser(t)
	for _, c := range []struct{ arch, suite, variant string }{
		{"amd64", "trixie", "important"}, {"amd64", "bookworm", "required"}, {"arm64", "trixie", "required"},
	} {
		t.Run(c.arch+" "+c.suite+" "+c.variant, func(t *testing.T) {
			out, err := inNamespaces(t, as, "second", foreignJob{
				Arch: c.arch, Cache: cache, Temp: workFor(t, as),
				Spec: Spec{
					Arch: c.arch, Suite: c.suite, Variant: c.variant, NoUpdates: true, Security: mirror.None,
					IgnoreValidUntil: true, Debconf: []string{"debconf debconf/priority select critical"},
				},
			})
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var got secondStage
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatalf("%v in %s", err, out)
			}
			t.Logf("%.1f s", got.Seconds)
			want := secondStage{Killed: true, States: "ii", Answer: "critical", Seconds: got.Seconds}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// secondStage is how a tree is when the script has been run.
type secondStage struct {
	Killed  bool     // the first time, in the midst of it
	Audit   string   // dpkg --audit
	States  string   // all that dpkg-query --show says of packages, each once
	Answer  string   // what a question was answered
	Differs []string // paths that only one of this tree and install's has
	Seconds float64
}

func secondStageInside(ctx context.Context, c namespace.Call) (err error) {
	var j foreignJob
	if err := json.Unmarshal(c.Payload, &j); err != nil {
		return err
	}
	b, a, err := j.open()
	if err != nil {
		return err
	}
	defer b.Cache.Close()
	var log bytes.Buffer
	b.Log = &log
	emulator, err := b.Emulate(ctx, a, j.Spec)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, emulator.Close()) }()
	spec := j.Spec
	j.Spec.UnpackOnly = true
	unpacked, err := j.make(ctx, b, "unpacked")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(unpacked.Dir)) }()
	found, err := runSecondStage(ctx, unpacked.Dir)
	if err != nil {
		return err
	}
	if emulation.Native(a) { // the other way takes as long again where programs are emulated
		j.Spec = spec
		installed, err := j.make(ctx, b, "installed")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(installed.Dir)) }()
		if found.Differs, err = onlyInOne(installed.Dir, unpacked.Dir); err != nil {
			return err
		}
	}
	return c.Send(found)
}

// make makes a tree, finished, with the script if it is unpacked only.
func (j foreignJob) make(ctx context.Context, b *Builder, name string) (*Stack, error) {
	lock, err := b.Resolve(ctx, j.Spec)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(j.Temp, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if err := b.Skeleton(j.Spec, dir); err != nil {
		return nil, err
	}
	stack, err := b.Fresh(ctx, lock, dir, Steps{})
	if err == nil && !lock.Configure {
		err = errors.Join(lock.WriteMarks(dir), lock.WriteSecondStage(dir))
	}
	if err != nil {
		return nil, err
	}
	return stack, b.Finish(ctx, stack)
}

// runSecondStage runs the script, kills it when it has configured something, and runs it again.
func runSecondStage(ctx context.Context, dir string) (found secondStage, err error) {
	var log bytes.Buffer
	root, err := chroot.Enter(ctx, dir, chroot.Options{Log: &log, NoSync: true})
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	script := chroot.Command{Args: []string{SecondStage, "--second-stage"}}
	start := time.Now()
	first, kill := context.WithCancel(ctx)
	go func() {
		defer kill()
		for first.Err() == nil {
			status, _ := os.ReadFile(filepath.Join(dir, "var/lib/dpkg/status"))
			if bytes.Contains(status, []byte("ok installed")) {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	found.Killed = root.Run(first, script) != nil
	kill()
	if err := root.Run(ctx, script); err != nil {
		return found, fmt.Errorf("%w; the log:\n%s", err, log.String())
	}
	found.Seconds = time.Since(start).Seconds()
	for _, q := range []struct {
		to      *string
		command string
	}{
		{&found.Audit, "dpkg --audit"},
		{&found.States, `dpkg-query --show --showformat='${db:Status-Abbrev}\n' | sort -u`},
		{&found.Answer, "echo GET debconf/priority | debconf-communicate | cut -d' ' -f2"},
	} {
		var out bytes.Buffer
		if err := root.Run(ctx, chroot.Command{Args: []string{"sh", "-c", q.command}, Stdout: &out}); err != nil {
			return found, err
		}
		*q.to = strings.TrimSpace(out.String())
	}
	return found, nil
}

// ofMaking are paths that a tree has after its making until it is finished, or that tell of when something ran. The
// machine's identity is that of the machine on which the script is run.
var ofMaking = []string{"/etc/machine-id", "/run/", "/var/log/", "/tmp/", "/var/tmp/", "/var/cache/ldconfig/aux-cache", "/var/lib/apt/lists/lock",
	"/var/cache/apt/archives/lock", "/var/cache/debconf/", "-old"}

// onlyInOne lists the paths that are in one of two trees, and those whose modes differ.
func onlyInOne(a, b string) ([]string, error) {
	entries := map[string]string{}
	for _, dir := range []string{a, b} {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			name := strings.TrimPrefix(path, dir)
			mode := info.Mode().String()
			if strings.HasSuffix(name, "/partial") { // apt makes it its user's
				mode = "partial"
			}
			if entries[name] == mode {
				delete(entries, name)
			} else {
				entries[name] += mode
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	var names []string
	for name, mode := range entries {
		making := false
		for _, part := range ofMaking {
			making = making || strings.Contains(name, part)
		}
		if !making {
			names = append(names, name+" "+mode)
		}
	}
	return names, nil
}
