package archive

import (
	"context"
	"net/http/httptrace"
	"net/url"
	"path"
	"strings"
	"time"

	"vmbuild/rootfs/span"
)

// startFetch begins to record that a file is fetched, on which connection, and how long it took until the first of its bytes
// was there. A file of this host, or one that nobody may be asked for, does not come from the network.
func (c *Client) startFetch(ctx context.Context, u *url.URL) (context.Context, *span.Span) {
	kind := span.Network
	if c.Offline || u.Scheme == "file" || u.Scheme == "copy" {
		kind = span.Lane
	}
	ctx, s := span.Start(ctx, kind, fileName(u.Path))
	if s == nil {
		return ctx, s
	}
	s.Note("from", u.Redacted())
	asked := time.Now()
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(on httptrace.GotConnInfo) {
			state := "new"
			if on.Reused {
				state = "used before"
			}
			s.Note("connection", on.Conn.LocalAddr().String()+" to "+on.Conn.RemoteAddr().String()+", "+state)
		},
		GotFirstResponseByte: func() { s.Note("first byte after", time.Since(asked).Round(time.Microsecond).String()) },
	}), s
}

// fileName is what people call a file by its path: an index that is fetched by its hash has the name of its directory.
func fileName(name string) string {
	dir, _, byHash := strings.Cut(name, "/by-hash/")
	if byHash {
		return path.Join(path.Base(path.Dir(dir)), path.Base(dir)) + " index"
	}
	return path.Base(name)
}
