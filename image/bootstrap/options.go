package bootstrap

import (
	"time"

	"vmbuild/hooks"
	"vmbuild/rootfs"
	"vmbuild/rootfs/mirror"
)

// Options is what a user asks for. The zero value of a field is "not given"; the words of its comment are the option of
// mmdebstrap's command line that it stands for, unless another program is named.
type Options struct {
	Suite   string   // SUITE; empty: Mirrors say it all
	Target  string   // TARGET; empty or "-": standard output
	Mirrors []Mirror // MIRROR...; none: the suite's own archives

	Variant       string   // --variant; empty: important
	Format        string   // --format; empty or "auto": by Target
	Mode          string   // --mode: how mmdebstrap would work; only the hooks are told
	Architectures []string // --architectures: the system's own first, then further ones (multiarch)
	Components    []string // --components
	Include       []string // --include: names, name=version, name/suite, patterns, paths of .deb files, in apt's order
	Exclude       []string // --exclude: never installed
	Omit          []string // --exclude (debootstrap): not installed unless something depends on them
	Recommends    bool     // install what is recommended, too (allowrecommends of multistrap)

	AptOptions  []string   // --aptopt: lines or whole texts of apt.conf(5)
	DpkgOptions []string   // --dpkgopt: lines or whole texts of dpkg.cfg(5)
	Release     string     // APT::Default-Release for the choice of packages only (aptdefaultrelease of multistrap)
	Preferences string     // content for /etc/apt/preferences.d (aptpreferences of multistrap)
	Keyrings    []string   // --keyring: paths of OpenPGP keyrings or of directories of them
	InRelease   string     // --inrelease-path (debootstrap): where it is, from its usual place in the suite's own archive
	TLS         rootfs.TLS // --certificate, --private-key, --no-check-certificate (debootstrap): absolute paths
	Debconf     []string   // lines for debconf-set-selections, before anything is configured (debconfseed of multistrap)

	Hooks []hooks.Hook // --setup-hook, --extract-hook, --essential-hook, --customize-hook, --hook-directory
	Skip  []string     // --skip: keys of what is left out; an unknown one is refused

	Simulate          bool // --simulate: print what would be installed
	NoCheckSignatures bool // --no-check-sig (debootstrap), noauth (multistrap)
	NoCheckValidUntil bool // --no-check-valid-until
	Offline           bool // --offline: everything from the cache
	NoMergedUsr       bool // --no-merged-usr (debootstrap)

	// Foreign leaves the packages unpacked, with a script in the tree that configures them when it is run there
	// (--foreign of debootstrap); UnpackOnly does so without the script (multistrap, for another architecture).
	Foreign    bool
	UnpackOnly bool

	PrintPackages bool   // --print-debs (debootstrap): print the names of the packages and stop
	DownloadOnly  bool   // --download-only (debootstrap): leave the packages in Target, unpacked is nothing
	MakeTarball   string // --make-tarball (debootstrap): write the packages as this tarball and stop
	UnpackTarball string // --unpack-tarball (debootstrap): all packages of this one and no other; an absolute path
	KeepPackages  string // put the packages into this directory too, an absolute path (retainsources of multistrap)
	Marks         Marks  // which packages are marked as automatically installed (markauto of multistrap)

	Verbosity int       // 0 to 3, as the hooks are told; 1 is the usual one
	Epoch     time.Time // SOURCE_DATE_EPOCH; zero: the date of the newest archive used

	Defaults mirror.Mirrors // where the suite's own archives are, for this host
}

// Mirror is one MIRROR argument: an address, a line or the content of a file of sources.list(5).
type Mirror struct {
	Argument string // as it was given; "-": Content is what standard input had
	Content  string // of standard input
}
