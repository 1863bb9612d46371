package rootfs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vmbuild/rootfs/internal/dpkg"
	"vmbuild/rootfs/tree"
)

// AptArchives is the directory of a tree where apt has package files.
const AptArchives = "var/cache/apt/archives"

// Download puts the Lock's package files into a directory, under the names that apt gives them there. A file of that name
// is replaced.
func (b *Builder) Download(ctx context.Context, l *Lock, dir string) error {
	files, err := b.packageFiles(ctx, l)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.copyTo(filepath.Join(dir, f.name), l.clamp()); err != nil {
			return fmt.Errorf("keep package %s: %w", f.Name, err)
		}
	}
	return nil
}

// PackageTree makes in a directory, which has AptArchives already, a tree of nothing but the Lock's package files.
func (b *Builder) PackageTree(ctx context.Context, l *Lock, dir string) (*Stack, error) {
	if err := b.Download(ctx, l, filepath.Join(dir, AptArchives)); err != nil {
		return nil, err
	}
	return &Stack{Dir: dir, upper: dir, epoch: l.clamp(), skip: l.Skip}, nil
}

// packageFile is a package of a Lock with its file in the cache.
type packageFile struct {
	Package
	name string // as apt has it
	path string
}

// packageFiles fetches the Lock's packages. What was in the cache already is looked at again: it goes to somebody who
// cannot tell whether it is still what it was.
func (b *Builder) packageFiles(ctx context.Context, l *Lock) ([]packageFile, error) {
	supply := b.supply(ctx, l, l.Packages)
	defer supply.Close()
	if err := supply.wait(ctx); err != nil {
		return nil, err
	}
	var files []packageFile
	for _, p := range l.Packages {
		d := supply.deb(p)
		if err := verified(ctx, d); err != nil {
			return nil, fmt.Errorf("read package %s: %w", p.Name, err)
		}
		files = append(files, packageFile{p, aptName(p), d.Path})
	}
	return files, nil
}

// verified makes sure of the bytes of a file of the cache, which it may have to be fetched for again.
func verified(ctx context.Context, d dpkg.Deb) error {
	sum, err := hashFile(d.Path)
	if err != nil || sum == d.SHA256 {
		return err
	}
	return d.Refetch(ctx) // checks what it brings
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	return hex.EncodeToString(sum.Sum(nil)), err
}

// copyTo makes the file at a path, which has no part of it before it has all.
func (f packageFile) copyTo(path string, at time.Time) (err error) {
	from, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.CreateTemp(filepath.Dir(path), ".vmbuild-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(to.Name()))
		}
	}()
	err = errors.Join(tree.CopyBytes(from, to), to.Chmod(0o644), to.Close())
	if err == nil {
		err = os.Chtimes(to.Name(), at, at)
	}
	if err == nil {
		err = os.Rename(to.Name(), path)
	}
	return err
}

// aptName is what apt calls a package's file in its cache: NAME_VERSION_ARCH.deb, where %XX stands for what a part may not
// have (StoreFilename of apt-pkg's acquire-item.cc, QuoteString of strutl.cc).
func aptName(p Package) string {
	return quoteName(p.Name, "_:") + "_" + quoteName(p.Version, "_:") + "_" + quoteName(p.Arch, "_:.") + ".deb"
}

func quoteName(s, bad string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '%' || strings.IndexByte(bad, c) >= 0 {
			fmt.Fprintf(&b, "%%%02x", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
