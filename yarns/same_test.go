package yarns

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/offers"
)

// yarnProgram finds yarn of Debian's package cmdtest; another program of that name has nothing to do with scenarios.
func yarnProgram(t *testing.T) string {
	t.Helper()
	offers.Need(t, "build")
	offers.Programs(t, "yarn")
	path, err := exec.LookPath("yarn")
	if err != nil {
		t.Fatal(err)
	}
	if out, _ := exec.Command(path, "--help").Output(); !strings.Contains(string(out), "--shell-library") {
		t.Fatalf("%s is not yarn of the package cmdtest, which is needed", path)
	}
	return path
}

// TestYarnAgrees has yarn itself run the fast scenarios.
func TestYarnAgrees(t *testing.T) {
	yarn := yarnProgram(t)
	args := []string{"--shell-library=yarns/steps.sh", "--env=VMBUILD=" + program(t)}
	for _, f := range files(t) {
		args = append(args, f.Name)
	}
	cmd := exec.Command(yarn, args...)
	cmd.Dir = top(t)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Scenario test suite PASS") {
		_, failed, _ := strings.Cut(string(out), "Failed scenarios:") // TestScenarios says why
		t.Errorf("yarn: %v\n%s", err, failed)
	}
}

// readByYarn prints what yarn's own parser makes of files.
const readByYarn = `
import json, sys, yarnlib
for name in sys.argv[1:]:
    text = yarnlib.MarkdownParser()
    text.parse_file(name)
    suite = yarnlib.BlockParser()
    suite.parse_blocks(text.blocks)
    print(json.dumps({
        'Scenarios': [{'Name': s.name, 'Steps': [{'Keyword': i.what, 'Text': i.text} for i in s.steps]} for s in suite.scenarios],
        'Implementations': [{'Keyword': i.what, 'Pattern': i.regexp, 'Shell': i.shell} for i in suite.implementations],
    }))
`

// TestYarnReadsTheSame compares what yarn's parser and this package's make of the scenarios and of TestParse's texts.
func TestYarnReadsTheSame(t *testing.T) {
	all := files(t)
	for _, c := range parseCases {
		name := filepath.Join(t.TempDir(), "case.yarn")
		if err := os.WriteFile(name, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		all = append(all, File{name, []byte(c.text)})
	}
	args := []string{"-c", readByYarn}
	for _, f := range all {
		args = append(args, f.Name)
	}
	cmd := exec.Command(interpreter(t, yarnProgram(t)), args...)
	cmd.Dir = top(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	answers := json.NewDecoder(strings.NewReader(string(out)))
	for _, f := range all {
		var theirs Suite
		if err := answers.Decode(&theirs); err != nil {
			t.Fatal(err)
		}
		ours, err := read(f)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(describe(&theirs), describe(ours)); diff != "" {
			t.Errorf("%s: yarn (-), this package (+):\n%s\n%s", f.Name, diff, f.Data)
		}
	}
}

// interpreter is the program that a script is run by: that Python has yarn's modules.
func interpreter(t *testing.T, script string) string {
	t.Helper()
	f, err := os.Open(script)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	first, err := bufio.NewReader(f).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(strings.TrimSpace(first), "#!")
}
