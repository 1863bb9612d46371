package output

import (
	"context"
	"crypto/sha1"
	"fmt"
	"slices"
	"strconv"

	"vmbuild/partition/filesystem"
)

// writeExt gives the function that makes an ext filesystem that the tree fills to nine tenths.
func writeExt(kind string) func(context.Context, Job) error {
	return func(ctx context.Context, j Job) error {
		row, err := filesystem.Lookup(kind)
		if err != nil {
			return err
		}
		size, err := filesystem.FitExt(j.Tree)
		if err != nil {
			return err
		}
		if err := j.Out.Truncate(size); err != nil {
			return err
		}
		return row.Make(ctx, filesystem.Job{
			Disk: j.Out, Size: size, UUID: epochUUID(j.Epoch.Unix()), Tree: j.Tree, Dir: "/", Epoch: j.Epoch,
			Temp: j.Temp, Toolbox: j.Toolbox,
		})
	}
}

// epochUUID gives the identifier that mmdebstrap gives a filesystem of that SOURCE_DATE_EPOCH.
func epochUUID(epoch int64) string {
	dns := [16]byte{ // the name space of domain names, RFC 9562 6.6
		0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8,
	}
	u := uuid5(uuid5(dns, "mister-muffin.de"), strconv.FormatInt(epoch, 10))
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// uuid5 gives the UUID of a name, of version 5 (RFC 9562 5.5).
func uuid5(space [16]byte, name string) [16]byte {
	sum := sha1.Sum(slices.Concat(space[:], []byte(name)))
	u := [16]byte(sum[:16])
	u[6] = u[6]&0x0f | 0x50
	u[8] = u[8]&0x3f | 0x80
	return u
}
