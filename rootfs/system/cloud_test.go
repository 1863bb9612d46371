package system

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func owner(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	s := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d", s.Uid, s.Gid)
}

func TestReadSeed(t *testing.T) {
	text := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for name, c := range map[string]struct {
		files fstest.MapFS
		want  Seed
		err   string
	}{
		"least": {fstest.MapFS{"user-data": text("#cloud-config\n"), "meta-data": text("")},
			Seed{"user-data": []byte("#cloud-config\n"), "meta-data": []byte{}}, ""},
		"all, and what is hidden": {fstest.MapFS{"user-data": text("u"), "meta-data": text("m"), "vendor-data": text("v"),
			"network-config": text("n"), ".git/config": text("x")},
			Seed{"user-data": []byte("u"), "meta-data": []byte("m"), "vendor-data": []byte("v"), "network-config": []byte("n")}, ""},
		"nothing":      {fstest.MapFS{}, nil, "read seed: there is no user-data, which cloud-init must have (it may be empty)"},
		"no meta-data": {fstest.MapFS{"user-data": text("u")}, nil, "read seed: there is no meta-data, which cloud-init must have (it may be empty)"},
		"mistyped": {fstest.MapFS{"user-data": text("u"), "meta-data": text("m"), "network_config": text("n")}, nil,
			`read seed: "network_config" is none of the files that cloud-init reads (user-data, meta-data, vendor-data, network-config)`},
		"directory": {fstest.MapFS{"user-data/x": text("u"), "meta-data": text("m")}, nil, "read seed: read user-data: invalid argument"},
	} {
		got, err := ReadSeed(c.files)
		if d := cmp.Diff(c.want, got); d != "" || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%s: %v, want %q\n%s", name, err, c.err, d)
		}
	}
}

func TestPrepareCloud(t *testing.T) {
	const networkd = "system_info:\n  network:\n    renderers: [networkd]\n"
	seed := Seed{"user-data": []byte("u"), "meta-data": []byte("m"), "network-config": []byte("n")}
	for name, c := range map[string]struct {
		config CloudInit
		want   map[string]string
	}{
		"no network":   {CloudInit{}, map[string]string{cloudConfig: "network:\n  config: disabled\n"}},
		"networkd":     {CloudInit{Renderer: "networkd"}, map[string]string{cloudConfig: networkd}},
		"keys of root": {CloudInit{Renderer: "networkd", RootKeys: true}, map[string]string{cloudConfig: networkd + "disable_root: false\n"}},
		"seed": {CloudInit{Renderer: "networkd", Seed: seed}, map[string]string{
			cloudConfig:                   "datasource_list: [NoCloud, None]\n" + networkd,
			cloudSeed + "/user-data":      "u",
			cloudSeed + "/meta-data":      "m",
			cloudSeed + "/network-config": "n",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			root, dir := openRoot(t)
			if err := prepareCloud(root, Config{CloudInit: &c.config}); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, list(t, dir)); d != "" {
				t.Errorf("files (-want +got):\n%s", d)
			}
		})
	}
	root, dir := openRoot(t)
	put(t, dir, map[string]string{cloudSeed + "/user-data": "old, and open to all"})
	if err := prepareCloud(root, Config{CloudInit: &CloudInit{Seed: seed}}); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"": 0o755 | os.ModeDir, "user-data": 0o600, "meta-data": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, cloudSeed, name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, mode)
		}
	}
}

func TestCheckSeed(t *testing.T) {
	with, without := Seed{"network-config": nil}, Seed{"user-data": nil}
	for _, c := range []struct {
		config CloudInit
		seed   Seed
		ok     bool
	}{
		{CloudInit{Renderer: "networkd"}, with, true}, {CloudInit{}, without, true}, {CloudInit{}, with, false},
	} {
		if err := c.config.CheckSeed(c.seed); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
