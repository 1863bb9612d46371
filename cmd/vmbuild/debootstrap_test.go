package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/offers"
)

// TestPackagesEqualDebootstraps: for each suite and variant the packages are those that debootstrap itself names.
func TestPackagesEqualDebootstraps(t *testing.T) {
	p := needProgram(t, "net", "build")
	offers.Programs(t, "debootstrap")
	mirror := offers.Mirror(t)
	buildsWithRequired := isBefore145(t)
	for _, suite := range []string{"bullseye", "bookworm", "trixie"} {
		for _, variant := range []string{"minbase", "buildd", "-"} {
			t.Run(suite+" "+variant, func(t *testing.T) {
				t.Parallel()
				dir := p.workDir(t) // debootstrap leaves a log in it
				args := []string{"--print-debs", "--arch=amd64", "--variant=" + variant, suite, filepath.Join(dir, "none"), mirror}
				theirs := printedWords(t, exec.Command("debootstrap", args...))
				if variant == "buildd" && suite == "trixie" && buildsWithRequired {
					args[2] = "--variant=minbase"
					args = append([]string{"--include=build-essential"}, args...)
				}
				args = append([]string{"debootstrap", "--no-check-valid-until"}, args...)
				ours := printedWords(t, p.command(t.Context(), dir, args...))
				if diff := cmp.Diff(theirs, ours); diff != "" {
					t.Errorf("-debootstrap +vmbuild:\n%s", diff)
				}
				t.Logf("%d packages", len(ours))
			})
		}
	}
}

// isBefore145 says whether debootstrap still has the packages of priority required in variant buildd of trixie, which
// its script does not any more.
func isBefore145(t *testing.T) bool {
	t.Helper()
	script, err := os.ReadFile("/usr/share/debootstrap/scripts/debian-common")
	if err != nil {
		t.Fatal(err)
	}
	return !bytes.Contains(script, []byte("Essential"))
}

// printedWords are the words that a command prints, sorted.
func printedWords(t *testing.T, cmd *exec.Cmd) []string {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, stderr.String())
	}
	words := strings.Fields(string(out))
	slices.Sort(words)
	return words
}

// TestTarballsOfDebootstrap has each program make a tree of the other's tarball, without network.
func TestTarballsOfDebootstrap(t *testing.T) {
	p := needProgram(t, "net", "build")
	offers.Programs(t, "debootstrap", "unshare")
	if os.Getuid() != 0 {
		t.Skip("debootstrap is for root")
	}
	t.Parallel()
	mirror, dir := offers.Mirror(t), p.workDir(t)
	of := func(name string) string { return filepath.Join(dir, name) }
	must := func(args ...string) {
		t.Helper()
		cmd := p.command(t.Context(), dir, args[1:]...)
		if args[0] != "vmbuild" {
			cmd = exec.Command(args[0], args[1:]...)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	must("vmbuild", "debootstrap", "--variant=minbase", "--no-check-valid-until", "--make-tarball="+of("ours.tgz"), "trixie", of("o"), mirror)
	must("unshare", "--mount", "debootstrap", "--variant=minbase", "--make-tarball="+of("theirs.tgz"), "trixie", of("t"), mirror)
	must("unshare", "--net", p.path, "debootstrap", "--cache-dir="+of("cache"), "--variant=minbase",
		"--unpack-tarball="+of("theirs.tgz"), "trixie", of("of-theirs"))
	must("unshare", "--net", "--mount", "debootstrap", "--variant=minbase", "--unpack-tarball="+of("ours.tgz"),
		"trixie", of("of-ours"), mirror)
	list := func(tree string) []string {
		return printedWords(t, exec.Command("dpkg-query", "--admindir="+filepath.Join(of(tree), "var/lib/dpkg"), "--show",
			"--showformat=${Package}_${Version}_${db:Status-Abbrev}\n"))
	}
	ours, theirs := list("of-ours"), list("of-theirs")
	if diff := cmp.Diff(theirs, ours); diff != "" || len(ours) < 70 {
		t.Errorf("%d packages, -of debootstrap's tarball +of ours:\n%s", len(ours), diff)
	}
}
