package cli

import (
	"context"
	"fmt"

	"vmbuild/image"
	"vmbuild/image/live"
)

// squashCmd is the command line of vmbuild squash.
type squashCmd struct {
	Source string `arg:"" help:"Root filesystem: a tarball (gzip, bzip2, xz, zstd, lz4 or plain), or a directory." placeholder:"SOURCE" type:"path"`
	Dir    string `arg:"" help:"Directory that gets filesystem.squashfs, kernel and initramfs, and what starts them by UEFI." placeholder:"DIR" type:"path"`
	toolsFlags
	timingOptions
	environment
}

// toolsFlags say where the programs come from that a command needs.
type toolsFlags struct {
	Mirror          string `help:"Take the programs for the work from URL (default: this host's own apt source for Debian, else ftp.debian.org)." placeholder:"URL" group:"Program"`
	CheckValidUntil bool   `help:"Refuse an archive that is past its Valid-Until date." default:"true" negatable:"" group:"Program"`
	Offline         bool   `help:"Take everything from the cache." group:"Program"`
}

func (f toolsFlags) options() live.Tools {
	return live.Tools{Mirror: f.Mirror, IgnoreValidUntil: !f.CheckValidUntil, Offline: f.Offline}
}

// Run is called by kong.
func (c *squashCmd) Run(ctx context.Context, s Streams) error {
	return c.run(ctx, s.Err, func(ctx context.Context) error { return c.make(ctx, s) })
}

func (c *squashCmd) make(ctx context.Context, s Streams) error {
	epoch, err := sourceDateEpoch()
	if err != nil {
		return err
	}
	display := newDisplay(s.Err, false)
	err = live.Squash(ctx, live.SquashOptions{Source: c.Source, Dir: c.Dir, Epoch: epoch, Tools: c.toolsFlags.options()},
		image.Host{Cache: c.cacheDir(), Temp: c.tempDir(), Event: display.show})
	display.close()
	if err != nil {
		return err
	}
	fmt.Fprintln(s.Out, c.Dir)
	return nil
}
