// Command bench compares vmbuild with other builders of Debian systems, on the machine that it is started on: the same
// tasks, with the same packages from one archive on the loopback address, by both in turn. It writes a table, two plots
// and every single run. What it cannot compare here it names, with the reason.
//
// Some tools work as root only. Whoever calls it, nothing of theirs is left: no process, mount, loop device or file.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"vmbuild/cmd/bench/measure"
)

func main() {
	var o options
	kong.Parse(&o, kong.Name("bench"), kong.Description("Compares vmbuild with other builders of Debian systems."))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// Ordinary users' PATH lacks mke2fs and others that they may well call; tools hand TMPDIR down to programs in their trees, where
	// there is no such directory.
	err := errors.Join(measure.Adopt(), os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin"), os.Unsetenv("TMPDIR"))
	if err == nil {
		err = o.run(ctx, os.Stdout, os.Stderr)
	}
	switch {
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "bench: interrupted; nothing of the tools was left behind")
		os.Exit(130)
	case err != nil:
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}
