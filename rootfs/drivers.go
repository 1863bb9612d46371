package rootfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"vmbuild/rootfs/chroot"
)

// driverLists has depmod(8) list what the drivers of new kernels depend on while other packages are configured. The last script of
// a kernel package would have it do that, for as long as all other scripts of a system take together, and only the kernel's own
// files go into it, which are there when all packages are unpacked. A program in depmod's place waits then for what is begun.
type driverLists struct {
	root   string
	target chroot.Runner
	dir    *os.Root // driverListsDir; nil: nothing is begun
	work   sync.WaitGroup
}

// driverListsDir has the program and its notes while packages are configured. Nothing of /run is a part of the system.
const driverListsDir = "run/vmbuild"

// waitingDepmod gives one answer that is ready, to the question that kernel packages ask. Whoever asks another may have added
// drivers, so that no answer is right any more.
const waitingDepmod = `#!/bin/sh
here=${0%/*}
while ls "$here"/*.begun >/dev/null 2>&1; do sleep 0.02; done
if [ $# = 1 ] && [ -e "$here/$1.made" ]; then rm "$here/$1.made"; exit 0; fi
rm -f "$here"/*.made
exec /sbin/depmod "$@"
`

// Run runs a program that finds ours before depmod itself.
func (d *driverLists) Run(ctx context.Context, c chroot.Command) error {
	for _, variable := range chroot.Environment() {
		if rest, ok := strings.CutPrefix(variable, "PATH="); ok {
			c.Env = append([]string{"PATH=/" + driverListsDir + ":" + rest}, c.Env...)
		}
	}
	return d.target.Run(ctx, c)
}

// begin makes the lists of the kernels that will ask for them. Where that cannot be begun, they ask depmod itself.
func (d *driverLists) begin(ctx context.Context) error {
	if runtime.GOMAXPROCS(0) == 1 {
		return nil
	}
	versions, err := d.kernels()
	if err != nil || len(versions) == 0 {
		return err
	}
	if err := d.prepare(versions); err != nil || d.dir == nil {
		return err
	}
	for _, v := range versions {
		d.work.Go(func() { d.list(ctx, v) })
	}
	return nil
}

// prepare puts our program in its place, and notes what is begun.
func (d *driverLists) prepare(versions []string) error {
	parent, err := openInside(d.root, path.Dir(driverListsDir))
	if err != nil || parent == nil {
		return err
	}
	defer parent.Close()
	name := path.Base(driverListsDir)
	if err := parent.Mkdir(name, 0o755); err != nil {
		return fmt.Errorf("list drivers: %w", err)
	}
	if d.dir, err = parent.OpenRoot(name); err == nil {
		err = d.dir.WriteFile("depmod", []byte(waitingDepmod), 0o755)
	}
	for _, v := range versions {
		if err == nil {
			err = d.dir.WriteFile(v+".begun", nil, 0o644)
		}
	}
	if err != nil {
		return fmt.Errorf("list drivers: %w", err)
	}
	return nil
}

// list has depmod work for one kernel. Without an answer whoever asks finds out why.
func (d *driverLists) list(ctx context.Context, version string) {
	if d.target.Run(ctx, chroot.Command{Args: []string{"/sbin/depmod", version}}) == nil {
		_ = d.dir.WriteFile(version+".made", nil, 0o644)
	}
	_ = d.dir.Remove(version + ".begun")
}

// end waits for what is begun, and takes the program away.
func (d *driverLists) end() error {
	d.work.Wait()
	if d.dir == nil {
		return nil
	}
	err := d.dir.Close()
	d.dir = nil
	parent, openErr := openInside(d.root, path.Dir(driverListsDir))
	if err = errors.Join(err, openErr); parent == nil {
		return err
	}
	return errors.Join(err, parent.RemoveAll(path.Base(driverListsDir)), parent.Close())
}

// kernels lists the versions whose packages will ask for a list: those that have none yet. There are none where something else may
// add drivers, or has something to say of their order.
func (d *driverLists) kernels() ([]string, error) {
	if _, err := os.Lstat(filepath.Join(d.root, "usr/sbin/dkms")); err == nil {
		return nil, nil
	}
	conf, err := namesInside(d.root, "etc/depmod.d")
	if err != nil || len(conf) > 0 {
		return nil, err
	}
	versions, err := namesInside(d.root, "lib/modules")
	if err != nil {
		return nil, err
	}
	info, err := openInside(d.root, "var/lib/dpkg/info")
	if err != nil || info == nil {
		return nil, err
	}
	defer info.Close()
	var asking []string
	for _, v := range versions {
		script, err := info.ReadFile("linux-image-" + v + ".postinst")
		if err != nil || !bytes.Contains(script, []byte("\ndepmod $version\n")) {
			continue
		}
		lists, err := namesInside(d.root, path.Join("lib/modules", v))
		if err != nil {
			return nil, err
		}
		if !slices.Contains(lists, "modules.dep") {
			asking = append(asking, v)
		}
	}
	return asking, nil
}
