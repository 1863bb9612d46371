package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOutput(t *testing.T) {
	name := filepath.Join(t.TempDir(), "out")
	line := []string{"--image=test.img", "--arch=amd64", "--mirror=http://m.example/debian", "--dry-run"}
	want := run(t, line...)
	got := run(t, append(line, "--output="+name)...)
	text, err := os.ReadFile(name)
	if diff := cmp.Diff(result{}, got); err != nil || diff != "" || string(text) != want.Err+want.Out || want.Out == "" {
		t.Errorf("%v, %q, want %q\n%s", err, text, want.Err+want.Out, diff)
	}
	s, err := outputOptions{name}.openOutput(Streams{Err: os.Stderr})
	if err != nil || s.Err != s.Out || s.Out.Name() != name { // notes and progress, too
		t.Errorf("%v, %v, %v", s.Out, s.Err, err)
	}
	got = run(t, "--image=test.img", "--hostname=-", "--output="+name)
	if diff := cmp.Diff(refusal("--hostname=- is not a host name (letters, digits and hyphens)"), got); diff != "" {
		t.Errorf("an error:\n%s", diff)
	}
	want = refusal("--output: open /nonexistent/x: no such file or directory")
	if diff := cmp.Diff(want, run(t, "--image=test.img", "--output=/nonexistent/x")); diff != "" {
		t.Error(diff)
	}
}

func TestAnswers(t *testing.T) {
	help, got := run(t, "build", "--help"), run(t, "build", "--help-all")
	if diff := cmp.Diff(help, got); diff != "" || got.Out == "" {
		t.Errorf("--help-all:\n%s", diff)
	}
	want := refusal("--generate-manpage is not supported: --help has what a manual page would say")
	if diff := cmp.Diff(want, run(t, "--generate-manpage=template")); diff != "" {
		t.Error(diff)
	}
}

// TestMemoryProfile of a command that ends at once: one at its start, one at its end.
func TestMemoryProfile(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	run(t, "--image=test.img", "--dry-run", "--dump-memory-profile=simple")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	want := []string{fmt.Sprintf("vmbuild-%d-outer-001.pprof", os.Getpid()), fmt.Sprintf("vmbuild-%d-outer-002.pprof", os.Getpid())}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for line, want := range map[string]string{
		"--dump-memory-profile=heapy":                            `--dump-memory-profile must be one of "none","simple" but got "heapy"`,
		"--dump-memory-profile=simple --memory-dump-interval=0":  "--memory-dump-interval=0: it takes a second at least",
		"--dump-memory-profile=simple --memory-dump-interval=-1": "--memory-dump-interval=-1: it takes a second at least",
	} {
		if diff := cmp.Diff(refusal(want), run(t, append([]string{"--image=x"}, strings.Fields(line)...)...)); diff != "" {
			t.Errorf("%s:\n%s", line, diff)
		}
	}
}
