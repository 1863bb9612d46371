package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"vmbuild/bootloader"
	"vmbuild/hooks"
	"vmbuild/partition"
	"vmbuild/partition/filesystem"
	"vmbuild/rootfs"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/mirror"
	"vmbuild/rootfs/suite"
	"vmbuild/rootfs/system"
)

// Plan is everything about a build that can be decided without disk and network. Two equal Options give equal Plans on
// any host; identifiers, crypt salts and the layout are already in it.
type Plan struct {
	Products       []Product         `json:"products"`
	Rootfs         rootfs.Spec       `json:"rootfs"`
	System         system.Config     `json:"system"`
	Hooks          []hooks.Hook      `json:"hooks,omitempty"`
	Bootloader     string            `json:"bootloader"`
	Board          string            `json:"board,omitempty"`   // that U-Boot is for; empty: the machine has its own
	Console        string            `json:"console,omitempty"` // serial port, device below /dev
	EFIVendor      bool              `json:"efiVendor,omitempty"`
	Cmdline        []string          `json:"cmdline,omitempty"`       // further arguments of the kernel
	CloudInitSeed  string            `json:"cloudInitSeed,omitempty"` // directory with NoCloud's files
	Serial         bool              `json:"serial"`                  // kernel and boot loader use the first serial port too
	Layout         *partition.Layout `json:"layout,omitempty"`        // of the disk; nil: none of the products is one
	NoMBR          bool              `json:"noMBR,omitempty"`         // no boot code in the first sector
	Seed           string            `json:"seed"`                    // 32 bytes in hex, origin of all identifiers
	Epoch          time.Time         `json:"epoch,omitzero"`
	Offline        bool              `json:"offline,omitempty"`        // everything comes from the cache
	AptMirror      string            `json:"aptMirror,omitempty"`      // URL that the system's apt has in place of the build's mirror
	Emulator       string            `json:"emulator,omitempty"`       // path of a qemu-user program; empty: found or fetched
	Owner          string            `json:"owner,omitempty"`          // user whose the products shall be; empty: the caller's
	Allocate       bool              `json:"allocate,omitempty"`       // images have all their room on the disk
	PkgList        bool              `json:"pkgList,omitempty"`        // lists of the packages are written beside the first product
	EarlyInitramfs bool              `json:"earlyInitramfs,omitempty"` // the initramfs is not made anew after the hooks
	Notes          []string          `json:"notes,omitempty"`          // choices the user did not make and should hear of
}

// RefusedError lists what keeps options from becoming a plan, in the options' own names.
type RefusedError struct {
	Problems []string
}

func (e *RefusedError) Error() string { return strings.Join(e.Problems, "\n") }

// MinimumSize is the largest size that no Debian system fits into.
const MinimumSize Size = 100 * mib

// Smallest sizes of partitions that a user may ask for (vmdebootstrap's limits).
const (
	minimumSwap Size = 256 * mib
	minimumESP  Size = 5 * mib
	vendorESP   Size = 20 * mib // the loader in EFI/BOOT and in the vendor's directory, 6 MB each, and room to replace its largest file
)

// NewPlan decides all that can be decided from the options and the tables. It refuses with a *RefusedError that names
// every problem at once.
func NewPlan(o Options) (*Plan, error) {
	o = withDefaults(o)
	target, problems := check(o)
	if len(problems) > 0 {
		return nil, &RefusedError{problems}
	}
	seed, err := o.seed()
	if err != nil {
		return nil, fmt.Errorf("derive identifiers: %w", err)
	}
	config, err := systemConfig(o, target, seed)
	if err != nil {
		return nil, fmt.Errorf("hash passwords: %w", err)
	}
	p := &Plan{
		Products: target.products, Rootfs: spec(o, target), System: config, Bootloader: target.loader.Name(),
		Serial: !o.NoSerialConsole, NoMBR: o.NoMBR, Seed: hex.EncodeToString(seed[:]), Epoch: o.Epoch,
		Offline: o.Offline, AptMirror: o.AptMirror, Emulator: o.Emulator, Owner: o.Owner, Allocate: o.NoSparse, PkgList: o.PkgList,
		Board: o.Board, Console: target.console(o), EFIVendor: o.EFIVendor, Cmdline: strings.Fields(o.Append), CloudInitSeed: o.CloudInitSeed,
		EarlyInitramfs: o.NoUpdateInitramfs, Hooks: o.hooks(), Notes: target.notes,
	}
	if !hasDisk(p.Products) {
		p.Bootloader = noLoader
		return p, nil
	}
	p.Layout, err = partition.Place(partition.Spec{
		Table: o.PartType, Size: int64(o.Size), Offset: target.offset(o), Flag: o.BootFlag, Seed: seed,
		Arch: target.arch, Requests: requests(o, target),
	})
	if err != nil {
		return nil, &RefusedError{[]string{fmt.Sprintf("--size=%s: %v", o.Size, err)}}
	}
	p.System.Mounts = p.Layout.Mounts()
	if o.Grow {
		growRoot(p.System.Mounts)
	}
	return p, nil
}

// Name is the path of the first product, which scripts know the build by.
func (p *Plan) Name() string { return p.Products[0].Path }

// rootType is the filesystem that is mounted as /; empty: there is no disk.
func (p *Plan) rootType() string {
	if p.Layout == nil {
		return ""
	}
	for _, part := range p.Layout.Partitions {
		if part.Role == partition.Root {
			return part.Filesystem
		}
	}
	return ""
}

// Image is the path of the first product that is an image of a disk; empty: none is.
func (p *Plan) Image() string {
	for _, product := range p.Products {
		if hasDisk([]Product{product}) {
			return product.Path
		}
	}
	return ""
}

// hooks lists the scripts of vmdebootstrap's option, then the hooks of mmdebstrap's.
func (o Options) hooks() []hooks.Hook {
	var list []hooks.Hook
	for _, script := range o.Customize {
		list = append(list, hooks.Hook{Stage: hooks.Customize, Path: script})
	}
	return append(list, o.Hooks...)
}

// target is what the options' names stand for in the tables.
type target struct {
	arch     arch.Arch
	suite    suite.Suite
	board    bootloader.Board // zero: none is named
	kernel   string           // package; empty: none
	loader   bootloader.Bootloader
	products []Product
	opts     DebootstrapOpts // of --debootstrapopts and of the suite's script
	notes    []string        // choices the user did not make

	bootPackages []string // of the loader, for a /boot that is a filesystem of its own
}

// console is the serial port, of the board or as machines of the architecture have it.
func (t *target) console(o Options) string {
	if o.NoSerialConsole {
		return ""
	}
	return orElse(t.board.Console, t.arch.Console)
}

// findKernel finds the package with the kernel: the named one, the board's, or the release's.
func (t *target) findKernel(o Options) (err error) {
	switch {
	case o.NoKernel:
	case o.KernelPackage != "":
		t.kernel = o.KernelPackage
	case t.board.Kernel != "":
		t.kernel = t.board.Kernel
	default:
		t.kernel, err = t.suite.Kernel(t.arch.Name, t.arch.Kernel)
	}
	return err
}

// first is the first of a list, empty of an empty one.
func first(list []string) string {
	return strings.Join(list[:min(1, len(list))], "")
}

// PartTypes are the kinds of partition table, the default first.
func PartTypes() []string { return []string{partition.MSDOS, partition.GPT} }

// RootTypes are the filesystems that can hold a system.
func RootTypes() []string {
	var names []string
	for _, f := range filesystem.All() {
		if f.POSIX {
			names = append(names, f.Name)
		}
	}
	return names
}

// BootTypes are the filesystems that /boot can be: boards' firmware reads FAT.
func BootTypes() []string {
	var names []string
	for _, f := range filesystem.All() {
		if f.POSIX || f.Boot {
			names = append(names, f.Name)
		}
	}
	return names
}

func withDefaults(o Options) Options {
	o.sayBootloader()
	if b, err := bootloader.LookupBoard(o.Board); err == nil && o.Arch == "" {
		o.Arch = b.Arch
	}
	usual := partition.MSDOS
	if a, err := arch.Lookup(o.Arch); err == nil {
		usual = a.Table
	}
	for field, value := range map[*string]string{
		&o.Distribution: suite.Default, &o.PartType: o.partType(usual), &o.RootType: "ext4", &o.BootType: "ext2", &o.Hostname: "debian",
	} {
		if *field == "" {
			*field = value
		}
	}
	if o.Size == 0 {
		o.Size = gib
	}
	return o
}

// check looks the options' names up and lists what is wrong with them, alone and together.
func check(o Options) (target, []string) {
	var t target
	var problems []string
	refuse := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	var err error
	if t.suite, err = suite.Lookup(o.Distribution); err != nil {
		refuse("--distribution: %v", err)
	}
	if t.arch, err = arch.Lookup(o.Arch); err != nil && (o.Arch != "" || o.Board == "") {
		refuse("--arch: %v", err)
	}
	if o.Board != "" {
		if t.board, err = bootloader.LookupBoard(o.Board); err != nil {
			refuse("--board=%s is not a board that vmbuild knows: --board=list prints them", o.Board)
		}
	}
	if t.opts, err = o.debootstrapOpts(); err != nil {
		refuse("--debootstrapopts: %v", err)
	}
	if err := t.opts.checkUsr(t.suite); err != nil {
		refuse("--debootstrapopts: %v", err)
	}
	t.notes = append(t.opts.Notes, passwordNotes(o)...)
	t.products = o.products(refuse)
	if o.Size <= MinimumSize {
		refuse("--size=%s is too small for a bootstrap: a Debian system needs more than %s", o.Size, MinimumSize)
	}
	checkMirrors(o, refuse)
	checkNetwork(o, refuse)
	checkLoader(o, refuse)
	checkUEFI(o, t.arch, refuse)
	checkWheezy(o, t, refuse)
	checkPartitions(o, refuse)
	checkSystem(o, refuse)
	checkFirstBoot(o, t, refuse)
	if len(problems) > 0 {
		return t, problems
	}
	if err := t.findKernel(o); err != nil {
		refuse("--arch=%s: %v; or take another one by --kernel-package, or none by --no-kernel", t.arch.Name, err)
	}
	if err := t.chooseLoader(o); err != nil {
		refuse("%v", err)
	}
	if t.loader != nil && t.loader.Name() == noLoader && o.Append != "" {
		refuse("--append: there is no boot loader that would tell the kernel")
	}
	return t, problems
}

func checkMirrors(o Options, refuse func(string, ...any)) {
	for _, c := range []struct{ option, value string }{
		{"--mirror", o.Mirror}, {"--security-mirror", o.Security}, {"--apt-mirror", o.AptMirror},
	} {
		if c.value == "" || c.option == "--security-mirror" && c.value == mirror.None {
			continue
		}
		u, err := url.Parse(c.value)
		if err != nil || !slices.Contains([]string{"http", "https", "file", "copy"}, u.Scheme) {
			refuse("%s=%s is not the URL of an archive (http, https or file)", c.option, c.value)
		}
	}
}

func checkNetwork(o Options, refuse func(string, ...any)) {
	if o.AptMirror != "" && !o.ConfigureApt {
		refuse("--apt-mirror requires --configure-apt as well")
	}
	if o.NoNetworkd && o.NoUpdateInitramfs {
		refuse("--no-systemd-networkd and --no-update-initramfs: giving network interfaces their old names requires updating the initramfs")
	}
}

func checkUEFI(o Options, a arch.Arch, refuse func(string, ...any)) {
	switch {
	case o.UseUEFI && !o.Grub:
		refuse("--use-uefi: UEFI images are started by Grub: add --grub")
	case o.UseUEFI && a.Name != "" && !a.UEFI():
		refuse("--use-uefi: %s is not a supported architecture for UEFI", a.Name)
	case o.Image != "" && a.Name == "arm64" && !slices.Contains([]string{grubUEFI, systemdBoot, uBoot}, first(o.namedLoaders())):
		refuse("--arch=arm64: an arm64 image is started by UEFI: add --grub --use-uefi")
	}
	if o.UseUEFI && o.BootSize != 0 {
		refuse("--bootsize: a separate boot partition is not supported with UEFI (--use-uefi)")
	}
	if o.UseUEFI && o.BootOffset != 0 {
		refuse("--bootoffset: room before a separate boot partition is not supported with UEFI (--use-uefi)")
	}
	if !o.UseUEFI && !o.Hybrid && !o.UKI && o.ESPSize != 0 {
		refuse("--esp-size is the size of the EFI system partition, which only --use-uefi, --hybrid and --uki make")
	}
	least := minimumESP
	if o.Hybrid || o.EFIVendor {
		least = vendorESP
	}
	if o.ESPSize != 0 && o.ESPSize < least {
		refuse("--esp-size=%s: an EFI system partition needs at least %s", o.ESPSize, least)
	}
}

// checkWheezy refuses what the oldest releases cannot do, in the words that users of vmdebootstrap know.
func checkWheezy(o Options, t target, refuse func(string, ...any)) {
	if t.suite.Codename == "" || t.arch.Name == "" {
		return
	}
	name := strings.ToUpper(t.suite.Codename[:1]) + t.suite.Codename[1:]
	if o.UseUEFI && !t.suite.UEFI(t.arch.Name) {
		refuse("--use-uefi: Only amd64 supports UEFI in %s", name)
	}
	if hasDisk(t.products) && o.RootType == "ext4" && !t.suite.StartsFromExt4() {
		refuse("--roottype=ext4: %s images using ext4 will not be able to boot: take ext3 or ext2", name)
	}
}

func checkPartitions(o Options, refuse func(string, ...any)) {
	for _, c := range []struct {
		option, value string
		choices       []string
	}{
		{"--part-type", o.PartType, PartTypes()},
		{"--roottype", o.RootType, RootTypes()},
		{"--boottype", o.BootType, BootTypes()},
	} {
		if !slices.Contains(c.choices, c.value) {
			refuse("%s=%s is not one of %s", c.option, c.value, strings.Join(c.choices, ", "))
		}
	}
	if flags := partition.FlagNames(o.PartType); o.BootFlag != "" && !slices.Contains(flags, o.BootFlag) {
		refuse("--bootflag=%s is not a flag of an %s table (%s)", o.BootFlag, o.PartType, strings.Join(flags, ", "))
	}
	if o.Swap != 0 && o.Swap < minimumSwap {
		refuse("--swap=%s: a swap partition has at least %s", o.Swap, minimumSwap)
	}
}

// Names as the target's own programs take them: hostname(7), and adduser's NAME_REGEX.
var (
	hostnameRule = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9-]{1,63})*$`)
	userRule     = regexp.MustCompile(`^[a-z][-a-z0-9_]{0,31}$`)
)

func checkSystem(o Options, refuse func(string, ...any)) {
	if !hostnameRule.MatchString(o.Hostname) {
		refuse("--hostname=%s is not a host name (letters, digits and hyphens)", o.Hostname)
	}
	if o.RootPassword != "" && o.LockRootPassword {
		refuse("--root-password and --lock-root-password: not both")
	}
	seen := map[string]bool{}
	for _, u := range o.Users {
		name, password, _ := strings.Cut(u, "/")
		switch {
		case !userRule.MatchString(name):
			refuse("--user=%s is not a user name (a lower case letter, then letters, digits, - and _)", name)
		case seen[name] || system.IsStandardAccount(name):
			refuse("--user=%s: the account is there already", name)
		case strings.ContainsAny(password, "\n\x00"):
			refuse("--user=%s: a password is one line", name)
		}
		seen[name] = true
	}
	if strings.ContainsAny(o.RootPassword, "\n\x00") {
		refuse("--root-password: a password is one line")
	}
	if o.SerialCommand != "" {
		if err := system.CheckGetty(o.SerialCommand); err != nil {
			refuse("--serial-console-command=%s: %v", o.SerialCommand, err)
		}
	}
}

// requests are the partitions that the boot loader wants and those of the options. Package partition orders them.
func requests(o Options, t target) []partition.Request {
	list := t.loader.Partitions(t.arch, o.PartType)
	for i := range list {
		if list[i].Role == partition.ESP && o.ESPSize != 0 {
			list[i].Size, list[i].Option = int64(o.ESPSize), "--esp-size"
		}
	}
	if o.BootSize != 0 {
		list = append(list, partition.Request{Name: "boot", Role: partition.Boot, Size: int64(o.BootSize),
			Filesystem: o.BootType, Mount: "/boot", Option: "--bootsize"})
	}
	if o.Swap != 0 {
		list = append(list, partition.Request{Name: "swap", Role: partition.Swap, Size: int64(o.Swap),
			Filesystem: "swap", Option: "--swap"})
	}
	list = append(list, partition.Request{Name: "root", Role: partition.Root, Filesystem: o.RootType, Mount: "/"})
	if a, ok := t.loader.(bootloader.Activator); ok && a.ActivePartition() {
		activate(list)
	}
	return list
}

// activate marks the partition with /boot.
func activate(list []partition.Request) {
	boot := len(list) - 1 // the root partition
	for i, r := range list {
		if r.Role == partition.Boot {
			boot = i
		}
	}
	list[boot].Active = true
}

// spec names the packages: the variant's, what makes a system start, what the options ask for.
func spec(o Options, t target) rootfs.Spec {
	var include []string
	if t.kernel != "" {
		include = append(include, t.kernel)
	}
	include = append(include, t.loader.Packages(t.arch)...)
	include = append(include, t.bootPackages...)
	include = append(include, t.systemPackages(o)...)
	include = append(include, t.firstBootPackages(o)...)
	include = append(include, filesystemPackages(o, t)...)
	if len(o.Users) > 0 {
		include = append(include, "adduser") // which makes them, and which a small variant lacks
	}
	if o.Sudo {
		include = append(include, "sudo")
	}
	wanted := slices.Concat(t.opts.Include, o.Packages, o.CustomDebs)
	added := slices.DeleteFunc(wanted, func(name string) bool { return slices.Contains(include, name) })
	return rootfs.Spec{
		Arch: t.arch.Name, Suite: t.suite.Codename, Mirror: orElse(o.Mirror, o.Script.Mirror), Security: o.Security,
		NoUpdates: o.NoUpdates, ExtraSuites: t.opts.ExtraSuites, InRelease: t.opts.InRelease, Components: t.opts.Components,
		Variant: orElse(t.opts.Variant, rootfs.DefaultVariant), Include: unique(append(include, added...)), Added: unique(added), Exclude: t.opts.Exclude,
		Debconf: t.loader.Debconf(t.arch), Keyrings: keyrings(orElse(o.Keyring, t.opts.Keyring)),
		Unauthenticated: t.opts.NoCheck, IgnoreValidUntil: o.NoCheckValidUntil, TLS: t.opts.TLS, SplitUsr: t.opts.SplitUsr,
		Epoch: o.Epoch,
	}
}

// filesystemPackages are what the system needs to mount its filesystems.
func filesystemPackages(o Options, t target) []string {
	if !hasDisk(t.products) {
		return nil
	}
	var names []string
	for _, r := range requests(o, t) {
		if fs, err := filesystem.Lookup(r.Filesystem); err == nil {
			names = append(names, fs.Packages...)
		}
	}
	return names
}

// systemPackages make a system start and reach the network.
func (t target) systemPackages(o Options) []string {
	names := slices.Clone(t.suite.Packages)
	if init := t.suite.Init(); init != "" {
		names = append([]string{init}, names...)
	}
	if !t.suite.PowerButton() && !o.NoACPID {
		names = append(names, "acpid")
	}
	if o.NoNetworkd || !t.suite.Networkd() {
		return append(names, t.suite.Ifupdown(o.EnableDHCP || o.CloudInit)...)
	}
	if t.suite.Resolver != "" {
		names = append(names, t.suite.Resolver)
	}
	return names
}

func keyrings(path string) []string {
	if path == "" {
		return nil
	}
	return []string{path}
}

func unique(names []string) []string {
	var out []string
	for _, n := range names {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

func systemConfig(o Options, t target, seed [32]byte) (system.Config, error) {
	c := system.Config{
		Hostname: o.Hostname, Sudo: o.Sudo, OneLine: !t.suite.Deb822(), Networkd: t.suite.Networkd() && !o.NoNetworkd,
		DHCP: o.EnableDHCP, KernelNames: o.NoNetworkd,
	}
	if c.Networkd {
		c.ResolvConf = t.suite.ResolvConf()
	} else {
		c.Ifupdown = true
	}
	t.firstBoot(o, &c)
	if !o.NoSerialConsole {
		c.Getty = system.Getty{Port: t.console(o), Command: o.SerialCommand}
	}
	var err error
	if c.Root, err = password("root", o.RootPassword, t.suite, seed); err != nil {
		return system.Config{}, err
	}
	c.Root.Locked = o.LockRootPassword
	for _, u := range o.Users {
		name, plain, _ := strings.Cut(u, "/")
		user := system.User{Name: name}
		if user.Password, err = password(name, plain, t.suite, seed); err != nil {
			return system.Config{}, err
		}
		c.Users = append(c.Users, user)
	}
	return c, nil
}

// seed is the origin of every identifier: --seed, or a hash over the options, so that equal builds are equal images and
// different ones never share a UUID. Passwords are left out: an identifier must not help anybody to guess one; and so is
// what an archive is believed by and how it is reached, and what else is made of the same system. What scripts do and which
// versions the archive has is not known when a plan is made.
func (o Options) seed() ([32]byte, error) {
	if o.Seed != "" {
		return sha256.Sum256([]byte("seed " + o.Seed)), nil
	}
	o.Image, o.Keyring = filepath.Base(o.Image), ""
	o.Tarball, o.Squash, o.Directory, o.OutputImages, o.Formats = "", "", "", nil, nil
	o.ConvertQcow2, o.Qcow2Compression, o.Owner, o.NoSparse, o.PkgList = false, "", "", false, false
	o.NoCheckValidUntil, o.Offline, o.Emulator = false, false, ""
	o.RootPassword = ""
	if o.CloudInitSeed != "" {
		o.CloudInitSeed = filepath.Base(o.CloudInitSeed)
	}
	o.Users = slices.Clone(o.Users)
	for i, u := range o.Users {
		o.Users[i], _, _ = strings.Cut(u, "/")
	}
	data, err := json.Marshal(o)
	if err != nil {
		return [32]byte{}, err
	}
	return sha256.Sum256(data), nil
}
