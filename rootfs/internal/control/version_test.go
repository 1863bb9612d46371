package control_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"vmbuild/rootfs/internal/control"
	"vmbuild/rootfs/offers"
)

// ordered lists versions, the oldest first; those on one line, separated by blanks, are equal.
var ordered = []string{
	"0~~",
	"0~~a",
	"0~",
	"0 0-0 00 0:0 0:0-00",
	"0-0.1",
	"0a",
	"0+",
	"0.0",
	"0.1~rc1-1",
	"0.1-1~bpo12+1",
	"0.1-1 0.01-01",
	"0.1-1a",
	"0.1-1+b1",
	"0.1-1.1",
	"0.1a-1",
	"0.1.2-1",
	"0.9",
	"0.10",
	"0.18446744073709551616",
	"0.18446744073709551617",
	"0.99999999999999999999999999",
	"1.0~beta1~svn1245",
	"1.0~beta1",
	"1.0",
	"1.0A",
	"1.0Z",
	"1.0a",
	"1.0+dfsg",
	"1.0-1-1",
	"1.0-dfsg-1",
	"1:0~0",
	"1:0.1 01:0.1",
	"2:0",
	"10:0",
	"10:1:2",
}

func TestCompareVersions(t *testing.T) {
	for i, older := range ordered {
		for j, newer := range ordered {
			for a := range strings.FieldsSeq(older) {
				for b := range strings.FieldsSeq(newer) {
					want := min(1, max(-1, i-j))
					if got := control.CompareVersions(a, b); got != want {
						t.Errorf("CompareVersions(%q, %q) = %d, want %d", a, b, got, want)
					}
				}
			}
		}
	}
}

// TestDpkgAgrees holds the table above against dpkg itself.
func TestDpkgAgrees(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "dpkg")
	for i := range len(ordered) - 1 {
		older, newer := strings.Fields(ordered[i])[0], strings.Fields(ordered[i+1])[0]
		if err := exec.Command("dpkg", "--compare-versions", older, "lt", newer).Run(); err != nil {
			t.Errorf("dpkg does not take %s for older than %s", older, newer)
		}
		for same := range strings.FieldsSeq(ordered[i]) {
			if err := exec.Command("dpkg", "--compare-versions", older, "eq", same).Run(); err != nil {
				t.Errorf("dpkg does not take %s and %s for equal", older, same)
			}
		}
	}
}

func FuzzCompareVersions(f *testing.F) {
	for i, line := range ordered {
		f.Add(line, ordered[len(ordered)-1-i], ordered[0])
	}
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if ab, ba := control.CompareVersions(a, b), control.CompareVersions(b, a); ab != -ba {
			t.Errorf("CompareVersions(%q, %q) = %d, the other way round %d", a, b, ab, ba)
		}
		versions := []string{a, b, c}
		slices.SortFunc(versions, control.CompareVersions)
		if control.CompareVersions(versions[0], versions[2]) > 0 {
			t.Errorf("%q, %q, %q: the first is newer than the last", versions[0], versions[1], versions[2])
		}
	})
}
