package rootfs

import (
	"slices"
	"strings"
)

// A step that can be left out. Whoever leaves out "cleanup" leaves out all that begin with "cleanup/", too.
const (
	skipSkeleton        = "setup"
	skipUpdate          = "update"
	skipMounts          = "chroot/mount"
	skipMountDev        = "chroot/mount/dev"
	skipMountProc       = "chroot/mount/proc"
	skipMountSys        = "chroot/mount/sys"
	skipPolicy          = "chroot/policy-rc.d"
	skipStartStop       = "chroot/start-stop-daemon"
	skipAptCache        = "cleanup/apt/cache"
	skipConfig          = "cleanup/mmdebstrap"
	skipReproducible    = "cleanup/reproducible"
	skipMachineID       = "cleanup/reproducible/machine-id"
	skipRun             = "cleanup/run"
	skipTmp             = "cleanup/tmp"
	skipEssentialUnlink = "essential/unlink"
)

// Keys of steps that other packages leave out, or that vmbuild does not have: its checks look at other things than
// mmdebstrap's, and who is started in a build is always waited for.
const (
	SkipLists   = "cleanup/apt/lists"
	SkipDevices = "output/dev"   // no entries below /dev
	SkipNodes   = "output/mknod" // no device nodes at all
	SkipEmpty   = "check/empty"  // the target directory may have something in it
)

// Skippable are the keys of all steps that can be left out: mmdebstrap's.
func Skippable() []string {
	return []string{
		"check/root", "check/chrootless", "check/canmount", "check/qemu", SkipEmpty, "check/signed-by",
		skipSkeleton, skipUpdate, skipEssentialUnlink,
		skipMounts, skipMountDev, skipMountProc, skipMountSys, skipPolicy, skipStartStop, "zombie-reaping",
		"cleanup", "cleanup/apt", SkipLists, skipAptCache, skipConfig, skipReproducible, skipMachineID, skipRun, skipTmp,
		"cleanup/dev", SkipDevices, SkipNodes, "tar-in/mknod", "copy-in/mknod", "sync-in/mknod",
	}
}

// Skips says whether a list of keys leaves out the step of a key: the key itself or one above it is in it.
func Skips(keys []string, key string) bool {
	for {
		if slices.Contains(keys, key) {
			return true
		}
		i := strings.LastIndexByte(key, '/')
		if i < 0 {
			return false
		}
		key = key[:i]
	}
}

// withoutInChroot says what is left out of a tree in which programs are to run.
func withoutInChroot(skip []string) []string {
	var without []string
	for _, w := range []struct{ key, what string }{
		{skipMountProc, "/proc"}, {skipMountSys, "/sys"}, {skipMountDev, "/dev"},
		{skipPolicy, "policy-rc.d"}, {skipStartStop, "start-stop-daemon"},
	} {
		if Skips(skip, w.key) {
			without = append(without, w.what)
		}
	}
	return without
}
