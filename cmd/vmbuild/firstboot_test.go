package main

import (
	"crypto/ed25519"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"vmbuild/image/machine"
	"vmbuild/rootfs/offers"
)

// firstBoot is an image that is started from a disk larger than itself.
type firstBoot struct {
	args     []string
	user     string // who logs in by SSH key, besides root
	cloud    bool   // the user comes from a seed of cloud-init
	firmware machine.Firmware
}

// small are the options of an image that is made quickly: the kernel for virtual machines has few modules.
var small = append(slices.Clip(foreign), cloudKernel)

// TestFirstBoot starts images from a disk of 4 GB: the root filesystem has it, the console asks for a login on the serial port
// and on the screen, and users log in by their SSH keys. One is started on each change, all others by the word "matrix", and
// those a second time.
func TestFirstBoot(t *testing.T) {
	const short = "trixie-msdos"
	grow := []string{"--grub", "--grow", "--user=ann"}
	with := func(args []string, more ...string) []string { return slices.Concat(args, more) }
	gpt := with(grow, "--part-type=gpt")
	cases := map[string]firstBoot{
		short:             {grow, "ann", false, machine.BIOS},
		"trixie-gpt":      {gpt, "ann", false, machine.BIOS},
		"trixie-uefi":     {with(grow, "--use-uefi"), "ann", false, machine.UEFI},
		"trixie-xfs-gpt":  {with(gpt, "--roottype=xfs"), "ann", false, machine.BIOS},
		"trixie-btrfs":    {with(grow, "--roottype=btrfs"), "ann", false, machine.BIOS},
		"trixie-ext2":     {with(grow, "--roottype=ext2"), "ann", false, machine.BIOS},
		"bookworm-gpt":    {with(gpt, "--distribution=bookworm"), "ann", false, machine.BIOS},
		"bullseye-gpt":    {with(gpt, "--distribution=bullseye"), "ann", false, machine.BIOS},
		"sid-msdos":       {with(grow, "--distribution=sid", "--no-check-valid-until"), "ann", false, machine.BIOS},
		"trixie-cloud":    {[]string{"--grub", "--grow"}, "carol", true, machine.BIOS},
		"bookworm-cloud":  {[]string{"--grub", "--grow", "--distribution=bookworm"}, "carol", true, machine.BIOS},
		"bullseye-cloud":  {[]string{"--grub", "--grow", "--distribution=bullseye"}, "carol", true, machine.BIOS},
		"trixie-ifupdown": {[]string{"--grub", "--grow", oldNames, "--enable-dhcp"}, "carol", true, machine.BIOS},
	}
	p := needProgram(t, "net", "build", "boot")
	for name, c := range cases {
		if name != short && !offers.Has("matrix") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p.firstBoot(t, c)
		})
	}
}

func (p program) firstBoot(t *testing.T, c firstBoot) {
	dir := p.workDir(t)
	key, line := newKey(t)
	public := filepath.Join(dir, "key.pub")
	write(t, public, line)
	args := slices.Concat(small, []string{"--image=test.img", "--hostname=cherry", "--root-password=pw", patience, "--ssh-key=" + public}, c.args)
	if c.cloud {
		args = append(args, "--cloud-init="+p.writeSeed(t, c.user, line))
	} else {
		args = append(args, "--ssh-key="+c.user+":"+public)
	}
	p.mustBuild(t, dir, args...)
	image := filepath.Join(dir, "test.img")
	if err := os.Truncate(image, 4<<30); err != nil {
		t.Fatal(err)
	}
	console := keepConsole(t, dir)
	defer func() {
		if t.Failed() {
			t.Logf("the console's last lines:\n%s", lastLines(console.Name()))
		}
	}()
	m := machine.Machine{
		Image: image, Firmware: c.firmware, Log: console, CacheDir: p.cache, NoReboot: true,
		Forward: []machine.Forward{{Host: freePort(t), Guest: 22}},
	}
	starts := 1
	if offers.Has("matrix") {
		starts = 2
	}
	for range starts {
		g := startAndCheck(t, m)
		g.checkFirstBoot(t, c, m.Forward[0].Host, key)
		g.powerOff(t)
	}
	checkSecondTable(t, image)
}

// checkSecondTable looks for the second copy of a gpt at the end of the disk, where it belongs (UEFI specification, 5.3.1).
func checkSecondTable(t *testing.T, image string) {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size, signature = 4 << 30, "EFI PART"
	for _, at := range []int64{512, size - 512} {
		got := make([]byte, len(signature))
		if _, err := f.ReadAt(got, at); err != nil {
			t.Fatal(err)
		}
		if at == 512 && string(got) != signature {
			return // an msdos table
		}
		if string(got) != signature {
			t.Errorf("the last sector begins with %q, not with the second copy of the partition table's header", got)
		}
	}
}

// checkFirstBoot looks at what a machine made of itself when it started.
func (g guest) checkFirstBoot(t *testing.T, c firstBoot, port int, key ssh.Signer) {
	t.Helper()
	size := g.must(t, time.Minute, "df --output=size --block-size=1M / | tail -n 1")
	if mb, err := strconv.Atoi(strings.TrimSpace(size)); err != nil || mb < 3700 {
		t.Errorf("/ has %s MiB of a disk of 4096 (%v)", size, err)
	}
	if got := g.must(t, time.Minute, "systemctl is-active getty@tty1"); got != "active" {
		t.Errorf("the screen's login is %s", got)
	}
	if c.cloud {
		if got := g.must(t, 5*time.Minute, "cloud-init status --wait"); !strings.Contains(got, "status: done") {
			t.Errorf("cloud-init: %s", got)
		}
	}
	stranger, _ := newKey(t)
	for _, user := range []string{"root", c.user} {
		if got, err := overSSH(port, user, key, "id -un"); err != nil || got != user+"\n" {
			t.Errorf("%s by SSH: %q, %v", user, got, err)
		}
		if got, err := overSSH(port, user, stranger, "id -un"); err == nil {
			t.Errorf("%s logs in by a key that is not in the image: %q", user, got)
		}
	}
}

// newKey makes a pair of keys; the public one is a line of authorized_keys.
func newKey(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

// writeSeed makes a directory for --cloud-init with a user who has a key.
func (p program) writeSeed(t *testing.T, user, key string) string {
	t.Helper()
	dir := p.workDir(t)
	write(t, filepath.Join(dir, "meta-data"), "instance-id: one\nlocal-hostname: cherry\n")
	write(t, filepath.Join(dir, "user-data"), "#cloud-config\nusers:\n- name: "+user+"\n  ssh_authorized_keys: ["+key+"]\n")
	return dir
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// freePort is a TCP port of this host that nobody uses.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// overSSH runs a command in a machine, whose own key nobody can know before it has started.
func overSSH(port int, user string, key ssh.Signer, command string) (string, error) {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return "", err
	}
	c, channels, requests, err := ssh.NewClientConn(conn, address, &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		return "", fmt.Errorf("log in: %w", err)
	}
	client := ssh.NewClient(c, channels, requests)
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return "", fmt.Errorf("open a session: %w", err)
	}
	defer session.Close()
	output, err := session.CombinedOutput(command)
	return string(output), err
}
