package cli

import (
	"context"
	"fmt"
	"slices"

	"vmbuild/image"
	"vmbuild/image/live"
)

// liveCmd is the command line of vmbuild live.
type liveCmd struct {
	Dir      string `arg:"" help:"Directory as --squash and vmbuild squash make it." placeholder:"DIR" type:"path"`
	Out      string `arg:"" help:"Image for discs and USB sticks." placeholder:"OUT" type:"path"`
	Arch     string `help:"Debian architecture of the system: ${enum}." enum:"${lives}" default:"${livearch}" placeholder:"ARCH"`
	VolumeID string `name:"volume-id" help:"Label of the volume." default:"${volume}" placeholder:"LABEL"`
	Append   string `help:"Start the kernel with these arguments too." placeholder:"ARGUMENTS"`
	toolsFlags
	timingOptions
	environment
}

// Run is called by kong.
func (c *liveCmd) Run(ctx context.Context, s Streams) error {
	return c.run(ctx, s.Err, func(ctx context.Context) error { return c.make(ctx, s) })
}

func (c *liveCmd) make(ctx context.Context, s Streams) error {
	epoch, err := sourceDateEpoch()
	if err != nil {
		return err
	}
	display := newDisplay(s.Err, false)
	err = live.Write(ctx, live.WriteOptions{
		Dir: c.Dir, Out: c.Out, Arch: c.Arch, Volume: c.VolumeID, Append: c.Append, Epoch: epoch, Tools: c.toolsFlags.options(),
	}, image.Host{Cache: c.cacheDir(), Temp: c.tempDir(), Event: display.show})
	display.close()
	if err != nil {
		return err
	}
	fmt.Fprintln(s.Out, c.Out)
	fmt.Fprintf(s.Err, "start it with: %s run %s\n", shellQuote(s.program), shellQuote(c.Out))
	return nil
}

// liveArch is the host's architecture, if live media can be made for it, else the commonest.
func liveArch() string {
	if host := hostArch(); slices.Contains(live.Architectures(), host) {
		return host
	}
	return live.Architectures()[0]
}
