package hooks

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// FromScriptlets returns the scriptlets in a directory as customize hooks: its executable files, in the order of their
// names, except that each comes after those that it needs. Names that begin with a dot or end in "~" are left out.
//
// A scriptlet says what it needs in lines, "need NAME...", that begin with this word, or with "# " and this word where the
// scriptlet's language knows no such command; NAME is the name of another file, and a word that begins with "#" ends the
// line. For shells there is a command need, which does nothing.
func FromScriptlets(dir string) ([]Hook, error) {
	all, err := readScriptlets(dir)
	if err != nil {
		return nil, fmt.Errorf("read scriptlets of %s: %w", dir, err)
	}
	ordered, err := order(all)
	if err != nil {
		return nil, fmt.Errorf("order scriptlets of %s: %w", dir, err)
	}
	var list []Hook
	for _, name := range ordered {
		list = append(list, Hook{Stage: Customize, Path: filepath.Join(dir, name)})
	}
	return list, nil
}

// scriptlet is a file of a directory of scriptlets.
type scriptlet struct {
	name  string
	needs []need
}

// need is a word that a scriptlet has in a line that begins with "need".
type need struct {
	line int // from 1 on
	name string
}

// readScriptlets returns them in the order of their names.
func readScriptlets(dir string) ([]scriptlet, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []scriptlet
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		fi, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		ignored := strings.HasPrefix(e.Name(), ".") || strings.HasSuffix(e.Name(), "~")
		if ignored || !fi.Mode().IsRegular() || fi.Mode()&0o111 == 0 {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		all = append(all, scriptlet{e.Name(), parseNeeds(text)})
	}
	if len(all) == 0 {
		return nil, errors.New("there are none: they are executable files (chmod +x)")
	}
	return all, nil
}

// parseNeeds reads what a scriptlet needs. A program that is no text needs nothing.
func parseNeeds(text []byte) []need {
	if bytes.IndexByte(text, 0) >= 0 {
		return nil
	}
	var needs []need
	line := 0
	for text := range strings.Lines(string(text)) {
		line++
		words, declares := strings.CutPrefix(strings.TrimPrefix(text, "# "), "need")
		if !declares || strings.TrimLeft(words, " \t") == words {
			continue // it begins with another word
		}
		for _, name := range strings.Fields(words) {
			if strings.HasPrefix(name, "#") {
				break
			}
			needs = append(needs, need{line, name})
		}
	}
	return needs
}

// order returns the names of scriptlets, each after those it needs and otherwise as they come.
func order(all []scriptlet) ([]string, error) {
	o := ordering{all: all}
	for _, s := range all {
		if err := o.add(s); err != nil {
			return nil, err
		}
	}
	return o.done, nil
}

type ordering struct {
	all   []scriptlet
	done  []string
	chain []string // which is there for which to be done
}

func (o *ordering) add(s scriptlet) error {
	if slices.Contains(o.done, s.name) {
		return nil
	}
	if i := slices.Index(o.chain, s.name); i >= 0 {
		return fmt.Errorf("they need each other: %s", strings.Join(append(o.chain[i:], s.name), " -> "))
	}
	o.chain = append(o.chain, s.name)
	for _, n := range s.needs {
		i := slices.IndexFunc(o.all, func(other scriptlet) bool { return other.name == n.name })
		if i < 0 {
			return fmt.Errorf("%s:%d: need %s: the scriptlets are %s", s.name, n.line, n.name, strings.Join(o.names(), ", "))
		}
		if err := o.add(o.all[i]); err != nil {
			return err
		}
	}
	o.chain = o.chain[:len(o.chain)-1]
	o.done = append(o.done, s.name)
	return nil
}

func (o *ordering) names() []string {
	var names []string
	for _, s := range o.all {
		names = append(names, s.name)
	}
	return names
}
