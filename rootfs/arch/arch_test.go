package arch

import (
	"regexp"
	"runtime"
	"strings"
	"testing"
)

var guid = regexp.MustCompile(`^[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}$`)

func TestRowsAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range All() {
		if seen[a.Name] || a.GNU == "" || a.Go == "" || a.Kernel == "" || a.Table == "" || a.Loader == "" || a.Console == "" || !guid.MatchString(a.RootGUID) {
			t.Errorf("row %+v is incomplete or stands twice", a)
		}
		if a.ELF == (ELF{}) || a.Exit == "" || !strings.HasPrefix(a.Emulator, "qemu-") {
			t.Errorf("%s: nothing says how its programs are run: %+v", a.Name, a)
		}
		if _, err := Host(a.Also); a.Also != "" && err != nil {
			t.Errorf("%s: %v", a.Name, err)
		}
		if a.UEFI() != (a.GRUBEFI != "") {
			t.Errorf("%s: EFI %q and GRUB platform %q do not agree", a.Name, a.EFI, a.GRUBEFI)
		}
		seen[a.Name] = true
		if got, err := Lookup(a.Name); err != nil || got != a {
			t.Errorf("Lookup(%q) = %+v, %v", a.Name, got, err)
		}
	}
}

func TestHostIsKnown(t *testing.T) {
	if _, err := Host(runtime.GOARCH); err != nil {
		t.Error(err)
	}
	if _, err := Host("pdp11"); err == nil || err.Error() != `no Debian architecture is known for this host's "pdp11"` {
		t.Errorf("Host(pdp11): %v", err)
	}
}
