package system

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
)

// Getty is what asks for a login on the serial port.
type Getty struct {
	Port    string // device below /dev; empty: nobody asks there
	Command string // with its arguments; empty: what the system does by itself, or DefaultGetty where it does nothing
}

// DefaultGetty is the command for a port where the system has none of its own.
func DefaultGetty(port string) string { return "/sbin/getty -L " + port + " 115200 vt100" }

// CheckGetty says why a command line cannot be that of a getty.
func CheckGetty(command string) error {
	switch {
	case !path.IsAbs(command):
		return errors.New("it begins with the path of a program, as in " + DefaultGetty("ttyS0"))
	case strings.ContainsAny(command, "\n\x00"):
		return errors.New("it is one line")
	}
	return nil
}

const inittab = "etc/inittab" // of sysvinit

// prepareGetty has the port served by the given command: by inittab(5) where the system has one, else as systemctl edit
// writes it. systemd serves each console of the kernel by itself.
func prepareGetty(root *os.Root, c Config) error {
	if c.Getty.Port == "" {
		return nil
	}
	if isThere(root, inittab) {
		return respawn(root, c.Getty)
	}
	if c.Getty.Command == "" {
		return nil
	}
	return file{"etc/systemd/system/serial-getty@" + c.Getty.Port + ".service.d/override.conf",
		"[Service]\nExecStart=\nExecStart=-" + c.Getty.Command + "\n"}.write(root)
}

// respawn adds a line to inittab, in place of another one of that name.
func respawn(root *os.Root, g Getty) error {
	text, err := content(root, inittab)
	if err != nil {
		return fmt.Errorf("read /%s: %w", inittab, err)
	}
	const id = "T0:" // that of the line which Debian's file has in a comment
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, id) {
			b.WriteString(strings.TrimSuffix(line, "\n") + "\n")
		}
	}
	command := g.Command
	if command == "" {
		command = DefaultGetty(g.Port)
	}
	b.WriteString(id + "23:respawn:" + command + "\n")
	return file{inittab, b.String()}.write(root)
}
