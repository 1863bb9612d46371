package system

import (
	"context"
	"fmt"
	"os"
	"strings"

	"vmbuild/rootfs/chroot"
)

const dhcpNetwork = `[Match]
Name=en* eth*

[Network]
DHCP=yes
`

func enableNetwork(ctx context.Context, target chroot.Runner, c Config) error {
	var units []string
	if c.Networkd {
		units = append(units, "systemd-networkd.service")
	}
	if c.ResolvConf != "" {
		units = append(units, "systemd-resolved.service")
	}
	if len(units) == 0 {
		return nil
	}
	enable := chroot.Command{Args: append([]string{"systemctl", "--quiet", "enable"}, units...)}
	if err := target.Run(ctx, enable); err != nil {
		return fmt.Errorf("enable the network: %w", err)
	}
	return nil
}

// namingRule gives interfaces the names of their place in the machine; up to jessie, persistentRule writes down names that are
// a card's for ever. A rule file in /etc that leads to /dev/null replaces the one of the same name (udev(7)).
const (
	namingRule     = "80-net-setup-link.rules"
	persistentRule = "75-persistent-net-generator.rules"
)

const (
	interfaces      = "etc/network/interfaces"
	interfacesSetup = "etc/network/interfaces.d/setup"
	includeSetup    = "source /etc/network/interfaces.d/*\n"
)

// prepareInterfaces leaves interfaces the kernel's names and describes them for ifupdown, if that is wanted.
func prepareInterfaces(root *os.Root, c Config) error {
	if c.KernelNames {
		if err := keepKernelNames(root); err != nil {
			return fmt.Errorf("keep the kernel's names of interfaces: %w", err)
		}
	}
	if !c.Ifupdown {
		return nil
	}
	setup := "auto lo\niface lo inet loopback\n"
	if c.DHCP {
		setup += "\nauto eth0\niface eth0 inet dhcp\n"
	}
	if err := (file{interfacesSetup, setup}).write(root); err != nil {
		return err
	}
	return includeInterfaces(root)
}

func keepKernelNames(root *os.Root) error {
	err := link(root, "etc/udev/rules.d/"+namingRule, "/dev/null")
	if err == nil && isThere(root, "lib/udev/rules.d/"+persistentRule) {
		err = link(root, "etc/udev/rules.d/"+persistentRule, "/dev/null")
	}
	return err
}

// includeInterfaces has the file that ifupdown reads take in those of interfaces.d, where the release's package does not.
func includeInterfaces(root *os.Root) error {
	text, err := content(root, interfaces)
	if err != nil {
		return fmt.Errorf("read /%s: %w", interfaces, err)
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 2 && strings.HasPrefix(f[0], "source") && strings.HasPrefix(f[1], "/etc/network/interfaces.d") {
			return nil
		}
	}
	return file{interfaces, text + includeSetup}.write(root)
}
