package hooks

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"vmbuild/examples"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/namespace"
)

// texts are the library's: customise.lib, which shell scripts source, and need, a program for the lines of scriptlets that
// begin with this word.
//
//go:embed library
var texts embed.FS

// Scripts that were made for vmdebootstrap source the library from below shared.
const (
	shared  = "/usr/share"
	oldPath = "vmdebootstrap/common/customise.lib"
)

// library is what Path hooks find on the host while those of a stage run, wherever they look for it.
type library struct {
	base   string
	covers bool // shared is covered, in this mount namespace
}

// openLibrary writes the library into a directory of its own in work. Only in a build's own namespaces is it seen at its
// old path too, as nobody else must; if that does not work there, log is told.
func openLibrary(work string, log io.Writer) (*library, error) {
	base, err := os.MkdirTemp(work, "hooks-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the hooks' library: %w", err)
	}
	l := &library{base: base}
	if err := l.write(); err != nil {
		return nil, errors.Join(fmt.Errorf("write the hooks' library: %w", err), l.Close())
	}
	if !namespace.Inner() {
		return l, nil
	}
	// Nothing is made on a host that has no such directory, and nothing can be changed in one that has.
	err = chroot.Overlay([]string{filepath.Join(base, "share"), shared}, "", "", shared)
	if l.covers = err == nil; !l.covers && log != nil {
		fmt.Fprintf(log, "hooks find customise.lib in $VMBUILD_HOOKS, but not in %s: %v\n", filepath.Join(shared, oldPath), err)
	}
	return l, nil
}

// dir is what VMBUILD_HOOKS names.
func (l *library) dir() string { return filepath.Join(l.base, "library") }

func (l *library) write() error {
	for _, file := range []struct {
		text, path string
		mode       fs.FileMode
	}{
		{"library/customise.lib", "library/customise.lib", 0o644},
		{"library/need", "library/need", 0o755},
		{"library/customise.lib", filepath.Join("share", oldPath), 0o644},
	} {
		text, err := texts.ReadFile(file.text)
		if err == nil {
			err = l.writeFile(file.path, text, file.mode)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *library) writeFile(name string, text []byte, mode fs.FileMode) error {
	path := filepath.Join(l.base, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, text, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// example writes one of the examples and returns its path.
func (l *library) example(name string) (string, error) {
	text, found := examples.Script(name)
	if !found {
		return "", fmt.Errorf("there is no example %q", name)
	}
	path := filepath.Join("examples", name)
	if err := l.writeFile(path, text, 0o755); err != nil {
		return "", fmt.Errorf("write example %q: %w", name, err)
	}
	return filepath.Join(l.base, path), nil
}

// Close takes the library away.
func (l *library) Close() error {
	var err error
	if l.covers {
		if err = unix.Unmount(shared, unix.MNT_DETACH); err != nil {
			err = fmt.Errorf("unmount %s: %w", shared, err)
		}
	}
	return errors.Join(err, os.RemoveAll(l.base))
}

// Where the library's disable_daemons puts its policy-rc.d, and the one that was there; and how it marks its own.
const (
	policyPath  = "usr/sbin/policy-rc.d"
	policyAside = policyPath + ".customise"
	policyMark  = "# Written by disable_daemons of customise.lib."
)

// removePolicy undoes disable_daemons where a script has not done so.
func removePolicy(tree string) error {
	root, err := os.OpenRoot(tree)
	if err != nil {
		return err
	}
	defer root.Close()
	text, err := root.ReadFile(policyPath)
	if err != nil || !strings.Contains(string(text), policyMark) {
		return nil // none, or somebody else's, who may have linked it to anywhere
	}
	if err := root.Remove(policyPath); err != nil {
		return err
	}
	if err := root.Rename(policyAside, policyPath); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
