package suite

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFacts has a line for each release, so that a new row is looked at here too.
func TestFacts(t *testing.T) {
	const stub = "../run/systemd/resolve/stub-resolv.conf"
	want := []string{
		"wheezy:  archived wheezy/updates, linux-image-vexpress , ifupdown isc-dhcp-client",
		"jessie: systemd-sysv archived jessie/updates ext4 uefi networkd, linux-image-armmp , ifupdown isc-dhcp-client",
		"stretch: systemd-sysv archived stretch/updates ext4 uefi networkd deb822, linux-image-armmp ../run/systemd/resolve/resolv.conf, ifupdown isc-dhcp-client",
		"buster: systemd-sysv archived buster/updates ext4 uefi networkd deb822, linux-image-armmp " + stub + ", ifupdown isc-dhcp-client",
		"bullseye: systemd-sysv bullseye-security ext4 uefi networkd deb822 yescrypt, linux-image-armmp " + stub + ", ifupdown isc-dhcp-client",
		"bookworm: systemd-sysv bookworm-security ext4 uefi networkd deb822 yescrypt merged, linux-image-armmp " + stub + ", ifupdown isc-dhcp-client",
		"trixie: systemd-sysv trixie-security ext4 uefi networkd deb822 yescrypt merged, linux-image-armmp " + stub + ", ifupdown dhcpcd-base",
		"forky: systemd-sysv ext4 uefi networkd deb822 yescrypt merged, linux-image-armmp " + stub + ", ifupdown dhcpcd-base",
		"sid: systemd-sysv ext4 uefi networkd deb822 yescrypt merged, linux-image-armmp " + stub + ", ifupdown dhcpcd-base",
	}
	var got []string
	for _, s := range table {
		words := []string{s.Init()}
		for _, fact := range []struct {
			holds bool
			word  string
		}{
			{s.Archived, "archived"}, {s.Security, s.SecuritySuite()}, {s.StartsFromExt4(), "ext4"}, {s.UEFI("i386"), "uefi"},
			{s.Networkd(), "networkd"}, {s.Deb822(), "deb822"}, {s.Yescrypt(), "yescrypt"}, {s.NeedsMergedUsr(), "merged"},
		} {
			if fact.holds {
				words = append(words, fact.word)
			}
		}
		kernel, err := s.Kernel("armhf", "linux-image-armmp")
		if err != nil {
			t.Error(err)
		}
		got = append(got, fmt.Sprintf("%s: %s, %s %s, %s", s.Codename, strings.Join(words, " "),
			kernel, s.ResolvConf(), strings.Join(s.Ifupdown(true), " ")))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if wheezy, _ := find("wheezy"); !wheezy.UEFI("amd64") || !cmp.Equal(wheezy.Ifupdown(false), []string{"ifupdown"}) {
		t.Errorf("wheezy on amd64: %v, %v", wheezy.UEFI("amd64"), wheezy.Ifupdown(false))
	}
}

func TestReleasesWithKernels(t *testing.T) {
	want := map[string]string{
		"armel": "wheezy trixie", "i386": "wheezy bookworm", "riscv64": "trixie sid", "loong64": "forky sid", "amd64": "wheezy sid",
		"mips64el": "stretch bookworm",
	}
	got := map[string]string{}
	for arch := range want {
		var have []string
		for _, s := range table {
			if _, err := s.Kernel(arch, "linux-image"); err == nil {
				have = append(have, s.Codename)
			}
		}
		got[arch] = have[0] + " " + have[len(have)-1]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	sid, _ := find("sid")
	if _, err := sid.Kernel("i386", ""); fmt.Sprint(err) != "there is no kernel for i386 in Debian sid: the last release with one is bookworm" {
		t.Error(err)
	}
	jessie, _ := find("jessie")
	if _, err := jessie.Kernel("riscv64", ""); fmt.Sprint(err) != "there is no kernel for riscv64 in Debian jessie: the first release with one is trixie" {
		t.Error(err)
	}
}

func TestCurrentAreNotArchived(t *testing.T) {
	var names []string
	for _, s := range Current() {
		names = append(names, s.Codename)
	}
	if want := []string{"bullseye", "bookworm", "trixie", "forky", "sid"}; !cmp.Equal(names, want) {
		t.Errorf("%v, want %v", names, want)
	}
}

// A valid name of a suite that no image can be made of is told from one that nobody knows.
func TestLookupSaysWhyNot(t *testing.T) {
	names := strings.Join(Names(), ", ")
	for name, want := range map[string]string{
		"noble":        `"noble" is a suite of Ubuntu, whose kernels and boot loaders vmbuild does not know: it makes trees and tarballs of it (vmbuild bootstrap noble TARGET), and images of Debian (` + names + ")",
		"hardy":        `"hardy" is a suite of Ubuntu, whose kernels and boot loaders vmbuild does not know: it makes trees and tarballs of it (vmbuild bootstrap hardy TARGET), and images of Debian (` + names + ")",
		"sarge":        `"sarge" is too old a release of Debian for an image: the oldest is wheezy; vmbuild makes trees and tarballs of it (vmbuild bootstrap sarge TARGET)`,
		"experimental": `"experimental" is no release of its own, it only adds packages to sid: take that as the distribution`,
		"":             `"" is not a valid Debian or Ubuntu suite or codename that vmbuild knows (` + names + ")",
	} {
		if s, err := Lookup(name); err == nil || err.Error() != want || s.Codename != "" {
			t.Errorf("Lookup(%q) = %v, %v; want %s", name, s.Codename, err, want)
		}
	}
}

// TestFirstBoot has what each release has for a system that starts for the first time.
func TestFirstBoot(t *testing.T) {
	const script = "cloud-initramfs-growroot"
	want := []string{
		"wheezy: msdos [" + script + "], gpt [" + script + "]",
		"jessie: msdos [" + script + "], gpt [" + script + "]",
		"stretch: msdos [" + script + "], gpt [" + script + "] cloud-init",
		"buster: msdos [" + script + "], gpt [" + script + "] cloud-init",
		"bullseye: msdos [" + script + "], gpt [" + script + "] growfs cloud-init",
		"bookworm: msdos [" + script + "], gpt [] growfs repart cloud-init networkd",
		"trixie: msdos [" + script + "], gpt [systemd-repart] growfs repart cloud-init networkd",
		"forky: msdos [" + script + "], gpt [systemd-repart] growfs repart cloud-init networkd",
		"sid: msdos [" + script + "], gpt [systemd-repart] growfs repart cloud-init networkd",
	}
	var got []string
	for _, s := range table {
		line := fmt.Sprintf("%s: msdos %s, gpt %s", s.Codename, s.RootGrowers(false), s.RootGrowers(true))
		for _, fact := range []struct {
			holds bool
			word  string
		}{
			{s.GrowsRoot(), "growfs"}, {s.Repart(true), "repart"}, {s.CloudInit(), "cloud-init"}, {s.CloudNetworkd(), "networkd"},
		} {
			if fact.holds {
				line += " " + fact.word
			}
		}
		if s.Repart(false) {
			t.Errorf("%s: systemd-repart reads no msdos table", s.Codename)
		}
		got = append(got, line)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
