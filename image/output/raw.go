package output

import (
	"context"
	"os"

	"vmbuild/image/qcow2"
)

// writeRaw copies the disk, unless it was made in its place.
func writeRaw(ctx context.Context, out *os.File, d qcow2.Disk, o qcow2.Options) error {
	return qcow2.WriteRaw(ctx, out, d, o.Progress)
}
