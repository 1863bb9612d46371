package measure

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDetach looks through a sysfs that has a device of ours, one with a mapped device, and others.
func TestDetach(t *testing.T) {
	dir := t.TempDir()
	for path, text := range map[string]string{
		"block/loop0/loop/backing_file":       "/srv/a/disk.img\n",
		"block/loop1/loop/backing_file":       "/srv/b.img (deleted)\n",
		"block/loop1/holders/dm-0/dm/name":    "loop1p1\n",
		"block/loop2/loop/backing_file":       "/srvother/c.img\n",
		"block/loop2/holders/dm-1/dm/name":    "loop2p1\n",
		"block/loop3/size":                    "0\n",
		"block/sda/loop/backing_file":         "/srv/no\n",
		"bin/dmsetup":                         "#!/bin/sh\necho \"$@\" >>" + dir + "/mapped\n",
		"block/loop12/loop/backing_file":      "/srv/refused\n",
		"block/loop12/holders/other/dm/title": "\n",
	} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+"/bin:"+os.Getenv("PATH"))
	cleared := map[string]bool{}
	err := detach(dir+"/block", "/srv", func(device string) error {
		cleared[device] = true
		if device == "/dev/loop12" {
			return errors.New("busy")
		}
		return nil
	})
	if want := `detach loop device "loop12": busy`; err == nil || err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	if diff := cmp.Diff(map[string]bool{"/dev/loop0": true, "/dev/loop1": true, "/dev/loop12": true}, cleared); diff != "" {
		t.Errorf("detached (-want +got):\n%s", diff)
	}
	if text, err := os.ReadFile(dir + "/mapped"); string(text) != "remove -- loop1p1\n" || err != nil {
		t.Errorf("dmsetup was called with %q, %v", text, err)
	}
}
