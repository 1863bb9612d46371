package hooks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"vmbuild/examples"
	"vmbuild/hooks/transfer"
)

// String names the hook as the user wrote it.
func (h Hook) String() string {
	if h.Path != "" {
		return h.Path
	}
	return strconv.Quote(h.Command)
}

// work is what a hook comes down to: one of its fields is set.
type work struct {
	transfer *transfer.Command
	inside   string   // a command for the tree's shell
	program  []string // its path and the arguments before those that it gets of the build
	example  string   // name of a script in package examples
}

// Find returns the path of the program that a hook runs, empty for what needs none on the host, or an error that says
// what to do. All that can be known to be wrong with a hook before anything is built is found here.
func Find(h Hook) (string, error) {
	w, err := h.work()
	switch {
	case err != nil:
		return "", fmt.Errorf("find %s hook: %w", h.Stage, err)
	case w.program == nil:
		return "", nil
	}
	return w.program[0], nil
}

// work takes a command as mmdebstrap does (its function run_hooks), in the same order.
func (h Hook) work() (work, error) {
	switch {
	case h.Path != "":
		return findScript(h.Path)
	case strings.TrimSpace(h.Command) == "":
		return work{}, errors.New("the command is empty")
	case h.Chrooted && h.Stage == Setup:
		return work{}, fmt.Errorf("nothing can run in the tree yet: %q", h.Command)
	case h.Chrooted:
		return work{inside: h.Command}, nil
	case transfer.Is(h.Command):
		c, err := transfer.Parse(h.Command)
		return work{transfer: &c}, err
	case isProgram(h.Command):
		path, err := findProgram(h.Command)
		return work{program: []string{path}}, err
	default:
		path, err := findProgram("sh")
		return work{program: []string{path, "-c", h.Command, "exec"}}, err
	}
}

// isProgram says whether a command is the name of a program: there is such a file, or the shell would not see more in it
// than a word.
func isProgram(command string) bool {
	fi, err := os.Stat(command)
	if err == nil && !fi.IsDir() && fi.Mode()&0o111 != 0 {
		return true
	}
	return !strings.ContainsFunc(command, isShells)
}

// isShells says whether a character may mean something to a shell.
func isShells(r rune) bool {
	plain := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_@%+=:,./-", r)
	return !plain
}

// findProgram looks for a program where its name says, or in the hooks' PATH and then in the working directory.
func findProgram(name string) (string, error) {
	if strings.Contains(name, "/") {
		return findFile(name)
	}
	for _, dir := range filepath.SplitList(commandPath()) {
		if path := filepath.Join(dir, name); filepath.IsAbs(dir) {
			if found, err := exec.LookPath(path); err == nil {
				return found, nil
			}
		}
	}
	if _, err := os.Stat(name); err != nil {
		return "", fmt.Errorf("there is no program %q, neither in PATH nor in the working directory", name)
	}
	return findFile(name)
}

// findScript looks for a Path hook where its name says, and then among the examples.
func findScript(name string) (work, error) {
	path, err := findFile(name)
	if !errors.Is(err, fs.ErrNotExist) || strings.Contains(name, "/") {
		return work{program: []string{path}}, err
	}
	if _, found := examples.Script(name); !found {
		return work{}, fmt.Errorf("there is no script %q, neither in the working directory nor among the examples (%s)",
			name, strings.Join(examples.Names(), ", "))
	}
	return work{example: name}, nil
}

func findFile(name string) (string, error) {
	path, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return "", err
	case fi.IsDir():
		return "", fmt.Errorf("%s is a directory, not a program", name)
	case fi.Mode()&0o111 == 0:
		return "", fmt.Errorf("%s is not executable (chmod +x %s)", name, name)
	}
	return path, nil
}
