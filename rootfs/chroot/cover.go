package chroot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// cover is a file of ours that stands in for one of the tree as long as the root is entered. The tree's own is renamed
// aside. What programs do to the path meanwhile wins: if one replaces, changes or removes the file that it finds there,
// that is what stays.
//
// That last point is why it is no bind mount. A mount point cannot be renamed over or removed (EBUSY): dpkg could not
// unpack a new version of itself over start-stop-daemon, systemd-resolved and resolvconf could not make a link of
// /etc/resolv.conf, and what a hook writes into that file would be lost or, worse, be written into the host's. A
// dpkg-divert, mmdebstrap's way, needs a dpkg that runs already, and leaves its traces in dpkg's database.
//
// The price: while the root is entered, dpkg --verify reports start-stop-daemon as changed, and a tree whose build was
// killed keeps our files. Such a tree is thrown away.
type cover struct {
	dir    *os.Root // the directory, wherever its path leads later
	name   string
	text   string
	mode   fs.FileMode
	always bool // also where the tree has no such file

	ours          fs.FileInfo // what lay has put there; nil: nothing
	aside         bool        // the tree's file is at asideName
	before, after time.Time   // modification times of dir
}

func (c *cover) asideName() string { return "." + c.name + ".vmbuild" }

// lay puts our file in place. When it has been called before, and a program has changed the file since, that is the
// tree's file from then on, and is covered in its turn.
func (c *cover) lay() error {
	there, err := c.dir.Lstat(c.name)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return err
	}
	if !missing && c.isOurs(there) || missing && !c.always {
		return nil
	}
	dir, err := c.dir.Stat(".")
	if err != nil {
		return err
	}
	c.before = dir.ModTime()
	if !missing {
		err = c.dir.Rename(c.name, c.asideName())
	} else if c.aside {
		err = c.dir.Remove(c.asideName())
	}
	if err != nil {
		return err
	}
	c.aside = !missing
	if err := c.write(); err != nil {
		return err
	}
	if c.ours, err = c.dir.Lstat(c.name); err != nil {
		return err
	}
	dir, err = c.dir.Stat(".")
	if err == nil {
		c.after = dir.ModTime()
	}
	return err
}

func (c *cover) write() error {
	f, err := c.dir.OpenFile(c.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, c.mode)
	if err != nil {
		return err
	}
	_, err = f.WriteString(c.text)
	return errors.Join(err, f.Chmod(c.mode), f.Close())
}

func (c *cover) isOurs(there fs.FileInfo) bool {
	return c.ours != nil && os.SameFile(there, c.ours) &&
		there.Size() == c.ours.Size() && there.ModTime().Equal(c.ours.ModTime())
}

// lift takes our file away and puts the tree's back. The directory gets its time back if nobody else has changed it.
func (c *cover) lift() error {
	defer c.dir.Close()
	if c.ours == nil {
		return nil
	}
	dir, err := c.dir.Stat(".")
	if err != nil {
		return err
	}
	there, err := c.dir.Lstat(c.name)
	ours := err == nil && c.isOurs(there)
	switch {
	case ours && c.aside:
		err = c.dir.Rename(c.asideName(), c.name)
	case ours:
		err = c.dir.Remove(c.name)
	case c.aside:
		err = c.dir.Remove(c.asideName())
	default:
		err = nil
	}
	if err == nil && dir.ModTime().Equal(c.after) {
		err = c.dir.Chtimes(".", time.Time{}, c.before)
	}
	return err
}

const policyRC = `#!/bin/sh
# No daemon is started while an image is built (invoke-rc.d's interface, section 2: 101, action forbidden).
exit 101
`

const startStopDaemon = `#!/bin/sh
echo "start-stop-daemon: nothing is started or stopped while an image is built" >&2
exit 0
`

// addCovers covers what the options want covered, where the tree has the directory for it.
func (r *Root) addCovers() error {
	if r.options.Network {
		text, err := os.ReadFile("/etc/resolv.conf")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		resolver := cover{text: string(text), mode: 0o644, always: true}
		if err := r.addCover("/etc/resolv.conf", resolver); err != nil {
			return err
		}
	}
	return r.blockDaemons()
}

// blockDaemons covers the two ways by which packages start daemons. It is called before each program, as dpkg brings
// start-stop-daemon, and a new version of it when it is upgraded. In releases before trixie that is in /sbin, which
// need not be /usr/sbin.
func (r *Root) blockDaemons() error {
	if !r.options.BlockDaemons {
		return nil
	}
	if !r.without("policy-rc.d") {
		if err := r.addCover("/usr/sbin/policy-rc.d", cover{text: policyRC, mode: 0o755, always: true}); err != nil {
			return err
		}
	}
	if r.without("start-stop-daemon") {
		return nil
	}
	for _, path := range []string{"/sbin/start-stop-daemon", "/usr/sbin/start-stop-daemon"} {
		if err := r.addCover(path, cover{text: startStopDaemon, mode: 0o755}); err != nil {
			return err
		}
	}
	return nil
}

// addCover covers a path, or sees to it that it is still covered.
func (r *Root) addCover(path string, c cover) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	dir, err := r.openIn(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	added, err := r.findCover(dir, filepath.Base(path))
	if err == nil && added == nil {
		c.name = filepath.Base(path)
		if c.dir, err = os.OpenRoot(procPath(dir)); err == nil {
			added = &c
			r.covers = append(r.covers, added)
		}
	}
	if err == nil {
		err = added.lay()
	}
	if err != nil {
		return fmt.Errorf("put our own %s in place: %w", path, err)
	}
	return nil
}

// findCover returns the cover of a name in a directory, nil if there is none.
func (r *Root) findCover(dir *os.File, name string) (*cover, error) {
	want, err := dir.Stat()
	if err != nil {
		return nil, err
	}
	for _, c := range r.covers {
		if have, err := c.dir.Stat("."); err == nil && c.name == name && os.SameFile(have, want) {
			return c, nil
		}
	}
	return nil, nil
}
