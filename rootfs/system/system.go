// Package system makes an installed tree the system that was asked for: fstab, host name, apt sources, accounts,
// network. Prepare writes what needs only files; Apply does what the target's own programs do best (adduser, chpasswd,
// systemctl); Settle writes, last, what would disturb programs that run during the build.
//
// Every path is resolved inside the tree (os.Root), so a link in a package cannot lead an edit onto the host. No file
// of vmbuild's own is left: all that is written is what an administrator of a Debian system would have written.
package system

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"vmbuild/rootfs/chroot"
)

// Config is what the system shall be. Its zero value is a system without mounts, without name, without network and
// without accounts other than a root that has an empty password.
type Config struct {
	Hostname    string
	Mounts      []Mount
	Sources     []Source // of apt; none: what the tree has stays
	OneLine     bool     // they are lines of sources.list, for an apt that does not read deb822
	Root        Password
	Users       []User
	Sudo        bool   // users are members of group sudo
	Networkd    bool   // systemd-networkd asks for an address by DHCP on every en* and eth* interface
	ResolvConf  string // systemd-resolved answers names: where /etc/resolv.conf leads then; empty: it is left alone
	Ifupdown    bool   // ifupdown brings interfaces up: lo, and eth0 if DHCP
	DHCP        bool   // with Ifupdown: eth0 asks for an address
	KernelNames bool   // udev leaves interfaces the names that the kernel gives: eth0
	Getty       Getty
	Keys        []Key      `json:",omitempty"` // that may log in by SSH
	Repart      bool       `json:",omitempty"` // systemd-repart makes the root partition as large as the disk (gpt only)
	CloudInit   *CloudInit `json:",omitempty"`
}

// Mount is a line of fstab(5).
type Mount struct {
	Source  string // UUID=…
	Dir     string // mount point, or "none"
	Type    string
	Options string
	Pass    int // order of fsck: 1 root, 2 others, 0 never
}

// Password is a crypt(5) hash or the absence of one: an account with an empty Hash logs in without a password.
type Password struct {
	Hash   string
	Locked bool // no password ever fits
}

// User is an account to be made.
type User struct {
	Name     string
	Password Password
}

// growingRoot has systemd-repart take the root partition, which is the disk's last, for one that may have all the room there
// is (repart.d(5)); partitions that no file describes are left alone.
const growingRoot = "[Partition]\nType=root\n"

// Prepare writes the files that packages' own scripts read: fstab above all, from which kernel and boot loader hooks
// take the root filesystem, and the rules for names of interfaces, which are in the initramfs too.
func Prepare(root *os.Root, c Config) error {
	files := []file{
		{"etc/fstab", fstab(c.Mounts)},
		{"etc/hostname", c.Hostname + "\n"},
		{"etc/hosts", hosts(c.Hostname)},
	}
	if c.Networkd {
		files = append(files, file{"etc/systemd/network/99-dhcp.network", dhcpNetwork})
	}
	if c.Repart {
		files = append(files, file{"etc/repart.d/50-root.conf", growingRoot})
	}
	for _, f := range files {
		if err := f.write(root); err != nil {
			return err
		}
	}
	for _, step := range []func(*os.Root, Config) error{prepareApt, prepareInterfaces, prepareGetty, prepareCloud} {
		if err := step(root, c); err != nil {
			return err
		}
	}
	return makeMountPoints(root, c.Mounts)
}

// Apply makes accounts and enables services by the target's own programs. Passwords travel on standard input, never
// on a command line that others can read.
func Apply(ctx context.Context, target chroot.Runner, c Config) error {
	var hashes strings.Builder
	accounts := []User{{Name: "root", Password: c.Root}}
	for _, u := range c.Users {
		if err := target.Run(ctx, chroot.Command{Args: addUser(u.Name)}); err != nil {
			return fmt.Errorf("add user %q: %w", u.Name, err)
		}
		if c.Sudo {
			if err := target.Run(ctx, chroot.Command{Args: []string{"adduser", "--quiet", u.Name, "sudo"}}); err != nil {
				return fmt.Errorf("add user %q to group sudo: %w", u.Name, err)
			}
		}
		accounts = append(accounts, u)
	}
	for _, u := range accounts {
		if u.Password.Hash != "" && !u.Password.Locked {
			fmt.Fprintf(&hashes, "%s:%s\n", u.Name, u.Password.Hash)
			continue
		}
		change := "--delete"
		if u.Password.Locked {
			change = "--lock"
		}
		if err := target.Run(ctx, chroot.Command{Args: []string{"passwd", "--quiet", change, u.Name}}); err != nil {
			return fmt.Errorf("set the password of %q: %w", u.Name, err)
		}
	}
	if hashes.Len() > 0 {
		set := chroot.Command{Args: []string{"chpasswd", "--encrypted"}, Stdin: strings.NewReader(hashes.String())}
		if err := target.Run(ctx, set); err != nil {
			return fmt.Errorf("set passwords: %w", err)
		}
	}
	return enableNetwork(ctx, target, c)
}

func addUser(name string) []string {
	return []string{"adduser", "--quiet", "--disabled-password", "--gecos", "", name}
}

// Settle writes what must be right in the finished image and would be in the way before: resolv.conf leads to a
// resolver that does not run during a build. It takes out what belongs to one machine: the names that udev gave to
// devices, and the host keys of an SSH server, which each machine makes for itself.
func Settle(root *os.Root, c Config) error {
	if err := removeMatches(root, "etc/udev/rules.d/70-persistent-*.rules"); err != nil {
		return fmt.Errorf("remove udev's names of devices: %w", err)
	}
	if err := keysAtBoot(root); err != nil {
		return fmt.Errorf("leave the SSH host keys to the first boot: %w", err)
	}
	if c.ResolvConf == "" {
		return nil
	}
	if err := link(root, "etc/resolv.conf", c.ResolvConf); err != nil {
		return fmt.Errorf("link /etc/resolv.conf: %w", err)
	}
	return nil
}

// fstab renders the mounts as fstab(5) in aligned columns.
func fstab(mounts []Mount) string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 8, 1, ' ', 0)
	fmt.Fprintln(w, "# <file system>\t<mount point>\t<type>\t<options>\t<dump>\t<pass>")
	for _, m := range mounts {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t0\t%d\n", m.Source, m.Dir, m.Type, m.Options, m.Pass)
	}
	w.Flush()
	return b.String()
}

// hosts is what Debian's installer writes for a host without a fixed address.
func hosts(name string) string {
	return "127.0.0.1\tlocalhost\n127.0.1.1\t" + name + "\n\n" +
		"# The following lines are desirable for IPv6 capable hosts\n" +
		"::1     localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n"
}

// makeMountPoints makes the directories that fstab mounts something on.
func makeMountPoints(root *os.Root, mounts []Mount) error {
	for _, m := range mounts {
		if !strings.HasPrefix(m.Dir, "/") || m.Dir == "/" {
			continue
		}
		if err := root.MkdirAll(m.Dir[1:], 0o755); err != nil {
			return fmt.Errorf("make mount point %s: %w", m.Dir, err)
		}
	}
	return nil
}
