package yarns

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	_ "vmbuild/cmd/vmbuild/cli" // so that go test knows that its cached result depends on the program

	"vmbuild/rootfs/offers"
)

// TestScenarios runs the scenarios of this directory as yarn would: those of plans always, real builds where the machine
// has what they need. MIRROR is passed on.
func TestScenarios(t *testing.T) {
	suite := parseAll(t)
	r := Runner{Library: library(t), Env: variables(t), Source: top(t)}
	for _, s := range suite.Scenarios {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			dir := dataDir(t)
			err := r.Run(t.Context(), s, dir)
			var skipped *SkippedError
			switch {
			case errors.As(err, &skipped):
				t.Skipf("%v (VMBUILD_TEST=net,build has real builds run)", err)
			case err != nil:
				t.Error(err)
			}
		})
	}
}

// dataDir makes a directory on a disk: the temporary directory is memory on some hosts, which images would fill.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "vmbuild-yarn-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// parseAll parses all scenarios.
func parseAll(t testing.TB) *Suite {
	t.Helper()
	suite, err := Parse(files(t)...)
	if err != nil {
		t.Fatal(err)
	}
	return suite
}

// files are those with scenarios, in the order in which a shell lists them.
func files(t testing.TB) []File {
	t.Helper()
	names, err := filepath.Glob("*.yarn")
	if err != nil {
		t.Fatal(err)
	}
	var all []File
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, File{"yarns/" + name, data})
	}
	return all
}

func library(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile("steps.sh")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// top is the directory of the project.
func top(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// variables are what yarn would be told by --env.
func variables(t testing.TB) []string {
	t.Helper()
	env := []string{"VMBUILD=" + program(t), "VMBUILD_CACHE=" + cacheDir(t)}
	if offers.Has("net") && offers.Has("build") {
		env = append(env, "TESTS=build")
	}
	if mirror := os.Getenv("MIRROR"); mirror != "" {
		env = append(env, "MIRROR="+mirror)
	}
	return env
}

// cacheDir is the cache that all tests of real builds share, if they are run by the same user.
func cacheDir(t testing.TB) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "vmbuild-test")
}

// binary is vmbuild, built once for all tests.
var binary struct {
	once sync.Once
	dir  string
	err  error
}

func program(t testing.TB) string {
	t.Helper()
	b := &binary
	b.once.Do(func() {
		if b.dir, b.err = os.MkdirTemp("", "vmbuild-yarns-"); b.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(b.dir, "vmbuild"), "vmbuild/cmd/vmbuild")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		var out []byte
		if out, b.err = cmd.CombinedOutput(); b.err != nil {
			b.err = errors.New(strings.TrimSpace(string(out)))
		}
	})
	if b.err != nil {
		t.Fatalf("build vmbuild: %v", b.err)
	}
	return filepath.Join(b.dir, "vmbuild")
}

func TestMain(m *testing.M) {
	status := m.Run()
	if binary.dir != "" {
		os.RemoveAll(binary.dir)
	}
	os.Exit(status)
}
