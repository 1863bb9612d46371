package rootfs

import (
	"bytes"
	"context"
	"errors"
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
	"vmbuild/rootfs/internal/dpkg"
)

// foresight has answers ready to what the scripts of packages ask while they are configured, one after the other. What takes long
// and needs only packages' files is begun beside the scripts, as soon as these files are in place; what needs no answer gets none
// from programs that take long to start. Scripts find programs of ours before those of the system, which wait for what
// is begun, and ask the system's own program whatever they do not know.
type foresight struct {
	programs
	work sync.WaitGroup

	beginning sync.Mutex // one after the other

	mu       sync.Mutex
	awaitApt bool // apt is to be unpacked, whose program decompresses modules
	kernel   bool // one is unpacked for which nothing is begun yet
	asked    map[question]bool
	owed     []question // have no answer, although somebody went on as if they had
	rules    []string   // of depmod, before anything was asked

	servers    sync.WaitGroup // see fork
	endServers []context.CancelFunc
	answers    []*os.File // that are yet to be read
}

// A question is a command of which the answer is the files that it makes.
type question struct{ program, args string }

// note is the name of a file about a question.
func (q question) note(kind string) string { return path.Base(q.program) + " " + q.args + "." + kind }

// ofModules says whether depmod is asked, for all modules of a kernel.
func (q question) ofModules() bool { return path.Base(q.program) == "depmod" }

// foreseen is put in the place of a program, whose path %s is, of which something has been asked. It has one answer for each
// question. Whoever asks another may have changed what the answers were made of, so that none is right any more. Where
// nobody reads an answer before all is configured, it is not waited for.
const foreseen = `#!/bin/sh
here=${0%%/*} name=${0##*/}
begun() {
	for note in "$here/$name "*.begun; do [ ! -e "$note" ] || return 0; done
	return 1
}
answer() { rm "$here/$name $*.foreseen" 2>/dev/null; }
if [ -e "$here/$name.later" ] && answer "$@"; then exit 0; fi
while begun; do sleep 0.02; done
if answer "$@"; then exit 0; fi
rm -f "$here/$name "*.foreseen
exec %s "$@"
`

// systemdHelper is put in the place of deb-systemd-helper(1), which each package with a unit calls thrice or more. Most calls have
// nothing to find in a new system: whether a unit is to be unmasked that is not there in /etc, whether one was installed or
// enabled of which nothing is noted yet (it counts as enabled).
const systemdHelper = `#!/bin/sh
state=/var/lib/systemd/deb-systemd
[ -n "$DPKG_MAINTSCRIPT_PACKAGE" ] && [ -z "$DPKG_ROOT$_DEB_SYSTEMD_HELPER_DEBUG" ] || exec %[1]s "$@"
masked() { [ -e "/etc/systemd/$1/$2" ] || [ -e $state-helper-masked ] || [ -e $state-user-helper-masked ]; }
known() { [ -e "$state-$1-enabled/$2.dsh-also" ]; }
case "$#:$1:$2:$3:$4" in
*/*) ;;
2:unmask:[!-]*) masked system "$2" || exit 0 ;;
3:--user:unmask:[!-]*) masked user "$3" || exit 0 ;;
2:debian-installed:[!-]*) known helper "$2" || exit 1 ;;
3:--user:debian-installed:[!-]*) known user-helper "$3" || exit 1 ;;
3:--quiet:was-enabled:[!-]*) known helper "$3" || exit 0 ;;
4:--quiet:--user:was-enabled:[!-]* | 4:--user:--quiet:was-enabled:[!-]*) known user-helper "$4" || exit 0 ;;
esac
` + asking

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
	f.beginning.Lock()
	defer f.beginning.Unlock()
	foreseen, err := f.questions(ctx, all)
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
	if !all {
		return nil
	}
	f.forget(foreseen)
	scripts, err := dpkg.Postinsts(f.root)
	if err == nil {
		err = errors.Join(f.noteReaders(), f.placeFontCache(), f.fork(ctx, scripts), f.compile(ctx, scripts))
	}
	if err != nil {
		return fmt.Errorf("look ahead: %w", err)
	}
	return nil
}

// unpacked is told of each package whose files are in place, before others are. What is wrong is found, and said, when all are.
func (f *foresight) unpacked(ctx context.Context, name string) {
	if f.kernelReady(ctx, name) {
		_ = f.begin(ctx, false)
	}
}

// kernelReady says whether a kernel is unpacked for which nothing is begun yet, and what decompresses its modules is, too.
func (f *foresight) kernelReady(ctx context.Context, unpacked string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kernel = f.kernel || isAsker(unpacked)
	ready := f.kernel && f.decompresses(ctx)
	f.kernel = f.kernel && !ready
	return ready
}

// decompresses says whether modules can be decompressed by now, or never will be.
func (f *foresight) decompresses(ctx context.Context) bool {
	if f.awaitApt {
		f.awaitApt = !f.canDecompress(ctx)
	}
	return !f.awaitApt
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
			_ = f.dir.Remove(q.note("foreseen"))
		}
	}
}

// place writes our programs, and notes what is begun.
func (f *foresight) place(questions []question) error {
	if f.dir == nil {
		if err := f.open(); err != nil || f.dir == nil {
			return err
		}
		for name, script := range map[string]string{
			"deb-systemd-helper":      fmt.Sprintf(systemdHelper, "/usr/bin/deb-systemd-helper"),
			"dpkg-maintscript-helper": maintscriptHelper,
		} {
			if err := f.dir.WriteFile(name, []byte(script), 0o755); err != nil {
				return err
			}
		}
	}
	if slices.ContainsFunc(questions, question.ofModules) {
		if err := f.showPlain(); err != nil {
			return err
		}
	}
	for _, q := range questions {
		f.setAsked(q, true)
		if err := f.dir.WriteFile(path.Base(q.program), fmt.Appendf(nil, foreseen, q.program), 0o755); err != nil {
			return err
		}
		for _, kind := range []string{"foreseen", "begun"} {
			if err := f.dir.WriteFile(q.note(kind), nil, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// ask has a program answer. Without an answer whoever asks finds out why, or end does.
func (f *foresight) ask(ctx context.Context, q question) {
	err := f.answer(ctx, q)
	if err != nil && f.dir.Remove(q.note("foreseen")) != nil {
		f.mu.Lock()
		f.owed = append(f.owed, q)
		f.mu.Unlock()
	}
	_ = f.dir.Remove(q.note("begun"))
	f.setAsked(q, err == nil) // last, so that who asks again notes it anew
}

// answer has the files made that are the answer.
func (f *foresight) answer(ctx context.Context, q question) error {
	if q.ofModules() && f.listKernel(ctx, q.args) == nil {
		return nil
	}
	return f.target.Run(ctx, q.command())
}

func (q question) command() chroot.Command {
	return chroot.Command{Args: append([]string{q.program}, strings.Fields(q.args)...)}
}

// end waits for what is begun, has asked once more what has no answer, and takes the programs away.
func (f *foresight) end(ctx context.Context) error {
	for _, end := range f.endServers {
		end()
	}
	f.servers.Wait()
	for _, answer := range f.answers {
		answer.Close()
	}
	f.work.Wait()
	err := f.endFontCache(ctx)
	for _, q := range f.owed {
		if err == nil && ctx.Err() == nil { // else somebody has said more than this could
			err = f.target.Run(ctx, q.command())
		}
	}
	return errors.Join(err, f.remove())
}

// blindHooks are those of kernel packages that do not look at a kernel's drivers: the makers of an initramfs do nothing while
// packages are configured (see quiet).
var blindHooks = []string{
	"00-legacy-boot", "apt-auto-removal", "dracut", "initramfs-tools", "touch-reboot-required", "unattended-upgrades", "zz-update-grub",
}

// noteReaders notes whether an answer of depmod is read, or may be, before all packages are configured.
func (f *foresight) noteReaders() error {
	var hooks []string
	for _, dir := range []string{kernelHooks, "usr/share/kernel/postinst.d"} {
		names, err := namesInside(f.root, dir)
		if err != nil {
			return err
		}
		hooks = append(hooks, names...)
	}
	reads := func(hook string) bool {
		return !slices.Contains(blindHooks, strings.TrimSuffix(hook, ".dpkg-new")) // which it is until it is configured
	}
	const note = "depmod.later"
	if slices.ContainsFunc(hooks, reads) {
		if err := f.dir.Remove(note); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	return f.dir.WriteFile(note, nil, 0o644)
}

// questions are those that can be foreseen, and that something is gained by: not where nothing can run beside the scripts.
func (f *foresight) questions(ctx context.Context, all bool) ([]question, error) {
	if runtime.GOMAXPROCS(0) == 1 {
		return nil, nil
	}
	info, err := openInside(f.root, "var/lib/dpkg/info")
	if err != nil || info == nil {
		return nil, err
	}
	defer info.Close()
	kernels, err := f.kernels(ctx, info, all)
	if err != nil || !all {
		return kernels, err
	}
	hardware, err := f.hardware(info)
	return append(kernels, hardware...), err
}

// kernels has depmod(8) list what the drivers of each new kernel depend on: a kernel's own files, for as long as all other scripts
// of a system take together. Nothing is asked where something else may add drivers, or has something to say of their order.
func (f *foresight) kernels(ctx context.Context, info *os.Root, all bool) ([]question, error) {
	f.mu.Lock()
	ready := all || f.decompresses(ctx)
	f.mu.Unlock()
	if !ready {
		return nil, nil
	}
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
		pkg := asker(info, v)
		if pkg == "" {
			continue
		}
		lists, err := namesInside(f.root, path.Join("lib/modules", v))
		if err != nil {
			return nil, err
		}
		own, foreign, err := drivers(info, pkg, v)
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

// askers are how packages with the drivers of a kernel begin, and how they ask depmod: up to trixie, and later.
var askers = map[string]string{"linux-image-": "\ndepmod $version\n", "linux-modules-": "\n  depmod \"$version\"\n"}

// asker is the package that will ask depmod to list the drivers of a kernel; empty: none will, or in words that are not known.
func asker(info *os.Root, version string) string {
	for prefix, words := range askers {
		if script, err := info.ReadFile(prefix + version + ".postinst"); err == nil && bytes.Contains(script, []byte(words)) {
			return prefix + version
		}
	}
	return ""
}

// isAsker says whether a package may be the asker of a kernel.
func isAsker(pkg string) bool {
	for prefix := range askers {
		if strings.HasPrefix(pkg, prefix) {
			return true
		}
	}
	return false
}

// drivers says whether a package has drivers for a kernel, and whether another has.
func drivers(info *os.Root, pkg, version string) (own, foreign bool, err error) {
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
		case name == pkg+".list":
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
