package image

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"
	"text/tabwriter"

	"vmbuild/rootfs/mirror"
)

// Text is the plan as --dry-run prints it.
func (p *Plan) Text() string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "Image:\t%s, %s, %s\n", p.Image, Size(p.Layout.Size), p.Layout.Table)
	fmt.Fprintf(w, "System:\tDebian %s, %s, host name %s\n", p.Rootfs.Suite, p.Rootfs.Arch, p.System.Hostname)
	fmt.Fprintf(w, "Boot loader:\t%s\n", p.Bootloader)
	fmt.Fprintf(w, "Selected packages:\t%s\n", strings.Join(p.Rootfs.Include, " "))
	fmt.Fprintf(w, "Mirror:\t%s\n", orElse(withoutPassword(p.Rootfs.Mirror), "this host's own apt source for Debian, else "+mirror.Default))
	for _, h := range p.Hooks {
		fmt.Fprintf(w, "Hook:\t%s %s\n", h.Stage, h.Path)
	}
	fmt.Fprintf(w, "Identifiers:\tfrom seed %s\n", p.Seed)
	fmt.Fprintf(w, "Disk:\t%s\n", p.Layout.DiskID)
	w.Flush()
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
