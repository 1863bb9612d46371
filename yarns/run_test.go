package yarns

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// implementations are what the scenarios of TestRun are made of.
const implementations = `
    IMPLEMENTS ASSUMING (true|false)
    $MATCH_1

    IMPLEMENTS GIVEN (\S+)
    note $MATCH_1

    IMPLEMENTS WHEN it prints (\S+) and exits with (\d+)
    echo "$MATCH_1"
    (exit $MATCH_2)
    note $MATCH_1

    IMPLEMENTS THEN (\S+)
    note $MATCH_1

    IMPLEMENTS FINALLY (\S+)
    note $MATCH_1
`

// all uses each implementation, so that none is an error.
const all = "    SCENARIO all\n    ASSUMING true\n    GIVEN a\n    WHEN it prints a and exits with 0\n    THEN a\n    FINALLY a\n"

// TestRun has the order of steps, and what becomes of those that fail.
func TestRun(t *testing.T) {
	for _, c := range []struct {
		name, steps string
		noted       string
		err         string
	}{
		{name: "in order", steps: "THEN one\nFINALLY last\nASSUMING true\nGIVEN two", noted: "one\ntwo\nlast\n", err: "<nil>"},
		{name: "skipped", steps: "GIVEN one\nASSUMING false\nTHEN two\nFINALLY last", err: `"ASSUMING false" does not hold`},
		{name: "failed", steps: "GIVEN one\nWHEN it prints this and exits with 3\nTHEN two\nFINALLY last", noted: "one\nlast\n", // and not what the step would do next
			err: "a.yarn:4: \"WHEN it prints this and exits with 3\": exit status 3\n" +
				"standard output:\n    this\nstandard error:\n    + echo this\n    + exit 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := "    SCENARIO s\n    GIVEN start\n    " + strings.ReplaceAll(c.steps, "\n", "\n    ") + "\n\n" + all + "\nprose\n" + implementations
			suite, err := Parse(File{"a.yarn", []byte(text)})
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			r := Runner{Library: "note() { echo \"$1\" >>\"$DATADIR/noted\"; }\n", Source: t.TempDir()}
			err = r.Run(t.Context(), suite.Scenarios[0], dir)
			if diff := cmp.Diff(c.err, fmt.Sprint(err)); diff != "" {
				t.Error(diff)
			}
			noted, _ := os.ReadFile(filepath.Join(dir, "noted"))
			if diff := cmp.Diff(c.noted, strings.TrimPrefix(string(noted), "start\n")); diff != "" {
				t.Errorf("run:\n%s", diff)
			}
		})
	}
}

// TestEnvironment has everything that a step finds in its environment, and where it starts.
func TestEnvironment(t *testing.T) {
	suite, err := Parse(File{"a.yarn", []byte("    SCENARIO s\n    THEN a b\n\nprose\n\n    IMPLEMENTS THEN (\\S+) (\\S+)(c)?\n" +
		"    env | sort | grep -v ^_= >\"$DATADIR/noted\"\n")}) // _ is the shell's own
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("SECRET", "not for steps")
	dir, source := t.TempDir(), t.TempDir()
	r := Runner{Env: []string{"TESTS=build", "LC_ALL=C.UTF-8", "HOME=/nowhere"}, Source: source}
	if err := r.Run(t.Context(), suite.Scenarios[0], dir); err != nil {
		t.Fatal(err)
	}
	noted, err := os.ReadFile(filepath.Join(dir, "noted"))
	if err != nil {
		t.Fatal(err)
	}
	got := strings.NewReplacer(dir, "DIR", source, "SOURCE", os.Getenv("PATH"), "PATH").Replace(string(noted))
	want := "DATADIR=DIR\nHOME=DIR/HOME\nLC_ALL=C.UTF-8\nLOGNAME=tomjon\nMATCH_1=a\nMATCH_2=b\nMATCH_3=\nPATH=PATH\nPWD=SOURCE\n" +
		"SHELL=/bin/sh\nSRCDIR=SOURCE\nTERM=dumb\nTESTS=build\nUSER=tomjon\nUSERNAME=tomjon\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
