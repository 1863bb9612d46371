package rootfs

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"vmbuild/rootfs/chroot"
)

// compiler compiles the Python modules of a package, when that is configured.
const compiler = "/usr/bin/py3compile"

// compiled is put in the place of the compiler, whose path %[1]s is. As soon as all packages are unpacked, it is run for one after
// the other beside their scripts. Who asks for one that is not begun has it run; who asks for one that is, waits for it.
const compiled = `#!/bin/sh
case "$*" in */*) exec %[1]s "$@" ;; esac
note="${0%%/*}/${0##*/} $*"
if mv "$note.queued" "$note.taken" 2>/dev/null; then exec %[1]s "$@"; fi
while [ -e "$note.begun" ]; do sleep 0.01; done
if rm "$note.made" 2>/dev/null; then exit 0; fi
exec %[1]s "$@"
`

// compileCall is how the scripts that dh_python3(1) makes call the compiler. Other calls name directories, too, and are left alone.
var compileCall = regexp.MustCompile(`(?m)^\s*py3compile (-p ([a-z0-9.+-]+)(:[a-z0-9]+)?)\s*$`)

// compile begins to compile the modules of packages that are unpacked and not configured.
func (f *foresight) compile(ctx context.Context, scripts map[string][]byte) error {
	workers := runtime.GOMAXPROCS(0) - 1
	calls := compileCalls(scripts)
	if len(calls) == 0 || workers == 0 {
		return nil
	}
	text := fmt.Appendf(nil, compiled, compiler)
	if err := f.dir.WriteFile("py3compile", text, 0o755); err != nil {
		return err
	}
	queue := make(chan string, len(calls))
	for _, args := range calls {
		if err := f.dir.WriteFile("py3compile "+args+".queued", nil, 0o644); err != nil {
			return err
		}
		queue <- args
	}
	close(queue)
	for range workers {
		f.work.Go(func() {
			for args := range queue {
				f.compileOne(ctx, args)
			}
		})
	}
	return nil
}

// compileOne compiles the modules of a package, unless its script does so. If it cannot, the script finds out why.
func (f *foresight) compileOne(ctx context.Context, args string) {
	note := "py3compile " + args
	if ctx.Err() != nil || f.dir.Rename(note+".queued", note+".begun") != nil {
		return
	}
	err := f.target.Run(ctx, chroot.Command{
		Args: append([]string{compiler}, strings.Fields(args)...),
		Env:  []string{"PYTHONDONTWRITEBYTECODE=1"}, // of what the compiler itself consists of: others do that, in time
	})
	if err == nil {
		_ = f.dir.WriteFile(note+".made", nil, 0o644)
	}
	_ = f.dir.Remove(note + ".begun")
}

// compileCalls lists the arguments for the packages that are to be configured, by their scripts that ask for it.
func compileCalls(scripts map[string][]byte) []string {
	var calls []string
	for _, name := range slices.Sorted(maps.Keys(scripts)) {
		if call := compileCall.FindSubmatch(scripts[name]); call != nil && string(call[2]) == name {
			calls = append(calls, string(call[1]))
		}
	}
	return calls
}
