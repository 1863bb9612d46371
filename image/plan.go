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
	Image      string            `json:"image"`
	Rootfs     rootfs.Spec       `json:"rootfs"`
	System     system.Config     `json:"system"`
	Hooks      []hooks.Hook      `json:"hooks,omitempty"`
	Bootloader string            `json:"bootloader"`
	Serial     bool              `json:"serial"` // kernel and boot loader use the first serial port too
	Layout     *partition.Layout `json:"layout"`
	Seed       string            `json:"seed"` // 32 bytes in hex, origin of all identifiers
	Epoch      time.Time         `json:"epoch,omitzero"`
	Offline    bool              `json:"offline,omitempty"` // everything comes from the cache
	Notes      []string          `json:"notes,omitempty"`   // choices the user did not make and should hear of
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
	layout, err := partition.Place(partition.Spec{
		Table: o.PartType, Size: int64(o.Size), Offset: int64(o.BootOffset), Flag: o.BootFlag, Seed: seed,
		Arch: target.arch, Requests: requests(o, target),
	})
	if err != nil {
		return nil, &RefusedError{[]string{fmt.Sprintf("--size=%s: %v", o.Size, err)}}
	}
	config, err := systemConfig(o, target, seed)
	if err != nil {
		return nil, fmt.Errorf("hash passwords: %w", err)
	}
	p := &Plan{
		Image: o.Image, Rootfs: spec(o, target), System: config, Bootloader: target.loader.Name(),
		Serial: !o.NoSerialConsole, Layout: layout, Seed: hex.EncodeToString(seed[:]), Epoch: o.Epoch,
		Offline: o.Offline,
	}
	p.System.Mounts = layout.Mounts()
	for _, script := range o.Customize {
		p.Hooks = append(p.Hooks, hooks.Hook{Stage: hooks.Customize, Path: script})
	}
	if !o.Grub {
		p.Notes = append(p.Notes, "no boot loader was named: installing "+target.loader.Name()+" (--grub)")
	}
	return p, nil
}

// target is what the options' names stand for in the tables.
type target struct {
	arch   arch.Arch
	suite  suite.Suite
	loader bootloader.Bootloader
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

func withDefaults(o Options) Options {
	for field, value := range map[*string]string{
		&o.Distribution: suite.Default, &o.PartType: partition.MSDOS, &o.RootType: "ext4", &o.BootType: "ext2", &o.Hostname: "debian",
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
	if t.arch, err = arch.Lookup(o.Arch); err != nil {
		refuse("--arch: %v", err)
	}
	if o.Image == "" {
		refuse("no output: give a disk image filename with --image (this version writes neither --tarball nor --squash)")
	}
	if o.Size <= MinimumSize {
		refuse("--size=%s is too small for a bootstrap: a Debian system needs more than %s", o.Size, MinimumSize)
	}
	checkMirrors(o, refuse)
	checkUEFI(o, t.arch, refuse)
	checkPartitions(o, refuse)
	checkSystem(o, refuse)
	if len(problems) > 0 {
		return t, problems
	}
	if t.loader, err = bootloader.Lookup(loaderName(o)); err == nil {
		err = t.loader.Supports(t.arch)
	}
	if err != nil {
		refuse("%v", err)
	}
	return t, problems
}

func checkMirrors(o Options, refuse func(string, ...any)) {
	for _, c := range []struct{ option, value string }{{"--mirror", o.Mirror}, {"--security-mirror", o.Security}} {
		if c.value == "" || c.option == "--security-mirror" && c.value == mirror.None {
			continue
		}
		u, err := url.Parse(c.value)
		if err != nil || !slices.Contains([]string{"http", "https", "file", "copy"}, u.Scheme) {
			refuse("%s=%s is not the URL of an archive (http, https or file)", c.option, c.value)
		}
	}
}

func checkUEFI(o Options, a arch.Arch, refuse func(string, ...any)) {
	switch {
	case o.UseUEFI && !o.Grub:
		refuse("--use-uefi: UEFI images are started by Grub: add --grub")
	case o.UseUEFI && a.Name != "" && !a.UEFI():
		refuse("--use-uefi: %s is not a supported architecture for UEFI", a.Name)
	case !o.UseUEFI && a.Name == "arm64":
		refuse("--arch=arm64: an arm64 image is started by UEFI: add --grub --use-uefi")
	}
	if o.UseUEFI && o.BootSize != 0 {
		refuse("--bootsize: a separate boot partition is not supported with UEFI (--use-uefi)")
	}
	if o.UseUEFI && o.BootOffset != 0 {
		refuse("--bootoffset: room before a separate boot partition is not supported with UEFI (--use-uefi)")
	}
	if !o.UseUEFI && o.ESPSize != 0 {
		refuse("--esp-size is the size of the EFI system partition, which only --use-uefi makes")
	}
	if o.ESPSize != 0 && o.ESPSize < minimumESP {
		refuse("--esp-size=%s: an EFI system partition needs at least %s", o.ESPSize, minimumESP)
	}
}

func checkPartitions(o Options, refuse func(string, ...any)) {
	for _, c := range []struct {
		option, value string
		choices       []string
	}{
		{"--part-type", o.PartType, PartTypes()},
		{"--roottype", o.RootType, RootTypes()},
		{"--boottype", o.BootType, RootTypes()},
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
	seen := map[string]bool{"root": true}
	for _, u := range o.Users {
		name, password, _ := strings.Cut(u, "/")
		switch {
		case !userRule.MatchString(name):
			refuse("--user=%s is not a user name (a lower case letter, then letters, digits, - and _)", name)
		case seen[name]:
			refuse("--user=%s: the account is there already", name)
		case strings.ContainsAny(password, "\n\x00"):
			refuse("--user=%s: a password is one line", name)
		}
		seen[name] = true
	}
	if strings.ContainsAny(o.RootPassword, "\n\x00") {
		refuse("--root-password: a password is one line")
	}
}

// loaderName is the row of the table of boot loaders that the options mean.
func loaderName(o Options) string {
	if o.UseUEFI {
		return "grub-efi"
	}
	return "grub"
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
	return append(list, partition.Request{Name: "root", Role: partition.Root, Filesystem: o.RootType, Mount: "/"})
}

// spec names the packages: the variant's, what makes a system start, what the options ask for.
func spec(o Options, t target) rootfs.Spec {
	var include []string
	switch {
	case o.NoKernel:
	case o.KernelPackage != "":
		include = append(include, o.KernelPackage)
	default:
		include = append(include, t.arch.Kernel)
	}
	include = append(include, t.loader.Packages(t.arch)...)
	include = append(include, "systemd-sysv")
	include = append(include, t.suite.Packages...)
	if t.suite.Resolver != "" {
		include = append(include, t.suite.Resolver)
	}
	if o.Sudo {
		include = append(include, "sudo")
	}
	return rootfs.Spec{
		Arch: t.arch.Name, Suite: t.suite.Codename, Mirror: o.Mirror, Security: o.Security, NoUpdates: o.NoUpdates, Variant: rootfs.DefaultVariant,
		Include: unique(append(include, o.Packages...)), Debconf: t.loader.Debconf(t.arch),
		Keyrings: keyrings(o), IgnoreValidUntil: o.NoCheckValidUntil, Epoch: o.Epoch,
	}
}

func keyrings(o Options) []string {
	if o.Keyring == "" {
		return nil
	}
	return []string{o.Keyring}
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
	c := system.Config{Hostname: o.Hostname, Sudo: o.Sudo, Networkd: true, Resolved: true}
	var err error
	if c.Root, err = password("root", o.RootPassword, seed); err != nil {
		return system.Config{}, err
	}
	c.Root.Locked = o.LockRootPassword
	for _, u := range o.Users {
		name, plain, _ := strings.Cut(u, "/")
		user := system.User{Name: name}
		if user.Password, err = password(name, plain, seed); err != nil {
			return system.Config{}, err
		}
		c.Users = append(c.Users, user)
	}
	return c, nil
}

// seed is the origin of every identifier: --seed, or a hash over the options, so that equal builds are equal images and
// different ones never share a UUID. Passwords are left out: an identifier must not help anybody to guess one; and so is
// what an archive is believed by and how it is reached. What scripts do and which versions the archive has is not known
// when a plan is made.
func (o Options) seed() ([32]byte, error) {
	if o.Seed != "" {
		return sha256.Sum256([]byte("seed " + o.Seed)), nil
	}
	o.Image, o.Keyring = filepath.Base(o.Image), ""
	o.NoCheckValidUntil, o.Offline = false, false
	o.RootPassword = ""
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
