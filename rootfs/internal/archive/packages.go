package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"vmbuild/rootfs/internal/deb"
)

// suffixes of compressed indexes, the one that is fetched first if a suite has several.
var suffixes = []string{".xz", ".zst", ".gz", ".bz2"}

// Packages returns the Packages index of a component ("" in a flat archive) for the source's architecture,
// uncompressed, for control.ParseIndex. It stays in the cache uncompressed, under the SHA256 that the Release file has
// for it, so that it is fetched and decompressed once. Where packages of architecture "all" have an index of their own,
// that is appended.
func (c *Client) Packages(ctx context.Context, r *Release, component string) ([]byte, error) {
	name := r.indexName(component, r.Source.Arch)
	if !r.hasIndex(name) {
		return nil, fmt.Errorf("%s has no %s for architecture %q (it has %s)", r.Source,
			strings.TrimSpace(component+" packages"), r.Source.Arch, strings.Join(r.Architectures, " "))
	}
	data, err := c.index(ctx, r, name)
	if err != nil {
		return nil, err
	}
	all := r.indexName(component, "all")
	if !r.separateAll || all == name || !r.hasIndex(all) {
		return data, nil
	}
	more, err := c.index(ctx, r, all)
	if err != nil {
		return nil, err
	}
	return slices.Concat(data, []byte("\n"), more), nil
}

// indexName is the path of an index below the Release file.
func (r *Release) indexName(component, arch string) string {
	if r.Source.flat() {
		return "Packages"
	}
	return path.Join(component, "binary-"+arch, "Packages")
}

func (r *Release) hasIndex(name string) bool {
	if _, plain := r.Files[name]; plain {
		return true
	}
	_, packed := r.packed(name)
	return packed
}

// packed returns the compressed index that is to be preferred.
func (r *Release) packed(name string) (File, bool) {
	for _, suffix := range suffixes {
		if f, ok := r.Files[name+suffix]; ok {
			return f, true
		}
	}
	return File{}, false
}

// index returns an index that the Release file lists in one form or another.
func (c *Client) index(ctx context.Context, r *Release, name string) ([]byte, error) {
	plain, isPlain := r.Files[name]
	packed, isPacked := r.packed(name)
	switch {
	case isPlain && plain.Size == 0:
		return nil, nil
	case !isPacked:
		return c.plainIndex(ctx, r, plain)
	case !isPlain: // apt demands it, but old tools to make archives leave it out
		var data bytes.Buffer
		err := c.unpackIndex(ctx, r, packed, &data)
		return data.Bytes(), err
	}
	file, err := c.Cache.Object(ctx, plain.SHA256, plain.Size, func(ctx context.Context, w io.Writer, offset int64) error {
		return c.unpackIndex(ctx, r, packed, &skipper{w, offset})
	})
	if err != nil {
		return nil, plain.refuse(err)
	}
	return c.readIndex(file, plain)
}

// readIndex reads an index from the cache. It is hashed once more: a power cut may have spoilt what was right before.
func (c *Client) readIndex(file string, f File) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != f.SHA256 {
		err := errors.New("is damaged in the cache; it is removed, so that the next run fetches it again")
		return nil, errors.Join(f.refuse(err), c.Cache.RemoveObject(f.SHA256))
	}
	return data, nil
}

func (c *Client) plainIndex(ctx context.Context, r *Release, f File) ([]byte, error) {
	file, err := c.object(ctx, f, newMeter(c.Progress, f), r.byHash(f)...)
	if err != nil {
		return nil, err
	}
	return c.readIndex(file, f)
}

// unpackIndex fetches a compressed index and writes to w what is in it. The compressed file is not kept.
func (c *Client) unpackIndex(ctx context.Context, r *Release, f File, w io.Writer) error {
	packed, err := c.object(ctx, f, newMeter(c.Progress, f), r.byHash(f)...)
	if err != nil {
		return err
	}
	return errors.Join(decompress(packed, f, w), c.Cache.RemoveObject(f.SHA256))
}

func decompress(file string, f File, w io.Writer) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := deb.Decompress(f.Path, in, f.Size)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(w, out); err != nil {
		return fmt.Errorf("decompress %q of %s: %w", f.Path, redact(f.Archive), err)
	}
	return nil
}

// byHash returns the path of an index that keeps its content while the archive is being updated.
func (r *Release) byHash(f File) []string {
	if !r.AcquireByHash {
		return nil
	}
	return []string{path.Join(path.Dir(f.Path), "by-hash", "SHA256", f.SHA256)}
}

// skipper leaves out the first bytes of what is written to it.
type skipper struct {
	w    io.Writer
	skip int64
}

func (s *skipper) Write(p []byte) (int, error) {
	skipped := min(s.skip, int64(len(p)))
	s.skip -= skipped
	n, err := s.w.Write(p[skipped:])
	return int(skipped) + n, err
}
