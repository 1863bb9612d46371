package rootfs

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"

	"golang.org/x/sys/unix"

	"vmbuild/rootfs/chroot"
)

// forkable are programs of Perl that scripts of packages call, most of them more than once. deb-systemd-helper takes 37 ms to look
// for a file, nearly all of it to compile itself and its modules.
var forkable = []string{
	"/usr/bin/deb-systemd-helper", "/usr/sbin/addgroup", "/usr/sbin/adduser", "/usr/sbin/update-xmlcatalog",
}

// enoughCalls is how often packages must have called a program for it to be compiled before.
const enoughCalls = 4

// forkedModule has Perl compile a program once and run it for each who asks, who is told how in it.
//
//go:embed Forked.pm
var forkedModule []byte

// asking is what a script of ours ends with that is in the place of a program, whose path %[1]s is: it has the program run for it if
// that is compiled, and runs it itself if not.
const asking = `dir=${0%%/*}/${0##*/}.forked
if mkfifo "$dir/$$" 2>/dev/null && [ -e "$dir/requests" ]; then
	echo $$ 1<>"$dir/requests"
	read -r status <"$dir/$$"
	case "$status" in [0-9]*) exit "$status" ;; esac
fi
exec %[1]s "$@"
`

// fork begins to compile programs that the scripts of packages will call.
func (f *foresight) fork(ctx context.Context, scripts map[string][]byte) error {
	for _, program := range forkable {
		name := path.Base(program)
		if !f.isPerl(program) || countCalls(scripts, name) < enoughCalls {
			continue
		}
		dir := name + ".forked"
		if err := f.dir.Mkdir(dir, 0o755); errors.Is(err, fs.ErrExist) {
			continue // for packages that came before
		} else if err != nil {
			return err
		}
		if err := f.dir.WriteFile(dir+"/Forked.pm", forkedModule, 0o644); err != nil {
			return err
		}
		if _, err := f.dir.Stat(name); errors.Is(err, fs.ErrNotExist) {
			if err := f.dir.WriteFile(name, fmt.Appendf(nil, "#!/bin/sh\n"+asking, program), 0o755); err != nil {
				return err
			}
		}
		serving, end := context.WithCancel(ctx)
		f.endServers = append(f.endServers, end)
		f.servers.Go(func() { f.serve(serving, program, dir) })
	}
	return nil
}

// isPerl says whether there is such a program of Perl.
func (f *foresight) isPerl(program string) bool {
	dir, err := openInside(f.root, path.Dir(program))
	if err != nil || dir == nil {
		return false
	}
	defer dir.Close()
	text, err := dir.ReadFile(path.Base(program))
	first, _, _ := bytes.Cut(text, []byte("\n"))
	return err == nil && bytes.HasPrefix(first, []byte("#!")) && bytes.Contains(first, []byte("perl"))
}

// countCalls counts the lines of scripts that may call a program.
func countCalls(scripts map[string][]byte, name string) int {
	call := regexp.MustCompile(`(?m)^([^#\n]*[^-\w\n])?` + regexp.QuoteMeta(name) + `($|[^-\w])`)
	calls := 0
	for _, script := range scripts {
		calls += len(call.FindAll(script, -1))
	}
	return calls
}

// serve runs a program that is compiled for those who ask. When it ends before it is told, it answers them that it does not.
func (f *foresight) serve(ctx context.Context, program, dir string) {
	inside := "/" + programsDir + "/" + dir
	_ = f.target.Run(ctx, chroot.Command{Args: []string{"perl", "-I" + inside, "-MForked=" + inside, program}})
	if ctx.Err() != nil {
		return
	}
	_ = f.dir.Remove(dir + "/requests") // who asks now has made his FIFO before
	names, _ := fs.ReadDir(f.dir.FS(), dir)
	for _, name := range names {
		if name.Type() != fs.ModeNamedPipe {
			continue
		}
		fifo, err := f.dir.OpenFile(dir+"/"+name.Name(), os.O_RDWR|unix.O_NONBLOCK, 0)
		if err == nil {
			_, _ = fifo.WriteString("no\n")
			f.mu.Lock()
			f.answers = append(f.answers, fifo) // whose content is lost when nobody has it open
			f.mu.Unlock()
		}
	}
}
