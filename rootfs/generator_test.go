package rootfs

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// someGenerator are scripts like those of initramfs-tools.
var someGenerator = map[string]string{
	"etc/kernel/postinst.d/initramfs-tools": "",
	"usr/sbin/mkinitramfs": `#!/bin/sh
# a comment that names /etc/commented
. /usr/share/initramfs-tools/hook-functions
for b in /usr/share/initramfs-tools/hooks/*; do "$b"; done
for conf in "${CONFDIR}"/conf.d/*; do . "$conf"; done
cp -p /etc/fancy.conf "$DESTDIR/etc/made"
mkdir -p "${DESTDIR}/etc/outputs" "${DESTDIR}"/lib/elsewhere
compress=zstd
command -v setup-console && setup-console --save
`,
	"usr/share/initramfs-tools/hooks/lvm": "#!/bin/sh\ncp -r /etc/lvm \"$DESTDIR/etc\"\ncopy_exec /sbin/lvm /sbin\n" +
		"for rules in 56-lvm.rules; do :; done\ncopy_exec /sbin/fsck.${type}\ncat fancy/conf${n}\n",
	"usr/share/initramfs-tools/scripts/local": "#!/bin/sh\ncat /etc/at-boot\n",
	"usr/bin/setup-console":                   "#!/bin/sh\n. /etc/default/console\n. /lib/console/functions\n",
	"usr/lib/console/functions":               "keymap=/etc/console/keymap\n",
	"usr/bin/unnamed":                         "#!/bin/sh\n. /etc/default/unnamed\n",
	"usr/bin/zstd":                            "\x7fELF /etc/zstd",
}

func TestReads(t *testing.T) {
	r, err := readsOf(planted(t, someGenerator))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	want := map[string]bool{
		"/etc/fancy.conf": true, "/etc/lvm/lvm.conf": true, "/etc/lvm/profile/x": true, "/usr/sbin/lvm": true, "/sbin/lvm": true,
		"/usr/bin/zstd": true, "/usr/local/bin/zstd": true, "/opt/56-lvm.rules": true, "/etc/default/console": true, "/etc/console/keymap": true, "/usr/lib/console/functions": true,
		"/usr/sbin/fsck.xfs": true, "/etc/anywhere/conf.d/x": true, "/etc/fancy/conf1": true, "/etc/udev/rules.d/x.rules": true,
		"/usr/lib/modules/6.1/x.ko": true, "/lib/modules/6.1/x.ko": true, "/boot/config-6.1": true, "/etc/initramfs-tools/modules": true,
		"/usr/share/initramfs-tools/hooks/new": true, "/etc/modprobe.d/x.conf": true, "/usr/local/lib/libc.so.6": true,
		"/usr/lib/x86_64-linux-gnu/glibc-hwcaps/x86-64-v3/libz.so.1": true,

		"/etc/commented": false, "/etc/made": false, "/etc/outputs/x": false, "/usr/lib/elsewhere/x": false, "/etc/at-boot": false,
		"/etc/zstd": false, "/etc/default/unnamed": false, "/usr/share/zstd/x": false, "/etc/motd": false, "/usr/bin/htop": false,
		"/usr/lib/systemd/system/x.service": false, "/etc/passwd": false, "/srv/type": false, "/etc": false, "/": false,
	}
	for path := range want {
		got[path] = r.may(path)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestInitramfsInputs changes a system of two layers, the upper one with packages: only what the generator may read counts.
func TestInitramfsInputs(t *testing.T) {
	bottom := planted(t, map[string]string{"usr/lib/libz.so.1": "", "etc/motd": "", "etc/": ""})
	key := func(added, changed map[string]string, edit func(*Stack)) string {
		t.Helper()
		tree := maps.Clone(someGenerator)
		maps.Copy(tree, added)
		maps.Copy(tree, changed)
		s := &Stack{
			Dir: planted(t, tree), upper: planted(t, changed), epoch: time.Unix(1700000000, 0),
			base: &Base{Dirs: []string{planted(t, added), bottom}, keys: []string{"top", "bottom"}},
		}
		if edit != nil {
			edit(s)
		}
		list, err := s.initramfsInputs()
		if err != nil {
			t.Fatal(err)
		}
		return initramfsKey(list)
	}
	want := key(nil, nil, nil)
	one := func(path string) map[string]string { return map[string]string{path: "x"} }
	for name, c := range map[string]struct {
		added, changed map[string]string
		edit           func(*Stack)
		same           bool
	}{
		"package":                         {added: one("usr/bin/htop"), same: true},
		"its layer":                       {edit: func(s *Stack) { s.base.keys[0] = "another" }, same: true},
		"kernel's layer":                  {edit: func(s *Stack) { s.base.keys[1] = "another" }},
		"epoch":                           {edit: func(s *Stack) { s.epoch = s.epoch.Add(time.Second) }},
		"hook of a package":               {added: one("usr/share/initramfs-tools/hooks/new")},
		"driver of a package":             {added: one("usr/lib/modules/6.1/new.ko")},
		"changed file":                    {changed: one("etc/motd"), same: true},
		"changed file that is read":       {changed: one("etc/lvm/lvm.conf")},
		"new library":                     {added: one("usr/lib/libhtop.so.1"), same: true},
		"library in the place of another": {added: one("usr/lib/libz.so.1")},
		"opaque directory": {changed: one("etc/x"), edit: func(s *Stack) {
			if err := os.WriteFile(s.upper+"/etc/x", nil, 0o644); err != nil {
				t.Fatal(err)
			}
			setOpaque(t, s.upper+"/etc")
		}},
		"dracut": {added: one("etc/kernel/postinst.d/dracut"), changed: one("etc/motd"), edit: nil},
	} {
		t.Run(name, func(t *testing.T) {
			if same := key(c.added, c.changed, c.edit) == want; same != c.same {
				t.Errorf("the initramfs is the same: %t", same)
			}
		})
	}
	dracut := one("etc/kernel/postinst.d/dracut")
	if key(dracut, nil, nil) == key(dracut, one("etc/motd"), nil) {
		t.Error("of dracut it is not known what it reads")
	}
}

func FuzzReads(f *testing.F) {
	for _, script := range someGenerator {
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script string) {
		r := &reads{names: map[string]bool{}, places: map[string]bool{}, seen: map[string]bool{}, read: map[string]bool{}}
		r.note(script)
		r.note(script)
		if len(r.paths) != len(r.seen) {
			t.Errorf("%d patterns for %d words", len(r.paths), len(r.seen))
		}
		for name := range r.names {
			if strings.Contains(name, "/") {
				t.Errorf("%q is no name", name)
			}
			if !r.may("/usr/bin/"+name) && name != "." && name != ".." {
				t.Errorf("a program %q is not read", name)
			}
		}
	})
}

func TestDifferences(t *testing.T) {
	p := func(name, version string) Package {
		return Package{Name: name, Version: version, Arch: "amd64", SHA256: name + version}
	}
	old := &Lock{Arch: "amd64", Suite: "trixie", Packages: []Package{p("a", "1"), p("b", "1"), p("c", "1")}, Debconf: []string{"x"}}
	with := func(edit func(*Lock)) *Lock {
		l := *old
		l.Packages = slices.Clone(old.Packages)
		edit(&l)
		return &l
	}
	for name, c := range map[string]struct {
		now  *Lock
		want []string
	}{
		"nothing": {with(func(*Lock) {}), nil},
		"date":    {with(func(l *Lock) { l.Date = time.Unix(1, 0) }), nil},
		"packages": {with(func(l *Lock) { l.Packages = []Package{p("a", "2"), p("b", "1"), p("d", "1")} }),
			[]string{"package a 2, was 1", "package d 1 is new", "package c 1 is gone"}},
		"order": {with(func(l *Lock) { l.Packages[0], l.Packages[1] = l.Packages[1], l.Packages[0] }),
			[]string{"the packages come in another order"}},
		"file":    {with(func(l *Lock) { l.Packages[0].SHA256 = "y" }), []string{"package a 1 is another file of that version"}},
		"mark":    {with(func(l *Lock) { l.Packages[0].Auto = true }), []string{"package a is marked or located otherwise"}},
		"debconf": {with(func(l *Lock) { l.Debconf = nil }), []string{`debconf: null, was ["x"]`}},
		"epoch": {with(func(l *Lock) { l.Epoch = time.Unix(0, 0).UTC() }),
			[]string{`epoch: "1970-01-01T00:00:00Z", was "0001-01-01T00:00:00Z"`}},
		"many": {with(func(l *Lock) {
			for _, name := range strings.Split("k l m n o p q r s", " ") {
				l.Packages = append(l.Packages, p(name, "1"))
			}
		}), []string{
			"package k 1 is new", "package l 1 is new", "package m 1 is new", "package n 1 is new", "package o 1 is new",
			"package p 1 is new", "package q 1 is new", "package r 1 is new", "and 1 more",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, size := c.now.differences(old)
			if diff := cmp.Diff(c.want, got); diff != "" || (size == 0) != (len(got) == 0) {
				t.Errorf("%d, (-want +got):\n%s", size, diff)
			}
		})
	}
}

func TestInputDifferences(t *testing.T) {
	now := []string{"the epoch\t2", "/etc/x\t-rw-r--r-- aa", "/etc/y\t-rw-r--r-- bb"}
	then := []string{"the epoch\t1", "/etc/y\t-rw-r--r-- bb", "/etc/z\t-rw-r--r-- cc"}
	want := []string{"the epoch has changed", "/etc/x is new", "/etc/z is gone"}
	if diff := cmp.Diff(want, inputDifferences(now, then)); diff != "" {
		t.Error(diff)
	}
}

func setOpaque(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Setxattr(dir, "user.overlay.opaque", []byte("y"), 0); err != nil {
		t.Fatal(err)
	}
}
