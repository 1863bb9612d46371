package image

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"vmbuild/partition"
	"vmbuild/rootfs/system"
)

// sshServer is the package of the SSH server.
const sshServer = "openssh-server"

// ParseSSHKeys reads the lines of a file with public keys, which shall log in as user (empty: root). No error shows any of
// the text, which may be a private key by mistake.
func ParseSSHKeys(user string, text []byte) ([]SSHKey, error) {
	lines, err := system.ParseKeys(text)
	if err != nil {
		return nil, err
	}
	var keys []SSHKey
	for _, line := range lines {
		keys = append(keys, SSHKey{User: user, Line: line})
	}
	return keys, nil
}

// checkFirstBoot refuses what the system could not do when it first starts.
func checkFirstBoot(o Options, t target, refuse func(string, ...any)) {
	for _, k := range o.SSHKeys {
		if _, err := system.ParseKeys([]byte(k.Line)); err != nil {
			refuse("--ssh-key: %v", err)
		}
		if !o.makes(k.User) {
			refuse("--ssh-key: the system has no account %q: add --user=%[1]s", k.User)
		}
	}
	if o.Grow && !hasDisk(t.products) {
		refuse("--grow: none of the products has a disk that could be larger")
	}
	if o.Grow && o.NoKernel {
		refuse("--grow and --no-kernel: not both, as it is the kernel's part to take in a larger disk")
	}
	if t.suite.Codename == "" {
		return
	}
	if o.Grow && !t.suite.GrowsRoot() {
		refuse("--grow: systemd of %s cannot make file systems larger: bullseye's can, and newer ones", t.suite.Codename)
	}
	if o.CloudInit && !t.suite.CloudInit() {
		refuse("--cloud-init: cloud-init of %s is too old: stretch's will do, and newer ones", t.suite.Codename)
	}
}

// makes says whether the system has an account that somebody can log in to: root, also as the empty name, and those of --user.
func (o Options) makes(account string) bool {
	return account == "" || account == "root" || slices.ContainsFunc(o.Users, func(u string) bool {
		name, _, _ := strings.Cut(u, "/")
		return name == account
	})
}

// firstBootPackages are those of --grow, --ssh-key and --cloud-init. Who is let in by cloud-init comes by SSH, and becomes
// root by sudo.
func (t target) firstBootPackages(o Options) []string {
	var names []string
	if o.Grow {
		names = append(names, t.suite.RootGrowers(o.PartType == partition.GPT)...)
	}
	if len(o.SSHKeys) > 0 {
		names = append(names, sshServer)
	}
	if o.CloudInit {
		names = append(names, "cloud-init", sshServer, "sudo")
	}
	return names
}

// firstBoot is the part of the system's configuration that --grow, --ssh-key and --cloud-init make.
func (t target) firstBoot(o Options, c *system.Config) {
	for _, k := range o.SSHKeys {
		c.Keys = append(c.Keys, system.Key{User: orElse(k.User, "root"), Line: k.Line})
	}
	c.Repart = o.Grow && t.suite.Repart(o.PartType == partition.GPT)
	if !o.CloudInit {
		return
	}
	c.CloudInit = &system.CloudInit{RootKeys: slices.ContainsFunc(c.Keys, func(k system.Key) bool { return k.User == "root" })}
	switch {
	case c.Ifupdown:
		c.CloudInit.Renderer = "eni"
		c.DHCP = false // cloud-init describes the interface
	case t.suite.CloudNetworkd():
		c.CloudInit.Renderer = "networkd"
	}
}

// growing is what makes a filesystem as large as its partition at each start (systemd.mount(5)).
const growing = ",x-systemd.growfs"

// growRoot has the filesystem of / grow.
func growRoot(mounts []system.Mount) {
	for i := range mounts {
		if mounts[i].Dir == "/" {
			mounts[i].Options += growing
		}
	}
}

// firstBoot says in words what the system does when it first starts.
func (p *Plan) firstBoot() []string {
	var lines []string
	if slices.ContainsFunc(p.System.Mounts, func(m system.Mount) bool { return strings.HasSuffix(m.Options, growing) }) {
		lines = append(lines, "/ grows with the disk")
	}
	for _, k := range p.System.Keys {
		lines = append(lines, fmt.Sprintf("%s logs in by SSH key %s", k.User, k.Fingerprint()))
	}
	if p.System.CloudInit != nil {
		lines = append(lines, strings.TrimSpace("cloud-init "+p.CloudInitSeed))
	}
	return lines
}

// checkSeed looks at the directory of --cloud-init; the build reads it again.
func checkSeed(p *Plan) error {
	if p.CloudInitSeed == "" {
		return nil
	}
	seed, err := system.ReadSeed(os.DirFS(p.CloudInitSeed))
	if err == nil {
		err = p.System.CloudInit.CheckSeed(seed)
	}
	if err != nil {
		return fmt.Errorf("--cloud-init=%s: %w", p.CloudInitSeed, err)
	}
	return nil
}

// withSeed returns the plan's configuration of the system with the files of the seed in it, which are no part of a plan:
// passwords may be in them.
func (p *Plan) withSeed() (system.Config, error) {
	c := p.System
	if p.CloudInitSeed == "" {
		return c, nil
	}
	seed, err := system.ReadSeed(os.DirFS(p.CloudInitSeed))
	if err != nil {
		return c, fmt.Errorf("--cloud-init=%s: %w", p.CloudInitSeed, err)
	}
	cloud := *c.CloudInit
	cloud.Seed = seed
	c.CloudInit = &cloud
	return c, nil
}
