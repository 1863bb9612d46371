package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"
	"slices"
	"strings"

	"vmbuild/rootfs/chroot"
)

// initramfs-tools uses one processor most of the time. Most of it goes to dracut-install(1), which copies kernel modules and looks at
// each to see what else it needs. mkinitramfs(8) calls it several times, one after the other: for the modules of whole
// directories that use certain symbols (-s), and for a list of hundreds. Here ours is called in its place. It has the
// first gathered while mkinitramfs goes on, and divides the list into parts that are gathered side by side. Each part has a
// directory of its own, and all are put together before mkinitramfs looks at what there is. dracut-install looks at
// modules that were decompressed before, and so does depmod (see plainModules). zstd(1) is told to use all processors, on which its
// result does not depend. The initramfs is the same, byte for byte.

// gatherScript is called as dracut-install is. %[1]s is the path of dracut-install, %[2]d the number of parts of a list. The
// status of what is gathered meanwhile does not matter to mkinitramfs. Where we have the kernel's modules decompressed,
// dracut-install looks at these, and makes empty files that are filled then.
const gatherScript = `#!/bin/sh
real=%[1]s parts=%[2]d
here=${0%%/*}
to=$2
shift 2
kernel= version=
if [ "$1" = --kerneldir ]; then
	kernel=$2
	shift 2
	if [ -d "$here/plain/kernel$kernel" ]; then
		version=${kernel##*/} kernel=$here/plain/kernel$kernel
	fi
fi
gather() { # FATAL ARGUMENT...: begins a part; FATAL: true if all has failed if this has, else false
	part=$(mktemp -d "$to.XXXXXX") && mkdir -p "$part/usr/lib" && ln -s usr/lib "$part/lib" && mkfifo "$part.status" || exit
	{
		fatal=$1
		shift
		PATH=${version:+$here/empty:}$PATH $real -D "$part" ${kernel:+--kerneldir "$kernel"} "$@" || ! $fatal
		echo "$? $version" >"$part.status"
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
[ $# -gt 0 ] || parts=0
n=0
for module; do
	eval "list$n=\"\$list$n \$module\""
	n=$(((n + 1) %% parts))
done
n=0
while [ $n -lt $parts ]; do
	eval "gather true $options \$list$n"
	n=$((n + 1))
done
status=0
for part in "$to".??????; do
	[ -d "$part" ] || continue
	read -r other version <"$part.status" && [ "$other" = 0 ] || status=1
	if [ -n "$version" ]; then
		echo "fill $part $version" >"$here/asked"
		read -r answer <"$here/answer"
		[ "$answer" = done ] || status=1
	fi
	cp -rlf "$part/usr/." "$to/usr/" && rm -r "$part" "$part.status" || status=1
done
exit $status
`

// emptyScript is what dracut-install calls in the place of cp(1): of our modules it makes empty files, which is done sooner. %s is
// a shell.
const emptyScript = `#!%s
# cp --reflink=auto --sparse=auto --preserve=... -fL SOURCE DESTINATION
case "$#:$5" in
6:/` + programsDir + `/*) : >"$6" ;;
*) exec /bin/cp "$@" ;;
esac
`

// mostParts bounds the parts of a list: what several modules need is copied for each part. They are not equal, so there is one more
// than there are processors.
const mostParts = 8

// edit is a change of a script, which has the old text once.
type edit struct{ script, name, old, new string }

// gatherEdits are what makes our scripts of those of initramfs-tools 0.147 and later: dracut-install is called in one place,
// and mkinitramfs waits in another for what is not there yet.
var gatherEdits = []edit{
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

// moreEdits are of use each by itself, where those are possible: depmod lists what was gathered, and zstd is told to use
// all processors, as it is where an initramfs need not be reproducible.
var moreEdits = []edit{
	{"usr/sbin/mkinitramfs", "mkinitramfs", "\ndepmod -a -b ", "\n/" + programsDir + "/depmod -a -b "},
	{"usr/sbin/mkinitramfs", "mkinitramfs", `compress="zstd -q ${compresslevel}"` + "\n", `compress="zstd -q ${compresslevel} -T0"` + "\n"},
}

// sideBySide runs programs of a tree so that mkinitramfs uses all processors, if there are several and the tree has the scripts that
// are known.
type sideBySide struct {
	programs
	attendant *attendant // nil: there is none
}

// runSideBySide puts our scripts in their places. Call remove when an initramfs is made.
func runSideBySide(ctx context.Context, p programs) (*sideBySide, error) {
	s := &sideBySide{programs: p}
	if err := s.place(ctx, runtime.GOMAXPROCS(0)); err != nil {
		return nil, errors.Join(fmt.Errorf("put our own mkinitramfs in place: %w", err), s.remove())
	}
	return s, nil
}

func (s *sideBySide) place(ctx context.Context, processors int) error {
	scripts := editedScripts(s.root)
	if processors == 1 || scripts == nil {
		return nil
	}
	scripts["dracut-install"] = fmt.Sprintf(gatherScript, "/usr/lib/dracut/dracut-install", min(processors+1, mostParts))
	scripts["depmod"] = listingScript
	scripts["empty/cp"] = fmt.Sprintf(emptyScript, s.shell(ctx))
	if err := s.open(); err != nil || s.dir == nil {
		return err
	}
	if err := s.dir.Mkdir("empty", 0o755); err != nil {
		return err
	}
	for name, text := range scripts {
		if err := s.dir.WriteFile(name, []byte(text), 0o755); err != nil {
			return err
		}
	}
	if err := s.showPlain(); err != nil {
		return err
	}
	var err error
	s.attendant, err = s.startAttendant(ctx)
	return err
}

// shell is a shell of the tree: that which is to be in an initramfs starts in less than half the time, if it runs at all, which an
// emulator may not let it.
func (s *sideBySide) shell(ctx context.Context) string {
	const small, dir = "sh", "usr/lib/klibc/bin"
	names, err := namesInside(s.root, dir)
	if err == nil && slices.Contains(names, small) {
		shell := path.Join("/", dir, small)
		nothing := chroot.Command{Args: []string{shell, "-c", ":"}, Stdout: io.Discard, Stderr: io.Discard}
		if s.target.Run(ctx, nothing) == nil {
			return shell
		}
	}
	return "/bin/sh"
}

// remove takes all that is ours away.
func (s *sideBySide) remove() error {
	if s.attendant != nil {
		s.attendant.stop()
		s.attendant = nil
	}
	return s.programs.remove()
}

// editedScripts are those of gatherEdits and moreEdits, by name; nil if what is to be edited by the first is not there, or not once.
func editedScripts(root string) map[string]string {
	scripts := map[string]string{}
	for _, e := range gatherEdits {
		if !e.apply(root, scripts) {
			return nil
		}
	}
	for _, e := range moreEdits {
		e.apply(root, scripts)
	}
	return scripts
}

// apply changes a script of the tree, or ours that is made of it, and says whether it could.
func (e edit) apply(root string, scripts map[string]string) bool {
	text, begun := scripts[e.name]
	if !begun {
		text = readInside(root, e.script)
	}
	if strings.Count(text, e.old) != 1 {
		return false
	}
	scripts[e.name] = strings.Replace(text, e.old, e.new, 1)
	return true
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
