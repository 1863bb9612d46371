package layer

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"vmbuild/rootfs/tree"
)

// fingerprint is a hash of what lstat(2) says of all that is in a layer's tree: names, kinds, modes, sizes, times of change, where
// links lead. It is computed each time the layer is used, which reads no file. So whoever has changed, cut off or removed a file there,
// or restored the cache from a copy that has lost some, gets a new layer and not a broken image. Bytes that changed without a trace
// are beyond it: to read them all would take as long as to unpack them.
func fingerprint(ctx context.Context, dir string) (string, error) {
	var mu sync.Mutex
	sums := map[string][sha256.Size]byte{} // of directories
	err := tree.Directories(ctx, dir, func(of *os.File, entries []fs.DirEntry) error {
		var text bytes.Buffer
		if err := describe(&text, of, ""); err != nil {
			return err
		}
		for _, e := range entries {
			if e.IsDir() {
				continue // it describes itself
			}
			if err := describe(&text, of, e.Name()); err != nil {
				return err
			}
		}
		mu.Lock()
		defer mu.Unlock()
		sums[of.Name()[len(dir):]] = sha256.Sum256(text.Bytes())
		return nil
	})
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(h, "%q %x\n", name, sums[name])
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// describe writes what there is to know of a name in a directory, or of the directory.
func describe(to *bytes.Buffer, dir *os.File, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), cmp.Or(name, "."), &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "lstat", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	target := ""
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		var err error
		if target, err = os.Readlink(filepath.Join(dir.Name(), name)); err != nil {
			return err
		}
	case unix.S_IFDIR:
		st.Size = 0 // of no meaning, and other where it is copied to
	}
	fmt.Fprintf(to, "%q %o %d %d.%d %d %q\n", name, st.Mode, st.Size, st.Mtim.Sec, st.Mtim.Nsec, st.Rdev, target)
	return nil
}
