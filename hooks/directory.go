package hooks

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// FromDirectory returns the hooks in a directory: the executable files whose name begins with that of a stage, by stage
// and then by name. The warnings are on what looks like a hook and is none. Directories below are not looked into.
func FromDirectory(dir string) (list []Hook, warnings []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("read hook directory: %w", err)
	}
	for _, e := range entries {
		path := strings.TrimRight(dir, "/") + "/" + e.Name() // with a slash, so that PATH is not asked
		fi, err := os.Stat(path)
		if err != nil {
			warnings = append(warnings, fmt.Sprintf("%s is no hook: %v", path, err))
			continue
		}
		stage, named := stageOf(e.Name())
		executable := !fi.IsDir() && fi.Mode()&0o111 != 0
		switch {
		case named && executable:
			list = append(list, Hook{Stage: stage, Command: path})
		case named && fi.IsDir():
			warnings = append(warnings, path+" is named like a hook but is a directory")
		case named:
			warnings = append(warnings, path+" is named like a hook but is not executable")
		case executable:
			warnings = append(warnings, path+" is executable but its name does not begin with that of a stage")
		}
	}
	if len(list) == 0 {
		warnings = append(warnings, "there are no hooks in "+dir)
	}
	stages := Stages()
	slices.SortStableFunc(list, func(a, b Hook) int {
		return slices.Index(stages, a.Stage) - slices.Index(stages, b.Stage)
	})
	return list, warnings, nil
}

func stageOf(name string) (Stage, bool) {
	for _, s := range Stages() {
		if strings.HasPrefix(name, string(s)) {
			return s, true
		}
	}
	return "", false
}
