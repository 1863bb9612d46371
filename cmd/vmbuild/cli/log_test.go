package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
)

// logged is a line of the log, without what changes from run to run.
type logged map[string]any

func readLog(t *testing.T, text string) []logged {
	t.Helper()
	var all []logged
	for line := range strings.Lines(text) {
		var l logged
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for _, name := range []string{"ts", "time", "version"} {
			if l[name] != nil {
				l[name] = "?"
			}
		}
		all = append(all, l)
	}
	return all
}

// journalOf opens the log as a command line asks for it; the directory is a new one.
func journalOf(t *testing.T, s Streams, args ...string) (*journal, error) {
	t.Helper()
	c := &commands{}
	parser, err := newParser(c, s, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	k, err := parser.Parse(args)
	if err != nil {
		t.Fatal(err)
	}
	return c.Build.openLog(k, s)
}

func TestLogFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	for range 2 {
		j, err := journalOf(t, Streams{}, "--log="+name, "--root-password=secret", "--user=ann/secret", "--user=bob",
			"--mirror=http://x:secret@m.example/", "--no-sparse")
		if err != nil {
			t.Fatal(err)
		}
		j.note("a note")
		fmt.Fprintln(j.file(), `{"level":"debug","msg":"output"}`)
		fmt.Fprint(j.file(), `{"level":"debug","msg":"with`) // as by a process that is killed
		j.close(errors.New("no luck"))
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	one := []logged{
		{"level": "info", "ts": "?", "msg": "start", "version": "?", "options": []any{"--log=" + name, "--root-password=(hidden)",
			"--user=ann/(hidden)", "--user=bob", "--mirror=http://x:xxxxx@m.example/", "--sparse=false"}},
		{"level": "warn", "ts": "?", "msg": "note", "note": "a note"},
		{"level": "debug", "msg": "output"},
		{"level": "warn", "msg": "cut off", "line": `{"level":"debug","msg":"with`},
		{"level": "error", "ts": "?", "msg": "failed", "error": "no luck"},
		{"level": "info", "ts": "?", "msg": "end", "status": 1.0, "time": "?"},
	}
	if diff := cmp.Diff(append(one, one...), readLog(t, string(text))); diff != "" {
		t.Error(diff)
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestLogLevel: what is less is left out, of both halves.
func TestLogLevel(t *testing.T) {
	for level, want := range map[string]string{
		"debug": "start note output stage failed end", "info": "start note stage failed end", "warning": "note failed",
		"error": "failed", "critical": "failed", "fatal": "failed",
	} {
		name := filepath.Join(t.TempDir(), "log")
		j, err := journalOf(t, Streams{}, "--log="+name, "--log-level="+level)
		if err != nil {
			t.Fatal(err)
		}
		j.note("a note")
		fmt.Fprintln(j.file(), `{"level":"debug","msg":"output"}`)
		fmt.Fprintln(j.file(), `{"level":"info","msg":"stage"}`)
		j.close(errors.New("no luck"))
		text, err := os.ReadFile(name)
		var messages []string
		for _, l := range readLog(t, string(text)) {
			messages = append(messages, l["msg"].(string))
		}
		if got := strings.Join(messages, " "); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", level, got, err, want)
		}
	}
}

func TestLogIsOptional(t *testing.T) {
	for _, args := range [][]string{nil, {"--log="}, {"--log=none"}} {
		j, err := journalOf(t, Streams{}, args...)
		if err != nil || j.file() != nil {
			t.Errorf("%q: %v, %v", args, j, err)
		}
		j.note("a note")
		j.close(nil)
	}
}

func TestLogMode(t *testing.T) {
	for mode, want := range map[string]os.FileMode{"0600": 0o600, "640": 0o640, "0666": 0o666, "0o604": 0o604} {
		name := filepath.Join(t.TempDir(), "log")
		j, err := journalOf(t, Streams{}, "--log="+name, "--log-mode="+mode)
		if err != nil {
			t.Fatal(err)
		}
		j.close(nil)
		if info, err := os.Stat(name); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", mode, info.Mode(), err)
		}
	}
}

// TestLogRotates counts bytes: a line of 10 and files of 25.
func TestLogRotates(t *testing.T) {
	for keep, want := range map[int]map[string]string{
		0: {"log": "9"},
		1: {"log": "9", "log.1": "78"},
		3: {"log": "9", "log.1": "78", "log.2": "56", "log.3": "34"},
		9: {"log": "9", "log.1": "78", "log.2": "56", "log.3": "34", "log.4": "12", "log.5": "0"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "log"), []byte("line: 0 of an older program\n"), 0o640); err != nil {
			t.Fatal(err)
		}
		l := &logFile{name: filepath.Join(dir, "log"), max: 25, keep: keep, mode: 0o600}
		if err := l.open(); err != nil {
			t.Fatal(err)
		}
		for n := 1; n < 10; n++ {
			if err := l.WriteLine(zap.InfoLevel, fmt.Appendf(nil, "line: %d  ", n)[:9]); err != nil {
				t.Error(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, e := range entries {
			text, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Error(err)
			}
			for line := range strings.Lines(string(text)) {
				got[e.Name()] += line[6:7]
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("keep %d:\n%s", keep, diff)
		}
		if info, err := os.Stat(filepath.Join(dir, "log")); err != nil || info.Mode() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
}

// TestLogIsNoDevice: what is no file is written to, and stays what it is.
func TestLogIsNoDevice(t *testing.T) {
	name := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(os.DevNull, name); err != nil {
		t.Fatal(err)
	}
	j, err := journalOf(t, Streams{}, "--log="+name, "--log-max=1")
	if err != nil {
		t.Fatal(err)
	}
	j.note("a note")
	j.close(nil)
	if to, err := os.Readlink(name); err != nil || to != os.DevNull {
		t.Errorf("%s, %v", to, err)
	}
}

// TestLogCannotRotate: the lines go on in the file there is, and the user hears of it.
func TestLogCannotRotate(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "log")
	if err := os.MkdirAll(name+".1/x", 0o700); err != nil { // no file can take the name
		t.Fatal(err)
	}
	var warnings strings.Builder
	j, err := journalOf(t, Streams{Err: &warnings}, "--log="+name, "--log-max=1", "--log-keep=1")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		j.note("a note")
	}
	j.close(nil)
	text, err := os.ReadFile(name)
	if n := len(readLog(t, string(text))); err != nil || n != 5 {
		t.Errorf("%d lines, %v", n, err)
	}
	want := "vmbuild: note: the log is not complete: rename " + name + " " + name + ".1: file exists\n"
	if warnings.String() != want {
		t.Errorf("%q, want %q", warnings.String(), want)
	}
}

// TestLogOfManyWriters has all lines of all, and each whole.
func TestLogOfManyWriters(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	j, err := journalOf(t, Streams{}, "--log="+name)
	if err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	long := strings.Repeat("x", 1<<17) // more than a pipe holds
	writers.Go(func() {
		for range 10 {
			fmt.Fprintf(j.file(), "{\"level\":\"debug\",\"msg\":%q}\n", long)
		}
	})
	for range 4 {
		writers.Go(func() {
			for range 10 {
				j.note(long)
			}
		})
	}
	writers.Wait()
	j.close(nil)
	text, err := os.ReadFile(name)
	if n := len(readLog(t, string(text))); err != nil || n != 52 {
		t.Errorf("%d lines, %v", n, err)
	}
}

// TestSyslog sends each level as its severity; the facility is user (1).
func TestSyslog(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "log")
	listener, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := listener.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	j, err := journalOf(t, Streams{syslog: socket}, "--log=syslog")
	if err != nil {
		t.Fatal(err)
	}
	j.note("a note")
	fmt.Fprintln(j.file(), `{"level":"debug","msg":"output"}`)
	j.close(errors.New("no luck"))
	var got []string
	for range 5 {
		packet := make([]byte, 1<<16)
		n, err := listener.Read(packet)
		if err != nil {
			t.Fatal(err)
		}
		header, text, _ := strings.Cut(string(packet[:n]), ": ")
		priority, rest, _ := strings.Cut(header, ">")
		tag := rest[strings.LastIndex(rest, " ")+1:]
		got = append(got, fmt.Sprint(priority, " ", strings.Split(tag, "[")[0], " ", readLog(t, strings.TrimSpace(text))[0]["msg"]))
	}
	want := []string{"<14 vmbuild start", "<12 vmbuild note", "<15 vmbuild output", "<11 vmbuild failed", "<14 vmbuild end"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNoSyslog(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "none")
	want := result{statusHost, "", "vmbuild: --log=syslog: this host has no system log to write to (dial unixgram " + socket +
		": connect: no such file or directory): name a file (--log=FILE)\n"}
	got := runOn(t, Streams{etc: "/nonexistent", syslog: socket}, "vmbuild", "--image=x.img", "--log=syslog")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestLogOfACommand has the reason why there was no build.
func TestLogOfACommand(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	if got := run(t, "--image=x.img", "--hostname=-", "--log="+name); got.Status != statusUsage {
		t.Errorf("%+v", got)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := readLog(t, string(text))
	want := []logged{
		{"level": "error", "ts": "?", "msg": "failed", "error": "--hostname=- is not a host name (letters, digits and hyphens)"},
		{"level": "info", "ts": "?", "msg": "end", "status": 2.0, "time": "?"},
	}
	if diff := cmp.Diff(want, lines[max(0, len(lines)-2):]); diff != "" {
		t.Error(diff)
	}
}

func TestWrongLogs(t *testing.T) {
	for line, want := range map[string]string{
		"--log-keep=-1":   "--log-keep=-1: there is no such number of files",
		"--log-mode=888":  `--log-mode: "888" is no mode in octal digits such as 0640`,
		"--log-mode=1777": `--log-mode: "1777" is no mode in octal digits such as 0640`,
		"--log-level=all": `--log-level must be one of "debug","info","warning","error","critical","fatal" but got "all"`,
		"--log=/":         "--log: open /: is a directory",
	} {
		if diff := cmp.Diff(refusal(want), run(t, "--image=x.img", line)); diff != "" {
			t.Error(diff)
		}
	}
}

// TestSecretsAreMarked: every option with a password in it is.
func TestSecretsAreMarked(t *testing.T) {
	for _, f := range model(t).DefaultCmd.Flags {
		words := strings.ToLower(f.Name + f.PlaceHolder)
		if strings.Contains(words, "password") && f.Tag.Negatable == "" && !f.Tag.Has("secret") {
			t.Errorf("--%s has no tag secret", f.Name)
		}
	}
}
