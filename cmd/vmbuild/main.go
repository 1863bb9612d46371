// Command vmbuild makes bootable Debian disk images and root filesystems from a package mirror, without root. See the
// README.
package main

import (
	"context"
	"maps"
	"os"
	"os/signal"
	"syscall"

	"vmbuild/cmd/vmbuild/cli"
	"vmbuild/image"
	"vmbuild/image/bootstrap"
	"vmbuild/image/live"
	"vmbuild/rootfs/namespace"
)

func main() {
	if namespace.Inner() {
		handlers := image.Handlers()
		maps.Copy(handlers, bootstrap.Handlers())
		maps.Copy(handlers, live.Handlers())
		os.Exit(namespace.Serve(handlers))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	os.Exit(cli.Main(ctx, os.Args, cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
