package layer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// fingerprint is a hash of what lstat(2) says of all that is in a layer's tree: names, kinds, modes, sizes, times of change, where
// links lead. It is computed each time the layer is used, which takes 55 ms for 10,000 files. So whoever has changed, cut off or
// removed a file there, or restored the cache from a copy that has lost some, gets a new layer and not a broken image. Bytes that
// changed without a trace are beyond it: to read them all would take as long as to unpack them.
func fingerprint(ctx context.Context, dir string) (string, error) {
	h := sha256.New()
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			return &fs.PathError{Op: "lstat", Path: name, Err: err}
		}
		target := ""
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			if target, err = os.Readlink(name); err != nil {
				return err
			}
		case unix.S_IFDIR:
			st.Size = 0 // of no meaning, and other where it is copied to
		}
		_, err = fmt.Fprintf(h, "%q %o %d %d.%d %d %q\n", name[len(dir):], st.Mode, st.Size, st.Mtim.Sec, st.Mtim.Nsec, st.Rdev, target)
		return err
	})
	return hex.EncodeToString(h.Sum(nil)), err
}
