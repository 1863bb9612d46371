package layer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// Kind is what sort of thing an Entry is.
type Kind string

// The kinds, in the order of List.
const (
	KindLayer    Kind = "layer"
	KindObject   Kind = "object"
	KindPartial  Kind = "partial" // the beginning of an object
	KindDocument Kind = "document"
)

// Entry is a thing in the cache.
type Entry struct {
	Kind  Kind      `json:"kind"`
	Name  string    `json:"name"`            // the key of a layer or document, the SHA256 of an object
	Size  int64     `json:"size"`            // bytes that it takes on the disk, as du(1) counts them
	Used  time.Time `json:"used"`            // when it was last asked for; of a partial, when it last grew
	About string    `json:"about,omitempty"` // what is in it: List leaves that to its caller
}

// Tree returns the directory of the layer with that key, which may have gone meanwhile.
func (c *Cache) Tree(key string) string { return treePath(c.path("layers", key)) }

// Layers returns the keys of the layers, whole or not, sorted.
func (c *Cache) Layers() []string {
	all, err := c.names(KindLayer)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(all, func(name string) bool { return !isSum(name) })
}

// List returns what is in the cache, by kind and name. Temporary directories are not in the list.
//
// As files of layers may belong to subordinate ids, it should run in the user namespace of the build.
func (c *Cache) List(ctx context.Context) ([]Entry, error) {
	var entries []Entry
	for _, kind := range []Kind{KindLayer, KindObject, KindPartial, KindDocument} {
		names, err := c.names(kind)
		if err != nil {
			return nil, fmt.Errorf("list cache: %w", err)
		}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return nil, fmt.Errorf("list cache: %w", err)
			}
			e, err := c.entry(kind, name)
			switch {
			case errors.Is(err, fs.ErrNotExist): // removed meanwhile, or not an entry
				continue
			case err != nil:
				return nil, fmt.Errorf("list cache: %w", err)
			}
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// names returns the names in the directories of a kind, sorted.
func (c *Cache) names(k Kind) ([]string, error) {
	switch k {
	case KindLayer:
		return names(c.path("layers"))
	case KindPartial:
		return names(c.path("partial"))
	case KindDocument:
		return names(c.path("documents"))
	}
	dirs, err := names(c.path("objects"))
	if err != nil {
		return nil, err
	}
	var all []string
	for _, dir := range dirs {
		sums, err := names(c.path("objects", dir))
		if err != nil {
			return nil, err
		}
		all = append(all, sums...)
	}
	return all, nil
}

func names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// entry looks at one thing. The error wraps fs.ErrNotExist if there is none of that name.
func (c *Cache) entry(kind Kind, name string) (Entry, error) {
	e := Entry{Kind: kind, Name: name}
	if kind != KindDocument && !isSum(name) {
		return e, fs.ErrNotExist
	}
	var err error
	if e.Used, err = c.lastUse(e); err != nil {
		return e, err
	}
	e.Size, err = usage(c.entryPath(e))
	return e, err
}

func (c *Cache) entryPath(e Entry) string {
	switch e.Kind {
	case KindLayer:
		return c.path("layers", e.Name)
	case KindObject:
		return c.ObjectPath(e.Name)
	case KindPartial:
		return c.path("partial", e.Name)
	default:
		return c.path("documents", e.Name)
	}
}

// lastUse says when an entry was last asked for.
func (c *Cache) lastUse(e Entry) (time.Time, error) {
	path := c.entryPath(e)
	if e.Kind == KindLayer {
		info, err := os.Lstat(markPath(path))
		if err == nil {
			return info.ModTime(), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return time.Time{}, err
		}
	}
	info, err := os.Lstat(path)
	if err != nil {
		return time.Time{}, err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && e.Kind == KindDocument {
		return time.Unix(stat.Atim.Unix()), nil
	}
	return info.ModTime(), nil
}

// usage returns the bytes on disk of a file, or of a directory and all below it, in which a file with several names
// counts once.
func usage(path string) (int64, error) {
	var size int64
	seen := map[uint64]bool{}
	err := filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok || stat.Nlink > 1 && !e.IsDir() && seen[stat.Ino] {
			return nil
		}
		seen[stat.Ino] = true
		size += stat.Blocks * 512 // st_blocks counts 512 bytes, whatever the file system's block (inode(7))
		return nil
	})
	return size, err
}

// byUse returns the entries with those first that were not used for the longest time.
func byUse(entries []Entry) []Entry {
	return slices.SortedStableFunc(slices.Values(entries), func(a, b Entry) int {
		return cmp.Or(a.Used.Compare(b.Used), cmp.Compare(a.Name, b.Name))
	})
}
