package image

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/partition"
	"vmbuild/rootfs/suite"
)

var update = flag.Bool("update", false, "write the golden plans anew")

func amd64(change func(*Options)) Options {
	o := Options{Image: "test.img", Arch: "amd64", Grub: true}
	change(&o)
	return o
}

// Each refusal has the words that users of vmdebootstrap look for.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Options)
		words  []string
	}{
		"no output":          {func(o *Options) { o.Image = "" }, []string{"disk image filename", "squash"}},
		"image and tarball":  {func(o *Options) { o.Tarball = "x.tar" }, []string{"--image", "--tarball", "not both"}},
		"squash and tarball": {func(o *Options) { o.Image, o.Squash, o.Tarball = "", "x", "x.tar" }, []string{"--squash", "--tarball", "not both"}},
		"image and squash":   {func(o *Options) { o.Squash = "x" }, []string{"--image", "--squash"}},
		"qcow2 of nothing":   {func(o *Options) { o.Image, o.Tarball, o.ConvertQcow2 = "", "x.tar", true }, []string{"qcow2 can only", "with --image"}},
		"qcow2 twice":        {func(o *Options) { o.ConvertQcow2, o.Formats = true, []string{"qcow2"} }, []string{"--convert-qcow2", "--format", "not both"}},
		"unknown format":     {func(o *Options) { o.Formats = []string{"vdi"} }, []string{"--format", `"vdi"`, "qcow2"}},
		"format of nothing":  {func(o *Options) { o.Image, o.Directory, o.Formats = "", "d", []string{"raw"} }, []string{"--format", "--output-image"}},
		"too many formats":   {func(o *Options) { o.OutputImages, o.Formats = []string{"a.tar", "b"}, []string{"raw", "tar"} }, []string{"--format", "2 times", "3 images"}},
		"unknown suffix":     {func(o *Options) { o.OutputImages = []string{"a.vdi"} }, []string{"--output-image=a.vdi", "--format", ".qcow2"}},
		"same path":          {func(o *Options) { o.OutputImages = []string{"./test.img"} }, []string{"--output-image=./test.img", "already"}},
		"compression":        {func(o *Options) { o.Qcow2Compression = "xz" }, []string{"--qcow2-compression", "zstd"}},
		"extlinux on btrfs":  {func(o *Options) { o.Grub, o.Extlinux, o.RootType = false, true, "btrfs" }, []string{"btrfs", "extlinux", "not yet supported"}},
		"btrfs by default":   {func(o *Options) { o.Grub, o.RootType = false, "btrfs" }, []string{"btrfs", "extlinux", "not yet supported"}},
		"apt mirror":         {func(o *Options) { o.AptMirror = "http://m.example/debian" }, []string{"--apt-mirror", "requires --configure-apt as well"}},
		"eth0 in no initramfs": {func(o *Options) { o.NoNetworkd, o.NoUpdateInitramfs = true, true },
			[]string{"--no-systemd-networkd", "--no-update-initramfs", "requires updating the"}},
		"too small":           {func(o *Options) { o.Size = 100 * mib }, []string{"--size=100M", "too small", "bootstrap"}},
		"no room":             {func(o *Options) { o.Size, o.Swap = 200*mib, 256*mib }, []string{"--size=200M", "--swap", "missing"}},
		"arm64 without UEFI":  {func(o *Options) { o.Arch = "arm64" }, []string{"UEFI", "arm64"}},
		"hybrid on msdos":     {func(o *Options) { o.Hybrid, o.PartType = true, "msdos" }, []string{"--part-type=msdos", "grub-cloud", "gpt"}},
		"hybrid on arm64":     {func(o *Options) { o.Hybrid, o.Arch = true, "arm64" }, []string{"arm64", "UEFI"}},
		"two loaders":         {func(o *Options) { o.UKI = true }, []string{"--uki and --grub", "take one"}},
		"board and loader":    {func(o *Options) { o.Board, o.Arch = "cubietruck", "armhf" }, []string{"--board and --grub", "take one"}},
		"unknown loader":      {func(o *Options) { o.Bootloader = "lilo" }, []string{"--bootloader=lilo", "extlinux", "u-boot"}},
		"unknown board":       {func(o *Options) { o.Grub, o.Board = false, "toaster" }, []string{"--board=toaster", "--board=list"}},
		"nobody to tell it":   {func(o *Options) { o.Grub, o.NoExtlinux, o.Append = false, true, "quiet" }, []string{"--append", "no boot loader"}},
		"small hybrid ESP":    {func(o *Options) { o.Hybrid, o.ESPSize = true, 19*mib }, []string{"--esp-size=19M", "20M"}},
		"vendor without ESP":  {func(o *Options) { o.EFIVendor = true }, []string{"--efi-vendor", "--use-uefi"}},
		"no kernel there":     {func(o *Options) { o.Arch = "i386" }, []string{"--arch=i386", "no kernel", "bookworm", "--no-kernel"}},
		"board of another":    {func(o *Options) { o.Grub, o.Board, o.Arch = false, "cubietruck", "amd64" }, []string{"cubietruck", "armhf", "amd64"}},
		"too near to a board": {func(o *Options) { o.Grub, o.Board, o.Arch, o.BootOffset = false, "cubietruck", "armhf", mib }, []string{"--bootoffset=1M", "4M"}},
		"UEFI without grub":   {func(o *Options) { o.UseUEFI, o.Grub = true, false }, []string{"UEFI", "Grub"}},
		"UEFI on armel":       {func(o *Options) { o.UseUEFI, o.Arch = true, "armel" }, []string{"armel", "not a supported", "UEFI"}},
		"grub on armel":       {func(o *Options) { o.Arch = "armel" }, []string{"armel"}},
		"UEFI and bootsize":   {func(o *Options) { o.UseUEFI, o.BootSize = true, 64*mib }, []string{"separate boot", "not supported", "UEFI"}},
		"UEFI and bootoffset": {func(o *Options) { o.UseUEFI, o.BootOffset = true, 4*mib }, []string{"separate boot", "not supported", "UEFI"}},
		"ESP without UEFI":    {func(o *Options) { o.ESPSize = 64 * mib }, []string{"--esp-size", "--use-uefi"}},
		"small ESP":           {func(o *Options) { o.UseUEFI, o.ESPSize = true, 4*mib }, []string{"--esp-size=4M", "5M"}},
		"small swap":          {func(o *Options) { o.Swap = 255 * mib }, []string{"--swap=255M", "256M"}},
		"distribution":        {func(o *Options) { o.Distribution = "trixy" }, []string{"trixy", "not a valid Debian or Ubuntu suite or codename"}},
		"architecture":        {func(o *Options) { o.Arch = "pdp11" }, []string{"pdp11", "amd64"}},
		"partition table":     {func(o *Options) { o.PartType = "bsd" }, []string{"--part-type=bsd", "msdos, gpt"}},
		"root type":           {func(o *Options) { o.RootType = "vfat" }, []string{"--roottype=vfat", "ext4"}},
		"boot type":           {func(o *Options) { o.BootType = "ntfs" }, []string{"--boottype=ntfs", "ext4"}},
		"boot flag":           {func(o *Options) { o.BootFlag = "hidden" }, []string{"--bootflag=hidden", "boot"}},
		"mirror":              {func(o *Options) { o.Mirror = "m.example/debian" }, []string{"--mirror=m.example/debian", "http"}},
		"security mirror":     {func(o *Options) { o.Security = "no" }, []string{"--security-mirror=no", "http"}},
		"host name":           {func(o *Options) { o.Hostname = "a b" }, []string{"--hostname=a b"}},
		"user name":           {func(o *Options) { o.Users = []string{"Ann/x"} }, []string{"--user=Ann"}},
		"user twice":          {func(o *Options) { o.Users = []string{"ann/x", "ann"} }, []string{"--user=ann", "already"}},
		"user root":           {func(o *Options) { o.Users = []string{"root/x"} }, []string{"--user=root", "already"}},
		"password":            {func(o *Options) { o.Users = []string{"ann/a\nroot:x"} }, []string{"--user=ann", "one line"}},
		"root password":       {func(o *Options) { o.RootPassword = "a\nb" }, []string{"--root-password", "one line"}},
		"root locked":         {func(o *Options) { o.RootPassword, o.LockRootPassword = "x", true }, []string{"--root-password", "--lock-root-password", "not both"}},
	} {
		_, err := NewPlan(amd64(c.change))
		var refused *RefusedError
		if !errors.As(err, &refused) {
			t.Errorf("%s: not refused: %v", name, err)
			continue
		}
		for _, word := range c.words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %q does not say %q", name, err, word)
			}
		}
		if strings.Contains(err.Error(), "a\nroot:x") {
			t.Errorf("%s: the refusal shows a password", name)
		}
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := NewPlan(Options{Arch: "amd64", Distribution: "x", Size: mib, Hostname: "-"})
	var refused *RefusedError
	if !errors.As(err, &refused) || len(refused.Problems) != 4 {
		t.Errorf("four problems: %v", err)
	}
}

// Golden plans: suite by boot loader by table. go test ./image -update writes them; the difference is for review.
func TestGoldenPlans(t *testing.T) {
	for _, s := range suite.Current() {
		for _, uefi := range []bool{false, true} {
			for _, table := range PartTypes() {
				o := amd64(func(o *Options) { o.Distribution, o.UseUEFI, o.PartType = s.Codename, uefi, table })
				name := strings.Join([]string{s.Codename, map[bool]string{false: "grub", true: "grub-efi"}[uefi], table}, "-")
				golden(t, name, o)
			}
		}
	}
	golden(t, "everything", amd64(func(o *Options) {
		o.BootSize, o.Swap, o.BootOffset, o.Size = 200*mib, 256*mib, 4*mib, 2*gib
		o.RootPassword, o.Users, o.Sudo = "secret", []string{"ann/pw", "bob"}, true
		o.Packages, o.Customize, o.KernelPackage = []string{"vim", "zstd"}, []string{"a.sh"}, "linux-image-cloud-amd64"
		o.Hostname, o.Mirror, o.NoSerialConsole, o.NoCheckValidUntil = "cherry", "http://m.example/debian", true, true
	}))
}

func golden(t *testing.T, name string, o Options) {
	t.Helper()
	p, err := NewPlan(o)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	data, err := json.MarshalIndent(p, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	got := p.Text() + "\n" + string(data) + "\n"
	file := filepath.Join("testdata", "plans", name+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

func TestIdentifiers(t *testing.T) {
	ids := func(change func(*Options)) []string {
		p, err := NewPlan(amd64(change))
		if err != nil {
			t.Fatal(err)
		}
		list := []string{p.Layout.DiskID}
		for _, part := range p.Layout.Partitions {
			list = append(list, part.UUID)
		}
		return list
	}
	same := func(*Options) {}
	base := ids(same)
	for name, c := range map[string]struct {
		change func(*Options)
		equal  bool
	}{
		"nothing changed":    {same, true},
		"another directory":  {func(o *Options) { o.Image = "/elsewhere/test.img" }, true},
		"another password":   {func(o *Options) { o.RootPassword = "secret" }, true},
		"another image name": {func(o *Options) { o.Image = "other.img" }, false},
		"another package":    {func(o *Options) { o.Packages = []string{"vim"} }, false},
		"a seed":             {func(o *Options) { o.Seed = "x" }, false},
	} {
		if got := slices.Equal(ids(c.change), base); got != c.equal {
			t.Errorf("%s: identifiers equal: %t, want %t", name, got, c.equal)
		}
	}
}

func TestRootIsLast(t *testing.T) {
	p, err := NewPlan(amd64(func(o *Options) { o.BootSize, o.Swap = 64*mib, 256*mib }))
	if err != nil {
		t.Fatal(err)
	}
	last := p.Layout.Partitions[len(p.Layout.Partitions)-1]
	if last.Role != partition.Root || !p.Layout.Partitions[0].Active {
		t.Errorf("root is not last or the first partition not active: %+v", p.Layout.Partitions)
	}
}

func TestRedacted(t *testing.T) {
	p, err := NewPlan(amd64(func(o *Options) { o.RootPassword, o.Users = "secret", []string{"ann/pw", "bob"} }))
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(p.Redacted())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), "$y$") || strings.Contains(p.Text(), "$y$") {
		t.Errorf("a hash is shown: %s", data)
	}
	if !strings.HasPrefix(p.System.Root.Hash, "$y$j9T$") || p.System.Users[1].Password.Hash != "" {
		t.Errorf("hashes of the plan itself: %+v", p.System)
	}
}
