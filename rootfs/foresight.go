package rootfs

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"

	"vmbuild/rootfs/chroot"
)

// foresight has answers ready to what the scripts of packages ask while they are configured, one after the other. What takes long
// and needs only packages' files is begun beside the scripts, as soon as these files are in place; what needs no answer gets none
// from programs that take long to start. Scripts find programs of ours before those of the system, which wait for what
// is begun, and ask the system's own program whatever they do not know.
type foresight struct {
	programs
	work sync.WaitGroup

	mu    sync.Mutex
	asked map[question]bool
	rules []string // of depmod, before anything was asked
}

// A question is a command of which the answer is the files that it makes.
type question struct{ program, args string }

// note is the name of a file about a question.
func (q question) note(kind string) string { return path.Base(q.program) + " " + q.args + "." + kind }

// waiting is put in the place of a program, whose path %s is, of which something has been asked. It has one answer for each
// question. Whoever asks another may have changed what the answers were made of, so that none is right any more.
const waiting = `#!/bin/sh
here=${0%%/*} name=${0##*/}
begun() {
	for note in "$here/$name "*.begun; do [ ! -e "$note" ] || return 0; done
	return 1
}
while begun; do sleep 0.02; done
if [ -e "$here/$name $*.made" ]; then rm "$here/$name $*.made"; exit 0; fi
rm -f "$here/$name "*.made
exec %s "$@"
`

// systemdHelper is put in the place of deb-systemd-helper(1), which each package with a unit calls thrice or more. Most calls have
// nothing to find in a new system: whether a unit is to be unmasked that is not there in /etc, whether one was installed or
// enabled of which nothing is noted yet (it counts as enabled).
const systemdHelper = `#!/bin/sh
real=/usr/bin/deb-systemd-helper state=/var/lib/systemd/deb-systemd
[ -n "$DPKG_MAINTSCRIPT_PACKAGE" ] && [ -z "$DPKG_ROOT$_DEB_SYSTEMD_HELPER_DEBUG" ] || exec $real "$@"
case "$#:$1:$2:$3" in
*/*) ;;
2:unmask:[!-]*)
	if [ ! -e "/etc/systemd/system/$2" ] && [ ! -e $state-helper-masked ] && [ ! -e $state-user-helper-masked ]; then exit 0; fi ;;
2:debian-installed:[!-]*)
	if [ ! -e "$state-helper-enabled/$2.dsh-also" ]; then exit 1; fi ;;
3:--quiet:was-enabled:[!-]*)
	if [ ! -e "$state-helper-enabled/$3.dsh-also" ]; then exit 0; fi ;;
esac
exec $real "$@"
`

// maintscriptHelper is put in the place of dpkg-maintscript-helper(1), by which packages move and remove configuration files that
// older versions of theirs have left. Where there was no older version there is nothing to do but to look at the words.
const maintscriptHelper = `#!/bin/sh
nothing() { # rm_conffile PATH VERSION [PACKAGE] -- ACTION [OLD VERSION], or mv_conffile PATH PATH and so on
	case "$1" in
	rm_conffile) shift; set -- "$1" "$@" ;;
	mv_conffile) shift ;;
	*) return 1 ;;
	esac
	case "$1:$2:$3" in /*:/*:[0-9]*) ;; *) return 1 ;; esac
	case "$3" in *[!0-9A-Za-z.+~:-]* | *:*:* | *[!0-9]*:*) return 1 ;; esac
	[ "$4" = -- ] || shift
	[ "$4" = -- ] && [ -z "$6$DPKG_ROOT$DPKG_DEBUG$DPKG_MAINTSCRIPT_DEBUG" ] || return 1
	[ -n "$DPKG_MAINTSCRIPT_NAME" ] && [ -n "$DPKG_MAINTSCRIPT_PACKAGE" ] || return 1
	[ "$5" = install ] || [ "$5" = configure ]
}
if nothing "$@"; then exit 0; fi
exec /usr/bin/dpkg-maintscript-helper "$@"
`

// begin looks at what is unpacked, puts our programs in their places and begins what will be asked. It is called when the files of
// some packages are in place, and again when all are: what was begun too early for others' files is forgotten then.
func (f *foresight) begin(ctx context.Context, all bool) error {
	foreseen, err := f.questions(all)
	if err != nil {
		return fmt.Errorf("look ahead: %w", err)
	}
	fresh := slices.DeleteFunc(slices.Clone(foreseen), f.isAsked)
	if err := f.place(fresh); err != nil {
		return fmt.Errorf("look ahead: %w", err)
	}
	if f.dir == nil {
		return nil
	}
	for _, q := range fresh {
		f.work.Go(func() { f.ask(ctx, q) })
	}
	if all {
		f.forget(foreseen)
	}
	return nil
}

// isAsked says whether a question is begun or answered. What had no answer can be asked again.
func (f *foresight) isAsked(q question) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[q]
}

func (f *foresight) setAsked(q question, is bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asked == nil {
		f.asked = map[question]bool{}
	}
	f.asked[q] = is
}

// forget removes the answers to all questions but these.
func (f *foresight) forget(but []question) {
	f.mu.Lock()
	questions := slices.Collect(maps.Keys(f.asked))
	f.mu.Unlock()
	for _, q := range questions {
		if !slices.Contains(but, q) {
			f.work.Wait()
			_ = f.dir.Remove(q.note("made"))
		}
	}
}

// place writes our programs, and notes what is begun.
func (f *foresight) place(questions []question) error {
	if f.dir == nil {
		if err := f.open(); err != nil || f.dir == nil {
			return err
		}
		for name, script := range map[string]string{"deb-systemd-helper": systemdHelper, "dpkg-maintscript-helper": maintscriptHelper} {
			if err := f.dir.WriteFile(name, []byte(script), 0o755); err != nil {
				return err
			}
		}
	}
	for _, q := range questions {
		f.setAsked(q, true)
		if err := f.dir.WriteFile(path.Base(q.program), fmt.Appendf(nil, waiting, q.program), 0o755); err != nil {
			return err
		}
		if err := f.dir.WriteFile(q.note("begun"), nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// ask has a program answer. Without an answer whoever asks finds out why.
func (f *foresight) ask(ctx context.Context, q question) {
	err := f.target.Run(ctx, chroot.Command{Args: append([]string{q.program}, strings.Fields(q.args)...)})
	if err == nil {
		_ = f.dir.WriteFile(q.note("made"), nil, 0o644)
	}
	_ = f.dir.Remove(q.note("begun"))
	f.setAsked(q, err == nil) // last, so that who asks again notes it anew
}

// end waits for what is begun, and takes the programs away.
func (f *foresight) end() error {
	f.work.Wait()
	return f.remove()
}

// questions are those that can be foreseen, and that something is gained by: not where nothing can run beside the scripts.
func (f *foresight) questions(all bool) ([]question, error) {
	if runtime.GOMAXPROCS(0) == 1 {
		return nil, nil
	}
	info, err := openInside(f.root, "var/lib/dpkg/info")
	if err != nil || info == nil {
		return nil, err
	}
	defer info.Close()
	kernels, err := f.kernels(info, all)
	if err != nil || !all {
		return kernels, err
	}
	hardware, err := f.hardware(info)
	return append(kernels, hardware...), err
}

// kernels has depmod(8) list what the drivers of each new kernel depend on: a kernel's own files, for as long as all other scripts
// of a system take together. Nothing is asked where something else may add drivers, or has something to say of their order.
func (f *foresight) kernels(info *os.Root, all bool) ([]question, error) {
	if _, err := os.Lstat(filepath.Join(f.root, "usr/sbin/dkms")); err == nil {
		return nil, nil
	}
	conf, err := namesInside(f.root, "etc/depmod.d")
	if err != nil || len(conf) > 0 {
		return nil, err
	}
	rules, err := namesInside(f.root, "lib/depmod.d")
	if err != nil {
		return nil, err
	}
	versions, err := namesInside(f.root, "lib/modules")
	if err != nil {
		return nil, err
	}
	var asked []question
	for _, v := range versions {
		q := question{"/sbin/depmod", v}
		script, err := info.ReadFile("linux-image-" + v + ".postinst")
		if err != nil || !bytes.Contains(script, []byte("\ndepmod $version\n")) {
			continue
		}
		lists, err := namesInside(f.root, path.Join("lib/modules", v))
		if err != nil {
			return nil, err
		}
		own, foreign, err := drivers(info, v)
		if err != nil {
			return nil, err
		}
		switch {
		case f.isAsked(q) && (foreign || !slices.Equal(rules, f.rules)): // too early
		case f.isAsked(q), !slices.Contains(lists, "modules.dep") && (all || own && !foreign):
			asked = append(asked, q)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.asked) == 0 {
		f.rules = rules
	}
	return asked, nil
}

// drivers says whether the package of a kernel has drivers for it, and whether another has.
func drivers(info *os.Root, version string) (own, foreign bool, err error) {
	lists, err := fs.Glob(info.FS(), "*.list")
	if err != nil {
		return false, false, err
	}
	driver := regexp.MustCompile("/lib/modules/" + regexp.QuoteMeta(version) + `/.*\.ko`)
	for _, name := range lists {
		data, err := info.ReadFile(name)
		if err != nil {
			return false, false, err
		}
		switch has := driver.Match(data); {
		case name == "linux-image-"+version+".list":
			own = has
		case has:
			foreign = true
		}
	}
	return own, foreign, nil
}

// hardware has systemd-hwdb(8) compile what udev knows of devices. Nothing is asked where somebody knows more of them.
func (f *foresight) hardware(info *os.Root) ([]question, error) {
	script, err := info.ReadFile("udev.postinst")
	if err != nil || !bytes.Contains(script, []byte(" systemd-hwdb --usr update || true\n")) {
		return nil, nil
	}
	for _, dir := range []string{"etc/udev/hwdb.d", "lib/udev"} {
		names, err := namesInside(f.root, dir)
		if err != nil || len(names) > 0 && dir == "etc/udev/hwdb.d" || slices.Contains(names, "hwdb.bin") {
			return nil, err
		}
	}
	return []question{{"/bin/systemd-hwdb", "--usr update"}}, nil
}
