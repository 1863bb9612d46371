package chroot

import (
	"context"
	"io"
	"os"
)

// Command is a program to be run inside a root.
type Command struct {
	Args   []string   // Args[0] is looked up in the root's own PATH
	Env    []string   // KEY=value, added to Environment; a later one wins
	Dir    string     // working directory inside the root; "/" if empty
	Stdin  io.Reader  // nothing if nil
	Stdout io.Writer  // nil: to the root's log, and its last lines into the error
	Stderr io.Writer  // the same
	Files  []*os.File // become descriptors 3, 4, … of the program
}

// Runner runs programs inside a root. A program that fails gives an error with its command line, its exit status and
// the last lines it printed.
type Runner interface {
	Run(ctx context.Context, c Command) error
}

// Bind makes a directory or file of the build visible inside a root, for as long as the root is entered.
type Bind struct {
	Source   string // path as the build sees it
	Target   string // absolute path inside the root; made if it is missing and the root's file system is a tmpfs
	ReadOnly bool
}

// Toolbox enters a root that holds the tools a build needs but whose result has none of, with binds as its only
// contact to the build.
type Toolbox interface {
	Enter(ctx context.Context, binds ...Bind) (Runner, io.Closer, error)
}
