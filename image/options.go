package image

import "time"

// Options is what a user asks for, one field per option of the command line; the zero value of a field is "not given".
type Options struct {
	Image         string   // --image: path of the disk image
	Size          Size     // --size
	Distribution  string   // --distribution: suite or codename
	Arch          string   // --arch: Debian architecture
	Mirror        string   // --mirror: URL; empty: the host's own apt source, else ftp.debian.org
	Security      string   // --security-mirror: URL of the security archive, or "none"; empty: as Mirror
	NoUpdates     bool     // --no-updates: without the suite's point updates, for a mirror that lacks them
	Packages      []string // --package
	KernelPackage string   // --kernel-package
	NoKernel      bool     // --no-kernel

	PartType   string // --part-type: msdos or gpt
	RootType   string // --roottype
	BootSize   Size   // --bootsize: 0: /boot is part of the root filesystem
	BootType   string // --boottype
	BootOffset Size   // --bootoffset: room before the first partition
	BootFlag   string // --bootflag: flag of the first partition, as parted names it
	Swap       Size   // --swap: 0: no swap partition
	ESPSize    Size   // --esp-size
	Grub       bool   // --grub
	UseUEFI    bool   // --use-uefi

	Hostname         string
	RootPassword     string // plain text; empty: root logs in without a password, unless LockRootPassword
	LockRootPassword bool
	Users            []string // NAME or NAME/PASSWORD
	Sudo             bool
	NoSerialConsole  bool

	Customize []string // paths of scripts, run in this order

	Keyring           string // path of an OpenPGP keyring that replaces the built-in one
	NoCheckValidUntil bool
	Seed              string    // replaces the hash of the plan as origin of all identifiers
	Epoch             time.Time // SOURCE_DATE_EPOCH; zero: the date of the newest archive used
}
