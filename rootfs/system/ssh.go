package system

import (
	"os"
	"strings"
)

// hostKeysUnit makes the SSH host keys that are missing. Debian's own sshd-keygen.service, in trixie and later, does so only
// at what systemd takes for a first boot: an /etc/machine-id that is not there or says "uninitialized", while an image's is
// empty (machine-id(5), "First Boot Semantics").
//
// Like Debian's it is not ordered before ssh.socket: sockets are open before any service like this one starts.
const (
	hostKeysUnit = "etc/systemd/system/ssh-host-keys.service"
	hostKeysText = `[Unit]
Description=Make missing SSH host keys
ConditionPathIsReadWrite=/etc/ssh
Before=ssh.service sshd-keygen.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=ssh.service ssh.socket
`
)

// sshDefaults is read by the SSH server's script for sysvinit before it looks for keys.
const (
	sshDefaults  = "etc/default/ssh"
	makeHostKeys = "# Make missing SSH host keys.\n/usr/bin/ssh-keygen -A >/dev/null\n"
)

// keysAtBoot takes the host keys out of a tree with an SSH server and has the system make its own when it first starts: keys
// in an image would be those of every machine made of it.
func keysAtBoot(root *os.Root) error {
	if !isThere(root, "usr/sbin/sshd") {
		return nil
	}
	if err := removeMatches(root, "etc/ssh/ssh_host_*_key*"); err != nil {
		return err
	}
	if isThere(root, inittab) {
		return appendOnce(root, file{sshDefaults, makeHostKeys})
	}
	if err := (file{hostKeysUnit, hostKeysText}).write(root); err != nil {
		return err
	}
	for _, unit := range []string{"ssh.service", "ssh.socket"} { // as systemctl enable does
		wants := "etc/systemd/system/" + unit + ".wants/ssh-host-keys.service"
		if err := link(root, wants, "/"+hostKeysUnit); err != nil {
			return err
		}
	}
	return nil
}

// appendOnce adds lines to a file that does not have them.
func appendOnce(root *os.Root, f file) error {
	text, err := content(root, f.name)
	if err != nil || strings.Contains(text, f.content) {
		return err
	}
	return file{f.name, text + f.content}.write(root)
}
