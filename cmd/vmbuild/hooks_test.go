package main

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// leaver is a script made for vmdebootstrap that takes nothing back of what it does.
const leaver = `#!/bin/sh
set -e
rootdir=$1
. /usr/share/vmdebootstrap/common/customise.lib
mount_proc
disable_daemons
mount -t tmpfs none $rootdir/mnt
echo hidden > $rootdir/mnt/file
setsid sh -c "while :; do date > $rootdir/srv/clock; sleep 0.01; done" > /dev/null 2>&1 &
setsid chroot $rootdir sleep 1000 > /dev/null 2>&1 &
umount -l $rootdir/proc $rootdir/sys
while ! [ -e $rootdir/srv/clock ]; do sleep 0.1; done
`

// installer uses an apt source of its own.
const installer = `#!/bin/sh
set -e
rootdir=$1
. $VMBUILD_HOOKS/customise.lib
trap cleanup 0
prepare_apt_source "$VMBUILD_MIRROR" "$VMBUILD_SUITE" main
chroot $rootdir apt-get -q -y install hello
replace_apt_source
`

// TestHooks: scripts that leave things behind, scriptlets that need each other, and an example from vmbuild itself.
func TestHooks(t *testing.T) {
	p := needProgram(t, "net", "build")
	for name, caller := range p.callers(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := caller.workDir(t)
			for file, text := range map[string]string{
				"leaver":          leaver,
				"installer":       installer,
				"dies":            leaver + "echo the script dies here; exit 3\n",
				"scriptlets/name": "#!/bin/sh -e\nneed base\necho name >> $1/etc/scriptlets\n",
				"scriptlets/zoo":  "#!/bin/sh -e\necho zoo >> $1/etc/scriptlets\n",
				"scriptlets/base": "#!/usr/bin/env python3\n# need zoo\nimport sys\nprint('base', file=open(sys.argv[1] + '/etc/scriptlets', 'a'))\n",
			} {
				path := filepath.Join(dir, file)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
					t.Fatal(err)
				}
			}
			before := caller.leftIn(t, dir)
			output, status := caller.run(t, dir, "--tarball=test.tar", "--no-kernel", "--customize=./dies")
			if status == 0 || !strings.Contains(output, "./dies: exit status 3; its last words:\n") ||
				!strings.Contains(output, "the script dies here\n") {
				t.Errorf("exit status %d\n%s", status, output)
			}
			if after := caller.leftIn(t, dir); after != before {
				t.Errorf("something stayed behind:\n%s\nbefore:\n%s", after, before)
			}
			caller.mustBuild(t, dir, "--tarball=test.tar", "--no-kernel", "--customize=./leaver", "--customize=./installer",
				"--customize=customise-sshd.sh", "--scriptlets=scriptlets")
			if err := os.Rename(filepath.Join(dir, "test.tar"), filepath.Join(dir, "leaver")); err != nil { // a name of before
				t.Fatal(err)
			}
			if after := caller.leftIn(t, dir); after != before {
				t.Errorf("something stayed behind:\n%s\nbefore:\n%s", after, before)
			}
			checkHooks(t, filepath.Join(dir, "leaver"))
		})
	}
}

// leftIn lists what a build could leave, but for what is in the cache: that, others use too.
func (p program) leftIn(t *testing.T, dir string) string {
	t.Helper()
	p.cache = dir
	return p.leftovers(t, dir)
}

// checkHooks looks into an archive for what the hooks have made, and for what they have left.
func checkHooks(t *testing.T, path string) {
	t.Helper()
	found := contents(t, path)
	for _, name := range []string{"usr/bin/hello", "usr/sbin/sshd", "srv/clock"} {
		if _, ok := found[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	for _, name := range []string{"usr/sbin/policy-rc.d", "usr/sbin/policy-rc.d.customise", "mnt/file", "etc/apt/sources.list"} {
		if text, ok := found[name]; ok {
			t.Errorf("%s is there:\n%s", name, text)
		}
	}
	if got := found["etc/scriptlets"]; got != "zoo\nbase\nname\n" {
		t.Errorf("the scriptlets ran in this order:\n%s", got)
	}
}

// contents returns the texts of an archive's files by their names, without what is before the first one's.
func contents(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found := map[string]string{}
	archive := tar.NewReader(f)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimPrefix(h.Name, "./")] = string(text)
	}
}

// TestHookBetweenSteps has a hook run between the steps of an image with a kernel: there is no layer below it, but its initramfs,
// which is made in a tree with everything mounted, is one that the next build finds.
func TestHookBetweenSteps(t *testing.T) {
	p := needProgram(t, "net", "build")
	dir := p.workDir(t)
	for _, want := range []string{"", ": hit\n"} {
		output, status := p.run(t, dir, "--image=test.img", "--size=1536M", "--grub", cloudKernel, "--debootstrapopts=variant=minbase",
			"--package=tree", "--essential-hook=true", "--explain-cache")
		if status != 0 || !regexp.MustCompile(`(?m)^cache: [0-9a-f]{12} initramfs .*`+want).MatchString(output) {
			t.Errorf("exit status %d, want an initramfs%q:\n%s", status, want, output)
		}
	}
}
