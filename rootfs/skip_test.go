package rootfs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSkips(t *testing.T) {
	for _, c := range []struct {
		keys, key string
		want      bool
	}{
		{"", "cleanup/run", false},
		{"cleanup/run", "cleanup/run", true},
		{"cleanup", "cleanup/apt/lists", true},
		{"cleanup/apt", "cleanup/apt/lists", true},
		{"cleanup/apt", "cleanup/run", false},
		{"cleanup/apt/lists", "cleanup/apt", false},
		{"cleanup/r", "cleanup/run", false},
	} {
		if got := Skips(strings.Fields(c.keys), c.key); got != c.want {
			t.Errorf("%q leaves out %s: %t", c.keys, c.key, got)
		}
	}
}

func TestWithoutInChroot(t *testing.T) {
	for key, want := range map[string][]string{
		"cleanup":                  nil,
		"chroot/mount/proc":        {"/proc"},
		"chroot/mount/sys":         {"/sys"},
		"chroot/mount/dev":         {"/dev"},
		"chroot/policy-rc.d":       {"policy-rc.d"},
		"chroot/start-stop-daemon": {"start-stop-daemon"},
		"chroot/mount":             {"/proc", "/sys", "/dev"},
		"chroot":                   {"/proc", "/sys", "/dev", "policy-rc.d", "start-stop-daemon"},
	} {
		if diff := cmp.Diff(want, withoutInChroot([]string{key})); diff != "" {
			t.Errorf("%s:\n%s", key, diff)
		}
	}
}
