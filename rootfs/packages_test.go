package rootfs

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/internal/control"
	"vmbuild/rootfs/mirror"
	"vmbuild/rootfs/offers"
)

// TestVariantsEqualMmdebstraps: for each suite and variant the packages are the ones that mmdebstrap would install.
func TestVariantsEqualMmdebstraps(t *testing.T) {
	offers.Need(t, "net", "build")
	offers.Programs(t, "mmdebstrap")
	server := offers.Mirror(t)
	buildsWithRequired := isBefore14(t)
	for _, suite := range []string{"bullseye", "bookworm", "trixie", "sid"} {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			variants := []string{"essential", "apt", "required", "buildd", "important", "standard"}
			if suite != "trixie" && !offers.Has("matrix") {
				variants = []string{"buildd", "standard"}
			}
			for _, variant := range variants {
				spec := Spec{
					Arch: "amd64", Suite: suite, Mirror: server, Security: mirror.None, NoUpdates: true, Variant: variant,
					IgnoreValidUntil: true,
				}
				if variant == "buildd" && buildsWithRequired {
					spec.Variant, spec.Include = "required", []string{"build-essential"}
				}
				got := variantPackages(t, spec)
				want := simulated(t, variant, suite, server)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-mmdebstrap +vmbuild):\n%s", variant, diff)
				}
				t.Logf("%s: %d packages", variant, len(got))
			}
		})
	}
}

// isBefore14 says whether mmdebstrap still has the packages of priority required in variant buildd, as it had before 1.4.0.
func isBefore14(t *testing.T) bool {
	t.Helper()
	out, err := exec.Command("mmdebstrap", "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	version := strings.TrimSpace(strings.TrimPrefix(string(out), "mmdebstrap "))
	return control.CompareVersions(version, "1.4.0") < 0
}

// variantPackages are the names and versions that a Spec comes to, sorted.
func variantPackages(t *testing.T, s Spec) []string {
	t.Helper()
	lock, err := newBuilder(t).Resolve(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, p := range lock.Packages {
		list = append(list, p.Name+" "+p.Version)
	}
	slices.Sort(list)
	return list
}

// installs are the lines in which apt says what it would install.
var installs = regexp.MustCompile(`(?m)^Inst (\S+) (?:\[\S+\] )?\((\S+) `)

func simulated(t *testing.T, variant, suite, server string) []string {
	t.Helper()
	out, err := exec.Command("unshare", "--mount", "mmdebstrap", "--simulate", "--verbose", "--variant="+variant, suite, "/dev/null",
		"--aptopt=Acquire::Check-Valid-Until \"false\"", "deb "+server+" "+suite+" main").CombinedOutput()
	if err != nil {
		t.Fatalf("mmdebstrap: %v\n%s", err, out)
	}
	var list []string
	for _, m := range installs.FindAllSubmatch(out, -1) {
		list = append(list, string(m[1])+" "+string(m[2]))
	}
	slices.Sort(list)
	return slices.Compact(list)
}
