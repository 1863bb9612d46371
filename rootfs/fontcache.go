package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// fontCache is put in the place of fc-cache(1), which is in the directory %[1]s and finds its own name among its arguments. When it has written all, it sleeps for two seconds, lest what is
// changed after it have a time that it has noted. Who asked for it need not wait for that; but the end of the installation does, as
// then it says how it went.
const fontCache = `#!/bin/sh
note=$0.$$
: >"$note.pid" || exec %[1]s/fc-cache "$@"
run() {
	PATH=%[1]s fc-cache "$@" &
	echo $! >"$note.pid"
	wait $!
	echo $? >"$note.new"
	mv "$note.new" "$note.status"
}
run "$@" &
while [ ! -e "$note.status" ]; do
	sleep 0.05
	pid= where=
	read -r pid <"$note.pid"
	read -r where <"/proc/$pid/wchan" # which has no end of line
	case "$where" in *nanosleep*)
		: >"$note.asleep"
		exit 0 ;;
	esac
done
read -r status <"$note.status"
exit "$status"
`

// placeFontCache puts the program in its place, in systems that have it.
func (f *foresight) placeFontCache() error {
	dir, err := openInside(f.root, "usr/bin")
	if err != nil || dir == nil {
		return err
	}
	defer dir.Close()
	if _, err := dir.Stat("fc-cache"); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return f.dir.WriteFile("fc-cache", fmt.Appendf(nil, fontCache, "/usr/bin"), 0o755)
}

// fontCacheSleep is how long who sleeps is waited for. Only on a host that is overloaded it is more than two seconds.
const fontCacheSleep = time.Minute

// endFontCache waits for those who sleep, and says whether one has failed.
func (f *foresight) endFontCache(ctx context.Context) error {
	if f.dir == nil || ctx.Err() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, fontCacheSleep, errors.New("fc-cache does not end"))
	defer cancel()
	asleep, err := fs.Glob(f.dir.FS(), "fc-cache.*.asleep")
	for _, name := range asleep {
		if err == nil {
			err = f.awake(ctx, strings.TrimSuffix(name, "asleep")+"status")
		}
	}
	return err
}

// awake waits for a status that is not yet there.
func (f *foresight) awake(ctx context.Context, name string) error {
	for {
		status, err := f.dir.ReadFile(name)
		switch {
		case err == nil && string(status) != "0\n":
			return fmt.Errorf("fc-cache: exit status %s", strings.TrimSpace(string(status)))
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
