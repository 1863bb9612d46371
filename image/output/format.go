package output

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vmbuild/image/qcow2"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/tree"
)

// Job is one tree to be written.
type Job struct {
	Tree        *tree.Tree
	Disk        qcow2.Disk  // the finished disk, for formats of disks
	Out         *os.File    // what Target.Handle gives
	Compression Compression // of a tar
	Epoch       time.Time   // no later time is stored, and what has no time gets this one; must not be zero
	Qcow2       qcow2.Options

	Temp    string         // directory for what does not outlive the call; os.TempDir() if empty
	Toolbox chroot.Toolbox // holds the packages that Format.Packages names; may be nil if there are none
}

// Format is a row of the table: a form in which a tree can be written.
type Format struct {
	Name     string
	Aliases  []string
	Suffixes []string // of the targets that are written so when no format is named
	Stream   bool     // may go to where one cannot seek: standard output, a FIFO, a device
	InPlace  bool     // is a directory
	Shared   bool     // of a directory: what else is in it stays; chosen by name only
	Nothing  bool     // leaves nothing behind: any target will do, none is touched
	Disk     bool     // is an image of a disk, not of a tree alone
	Clusters bool     // of a disk: has clusters that can be compressed

	tools     []string // Debian packages
	write     func(context.Context, Job) error
	writeDisk func(context.Context, *os.File, qcow2.Disk, qcow2.Options) error // instead of write, where Disk is set
}

// How to add one: a file with a function that writes it, and a row here; then go test ./image/output. The words and
// suffixes are mmdebstrap's.
var formats = []Format{
	{Name: "directory", Aliases: []string{"dir"}, InPlace: true, write: writeDirectory},
	{Name: "tar", Suffixes: []string{".tar"}, Stream: true, write: writeTar},
	{
		Name: "squashfs", Aliases: []string{"sqfs"}, Suffixes: []string{".squashfs", ".sqfs"},
		tools: []string{"squashfs-tools"}, write: writeSquashfs,
	},
	{Name: "live", InPlace: true, Shared: true, tools: []string{"squashfs-tools"}, write: writeLive},
	{Name: "ext2", Suffixes: []string{".ext2"}, tools: []string{"e2fsprogs"}, write: writeExt("ext2")},
	{Name: "ext4", Suffixes: []string{".ext4"}, write: writeExt("ext4")},
	{Name: "raw", Suffixes: []string{".img", ".raw"}, Disk: true, writeDisk: writeRaw},
	{Name: "qcow2", Suffixes: []string{".qcow2"}, Disk: true, Clusters: true, writeDisk: writeQcow2},
	{Name: "null", Stream: true, Nothing: true, write: func(context.Context, Job) error { return nil }},
}

// Formats returns the table's rows.
func Formats() []Format { return slices.Clone(formats) }

// Names returns the rows' names, for help texts and choices.
func Names() []string { return namesOf(formats) }

// Disks returns the rows that are images of disks.
func Disks() []Format { return slices.DeleteFunc(Formats(), func(f Format) bool { return !f.Disk }) }

// trees are the rows that make an output of its own of a tree: those that mmdebstrap's users know.
func trees() []Format {
	return slices.DeleteFunc(Formats(), func(f Format) bool { return f.Disk || f.Shared })
}

// Lookup returns the row with that name or alias.
func Lookup(name string) (Format, error) { return lookup(formats, name) }

// LookupTree is Lookup among the rows that Choose can give.
func LookupTree(name string) (Format, error) { return lookup(trees(), name) }

func lookup(rows []Format, name string) (Format, error) {
	for _, f := range rows {
		if f.Name == name || slices.Contains(f.Aliases, name) {
			return f, nil
		}
	}
	return Format{}, fmt.Errorf("format %q is not one of %s", name, strings.Join(namesOf(rows), ", "))
}

func namesOf(rows []Format) []string {
	var names []string
	for _, f := range rows {
		names = append(names, f.Name)
	}
	return names
}

// ChooseDisk finds the format of a disk image by its name, or if that is "" by the image's own suffix.
func ChooseDisk(name, path string) (Format, error) {
	if name != "" {
		return lookup(Disks(), name)
	}
	var known []string
	for _, f := range Disks() {
		if hasSuffix(path, f.Suffixes) {
			return f, nil
		}
		known = append(known, f.Suffixes...)
	}
	return Format{}, fmt.Errorf("the name of %q ends in none of %s, which would say what it is", path, strings.Join(known, ", "))
}

// Packages returns the Debian packages that the toolbox of a Job must hold.
func (f Format) Packages(c Compression) []string {
	if f.Name != "tar" || c.tool == "" {
		return slices.Clone(f.tools)
	}
	return append(slices.Clone(f.tools), c.tool)
}

// Write writes the tree, or the disk. The same tree or disk, compression and epoch give the same bytes.
func (f Format) Write(ctx context.Context, j Job) error {
	if f.Disk {
		return f.WriteDisk(ctx, j.Out, j.Disk, j.Qcow2)
	}
	if j.Epoch.IsZero() {
		return fmt.Errorf("write %s: the job has no epoch", f.Name)
	}
	if err := f.write(ctx, j); err != nil {
		return fmt.Errorf("write %s: %w", f.Name, err)
	}
	return nil
}

// WriteDisk writes a disk to an empty file, if the row is one of disks.
func (f Format) WriteDisk(ctx context.Context, out *os.File, d qcow2.Disk, o qcow2.Options) error {
	if !f.Disk {
		return fmt.Errorf("write %s: it is no format of disks", f.Name)
	}
	return f.writeDisk(ctx, out, d, o)
}

// walk calls fn for what is in the tree, in the order of Walk, as it is to be stored.
func (j Job) walk(ctx context.Context, fn func(tree.Entry) error) error {
	return j.Tree.Walk(func(e tree.Entry) error {
		if e.ModTime.IsZero() || e.ModTime.After(j.Epoch) {
			e.ModTime = j.Epoch
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		return fn(e)
	})
}

// Choose finds the format and the compression of a target; "" or "auto" leaves the format to the target and what is
// there. It refuses what the format cannot be written to, by mmdebstrap's rules.
func Choose(format, target string, at Facts) (Format, Compression, error) {
	f, err := chooseFormat(format, target, at)
	if err == nil {
		err = f.accepts(target, at)
	}
	if err != nil || f.Name != "tar" {
		return f, Compression{}, err
	}
	return f, compressionOf(target), nil
}

func chooseFormat(format, target string, at Facts) (Format, error) {
	switch {
	case format != "" && format != "auto":
		return LookupTree(format)
	case at.Null:
		return Lookup("null")
	case at.Kind == Directory:
		return Lookup("directory")
	case isStdout(target), at.Kind == FIFO, at.Kind == CharDevice, compressionOf(target).Name != "":
		return Lookup("tar")
	}
	for _, f := range trees() {
		if hasSuffix(target, f.Suffixes) {
			return f, nil
		}
	}
	return Lookup("directory")
}

// accepts says why a target will not do.
func (f Format) accepts(target string, at Facts) error {
	switch {
	case f.Nothing:
		return nil
	case isStdout(target) && !f.Stream:
		return fmt.Errorf("format %s cannot be written to standard output: name a target", f.Name)
	case isStdout(target) && at.Terminal:
		return errors.New("standard output is a terminal: redirect it, or name a target")
	case at.Root:
		return fmt.Errorf("target %s is the root of this host", target)
	case at.NoParent != "":
		return fmt.Errorf("target %s: %s is not a directory: make it first", target, at.NoParent)
	case f.InPlace && at.Kind != Missing && at.Kind != Directory:
		return fmt.Errorf("target %s is there and is not a directory", target)
	case f.InPlace && !f.Shared && at.Holds != "":
		return fmt.Errorf("target %s is not empty: it has %s", target, at.Holds)
	case !f.InPlace && at.Kind == Directory:
		return fmt.Errorf("target %s is a directory, which format %s cannot be written to", target, f.Name)
	case !f.Stream && (at.Kind == FIFO || at.Kind == CharDevice || at.Kind == BlockDevice):
		return fmt.Errorf("target %s is a %s, which format %s cannot be written to", target, at.Kind, f.Name)
	case at.Kind == Other:
		return fmt.Errorf("target %s is there and is not a file", target)
	}
	return nil
}

func isStdout(target string) bool { return target == "" || target == "-" }

func hasSuffix(name string, suffixes []string) bool {
	return slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(name, s) })
}

// Kind is what a target is.
type Kind string

const (
	Missing     Kind = ""
	Regular     Kind = "regular file"
	Directory   Kind = "directory"
	FIFO        Kind = "FIFO"
	CharDevice  Kind = "character device"
	BlockDevice Kind = "block device"
	Other       Kind = "socket"
)

var kinds = map[uint32]Kind{
	unix.S_IFREG: Regular, unix.S_IFDIR: Directory, unix.S_IFIFO: FIFO, unix.S_IFCHR: CharDevice,
	unix.S_IFBLK: BlockDevice, unix.S_IFSOCK: Other,
}

// Facts is what Choose has to know of a target.
type Facts struct {
	Kind     Kind
	Null     bool   // the null device
	Terminal bool   // a terminal
	Root     bool   // "/", by whatever path
	Holds    string // of a directory: a name that is in it; an empty lost+found, as mke2fs makes it, does not count
	NoParent string // the directory of the target, where it is missing
}

// Look says what is at a target. It opens nothing that could notice.
func Look(target string) (Facts, error) {
	var st unix.Stat_t
	if isStdout(target) {
		if err := unix.Fstat(int(os.Stdout.Fd()), &st); err != nil {
			return Facts{}, fmt.Errorf("look at standard output: %w", err)
		}
		_, err := unix.IoctlGetTermios(int(os.Stdout.Fd()), unix.TCGETS)
		return Facts{Kind: kinds[st.Mode&unix.S_IFMT], Null: isNull(st), Terminal: err == nil}, nil
	}
	err := unix.Stat(target, &st)
	switch {
	case err == unix.ENOENT || err == unix.ENOTDIR:
		return lookAtParent(target), nil
	case err != nil:
		return Facts{}, fmt.Errorf("look at target: %w", &os.PathError{Op: "stat", Path: target, Err: err})
	}
	facts := Facts{Kind: kinds[st.Mode&unix.S_IFMT], Null: isNull(st)}
	if facts.Kind != Directory {
		return facts, nil
	}
	var root unix.Stat_t
	if err := unix.Stat("/", &root); err != nil {
		return Facts{}, fmt.Errorf("look at target: %w", err)
	}
	facts.Root = st.Dev == root.Dev && st.Ino == root.Ino
	if facts.Holds, err = holds(target); err != nil {
		return Facts{}, fmt.Errorf("look at target: %w", err)
	}
	return facts, nil
}

func lookAtParent(target string) Facts {
	parent := path.Dir(path.Clean(target)) // "a/b/" is to be made in a
	if info, err := os.Stat(parent); err != nil || !info.IsDir() {
		return Facts{NoParent: parent}
	}
	return Facts{}
}

// isNull recognises the null device, which Linux numbers 1:3 wherever it is (admin-guide/devices.txt).
func isNull(st unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
}

// lostFound is what mke2fs leaves in the root of a filesystem.
const lostFound = "lost+found"

// holds returns a name that makes a directory an occupied one.
func holds(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if e.Name() != lostFound || !e.IsDir() {
			return e.Name(), nil
		}
		below, err := os.ReadDir(path.Join(dir, lostFound))
		if err != nil {
			return "", err
		}
		if len(below) > 0 {
			return path.Join(lostFound, below[0].Name()), nil
		}
	}
	return "", nil
}
