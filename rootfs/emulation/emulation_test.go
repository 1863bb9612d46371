package emulation

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/namespace"
	"vmbuild/rootfs/offers"
)

// outerWord in argv[0] makes this test binary register the interpreter argv[1] in namespaces, and say what came of it.
const outerWord = "emulation-test-outer"

func TestMain(m *testing.M) {
	switch {
	case namespace.Inner():
		os.Exit(namespace.Serve(map[string]namespace.Handler{"register": serveRegister}))
	case os.Args[0] == outerWord:
		job := namespace.Job{
			Name: "register", Payload: os.Args[1], Users: true, Stderr: os.Stderr,
			Message: func(m json.RawMessage) { fmt.Println(string(m)) },
		}
		if err := namespace.Run(context.Background(), job); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	default:
		os.Exit(m.Run())
	}
}

// TestPrograms has Go's reader of ELF files judge the programs.
func TestPrograms(t *testing.T) {
	for _, a := range arch.All() {
		f, err := elf.NewFile(bytes.NewReader(program(a)))
		if err != nil {
			t.Errorf("%s: %v", a.Name, err)
			continue
		}
		if f.Class != a.ELF.Class || f.Data != a.ELF.Data || f.Machine != a.ELF.Machine || f.Type != elf.ET_EXEC {
			t.Errorf("%s: the header is %+v", a.Name, f.FileHeader)
		}
		if len(f.Progs) != 1 {
			t.Fatalf("%s: %d segments", a.Name, len(f.Progs))
		}
		code, err := io.ReadAll(io.NewSectionReader(f.Progs[0], int64(f.Entry-f.Progs[0].Vaddr), 1<<10))
		if err != nil || string(code) != a.Exit {
			t.Errorf("%s: at the entry is %x, %v", a.Name, code, err)
		}
	}
}

// TestFormat compares with what Debian's qemu-user has in /usr/share/qemu/binfmt.d, but for the mask of OS/ABI and its
// version, which differs from row to row there, and for the flag C.
func TestFormat(t *testing.T) {
	want := map[string]string{
		"arm64": `:vmbuild-arm64:M:0:` +
			`\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:` +
			`\xff\xff\xff\xff\xff\xff\xff\x00\x00\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/x:POCF`,
		"armhf": `:vmbuild-armhf:M:0:` +
			`\x7f\x45\x4c\x46\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x28\x00:` +
			`\xff\xff\xff\xff\xff\xff\xff\x00\x00\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/x:POCF`,
		"s390x": `:vmbuild-s390x:M:0:` +
			`\x7f\x45\x4c\x46\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16:` +
			`\xff\xff\xff\xff\xff\xff\xff\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff:/x:POCF`,
		"loong64": `:vmbuild-loong64:M:0:` +
			`\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x02\x01:` +
			`\xff\xff\xff\xff\xff\xff\xff\x00\x00\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/x:POCF`,
	}
	got := make(map[string]string)
	for name := range want {
		got[name] = format(row(t, name), "/x")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func row(t *testing.T, name string) arch.Arch {
	t.Helper()
	a, err := arch.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestKernelsThatRegister(t *testing.T) {
	for release, want := range map[string]bool{
		"6.7.0": true, "6.12.94+deb13-amd64": true, "6.10-rc1": true, "7.0": true, "10.1.2": true,
		"6.6.99": false, "6.1.0-37-amd64": false, "5.15.0": false, "4.19": false, "": false, "Linux": false,
	} {
		if got := registers(release); got != want {
			t.Errorf("%q: %t", release, got)
		}
	}
}

// TestTry tells apart what runs, what nothing runs, and what fails.
func TestTry(t *testing.T) {
	offers.Need(t, "build")
	host, err := arch.Host(runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	if err := Runs(host); err != nil || !Native(host) || Check(host) != nil {
		t.Errorf("the host's own architecture: %v, native: %t, check: %v", err, Native(host), Check(host))
	}
	strange := host
	strange.Name, strange.Go, strange.ELF.Machine = "strange", "strange", 0xabcd
	const want = "run a program of architecture strange: exec format error"
	if err := Runs(strange); !errors.Is(err, unix.ENOEXEC) || err.Error() != want || Native(strange) {
		t.Errorf("an unknown machine: %v, native: %t", err, Native(strange))
	}
	var missing *namespace.Problem
	if err := CheckHost(strange); !errors.As(err, &missing) {
		t.Errorf("an unknown machine: %v", err)
	} else if want := fmt.Sprintf("this host (Linux %s) runs %s programs only: start Linux 6.7 or later, "+
		"or install package qemu-user-static, or build on a host of architecture strange", kernelRelease(), runtime.GOARCH); err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	crash := host
	crash.Name, crash.Exit = "crash", "\x00\x00\x00\x00\x00\x00\x00\x00"
	var exit *exec.ExitError
	if err := Runs(crash); !errors.As(err, &exit) {
		t.Errorf("a program that crashes: %v", err)
	}
}

// TestOpenOfHost: what root of the host registered would be the host's.
func TestOpenOfHost(t *testing.T) {
	if !namespace.Initial() {
		t.Skip("this is a user namespace")
	}
	const want = "open the kernel's table of program formats (binfmt_misc): it is the host's, this process has no user namespace of its own"
	if _, err := Open(); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestRegister registers a program in place of an emulator, as the caller and, if that is root, as an ordinary user too.
func TestRegister(t *testing.T) {
	offers.Need(t, "build")
	interpreter := buildInterpreter(t)
	callers := map[string]*syscall.Credential{"as caller": nil}
	if os.Getuid() == 0 {
		callers["ordinary user"] = offers.Credential(t, offers.User(t))
	}
	host := hostFormats(t)
	for caller, credential := range callers {
		t.Run(caller, func(t *testing.T) {
			cmd := exec.Cmd{
				Path: "/proc/self/exe", Args: []string{outerWord, interpreter}, Env: append(os.Environ(), "TMPDIR=/tmp"),
				Dir: "/", SysProcAttr: &syscall.SysProcAttr{Credential: credential},
			}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var got map[string]findings
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("%v in %s", err, out)
			}
			if diff := cmp.Diff(wantedFindings(), got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if diff := cmp.Diff(host, hostFormats(t)); diff != "" {
		t.Errorf("the host's formats:\n%s", diff)
	}
}

// hostFormats lists what is registered on the host.
func hostFormats(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("/proc/sys/fs/binfmt_misc/*")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// buildInterpreter builds the interpreter, static, where other users can read it.
func buildInterpreter(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "emulation-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "interpreter")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", path, "./testdata/interpreter")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// findings are what is seen of an architecture's programs.
type findings struct {
	Before, After string // error of Runs without the interpreter
	Started       string // how the interpreter is started for a set-uid program of another user's, in a root without it
	Twice         string // error of Runs when one of two registries was closed
	WithoutF      string // error of CheckHost where the interpreter is registered by its path only
}

func wantedFindings() map[string]findings {
	want := make(map[string]findings)
	for _, a := range foreign() {
		refused := "run a program of architecture " + a.Name + ": exec format error"
		want[a.Name] = findings{
			Before: refused, Started: "/program zero one two 1234", After: refused,
			WithoutF: "the emulator of " + a.Name + " that is registered on this host does not work in a chroot (flag F is missing): " +
				"start Linux 6.7 or later, or install package qemu-user-static, or build on a host of architecture " + a.Name,
		}
	}
	return want
}

func foreign() (list []arch.Arch) {
	for _, a := range arch.All() {
		if a.Go != runtime.GOARCH && a.Also != runtime.GOARCH {
			list = append(list, a)
		}
	}
	return list
}

func serveRegister(_ context.Context, c namespace.Call) (err error) {
	var path string
	if err := json.Unmarshal(c.Payload, &path); err != nil {
		return err
	}
	interpreter, err := os.Open(path)
	if err != nil {
		return err
	}
	defer interpreter.Close()
	dir, err := os.MkdirTemp("", "emulation-test-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil { // /tmp may be mounted nosuid
		return err
	}
	defer func() { err = errors.Join(err, unix.Unmount(dir, 0)) }()
	found := make(map[string]findings)
	for _, a := range foreign() {
		if found[a.Name], err = registerOne(a, interpreter, dir); err != nil {
			return err
		}
	}
	return c.Send(found)
}

func registerOne(a arch.Arch, interpreter *os.File, dir string) (f findings, err error) {
	f.Before = reason(Runs(a))
	first, err := openAndRegister(a, interpreter)
	if err != nil {
		return f, err
	}
	second, err := openAndRegister(a, interpreter)
	if err != nil {
		return f, errors.Join(err, first.Close())
	}
	path := filepath.Join(dir, "program")
	err = errors.Join(os.WriteFile(path, program(a), 0o111), os.Chown(path, 1234, 1234), os.Chmod(path, 0o111|os.ModeSetuid))
	cmd := exec.Cmd{Path: "/program", Args: []string{"zero", "one", "two"}, SysProcAttr: &syscall.SysProcAttr{Chroot: dir}}
	out, runErr := cmd.CombinedOutput()
	f.Started = string(out)
	err = errors.Join(err, runErr, os.Remove(path), first.Close())
	f.Twice = reason(Runs(a))
	err = errors.Join(err, second.Close())
	f.After = reason(Runs(a))
	third, openErr := Open()
	if openErr != nil {
		return f, errors.Join(err, openErr)
	}
	err = errors.Join(err, third.register(strings.TrimSuffix(format(a, interpreter.Name()), fixBinary)))
	f.WithoutF = reason(CheckHost(a))
	return f, errors.Join(err, third.Close())
}

func openAndRegister(a arch.Arch, interpreter *os.File) (*Registry, error) {
	r, err := Open()
	if err != nil {
		return nil, err
	}
	if err := r.Register(a, interpreter); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// reason is what an error says; nothing if there is none.
func reason(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
