package suite

import (
	"fmt"
	"slices"
)

// Since says whether a release is the one of that codename or a newer one: the table has them in their order.
func (s Suite) Since(codename string) bool {
	return row(s.Codename) >= row(codename)
}

func row(codename string) int {
	return slices.IndexFunc(table, func(s Suite) bool { return s.Codename == codename })
}

// Init is the package that an image must name for its first process. In wheezy that is sysvinit, which is essential
// (release notes of Debian 8: "New default init system").
func (s Suite) Init() string {
	if s.Since("jessie") {
		return "systemd-sysv"
	}
	return ""
}

// kernels are the releases that have a kernel for an architecture, from the first to the last; empty: to the newest. An
// architecture that is not here has one in every release of the table.
var kernels = []struct{ arch, first, last string }{
	{"arm64", "jessie", ""},
	{"armel", "wheezy", "trixie"},
	{"i386", "wheezy", "bookworm"},
	{"loong64", "forky", ""},
	{"mips64el", "stretch", "bookworm"},
	{"ppc64el", "jessie", ""},
	{"riscv64", "trixie", ""},
}

// Kernel is the metapackage of the default kernel for an architecture, whose name of today is given. Its error says which
// releases have one if this one does not.
func (s Suite) Kernel(arch, today string) (string, error) {
	for _, k := range kernels {
		switch {
		case k.arch != arch:
		case !s.Since(k.first):
			return "", fmt.Errorf("there is no kernel for %s in Debian %s: the first release with one is %s", arch, s.Codename, k.first)
		case k.last != "" && row(s.Codename) > row(k.last):
			return "", fmt.Errorf("there is no kernel for %s in Debian %s: the last release with one is %s", arch, s.Codename, k.last)
		}
	}
	if name, ok := s.Kernels[arch]; ok {
		return name, nil
	}
	return today, nil
}

// Networkd says whether the release has systemd-networkd (systemd 209).
func (s Suite) Networkd() bool { return s.Since("jessie") }

// ResolvConf is where /etc/resolv.conf leads for names to be answered by systemd-resolved: to its own resolver, which came
// with systemd 236, or to those that the network names. Empty: the release goes without it.
func (s Suite) ResolvConf() string {
	switch {
	case s.Since("buster"):
		return "../run/systemd/resolve/stub-resolv.conf"
	case s.Since("stretch"):
		return "../run/systemd/resolve/resolv.conf"
	}
	return ""
}

// Ifupdown are the packages that bring interfaces up as /etc/network/interfaces says, and ask for addresses by DHCP if
// that is wanted. Which client is the one that ifupdown recommends first: ISC's, whose upstream has ended, up to bookworm.
func (s Suite) Ifupdown(dhcp bool) []string {
	switch {
	case !dhcp:
		return []string{"ifupdown"}
	case s.Since("trixie"):
		return []string{"ifupdown", "dhcpcd-base"}
	}
	return []string{"ifupdown", "isc-dhcp-client"}
}

// Deb822 says whether the release's apt reads .sources files, and knows Signed-By (apt 1.1).
func (s Suite) Deb822() bool { return s.Since("stretch") }

// Yescrypt says whether the release's libcrypt knows yescrypt, the default for new passwords since then (release notes of
// Debian 11: "Password hashing uses yescrypt by default"); before, it was SHA-512.
func (s Suite) Yescrypt() bool { return s.Since("bullseye") }

// PowerButton says whether the release's own init system heeds the power button of a machine, as systemd-logind does; before,
// that was package acpid's work.
func (s Suite) PowerButton() bool { return s.Since("jessie") }

// StartsFromExt4 says whether the release's boot loaders read ext4. Those of wheezy, GRUB 1.99 and extlinux 4.05, do not
// what mke2fs writes today.
func (s Suite) StartsFromExt4() bool { return s.Since("jessie") }

// UEFI says whether the release starts an architecture by UEFI, provided that Debian does. Wheezy does amd64 alone (its
// installer's only architecture with UEFI).
func (s Suite) UEFI(arch string) bool { return s.Since("jessie") || arch == "amd64" }

// NeedsMergedUsr says whether the release's packages rely on /bin, /lib and /sbin being links into /usr (release notes of
// Debian 12: "A "merged-/usr" is now required").
func (s Suite) NeedsMergedUsr() bool { return s.Since("bookworm") }

// GrowsRoot says whether the release's systemd makes the filesystem of / as large as its partition, whichever it is that
// vmbuild makes: systemd-growfs of 247 and later knows ext2 to ext4, btrfs and xfs.
func (s Suite) GrowsRoot() bool { return s.Since("bullseye") }

// RootGrowers are the packages that make the partition of / as large as its disk when the system starts. systemd-repart does
// so on gpt disks (systemd 252; of 257 it is a package of its own, with no other that an image lacks). For msdos, and
// before, there is a script for initramfs-tools, which brings Python and qemu-utils with it, 60 MB.
func (s Suite) RootGrowers(gpt bool) []string {
	switch {
	case !s.Repart(gpt):
		return []string{"cloud-initramfs-growroot"}
	case s.Since("trixie"):
		return []string{"systemd-repart"}
	}
	return nil
}

// Repart says whether it is systemd-repart that grows the root partition.
func (s Suite) Repart(gpt bool) bool { return gpt && s.Since("bookworm") }

// CloudInit says whether the release's cloud-init heeds what an image's configuration says of the network (0.7.7).
func (s Suite) CloudInit() bool { return s.Since("stretch") }

// CloudNetworkd says whether the release's cloud-init can set up systemd-networkd (21.4).
func (s Suite) CloudNetworkd() bool { return s.Since("bookworm") }
