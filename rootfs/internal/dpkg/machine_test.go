package dpkg

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"vmbuild/rootfs/chroot"
)

// needMachine skips the test unless VMBUILD_TEST has the words, which say what the machine offers; then all programs
// must be there.
func needMachine(t *testing.T, words []string, programs ...string) {
	t.Helper()
	have := strings.Split(os.Getenv("VMBUILD_TEST"), ",")
	for _, word := range words {
		if !slices.Contains(have, word) {
			t.Skipf("VMBUILD_TEST lacks %q", word)
		}
	}
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatal(err)
		}
	}
}

// unshareRunner runs each program in a mount namespace of its own, with /proc, /sys and the host's /dev.
type unshareRunner struct{ root string }

const enter = `set -e
root=$1; shift
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sys "$root/sys"
mount --rbind /dev "$root/dev"
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"`

func (u unshareRunner) Run(ctx context.Context, c chroot.Command) error {
	args := []string{"--mount", "--propagation", "private", "sh", "-c", enter, "sh", u.root}
	args = append(append(args, c.Env...), "chroot", u.root)
	cmd := exec.CommandContext(ctx, "unshare", append(args, c.Args...)...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(c.Args, " "), err, output.Bytes())
	}
	return nil
}
