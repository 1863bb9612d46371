package dpkg

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vmbuild/rootfs/tree"
)

func TestDev(t *testing.T) {
	base := os.Getenv("DEV")
	if base == "" {
		t.Skip()
	}
	log, err := os.ReadFile(base + "-log/dpkg.log")
	if err != nil {
		t.Fatal(err)
	}
	var a, b []Deb
	starts := 0
	for _, line := range strings.Split(string(log), "\n") {
		f := strings.Fields(line)
		if len(f) > 4 && f[2] == "startup" {
			starts++
		}
		if len(f) < 6 || f[2] != "install" {
			continue
		}
		name, arch, _ := strings.Cut(f[3], ":")
		d := Deb{Path: fmt.Sprintf("/tmp/s/C/debs/%s_%s_%s.deb", name, strings.ReplaceAll(f[5], ":", "%3a"), arch)}
		if starts == 1 {
			a = append(a, d)
		} else {
			b = append(b, d)
		}
	}
	t.Log(len(a), len(b))
	dir := os.Getenv("DEVROOT")
	os.RemoveAll(dir)
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(dir, 0o755))
	if out, err := exec.Command("tar", "-C", dir, "-xf", base+".tar", "./etc/fstab", "./etc/hostname", "./etc/resolv.conf", "./etc/apt/sources.list").CombinedOutput(); err != nil {
		t.Fatal(string(out))
	}
	os.MkdirAll(dir+"/tmp", 0o1777)
	os.Chmod(dir+"/tmp", 0o1777|os.ModeSticky)
	must(Skeleton(dir, "amd64"))
	start := time.Now()
	step := func(s string) { t.Logf("%6.2f %s", time.Since(start).Seconds(), s) }
	ctx := context.Background()
	o := Options{Root: dir}
	e, err := Extract(ctx, o, a)
	must(err)
	step("extracted")
	must(os.WriteFile(dir+"/usr/sbin/policy-rc.d", []byte("#!/bin/sh\nexit 101\n"), 0o755))
	r := unshareRunner{dir}
	if os.Getenv("DEVUNPACK") != "" {
		root, err := openRootDir(dir)
		must(err)
		db, err := readDatabase(root)
		must(err)
		archives, err := readArchives(ctx, b, o.parallel())
		must(err)
		step("read")
		must(db.unpack(ctx, o, archives, false))
		step("unpacked")
		return
	}
	must(e.Configure(ctx, r))
	step("A configured")
	must(Install(ctx, o, r, b))
	step("B installed")
	os.Remove(dir + "/usr/sbin/policy-rc.d")
	f, err := os.Open(base + ".tar")
	must(err)
	want, err := tree.TarListing(f)
	must(err)
	got, err := tree.Listing(&tree.Tree{Dir: dir})
	must(err)
	for _, line := range tree.Diff(want, got) {
		fmt.Println(line)
	}
	_ = filepath.Join
}
