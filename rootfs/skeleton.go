package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vmbuild/rootfs/internal/dpkg"
	"vmbuild/rootfs/tree"
)

// makeSkeleton makes what has to be there before the first package is unpacked, as mmdebstrap does: directories that
// apt and dpkg expect, the apt sources, an fstab to be filled in.
func makeSkeleton(root string, l *Lock) error {
	if err := makeDirectories(root, l); err != nil {
		return fmt.Errorf("make skeleton: %w", err)
	}
	if l.MergeUsr {
		if err := mergeUsr(root, l.Arch); err != nil {
			return fmt.Errorf("make skeleton: %w", err)
		}
	}
	files := l.Files
	if len(files) == 0 {
		files = []File{{"etc/apt/sources.list", sourcesList(l.Sources)}}
	}
	for _, f := range append(files[:len(files):len(files)], File{"etc/fstab", "# UNCONFIGURED FSTAB FOR BASE SYSTEM\n"}) {
		if err := os.WriteFile(filepath.Join(root, f.Path), []byte(f.Content), 0o644); err != nil {
			return fmt.Errorf("make skeleton: %w", err)
		}
	}
	return nil
}

func makeDirectories(root string, l *Lock) error {
	dirs := []string{
		"etc/apt/apt.conf.d", "etc/apt/sources.list.d", "etc/apt/preferences.d",
		"var/cache/apt/archives/partial", "var/lib/apt/lists/partial", "var/log/apt",
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	tmp := filepath.Join(root, "tmp")
	if err := errors.Join(os.Mkdir(tmp, 0o755), os.Chmod(tmp, 0o777|os.ModeSticky)); err != nil {
		return err
	}
	return dpkg.Skeleton(root, append([]string{l.Arch}, l.Foreign...)...)
}

// mergeUsr makes the directories of / that are links into /usr (https://wiki.debian.org/UsrMerge), with the one that
// the architecture's dynamic linker needs.
func mergeUsr(root, arch string) error {
	names := []string{"bin", "lib", "sbin"}
	switch arch {
	case "amd64":
		names = append(names, "lib32", "lib64", "libx32")
	case "i386", "s390x":
		names = append(names, "lib64", "libx32")
	case "mips64el", "loong64", "ppc64el":
		names = append(names, "lib64")
	}
	for _, name := range names {
		if err := os.MkdirAll(filepath.Join(root, "usr", name), 0o755); err != nil {
			return err
		}
		if err := os.Symlink("usr/"+name, filepath.Join(root, name)); err != nil {
			return err
		}
	}
	return nil
}

func sourcesList(sources []Source) string {
	var b strings.Builder
	for _, s := range sources {
		fmt.Fprintf(&b, "deb %s %s %s\n", s.URI, s.Suite, strings.Join(s.Components, " "))
	}
	return b.String()
}

// noteApt leaves apt's directories as they are after its first run: locks, places for unfinished downloads that belong to
// the user that downloads, and what nobody has asked for.
func noteApt(root string, l *Lock) error {
	if err := noteAptInside(root, l); err != nil {
		return fmt.Errorf("note apt's state: %w", err)
	}
	return nil
}

func noteAptInside(root string, l *Lock) error {
	state, err := openInside(root, "var/lib/apt")
	if err != nil || state == nil {
		return err
	}
	defer state.Close()
	if err := state.WriteFile("extended_states", []byte(extendedStates(l)), 0o644); err != nil {
		return err
	}
	user, err := userID(root, "_apt")
	if err != nil {
		return err
	}
	for _, name := range []string{"var/lib/apt/lists", "var/cache/apt/archives"} {
		dir, err := openInside(root, name)
		if err != nil {
			return err
		}
		if dir == nil {
			continue
		}
		err = errors.Join(dir.WriteFile("lock", nil, 0o640), dir.Chmod("partial", 0o700), dir.Lchown("partial", user, 0), dir.Close())
		if err != nil {
			return err
		}
	}
	return nil
}

// userID returns a user of the tree, root if it has none of that name (passwd(5)).
func userID(root, name string) (int, error) {
	etc, err := openInside(root, "etc")
	if err != nil || etc == nil {
		return 0, err
	}
	defer etc.Close()
	data, err := etc.ReadFile("passwd")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Split(line, ":"); len(f) > 3 && f[0] == name {
			return strconv.Atoi(f[2])
		}
	}
	return 0, nil
}

// extendedStates is what apt notes of packages that nobody asked for, so that it may remove them when they are no
// longer needed (apt-mark(8)).
func extendedStates(l *Lock) string {
	var b strings.Builder
	for _, p := range l.Packages {
		if p.Auto {
			arch := p.Arch
			if arch == "all" {
				arch = l.Arch
			}
			fmt.Fprintf(&b, "Package: %s\nArchitecture: %s\nAuto-Installed: 1\n\n", p.Name, arch)
		}
	}
	return b.String()
}

// refuse is what differs between two builds of the same packages or tells of the build: mmdebstrap's list, with the step
// that removes it. The last element is a pattern for names in the directory before it.
var refuse = []struct{ pattern, step string }{
	{"run/*", skipRun},
	{"tmp/*", skipTmp},
	{"var/tmp/*", skipTmp},
	{"var/log/dpkg.log", skipReproducible},
	{"var/log/apt/history.log", skipReproducible},
	{"var/log/apt/term.log", skipReproducible},
	{"var/log/alternatives.log", skipReproducible},
	{"var/log/bootstrap.log", skipReproducible},
	{"var/cache/ldconfig/aux-cache", skipReproducible},
	{"var/log/apt/eipp.log.xz", skipReproducible},
	{"var/lib/dbus/machine-id", skipReproducible},
	{"var/lib/apt/lists/auxfiles", SkipLists},
	{"var/lib/apt/lists/*_*", SkipLists},
	{"var/lib/apt/lists/partial/*", SkipLists},
	{"var/cache/apt/pkgcache.bin", skipAptCache},
	{"var/cache/apt/srcpkgcache.bin", skipAptCache},
	{"var/cache/apt/archives/*.deb", skipAptCache},
	{"var/cache/apt/archives/partial/*", skipAptCache},
}

// emptied are the directories that refuse empties.
var emptied = []string{"run", "tmp", "var/tmp"}

// kept is what a pattern of refuse does not mean.
const kept = "run/lock"

// cleanUp removes from a tree what belongs to its making and not to the system, but for the steps that are left out.
func cleanUp(root string, skip []string) error {
	for _, r := range refuse {
		if Skips(skip, r.step) {
			continue
		}
		if err := removeMatches(root, r.pattern); err != nil {
			return fmt.Errorf("clean up the tree: %w", err)
		}
	}
	if Skips(skip, skipMachineID) {
		return nil
	}
	if err := resetMachineID(root); err != nil {
		return fmt.Errorf("reset the machine id: %w", err)
	}
	return nil
}

func removeMatches(root, pattern string) error {
	dir, err := openInside(root, path.Dir(pattern))
	if dir == nil {
		return err
	}
	defer dir.Close()
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(path.Dir(pattern), e.Name())
		match, err := path.Match(pattern, name)
		if match && name != kept {
			err = dir.RemoveAll(e.Name())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// resetMachineID empties the file: the system gets its identity when it is first started (machine-id(5)).
func resetMachineID(root string) error {
	const name = "machine-id"
	etc, err := openInside(root, "etc")
	if etc == nil {
		return err
	}
	defer etc.Close()
	info, err := etc.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0:
		return nil
	case err != nil:
		return err
	}
	return errors.Join(etc.Remove(name), etc.WriteFile(name, nil, 0o644))
}

// resetEmptied gives the directories that cleanUp empties the same time, whether something has been in them or not: an
// initramfs that is made works there, one that comes from the cache does not.
func resetEmptied(root string, at time.Time) error {
	for _, dir := range emptied {
		d, err := openInside(root, dir)
		if err == nil && d != nil {
			err = errors.Join(d.Chtimes(".", at, at), d.Close())
		}
		if err != nil {
			return fmt.Errorf("reset the time of /%s: %w", dir, err)
		}
	}
	return nil
}

// openInside opens a directory of the tree as a program that runs in it would: a link in the way, as a package or a hook
// may have made it, never leads to the host's files. It returns nil if there is no such directory.
func openInside(root, dir string) (*os.Root, error) {
	top, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	defer top.Close()
	fd, err := unix.Openat2(int(top.Fd()), dir, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT,
	})
	switch err {
	case nil:
	case unix.ENOENT, unix.ENOTDIR, unix.ELOOP:
		return nil, nil
	default:
		return nil, &fs.PathError{Op: "open", Path: filepath.Join(root, dir), Err: err}
	}
	f := os.NewFile(uintptr(fd), dir)
	defer f.Close()
	return os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// clampTimes gives every file of the tree root that is younger than limit that time, and every file the time of its last
// change as that of its last access: filesystems keep that too, and who read what when is chance. It looks only at what
// is below changed too: root itself, or the upper directory of the overlay that root is. It follows no link.
func clampTimes(ctx context.Context, root, changed string, limit time.Time) error {
	err := tree.Directories(ctx, changed, func(dir *os.File, entries []fs.DirEntry) error {
		in := dir // the same directory of the root
		if root != changed {
			name, err := filepath.Rel(changed, dir.Name())
			if err != nil {
				return err
			}
			if in, err = os.Open(filepath.Join(root, name)); err != nil {
				return err
			}
			defer in.Close()
		}
		for _, e := range entries {
			if e.IsDir() {
				continue // its own time is set when it has been read
			}
			if err := clampTime(dir, in, e.Name(), limit); err != nil {
				return err
			}
		}
		return clampTime(dir, in, ".", limit)
	})
	if err != nil {
		return fmt.Errorf("clamp times: %w", err)
	}
	return nil
}

// clampTime sets the times of a name in one directory to what they are to be by those it has in another.
func clampTime(by, in *os.File, name string, limit time.Time) error {
	var stat unix.Stat_t
	if err := unix.Fstatat(int(by.Fd()), name, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "lstat", Path: filepath.Join(by.Name(), name), Err: err}
	}
	if isWhiteout(stat) {
		return nil
	}
	at := stat.Mtim
	if time.Unix(at.Unix()).After(limit) {
		at = unix.NsecToTimespec(limit.UnixNano())
	}
	if err := unix.UtimesNanoAt(int(in.Fd()), name, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "utimensat", Path: filepath.Join(in.Name(), name), Err: err}
	}
	return nil
}

// isWhiteout says whether an entry of an overlay's upper directory stands for one that was removed.
func isWhiteout(stat unix.Stat_t) bool {
	return stat.Mode&unix.S_IFMT == unix.S_IFCHR && stat.Rdev == 0
}
