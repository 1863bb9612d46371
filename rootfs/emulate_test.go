package rootfs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/archivetest"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/emulation"
	"vmbuild/rootfs/layer"
	"vmbuild/rootfs/mirror"
	"vmbuild/rootfs/namespace"
	"vmbuild/rootfs/offers"
)

// emulateWord in argv[0] makes this test binary run the job argv[1] with payload argv[2] in namespaces.
const emulateWord = "rootfs-test-emulate"

// foreignJob is to be done for a foreign architecture, in a directory for work.
type foreignJob struct {
	Arch, Cache, Temp string
	Spec              Spec
}

// outsideEmulation is what TestMain runs under emulateWord.
func outsideEmulation() int {
	job := namespace.Job{
		Name: os.Args[1], Payload: json.RawMessage(os.Args[2]), Users: true, Stderr: os.Stderr,
		Message: func(m json.RawMessage) { fmt.Println(string(m)) },
	}
	if err := namespace.Run(context.Background(), job); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// inNamespaces runs a job as the credential says, nil: as the caller, and returns what it prints.
func inNamespaces(t *testing.T, as *syscall.Credential, name string, j foreignJob) (string, error) {
	t.Helper()
	payload, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Cmd{
		Path: "/proc/self/exe", Args: []string{emulateWord, name, string(payload)}, Env: append(os.Environ(), "TMPDIR=/tmp"),
		Dir: "/", SysProcAttr: &syscall.SysProcAttr{Credential: as},
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// ordinaryUser is the user that foreign trees are made as, and its cache for tests.
func ordinaryUser(t *testing.T) (as *syscall.Credential, cache string) {
	t.Helper()
	if os.Getuid() != 0 {
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		return nil, filepath.Join(dir, "vmbuild-test")
	}
	u := offers.User(t)
	return offers.Credential(t, u), filepath.Join(u.HomeDir, ".cache", "vmbuild-test")
}

// workFor makes a directory that a credential may write to.
func workFor(t *testing.T, as *syscall.Credential) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "vmbuild-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if as != nil {
		err = os.Chown(dir, int(as.Uid), int(as.Gid))
	}
	if err := errors.Join(err, os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// open makes a builder of a job.
func (j foreignJob) open() (*Builder, arch.Arch, error) {
	a, err := arch.Lookup(j.Arch)
	if err != nil {
		return nil, a, err
	}
	mirrors, err := mirror.OfHost(os.DirFS("/etc/apt"))
	if err != nil {
		return nil, a, err
	}
	cache, err := layer.Open(j.Cache)
	return &Builder{
		Cache: cache, Mirrors: mirrors, Event: func(Event) {}, Log: io.Discard, Temp: j.Temp, IDMap: namespace.IDMap(),
	}, a, err
}

// TestEmulate takes a program in place of QEMU from an archive of its own.
func TestEmulate(t *testing.T) {
	offers.Need(t, "build")
	program := filepath.Join(t.TempDir(), "interpreter")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", program, "./emulation/testdata/interpreter")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	host, err := arch.Host(runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	site, err := archivetest.New(archivetest.Archive{Codename: "trixie", Suite: "stable", Architectures: []string{host.Name},
		Packages: []archivetest.Package{{Name: "qemu-user", Files: []archivetest.File{
			{Path: "/usr/bin/qemu-s390x", Mode: 0o755, Content: string(content)},
			{Path: "/usr/bin/qemu-alpha", Mode: 0o755, Content: string(content)},
			{Path: "/usr/bin/qemu-ppc64le", Mode: 0o755, Content: "no program"},
		}}}})
	if err != nil {
		t.Fatal(err)
	}
	spec := Spec{Mirror: site.Start(t).URL, Security: mirror.None, NoUpdates: true, Unauthenticated: true}
	callers := map[string]*syscall.Credential{"as caller": nil}
	if os.Getuid() == 0 {
		callers["ordinary user"], _ = ordinaryUser(t)
	}
	for caller, as := range callers {
		t.Run(caller, func(t *testing.T) { emulateEach(t, as, host, spec) })
	}
}

func emulateEach(t *testing.T, as *syscall.Credential, host arch.Arch, spec Spec) {
	for name, want := range map[string]string{
		"s390x":    `["run a program of architecture s390x: exec format error","","run a program of architecture s390x: exec format error"]`,
		"mips64el": `emulate mips64el: openat usr/bin/qemu-mips64el: no such file or directory`,
		"ppc64el":  `emulate ppc64el: run a program of architecture ppc64el: exec format error`,
		host.Name:  `["","",""]`,
	} {
		work := workFor(t, as)
		got, err := inNamespaces(t, as, "emulate", foreignJob{
			Arch: name, Cache: filepath.Join(work, "cache"), Temp: work, Spec: spec,
		})
		if diff := cmp.Diff(want, strings.TrimSpace(got)); diff != "" || (err == nil) != strings.HasPrefix(want, "[") {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

// emulateInside tries a program before, under and after Emulate.
func emulateInside(ctx context.Context, c namespace.Call) error {
	var j foreignJob
	if err := json.Unmarshal(c.Payload, &j); err != nil {
		return err
	}
	b, a, err := j.open()
	if err != nil {
		return err
	}
	defer b.Cache.Close()
	results := []string{runs(a)}
	emulator, err := b.Emulate(ctx, a, j.Spec)
	if err != nil {
		return err
	}
	results = append(results, runs(a))
	if err := emulator.Close(); err != nil {
		return err
	}
	return c.Send(append(results, runs(a)))
}

// runs is what keeps a program from running.
func runs(a arch.Arch) string {
	if err := emulation.Runs(a); err != nil {
		return err.Error()
	}
	return ""
}

func TestEmulatorSpec(t *testing.T) {
	a, err := arch.Lookup("arm64")
	if err != nil {
		t.Fatal(err)
	}
	s := Spec{
		Arch: "arm64", Foreign: []string{"i386"}, Suite: "bookworm", Mirror: "http://a", Security: "http://b", NoUpdates: true,
		Components: []string{"main"}, Variant: "apt", Include: []string{"x"}, Exclude: []string{"y"}, Debconf: []string{"z"},
		Keyrings: []string{"k"}, Unauthenticated: true, IgnoreValidUntil: true, Skip: []string{"update"}, Epoch: time.Unix(1, 0),
		Dpkg: "path-exclude=/usr/share/doc/*\n",
	}
	want := Spec{
		Mirror: "http://a", Security: "http://b", NoUpdates: true, Keyrings: []string{"k"}, Unauthenticated: true,
		IgnoreValidUntil: true, Dpkg: "path-exclude=/*\npath-include=/usr/bin/qemu-aarch64\n",
	}
	if diff := cmp.Diff(want, emulatorSpec(a, s)); diff != "" {
		t.Error(diff)
	}
	s.Archives = []Source{{URI: "http://c", Suite: "bookworm"}}
	want.Keyrings, want.Unauthenticated = nil, false
	if diff := cmp.Diff(want, emulatorSpec(a, s)); diff != "" {
		t.Errorf("of a Spec with archives of its own:\n%s", diff)
	}
}

// foreignSuites name a release that has each architecture, and what the kernel's name for it is.
var foreignSuites = map[string]struct{ suite, machine string }{
	"amd64":    {"trixie", "x86_64"},
	"arm64":    {"trixie", "aarch64"},
	"armel":    {"trixie", "armv7l"},
	"armhf":    {"trixie", "armv7l"},
	"i386":     {"trixie", "i686"},
	"riscv64":  {"trixie", "riscv64"},
	"ppc64el":  {"trixie", "ppc64le"},
	"s390x":    {"trixie", "s390x"},
	"mips64el": {"bookworm", "mips64"},
	"loong64":  {"forky", "loongarch64"},
}

// TestForeignArchitectures has an ordinary user make a tree of each architecture of the table, anew each time, and run
// its programs.
func TestForeignArchitectures(t *testing.T) {
	offers.Need(t, "net", "build")
	as, cache := ordinaryUser(t)
	short := []string{"arm64", "armhf", "s390x"} // of 64 bits, of 32, big-endian; the others need the word matrix
	for _, a := range arch.All() {
		if !slices.Contains(short, a.Name) && !offers.Has("matrix") {
			continue
		}
		t.Run(a.Name, func(t *testing.T) {
			of, known := foreignSuites[a.Name]
			if !known {
				t.Fatal("no suite is known that has it")
			}
			out, err := inNamespaces(t, as, "foreign", foreignJob{
				Arch: a.Name, Cache: cache, Temp: workFor(t, as),
				Spec: Spec{
					Arch: a.Name, Suite: of.suite, Variant: "apt", NoUpdates: true, Security: mirror.None,
					IgnoreValidUntil: true, // a mirror for tests may be a frozen one
				},
			})
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var got foreignTree
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatalf("%v in %s", err, out)
			}
			t.Logf("emulator %.1f s, tree %.1f s", got.Emulator, got.Tree)
			want := foreignTree{
				Machine: of.machine, Debian: a.Name, Sync: "skipped", Argv0: "zero", Owner: "1234",
				Emulator: got.Emulator, Tree: got.Tree,
			}
			if a.Go == runtime.GOARCH || a.Also == runtime.GOARCH {
				want.Machine = got.Machine // a 32-bit program sees the processor's name
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// foreignTree is what programs of a tree say.
type foreignTree struct {
	Machine, Debian string  // uname -m, dpkg --print-architecture
	Audit           string  // dpkg --audit
	Sync            string  // of a file that cannot be synced: nothing is
	Argv0           string  // of a program
	Owner           string  // of a file that another user made in a directory of its own
	Emulator, Tree  float64 // seconds that both took
}

func foreignInside(ctx context.Context, c namespace.Call) (err error) {
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
	var found foreignTree
	start := time.Now()
	emulator, err := b.Emulate(ctx, a, j.Spec)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, emulator.Close()) }()
	found.Emulator = time.Since(start).Seconds()
	lock, err := b.Resolve(ctx, j.Spec)
	if err != nil {
		return err
	}
	dir := filepath.Join(j.Temp, "tree")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := b.Skeleton(j.Spec, dir); err != nil {
		return err
	}
	start = time.Now()
	stack, err := b.Fresh(ctx, lock, dir, Steps{})
	if err != nil {
		return fmt.Errorf("%w; the log:\n%s", err, log.String())
	}
	found.Tree = time.Since(start).Seconds()
	root, err := b.Enter(ctx, stack)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	for _, q := range []struct {
		to      *string
		command string
	}{
		{&found.Machine, "uname -m"},
		{&found.Debian, "dpkg --print-architecture"},
		{&found.Audit, "dpkg --audit"},
		{&found.Sync, "sync /dev/null && echo skipped"},
		{&found.Argv0, `perl -e 'exec {"/bin/sh"} "zero", "-c", q(echo $0)'`},
		{&found.Owner, `d=$(mktemp -d) && chown 1234 $d && chmod 755 $d && cp /usr/bin/touch $d/t && chown 1234 $d/t &&
			chmod 4755 $d/t && $d/t $d/x && stat -c %u $d/x; rm -r $d`},
	} {
		var out bytes.Buffer
		if err := root.Run(ctx, chroot.Command{Args: []string{"sh", "-c", q.command}, Stdout: &out}); err != nil {
			return err
		}
		*q.to = strings.TrimSpace(out.String())
	}
	return c.Send(found)
}
