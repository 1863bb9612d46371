// Package suite is the table of Debian releases: their names, the archives that complete them, the keys that sign them
// and where a release needs something of its own. It knows nothing of mirrors, packages' contents or images.
package suite

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

// Suite is one row of the table. What a release has and older ones lack is told by its methods.
type Suite struct {
	Codename  string
	Aliases   []string // stable, testing, …: what the name means today
	Version   string   // "13"; empty while it has none
	Archived  bool     // has left the mirrors for archive.debian.org, and is signed no more
	Updates   bool     // CODENAME-updates exists beside it
	Security  bool     // its suite exists in the security archive
	SplitBins bool     // its packages still ship /bin, /lib, /sbin: /usr is merged before they are unpacked
	Packages  []string // what an image must name, because a Recommends brings it and nothing else does
	Resolver  string   // package of systemd-resolved; empty where systemd itself has it

	Kernels map[string]string // metapackages of the default kernel that today have another name, by architecture

	// Ext4Without are features of today's mke2fs that this release's GRUB or e2fsck do not know (GRUB 2.06-3 and
	// e2fsprogs 1.46: metadata_csum_seed and orphan_file came with e2fsprogs 1.47; metadata_csum and, by default, 64bit
	// with 1.43, which is stretch's).
	Ext4Without []string

	// XFSWithout and BtrfsWithout are the like of today's mkfs.xfs and mkfs.btrfs: GRUB 2.06-3 does not know nrext64, Linux
	// 4.19 neither bigtime nor inobtcount, GRUB 2.02 no sparse inode chunks, Linux 4.9 has reflink and rmapbt for trials
	// only, and 3.16 no free-space-tree.
	XFSWithout, BtrfsWithout []string
}

// Without lists the features that a filesystem of that name must not have.
func (s Suite) Without(filesystem string) []string {
	switch filesystem {
	case "xfs":
		return s.XFSWithout
	case "btrfs":
		return s.BtrfsWithout
	}
	return s.Ext4Without
}

// How to add one: a row here, the newest last, its keys in keyrings/ (see Keyring), then
// VMBUILD_TEST=net,build,boot go test ./image ./cmd/vmbuild.
var table = []Suite{
	{Codename: "wheezy", Version: "7", Archived: true, Security: true,
		Kernels:      map[string]string{"armel": "linux-image-versatile", "armhf": "linux-image-vexpress"},
		Ext4Without:  []string{"metadata_csum", "64bit", "metadata_csum_seed", "orphan_file"},
		BtrfsWithout: []string{"free-space-tree", "no-holes"}},
	{Codename: "jessie", Version: "8", Archived: true, Security: true,
		Kernels:      map[string]string{"armel": "linux-image-versatile"},
		Ext4Without:  []string{"metadata_csum", "64bit", "metadata_csum_seed", "orphan_file"},
		BtrfsWithout: []string{"free-space-tree"}},
	{Codename: "stretch", Version: "9", Archived: true, Security: true,
		Kernels:     map[string]string{"armel": "linux-image-marvell"},
		Ext4Without: []string{"metadata_csum_seed", "orphan_file"},
		XFSWithout:  []string{"nrext64", "bigtime", "inobtcount", "sparse", "reflink", "rmapbt"}},
	{Codename: "buster", Version: "10", Archived: true, Updates: true, Security: true,
		Ext4Without: []string{"metadata_csum_seed", "orphan_file"},
		XFSWithout:  []string{"nrext64", "bigtime", "inobtcount", "sparse"}},
	{Codename: "bullseye", Aliases: []string{"oldoldstable"}, Version: "11", Updates: true, Security: true, SplitBins: true,
		Ext4Without: []string{"metadata_csum_seed", "orphan_file"},
		XFSWithout:  []string{"nrext64"}},
	{Codename: "bookworm", Aliases: []string{"oldstable"}, Version: "12", Updates: true, Security: true, SplitBins: true,
		Packages: []string{"zstd"}, Resolver: "systemd-resolved"},
	{Codename: "trixie", Aliases: []string{"stable"}, Version: "13", Updates: true, Security: true,
		Packages: []string{"zstd"}, Resolver: "systemd-resolved"},
	{Codename: "forky", Aliases: []string{"testing"},
		Packages: []string{"zstd", "mount", "login", "udev", "kmod", "e2fsprogs"}, Resolver: "systemd-resolved"},
	{Codename: "sid", Aliases: []string{"unstable"},
		Packages: []string{"zstd", "mount", "login", "udev", "kmod", "e2fsprogs"}, Resolver: "systemd-resolved"},
}

// Default is the release an image is made of when none is named, and the one whose tools make every image.
const Default = "stable"

// Current returns the rows of the releases that mirrors have, oldest first.
func Current() []Suite {
	return slices.DeleteFunc(slices.Clone(table), func(s Suite) bool { return s.Archived })
}

// Names returns every name that Lookup knows: codenames, oldest first, then aliases.
func Names() []string {
	var names, aliases []string
	for _, s := range table {
		names = append(names, s.Codename)
		aliases = append(aliases, s.Aliases...)
	}
	return append(names, aliases...)
}

// Lookup returns the release with that codename or alias.
func Lookup(name string) (Suite, error) {
	if s, ok := find(name); ok {
		return s, nil
	}
	return Suite{}, unknown(name)
}

func find(name string) (Suite, bool) {
	for _, s := range table {
		if s.Codename == name || slices.Contains(s.Aliases, name) {
			return s, true
		}
	}
	return Suite{}, false
}

// unknown says why there is no row for a name: a suite that only trees can be made of is a valid one.
func unknown(name string) error {
	if vendor := Publish(name, nil).Vendor; vendor != "Debian" {
		return fmt.Errorf("%q is a suite of %s, whose kernels and boot loaders vmbuild does not know: it makes trees and "+
			"tarballs of it (vmbuild bootstrap %[1]s TARGET), and images of Debian (%[3]s)", name, vendor, strings.Join(Names(), ", "))
	}
	if slices.ContainsFunc(archived, func(o old) bool { return o.codename == name }) {
		return fmt.Errorf("%q is too old a release of Debian for an image: the oldest is %s; vmbuild makes trees and "+
			"tarballs of it (vmbuild bootstrap %[1]s TARGET)", name, table[0].Codename)
	}
	if base := Publish(name, nil).Base; base != "" {
		return fmt.Errorf("%q is no release of its own, it only adds packages to %s: take that as the distribution", name, base)
	}
	return fmt.Errorf("%q is not a valid Debian or Ubuntu suite or codename that vmbuild knows (%s)",
		name, strings.Join(Names(), ", "))
}

// Keyring returns the OpenPGP keys that sign the table's archives, as shipped by Debian in debian-archive-keyring
// 2025.1, file /usr/share/keyrings/debian-archive-keyring.pgp (SHA256
// 506b815cbb32d9b6066b4a2aa524071e071761e7e7f68c3ac74f3061ba852017). It holds, by fingerprint:
//
//	1F89983E0081FDE018F3CC9673A4F27B8DD47936  Archive Automatic Signing Key (11/bullseye)
//	AC530D520F2F3269F5E98313A48449044AAD5C5D  Security Archive Automatic Signing Key (11/bullseye)
//	A4285295FC7B1A81600062A9605C66F00D6C9793  Stable Release Key (11/bullseye)
//	B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8  Archive Automatic Signing Key (12/bookworm)
//	05AB90340C0C5E797F44A8C8254CF3B5AEC0A8F0  Security Archive Automatic Signing Key (12/bookworm)
//	4D64FEC119C2029067D6E791F8D2585B8783D481  Stable Release Key (12/bookworm)
//	04B54C3CDCA79751B16BC6B5225629DF75B188BD  Archive Automatic Signing Key (13/trixie)
//	5E04A1E3223A19A20706E20F9904613D4CCE68C6  Security Archive Automatic Signing Key (13/trixie)
//	41587F7DB8C774BCCF131416762F67A0B2C39DE4  Stable Release Key (13/trixie)
func Keyring() []byte { return slices.Clone(keyring) }

//go:embed keyrings/debian-archive-keyring.pgp
var keyring []byte
