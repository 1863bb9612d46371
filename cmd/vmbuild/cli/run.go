package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"vmbuild/image"
	"vmbuild/image/machine"
)

// runCmd is the command line of vmbuild run.
type runCmd struct {
	Image           string        `arg:"" help:"Disk image, raw or qcow2." placeholder:"IMAGE" type:"path"`
	Arch            string        `help:"Debian architecture of the image: ${enum}; auto is the board's, or this host's." enum:"auto,${machines}" default:"auto" placeholder:"ARCH"`
	Board           string        `help:"Board that the image is for, started by its own boot ROM: ${machineboards}." placeholder:"NAME"`
	Firmware        string        `help:"What starts the image: ${enum}; auto looks at the image; kernel reads kernel and initrd out of it." enum:"auto,${firmwares}" default:"auto"`
	FirmwareDir     string        `help:"Start by the UEFI firmware in DIR: OVMF_CODE_4M.fd and OVMF_VARS_4M.fd, OVMF.fd, AAVMF_CODE.fd and AAVMF_VARS.fd, QEMU_EFI.fd, ..." placeholder:"DIR" type:"path"`
	Accel           string        `help:"Run the machine by KVM or by translation: ${enum}; auto tries KVM." enum:"auto,kvm,tcg" default:"auto"`
	Memory          int           `help:"Memory in MiB; by default 1024, or what the board has." placeholder:"MIB"`
	Cpus            int           `help:"Processors; by default 1, or what the board has." placeholder:"N"`
	Snapshot        bool          `help:"Forget what the machine writes; with --expect always so." negatable:""`
	Forward         []string      `help:"Connect this host's port on the loopback address to one of the machine's (may be given more than once)." placeholder:"HOST:MACHINE" sep:"none"`
	Expect          string        `help:"End as soon as the console prints what this regular expression matches; the exit status says whether it did." placeholder:"REGEXP"`
	Timeout         time.Duration `help:"End after this time." placeholder:"5m"`
	Mirror          string        `help:"Where QEMU comes from when this host has none." placeholder:"URL"`
	CheckValidUntil bool          `help:"Refuse an archive that is past its Valid-Until date." default:"true" negatable:""`
	environment
}

// Help is called by kong.
func (*runCmd) Help() string {
	return "By a link named qemu-wrapper, the arguments are IMAGE ARCH [UEFI_DIR]: --arch and --firmware-dir."
}

// Run is called by kong.
func (c *runCmd) Run(ctx context.Context, s Streams) error {
	forward, err := parseForward(c.Forward)
	if err != nil {
		return usageError{err}
	}
	if c.FirmwareDir != "" && c.Firmware == string(machine.BIOS) {
		return usageError{errors.New("--firmware-dir has UEFI firmware, which --firmware=bios does not start")}
	}
	if boards := machine.Boards(); c.Board != "" && !slices.Contains(boards, c.Board) {
		return usageError{fmt.Errorf("--board=%s: QEMU has machines that are boards %s", c.Board, strings.Join(boards, ", "))}
	}
	arch := c.Arch
	if arch == "auto" {
		arch = ""
	}
	if _, err := regexp.Compile(c.Expect); err != nil {
		return usageError{fmt.Errorf("--expect: %w", err)}
	}
	if c.Expect == "" {
		fmt.Fprintf(s.Err, "vmbuild: %s\n", machine.Keys)
	}
	display := newDisplay(s.Err, false)
	defer display.close()
	return image.Run(ctx, image.RunOptions{
		Image: c.Image, Arch: arch, Board: c.Board, Firmware: machine.Firmware(c.Firmware), Accel: machine.Accel(c.Accel),
		FirmwareDir: c.FirmwareDir, MemoryMiB: c.Memory, CPUs: c.Cpus, Snapshot: c.Snapshot || c.Expect != "", Forward: forward,
		Expect: c.Expect, Timeout: c.Timeout, Mirror: c.Mirror, IgnoreValidUntil: !c.CheckValidUntil,
	}, s.In, s.Out, image.Host{Cache: c.cacheDir(), Temp: c.tempDir(), Event: display.show})
}

// parseForward reads pairs of TCP ports.
func parseForward(list []string) ([]machine.Forward, error) {
	var forward []machine.Forward
	for _, text := range list {
		host, guest, _ := strings.Cut(text, ":")
		h, hostErr := strconv.ParseUint(host, 10, 16)
		g, guestErr := strconv.ParseUint(guest, 10, 16)
		if hostErr != nil || guestErr != nil || h == 0 || g == 0 {
			return nil, fmt.Errorf("--forward=%s is not two ports, HOST:MACHINE", text)
		}
		forward = append(forward, machine.Forward{Host: int(h), Guest: int(g)})
	}
	return forward, nil
}
