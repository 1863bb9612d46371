package image

import (
	"time"

	"vmbuild/hooks"
)

// Options is what a user asks for, one field per option of the command line; the zero value of a field is "not given" and
// has no part in the seed, so that a new option changes no identifier of builds that do not use it.
type Options struct {
	Image            string   `json:",omitzero"` // --image: path of the disk image
	Tarball          string   `json:",omitzero"` // --tarball: path
	Squash           string   `json:",omitzero"` // --squash: directory for live use
	Directory        string   `json:",omitzero"` // --directory: the tree itself
	OutputImages     []string `json:",omitzero"` // --output-image: further paths, whose names say what they are
	Formats          []string `json:",omitzero"` // --format: see forms
	ConvertQcow2     bool     `json:",omitzero"` // --convert-qcow2
	Qcow2Compression string   `json:",omitzero"` // --qcow2-compression
	Owner            string   `json:",omitzero"` // --owner: user whose the outputs shall be
	NoSparse         bool     `json:",omitzero"` // --no-sparse: images have all their room on the disk
	PkgList          bool     `json:",omitzero"` // --pkglist

	Size          Size     `json:",omitzero"` // --size
	Distribution  string   `json:",omitzero"` // --distribution: suite or codename
	Arch          string   `json:",omitzero"` // --arch: Debian architecture
	Mirror        string   `json:",omitzero"` // --mirror: URL; empty: the host's own apt source, else ftp.debian.org
	Security      string   `json:",omitzero"` // --security-mirror: URL of the security archive, or "none"; empty: as Mirror
	NoUpdates     bool     `json:",omitzero"` // --no-updates: without the suite's point updates, for a mirror that lacks them
	AptMirror     string   `json:",omitzero"` // --apt-mirror: URL that the system's own apt uses instead
	ConfigureApt  bool     `json:",omitzero"` // --configure-apt
	Packages      []string `json:",omitzero"` // --package
	CustomDebs    []string `json:",omitzero"` // --custom-package: paths of .deb files
	KernelPackage string   `json:",omitzero"` // --kernel-package
	NoKernel      bool     `json:",omitzero"` // --no-kernel
	NoACPID       bool     `json:",omitzero"` // --no-acpid

	DebootstrapOpts string            `json:",omitzero"` // --debootstrapopts
	Script          DebootstrapScript `json:",omitzero"` // of --debootstrap-scripts

	PartType   string `json:",omitzero"` // --part-type: msdos or gpt
	RootType   string `json:",omitzero"` // --roottype
	BootSize   Size   `json:",omitzero"` // --bootsize: 0: /boot is part of the root filesystem
	BootType   string `json:",omitzero"` // --boottype
	BootOffset Size   `json:",omitzero"` // --bootoffset: room before the first partition
	BootFlag   string `json:",omitzero"` // --bootflag: flag of the first partition, as parted names it
	Swap       Size   `json:",omitzero"` // --swap: 0: no swap partition
	ESPSize    Size   `json:",omitzero"` // --esp-size
	Grub       bool   `json:",omitzero"` // --grub
	UseUEFI    bool   `json:",omitzero"` // --use-uefi
	Extlinux   bool   `json:",omitzero"` // --extlinux
	NoExtlinux bool   `json:",omitzero"` // --no-extlinux
	NoMBR      bool   `json:",omitzero"` // --no-mbr
	Bootloader string `json:",omitzero"` // --bootloader: row of package bootloader's table
	Board      string `json:",omitzero"` // --board: row of its table of boards
	Hybrid     bool   `json:",omitzero"` // --hybrid
	UKI        bool   `json:",omitzero"` // --uki
	EFIVendor  bool   `json:",omitzero"` // --efi-vendor
	Append     string `json:",omitzero"` // --append: arguments of the kernel

	Hostname         string   `json:",omitzero"`
	RootPassword     string   `json:",omitzero"` // plain text; empty: root logs in without a password, unless LockRootPassword
	LockRootPassword bool     `json:",omitzero"`
	Users            []string `json:",omitzero"` // NAME or NAME/PASSWORD
	Sudo             bool     `json:",omitzero"`
	NoSerialConsole  bool     `json:",omitzero"`
	SerialCommand    string   `json:",omitzero"` // --serial-console-command

	SSHKeys       []SSHKey `json:",omitzero"` // --ssh-key
	Grow          bool     `json:",omitzero"` // --grow
	CloudInit     bool     `json:",omitzero"` // --cloud-init
	CloudInitSeed string   `json:",omitzero"` // --cloud-init: directory with NoCloud's files; empty: none

	EnableDHCP        bool `json:",omitzero"` // --enable-dhcp
	NoNetworkd        bool `json:",omitzero"` // --no-systemd-networkd
	NoUpdateInitramfs bool `json:",omitzero"` // --no-update-initramfs

	Customize []string     `json:",omitzero"` // paths of scripts, run in this order
	Hooks     []hooks.Hook `json:",omitzero"` // of mmdebstrap's options, run after those
	Emulator  string       `json:",omitzero"` // --foreign: path of the qemu-user program

	Keyring           string    `json:",omitzero"` // path of an OpenPGP keyring that replaces the built-in one
	NoCheckValidUntil bool      `json:",omitzero"`
	Offline           bool      `json:",omitzero"` // --offline: everything from the cache
	Seed              string    `json:",omitzero"` // replaces the hash of the plan as origin of all identifiers
	Epoch             time.Time `json:",omitzero"` // SOURCE_DATE_EPOCH; zero: the date of the newest archive used
}

// SSHKey is a public key that may log in.
type SSHKey struct {
	User string // account; empty: root
	Line string // of authorized_keys (sshd(8))
}
