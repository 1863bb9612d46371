package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"vmbuild/rootfs/offers"
)

// TestTarIsTheSameEverywhere makes the tar of minbase in all manner of places, each time from packages and not from the
// cache: it has the same bytes.
func TestTarIsTheSameEverywhere(t *testing.T) {
	p := needProgram(t, "net", "build")
	if os.Getuid() != 0 {
		t.Skip("only root can make the places")
	}
	offers.Programs(t, "setpriv", "unshare", "chroot")
	t.Parallel()
	user := p.callers(t)["user"]
	source := "deb " + offers.Mirror(t) + " trixie main"
	want := p.tarMadeBy(t, source, "run")

	// Run as the ordinary user: what follows on the line.
	as := fmt.Sprintf("setpriv --reuid=%s --regid=%s --clear-groups env HOME=%s USER=%s ",
		user.user.Uid, user.user.Gid, user.user.HomeDir, user.user.Username)
	for name, c := range map[string]struct {
		caller program
		script string // run is the command; $dir a directory of the caller's
	}{
		"ordinary user":                      {user, as + `"$run"`},
		"umask, time zone, locale":           {p, `umask 077; TZ=Pacific/Apia LC_ALL=tr_TR.UTF-8 LANG=de_DE@euro run`},
		"working directory that is not ours": {user, `cd /root; ` + as + `"$run"`},
		"root without CAP_SYS_ADMIN":         {p, `setpriv --bounding-set=-sys_admin "$run"`},
		"container-like user namespace":      {user, as + `unshare --user --map-auto --map-root-user "$run"`},
		"hooks before packages are configured": {p,
			`run --setup-hook=true --extract-hook=true --essential-hook=true`},
		"tmpfs without devices": {user, `
			mkdir "$dir/t"
			export TMPDIR="$dir/t"
			unshare -m sh -ec 'mount -t tmpfs -o nodev,mode=1777 tmpfs "$TMPDIR"; ` + as + `"$run"'`},
		"chroot, in a tree that vmbuild made": {p, `
			"$program" bootstrap --quiet --cache-dir="$dir/other" --variant=minbase trixie "$dir/tree" "$source"
			mkdir -p "$dir/tree$dir" "$dir/tree$(dirname "$program")"
			cp "$program" "$dir/tree$program"
			cp "$run" "$dir/tree$run"
			unshare -m sh -ec 'mount -t proc proc "$dir/tree/proc"; chroot "$dir/tree" "$run"'
			cp "$dir/tree$dir/made.tar" "$dir/made.tar"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !bytes.Equal(c.caller.tarMadeBy(t, source, c.script), want) {
				t.Error("the tar differs from the first one")
			}
		})
	}
}

// tarMadeBy returns what a script makes by calling run, or the script $run, which makes the tar of minbase.
func (p program) tarMadeBy(t *testing.T, source, script string) []byte {
	t.Helper()
	return p.made(t, `#!/bin/sh
SOURCE_DATE_EPOCH=1750000000 exec "$program" bootstrap --quiet --cache-dir="$dir/cache" --variant=minbase "$@" \
	trixie "$dir/made.tar" "$source"
`, script, source)
}

// made returns the file made.tar of a directory in which a script has called run, or the script $run, of that text.
func (p program) made(t *testing.T, run, script, source string) []byte {
	t.Helper()
	dir := p.workDir(t)
	if err := os.WriteFile(filepath.Join(dir, "run"), []byte(run), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-ec", "run() { \"$run\" \"$@\"; }\n"+script)
	cmd.Env = append(os.Environ(), "dir="+dir, "run="+dir+"/run", "program="+p.path, "source="+source)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(dir, "made.tar"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestAddedPackagesAreTheSameEverywhere installs a package over others, in a layer of its own, where that is a copy of the other
// as overlays cannot be laid over each other, and in a tree without layers: the tar has the same bytes.
func TestAddedPackagesAreTheSameEverywhere(t *testing.T) {
	p := needProgram(t, "net", "build")
	if os.Getuid() != 0 {
		t.Skip("only root can make the places")
	}
	offers.Programs(t, "unshare")
	t.Parallel()
	mirror := offers.Mirror(t) // whose address is in the tree
	for _, name := range []string{"hooks", "copies"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := map[string]string{
				"hooks": `run --essential-hook=true`,
				"copies": `
					mkdir "$dir/cache" "$dir/changes" "$dir/scratch"
					unshare -m sh -ec 'mount -t overlay -o "lowerdir=$dir/cache,upperdir=$dir/changes,workdir=$dir/scratch" \
						overlay "$dir/cache"; "$run"'`,
			}[name]
			if !bytes.Equal(p.tarWithAdded(t, mirror, script), p.tarWithAdded(t, mirror, "run")) {
				t.Error("the tar differs from that of two layers")
			}
		})
	}
}

// tarWithAdded returns what a script makes by calling run, or the script $run, which makes the tar of minbase and what is added.
func (p program) tarWithAdded(t *testing.T, mirror, script string) []byte {
	t.Helper()
	return p.made(t, `#!/bin/sh
SOURCE_DATE_EPOCH=1750000000 exec "$program" build --cache-dir="$dir/cache" --tarball="$dir/made.tar" --no-kernel \
	--debootstrapopts=variant=minbase --mirror="$source" --security-mirror=none --no-updates --seed=x --package=ca-certificates "$@"
`, script, mirror)
}
