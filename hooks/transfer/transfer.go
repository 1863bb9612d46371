// Package transfer moves files between the host and a tree: mmdebstrap's copy-in, copy-out, sync-in, sync-out, tar-in,
// tar-out, upload and download.
//
// Two processes share the work, as a build's root is nobody on the host. The one outside is a Listener: it reads and
// writes the host's files with the caller's rights, below the caller's working directory, and sees their true owners.
// The one inside runs a Command on the tree. They speak mmdebstrap's protocol over a socket, so that a hook may start
// either program's helper.
//
// A path inside means what it means to a process whose root directory the tree is, whatever links there are in it. What
// is unpacked outside stays below the directory that it is unpacked in, whatever the archive says.
package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Command is a transfer to be done.
type Command struct {
	Verb    string   // copy-in, …
	Sources []string // on the host, if it goes in; else inside
	Target  string   // on the other side
}

// Tree is what a Command works on.
type Tree struct {
	Dir  string
	Skip []string // "copy-in/mknod" and the like: device nodes are left out
}

// method is how a verb is done: the request to the listener, and the half that is done inside.
type method struct {
	verb    string
	request string
	inside  func(x *exchange, r *rooted, path string, skipNodes bool) error
}

// methods are mmdebstrap's special hooks. The path is that of the side inside, which is checked before the listener
// hears of it.
var methods = []method{
	{"copy-in", requestPack, unpackInside},
	{"sync-in", requestPackContent, unpackInside},
	{"tar-in", requestRead, unpackInside},
	{"upload", requestRead, writeInside},
	{"copy-out", requestUnpack, packInside},
	{"sync-out", requestUnpack, packContentInside},
	{"tar-out", requestWrite, packInside},
	{"download", requestWrite, readInside},
}

func lookup(verb string) (method, bool) {
	i := slices.IndexFunc(methods, func(m method) bool { return m.verb == verb })
	if i < 0 {
		return method{}, false
	}
	return methods[i], true
}

// goesIn says whether a verb changes the tree, not the host.
func goesIn(verb string) bool { return verb == "upload" || strings.HasSuffix(verb, "-in") }

// Is says whether a hook's text is a transfer: one of the verbs and a space.
func Is(text string) bool {
	verb, _, space := strings.Cut(text, " ")
	_, known := lookup(verb)
	return space && known
}

// Parse reads a hook's text: a verb and at least two paths, quoted as for a shell.
func Parse(text string) (Command, error) {
	words, err := split(text)
	if err != nil {
		return Command{}, fmt.Errorf("read hook %q: %w", text, err)
	}
	c, err := newCommand(words)
	if err != nil {
		return Command{}, fmt.Errorf("read hook %q: %w", text, err)
	}
	return c, nil
}

func newCommand(words []string) (Command, error) {
	if len(words) == 0 {
		return Command{}, errors.New("there is no command")
	}
	verb, paths := words[0], words[1:]
	switch _, known := lookup(verb); {
	case !known:
		return Command{}, fmt.Errorf("unknown command %q", verb)
	case len(paths) < 2 && goesIn(verb):
		return Command{}, fmt.Errorf("%s needs a path on the host and one in the tree", verb)
	case len(paths) < 2:
		return Command{}, fmt.Errorf("%s needs a path in the tree and one on the host", verb)
	case slices.Contains(paths, ""):
		return Command{}, fmt.Errorf("%s: a path is empty", verb)
	}
	last := len(paths) - 1
	return Command{Verb: verb, Sources: paths[:last], Target: paths[last]}, nil
}

// Run does the transfer, together with the listener at the other end of the connection.
func (c Command) Run(tree Tree, listener io.ReadWriter) error {
	m, known := lookup(c.Verb)
	if !known {
		return fmt.Errorf("unknown command %q", c.Verb)
	}
	root, err := openRoot(tree.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	skipNodes := slices.Contains(tree.Skip, c.Verb+"/mknod")
	for _, source := range c.Sources {
		outside, inside := source, c.Target
		if !goesIn(c.Verb) {
			outside, inside = inside, outside
		}
		x := &exchange{conn: listener, request: m.request, path: outside}
		if err := m.inside(x, root, inside, skipNodes); err != nil {
			return fmt.Errorf("%s %s to %s: %w", c.Verb, source, c.Target, err)
		}
	}
	return nil
}

func unpackInside(x *exchange, r *rooted, path string, skipNodes bool) error {
	dir, err := r.resolve(path)
	if err != nil {
		return err
	}
	p := &place{root: r, base: dir, exact: true, skipNodes: skipNodes}
	if err := p.check(); err != nil {
		return err
	}
	return x.get(func(in io.Reader) error { return unpack(in, p) })
}

// writeInside replaces the content of a file and nothing else of it.
func writeInside(x *exchange, r *rooted, path string, _ bool) error {
	out, err := r.open(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	return x.get(func(in io.Reader) error {
		_, err := io.Copy(out, in)
		return errors.Join(err, out.Close())
	})
}

func packInside(x *exchange, r *rooted, path string, _ bool) error {
	found, err := r.resolve(path)
	if err != nil {
		return err
	}
	dir, name := r.path(found), filepath.Base(found)
	if name == "/" { // has no name; its content is meant
		dir, name = dir+"/.", "."
	}
	return x.put(func(out io.Writer) error { return pack(out, dir, name) })
}

func packContentInside(x *exchange, r *rooted, path string, _ bool) error {
	found, err := r.resolve(path)
	if err != nil {
		return err
	}
	p := &place{root: r, base: found}
	if err := p.check(); err != nil {
		return err
	}
	return x.put(func(out io.Writer) error { return pack(out, r.path(found)+"/.", ".") })
}

func readInside(x *exchange, r *rooted, path string, _ bool) error {
	in, err := r.open(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO without a writer would not open
	if err != nil {
		return err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s in the tree is not a file", path)
	}
	if err != nil {
		return err
	}
	return x.put(func(out io.Writer) error {
		_, err := io.Copy(out, in)
		return err
	})
}

// Helper does what a hook asks of "mmdebstrap --hook-helper" with these arguments: root directory, mode, hook, keys of
// what is skipped, verbosity, then the words of a transfer. The connection is to be standard input and output.
func Helper(args []string, listener io.ReadWriter) error {
	const fixed = 5
	if len(args) <= fixed {
		return errors.New("--hook-helper needs ROOT MODE HOOK SKIP VERBOSITY COMMAND PATH…")
	}
	c, err := newCommand(args[fixed:])
	if err != nil {
		return err
	}
	skip := strings.FieldsFunc(args[3], func(r rune) bool { return r == ',' || r == ' ' })
	return c.Run(Tree{Dir: args[0], Skip: skip}, listener)
}

// Listener is the side outside.
type Listener struct {
	Conn *os.File // for the side inside, which may be another process
	end  *os.File
}

// Listen begins to do what the side inside asks for, until Close, with the rights and in the working directory of this
// process.
func Listen() (*Listener, error) {
	end, conn, err := pair()
	if err != nil {
		return nil, fmt.Errorf("listen for hooks: %w", err)
	}
	l := &Listener{Conn: conn, end: end}
	go serve(end)
	return l, nil
}

// Close ends the Listener. It waits for nothing: what a Command has done by then is complete, and one that was
// interrupted may be waiting for someone to open a FIFO.
func (l *Listener) Close() error {
	return errors.Join(l.Conn.Close(), l.end.Close())
}

// Interrupt ends what the two sides are doing, now and from now on, when the context ends. Stop it by what it returns.
func Interrupt(ctx context.Context, conn *os.File) (stop func() bool) {
	return context.AfterFunc(ctx, func() { shutdown(conn) })
}
