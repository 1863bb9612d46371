package chroot

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

const inert = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// mount mounts on a path of the root.
func (r *Root) mount(source, target, fstype string, flags uintptr, data string) error {
	point, err := r.openIn(target)
	if err != nil {
		return err
	}
	defer point.Close()
	if err := unix.Mount(source, procPath(point), fstype, flags, data); err != nil {
		return fmt.Errorf("mount %s on %s: %w", source, target, err)
	}
	return nil
}

// bind makes what is at a path of the build visible at a path of the root, with all that is mounted below it: in a user
// namespace the kernel refuses to uncover what a mount hides.
func (r *Root) bind(source, target string, readOnly bool) error {
	if err := r.mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if !readOnly {
		return nil
	}
	mounted, err := r.openIn(target)
	if err != nil {
		return err
	}
	defer mounted.Close()
	attributes := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(int(mounted.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attributes); err != nil {
		return fmt.Errorf("make %s read-only: %w", target, err)
	}
	return nil
}

// Bind makes a directory or file of the build visible where the root has one, until unbind is called or the root is left.
func (r *Root) Bind(b Bind) (unbind func() error, err error) {
	if err := r.bind(b.Source, b.Target, b.ReadOnly); err != nil {
		return nil, fmt.Errorf("bind %q: %w", b.Source, err)
	}
	point, err := r.openIn(b.Target)
	if err != nil {
		return nil, err
	}
	defer point.Close()
	path, err := os.Readlink(procPath(point))
	if err != nil {
		return nil, err
	}
	return func() error {
		if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unbind %q: %w", b.Source, err)
		}
		return nil
	}, nil
}

// mkdirIn makes a directory that each Debian system has, if it is missing; it stays.
func (r *Root) mkdirIn(path string) error {
	err := unix.Mkdirat(int(r.root.Fd()), path[1:], 0o755)
	if err != nil && err != unix.EEXIST {
		return &os.PathError{Op: "mkdir", Path: filepath.Join(r.dir, path), Err: err}
	}
	return nil
}

func (r *Root) mountProc() error {
	if err := r.mkdirIn("/proc"); err != nil {
		return err
	}
	err := r.mount("proc", "/proc", "proc", inert, "")
	if errors.Is(err, unix.EPERM) { // in a container whose own /proc is masked
		err = r.bind("/proc", "/proc", false)
	}
	if err != nil {
		return err
	}
	for _, path := range []string{"/proc/sys", "/proc/sysrq-trigger"} {
		f, err := r.openIn(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // depends on how the kernel was configured
		}
		if err != nil {
			return err
		}
		err = r.bind(procPath(f), path, true)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *Root) mountSys() error {
	if err := r.mkdirIn("/sys"); err != nil {
		return err
	}
	err := r.mount("sysfs", "/sys", "sysfs", inert|unix.MS_RDONLY, "")
	if errors.Is(err, unix.EPERM) { // sysfs belongs to the network namespace, and that to the host's root
		err = r.bind("/sys", "/sys", true)
	}
	if err != nil {
		return err
	}
	err = r.mount("tmpfs", "/sys/firmware", "tmpfs", inert|unix.MS_RDONLY, "")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// device is a bind of a host's device node into /dev.
type device struct{ name, source string }

var devices = []device{
	{"null", "/dev/null"},
	{"zero", "/dev/zero"},
	{"full", "/dev/full"},
	{"random", "/dev/random"},
	{"urandom", "/dev/urandom"},
	{"tty", "/dev/tty"},
	{"console", "/dev/null"},
}

func (r *Root) mountDev() error {
	if err := r.mkdirIn("/dev"); err != nil {
		return err
	}
	if err := r.mount("tmpfs", "/dev", "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755"); err != nil {
		return err
	}
	dev, err := r.openIn("/dev")
	if err != nil {
		return err
	}
	defer dev.Close()
	for _, d := range devices {
		if err := os.WriteFile(filepath.Join(procPath(dev), d.name), nil, 0o666); err != nil {
			return err
		}
		if err := r.mount(d.source, "/dev/"+d.name, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	for _, link := range []struct{ name, target string }{
		{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"},
		{"ptmx", "pts/ptmx"},
	} {
		if err := os.Symlink(link.target, filepath.Join(procPath(dev), link.name)); err != nil {
			return err
		}
	}
	for _, name := range []string{"pts", "shm"} {
		if err := os.Mkdir(filepath.Join(procPath(dev), name), 0o755); err != nil {
			return err
		}
	}
	// Group 5 is Debian's tty.
	ptsFlags := uintptr(unix.MS_NOSUID | unix.MS_NOEXEC)
	if err := r.mount("devpts", "/dev/pts", "devpts", ptsFlags, "newinstance,gid=5,mode=620,ptmxmode=666"); err != nil {
		return err
	}
	return r.mount("tmpfs", "/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777")
}

func (r *Root) mountBinds() error {
	for _, b := range r.options.Binds {
		info, err := os.Stat(b.Source)
		if err == nil {
			err = r.makePoint(filepath.Clean(b.Target), info.IsDir())
		}
		if err == nil {
			err = r.bind(b.Source, b.Target, b.ReadOnly)
		}
		if err != nil {
			return fmt.Errorf("bind %q: %w", b.Source, err)
		}
	}
	return nil
}

// makePoint makes a mount point, and the directories above it, if it is missing and its file system is a tmpfs: in a
// file system of the tree nothing of ours is to appear.
func (r *Root) makePoint(path string, isDir bool) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("target %q is no absolute path", path)
	}
	f, err := r.openIn(path)
	if err == nil {
		return f.Close()
	}
	if !errors.Is(err, fs.ErrNotExist) || path == "/" {
		return err
	}
	if err := r.makePoint(filepath.Dir(path), true); err != nil {
		return err
	}
	dir, openErr := r.openIn(filepath.Dir(path))
	if openErr != nil {
		return openErr
	}
	defer dir.Close()
	var st unix.Statfs_t
	if unix.Fstatfs(int(dir.Fd()), &st) != nil || st.Type != unix.TMPFS_MAGIC {
		return err
	}
	realDir, err := os.Readlink(procPath(dir))
	if err != nil {
		return err
	}
	r.made = append(r.made, filepath.Join(realDir, filepath.Base(path)))
	name := filepath.Join(procPath(dir), filepath.Base(path))
	if isDir {
		return os.Mkdir(name, 0o755)
	}
	return os.WriteFile(name, nil, 0o644)
}

// removeMade removes mount points from trees that are on a tmpfs; those on a tmpfs of ours have gone with it.
func (r *Root) removeMade() error {
	var problems []error
	for _, path := range slices.Backward(r.made) {
		// A directory that a program has put something in is the tree's from then on.
		if err := unix.Unlink(path); err == unix.EISDIR {
			err = unix.Rmdir(path)
			if err != nil && err != unix.ENOENT && err != unix.ENOTEMPTY {
				problems = append(problems, &os.PathError{Op: "rmdir", Path: path, Err: err})
			}
		}
	}
	r.made = nil
	return errors.Join(problems...)
}

// newMounts are the mounts at and below a directory that were not there when watchMounts was called.
type newMounts struct {
	dir    string // real path
	before map[mountPoint]bool
}

func watchMounts(dir string) (newMounts, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return newMounts{}, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil { // the kernel knows mounts by real paths
		return newMounts{}, err
	}
	n := newMounts{dir, make(map[mountPoint]bool)}
	mounts, err := mountTable()
	for _, m := range mounts {
		n.before[m] = true
	}
	return n, err
}

// Clear takes away all that is mounted below dir.
func Clear(dir string) error {
	n, err := watchMounts(dir)
	if err == nil {
		maps.DeleteFunc(n.before, func(m mountPoint, _ bool) bool { return m.point != n.dir })
		err = n.unmount()
	}
	if err != nil {
		return fmt.Errorf("clear %q of mounts: %w", dir, err)
	}
	return nil
}

// unmount takes them away.
func (n newMounts) unmount() error {
	// First those that are free, innermost first; then whatever is left, at once with what is below it. The second is
	// needed for mounts that a user namespace got with others from the host: the kernel lets them go only together.
	for _, flags := range []int{0, unix.MNT_DETACH} {
		mounts, err := n.list()
		if err != nil {
			return err
		}
		for _, m := range slices.Backward(mounts) {
			_ = unix.Unmount(m.point, flags|unix.UMOUNT_NOFOLLOW)
		}
	}
	left, err := n.list()
	for _, m := range left {
		err = errors.Join(err, fmt.Errorf("%q is still mounted", m.point))
	}
	return err
}

func (n newMounts) list() ([]mountPoint, error) {
	all, err := mountTable()
	return slices.DeleteFunc(all, func(m mountPoint) bool { return n.before[m] || !below(n.dir, m.point) }), err
}

// mountPoint is a line of the mount table. The kernel gives the id of a mount that is gone to the next one.
type mountPoint struct {
	id     int
	device string // major:minor
	point  string // real path
}

func mountTable() ([]mountPoint, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	return parseMountInfo(data), err
}

// parseMountInfo reads /proc/self/mountinfo, proc_pid_mountinfo(5). A mount comes after that which it is mounted on.
func parseMountInfo(data []byte) []mountPoint {
	var mounts []mountPoint
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		fields := bytes.Fields(lines.Bytes())
		if len(fields) < 5 {
			continue
		}
		if id, err := strconv.Atoi(string(fields[0])); err == nil {
			mounts = append(mounts, mountPoint{id, string(fields[2]), unescape(fields[4])})
		}
	}
	return mounts
}

var octal = regexp.MustCompile(`\\[0-3][0-7]{2}`)

// unescape undoes how the kernel writes blanks, newlines and backslashes.
func unescape(field []byte) string {
	return string(octal.ReplaceAllFunc(field, func(seq []byte) []byte {
		c, _ := strconv.ParseUint(string(seq[1:]), 8, 8)
		return []byte{byte(c)}
	}))
}
