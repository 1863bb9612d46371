package output

import (
	"context"
	"os"

	"vmbuild/image/qcow2"
)

// writeQcow2 writes the disk as QEMU's own format, its clusters compressed as the options say.
func writeQcow2(ctx context.Context, out *os.File, d qcow2.Disk, o qcow2.Options) error {
	return qcow2.Write(ctx, out, d, o)
}
