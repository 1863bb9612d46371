package cli

import (
	"context"
	"io"

	"vmbuild/hooks/transfer"
	"vmbuild/image/bootstrap"
	"vmbuild/image/session"
)

// helper is what scripts call in mmdebstrap's words. It has no options and no help.
type helper func(ctx context.Context, args []string, s Streams) error

// helpers are recognised by the first argument, as mmdebstrap does.
var helpers = map[string]helper{
	"--hook-helper":    helpHook,
	"--unshare-helper": helpUnshare,
}

func helperOf(args []string) helper {
	if len(args) < 2 {
		return nil
	}
	return helpers[args[1]]
}

// helpHook does a transfer for a hook, whose other side is at standard input and output.
func helpHook(_ context.Context, args []string, s Streams) error {
	return transfer.Helper(args, struct {
		io.Reader
		io.Writer
	}{s.In, s.Out})
}

// helpUnshare runs a command where files of subordinate ids belong to the users of the system they are in.
func helpUnshare(ctx context.Context, args []string, _ Streams) error {
	var e environment
	return bootstrap.Exec(ctx, args, session.Host{Cache: e.cacheDir(), Temp: e.tempDir()})
}
