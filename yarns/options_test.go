package yarns

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOptionsAreShown: each option that vmbuild build lists in its help has a row in OPTIONS.md, and the other way round;
// the scenarios that the rows name exist, and those of options have the option in one of their steps.
func TestOptionsAreShown(t *testing.T) {
	help, err := exec.Command(program(t), "build", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile("OPTIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	steps := map[string]string{} // by the scenario's name
	for _, s := range parseAll(t).Scenarios {
		for _, step := range s.Steps {
			steps[s.Name] += step.Text + "\n"
		}
	}
	var listed []string
	for _, row := range tableRow.FindAllStringSubmatch(string(table), -1) {
		name, scenario := row[1], row[2]
		option, isOption := strings.CutPrefix(name, "--")
		if isOption {
			listed = append(listed, option)
		}
		text, found := steps[scenario]
		switch {
		case !found:
			t.Errorf("%s: there is no scenario %q", name, scenario)
		case isOption && !hasOption(text, option), !isOption && !strings.Contains(text, name):
			t.Errorf("%s: scenario %q does not use it", name, scenario)
		}
	}
	slices.Sort(listed)
	if diff := cmp.Diff(helpOptions(string(help)), listed); diff != "" {
		t.Errorf("options of the help (-), options of the table (+):\n%s", diff)
	}
}

// tableRow is a row of a table of OPTIONS.md: name, meaning, scenario.
var tableRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|[^|]+\\| ([^|]+) \\|$")

// helpOption is the beginning of an option's entry in the help, which has one with an opposite as --[no-]NAME. Words that
// are further to the right explain another option.
var helpOption = regexp.MustCompile(`(?m)^  (?:-\w, |    )?--(?:\[no-\])?([a-z0-9-]+)`)

func helpOptions(help string) []string {
	var names []string
	for _, m := range helpOption.FindAllStringSubmatch(help, -1) {
		names = append(names, m[1])
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// hasOption says whether a text has an option or its opposite.
func hasOption(text, name string) bool {
	return regexp.MustCompile(`--(no-)?` + name + `\b`).MatchString(text)
}

func TestHelpOptions(t *testing.T) {
	help := "Usage: x\n\nFlags:\n  -h, --help       Help, as --usage.\n      --version    Version.\n  --[no-]grub    GRUB\n" +
		"                 --extlinux, instead.\n  --dry-run      Plan.\n"
	if diff := cmp.Diff([]string{"dry-run", "grub", "help", "version"}, helpOptions(help)); diff != "" {
		t.Error(diff)
	}
}
