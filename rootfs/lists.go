package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"vmbuild/rootfs/internal/archive"
)

const listsDir = "var/lib/apt/lists"

// WriteLists gives the tree's apt the lists that apt-get update would fetch for a Spec, so that hooks install further
// packages at once. What was read before to resolve the Spec is in the cache. Finish removes the lists.
func (b *Builder) WriteLists(ctx context.Context, s Spec, root string) error {
	dir, err := openInside(root, listsDir)
	if err == nil && dir == nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write apt's lists: %w", err)
	}
	defer dir.Close()
	found, err := b.Quietly().indexes(ctx, s)
	if err != nil {
		return fmt.Errorf("write apt's lists: %w", err)
	}
	client := b.client(s.Apt, s.TLS)
	for i, r := range found.releases {
		if err := writeLists(ctx, dir, client, r, found.sources[i], s.architectures()); err != nil {
			return fmt.Errorf("write apt's lists: %w", err)
		}
	}
	return nil
}

func writeLists(ctx context.Context, dir *os.Root, c *archive.Client, r *archive.Release, src Source, arches []string) error {
	base := listName(src.releaseURL())
	kind := "Release"
	if strings.HasPrefix(string(r.Text), "-----BEGIN") {
		kind = "InRelease"
	}
	if err := dir.WriteFile(base+kind, r.Text, 0o644); err != nil {
		return err
	}
	return src.each(arches, func(component, arch string) error {
		data, err := c.PackagesOf(ctx, r, component, arch)
		if err != nil {
			return err
		}
		name := base + "Packages"
		if component != "" {
			name = base + listName(path.Join(component, "binary-"+arch, "Packages"))
		}
		return errors.Join(err, dir.WriteFile(name, data, 0o644))
	})
}

// listName is what apt calls the list of a URL: without its scheme and password, with _ for / (URItoFileName of apt-pkg's
// strutl.cc).
func listName(url string) string {
	if i := strings.Index(url, "://"); i >= 0 {
		url = url[i+len("://"):]
	} else if _, rest, ok := strings.Cut(url, ":"); ok {
		url = rest
	}
	if i := strings.IndexByte(url, '@'); i >= 0 && !strings.Contains(url[:i], "/") {
		url = url[i+1:]
	}
	var b strings.Builder
	for i := range len(url) {
		switch c := url[i]; {
		case c == '/':
			b.WriteByte('_')
		case c <= ' ' || c >= 0x7f || strings.IndexByte("\\|{}[]<>\"^~_=!@#$%&*", c) >= 0:
			fmt.Fprintf(&b, "%%%02x", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// releaseURL is the directory of a source's Release file, with a slash at its end.
func (s Source) releaseURL() string {
	base := strings.TrimRight(s.URI, "/") + "/"
	if strings.HasSuffix(s.Suite, "/") {
		return base + s.Suite
	}
	return base + path.Join("dists", s.Suite) + "/"
}
