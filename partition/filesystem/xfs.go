package filesystem

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/tree"
)

// makeXFS makes an XFS by mkfs.xfs(8), which fills it as a prototype file says: files with their extended attributes,
// directories, links, devices. What that cannot say comes after: hard links and attributes of others than files by
// xfs_db(8); times, sticky bits and the numbers that mkfs.xfs draws by lot in the inodes themselves. So the same job gives
// the same bytes.
func makeXFS(ctx context.Context, j Job) (err error) {
	entries, err := j.entries()
	if err != nil {
		return err
	}
	s, err := newScratch(j)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := writePrototype(s, entries); err != nil {
		return err
	}
	binds := []chroot.Bind{{Source: filepath.Join(j.Tree.Dir, j.Dir), Target: sourceDir, ReadOnly: true}}
	err = s.enter(ctx, j, binds, func(tools chroot.Runner) error { return fillXFS(ctx, tools, j, s, entries) })
	if err != nil {
		return err
	}
	return s.copyTo(j)
}

func fillXFS(ctx context.Context, tools chroot.Runner, j Job, s *scratch, entries []tree.Entry) error {
	if err := tools.Run(ctx, mkfsXFS(j, s)); err != nil {
		return err
	}
	inodes, err := xfsInodes(ctx, tools, s)
	if err != nil {
		return err
	}
	volume, err := openXFS(s.image)
	if err != nil {
		return err
	}
	inodes["/"] = volume.root
	for i, e := range entries {
		if name, needed := standIn(e, i); needed {
			inodes[e.Path] = inodes[path.Join(path.Dir(e.Path), name)]
		}
	}
	script, err := xfsScript(s, entries, inodes)
	if err != nil {
		return err
	}
	if script != "" {
		said, err := xfsDB(ctx, tools, s, script, "-x")
		if err != nil {
			return err
		}
		if len(said) > 0 { // it succeeds whatever fails
			return fmt.Errorf("add links and attributes by xfs_db: %s", bytes.TrimSpace(said))
		}
	}
	return volume.finish(j, entries, inodes)
}

func mkfsXFS(j Job, s *scratch) chroot.Command {
	args := []string{"mkfs.xfs", "-q", "-K", "-m", "uuid=" + j.UUID}
	for _, feature := range j.Disable {
		option := "-m" // of the metadata
		if feature == "nrext64" || feature == "sparse" {
			option = "-i" // of the inodes
		}
		args = append(args, option, feature+"=0")
	}
	if j.Label != "" {
		args = append(args, "-L", j.Label)
	}
	return chroot.Command{Args: append(args, "-p", "file="+s.in(xfsPrototype)+",slashes_are_spaces=1",
		"-d", fmt.Sprintf("file,name=%s,size=%d", s.in(scratchImage), j.Size))}
}

const xfsPrototype = "prototype"

// writePrototype writes what mkfs.xfs(8) calls a protofile: after two lines of no meaning a line for each entry, of name,
// mode, owner, group and what its type asks for; after those of a directory a $. A word ends at white space, but a name
// may have slashes for it. Contents whose path has some get another path.
func writePrototype(s *scratch, entries []tree.Entry) error {
	var b strings.Builder
	b.WriteString("vmbuild\n0 0\n")
	depth := 0 // directories that are open
	for i, e := range entries {
		for ; depth > strings.Count(strings.TrimSuffix(e.Path, "/"), "/"); depth-- {
			b.WriteString("$\n")
		}
		if e.Type == tree.Directory {
			depth++
		}
		if e.Type == tree.Socket || linkedLater(e) {
			continue
		}
		line, err := prototypeLine(e, i)
		if err != nil {
			return err
		}
		if e.Type == tree.File {
			content := sourceDir + e.Path
			if strings.ContainsAny(content, whiteSpace) {
				content = s.in(strconv.Itoa(i))
				if err := os.Symlink(sourceDir+e.Path, filepath.Join(s.dir, strconv.Itoa(i))); err != nil {
					return err
				}
			}
			line += " " + content
		}
		b.WriteString(line + "\n")
	}
	b.WriteString(strings.Repeat("$\n", depth))
	return os.WriteFile(filepath.Join(s.dir, xfsPrototype), []byte(b.String()), 0o600)
}

const whiteSpace = " \t\n\r\v\f"

// plain says whether a name is a word of xfs_db's language.
func plain(name string) bool { return !strings.ContainsAny(name, whiteSpace+"\"'\\") }

// linkedLater says whether an entry is another name of a file, to be made by xfs_db. It takes plain words only; under any
// other name the file is one of its own.
func linkedLater(e tree.Entry) bool {
	return e.HardLink != "" && plain(path.Base(e.Path))
}

var xfsTypes = map[tree.Type]string{
	tree.File: "-", tree.Directory: "d", tree.Symlink: "l", tree.CharDevice: "c", tree.BlockDevice: "b", tree.FIFO: "p",
}

// standIn is a name for the i-th entry if it has one that begins as a comment or the end of a directory do: xfs_db gives it
// its own.
func standIn(e tree.Entry, i int) (string, bool) {
	name := path.Base(e.Path)
	return fmt.Sprintf("stand-in.%d", i), strings.HasPrefix(name, ":") || strings.HasPrefix(name, "$")
}

func prototypeLine(e tree.Entry, i int) (string, error) {
	name := path.Base(e.Path)
	stand, needed := standIn(e, i)
	if strings.ContainsAny(name, "\t\n\r\v\f") || needed && (e.Type == tree.Directory || !plain(name)) {
		return "", fmt.Errorf("mkfs.xfs cannot be told the file name %q", e.Path)
	}
	if needed {
		name = stand
	}
	mode := []byte(xfsTypes[e.Type] + fmt.Sprintf("--%03o", e.Mode&0o777))
	if e.Mode&0o4000 != 0 {
		mode[1] = 'u'
	}
	if e.Mode&0o2000 != 0 {
		mode[2] = 'g'
	}
	line := fmt.Sprintf("%s %d %d", mode, e.UID, e.GID)
	if e.Path != "/" {
		line = strings.ReplaceAll(name, " ", "/") + " " + line
	}
	switch e.Type {
	case tree.CharDevice, tree.BlockDevice:
		line += fmt.Sprintf(" %d %d", e.Major, e.Minor)
	case tree.Symlink:
		line += " " + linkWord(e.Target)
	}
	return line, nil
}

// linkWord is the target of a symbolic link as one word of the same length.
func linkWord(target string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(whiteSpace, r) {
			return '_'
		}
		return r
	}, target)
}

// xfsDB has xfs_db(8) do what a script says, and returns what it printed.
func xfsDB(ctx context.Context, tools chroot.Runner, s *scratch, script, option string) ([]byte, error) {
	if err := os.WriteFile(filepath.Join(s.dir, "script"), []byte(script), 0o600); err != nil {
		return nil, err
	}
	var said bytes.Buffer
	args := []string{"xfs_db", option, "-c", "source " + s.in("script"), "-f", s.in(scratchImage)}
	err := tools.Run(ctx, chroot.Command{Args: args, Stdout: &said, Stderr: &said})
	return said.Bytes(), err
}

// xfsInodes gives the numbers of the inodes that there are, by their paths, but for the root's.
func xfsInodes(ctx context.Context, tools chroot.Runner, s *scratch) (map[string]uint64, error) {
	said, err := xfsDB(ctx, tools, s, "blockget -n\nncheck\n", "-r")
	if err != nil {
		return nil, err
	}
	inodes := map[string]uint64{}
	for line := range strings.Lines(string(said)) {
		number, name, ok := strings.Cut(strings.TrimLeft(strings.TrimSuffix(line, "\n"), " "), " ")
		inode, err := strconv.ParseUint(number, 10, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("list the inodes by xfs_db: it said %q", strings.TrimSpace(line))
		}
		inodes["/"+strings.TrimSuffix(name, "/.")] = inode
	}
	return inodes, nil
}

// xfsScript gives the commands of xfs_db(8) that add the names of hard links, and extended attributes: all of what is no
// file, and of files those that mkfs.xfs stores under a name that means nothing.
func xfsScript(s *scratch, entries []tree.Entry, inodes map[string]uint64) (string, error) {
	var b strings.Builder
	for i, e := range entries {
		if name, needed := standIn(e, i); needed && !linkedLater(e) {
			fmt.Fprintf(&b, "inode %d\nlink -i %d %s\nunlink %s\n", inodes[path.Dir(e.Path)], inodes[e.Path], path.Base(e.Path), name)
		}
		if linkedLater(e) {
			fmt.Fprintf(&b, "inode %d\nlink -i %d %s\n", inodes[path.Dir(e.Path)], inodes[e.HardLink], path.Base(e.Path))
			continue
		}
		for k, name := range slices.Sorted(maps.Keys(e.Xattrs)) {
			acl, isACL := xfsACLs[name]
			if e.Type == tree.File && !isACL {
				continue
			}
			set, value, err := xfsAttribute(name, acl, e.Xattrs[name])
			if err != nil {
				return "", fmt.Errorf("%s: %w", e.Path, err)
			}
			file := fmt.Sprintf("%d-%d", i, k)
			if err := os.WriteFile(filepath.Join(s.dir, file), value, 0o600); err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "inode %d\n", inodes[e.Path])
			if e.Type == tree.File {
				fmt.Fprintf(&b, "attr_remove -u %s\n", name)
			}
			fmt.Fprintf(&b, "attr_set %s\n", strings.ReplaceAll(set, "VALUE", s.in(file)))
		}
	}
	return b.String(), nil
}

// xfsACLs are the names that XFS has for access control lists, in the namespace "root".
var xfsACLs = map[string]string{
	"system.posix_acl_access":  "SGI_ACL_FILE",
	"system.posix_acl_default": "SGI_ACL_DEFAULT",
}

// xfsAttribute gives the options of attr_set for an attribute, with VALUE for the file that has its value, and the value.
func xfsAttribute(name, acl, value string) (set string, stored []byte, err error) {
	if acl != "" {
		stored, err = xfsACL([]byte(value))
		return "-r -V VALUE " + acl, stored, err
	}
	namespace, below, _ := strings.Cut(name, ".")
	option, ok := map[string]string{"user": "-u", "security": "-s", "trusted": "-r"}[namespace]
	if !ok || below == "" || !plain(below) {
		return "", nil, fmt.Errorf("xfs_db cannot set the extended attribute %q", name)
	}
	return option + " -V VALUE " + below, []byte(value), nil
}

// xfsACL turns an access control list into what XFS stores. acl(5) as an attribute is a version (2) of 4 bytes and entries
// of tag, permissions (2 bytes each) and id (4 bytes), all little-endian; XFS has a count, then tag and id of 4 bytes,
// permissions and padding of 2, all big-endian (struct xfs_acl).
func xfsACL(value []byte) ([]byte, error) {
	le, be := binary.LittleEndian, binary.BigEndian
	if len(value) < 4 || len(value)%8 != 4 || le.Uint32(value) != 2 {
		return nil, errors.New("its access control list is not one of version 2")
	}
	list := value[4:]
	stored := be.AppendUint32(nil, uint32(len(list)/8))
	for ; len(list) > 0; list = list[8:] {
		stored = be.AppendUint32(stored, uint32(le.Uint16(list)))
		stored = be.AppendUint32(stored, le.Uint32(list[4:]))
		stored = be.AppendUint16(stored, le.Uint16(list[2:]))
		stored = be.AppendUint16(stored, 0)
	}
	return stored, nil
}
