package dpkg

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// diversions is the file /var/lib/dpkg/diversions: groups of three lines, the diverted path, where it goes instead, and
// the package whose own files at that path are not diverted (":" if none is).
type diversions struct {
	byPath map[string]diversion
	byGoal map[string]diversion
}

type diversion struct{ path, goal, owner string }

func parseDiversions(data []byte) (diversions, error) {
	d := diversions{map[string]diversion{}, map[string]diversion{}}
	if len(data) == 0 {
		return d, nil
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if len(lines)%3 != 0 {
		return d, fmt.Errorf("diversions: %d lines, not a multiple of 3", len(lines))
	}
	for ; len(lines) > 0; lines = lines[3:] {
		one := diversion{lines[0], lines[1], lines[2]}
		d.byPath[one.path], d.byGoal[one.goal] = one, one
	}
	return d, nil
}

// place returns where the path of a package really goes.
func (d diversions) place(name, owner string) string {
	if one, ok := d.byPath[name]; ok && one.owner != owner {
		return one.goal
	}
	return name
}

// override is an entry of /var/lib/dpkg/statoverride: owner, group and mode that a path has whatever its package says.
type override struct {
	uid, gid int
	mode     uint32
}

// parseOverrides reads lines of "user group mode path", where user and group are names or "#" and a number.
func parseOverrides(data []byte, users, groups map[string]int) (map[string]override, error) {
	overrides := map[string]override{}
	for line := range strings.Lines(string(data)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(fields) != 4 {
			return nil, fmt.Errorf("statoverride: line %q has not four fields", strings.TrimSpace(line))
		}
		uid, err1 := lookupID(users, fields[0])
		gid, err2 := lookupID(groups, fields[1])
		mode, err3 := strconv.ParseUint(fields[2], 8, 12)
		for _, err := range []error{err1, err2, err3} {
			if err != nil {
				return nil, fmt.Errorf("statoverride: %q: %w", fields[3], err)
			}
		}
		overrides[fields[3]] = override{uid, gid, uint32(mode)}
	}
	return overrides, nil
}

func lookupID(ids map[string]int, name string) (int, error) {
	if number, ok := strings.CutPrefix(name, "#"); ok {
		return strconv.Atoi(number)
	}
	id, ok := ids[name]
	if !ok {
		return 0, fmt.Errorf("no user or group %q", name)
	}
	return id, nil
}

// parseIDs reads passwd(5) or group(5): the number by name. Lines that are neither are passed over, as libc does.
func parseIDs(data []byte) map[string]int {
	ids := map[string]int{}
	for line := range bytes.Lines(data) {
		fields := strings.Split(string(line), ":")
		if len(fields) < 3 {
			continue
		}
		if id, err := strconv.Atoi(strings.TrimSpace(fields[2])); err == nil {
			ids[fields[0]] = id
		}
	}
	return ids
}
