package namespace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

const (
	neededIDs      = 65535 // 0 to 65534, Debian's nobody
	neededSubIDs   = neededIDs - 1
	suggestedSubID = 100000 // first subordinate id of useradd (SUB_UID_MIN in login.defs)
	suggestedCount = 65536  // and how many it gives (SUB_UID_COUNT)
)

// initialUserNS is the inode of the initial user namespace, USER_NS_INIT_INO in linux/nsfs.h.
const initialUserNS = 0xEFFFFFFD

// Initial says whether this process is in the host's first user namespace, where root is the host's root.
func Initial() bool {
	var st unix.Stat_t
	return unix.Stat("/proc/self/ns/user", &st) == nil && st.Ino == initialUserNS
}

// Problem is one thing that the host lacks.
type Problem struct {
	Reason string // what is missing and what it is needed for
	Remedy string // what the administrator can do about it
}

func (p *Problem) Error() string { return p.Reason + ": " + p.Remedy }

// MissingIDsError says that a user has too few subordinate ids.
type MissingIDsError struct {
	File string // /etc/subuid or /etc/subgid
	User string
	Have int64  // ids that the file gives
	Line string // to be added to File
}

func (e *MissingIDsError) Error() string {
	return fmt.Sprintf("%s gives user %s %d subordinate ids, a build needs %d: add the line %q to it "+
		"(newuidmap and newgidmap, which read it, are in package uidmap)", e.File, e.User, e.Have, neededSubIDs, e.Line)
}

// Check says all that keeps Run from working on this host and for this user: errors of types *Problem and
// *MissingIDsError, joined.
func Check() error {
	h := readHost()
	problems := h.problems()
	if len(problems) == 0 {
		problems = append(problems, try(h.mapping().cloneFlags()))
	}
	return errors.Join(problems...)
}

// try makes the namespaces for the time of an execve that fails.
func try(cloneFlags uintptr) error {
	_, err := os.StartProcess("/proc/self/no-such-file", []string{word}, &os.ProcAttr{
		Sys: &syscall.SysProcAttr{Cloneflags: cloneFlags},
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return &Problem{
		Reason: fmt.Sprintf("the kernel refuses new namespaces (%v)", errors.Unwrap(err)),
		Remedy: "in a container, start it with all privileges or without a seccomp profile",
	}
}

// caller is what kind of process wants to make namespaces.
type caller int

const (
	subordinate caller = iota // an ordinary user: a user namespace with subordinate ids
	identity                  // root without CAP_SYS_ADMIN, or who wants one: a user namespace with the ids there are
	direct                    // root with CAP_SYS_ADMIN, of the host or of a container: no user namespace
)

// helper is the state of newuidmap or newgidmap.
type helper int

const (
	absent helper = iota
	powerless
	usable
)

// host is what mapping and problems depend on: facts of this host and of this process, as the files say them.
type host struct {
	ownUsers       bool // root wants a user namespace even if it needs none
	uid, gid       int
	user           string // name, "" if it has none
	status         string // /proc/self/status
	uidMap, gidMap string // /proc/self/uid_map and gid_map
	subUID, subGID string // /etc/subuid and /etc/subgid
	label          string // AppArmor's, of this process; "" without AppArmor
	sysctl         map[string]string
	helpers        map[string]helper
}

// limitSysctl is the one of the following that is also for those who have CAP_SYS_ADMIN.
const limitSysctl = "user.max_user_namespaces"

// Sysctls that forbid user namespaces, with the value that allows them.
var userNamespaceSysctls = []struct{ name, allowing string }{
	{limitSysctl, "65536"},
	{"kernel.unprivileged_userns_clone", "1"},             // Debian's kernels
	{"kernel.apparmor_restrict_unprivileged_userns", "0"}, // Ubuntu's kernels
}

func readHost() host {
	h := host{
		uid:    os.Getuid(),
		gid:    os.Getgid(),
		status: contents("/proc/self/status"),
		uidMap: contents("/proc/self/uid_map"),
		gidMap: contents("/proc/self/gid_map"),
		subUID: contents("/etc/subuid"),
		subGID: contents("/etc/subgid"),
		label:  strings.TrimRight(contents("/proc/self/attr/apparmor/current"), "\n\x00"),
		sysctl: make(map[string]string),
		helpers: map[string]helper{
			"newuidmap": findHelper("newuidmap"),
			"newgidmap": findHelper("newgidmap"),
		},
	}
	if u, err := osuser.Current(); err == nil {
		h.user = u.Username
	}
	for _, s := range userNamespaceSysctls {
		if v := contents(filepath.Join("/proc/sys", strings.ReplaceAll(s.name, ".", "/"))); v != "" {
			h.sysctl[s.name] = strings.TrimSpace(v)
		}
	}
	return h
}

// contents returns what a file of the host says, nothing if it cannot be read.
func contents(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(data)
}

// findHelper looks whether newuidmap or newgidmap has what lets it write a mapping: Debian gives it the setuid bit,
// others a file capability.
func findHelper(name string) helper {
	path, err := exec.LookPath(name)
	if err != nil {
		return absent
	}
	var mount unix.Statfs_t
	if err := unix.Statfs(path, &mount); err == nil && mount.Flags&unix.ST_NOSUID != 0 {
		return powerless
	}
	info, err := os.Stat(path)
	if err == nil && info.Mode()&fs.ModeSetuid != 0 && info.Sys().(*syscall.Stat_t).Uid == 0 {
		return usable
	}
	if n, err := unix.Getxattr(path, "security.capability", nil); err == nil && n > 0 {
		return usable
	}
	return powerless
}

func (h host) caller() caller {
	switch {
	case h.uid != 0:
		return subordinate
	case h.capable(unix.CAP_SYS_ADMIN) && !h.ownUsers:
		return direct
	default:
		return identity
	}
}

// capable says whether the process has a capability in effect.
func (h host) capable(capability int) bool {
	set, err := strconv.ParseUint(h.statusField("CapEff"), 16, 64)
	return err == nil && set&(1<<capability) != 0
}

// statusField returns a field of /proc/self/status.
func (h host) statusField(name string) string {
	for line := range strings.Lines(h.status) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// problems says what is missing, as far as the facts tell.
func (h host) problems() []error {
	if h.status == "" {
		return []error{&Problem{
			Reason: "/proc is not mounted, and a build looks at itself there",
			Remedy: "as root, run: mount -t proc proc /proc",
		}}
	}
	switch h.caller() {
	case direct:
		return h.rangeProblems()
	case identity:
		return append(h.rangeProblems(), h.sysctlProblems()...)
	default:
		return slices.Concat(h.sysctlProblems(), h.helperProblems(), h.subIDProblems())
	}
}

// rangeProblems are those of root: its own ids have to be enough.
func (h host) rangeProblems() []error {
	var problems []error
	for _, m := range []struct{ what, text string }{{"user", h.uidMap}, {"group", h.gidMap}} {
		if n := coverage(parseMap(m.text)); n < neededIDs {
			problems = append(problems, &Problem{
				Reason: fmt.Sprintf("root of this user namespace has %d %s ids, a build needs %d", n, m.what, neededIDs),
				Remedy: "start vmbuild outside of it, or make it with more ids (unshare --map-root-user --map-auto)",
			})
		}
	}
	return problems
}

func (h host) sysctlProblems() []error {
	var problems []error
	for _, s := range userNamespaceSysctls {
		value, present := h.sysctl[s.name]
		forbids := present && (value == "0") == (s.allowing != "0") &&
			(s.name == limitSysctl || !h.capable(unix.CAP_SYS_ADMIN))
		// AppArmor's restriction is for programs without a profile of their own.
		if !forbids || strings.HasPrefix(s.name, "kernel.apparmor") && h.label != "unconfined" {
			continue
		}
		problems = append(problems, &Problem{
			Reason: fmt.Sprintf("user namespaces are switched off (%s is %s)", s.name, value),
			Remedy: fmt.Sprintf("as root, run: sysctl -w %s=%s", s.name, s.allowing),
		})
	}
	return problems
}

func (h host) helperProblems() []error {
	var problems []error
	for _, name := range []string{"newuidmap", "newgidmap"} {
		switch h.helpers[name] {
		case absent:
			problems = append(problems, &Problem{
				Reason: name + " is not installed, an ordinary user's build needs it",
				Remedy: "install package uidmap",
			})
		case powerless:
			problems = append(problems, &Problem{
				Reason: name + " may not write mappings: it has no setuid bit, or its file system is mounted nosuid",
				Remedy: "reinstall package uidmap",
			})
		}
	}
	if h.statusField("NoNewPrivs") == "1" {
		problems = append(problems, &Problem{
			Reason: "this process may not gain privileges (no_new_privs), so newuidmap cannot write mappings",
			Remedy: "start vmbuild from a shell that is not confined so",
		})
	}
	return problems
}

func (h host) subIDProblems() []error {
	name := cmp.Or(h.user, strconv.Itoa(h.uid))
	free := freeRange(slices.Concat(parseSubIDs(h.subUID), parseSubIDs(h.subGID)))
	var problems []error
	for _, f := range []struct {
		path, text string
		own        int
	}{{"/etc/subuid", h.subUID, h.uid}, {"/etc/subgid", h.subGID, h.gid}} {
		ids := concatenate(f.own, h.ranges(f.text))
		if have := coverage(ids) - 1; have < neededSubIDs {
			line := fmt.Sprintf("%s:%d:%d", name, free, suggestedCount)
			problems = append(problems, &MissingIDsError{f.path, name, have, line})
		}
	}
	return problems
}

// ranges returns the user's lines of /etc/subuid or /etc/subgid; both give the user by name or by user id (subuid(5)).
func (h host) ranges(text string) []user.SubID {
	return slices.DeleteFunc(parseSubIDs(text), func(s user.SubID) bool {
		return s.Name != strconv.Itoa(h.uid) && (h.user == "" || s.Name != h.user)
	})
}

// parseSubIDs reads the lines of /etc/subuid or /etc/subgid that make sense.
func parseSubIDs(text string) []user.SubID {
	// The scanner's only error is a line over 64 KiB; what comes before it counts.
	ids, _ := user.ParseSubIDFilter(strings.NewReader(text), func(s user.SubID) bool {
		return s.SubID > 0 && s.Count > 0 && s.SubID+s.Count > 0 && s.SubID+s.Count <= 1<<32
	})
	return ids
}

// IDMap describes under which ids of the host this process's ids stand: two processes with the same description see the
// same owners on the same files.
func IDMap() string {
	return strings.Join(strings.Fields(contents("/proc/self/uid_map")), " ") + " / " +
		strings.Join(strings.Fields(contents("/proc/self/gid_map")), " ")
}

// RealRoot says whether this process is the host's own root, or that of a container that has all ids.
func RealRoot() bool {
	ids := parseMap(contents("/proc/self/uid_map"))
	return os.Getuid() == 0 && len(ids) == 1 && ids[0].ID == 0 && ids[0].ParentID == 0 && ids[0].Count >= neededIDs
}

// parseMap reads /proc/self/uid_map or gid_map.
func parseMap(text string) []user.IDMap {
	ids, _ := user.ParseIDMapFilter(strings.NewReader(text), func(m user.IDMap) bool { return m.Count > 0 })
	return ids
}

// coverage returns how many ids from 0 on a mapping has without a gap.
func coverage(ids []user.IDMap) int64 {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b user.IDMap) int { return cmp.Compare(a.ID, b.ID) })
	var next int64
	for _, m := range ids {
		if m.ID > next {
			break
		}
		next = max(next, m.ID+m.Count)
	}
	return next
}

// freeRange returns the first start of a range of the usual length that overlaps none of those given; if there is no
// such range, the usual start, as ids that are shared are better than none.
func freeRange(taken []user.SubID) int64 {
	for start := int64(suggestedSubID); start+suggestedCount < 1<<32; start += suggestedCount {
		if !slices.ContainsFunc(taken, func(s user.SubID) bool { return overlap(start, suggestedCount, s.SubID, s.Count) }) {
			return start
		}
	}
	return suggestedSubID
}

func overlap(a, aCount, b, bCount int64) bool { return a < b+bCount && b < a+aCount }

// concatenate maps 0 to the caller's own id and 1 on to its ranges, in their order. The kernel refuses a mapping whose
// ranges overlap, so one that overlaps an earlier one is left out.
func concatenate(own int, ranges []user.SubID) []user.IDMap {
	ids := []user.IDMap{{ID: 0, ParentID: int64(own), Count: 1}}
	next := int64(1)
	for _, r := range ranges {
		if slices.ContainsFunc(ids, func(m user.IDMap) bool { return overlap(m.ParentID, m.Count, r.SubID, r.Count) }) {
			continue
		}
		ids = append(ids, user.IDMap{ID: next, ParentID: r.SubID, Count: r.Count})
		next += r.Count
	}
	return ids
}

// mapping is how the ids of the new user namespace map to those of the caller's.
type mapping struct {
	caller     caller
	uids, gids []user.IDMap
}

func (h host) mapping() mapping {
	switch c := h.caller(); c {
	case direct:
		return mapping{caller: c}
	case identity:
		return mapping{c, inherit(parseMap(h.uidMap)), inherit(parseMap(h.gidMap))}
	default:
		return mapping{c, concatenate(h.uid, h.ranges(h.subUID)), concatenate(h.gid, h.ranges(h.subGID))}
	}
}

// inherit maps each id that there is to itself.
func inherit(ids []user.IDMap) []user.IDMap {
	for i := range ids {
		ids[i].ParentID = ids[i].ID
	}
	return ids
}

func (m mapping) cloneFlags() uintptr {
	flags := uintptr(unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS)
	if m.caller != direct {
		flags |= unix.CLONE_NEWUSER
	}
	return flags
}

// write maps the ids of a process that was started with cloneFlags.
func (m mapping) write(ctx context.Context, pid int) error {
	if m.caller == direct {
		return nil
	}
	for _, half := range []struct {
		helper, file string
		ids          []user.IDMap
	}{{"newuidmap", "uid_map", m.uids}, {"newgidmap", "gid_map", m.gids}} {
		if m.caller == identity {
			path := fmt.Sprintf("/proc/%d/%s", pid, half.file)
			if err := os.WriteFile(path, []byte(lines(half.ids)), 0); err != nil {
				return fmt.Errorf("map ids of a user namespace: %w", err)
			}
			continue
		}
		args := append([]string{strconv.Itoa(pid)}, strings.Fields(lines(half.ids))...)
		if out, err := exec.CommandContext(ctx, half.helper, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("map ids: %s %s: %w: %s", half.helper, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// lines gives a mapping in the format of uid_map, user_namespaces(7).
func lines(ids []user.IDMap) string {
	var b strings.Builder
	for _, m := range ids {
		fmt.Fprintf(&b, "%d %d %d\n", m.ID, m.ParentID, m.Count)
	}
	return b.String()
}
