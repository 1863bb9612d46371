package rootfs

import (
	"errors"
	"fmt"
	"path"
	"runtime"
	"strings"

	"vmbuild/rootfs/chroot"
)

// A third of the time that initramfs-tools takes for an initramfs is that of dracut-install(1), which copies kernel modules, and
// before that decompresses each to see what else it needs. mkinitramfs(8) calls it several times, one after the other: for the
// modules of whole directories that use certain symbols (-s), and for a list of hundreds. Here ours is called in its place. It
// has the first gathered while mkinitramfs goes on, and divides the list among the processors. Each part has a directory of its
// own, and all are put together before mkinitramfs looks at what there is: the initramfs is the same, byte for byte.

// gatherScript is called as dracut-install is. %[1]s is the path of dracut-install, %[2]d the number of parts of a list. The
// status of what is gathered meanwhile does not matter to mkinitramfs.
const gatherScript = `#!/bin/sh
real=%[1]s parts=%[2]d
to=$2
shift 2
gather() { # FATAL ARGUMENT...: begins a part; FATAL: true if all has failed if this has, else false
	part=$(mktemp -d "$to.XXXXXX") && mkdir -p "$part/usr/lib" && ln -s usr/lib "$part/lib" && mkfifo "$part.status" || exit
	{
		fatal=$1
		shift
		$real -D "$part" "$@" || ! $fatal
		echo $? >"$part.status"
	} &
}
case " $* " in *" -s "*) gather false "$@"; exit 0 ;; esac

options=
while [ $# -gt 0 ]; do
	options="$options $1"
	shift
	[ "${options##* }" != -m ] || break
done
if [ $# -lt $((parts * 8)) ]; then parts=1; fi
n=0
for module; do
	eval "list$n=\"\$list$n \$module\""
	n=$(((n + 1) %% parts))
done
n=1
while [ $n -lt $parts ]; do
	eval "gather true $options \$list$n"
	n=$((n + 1))
done
status=0
if [ $# -gt 0 ]; then $real -D "$to" $options $list0 || status=$?; fi
for part in "$to".??????; do
	[ -d "$part" ] || continue
	read -r other <"$part.status" && [ "$other" = 0 ] || status=1
	cp -rlf "$part/usr/." "$to/usr/" && rm -r "$part" "$part.status" || status=1
done
exit $status
`

// mostParts bounds the parts of a list: what several modules need is copied for each part.
const mostParts = 8

// gatherEdits are what makes our scripts of those of initramfs-tools 0.147 and later: dracut-install is called in one place,
// and mkinitramfs waits in another for what is not there yet.
var gatherEdits = []struct{ script, name, old, new string }{
	{"usr/sbin/mkinitramfs", "mkinitramfs", "\n. /usr/share/initramfs-tools/hook-functions\n", "\n. /" + programsDir + "/hook-functions\n"},
	{
		"usr/sbin/mkinitramfs", "mkinitramfs", "\napply_add_modules || exit $?\nrun_scripts ",
		"\napply_add_modules && /" + programsDir + `/dracut-install -D "${DESTDIR}" || exit $?` + "\nrun_scripts ",
	},
	{
		"usr/share/initramfs-tools/hook-functions", "hook-functions",
		"\n\t/usr/lib/dracut/dracut-install -D ", "\n\t/" + programsDir + "/dracut-install -D ",
	},
}

// gatherSideBySide returns what runs programs of a tree so that mkinitramfs gathers modules on all processors, if there are several
// and the tree has the scripts that are known. Call its remove when that is done.
func gatherSideBySide(root string, target chroot.Runner) (*programs, error) {
	p := &programs{root: root, target: target}
	if err := p.placeGatherer(runtime.GOMAXPROCS(0)); err != nil {
		return nil, errors.Join(fmt.Errorf("put our own mkinitramfs in place: %w", err), p.remove())
	}
	return p, nil
}

func (p *programs) placeGatherer(processors int) error {
	scripts := editedScripts(p.root)
	if processors == 1 || scripts == nil {
		return nil
	}
	scripts["dracut-install"] = fmt.Sprintf(gatherScript, "/usr/lib/dracut/dracut-install", min(processors, mostParts))
	if err := p.open(); err != nil || p.dir == nil {
		return err
	}
	for name, text := range scripts {
		if err := p.dir.WriteFile(name, []byte(text), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// editedScripts are those of gatherEdits, by name; nil if what is to be edited is not there, or not once.
func editedScripts(root string) map[string]string {
	scripts := map[string]string{}
	for _, e := range gatherEdits {
		text, begun := scripts[e.name]
		if !begun {
			text = readInside(root, e.script)
		}
		if strings.Count(text, e.old) != 1 {
			return nil
		}
		scripts[e.name] = strings.Replace(text, e.old, e.new, 1)
	}
	return scripts
}

// readInside reads a file of the tree; it is empty if it cannot be read.
func readInside(root, name string) string {
	dir, err := openInside(root, path.Dir(name))
	if err != nil || dir == nil {
		return ""
	}
	defer dir.Close()
	text, err := dir.ReadFile(path.Base(name))
	if err != nil {
		return ""
	}
	return string(text)
}
