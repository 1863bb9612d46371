package rootfs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/internal/dpkg"
)

// aPython is a system in which packages with modules of Python are unpacked.
func aPython() map[string]string {
	const call = "#!/bin/sh\nset -e\nif command -v py3compile >/dev/null 2>&1; then\n\tpy3compile %s\nfi\n"
	files := map[string]string{"run/": ""}
	var status string
	for _, p := range []struct{ name, state, file, args string }{
		{"python3-a", "unpacked", "python3-a", "-p python3-a "},
		{"python3-b", "unpacked", "python3-b:amd64", "-p python3-b:amd64 "},
		{"python3-done", "installed", "python3-done", "-p python3-done "},
		{"orca", "unpacked", "orca", "-p orca /usr/share/orca"},
		{"odd", "unpacked", "odd", "-p another"},
		{"more", "unpacked", "more", "-p more || true"},
		{"none", "unpacked", "", ""},
	} {
		multi := ""
		if strings.Contains(p.file, ":") {
			multi = "Multi-Arch: same\n"
		}
		status += fmt.Sprintf("Package: %s\nStatus: install ok %s\nArchitecture: amd64\n%sVersion: 1\n\n", p.name, p.state, multi)
		if p.file != "" {
			files["var/lib/dpkg/info/"+p.file+".postinst"] = fmt.Sprintf(call, p.args)
		}
	}
	files["var/lib/dpkg/status"] = status
	return files
}

func TestCompileCalls(t *testing.T) {
	scripts, err := dpkg.Postinsts(planted(t, aPython()))
	if diff := cmp.Diff([]string{"-p python3-a", "-p python3-b:amd64"}, compileCalls(scripts)); diff != "" || err != nil {
		t.Errorf("(-want +got):\n%s%v", diff, err)
	}
}

// TestCompiled asks the program of ours for the modules of packages, at different times.
func TestCompiled(t *testing.T) {
	for name, c := range map[string]struct {
		ends  []error    // of the compiler that is run beside the scripts, package by package
		first [][]string // is asked while the first package is compiled
		then  [][]string // is asked when that is over for both
		ours  int        // packages that are compiled beside the scripts
		want  []string   // what the scripts have compiled themselves
	}{
		"made":            {[]error{nil, nil}, nil, [][]string{{"-p", "python3-a"}, {"-p", "python3-b:amd64"}}, 2, nil},
		"once":            {[]error{nil, nil}, nil, [][]string{{"-p", "python3-a"}, {"-p", "python3-a"}}, 2, []string{"-p python3-a"}},
		"not begun":       {[]error{nil}, [][]string{{"-p", "python3-b:amd64"}}, [][]string{{"-p", "python3-a"}}, 1, []string{"-p python3-b:amd64"}},
		"failed":          {[]error{errors.New("no"), nil}, nil, [][]string{{"-p", "python3-a"}}, 2, []string{"-p python3-a"}},
		"another package": {[]error{nil, nil}, [][]string{{"-p", "more"}}, nil, 2, []string{"-p more"}},
		"directories":     {[]error{nil, nil}, [][]string{{"-p", "orca", "/usr/share/orca"}}, nil, 2, []string{"-p orca /usr/share/orca"}},
	} {
		t.Run(name, func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
			root := planted(t, aPython())
			system := &gate{end: make(chan error)}
			f := &foresight{programs: programs{root: root, target: system}}
			if err := f.begin(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(root, programsDir)
			program, log := filepath.Join(dir, "py3compile"), filepath.Join(root, "log")
			for path, text := range map[string]string{
				program:          fmt.Sprintf(compiled, root+"/theirs"),
				root + "/theirs": "#!/bin/sh\necho \"$*\" >>" + log + "\n",
			} {
				if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			waitFor(t, filepath.Join(dir, "py3compile -p python3-a.begun"))
			ask := func(calls [][]string) {
				for _, call := range calls {
					if err := exec.Command(program, call...).Run(); err != nil {
						t.Error(err)
					}
				}
			}
			ask(c.first)
			waiting := make(chan error, 1)
			if c.first == nil && c.want == nil { // who asks for what is being compiled gets it when it is
				go func() { waiting <- exec.Command(program, "-p", "python3-a").Run() }()
				select {
				case err := <-waiting:
					t.Errorf("it did not wait: %v", err)
				case <-time.After(50 * time.Millisecond):
				}
				c.then = c.then[1:]
			} else {
				close(waiting)
			}
			for _, err := range c.ends {
				system.end <- err
			}
			if err := <-waiting; err != nil {
				t.Error(err)
			}
			f.work.Wait()
			ask(c.then)
			if err := f.end(t.Context()); err != nil {
				t.Error(err)
			}
			data, _ := os.ReadFile(log)
			if diff := cmp.Diff(strings.Join(c.want, "\n"), strings.TrimSpace(string(data))); diff != "" {
				t.Errorf("compiled by scripts (-want +got):\n%s", diff)
			}
			ours := []string{
				"PYTHONDONTWRITEBYTECODE=1 /usr/bin/py3compile -p python3-a", "PYTHONDONTWRITEBYTECODE=1 /usr/bin/py3compile -p python3-b:amd64",
			}
			if diff := cmp.Diff(ours[:c.ours], slices.Clip(system.log)); diff != "" {
				t.Errorf("compiled beside them (-want +got):\n%s", diff)
			}
		})
	}
}

// waitFor waits until there is a file.
func waitFor(t *testing.T, path string) {
	t.Helper()
	for range 1000 {
		if _, err := os.Stat(path); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s does not come", path)
}
