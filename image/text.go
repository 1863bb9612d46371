package image

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"
	"text/tabwriter"

	"vmbuild/rootfs/mirror"
	"vmbuild/rootfs/suite"
)

// Text is the plan as --dry-run prints it.
func (p *Plan) Text() string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, product := range p.Products {
		fmt.Fprintf(w, "Output:\t%s, %s\n", product.Path, strings.TrimSpace(product.Format+" "+product.Compression))
	}
	if p.Layout != nil {
		fmt.Fprintf(w, "Disk:\t%s, %s, %s\n", Size(p.Layout.Size), p.Layout.Table, p.Layout.DiskID)
	}
	fmt.Fprintf(w, "System:\tDebian %s, %s, host name %s\n", p.Rootfs.Suite, p.Rootfs.Arch, p.System.Hostname)
	fmt.Fprintf(w, "Boot loader:\t%s\n", p.loaderWords())
	fmt.Fprintf(w, "Selected packages:\t%s\n", strings.Join(p.Rootfs.Include, " "))
	for _, line := range p.firstBoot() {
		fmt.Fprintf(w, "First boot:\t%s\n", line)
	}
	fmt.Fprintf(w, "Mirror:\t%s\n", orElse(withoutPassword(p.Rootfs.Mirror), p.defaultMirror()))
	for _, h := range p.Hooks {
		fmt.Fprintf(w, "Hook:\t%s %s\n", h.Stage, h)
	}
	fmt.Fprintf(w, "Identifiers:\tfrom seed %s\n", p.Seed)
	w.Flush()
	if p.Layout == nil {
		return b.String()
	}
	w = tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "\nPartition\tStart\tSize\tType\tFile system\tMounted on\tUUID\n")
	for _, part := range p.Layout.Partitions {
		fmt.Fprintf(w, "%d %s\t%d\t%s\t%s\t%s\t%s\t%s\n", part.Number, part.Name, part.Start,
			Size(part.Bytes()), orElse(part.Type, fmt.Sprintf("%02x", part.MBRType)),
			orElse(part.Filesystem, "-"), orElse(part.Mount, "-"), orElse(part.UUID, "-"))
	}
	w.Flush()
	return b.String()
}

// loaderWords is the boot loader and the board that it is for.
func (p *Plan) loaderWords() string {
	if p.Board == "" {
		return p.Bootloader
	}
	return p.Bootloader + " for " + p.Board
}

// defaultMirror is where packages come from if nobody says so.
func (p *Plan) defaultMirror() string {
	if release, err := suite.Lookup(p.Rootfs.Suite); err == nil && release.Archived {
		return suite.ArchiveURI
	}
	return "this host's own apt source for Debian, else " + mirror.Default
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// Redacted is the plan without password hashes, fit to be shown.
func (p *Plan) Redacted() *Plan {
	r := *p
	hide := func(hash string) string {
		if hash == "" {
			return ""
		}
		return "(hidden)"
	}
	r.System.Root.Hash = hide(r.System.Root.Hash)
	r.Rootfs.Mirror, r.Rootfs.Security = withoutPassword(r.Rootfs.Mirror), withoutPassword(r.Rootfs.Security)
	r.AptMirror = withoutPassword(r.AptMirror)
	r.System.Users = nil
	for _, u := range p.System.Users {
		u.Password.Hash = hide(u.Password.Hash)
		r.System.Users = append(r.System.Users, u)
	}
	return &r
}

// withoutPassword hides the password in a URL.
func withoutPassword(uri string) string {
	if u, err := url.Parse(uri); err == nil {
		return u.Redacted()
	}
	return uri
}
