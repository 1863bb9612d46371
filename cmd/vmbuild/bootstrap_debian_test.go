package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// untidy is a hook that leaves behind what each step of the clean-up is there for.
const untidy = `for f in var/log/dpkg.log var/log/apt/history.log var/log/apt/term.log var/log/alternatives.log ` +
	`var/cache/ldconfig/aux-cache var/log/apt/eipp.log.xz var/lib/dbus/machine-id var/lib/apt/lists/auxfiles/x ` +
	`var/cache/apt/pkgcache.bin var/cache/apt/srcpkgcache.bin var/cache/apt/archives/x.deb etc/machine-id run/x run/lock/x tmp/x; ` +
	`do mkdir -p "$1/${f%/*}"; echo 1 >"$1/$f"; done; rm -f "$1"/var/cache/apt/archives/hello*.deb`

// TestBootstrapDebian makes systems of a Debian release with hooks of all stages, which note what they find, and looks at
// what is there in the end of what was left behind.
func TestBootstrapDebian(t *testing.T) {
	caller := needProgram(t, "net", "build").callers(t)["user"]
	b := caller.bench(t)
	b.cache = caller.cache // with what earlier tests have downloaded
	b.write(t, map[string]string{
		"hooks/extract1":   "#!/bin/sh\n[ ! -s $1/var/lib/dpkg/diversions ] && ls $1/usr/bin/dpkg >/dev/null && echo unpacked >>$1/noted\n",
		"hooks/essential1": "#!/bin/sh\nchroot $1 dpkg-query -W -f '${Package} ${db:Status-Status}\\n' dash >>$1/noted\n",
		"hooks/customize1": "#!/bin/sh\nset -e\nchroot $1 apt-get install -y hello >/dev/null\nchroot $1 hello >>$1/noted\n",
	})
	const inside = "ls /usr/sbin/policy-rc.d >>/noted; test -c /dev/null && echo dev >>/noted; " +
		"test -d /proc/self && echo proc >>/noted; test -d /sys/class && echo sys >>/noted; true"
	args := []string{"bootstrap", "-q", "--variant=apt", "--hook-directory=hooks",
		"--chrooted-extract-hook=" + inside,
		"--chrooted-essential-hook=echo $MMDEBSTRAP_HOOK $(id -u) in $(pwd) >>/noted",
		"--chrooted-customize-hook=start-stop-daemon --start --exec /bin/true >>/noted 2>&1; dpkg --audit >>/noted",
		"--customize-hook=" + untidy, "--customize-hook=download /etc/os-release release",
		"--customize-hook=upload release /srv/release",
	}
	see := []string{ // what the clean-up is about
		"noted", "etc/apt/apt.conf.d/*mmdebstrap*", "etc/apt/apt.conf.d/99debconf", "etc/machine-id", "run/*",
		"run/*/*", "srv/*", "tmp/*",
		"usr/sbin/policy-rc.d", "var/cache/apt/*.bin", "var/cache/apt/archives/*", "var/cache/ldconfig/*",
		"var/lib/apt/lists/*", "var/lib/apt/lists/*/*",
		"var/lib/dbus/*", "var/lib/dpkg/diversions-old", "var/log/*.log", "var/log/apt/*",
	}
	for _, c := range []struct {
		name  string
		skip  string
		noted string
		want  []string // names of files
	}{
		{name: "all steps", noted: `"unpacked\n/usr/sbin/policy-rc.d\ndev\nproc\nsys\ndash installed\nessential 0 in /\nHello, world!\n` +
			`start-stop-daemon: nothing is started or stopped while an image is built\n"`,
			want: []string{"etc/machine-id", "run/lock", "run/lock/x", "srv/release", "var/cache/apt/archives/lock",
				"var/cache/apt/archives/partial",
				"var/lib/apt/lists/lock", "var/lib/apt/lists/partial", "var/lib/dpkg/diversions-old"}},
		{name: "without most", skip: "--skip=cleanup,chroot/policy-rc.d,chroot/start-stop-daemon,chroot/mount",
			noted: `"unpacked\ndash installed\nessential 0 in /\nHello, world!\nstart-stop-daemon: nothing in /proc - not mounted?\n"`,
			want: []string{"etc/machine-id", "run/lock", "run/lock/x", "run/x", "srv/release", "tmp/x",
				"var/cache/apt/archives/PACKAGE.deb", "var/cache/apt/archives/lock", "var/cache/apt/archives/partial",
				"var/cache/apt/archives/PACKAGE.deb", "var/cache/apt/archives/x.deb",
				"var/cache/apt/pkgcache.bin",
				"var/cache/apt/srcpkgcache.bin", "var/cache/ldconfig/aux-cache",
				"var/lib/apt/lists/auxfiles", "var/lib/apt/lists/auxfiles/x",
				"var/lib/apt/lists/MIRROR_trixie-security_InRelease",
				"var/lib/apt/lists/MIRROR_trixie-security_main_Packages",
				"var/lib/apt/lists/MIRROR_trixie-updates_InRelease", "var/lib/apt/lists/MIRROR_trixie-updates_main_Packages",
				"var/lib/apt/lists/MIRROR_trixie_InRelease", "var/lib/apt/lists/MIRROR_trixie_main_Packages",
				"var/lib/apt/lists/lock", "var/lib/apt/lists/partial", "var/lib/dbus/machine-id",
				"var/lib/dpkg/diversions-old",
				"var/log/alternatives.log", "var/log/apt/eipp.log.xz", "var/log/apt/history.log",
				"var/log/apt/term.log", "var/log/dpkg.log"}},
	} {
		all := args
		if c.skip != "" {
			all = append(args[:len(args):len(args)], c.skip)
		}
		got := b.do(t, request{args: append(all[:len(all):len(all)], "trixie", "-"), see: see})
		if got.Status != 0 || got.Err != "" {
			t.Fatalf("%s: %+v", c.name, got)
		}
		var noted string
		var names []string
		for line := range strings.Lines(got.Out) {
			name := strings.Fields(line)[2]
			if name == "noted" {
				_, noted, _ = strings.Cut(strings.TrimSpace(line), `noted `)
				continue
			}
			name = packageFile.ReplaceAllString(name, "PACKAGE.deb")
			names = append(names, mirrorsList.ReplaceAllString(name, "lists/MIRROR_$1"))
		}
		names = slices.Compact(names)
		if diff := cmp.Diff(c.noted, noted); diff != "" {
			t.Errorf("%s: hooks have noted:\n%s", c.name, diff)
		}
		if diff := cmp.Diff(c.want, names); diff != "" {
			t.Errorf("%s: left behind:\n%s", c.name, diff)
		}
	}
}

// mirrorsList is the name of one of apt's lists, which has those of the mirror and of the architecture in it.
var mirrorsList = regexp.MustCompile(`lists/.*_dists_([a-z-]+(?:_main)?_)(?:binary-[a-z0-9]+_)?`)

// packageFile is the name of a package's file, which has its version in it.
var packageFile = regexp.MustCompile(`[^/]+_[^/]+_(amd64|all)\.deb$`)
