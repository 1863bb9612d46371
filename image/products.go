package image

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"vmbuild/image/output"
	"vmbuild/image/qcow2"
)

// Product is one thing that a build makes.
type Product struct {
	Option      string `json:"option"` // that asks for it, for messages
	Path        string `json:"path"`
	Format      string `json:"format"`                // a row of package output
	Compression string `json:"compression,omitempty"` // of the format tar, a row of package output; of qcow2, of its clusters
}

// Forms of an image that vmdebootstrap's options mean.
const (
	rawDisk   = "raw"
	qcow2Disk = "qcow2"
	liveTree  = "live"
	tarTree   = "tar"
	plainTree = "directory"
)

// products lists what the options ask for. The words of the refusals are those that users of vmdebootstrap know.
func (o Options) products(refuse func(string, ...any)) []Product {
	o.checkProducts(refuse)
	var list []Product
	add := func(option, path, format string) {
		if path != "" {
			list = append(list, Product{Option: option, Path: path, Format: format})
		}
	}
	for i, path := range o.images() {
		option := "--output-image"
		if i == 0 && o.Image != "" {
			option = "--image"
		}
		formats, err := o.formatsOf(i, option, path)
		if err != nil {
			refuse("%s=%s: %v", option, path, err)
			continue
		}
		for _, f := range formats {
			add(option, o.nameFor(path, f), f.Name)
		}
	}
	add("--tarball", o.Tarball, tarTree)
	add("--squash", o.Squash, liveTree)
	add("--directory", o.Directory, plainTree)
	o.checkPaths(list, refuse)
	for i := range list {
		list[i].Compression = o.compressionOf(list[i])
	}
	return list
}

func (o Options) checkProducts(refuse func(string, ...any)) {
	switch {
	case o.Image != "" && o.Squash != "":
		refuse("--image and --squash: give one of them (--output-image can name further outputs)")
	case o.Squash != "" && o.Tarball != "":
		refuse("--squash and --tarball: not both (--output-image can name further outputs)")
	case o.Image != "" && o.Tarball != "":
		refuse("--image and --tarball: not both (--output-image can name further outputs)")
	case o.Image+o.Tarball+o.Squash+o.Directory == "" && len(o.OutputImages) == 0:
		refuse("no output: give a disk image filename with --image, or --tarball, --squash, --directory or --output-image")
	}
	if o.ConvertQcow2 && o.Image == "" {
		refuse("--convert-qcow2: qcow2 can only be made with --image")
	}
	if o.ConvertQcow2 && len(o.Formats) > 0 {
		refuse("--convert-qcow2 and --format: not both (--format=qcow2 says the same)")
	}
	for _, name := range o.Formats {
		if _, err := output.Lookup(name); err != nil {
			refuse("--format: %v", err)
		}
	}
	if n, m := len(o.Formats), len(o.images()); n > 1 && m > 1 && n != m {
		refuse("--format is given %d times for %d images: name one form for all, or one for each", n, m)
	}
	if _, err := qcow2.LookupCompression(o.Qcow2Compression); err != nil {
		refuse("--qcow2-compression: %v", err)
	}
	if len(o.Formats) > 0 && len(o.images()) == 0 {
		refuse("--format says how --image or --output-image is written: give one of them")
	}
}

// images are the paths that --format is about.
func (o Options) images() []string {
	if o.Image == "" {
		return o.OutputImages
	}
	return append([]string{o.Image}, o.OutputImages...)
}

// formatsOf says in which formats the image of that index is written: as --format says, once for all or in the same order,
// or several times for the only one; else as its name says.
func (o Options) formatsOf(index int, option, path string) ([]output.Format, error) {
	names := o.Formats
	switch {
	case option == "--image" && o.ConvertQcow2:
		names = []string{qcow2Disk}
	case len(names) == 0 && option == "--image":
		names = []string{rawDisk}
	case len(names) == 0:
		f, err := formatByName(path)
		return []output.Format{f}, err
	case len(names) > 1 && len(names) == len(o.images()):
		names = names[index : index+1]
	}
	var list []output.Format
	for _, name := range names {
		f, err := output.Lookup(name)
		if err != nil {
			return nil, nil // checkProducts has said so
		}
		list = append(list, f)
	}
	return list, nil
}

// formatByName is what a path's name says that it is: a suffix of a format's, or the slash of a directory.
func formatByName(path string) (output.Format, error) {
	if strings.HasSuffix(path, "/") {
		return output.Lookup(plainTree)
	}
	var known []string
	for _, f := range output.Formats() {
		if slices.ContainsFunc(f.Suffixes, func(s string) bool { return strings.HasSuffix(path, s) }) {
			return f, nil
		}
		known = append(known, f.Suffixes...)
	}
	if f, _, err := output.Choose("", path, output.Facts{}); err == nil && f.Name == tarTree {
		return f, nil
	}
	return output.Format{}, fmt.Errorf("its name does not say what it is (%s, DIRECTORY/): name it by --format", strings.Join(known, ", "))
}

// nameFor is the path of one of several formats of the only image: FILE.img in qcow2 is FILE.qcow2.
func (o Options) nameFor(path string, f output.Format) string {
	if len(o.Formats) < 2 || len(o.images()) > 1 || len(f.Suffixes) == 0 {
		return path
	}
	for _, other := range output.Formats() {
		for _, suffix := range other.Suffixes {
			if stem, ok := strings.CutSuffix(path, suffix); ok {
				if other.Name == f.Name {
					return path
				}
				return stem + f.Suffixes[0]
			}
		}
	}
	return path + f.Suffixes[0]
}

func (o Options) checkPaths(list []Product, refuse func(string, ...any)) {
	seen := map[string]string{}
	for _, p := range list {
		path := filepath.Clean(p.Path)
		if other, taken := seen[path]; taken {
			refuse("%s=%s: %s is to be written there already", p.Option, p.Path, other)
		}
		seen[path] = p.Format
	}
}

func (o Options) compressionOf(p Product) string {
	switch p.Format {
	case tarTree:
		if _, c, err := output.Choose(tarTree, p.Path, output.Facts{}); err == nil {
			return c.Name
		}
	case qcow2Disk:
		return o.Qcow2Compression
	}
	return ""
}

// hasDisk says whether one of the products is an image of a disk.
func hasDisk(list []Product) bool {
	return slices.ContainsFunc(list, func(p Product) bool {
		f, err := output.Lookup(p.Format)
		return err == nil && f.Disk
	})
}

// form finds the rows that write the product.
func (p Product) form() (output.Format, output.Compression, error) {
	format, err := output.Lookup(p.Format)
	if err != nil || p.Format != tarTree {
		return format, output.Compression{}, err
	}
	compression, err := output.LookupCompression(p.Compression)
	return format, compression, err
}

// clusters is how the clusters of a qcow2 are compressed.
func (p Product) clusters() string {
	if p.Format == qcow2Disk {
		return p.Compression
	}
	return ""
}
