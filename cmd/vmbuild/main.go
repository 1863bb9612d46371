// Command vmbuild makes bootable Debian disk images from a package mirror, without root. See the README.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"vmbuild/cmd/vmbuild/cli"
	"vmbuild/image"
	"vmbuild/rootfs/namespace"
)

func main() {
	if namespace.Inner() {
		os.Exit(namespace.Serve(image.Handlers()))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	os.Exit(cli.Main(ctx, os.Args, cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
