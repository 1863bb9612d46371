package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"vmbuild/bootloader"
	"vmbuild/hooks"
	"vmbuild/image"
	"vmbuild/image/machine"
	"vmbuild/rootfs/arch"
)

// buildCmd is the command line of vmbuild build: vmdebootstrap's options, and those of vmbuild's own (tag whole).
type buildCmd struct {
	Image            string     `help:"Write the disk image to FILE." placeholder:"FILE" group:"Output"`
	Tarball          string     `help:"Write the system as a tar archive, compressed as its name says." placeholder:"FILE" group:"Output"`
	Squash           string     `help:"Write what a live system starts from into DIR: filesystem.squashfs, kernel, initrd, and EFI loaders with --use-uefi." placeholder:"DIR" group:"Output"`
	Directory        string     `help:"Write the system into DIR as it is." placeholder:"DIR" whole:"" group:"Output"`
	OutputImage      []string   `help:"Write this too, in the form that its name says or --format (may be given more than once)." placeholder:"FILE" sep:"none" whole:"" group:"Output"`
	Format           []string   `help:"Form of --image and --output-image: ${formats} (default raw for --image); more than one writes the image in each." placeholder:"NAME" whole:"" group:"Output"`
	ConvertQcow2     bool       `name:"convert-qcow2" help:"Write the disk image in QEMU's form instead of raw." negatable:"" group:"Output"`
	Qcow2Compression string     `name:"qcow2-compression" help:"Compress qcow2 images: ${enum}." enum:"${clusters}" default:"none" placeholder:"NAME" whole:"" group:"Output"`
	Size             image.Size `help:"Size of the disk: K, M, G, T are powers of 1024; KB, MB, GB, TB of 1000." default:"1G" placeholder:"SIZE" group:"Output"`
	Sparse           bool       `help:"Store no zeroes; --no-sparse takes all the room of a raw image at once." default:"true" negatable:"" group:"Output"`
	Owner            string     `help:"Give what was written to USER." placeholder:"USER" group:"Output"`
	Pkglist          bool       `help:"Write lists of the packages beside it: dpkg.list, and a manifest." negatable:"" group:"Output"`

	Distribution string `help:"Debian suite or codename: ${suites}." default:"${suite}" placeholder:"NAME" group:"Packages"`
	Arch         string `help:"Debian architecture: ${arches}; auto is that of --board, else this host's (${arch})." enum:"auto,${arches}" default:"auto" placeholder:"ARCH" group:"Packages"`
	Foreign      string `help:"Run programs of a foreign architecture by this one of qemu-user (default: found or fetched)." placeholder:"PROGRAM" group:"Packages"`

	PartType   string     `help:"Partition table: ${tables}; auto is msdos, or what boot loader or architecture ask for." enum:"auto,${tables}" default:"auto" placeholder:"TYPE" group:"Partitions"`
	Roottype   string     `help:"File system of the root partition: ${enum}." enum:"${roottypes}" default:"ext4" placeholder:"TYPE" group:"Partitions"`
	Bootsize   image.Size `help:"Make a boot partition of this size." placeholder:"SIZE" group:"Partitions"`
	Boottype   string     `help:"File system of the boot partition: ${enum}." enum:"${boottypes}" default:"ext2" placeholder:"TYPE" group:"Partitions"`
	Bootoffset image.Size `help:"Leave this much room before the first partition." placeholder:"SIZE" group:"Partitions"`
	Bootflag   string     `help:"Set this flag on the first partition, as parted names it (boot, esp, legacy_boot, ...)." placeholder:"FLAG" group:"Partitions"`
	Swap       image.Size `help:"Make a swap partition of this size (at least 256M)." placeholder:"SIZE" group:"Partitions"`
	EspSize    image.Size `help:"Size of the EFI system partition (at least 5M; 128M when not given)." placeholder:"SIZE" group:"Partitions"`

	Extlinux             *bool  `help:"Install the boot loader EXTLINUX (the default where it can start the system); --no-extlinux installs none that is not named." negatable:"" group:"Boot"`
	Grub                 bool   `help:"Install the boot loader GRUB." negatable:"" group:"Boot"`
	UseUefi              bool   `help:"Start by UEFI firmware, Secure Boot included, instead of BIOS." negatable:"" group:"Boot"`
	Hybrid               bool   `help:"Start by BIOS and by UEFI alike (the default of gpt disks on amd64)." negatable:"" whole:"" group:"Boot"`
	Uki                  bool   `help:"Start unified kernel images by systemd-boot." negatable:"" whole:"" group:"Boot"`
	EfiVendor            bool   `help:"Put the boot loader into EFI/debian of the EFI system partition, too, for boot entries of the firmware." negatable:"" whole:"" group:"Boot"`
	Board                string `help:"Make the image for this board, with Debian's U-Boot; --board=list prints the names." placeholder:"NAME" whole:"" group:"Boot"`
	Bootloader           string `help:"Install this boot loader: ${loaders}." placeholder:"NAME" whole:"" group:"Boot"`
	Append               string `help:"Start the kernel with these arguments too." placeholder:"ARGUMENTS" whole:"" group:"Boot"`
	Mbr                  bool   `help:"Write the boot code that EXTLINUX needs in the first sector." default:"true" negatable:"" group:"Boot"`
	SerialConsole        bool   `help:"Boot messages and a login on the first serial port too." default:"true" negatable:"" group:"Boot"`
	SerialConsoleCommand string `help:"Run CMD on that port instead of the system's own login." placeholder:"CMD" group:"Boot"`
	UpdateInitramfs      bool   `help:"Make the initramfs after everything else; with --no-update-initramfs it does not know what scripts change." default:"true" negatable:"" group:"Boot"`

	Mirror             string   `help:"Take packages from URL (default: this host's own apt source for Debian, else ftp.debian.org)." placeholder:"URL" group:"Packages"`
	SecurityMirror     string   `help:"Take security updates from URL, or from nowhere (none)." placeholder:"URL" whole:"" group:"Packages"`
	Updates            bool     `help:"Take the suite's updates too." default:"true" negatable:"" whole:"" group:"Packages"`
	ConfigureApt       bool     `help:"Write the apt source of the system from --distribution and --mirror or --apt-mirror." negatable:"" group:"Packages"`
	AptMirror          string   `help:"What apt in the system uses instead of --mirror; needs --configure-apt." placeholder:"URL" group:"Packages"`
	Package            []string `help:"Install NAME too (may be given more than once)." placeholder:"NAME" sep:"none" group:"Packages"`
	CustomPackage      []string `help:"Install a package from a file; the archive has what it depends on (may be given more than once)." placeholder:"DEB" sep:"none" group:"Packages"`
	KernelPackage      string   `help:"Install this kernel instead of the architecture's default." placeholder:"NAME" group:"Packages"`
	NoKernel           bool     `help:"Install no kernel." negatable:"" group:"Packages"`
	NoAcpid            bool     `help:"Do not install acpid, where systemd does not do its work." negatable:"" group:"Packages"`
	Debootstrapopts    []string `help:"What debootstrap would be told: variant, components, include, exclude, keyring, no-check-gpg, merged-usr, ..." placeholder:"OPTS" sep:"none" group:"Packages"`
	DebootstrapScripts string   `help:"Directory with a debootstrap script of the suite, whose settings are heeded." placeholder:"DIR" group:"Packages"`
	Keyring            string   `help:"Trust the OpenPGP keys in FILE instead of Debian's." type:"path" placeholder:"FILE" whole:"" group:"Packages"`
	CheckValidUntil    bool     `help:"Refuse an archive that is past its Valid-Until date." default:"true" negatable:"" whole:"" group:"Packages"`
	Offline            bool     `help:"Take everything from the cache." negatable:"" whole:"" group:"Packages"`

	Hostname         string    `help:"Name of the system." default:"debian" placeholder:"NAME" group:"System"`
	RootPassword     string    `help:"Password of root (default: empty, root logs in without one)." placeholder:"PASSWORD" secret:"" group:"System"`
	LockRootPassword bool      `help:"Root cannot log in by password." negatable:"" group:"System"`
	User             []string  `help:"Make an account, NAME or NAME/PASSWORD; without a password it logs in with none (may be given more than once)." placeholder:"NAME[/PASSWORD]" sep:"none" secret:"/" group:"System"`
	Sudo             bool      `help:"Install sudo and allow it to the accounts of --user." negatable:"" group:"System"`
	SSHKey           []string  `name:"ssh-key" help:"Install an SSH server, and let who has this public key log in as USER (default root); in place of FILE, the key itself (may be given more than once)." placeholder:"[USER:]FILE" sep:"none" whole:"" secret:"PRIVATE KEY" group:"System"`
	CloudInit        cloudInit `help:"Install cloud-init and an SSH server; --cloud-init=DIR with the files user-data and meta-data in DIR, and vendor-data and network-config if they are there." negatable:"" whole:"" group:"System"`
	Grow             bool      `help:"Have the root partition and its file system grow when the disk that the system starts from is larger than --size." negatable:"" whole:"" group:"System"`
	SystemdNetworkd  bool      `help:"Set up the network by systemd-networkd; --no-systemd-networkd by ifupdown, with the old names of interfaces." default:"true" negatable:"" group:"System"`
	EnableDhcp       bool      `help:"Ask for an address by DHCP without systemd-networkd, too, which always does." negatable:"" group:"System"`

	Customize     []string `help:"Run SCRIPT on the tree before it becomes an image (may be given more than once)." placeholder:"SCRIPT" sep:"none" group:"Hooks"`
	Scriptlets    []string `help:"Run the programs in DIR, each after those that it needs (may be given more than once)." placeholder:"DIR" sep:"none" whole:"" group:"Hooks"`
	HookDir       []string `help:"Run the programs in DIR whose names begin with a stage: setup, extract, essential, customize." aliases:"hook-directory" placeholder:"DIR" sep:"none" whole:"" group:"Hooks"`
	SetupHook     []string `help:"Run CMD before anything is downloaded." placeholder:"CMD" sep:"none" whole:"" group:"Hooks"`
	ExtractHook   []string `help:"Run CMD when the first packages are unpacked, before any is configured." placeholder:"CMD" sep:"none" whole:"" group:"Hooks"`
	EssentialHook []string `help:"Run CMD when the essential packages are configured." placeholder:"CMD" sep:"none" whole:"" group:"Hooks"`
	CustomizeHook []string `help:"Run CMD, or do a transfer (copy-in, upload, ...), after the scripts of --customize." placeholder:"CMD" sep:"none" whole:"" group:"Hooks"`

	Seed    string `help:"Derive all identifiers from TEXT instead of from the options." placeholder:"TEXT" whole:"" group:"Program"`
	DryRun  dryRun `help:"Print the plan and stop; --dry-run=json prints it as data." negatable:"" group:"Program"`
	Verbose bool   `help:"Print what the programs of the build print." short:"v" negatable:"" group:"Program"`
	cacheOptions
	programOptions
	environment
}

// cacheOptions are those of commands that make layers.
type cacheOptions struct {
	ExplainCache bool `help:"Say of each layer of the cache whether it was there (hit), or is made (miss) and which of its inputs has changed." negatable:"" whole:"" group:"Program"`
}

// auto is the choice that other options make.
const auto = "auto"

// options reads the command line into those of package image. The notes are what the user should hear of.
func (c *buildCmd) options() (o image.Options, notes []string, err error) {
	epoch, err := sourceDateEpoch()
	if err != nil {
		return o, nil, err
	}
	o = image.Options{
		Image: c.Image, Tarball: c.Tarball, Squash: c.Squash, Directory: c.Directory, OutputImages: c.OutputImage,
		Formats: lists(c.Format), ConvertQcow2: c.ConvertQcow2, Owner: c.Owner, NoSparse: !c.Sparse, PkgList: c.Pkglist,
		Size: c.Size, Distribution: c.Distribution, Arch: c.Arch, Emulator: c.Foreign,
		PartType: c.PartType, RootType: c.Roottype, BootSize: c.Bootsize, BootType: c.Boottype,
		BootOffset: c.Bootoffset, BootFlag: c.Bootflag, Swap: c.Swap, ESPSize: c.EspSize,
		Grub: c.Grub, UseUEFI: c.UseUefi, NoMBR: !c.Mbr, Hybrid: c.Hybrid, UKI: c.Uki, EFIVendor: c.EfiVendor,
		Board: c.Board, Bootloader: c.Bootloader, Append: c.Append,
		Extlinux: c.Extlinux != nil && *c.Extlinux, NoExtlinux: c.Extlinux != nil && !*c.Extlinux,
		NoSerialConsole: !c.SerialConsole, SerialCommand: c.SerialConsoleCommand, NoUpdateInitramfs: !c.UpdateInitramfs,
		Mirror: c.Mirror, Security: c.SecurityMirror, NoUpdates: !c.Updates, ConfigureApt: c.ConfigureApt, AptMirror: c.AptMirror,
		Packages: c.Package, KernelPackage: c.KernelPackage, NoKernel: c.NoKernel, NoACPID: c.NoAcpid,
		DebootstrapOpts: strings.Join(c.Debootstrapopts, " "),
		Keyring:         c.Keyring, NoCheckValidUntil: !c.CheckValidUntil, Offline: c.Offline, Seed: c.Seed, Epoch: epoch,
		Hostname: c.Hostname, RootPassword: c.RootPassword, LockRootPassword: c.LockRootPassword, Users: c.User, Sudo: c.Sudo,
		NoNetworkd: !c.SystemdNetworkd, EnableDHCP: c.EnableDhcp, Customize: c.Customize,
		Grow: c.Grow, CloudInit: c.CloudInit != "",
	}
	if o.PartType == auto {
		o.PartType = ""
	}
	if o.Arch == auto {
		o.Arch = ""
		if o.Board == "" {
			o.Arch = hostArch()
		}
	}
	if c.Qcow2Compression != "none" {
		o.Qcow2Compression = c.Qcow2Compression
	}
	for _, name := range c.CustomPackage {
		path, err := packageFile(name)
		if err != nil {
			return o, nil, usageError{fmt.Errorf("--custom-package: %w", err)}
		}
		o.CustomDebs = append(o.CustomDebs, path)
	}
	if c.DebootstrapScripts != "" {
		if o.Script, err = image.ReadDebootstrapScript(c.DebootstrapScripts, c.Distribution); err != nil {
			return o, nil, usageError{fmt.Errorf("--debootstrap-scripts: %w", err)}
		}
	}
	if o.SSHKeys, err = sshKeys(c.SSHKey); err != nil {
		return o, nil, usageError{fmt.Errorf("--ssh-key: %w", err)}
	}
	if o.CloudInitSeed, err = c.CloudInit.seed(); err != nil {
		return o, nil, usageError{fmt.Errorf("--cloud-init: %w", err)}
	}
	o.Hooks, notes, err = c.hooks()
	return o, notes, err
}

// listBoards prints the table of boards.
func listBoards(out io.Writer) error {
	boards := bootloader.Boards()
	slices.SortFunc(boards, func(a, b bootloader.Board) int { return strings.Compare(a.Name, b.Name) })
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, b := range boards {
		fmt.Fprintf(w, "%s\t%s\t%s\n", b.Name, b.Arch, b.Title)
	}
	return w.Flush()
}

// hooks lists the hooks beside --customize: those of directories first, then commands.
func (c *buildCmd) hooks() (list []hooks.Hook, notes []string, err error) {
	for _, dir := range c.HookDir {
		found, warnings, err := fromDirectory(dir)
		if err != nil {
			return nil, nil, usageError{fmt.Errorf("--hook-dir: %w", err)}
		}
		list, notes = append(list, found...), append(notes, warnings...)
	}
	for _, dir := range c.Scriptlets {
		found, err := hooks.FromScriptlets(dir)
		if err != nil {
			return nil, nil, usageError{fmt.Errorf("--scriptlets: %w", err)}
		}
		list = append(list, found...)
	}
	for _, of := range []struct {
		stage    hooks.Stage
		commands []string
	}{
		{hooks.Setup, c.SetupHook}, {hooks.Extract, c.ExtractHook}, {hooks.Essential, c.EssentialHook}, {hooks.Customize, c.CustomizeHook},
	} {
		for _, command := range of.commands {
			list = append(list, hooks.Hook{Stage: of.stage, Command: command})
		}
	}
	return list, notes, nil
}

// fromDirectory reads a hook directory by its absolute path: hooks may run elsewhere.
func fromDirectory(name string) ([]hooks.Hook, []string, error) {
	dir, err := filepath.Abs(name)
	if err != nil {
		return nil, nil, err
	}
	return hooks.FromDirectory(dir)
}

// sourceDateEpoch reads the variable of reproducible-builds.org's specification: seconds since 1970.
func sourceDateEpoch() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, usageError{fmt.Errorf("SOURCE_DATE_EPOCH=%q is not a number of seconds since 1970", text)}
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// Run is called by kong.
func (c *buildCmd) Run(ctx context.Context, k *kong.Context, s Streams) error {
	return c.run(ctx, k, s, c.build)
}

func (c *buildCmd) build(ctx context.Context, s surroundings) error {
	if c.Board == "list" {
		return listBoards(s.Out)
	}
	o, notes, err := c.options()
	if err != nil {
		return err
	}
	plan, err := image.NewPlan(o)
	if err != nil {
		return err
	}
	s.note(append(notes, plan.Notes...))
	switch c.DryRun {
	case "text":
		fmt.Fprint(s.Out, plan.Text())
		return nil
	case "json":
		e := json.NewEncoder(s.Out)
		e.SetIndent("", "  ")
		return e.Encode(plan.Redacted())
	}
	display := newDisplay(s.Err, c.Verbose)
	display.explain = c.ExplainCache
	result, err := image.Build(ctx, plan, image.Host{
		Cache: c.cacheDir(), Temp: c.tempDir(), Log: s.log.file(), Event: display.show, Profile: s.profile,
	})
	display.close()
	if err != nil {
		return err
	}
	for _, o := range result.Outputs {
		fmt.Fprintf(s.Out, "%s\n", o.Path)
	}
	if disk := plan.Image(); disk != "" && (plan.Starts() || startsByKernel(plan)) {
		if line := runLine(plan, disk); line != "" {
			fmt.Fprintf(s.Err, "start it with: %s %s\n", shellQuote(s.program), line)
		}
	}
	return nil
}

// startsByKernel says whether there is a machine that starts a disk without a boot loader, by the kernel in it: it is the only way
// that it has.
func startsByKernel(p *image.Plan) bool {
	a, err := arch.Lookup(p.Rootfs.Arch)
	kernel := slices.ContainsFunc(p.Rootfs.Include, func(name string) bool { return strings.HasPrefix(name, "linux-image") })
	return err == nil && kernel && slices.Equal(machine.FirmwaresOf(a), []machine.Firmware{machine.Kernel})
}

// runLine is the command that starts a disk in QEMU; empty: there is no such machine.
func runLine(p *image.Plan, disk string) string {
	switch {
	case p.Board != "" && !slices.Contains(machine.Boards(), p.Board):
		return ""
	case p.Board != "":
		return "run --board=" + p.Board + " " + shellQuote(disk)
	case p.Rootfs.Arch != hostArch():
		return "run --arch=" + p.Rootfs.Arch + " " + shellQuote(disk)
	}
	return "run " + shellQuote(disk)
}
