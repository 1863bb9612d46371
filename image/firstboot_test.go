package image

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/partition"
	"vmbuild/rootfs/system"
)

// testKey is a public key as ssh-keygen makes it.
const testKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL+6b3tFTaBINPYEkK/lBW94Upl/WQKFj5XOtgTCyd3m ann@m.example"

// TestFirstBoot has the packages and files that the options bring, besides those of an image without them.
func TestFirstBoot(t *testing.T) {
	key := func(user string) SSHKey { return SSHKey{User: user, Line: testKey} }
	gpt := func(o *Options) { o.PartType = partition.GPT }
	for name, c := range map[string]struct {
		change   func(*Options)
		packages string
		config   system.Config // Keys, Repart, CloudInit, DHCP
		root     string        // options in fstab
	}{
		"grow msdos":        {func(o *Options) { o.Grow = true }, "cloud-initramfs-growroot", system.Config{}, ",x-systemd.growfs"},
		"grow gpt":          {func(o *Options) { gpt(o); o.Grow = true }, "systemd-repart", system.Config{Repart: true}, ",x-systemd.growfs"},
		"grow old gpt":      {func(o *Options) { gpt(o); o.Grow, o.Distribution = true, "bookworm" }, "", system.Config{Repart: true}, ",x-systemd.growfs"},
		"grow older gpt":    {func(o *Options) { gpt(o); o.Grow, o.Distribution = true, "bullseye" }, "cloud-initramfs-growroot", system.Config{}, ",x-systemd.growfs"},
		"grow older btrfs":  {func(o *Options) { o.Grow, o.Distribution, o.RootType = true, "bullseye", "btrfs" }, "cloud-initramfs-growroot", system.Config{}, ",x-systemd.growfs"},
		"root's key":        {func(o *Options) { o.SSHKeys = []SSHKey{key("")} }, "openssh-server", system.Config{Keys: []system.Key{{User: "root", Line: testKey}}}, ""},
		"a user's key":      {func(o *Options) { o.Users, o.SSHKeys = []string{"ann/pw"}, []SSHKey{key("ann")} }, "adduser openssh-server", system.Config{Keys: []system.Key{{User: "ann", Line: testKey}}}, ""},
		"cloud-init":        {func(o *Options) { o.CloudInit = true }, "cloud-init openssh-server sudo", system.Config{CloudInit: &system.CloudInit{Renderer: "networkd"}}, ""},
		"cloud-init, older": {func(o *Options) { o.CloudInit, o.Distribution = true, "bullseye" }, "cloud-init openssh-server sudo", system.Config{CloudInit: &system.CloudInit{}}, ""},
		"cloud-init, ifupdown": {func(o *Options) { o.CloudInit, o.NoNetworkd, o.EnableDHCP = true, true, true },
			"cloud-init openssh-server sudo", system.Config{CloudInit: &system.CloudInit{Renderer: "eni"}}, ""},
		"cloud-init and a key": {func(o *Options) { o.CloudInit, o.SSHKeys = true, []SSHKey{key("root")} }, "cloud-init openssh-server sudo",
			system.Config{Keys: []system.Key{{User: "root", Line: testKey}}, CloudInit: &system.CloudInit{Renderer: "networkd", RootKeys: true}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			with, without := amd64(c.change), amd64(c.change)
			without.Grow, without.SSHKeys, without.CloudInit, without.Users = false, nil, false, nil
			p, err := NewPlan(with)
			if err != nil {
				t.Fatal(err)
			}
			base, err := NewPlan(without)
			if err != nil {
				t.Fatal(err)
			}
			var added []string
			for _, name := range p.Rootfs.Include {
				if !strings.Contains(" "+strings.Join(base.Rootfs.Include, " ")+" ", " "+name+" ") {
					added = append(added, name)
				}
			}
			got := system.Config{Keys: p.System.Keys, Repart: p.System.Repart, CloudInit: p.System.CloudInit, DHCP: p.System.DHCP}
			if d := cmp.Diff(c.config, got); d != "" || !sameWords(c.packages, added) {
				t.Errorf("packages %q, want %q; configuration (-want +got):\n%s", added, c.packages, d)
			}
			if options := base.System.Mounts[0].Options + c.root; p.System.Mounts[0].Dir != "/" || p.System.Mounts[0].Options != options {
				t.Errorf("fstab has %+v, want the options %s", p.System.Mounts, options)
			}
		})
	}
}

// sameWords says whether a text has these words, in any order.
func sameWords(text string, words []string) bool {
	return cmp.Equal(slices.Sorted(strings.FieldsSeq(text)), slices.Sorted(slices.Values(words)))
}

func TestFirstBootRefusals(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"--grow: none of the products has a disk that could be larger": func(o *Options) { o.Image, o.Tarball, o.Grow = "", "a.tar", true },
		"--grow and --no-kernel: not both, as it is the kernel's part to take in a larger disk": func(o *Options) {
			o.Grow, o.NoKernel = true, true
		},
		"--grow: systemd of buster cannot make file systems larger: bullseye's can, and newer ones": func(o *Options) { o.Grow, o.Distribution = true, "buster" },
		"--cloud-init: cloud-init of jessie is too old: stretch's will do, and newer ones":          func(o *Options) { o.CloudInit, o.Distribution = true, "jessie" },
		`--ssh-key: the system has no account "bob": add --user=bob`: func(o *Options) {
			o.Users, o.SSHKeys = []string{"ann/bob"}, []SSHKey{{User: "bob", Line: testKey}}
		},
		"--ssh-key: line 1 is no public key of SSH, such as ssh-ed25519 AAAA… comment": func(o *Options) { o.SSHKeys = []SSHKey{{Line: "secret"}} },
	} {
		_, err := NewPlan(amd64(change))
		var refused *RefusedError
		if !errors.As(err, &refused) || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestSeedOfCloudInit is looked at before the build, and is no part of the plan.
func TestSeedOfCloudInit(t *testing.T) {
	dir := t.TempDir()
	plan := func(distribution string) *Plan {
		p, err := NewPlan(amd64(func(o *Options) { o.CloudInit, o.CloudInitSeed, o.Distribution = true, dir, distribution }))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	must := func(err error, want string) {
		t.Helper()
		if got := errors.Join(err, errors.New("")).Error(); strings.TrimSpace(got) != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	must(checkSeed(plan("trixie")), "--cloud-init="+dir+": read seed: there is no user-data, which cloud-init must have (it may be empty)")
	for _, name := range []string{"user-data", "meta-data", "network-config"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("secret "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	must(checkSeed(plan("trixie")), "")
	must(checkSeed(plan("bullseye")), "--cloud-init="+dir+": cloud-init of this release cannot set up systemd-networkd: "+
		"leave network-config out, or take --no-systemd-networkd")
	p := plan("trixie")
	got, err := p.withSeed()
	must(err, "")
	want := system.Seed{
		"user-data": []byte("secret user-data"), "meta-data": []byte("secret meta-data"), "network-config": []byte("secret network-config"),
	}
	if d := cmp.Diff(want, got.CloudInit.Seed); d != "" || p.System.CloudInit.Seed != nil {
		t.Errorf("%v in the plan\n%s", p.System.CloudInit.Seed, d)
	}
}

// TestFirstBootIdentifiers hang on keys, which are in the image and known to everybody, but not on where a seed directory is.
func TestFirstBootIdentifiers(t *testing.T) {
	seed := func(change func(*Options)) string {
		p, err := NewPlan(amd64(change))
		if err != nil {
			t.Fatal(err)
		}
		return p.Seed
	}
	in := func(dir string) func(*Options) {
		return func(o *Options) { o.CloudInit, o.CloudInitSeed = true, dir }
	}
	if seed(in("/a/seed")) != seed(in("/b/seed")) || seed(in("/a/seed")) == seed(in("/a/other")) {
		t.Error("identifiers hang on the directory in which a seed is, or not on its name")
	}
	key := func(line string) func(*Options) {
		return func(o *Options) { o.SSHKeys = []SSHKey{{Line: line}} }
	}
	if seed(key(testKey)) == seed(key("restrict "+testKey)) {
		t.Error("identifiers do not hang on keys")
	}
}

// TestFirstBootText has the fingerprint that ssh-keygen -lf prints.
func TestFirstBootText(t *testing.T) {
	p, err := NewPlan(amd64(func(o *Options) {
		o.Grow, o.Users, o.SSHKeys = true, []string{"ann"}, []SSHKey{{User: "ann", Line: testKey}}
		o.CloudInit, o.CloudInitSeed = true, "/srv/seed"
	}))
	if err != nil {
		t.Fatal(err)
	}
	const want = "First boot:         / grows with the disk\n" +
		"First boot:         ann logs in by SSH key SHA256:5lRpiXNAbzTMiW3vGOFfHZ9+b95KYVV32xIrtJ7DRAM\n" +
		"First boot:         cloud-init /srv/seed\nMirror:"
	if got := p.Text(); !strings.Contains(got, want) {
		t.Errorf("%s\ndoes not have\n%s", got, want)
	}
	if p, err = NewPlan(amd64(func(*Options) {})); err != nil || strings.Contains(p.Text(), "First boot") {
		t.Errorf("%v: %s", err, p.Text())
	}
}
