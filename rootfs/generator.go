package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
)

// reads says what of a tree initramfs-tools may read: what its scripts name, and what it is known to take as it finds it. All of
// it are shell scripts, and so a path that none of them can put together is one that an initramfs does not depend on.
type reads struct {
	names  map[string]bool  // of files, in whatever directory
	paths  []*regexp.Regexp // that are put together from variables; of a directory, it and all that is in it
	seen   map[string]bool  // what paths has already
	read   map[string]bool  // the files that were read
	places map[string]bool  // files, and directories of which everything may be read: "/etc/lvm"
}

// The scripts: those of the generator, and those that packages and administrators add to it. Programs are scripts too, if they
// begin as such and another script names them.
//
// What of theirs runs in the initramfs is taken as it is found, and reads nothing here.
var (
	generatorScripts = []string{
		"usr/sbin/mkinitramfs", "usr/sbin/update-initramfs", "usr/share/initramfs-tools", "etc/initramfs-tools",
	}
	bootScripts = []string{
		"usr/share/initramfs-tools/init", "usr/share/initramfs-tools/scripts", "etc/initramfs-tools/scripts",
	}
	programDirs = []string{"usr/sbin", "usr/bin"}
)

// alwaysRead are directories, without /usr, that programs read for a generator: drivers, their options and firmware, rules for
// devices, where libraries are.
var alwaysRead = []string{
	"/boot", "/etc/depmod.d", "/etc/initramfs-tools", "/etc/kernel", "/etc/ld.so.conf.d", "/etc/modprobe.d", "/etc/modules-load.d",
	"/etc/udev", "/lib/depmod.d", "/lib/firmware", "/lib/modprobe.d", "/lib/modules", "/lib/modules-load.d", "/lib/udev", "/local/lib",
	"/share/initramfs-tools",
}

// tooWide are directories that scripts name only to make the same in an initramfs (copy_exec's second argument is one), or to look
// for one thing in them.
var tooWide = []string{
	"", "/bin", "/boot", "/dev", "/etc", "/etc/default", "/home", "/lib", "/lib/systemd", "/lib64", "/local", "/proc", "/root", "/run", "/sbin", "/share",
	"/share/locale", "/sys", "/tmp", "/usr", "/var", "/var/cache", "/var/lib", "/var/tmp",
}

// maxScript bounds the files that are taken for scripts, in bytes.
const maxScript = 1 << 20

// readsOf reads the scripts of a tree.
func readsOf(root string) (*reads, error) {
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("read what makes the initramfs: %w", err)
	}
	defer dir.Close()
	r := &reads{names: map[string]bool{}, places: map[string]bool{}, seen: map[string]bool{}, read: map[string]bool{}}
	for _, top := range generatorScripts {
		if err := r.readAll(dir.FS(), top); err != nil {
			return nil, fmt.Errorf("read what makes the initramfs: %w", err)
		}
	}
	for range maxCalls {
		for _, name := range r.named(dir.FS()) {
			if err := r.readAll(dir.FS(), name); err != nil {
				return nil, fmt.Errorf("read what makes the initramfs: %w", err)
			}
		}
	}
	return r, nil
}

// maxCalls is how far scripts are followed to others that they call or take in.
const maxCalls = 3

// named lists the files of a tree that scripts name, and that were not read yet: programs, and all that have their path there.
func (r *reads) named(tree fs.FS) []string {
	var list []string
	add := func(name string) {
		if info, err := fs.Stat(tree, name); err == nil && info.Mode().IsRegular() && !r.read[name] {
			list = append(list, name)
		}
	}
	for name := range r.names {
		for _, bin := range programDirs {
			add(path.Join(bin, name))
		}
	}
	for place := range r.places {
		for _, name := range []string{place[1:], "usr" + place} {
			if fs.ValidPath(name) {
				add(name)
			}
		}
	}
	slices.Sort(list)
	return list
}

// readAll reads the scripts at or below a path.
func (r *reads) readAll(tree fs.FS, top string) error {
	return fs.WalkDir(tree, top, func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !e.Type().IsRegular() {
			if slices.Contains(bootScripts, name) && e.IsDir() {
				return fs.SkipDir
			}
			return err
		}
		if slices.Contains(bootScripts, name) {
			return nil
		}
		if info, err := e.Info(); err != nil || info.Size() > maxScript {
			return err
		}
		r.read[name] = true
		text, err := fs.ReadFile(tree, name)
		if err == nil && !bytes.HasPrefix(text, []byte("\x7fELF")) {
			r.note(string(text))
		}
		return err
	})
}

var (
	comment  = regexp.MustCompile(`(?m)^[ \t]*#.*$`)
	made     = regexp.MustCompile(`\$\{?DESTDIR\}?"?[^ \t\n"';)]*`) // where the initramfs is put together
	variable = regexp.MustCompile(`\$\{[^}]*\}|\$[A-Za-z0-9_@#?*!-]+`)
	word     = regexp.MustCompile(`[A-Za-z0-9._+@:~/*?-]+`)
)

// leastLiteral is how many letters and digits of a path that is put together have to be known, for it to say anything.
const leastLiteral = 4

// note takes in what a script names.
func (r *reads) note(script string) {
	script = made.ReplaceAllString(comment.ReplaceAllString(script, ""), " ")
	script = variable.ReplaceAllString(strings.NewReplacer(`"`, "", `'`, "").Replace(script), "*") // "$dir"/conf.d is one word
	for _, w := range word.FindAllString(script, -1) {
		w = strings.TrimSuffix(strings.TrimRight(w, "/"), "/*")
		if strings.ContainsAny(w, "*?") {
			r.noteComposed(w)
			continue
		}
		switch place := withoutUsr(w); {
		case !strings.HasPrefix(place, "/"):
			r.names[path.Base(w)] = true
		case !slices.Contains(tooWide, place):
			r.places[place] = true
		}
	}
}

// noteComposed takes in a path, or a name, of which a part is a variable or a pattern: "*/conf.d", "fsck.*".
func (r *reads) noteComposed(w string) {
	w = withoutUsr(strings.ReplaceAll(w, "*/usr/", "*/"))
	literal := strings.Map(func(c rune) rune {
		if strings.ContainsRune("*?/.-_:~+@", c) {
			return -1
		}
		return c
	}, path.Base(w))
	if r.seen[w] || len(literal) < leastLiteral || slices.Contains(tooWide, "/"+strings.Trim(w, "*/")) {
		return
	}
	r.seen[w] = true
	pattern := regexp.QuoteMeta(strings.TrimLeft(w, "*"))
	pattern = strings.ReplaceAll(strings.ReplaceAll(pattern, `\*`, ".*"), `\?`, ".")
	switch w[0] {
	case '/':
		pattern = "^" + pattern
	case '*': // begins anywhere
	default:
		pattern = "/" + pattern
	}
	r.paths = append(r.paths, regexp.MustCompile(pattern+"(/|$)"))
}

// withoutUsr is a path as it would be without merged /usr.
func withoutUsr(name string) string {
	if rest, ok := strings.CutPrefix(name, "/usr/"); ok {
		return "/" + rest
	}
	return name
}

// may says whether the path of a file, "/etc/motd", may be read.
func (r *reads) may(file string) bool {
	file = withoutUsr(file)
	if r.isNamed(file) || strings.Contains(file, "/glibc-hwcaps/") {
		return true
	}
	if slices.ContainsFunc(r.paths, func(p *regexp.Regexp) bool { return p.MatchString(file) }) {
		return true
	}
	for dir := path.Clean(file); dir != "/"; dir = path.Dir(dir) {
		if r.places[dir] || slices.Contains(alwaysRead, dir) {
			return true
		}
	}
	return false
}

// isNamed says whether a script has the name of a file without its directory: of a program, or of a file in a directory that is
// named elsewhere. A word without a dot, a digit or the like is a name of programs only, as there are so many others.
func (r *reads) isNamed(file string) bool {
	dir, name := path.Split(file)
	return r.names[name] && (strings.ContainsAny(name, "._0123456789") || strings.HasSuffix(dir, "bin/"))
}

// isLibrary says whether a path is that of a shared library. No script names these: programs say which they need. So a new one
// makes no difference, as long as it has not the place of another, nor comes before it (ld.so(8)).
func isLibrary(file string) bool {
	name := path.Base(file)
	return strings.HasSuffix(name, ".so") || strings.Contains(name, ".so.")
}
