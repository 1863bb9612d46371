package dpkg

import (
	"bufio"
	"context"
	"io"
	"os"
	"strings"
	"time"

	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/span"
)

// statusDescriptor is that of the first of chroot.Command.Files.
const statusDescriptor = "3"

// patience is how long the last lines of a dpkg that has ended are waited for.
const patience = time.Second

// runRecorded runs dpkg, and records a span for each package that it works on, as it says itself (--status-fd of dpkg(1)).
func (s scripts) runRecorded(ctx context.Context, c chroot.Command) error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	c.Args = append([]string{c.Args[0], "--status-fd", statusDescriptor}, c.Args[1:]...)
	c.Files = []*os.File{write}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		recordWork(ctx, read)
	}()
	err = s.runner.Run(ctx, c)
	write.Close()
	_ = read.SetReadDeadline(time.Now().Add(patience)) // a pipe has deadlines
	<-ended
	return err
}

// recordWork reads what dpkg writes to its status descriptor: "processing: VERB: PACKAGE" when it takes up a package,
// "status: PACKAGE: STATE" for what becomes of it. Where no state follows, dpkg has put the package off.
func recordWork(ctx context.Context, status io.Reader) {
	var current *span.Span
	var verb, name string
	defer func() { current.End() }()
	for lines := bufio.NewScanner(status); lines.Scan(); {
		word, rest, _ := strings.Cut(lines.Text(), ": ")
		switch word {
		case "processing":
			current.End()
			current = nil
			verb, name, _ = strings.Cut(rest, ": ")
		case "status":
			if current == nil && name != "" {
				_, current = span.Start(ctx, span.Step, workName(verb, name))
			}
		}
	}
}

// workName is what a span is called: dpkg's words, but for the one for triggers.
func workName(verb, name string) string {
	if verb == "trigproc" {
		verb = "triggers"
	}
	return verb + " " + strings.TrimSpace(name)
}
