package main

import (
	"archive/tar"
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs"
	"vmbuild/rootfs/archivetest"
)

// TestBootstrapTree has what is in a tree besides its packages, and what options change in it. The variant is extract.
func TestBootstrapTree(t *testing.T) {
	b := newBench(t)
	a := archivetest.Package{Name: "a", Files: []archivetest.File{
		{Path: "/opt/a", Content: "a 1"}, {Path: "/usr/share/doc/a/copyright", Content: "free"},
		{Path: "/usr/share/doc/a/changelog.gz", Content: "x"}, {Path: "/usr/share/locale/de/a.mo", Content: "x"},
	}}
	foreign := versioned("f", "1", "")
	foreign.Architecture = "i386"
	b.serve(t, "URL", archivetest.Archive{Architectures: []string{"amd64",
		"i386"}, Packages: []archivetest.Package{a, foreign}})
	local, err := versioned("local", "2", "a").Deb()
	if err != nil {
		t.Fatal(err)
	}
	plain := tar.Header{Name: "plain", Typeflag: tar.TypeReg, Mode: 0o640, Uid: 7, Gid: 8}
	node := tar.Header{Name: "node", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666}
	b.write(t, map[string]string{
		"local one, \"2\".deb": string(local),
		"dpkg.cfg":             "# no documentation\npath-exclude=/usr/share/doc/*\npath-include=/usr/share/doc/*/copyright\n",
		"apt.conf":             "APT::x \"1\";\nAPT::y \"2\";",
		"plain.tar":            tarOf(t, plain),
		"node.tar":             tarOf(t, plain, node),
		"my file":              "mine\n",
		"file":                 "content\n",
		"dir/sub/file":         "content\n",
		"program":              "#!/bin/sh\necho \"program $#\" >$1/program\n",
		"fails":                "#!/bin/sh\necho these are its last words\nexit 3\n",
		"hooks/setup1":         "#!/bin/sh\necho setup1 >>$1/order\n",
		"hooks/extract1":       "#!/bin/sh\necho extract1 >>$1/order\n",
		"hooks/customize1":     "#!/bin/sh\necho customize1 >>$1/order\n",
		"hooks/setup0":         "#!/bin/sh\necho setup0 >>$1/order\n",
		"hooks/setup.bak":      "not executable",
		"hooks/other":          "#!/bin/sh\n",
	})
	const untidy = "--setup-hook=mkdir $1/run; touch $1/tmp/x $1/run/x $1/run/lock; echo 1 >$1/etc/machine-id"
	for _, c := range []struct {
		name   string
		args   []string
		env    []string
		see    []string
		want   []string // as listing has it
		err    string
		status int
	}{
		{name: "skeleton", see: []string{"*", "etc/*", "etc/apt/*", "etc/dpkg/*", "var/*", "var/*/*", "var/lib/dpkg/*",
			"var/lib/apt/*/*", "var/cache/*/*/*"},
			args: []string{"--setup-hook=rm $1/etc/hostname $1/etc/resolv.conf"}, want: []string{ // which are the host's
				"drwxr-xr-x 0:0 dev", "drwxr-xr-x 0:0 ",
				"drwxr-xr-x 0:0 etc", "drwxr-xr-x 0:0 etc/apt", "drwxr-xr-x 0:0 etc/apt/apt.conf.d",
				"drwxr-xr-x 0:0 etc/apt/preferences.d",
				`-rw-r--r-- 0:0 etc/apt/sources.list "deb $URL trixie main\n"`, "drwxr-xr-x 0:0 etc/apt/sources.list.d",
				"drwxr-xr-x 0:0 etc/dpkg", "drwxr-xr-x 0:0 etc/dpkg/dpkg.cfg.d",
				`-rw-r--r-- 0:0 etc/fstab "# UNCONFIGURED FSTAB FOR BASE SYSTEM\n"`,
				"drwxr-xr-x 0:0 opt", "dtrwxrwxrwx 0:0 tmp", "drwxr-xr-x 0:0 usr",
				"drwxr-xr-x 0:0 var", "drwxr-xr-x 0:0 var/cache", "drwxr-xr-x 0:0 var/cache/apt",
				"drwxr-xr-x 0:0 var/cache/apt/archives/partial",
				"drwxr-xr-x 0:0 var/lib", "drwxr-xr-x 0:0 var/lib/apt", "drwxr-xr-x 0:0 var/lib/apt/lists/partial",
				"drwxr-xr-x 0:0 var/lib/dpkg", "drwxr-xr-x 0:0 var/lib/dpkg/alternatives",
				`-rw-r--r-- 0:0 var/lib/dpkg/arch "amd64\n"`,
				"drwxr-xr-x 0:0 var/lib/dpkg/info",
				`-rw-r--r-- 0:0 var/lib/dpkg/status "Package: a\nStatus: install ok unpacked\nPriority: optional\nSection: misc\n` +
					`Installed-Size: 4\nMaintainer: Archive Test <archivetest@example.org>\nArchitecture: amd64\nVersion: 1\n` +
					`Description: package a of a test\n\n"`,
				"drwxr-xr-x 0:0 var/lib/dpkg/triggers", "drwxr-xr-x 0:0 var/lib/dpkg/updates",
				"drwxr-xr-x 0:0 var/log", "drwxr-xr-x 0:0 var/log/apt",
			}},
		{name: "devices", see: []string{"dev", "dev/*"}, want: []string{
			"drwxr-xr-x 0:0 dev", "Dcrw-rw-rw- 0:0 dev/console 5:1", "Lrwxrwxrwx 0:0 dev/fd -> /proc/self/fd",
			"Dcrw-rw-rw- 0:0 dev/full 1:7",
			"Dcrw-rw-rw- 0:0 dev/null 1:3", "Dcrw-rw-rw- 0:0 dev/ptmx 5:2", "drwxr-xr-x 0:0 dev/pts",
			"Dcrw-rw-rw- 0:0 dev/random 1:8",
			"drwxr-xr-x 0:0 dev/shm", "Lrwxrwxrwx 0:0 dev/stderr -> /proc/self/fd/2",
			"Lrwxrwxrwx 0:0 dev/stdin -> /proc/self/fd/0",
			"Lrwxrwxrwx 0:0 dev/stdout -> /proc/self/fd/1", "Dcrw-rw-rw- 0:0 dev/tty 5:0", "Dcrw-rw-rw- 0:0 dev/urandom 1:9",
			"Dcrw-rw-rw- 0:0 dev/zero 1:5",
		}},
		{name: "aptopt", args: []string{`--aptopt=APT::a "b"`, `--aptopt=APT::c "d";`, "--aptopt=apt.conf"},
			see:  []string{"etc/apt/apt.conf.d/*"},
			want: []string{`-rw-r--r-- 0:0 etc/apt/apt.conf.d/99mmdebstrap "APT::a \"b\";\nAPT::c \"d\";\nAPT::x \"1\";\nAPT::y \"2\";\n"`}},
		{name: "dpkgopt", args: []string{"--dpkgopt=no-debsig", "--dpkgopt=dpkg.cfg"},
			see: []string{"etc/dpkg/dpkg.cfg.d/*", "usr/share/doc/a/*", "usr/share/locale/de/*"}, want: []string{
				`-rw-r--r-- 0:0 etc/dpkg/dpkg.cfg.d/99mmdebstrap "no-debsig\n# no documentation\npath-exclude=/usr/share/doc/*\n` +
					`path-include=/usr/share/doc/*/copyright\n"`,
				`-rw-r--r-- 0:0 usr/share/doc/a/copyright "free"`, `-rw-r--r-- 0:0 usr/share/locale/de/a.mo "x"`,
			}},
		{name: "dpkgopt in one line", args: []string{"--dpkgopt=path-exclude=/usr/share/*"},
			see: []string{"opt/*", "usr/share/*/*/*"}, want: only},
		{name: "architectures", args: []string{"--architectures=amd64,i386,amd64", "--include=f:i386"},
			see:  []string{"var/lib/dpkg/arch", "opt/*"},
			want: []string{only[0], `-rw-r--r-- 0:0 opt/f "f 1"`, `-rw-r--r-- 0:0 var/lib/dpkg/arch "amd64\ni386\n"`}},
		{name: "architecture that there is not", args: []string{"--architectures=vax"}, status: 2,
			err: "vmbuild: --architectures: architecture \"vax\" is not one of " +
				"amd64, arm64, armel, armhf, i386, riscv64, ppc64el, s390x, mips64el, loong64\n"},
		{name: "local package", args: []string{`--include=./local one, "2".deb`},
			see:  []string{"opt/*", "etc/apt/sources.list.d/*"},
			want: []string{only[0], `-rw-r--r-- 0:0 opt/local "local 2"`}},
		{name: "local package that is not there", args: []string{"--include=./none.deb"}, status: 2,
			err: "vmbuild: --include: lstat none.deb: no such file or directory\n"},
		{name: "local package that is none", args: []string{"--include=./file"}, status: 1,
			err: "vmbuild: read package \"$DIR/file\": open package: not an ar archive, or a damaged one\n"},

		{name: "program as hook", args: []string{"--setup-hook=./program"}, see: []string{"program"},
			want: []string{`-rw-r--r-- 0:0 program "program 1\n"`}},
		{name: "shell command as hook", args: []string{`--setup-hook=pwd >"$1"/pwd; echo $# >>"$1"/pwd`},
			see:  []string{"pwd"},
			want: []string{`-rw-r--r-- 0:0 pwd "$DIR\n1\n"`}},
		{name: "environment of hooks", args: []string{
			`--setup-hook=env | grep -E '^(MMDEBSTRAP_[^A]|container|DEB|L[AC]|TMPDIR|APT_CONFIG|CALLERS)' | LC_ALL=C sort >"$1"/setup`,
			`--extract-hook=echo $MMDEBSTRAP_HOOK >"$1"/extract`, "--include=f:i386",
			"--include=?or(?name(^a$),?name(^b$))", "--architectures=amd64,i386", "--mode=root"},
			env: []string{"CALLERS=yes", "APT_CONFIG=/x", "LANG=de_DE.UTF-8"}, see: []string{"setup", "extract"},
			want: []string{
				`-rw-r--r-- 0:0 extract "extract\n"`,
				`-rw-r--r-- 0:0 setup "CALLERS=yes\nDEBCONF_NONINTERACTIVE_SEEN=true\nDEBIAN_FRONTEND=noninteractive\nLANG=C.UTF-8\n` +
					`LANGUAGE=C.UTF-8\nLC_ALL=C.UTF-8\nMMDEBSTRAP_FORMAT=tar\nMMDEBSTRAP_HOOK=setup\nMMDEBSTRAP_HOOKSOCK=3\n` +
					`MMDEBSTRAP_INCLUDE=a,f:i386,?or(?name(^a$)%2C?name(^b$))\nMMDEBSTRAP_MODE=root\nMMDEBSTRAP_SUITE=trixie\nMMDEBSTRAP_VERBOSITY=0\n"`,
			}},
		{name: "setup hook has the skeleton",
			args: []string{`--setup-hook=found=$(ls -F "$1" "$1"/etc/apt); echo "$found" | grep -v : >"$1"/ls`}, see: []string{"ls"},
			want: []string{`-rw-r--r-- 0:0 ls "etc/\ntmp/\nvar/\n\napt.conf.d/\npreferences.d/\nsources.list\nsources.list.d/\n"`}},
		{name: "extract hook has the packages", args: []string{`--extract-hook=cat "$1"/opt/a >"$1"/cat`},
			see:  []string{"cat"},
			want: []string{`-rw-r--r-- 0:0 cat "a 1"`}},
		{name: "extract hook has the packages' files, which go later",
			args: []string{`--extract-hook=for d in $MMDEBSTRAP_ESSENTIAL; do echo "$d"; test -s "$1/$d"; done >"$1"/files`},
			see:  []string{"files", "var/cache/apt/archives/*.deb"},
			want: []string{`-rw-r--r-- 0:0 files "/var/cache/apt/archives/a_1_amd64.deb\n"`}},
		{name: "apt of the host knows the tree", args: []string{`--setup-hook=grep -c "^Dir \"$1\";" "$MMDEBSTRAP_APT_CONFIG" >"$1"/found`},
			see: []string{"found"}, want: []string{`-rw-r--r-- 0:0 found "1\n"`}},
		{name: "no later hook", args: []string{"--essential-hook=false", "--customize-hook=false"},
			see: []string{"opt/*"}, want: only},
		{name: "hook directory", args: []string{"--setup-hook=echo before >>$1/order", "--hook-directory=hooks",
			"--setup-hook=echo after >>$1/order"},
			see: []string{"order"}, want: []string{`-rw-r--r-- 0:0 order "before\nsetup0\nsetup1\nafter\nextract1\n"`}},
		{name: "hook that fails", args: []string{"--setup-hook=./fails"}, status: 1,
			err: "vmbuild: run setup hook \"./fails\": exit status 3; its last words:\nvmbuild: these are its last words\n"},
		{name: "hook that is not there", args: []string{"--setup-hook=./none"}, status: 3,
			err: "vmbuild: find setup hook: stat $DIR/none: no such file or directory\n"},
		{name: "special hook for something that is not there", args: []string{"--setup-hook=copy-in none /"}, status: 1,
			err: "vmbuild: run setup hook \"copy-in none /\": copy-in none to /: stat none: no such file or directory\n"},
		{name: "copy-in keeps owners", args: []string{"--setup-hook=mkdir $1/srv",
			"--setup-hook=copy-in file dir 'my file' /srv"},
			see: []string{"srv/*", "srv/*/*", "srv/*/*/*"}, want: []string{
				"drwxr-xr-x $OWNER srv/dir", "drwxr-xr-x $OWNER srv/dir/sub",
				`-rw-r--r-- $OWNER srv/dir/sub/file "content\n"`, `-rw-r--r-- $OWNER srv/file "content\n"`,
				`-rw-r--r-- $OWNER srv/my file "mine\n"`}},
		{name: "sync-in", args: []string{"--setup-hook=mkdir $1/srv; touch $1/srv/old", "--setup-hook=sync-in dir /srv"},
			see: []string{"srv/*", "srv/*/*"}, want: []string{`-rw-r--r-- 0:0 srv/old ""`, "drwxr-xr-x $OWNER srv/sub",
				`-rw-r--r-- $OWNER srv/sub/file "content\n"`}},
		{name: "upload", args: []string{"--setup-hook=upload file /etc/motd"}, see: []string{"etc/motd"},
			want: []string{`-rw-r--r-- 0:0 etc/motd "content\n"`}},
		{name: "tar-in", args: []string{"--setup-hook=mkdir $1/srv", "--setup-hook=tar-in plain.tar /srv"},
			see: []string{"srv/*"}, want: []string{`-rw-r----- 7:8 srv/plain ""`}},
		{name: "tar-in with a node that is left out",
			args: []string{"--setup-hook=mkdir $1/srv", "--setup-hook=tar-in node.tar /srv", "--skip=tar-in/mknod"},
			see:  []string{"srv/*"}, want: []string{`-rw-r----- 7:8 srv/plain ""`}},

		{name: "skip a step that there is not", args: []string{"--skip=cleanup/all,update"}, status: 2,
			err: "vmbuild: --skip=cleanup/all is not a step that can be left out (" + strings.Join(rootfs.Skippable(), ", ") + ")\n"},
		{name: "skip checks",
			args: []string{"--skip=check/root,check/chrootless,check/canmount,check/qemu check/signed-by",
				"--skip=zombie-reaping"},
			see: []string{"opt/*"}, want: only},
		{name: "skip output/dev", args: []string{"--skip=output/dev"}, see: []string{"dev", "dev/*"}},
		{name: "skip output/mknod", args: []string{"--skip=output/mknod"}, see: []string{"dev", "dev/*"}, want: []string{
			"drwxr-xr-x 0:0 dev", "Lrwxrwxrwx 0:0 dev/fd -> /proc/self/fd", "drwxr-xr-x 0:0 dev/pts",
			"drwxr-xr-x 0:0 dev/shm",
			"Lrwxrwxrwx 0:0 dev/stderr -> /proc/self/fd/2", "Lrwxrwxrwx 0:0 dev/stdin -> /proc/self/fd/0",
			"Lrwxrwxrwx 0:0 dev/stdout -> /proc/self/fd/1",
		}},
		{name: "skip setup", args: []string{"--skip=setup",
			"--setup-hook=mkdir -p $1/var/lib/dpkg/info $1/var/lib/dpkg/updates $1/var/lib/dpkg/triggers $1/etc/apt; " +
				"echo deb $URL trixie main >$1/etc/apt/sources.list"}, see: []string{"*", "etc/apt/*"}, want: []string{
			"drwxr-xr-x 0:0 dev", "drwxr-xr-x 0:0 ", "drwxr-xr-x 0:0 etc",
			`-rw-r--r-- 0:0 etc/apt/sources.list "deb $URL trixie main\n"`,
			"drwxr-xr-x 0:0 opt", "drwxr-xr-x 0:0 usr", "drwxr-xr-x 0:0 var",
		}},
		{name: "skip setup and do nothing in its place", args: []string{"--skip=setup"}, status: 1,
			err: "vmbuild: build layer: extract packages: open /var/lib/dpkg/info/a.list-new: no such file or directory\n"},
		{name: "clean-up", args: []string{untidy}, see: []string{"tmp/*", "run/*", "etc/machine-id"},
			want: []string{`-rw-r--r-- 0:0 etc/machine-id ""`, `-rw-r--r-- 0:0 run/lock ""`}},
		{name: "skip clean-up", args: []string{untidy, "--skip=cleanup"},
			see: []string{"tmp/*", "run/*", "etc/machine-id"}, want: []string{
				`-rw-r--r-- 0:0 etc/machine-id "1\n"`, `-rw-r--r-- 0:0 run/lock ""`, `-rw-r--r-- 0:0 run/x ""`,
				`-rw-r--r-- 0:0 tmp/x ""`,
			}},
		{name: "skip one of it", args: []string{untidy, "--skip=cleanup/run"},
			see: []string{"tmp/*", "run/*", "etc/machine-id"}, want: []string{
				`-rw-r--r-- 0:0 etc/machine-id ""`, `-rw-r--r-- 0:0 run/lock ""`, `-rw-r--r-- 0:0 run/x ""`,
			}},
		{name: "skip another", args: []string{untidy, "--skip=cleanup/tmp,cleanup/reproducible"},
			see:  []string{"tmp/*", "run/*", "etc/machine-id"},
			want: []string{`-rw-r--r-- 0:0 etc/machine-id "1\n"`, `-rw-r--r-- 0:0 run/lock ""`, `-rw-r--r-- 0:0 tmp/x ""`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append(unpack("--keyring=$URLKEY"), c.args...)
			got := b.do(t, request{args: append(args, "trixie", "-", "$URL"), env: c.env, see: c.see})
			want := ran{Status: c.status, Err: c.err + hints[c.status]}
			for _, line := range c.want {
				want.Out += line + "\n"
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// tarOf is an archive of empty files.
func tarOf(t *testing.T, headers ...tar.Header) string {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, h := range headers {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return archive.String()
}

// only is what the listing of /opt has of package a.
var only = []string{`-rw-r--r-- 0:0 opt/a "a 1"`}
