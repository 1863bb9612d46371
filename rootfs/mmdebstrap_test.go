package rootfs

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"vmbuild/rootfs/layer"
	"vmbuild/rootfs/mirror"
	"vmbuild/rootfs/namespace"
	"vmbuild/rootfs/offers"
	"vmbuild/rootfs/tree"
)

// TestMain is also the inner side of tests that make trees, and the outer one of those that another user makes.
func TestMain(m *testing.M) {
	switch {
	case namespace.Inner():
		os.Exit(namespace.Serve(map[string]namespace.Handler{
			"tree": listTree, "emulate": emulateInside, "foreign": foreignInside, "second": secondStageInside,
		}))
	case os.Args[0] == emulateWord:
		os.Exit(outsideEmulation())
	default:
		os.Exit(m.Run())
	}
}

type treeJob struct{ Cache, Temp string }

// made is what is compared of a tree.
type made struct {
	Sources []Source
	Epoch   time.Time
	Listing map[string]string
}

// compared are the packages that the comparison installs beside the important ones: kernel and boot loader, a daemon with
// a user of its own, packages with triggers and alternatives.
var compared = []string{"linux-image-amd64", "grub-pc", "zstd", "systemd-resolved", "openssh-server", "man-db"}

func listTree(ctx context.Context, call namespace.Call) error {
	var j treeJob
	if err := json.Unmarshal(call.Payload, &j); err != nil {
		return err
	}
	cache, err := layer.Open(j.Cache)
	if err != nil {
		return err
	}
	defer cache.Close()
	mirrors, err := mirror.OfHost(os.DirFS("/etc/apt"))
	if err != nil {
		return err
	}
	b := &Builder{Cache: cache, Mirrors: mirrors, Event: func(Event) {}, Log: io.Discard, Temp: j.Temp, IDMap: namespace.IDMap()}
	lock, err := b.Resolve(ctx, Spec{Arch: "amd64", Suite: "trixie", Variant: DefaultVariant, Include: compared})
	if err != nil {
		return err
	}
	base, err := b.Base(ctx, lock)
	if err != nil {
		return err
	}
	listing, err := tree.Listing(&tree.Tree{Dir: base.Dir, Devices: tree.StandardDevices()})
	if err != nil {
		return err
	}
	return call.Send(made{lock.Sources, base.Epoch, listing})
}

// differences are all that may differ from mmdebstrap's tree of the same packages, each with its reason.
var differences = []struct {
	path, reason string
}{
	{`/initrd\.img(\.old)?`, "links to the following, made with it"},
	{`/boot/initrd\.img-.*|/var/lib/initramfs-tools(/.*)?`, "the initramfs is made once, for the finished system"},
	{`/etc/hostname|/etc/resolv\.conf`, "copies of the host's files: an image must not depend on the host"},
	{`/etc/\.resolv\.conf\.systemd-resolved\.bak`, "systemd-resolved's copy of the above"},
	{`/etc/ssh/ssh_host_.*`, "made for each system anew, as many share the layer"},
	{`/var/cache/man/(.*/)?index\.db`, "a database that holds the times of its making"},
	{`/var/lib/apt/extended_states`, "the same stanzas in another order"},
	{`/var/lib/dpkg/triggers/File`, "the same lines in the order in which packages are unpacked, not in apt's"},
	{`/var/lib/dpkg/diversions(-old)?`, "mmdebstrap diverts start-stop-daemon and leaves the traces of it"},
}

// TestTreeEqualsMmdebstraps compares our tree with mmdebstrap's for the same packages: paths, types, modes, owners,
// contents, link targets, hard links, extended attributes, dpkg's status and all of its database.
func TestTreeEqualsMmdebstraps(t *testing.T) {
	offers.Need(t, "net", "build")
	offers.Programs(t, "mmdebstrap")
	cacheDir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	var ours made
	err = namespace.Run(t.Context(), namespace.Job{
		Name: "tree", Payload: treeJob{filepath.Join(cacheDir, "vmbuild-test"), t.TempDir()},
		Message: func(m json.RawMessage) {
			if err := json.Unmarshal(m, &ours); err != nil {
				t.Error(err)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	theirs := mmdebstrap(t, ours)
	for _, line := range tree.Diff(theirs, ours.Listing) {
		path, _, _ := strings.Cut(line, ": ")
		if !isNamed(path) {
			t.Error(line)
		}
	}
}

func isNamed(path string) bool {
	for _, d := range differences {
		if regexp.MustCompile("^(" + d.path + ")$").MatchString(path) {
			return true
		}
	}
	return false
}

// mmdebstrap makes the reference.
func mmdebstrap(t *testing.T, ours made) map[string]string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "tree.tar")
	cmd := exec.Command("mmdebstrap", "--variant="+DefaultVariant, "--include="+strings.Join(compared, ","),
		"trixie", out, strings.TrimSpace(sourcesList(ours.Sources)))
	cmd.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", ours.Epoch.Unix()))
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mmdebstrap: %v\n%s", err, text)
	}
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	listing, err := tree.TarListing(f)
	if err != nil {
		t.Fatal(err)
	}
	return listing
}
