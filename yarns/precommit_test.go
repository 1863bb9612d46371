package yarns

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vmbuild/rootfs/offers"
)

// TestPreCommit commits in a repository of its own, which has the project's files and its hook: a commit whose files are
// not formatted and one that breaks a scenario are refused, one that is good goes through although the files that are
// not staged are broken.
func TestPreCommit(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "git")
	repo := newRepository(t)
	repo.mustRun(t, "git", "commit", "--quiet", "--no-verify", "-m", "as it is")
	repo.mustRun(t, "make", "hooks")

	repo.write(t, "yarns/run.go", strings.Replace(repo.read(t, "yarns/run.go"), "\t", "  ", 1))
	repo.mustRun(t, "git", "add", ".")
	repo.refuses(t, "not formatted by gofmt:\nyarns/run.go")

	repo.mustRun(t, "git", "reset", "--quiet", "--hard")
	words := `AND the error says "too small"`
	repo.write(t, "yarns/refusals.yarn", strings.Replace(repo.read(t, "yarns/refusals.yarn"), words, `AND the error says "too large"`, 1))
	repo.mustRun(t, "git", "add", ".")
	repo.refuses(t, "TestScenarios/a_disk_that_is_too_small_for_any_system_is_refused")

	repo.mustRun(t, "git", "reset", "--quiet", "--hard")
	repo.write(t, "NEWS", "a file\n")
	repo.mustRun(t, "git", "add", "NEWS")
	repo.write(t, "yarns/run.go", "broken")
	repo.mustRun(t, "git", "commit", "--quiet", "-m", "good")
}

// repository is a git repository with the project's files.
type repository struct {
	dir string
	env []string
}

func newRepository(t *testing.T) repository {
	t.Helper()
	r := repository{dir: t.TempDir()}
	for _, variable := range os.Environ() { // go test may be run by a hook itself
		if !strings.HasPrefix(variable, "GIT_") {
			r.env = append(r.env, variable)
		}
	}
	for name, value := range map[string]string{"NAME": "Ann", "EMAIL": "ann@example.org"} {
		r.env = append(r.env, "GIT_AUTHOR_"+name+"="+value, "GIT_COMMITTER_"+name+"="+value)
	}
	r.env = append(r.env, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	r.mustRun(t, "git", "init", "--quiet")
	r.mustRun(t, "git", "-C", top(t), "--git-dir="+filepath.Join(r.dir, ".git"), "--work-tree=.", "add", "--all")
	r.mustRun(t, "git", "checkout-index", "--all")
	return r
}

func (r repository) run(args ...string) (string, error) {
	var out bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = r.dir, r.env
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func (r repository) mustRun(t *testing.T, args ...string) string {
	t.Helper()
	out, err := r.run(args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// refuses commits what is staged, which has to fail with a text that says why, and to leave no commit.
func (r repository) refuses(t *testing.T, why string) {
	t.Helper()
	before := r.mustRun(t, "git", "rev-parse", "HEAD")
	out, err := r.run("git", "commit", "-m", "broken")
	if err == nil || !strings.Contains(out, why) {
		t.Errorf("the commit is not refused by %q: %v\n%s", why, err, out)
	}
	if after := r.mustRun(t, "git", "rev-parse", "HEAD"); after != before {
		t.Errorf("there is a commit %s", after)
	}
}

func (r repository) read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (r repository) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
