package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"vmbuild/image"
)

// buildCmd is the command line of vmbuild build: vmdebootstrap's options.
type buildCmd struct {
	Image        string     `help:"Write the disk image to FILE (raw)." placeholder:"FILE" group:"Image"`
	Size         image.Size `help:"Size of the disk: K, M, G, T are powers of 1024; KB, MB, GB, TB of 1000." default:"1G" placeholder:"SIZE" group:"Image"`
	Distribution string     `help:"Debian suite or codename: ${suites}." default:"${suite}" placeholder:"NAME" group:"Image"`
	Arch         string     `help:"Debian architecture: ${arches}." enum:"${arches}" default:"${arch}" placeholder:"ARCH" group:"Image"`
	PartType     string     `help:"Partition table: ${enum}." enum:"${tables}" default:"msdos" placeholder:"TYPE" group:"Partitions"`
	Roottype     string     `help:"File system of the root partition: ${enum}." enum:"${roottypes}" default:"ext4" placeholder:"TYPE" group:"Partitions"`
	Bootsize     image.Size `help:"Make a boot partition of this size." placeholder:"SIZE" group:"Partitions"`
	Boottype     string     `help:"File system of the boot partition: ${enum}." enum:"${roottypes}" default:"ext2" placeholder:"TYPE" group:"Partitions"`
	Bootoffset   image.Size `help:"Leave this much room before the first partition." placeholder:"SIZE" group:"Partitions"`
	Bootflag     string     `help:"Set this flag on the first partition, as parted names it (boot, esp, legacy_boot, ...)." placeholder:"FLAG" group:"Partitions"`
	Swap         image.Size `help:"Make a swap partition of this size (at least 256M)." placeholder:"SIZE" group:"Partitions"`
	EspSize      image.Size `help:"Size of the EFI system partition (at least 5M; 128M when not given)." placeholder:"SIZE" group:"Partitions"`

	Grub          bool `help:"Install the boot loader GRUB." group:"Boot"`
	UseUefi       bool `help:"Start by UEFI firmware, Secure Boot included, instead of BIOS." negatable:"" group:"Boot"`
	SerialConsole bool `help:"Boot messages and a login on the first serial port too." default:"true" negatable:"" group:"Boot"`

	Mirror          string   `help:"Take packages from URL (default: this host's own apt source for Debian, else ftp.debian.org)." placeholder:"URL" group:"Packages"`
	SecurityMirror  string   `help:"Take security updates from URL, or from nowhere (none)." placeholder:"URL" group:"Packages"`
	Updates         bool     `help:"Take the suite's updates too." default:"true" negatable:"" group:"Packages"`
	Package         []string `help:"Install NAME too (may be given more than once)." placeholder:"NAME" sep:"none" group:"Packages"`
	KernelPackage   string   `help:"Install this kernel instead of the architecture's default." placeholder:"NAME" group:"Packages"`
	NoKernel        bool     `help:"Install no kernel." group:"Packages"`
	Keyring         string   `help:"Trust the OpenPGP keys in FILE instead of Debian's." type:"path" placeholder:"FILE" group:"Packages"`
	CheckValidUntil bool     `help:"Refuse an archive that is past its Valid-Until date." default:"true" negatable:"" group:"Packages"`
	Offline         bool     `help:"Take everything from the cache." group:"Packages"`

	Hostname         string   `help:"Name of the system." default:"debian" placeholder:"NAME" group:"System"`
	RootPassword     string   `help:"Password of root (default: empty, root logs in without one)." placeholder:"PASSWORD" group:"System"`
	LockRootPassword bool     `help:"Root cannot log in by password." group:"System"`
	User             []string `help:"Make an account, NAME or NAME/PASSWORD; without a password it logs in with none (may be given more than once)." placeholder:"NAME[/PASSWORD]" sep:"none" group:"System"`
	Sudo             bool     `help:"Install sudo and allow it to the accounts of --user." group:"System"`
	Customize        []string `help:"Run SCRIPT on the tree before it becomes an image (may be given more than once)." placeholder:"SCRIPT" sep:"none" group:"System"`

	Seed    string `help:"Derive all identifiers from TEXT instead of from the options." placeholder:"TEXT" group:"Program"`
	DryRun  dryRun `help:"Print the plan and stop; --dry-run=json prints it as data." group:"Program"`
	Verbose bool   `help:"Print what the programs of the build print." short:"v" negatable:"" group:"Program"`
	Log     string `help:"Write a log of the build to FILE (JSON lines)." placeholder:"FILE" group:"Program"`
	environment
}

func (c *buildCmd) options() (image.Options, error) {
	epoch, err := sourceDateEpoch()
	if err != nil {
		return image.Options{}, err
	}
	return image.Options{
		Image: c.Image, Size: c.Size, Distribution: c.Distribution, Arch: c.Arch, Mirror: c.Mirror,
		Security: c.SecurityMirror, NoUpdates: !c.Updates,
		Packages: c.Package, KernelPackage: c.KernelPackage, NoKernel: c.NoKernel,
		PartType: c.PartType, RootType: c.Roottype, BootSize: c.Bootsize, BootType: c.Boottype,
		BootOffset: c.Bootoffset, BootFlag: c.Bootflag, Swap: c.Swap, ESPSize: c.EspSize, Grub: c.Grub, UseUEFI: c.UseUefi,
		Hostname: c.Hostname, RootPassword: c.RootPassword, LockRootPassword: c.LockRootPassword,
		Users: c.User, Sudo: c.Sudo, NoSerialConsole: !c.SerialConsole, Customize: c.Customize,
		Keyring: c.Keyring, NoCheckValidUntil: !c.CheckValidUntil, Offline: c.Offline, Seed: c.Seed, Epoch: epoch,
	}, nil
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
func (c *buildCmd) Run(ctx context.Context, s Streams) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	plan, err := image.NewPlan(o)
	if err != nil {
		return err
	}
	for _, n := range plan.Notes {
		fmt.Fprintf(s.Err, "vmbuild: note: %s\n", n)
	}
	switch c.DryRun {
	case "text":
		fmt.Fprint(s.Out, plan.Text())
		return nil
	case "json":
		e := json.NewEncoder(s.Out)
		e.SetIndent("", "  ")
		return e.Encode(plan.Redacted())
	}
	log, err := openLog(c.Log)
	if err != nil {
		return err
	}
	defer log.Close()
	display := newDisplay(s.Err, c.Verbose)
	result, err := image.Build(ctx, plan, image.Host{
		Cache: c.cacheDir(), Temp: c.tempDir(), Log: log, Event: display.show,
	})
	display.close()
	if err != nil {
		return err
	}
	for _, o := range result.Outputs {
		fmt.Fprintf(s.Out, "%s\n", o.Path)
	}
	fmt.Fprintf(s.Err, "start it with: %s run %s\n", shellQuote(s.program), shellQuote(plan.Image))
	return nil
}
