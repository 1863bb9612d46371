package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"vmbuild/rootfs/internal/deb"
	"vmbuild/rootfs/span"
)

// suffixes of compressed indexes, the one that is fetched first if a suite has several.
var suffixes = []string{".xz", ".zst", ".gz", ".bz2", ".lzma"}

// Packages returns the Packages index of a component ("" in a flat archive) for the source's architecture,
// uncompressed, for control.ParseIndex. It stays in the cache uncompressed, under the SHA256 that the Release file has
// for it, so that it is fetched and decompressed once. Where packages of architecture "all" have an index of their own,
// that is appended.
func (c *Client) Packages(ctx context.Context, r *Release, component string) ([]byte, error) {
	data, err := c.PackagesOf(ctx, r, component, r.Source.Arch)
	if err != nil {
		return nil, err
	}
	all := r.indexName(component, "all")
	if !r.separateAll || all == r.indexName(component, r.Source.Arch) || !r.hasIndex(all) {
		return data, nil
	}
	more, err := c.PackagesOf(ctx, r, component, "all")
	if err != nil {
		return nil, err
	}
	return slices.Concat(data, []byte("\n"), more), nil
}

// PackagesOf returns the index for one architecture, which need not be the source's, and nothing beside it: what else
// is to be read for a system of several architectures. In a flat archive, the one index has the packages of all.
func (c *Client) PackagesOf(ctx context.Context, r *Release, component, arch string) ([]byte, error) {
	name := r.indexName(component, arch)
	if !r.hasIndex(name) {
		return nil, fmt.Errorf("%s has no %s for architecture %q (it has %s)", r.Source,
			strings.TrimSpace(component+" packages"), arch, strings.Join(r.Architectures, " "))
	}
	data, err := c.index(ctx, r, name)
	if errors.As(err, new(*OfflineError)) {
		err = &OfflineError{[]string{name + " of " + r.Source.String()}}
	}
	return data, err
}

// indexName is the path of an index below the Release file.
func (r *Release) indexName(component, arch string) string {
	if r.Source.flat() {
		return "Packages"
	}
	return path.Join(component, "binary-"+arch, "Packages")
}

func (r *Release) hasIndex(name string) bool {
	_, plain := r.Files[name]
	return plain || len(r.packed(name)) > 0
}

// packed returns the compressed forms of an index, the one that is to be preferred first.
func (r *Release) packed(name string) []File {
	var forms []File
	for _, suffix := range suffixes {
		if f, ok := r.Files[name+suffix]; ok {
			forms = append(forms, f)
		}
	}
	return forms
}

// index returns an index that the Release file lists in one form or another. Old archives list forms that they do not
// have any more: then it is the next one.
func (c *Client) index(ctx context.Context, r *Release, name string) ([]byte, error) {
	plain, isPlain := r.Files[name]
	if isPlain && plain.Size == 0 {
		return nil, nil
	}
	err := fs.ErrNotExist
	for _, packed := range r.packed(name) {
		var data []byte
		if isPlain {
			data, err = c.unpackedIndex(ctx, r, packed, plain)
		} else {
			data, err = c.packedIndex(ctx, r, packed)
		}
		if !isAbsent(err) {
			return data, err
		}
	}
	if isPlain {
		return c.readObject(ctx, plain, func() (string, error) { return c.indexFile(ctx, r, plain) })
	}
	return nil, err
}

func (c *Client) indexFile(ctx context.Context, r *Release, f File) (string, error) {
	return c.object(ctx, f, newMeter(c.Progress, f), r.byHash(f)...)
}

// unpackedIndex returns an index that the cache keeps as it is when it is decompressed. The compressed file is not kept.
func (c *Client) unpackedIndex(ctx context.Context, r *Release, packed, plain File) ([]byte, error) {
	return c.readObject(ctx, plain, func() (string, error) {
		file, err := c.Cache.Object(ctx, plain.SHA256, plain.Size, func(ctx context.Context, w io.Writer, offset int64) error {
			file, err := c.indexFile(ctx, r, packed)
			if err != nil {
				return err
			}
			err = span.Do(ctx, span.Step, "decompress "+r.Source.Suite+" "+packed.Path, func(context.Context) error {
				return decompress(file, packed, &skipper{w, offset})
			})
			return errors.Join(err, c.Cache.RemoveObject(packed.SHA256))
		})
		return file, plain.refuse(err)
	})
}

// packedIndex returns an index of which the Release file knows the compressed form only. apt demands the other one too,
// but old tools to make archives leave it out.
func (c *Client) packedIndex(ctx context.Context, r *Release, packed File) ([]byte, error) {
	data, err := c.readObject(ctx, packed, func() (string, error) { return c.indexFile(ctx, r, packed) })
	if err != nil {
		return nil, err
	}
	var plain bytes.Buffer
	err = unpack(bytes.NewReader(data), packed, &plain)
	return plain.Bytes(), err
}

// readObject returns the content of a file that get brings into the cache. It is hashed once more: a power cut may have
// spoilt what was right before. Then it is made anew.
func (c *Client) readObject(ctx context.Context, f File, get func() (string, error)) ([]byte, error) {
	for range 2 {
		file, err := get()
		if err != nil {
			return nil, err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) == f.SHA256 {
			return data, nil
		}
		if err := errors.Join(c.Cache.RemoveObject(f.SHA256), ctx.Err()); err != nil {
			return nil, err
		}
	}
	return nil, &VerificationError{f.Path, redact(f.Archive), "changes while it is in the cache: the disk is at fault"}
}

func decompress(file string, f File, w io.Writer) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	return unpack(in, f, w)
}

// unpack decompresses f, which in has, as its name says.
func unpack(in io.ReaderAt, f File, w io.Writer) error {
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
