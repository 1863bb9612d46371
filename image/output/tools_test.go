package output

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"vmbuild/rootfs"
	"vmbuild/rootfs/layer"
	"vmbuild/rootfs/mirror"
	"vmbuild/rootfs/namespace"
	"vmbuild/rootfs/offers"
	"vmbuild/rootfs/tree"
)

// TestMain is also the inner half of a job.
func TestMain(m *testing.M) {
	if namespace.Inner() {
		os.Exit(namespace.Serve(map[string]namespace.Handler{"write": writeInside}))
	}
	os.Exit(m.Run())
}

// toolsJob writes the tree at Dir with the programs of a tools tree: to each file in the form that its name asks for.
type toolsJob struct {
	Cache, Temp, Dir string
	Targets          []string
}

func writeInside(ctx context.Context, call namespace.Call) error {
	var j toolsJob
	if err := json.Unmarshal(call.Payload, &j); err != nil {
		return err
	}
	cache, err := layer.Open(j.Cache)
	if err != nil {
		return err
	}
	defer cache.Close()
	mirrors, err := mirror.OfHost(os.DirFS("/etc/apt"))
	if err != nil {
		return err
	}
	b := &rootfs.Builder{
		Cache: cache, Mirrors: mirrors, Event: func(rootfs.Event) {}, Log: io.Discard, Temp: j.Temp, IDMap: namespace.IDMap(),
	}
	var packages []string
	for _, target := range j.Targets {
		f, c, err := Choose("", target, Facts{})
		if err != nil {
			return err
		}
		packages = append(packages, f.Packages(c)...)
	}
	slices.Sort(packages)
	tools, err := b.Tools(ctx, rootfs.Spec{}, slices.Compact(packages))
	if err != nil {
		return err
	}
	for i, target := range j.Targets {
		f, c, err := Choose("", target, Facts{})
		if err != nil {
			return err
		}
		err = f.Write(ctx, Job{
			Tree: &tree.Tree{Dir: j.Dir, Devices: tree.StandardDevices()}, Out: call.Files[i], Compression: c, Epoch: epoch,
			Temp: j.Temp, Toolbox: tools,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// magic is what the files of each form begin with, or have at an offset.
var magic = map[string]struct {
	at   int
	text string
}{
	"gzip": {0, "\x1f\x8b"}, "zstd": {0, "\x28\xb5\x2f\xfd"}, "xz": {0, "\xfd7zXZ\x00"}, "bzip2": {0, "BZh9"},
	"lzma": {0, "\x5d\x00\x00"}, "lz4": {0, "\x04\x22\x4d\x18"}, "lzip": {0, "LZIP\x01"}, "lzop": {0, "\x89LZO\x00\r\n\x1a\n"},
	"compress": {0, "\x1f\x9d"}, "squashfs": {0, "hsqs"}, "ext2": {1080, "\x53\xef"}, "ext4": {1080, "\x53\xef"},
}

// Debian's current programs, which a tools tree holds without their having been configured, write all forms, twice the
// same.
func TestToolsTree(t *testing.T) {
	offers.Need(t, "net", "build")
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	source := newTree(t)
	os.Remove(filepath.Join(source.Dir, "etc/old")) // squashfs has no times before 1970
	j := toolsJob{Cache: filepath.Join(cache, "vmbuild-test"), Temp: t.TempDir(), Dir: source.Dir}
	dir := t.TempDir()
	var forms []string
	for _, c := range Compressions() {
		forms = append(forms, c.Name)
		j.Targets = append(j.Targets, filepath.Join(dir, "x"+c.Suffixes[0]), filepath.Join(dir, "again"+c.Suffixes[0]))
	}
	for _, f := range trees() {
		if len(f.Packages(Compression{})) > 0 {
			forms = append(forms, f.Name)
			j.Targets = append(j.Targets, filepath.Join(dir, "x"+f.Suffixes[0]), filepath.Join(dir, "again"+f.Suffixes[0]))
		}
	}
	var files []*os.File
	for _, target := range j.Targets {
		f, err := os.Create(target)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	if err := namespace.Run(t.Context(), namespace.Job{Name: "write", Payload: j, Files: files}); err != nil {
		t.Fatal(err)
	}
	for i, form := range forms {
		data, again := read(t, j.Targets[2*i]), read(t, j.Targets[2*i+1])
		want, known := magic[form]
		if !known || len(data) < want.at || !bytes.HasPrefix(data[want.at:], []byte(want.text)) {
			t.Errorf("%s is %d bytes that begin with %.16q", form, len(data), data)
		}
		if !bytes.Equal(data, again) {
			t.Errorf("%s differs from one time to the next", form)
		}
	}
}
