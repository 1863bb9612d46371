package system

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
)

// file is one that is to be written, mode 0644.
type file struct{ name, content string }

// write replaces what is there, whatever that is (a link is not followed).
func (f file) write(root *os.Root) error {
	err := makeWay(root, f.name)
	if err == nil {
		err = root.WriteFile(f.name, []byte(f.content), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write /%s: %w", f.name, err)
	}
	return nil
}

// link makes a symbolic link in place of what is there.
func link(root *os.Root, name, to string) error {
	if err := makeWay(root, name); err != nil {
		return err
	}
	return root.Symlink(to, name)
}

// makeWay makes the directory of a file and removes the file.
func makeWay(root *os.Root, name string) error {
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	return removeIfThere(root, name)
}

func removeIfThere(root *os.Root, name string) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func removeMatches(root *os.Root, pattern string) error {
	names, err := fs.Glob(root.FS(), pattern)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := removeIfThere(root, name); err != nil {
			return err
		}
	}
	return nil
}

// isThere says whether the tree has a file of that name, be it a link to nowhere.
func isThere(root *os.Root, name string) bool {
	_, err := root.Lstat(name)
	return err == nil
}

// content reads a file of the tree; empty if there is none.
func content(root *os.Root, name string) (string, error) {
	data, err := root.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return string(data), err
}
