package suite

import "slices"

// since says whether a release is the one of that codename or a newer one: the table has them in their order.
func (s Suite) since(codename string) bool {
	return row(s.Codename) >= row(codename)
}

func row(codename string) int {
	return slices.IndexFunc(table, func(s Suite) bool { return s.Codename == codename })
}

// Init is the package that an image must name for its first process. In wheezy that is sysvinit, which is essential
// (release notes of Debian 8: "New default init system").
func (s Suite) Init() string {
	if s.since("jessie") {
		return "systemd-sysv"
	}
	return ""
}

// Kernel is the metapackage of the default kernel for an architecture, whose name of today is given.
func (s Suite) Kernel(arch, today string) string {
	if name, ok := s.Kernels[arch]; ok {
		return name
	}
	return today
}

// Networkd says whether the release has systemd-networkd (systemd 209).
func (s Suite) Networkd() bool { return s.since("jessie") }

// ResolvConf is where /etc/resolv.conf leads for names to be answered by systemd-resolved: to its own resolver, which came
// with systemd 236, or to those that the network names. Empty: the release goes without it.
func (s Suite) ResolvConf() string {
	switch {
	case s.since("buster"):
		return "../run/systemd/resolve/stub-resolv.conf"
	case s.since("stretch"):
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
	case s.since("trixie"):
		return []string{"ifupdown", "dhcpcd-base"}
	}
	return []string{"ifupdown", "isc-dhcp-client"}
}

// Deb822 says whether the release's apt reads .sources files, and knows Signed-By (apt 1.1).
func (s Suite) Deb822() bool { return s.since("stretch") }

// Yescrypt says whether the release's libcrypt knows yescrypt, the default for new passwords since then (release notes of
// Debian 11: "Password hashing uses yescrypt by default"); before, it was SHA-512.
func (s Suite) Yescrypt() bool { return s.since("bullseye") }

// PowerButton says whether the release's own init system heeds the power button of a machine, as systemd-logind does; before,
// that was package acpid's work.
func (s Suite) PowerButton() bool { return s.since("jessie") }

// StartsFromExt4 says whether the release's boot loaders read ext4. Those of wheezy, GRUB 1.99 and extlinux 4.05, do not
// what mke2fs writes today.
func (s Suite) StartsFromExt4() bool { return s.since("jessie") }

// UEFI says whether the release starts an architecture by UEFI, provided that Debian does. Wheezy does amd64 alone (its
// installer's only architecture with UEFI).
func (s Suite) UEFI(arch string) bool { return s.since("jessie") || arch == "amd64" }

// NeedsMergedUsr says whether the release's packages rely on /bin, /lib and /sbin being links into /usr (release notes of
// Debian 12: "A "merged-/usr" is now required").
func (s Suite) NeedsMergedUsr() bool { return s.since("bookworm") }
