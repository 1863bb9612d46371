package hooks

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/examples"
	"vmbuild/rootfs/offers"
)

// shells are those that source the library in the tests. Debian has the last two, whatever its sh is.
func shells() []string {
	if offers.Has("build") {
		return []string{"sh", "dash", "bash"}
	}
	return []string{"sh"}
}

// stand-ins for programs that need a build: they say how they are called, and mount leaves what tells of a mount.
const standIns = `
mount() { echo "mount $*" | at; case $* in --rbind*) ;; *proc) mkdir "$rootdir/proc/self" ;; *sys) mkdir "$rootdir/sys/kernel" ;;
	*pts) return 1 ;; esac }
umount() { echo "umount $*" | at; [ "$1" = -l ] || [ "$1" != "$rootdir/sys" ]; }
chroot() { echo "chroot $*" | at; }
at() { sed "s:$rootdir:ROOT:g"; }
show() { (cd "$rootdir" && find etc usr -type f | sort | while read -r f; do echo "$f: $(sed -n '$p' "$f")"; done); }
`

// sourced runs a script that has sourced the library, as a hook.
func sourced(t *testing.T, shell, root, text string) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook")
	write(t, path, "#!/usr/bin/env "+shell+"\nset -eu\nrootdir=$1\n. \"$VMBUILD_HOOKS/customise.lib\"\n"+standIns+text, 0o755)
	var log bytes.Buffer
	err := Run(t.Context(), []Hook{{Stage: Customize, Path: path}}, Customize, Target{
		Root: root, Log: &log, Suite: "trixie", Mirror: "http://own.example/debian", Work: t.TempDir(),
	})
	return log.String(), err
}

// libraryTree has what the library's functions look at.
func libraryTree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"proc", "sys", "dev", "usr/sbin", "usr/bin", "etc/apt/sources.list.d"} {
		must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	write(t, filepath.Join(root, "usr/bin/apt-get"), "apt", 0o755)
	return root
}

func TestLibrary(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"environment": {`export_env; export_env; env | grep -c -e ^LC_ALL=C$ -e ^LANG=C$ -e ^LANGUAGE=C$ -e ^DEB.*=noninteractive$
			echo $TASK_PACKAGES, ${EXTRA_PACKAGES%% *}`,
			"4\ntask-laptop task-english, aptitude\n"},
		"mounts": {`mount_proc; mount_proc; mount_support; cleanup; cleanup`, `mount -t proc proc ROOT/proc
mount -t sysfs sysfs ROOT/sys
mount -t devpts devpts ROOT/dev/pts
mount --rbind /dev/pts ROOT/dev/pts
umount ROOT/dev/pts
umount ROOT/sys
umount -l ROOT/sys
umount ROOT/proc
chroot ROOT apt-get clean
chroot ROOT apt-get clean
`},
		"mounts of the build": {`mkdir -p "$1/proc/self" "$1/sys/kernel" "$1/dev/pts/ptmx"; mount_support; cleanup`,
			"chroot ROOT apt-get clean\n"},
		"daemons": {`disable_daemons; disable_daemons; show; remove_daemon_block; remove_daemon_block; echo; show`,
			"usr/bin/apt-get: apt\nusr/sbin/policy-rc.d: exit 101\n\nusr/bin/apt-get: apt\n"},
		"daemons blocked by the build": {`echo "exit 101" >"$1/usr/sbin/policy-rc.d"; disable_daemons; remove_daemon_block; cleanup; show`,
			"chroot ROOT apt-get clean\nusr/bin/apt-get: apt\nusr/sbin/policy-rc.d: exit 101\n"},
		"a policy of the system's": {`echo own >"$1/usr/sbin/policy-rc.d"; disable_daemons; disable_daemons; show; remove_daemon_block; show`,
			`usr/bin/apt-get: apt
usr/sbin/policy-rc.d: exit 101
usr/sbin/policy-rc.d.customise: own
usr/bin/apt-get: apt
usr/sbin/policy-rc.d: own
`},
		"a linked policy": {`echo "exit 101" >"$1/usr/policy"; cd "$1/usr/sbin"; ln -s ../policy policy-rc.d; disable_daemons
			test ! -L policy-rc.d; show; remove_daemon_block; readlink policy-rc.d`,
			`usr/bin/apt-get: apt
usr/policy: exit 101
usr/sbin/policy-rc.d: exit 101
../policy
`},
		"sources": {`cd "$1/etc/apt"; echo list >sources.list; echo base >sources.list.d/base.list
			echo deb822 >sources.list.d/debian.sources; echo other >sources.list.d/other
			prepare_apt_source http://m.example/debian sid
			prepare_apt_source http://m.example/debian sid main contrib; show
			prepare_apt_source; show | sed -n 1p; replace_apt_source; replace_apt_source; show`,
			`chroot ROOT apt-get -q -y -o APT::Get::List-Cleanup=false -o Acquire::Languages=none update
chroot ROOT apt-get -q -y -o APT::Get::List-Cleanup=false -o Acquire::Languages=none update
etc/apt/sources.list: deb http://m.example/debian sid main contrib
etc/apt/sources.list.d/other: other
usr/bin/apt-get: apt
chroot ROOT apt-get -q -y -o APT::Get::List-Cleanup=false -o Acquire::Languages=none update
etc/apt/sources.list: deb http://own.example/debian trixie main contrib non-free non-free-firmware
etc/apt/sources.list: list
etc/apt/sources.list.d/base.list: base
etc/apt/sources.list.d/debian.sources: deb822
etc/apt/sources.list.d/other: other
usr/bin/apt-get: apt
`},
		"only deb822 sources": {`cd "$1/etc/apt"; echo deb822 >sources.list.d/debian.sources; prepare_apt_source; cleanup; show`,
			`chroot ROOT apt-get -q -y -o APT::Get::List-Cleanup=false -o Acquire::Languages=none update
chroot ROOT apt-get clean
etc/apt/sources.list.d/debian.sources: deb822
usr/bin/apt-get: apt
`},
		"bochs": {`blacklist_qemu_bochs; blacklist_qemu_bochs; cat "$1/etc/modprobe.d/qemu-blacklist.conf"`,
			"blacklist bochs-drm\nblacklist bochs\n"},
		"need": {"need this that", ""},
	} {
		for _, shell := range shells() {
			got, err := sourced(t, shell, libraryTree(t), test.text)
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("%s, %s: %v\n%s", name, shell, err, diff)
			}
		}
	}
}

// A script that dies says so, whatever cleanup does, and leaves no policy-rc.d even without cleanup.
func TestLibraryOfOneWhoDies(t *testing.T) {
	for _, trap := range []string{"trap cleanup 0\n", ""} {
		for _, shell := range shells() {
			root := libraryTree(t)
			write(t, filepath.Join(root, "usr/sbin/policy-rc.d"), "own", 0o755)
			_, err := sourced(t, shell, root, trap+"mount_proc\ndisable_daemons\necho half-way\n(exit 7)\necho never\n")
			if err == nil || !strings.Contains(err.Error(), ": exit status 7; its last words:\n") ||
				!strings.Contains(err.Error(), "half-way") || strings.Contains(err.Error(), "never") {
				t.Errorf("%s, %q: %v", shell, trap, err)
			}
			names, err := filepath.Glob(filepath.Join(root, "usr/sbin/*"))
			text, _ := os.ReadFile(filepath.Join(root, "usr/sbin/policy-rc.d"))
			if len(names) != 1 || string(text) != "own" || err != nil {
				t.Errorf("%s, %q: %v: %s", shell, trap, names, text)
			}
		}
	}
}

// TestLibrarysMark: what removePolicy looks for is what the library writes.
func TestLibrarysMark(t *testing.T) {
	text, err := texts.ReadFile("library/customise.lib")
	must(t, err)
	if want := "\ncustomise_mark='" + policyMark + "'\n"; !strings.Contains(string(text), want) {
		t.Errorf("the library has no line %q", want)
	}
}

// TestSyntax has shells read the library and the examples without running them.
func TestSyntax(t *testing.T) {
	dir := t.TempDir()
	library, err := texts.ReadFile("library/customise.lib")
	must(t, err)
	write(t, filepath.Join(dir, "library"), string(library), 0o644)
	for _, name := range examples.Names() {
		text, _ := examples.Script(name)
		if bytes.HasPrefix(text, []byte("#!/bin/sh")) {
			write(t, filepath.Join(dir, name), string(text), 0o644)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	must(t, err)
	for _, shell := range shells() {
		for _, file := range files {
			if out, err := exec.Command(shell, "-n", file).CombinedOutput(); err != nil {
				t.Errorf("%s -n: %v\n%s", shell, err, out)
			}
		}
	}
}

// What a Path hook finds on the host is there while it runs, and no longer.
func TestLibraryOnTheHost(t *testing.T) {
	work, root := t.TempDir(), libraryTree(t)
	look := script(t, `ls -l "$VMBUILD_HOOKS" | sed -n 's/^\(-[-rwx]*\).* /\1 /p' >$1/seen; command -v need >>$1/seen; echo $VMBUILD_HOOKS >>$1/seen`)
	example := Hook{Stage: Customize, Path: "qemu-efi-bochs-drm.sh"}
	must(t, Run(t.Context(), []Hook{look, example}, Customize, Target{Root: root, Work: work}))
	seen, err := os.ReadFile(filepath.Join(root, "seen"))
	must(t, err)
	lines := strings.Split(strings.TrimSpace(string(seen)), "\n")
	library := lines[len(lines)-1]
	want := []string{"-rw-r--r-- customise.lib", "-rwxr-xr-x need", library + "/need", library}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	if left, err := os.ReadDir(work); len(left) > 0 || err != nil || filepath.Dir(filepath.Dir(library)) != work {
		t.Errorf("VMBUILD_HOOKS was %s; left in %s: %v %v", library, work, left, err)
	}
	if _, err := os.Stat(filepath.Join(root, "etc/modprobe.d/qemu-blacklist.conf")); err != nil {
		t.Error(err)
	}
}

// A script of the working directory comes before an example of its name.
func TestExampleIsSecond(t *testing.T) {
	t.Chdir(t.TempDir())
	hook := Hook{Stage: Customize, Path: "customise-sshd.sh"}
	if got, err := Find(hook); got != "" || err != nil {
		t.Errorf("Find = %q, %v", got, err)
	}
	write(t, hook.Path, "#!/bin/sh\necho mine", 0o755)
	var log bytes.Buffer
	must(t, Run(t.Context(), []Hook{hook}, Customize, Target{Root: t.TempDir(), Log: &log}))
	if log.String() != "mine\n" {
		t.Errorf("it printed %q", &log)
	}
}
