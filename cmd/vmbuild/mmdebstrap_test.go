package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"vmbuild/rootfs/offers"
	"vmbuild/rootfs/tree"
)

// differences are all that may differ between our tree and mmdebstrap's of the same packages, each with its reason.
var differences = []struct {
	path, reason string
}{
	{`/var/lib/apt/extended_states`, "the same stanzas in another order"},
	{`/var/lib/dpkg/triggers/File`, "the same lines in the order in which packages are unpacked, not in apt's"},
	{`/var/lib/dpkg/diversions(-old)?`, "mmdebstrap diverts start-stop-daemon and leaves the traces of it"},
	{`/var/cache/man/(.*/)?index\.db`, "a database that holds the times of its making"},
	{`/var/cache/debconf/(config|templates)\.dat-old|/var/lib/dpkg/status-old`,
		"what debconf and dpkg had before their last change: they are called another number of times"},
	{`/initrd\.img(\.old)?`, "links to the following, made with it"},
	{`/boot/initrd\.img-.*|/var/lib/initramfs-tools(/.*)?`, "the initramfs is made once, for the finished system"},
	{`/etc/\.resolv\.conf\.systemd-resolved\.bak`, "systemd-resolved's copy of the host's resolv.conf, which ours never replaces"},
	{`/etc/ssh/ssh_host_.*`, "made for each system anew"},
	{`/usr/(lib|share)/python3/.*/__pycache__/.*\.pyc`,
		"compiled when they were first imported: the bytes depend on what else was referred to then"},
}

// TestTreesEqualMmdebstraps compares the tar of each variant with mmdebstrap's: paths, types, modes, owners, times,
// contents, link targets, hard links, extended attributes, dpkg's status and all of its database.
func TestTreesEqualMmdebstraps(t *testing.T) {
	p := needProgram(t, "net", "build")
	offers.Programs(t, "mmdebstrap", "unshare")
	source := "deb " + offers.Mirror(t) + " trixie main"
	p.env = []string{"SOURCE_DATE_EPOCH=1750000000"}
	short := []string{"essential", "kernel"} // the others need the word matrix
	for name, args := range map[string][]string{
		"essential": {"--variant=essential"},
		"apt":       {"--variant=apt"},
		"minbase":   {"--variant=minbase"},
		"buildd":    {"--variant=minbase", "--include=build-essential"}, // as mmdebstrap before 1.4.0 had it
		"important": {"--variant=important"},
		"standard":  {"--variant=standard"},
		// Kernel and boot loader, a daemon with a user of its own, packages with triggers and alternatives.
		"kernel": {"--variant=important",
			"--include=linux-image-amd64,grub-pc,zstd,systemd-resolved,openssh-server,man-db"},
	} {
		if !slices.Contains(short, name) && !offers.Has("matrix") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := p.workDir(t)
			args := append(args, "trixie", "", source)
			ours := p.timed(t, dir, append([]string{"bootstrap"}, args...), filepath.Join(dir, "ours.tar"))
			// Its mounts are not to be seen by tests that look for what vmbuild leaves.
			alone := append([]string{"--mount", "mmdebstrap"}, args...)
			theirs := program{path: "unshare", env: p.env}.timed(t, dir, alone, filepath.Join(dir, "theirs.tar"))
			for _, line := range tree.Diff(theirs, ours) {
				path, _, _ := strings.Cut(line, ": ")
				if !mayDiffer(path) {
					t.Error(line)
				}
			}
		})
	}
}

func mayDiffer(path string) bool {
	for _, d := range differences {
		if regexp.MustCompile("^(" + d.path + ")$").MatchString(path) {
			return true
		}
	}
	return false
}

// timed runs a program with out in place of the empty argument, says how long it took, and lists the tar it has written.
func (p program) timed(t *testing.T, dir string, args []string, out string) map[string]string {
	t.Helper()
	line := append([]string(nil), args...)
	for i, a := range line {
		if a == "" {
			line[i] = out
		}
	}
	start := time.Now()
	cmd := exec.Command(p.path, line...)
	cmd.Env = append(os.Environ(), p.env...)
	if p.cache != "" {
		cmd = p.command(t.Context(), dir, line...)
	}
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", p.path, err, text)
	}
	t.Logf("%s: %s", filepath.Base(p.path), fmt.Sprintf("%.1f s", time.Since(start).Seconds()))
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
