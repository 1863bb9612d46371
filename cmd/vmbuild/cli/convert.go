package cli

import (
	"context"

	"vmbuild/image"
	"vmbuild/image/output"
)

// convertCmd is the command line of vmbuild convert.
type convertCmd struct {
	In          string `arg:"" help:"Disk image, raw or qcow2." placeholder:"IN" type:"path"`
	Out         string `arg:"" help:"Disk image to write." placeholder:"OUT" type:"path"`
	Format      string `help:"What OUT is: ${disks} (default: as its name says)." placeholder:"NAME"`
	Compression string `help:"Compress a qcow2 image: ${enum}." enum:"${clusters}" default:"none" placeholder:"NAME"`
	timingOptions
}

// Run is called by kong.
func (c *convertCmd) Run(ctx context.Context, s Streams) error {
	return c.run(ctx, s.Err, func(ctx context.Context) error {
		display := newDisplay(s.Err, false)
		defer display.close()
		return image.Convert(ctx, image.ConvertOptions{
			In: c.In, Out: c.Out, Format: c.Format, Compression: c.Compression, Event: display.show,
		})
	})
}

func diskFormats() []string {
	var names []string
	for _, f := range output.Disks() {
		names = append(names, f.Name)
	}
	return names
}
