package image

import "time"

// Options is what a user asks for, one field per option of the command line; the zero value of a field is "not given" and
// has no part in the seed, so that a new option changes no identifier of builds that do not use it.
type Options struct {
	Image         string   `json:",omitzero"` // --image: path of the disk image
	Size          Size     `json:",omitzero"` // --size
	Distribution  string   `json:",omitzero"` // --distribution: suite or codename
	Arch          string   `json:",omitzero"` // --arch: Debian architecture
	Mirror        string   `json:",omitzero"` // --mirror: URL; empty: the host's own apt source, else ftp.debian.org
	Security      string   `json:",omitzero"` // --security-mirror: URL of the security archive, or "none"; empty: as Mirror
	NoUpdates     bool     `json:",omitzero"` // --no-updates: without the suite's point updates, for a mirror that lacks them
	Packages      []string `json:",omitzero"` // --package
	KernelPackage string   `json:",omitzero"` // --kernel-package
	NoKernel      bool     `json:",omitzero"` // --no-kernel

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

	Hostname         string   `json:",omitzero"`
	RootPassword     string   `json:",omitzero"` // plain text; empty: root logs in without a password, unless LockRootPassword
	LockRootPassword bool     `json:",omitzero"`
	Users            []string `json:",omitzero"` // NAME or NAME/PASSWORD
	Sudo             bool     `json:",omitzero"`
	NoSerialConsole  bool     `json:",omitzero"`

	Customize []string `json:",omitzero"` // paths of scripts, run in this order

	Keyring           string    `json:",omitzero"` // path of an OpenPGP keyring that replaces the built-in one
	NoCheckValidUntil bool      `json:",omitzero"`
	Offline           bool      `json:",omitzero"` // --offline: everything from the cache
	Seed              string    `json:",omitzero"` // replaces the hash of the plan as origin of all identifiers
	Epoch             time.Time `json:",omitzero"` // SOURCE_DATE_EPOCH; zero: the date of the newest archive used
}
