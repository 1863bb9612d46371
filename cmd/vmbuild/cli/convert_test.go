package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestConvert goes from the command line to files and back.
func TestConvert(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	disk := make([]byte, 1<<20)
	copy(disk[300000:], "some data")
	if err := os.WriteFile(at("a.img"), disk, 0o600); err != nil {
		t.Fatal(err)
	}
	done := regexp.MustCompile(`^convert       +\d+\.\d s  1\.0 MB\n$`)
	for _, args := range [][]string{
		{"convert", at("a.img"), at("b"), "--format=qcow2", "--compression=zstd"}, {"convert", at("b"), at("c.raw")},
	} {
		if r := run(t, args...); r.Status != 0 || r.Out != "" || !done.MatchString(r.Err) {
			t.Errorf("%q: %+v", args, r)
		}
	}
	if got, err := os.ReadFile(at("c.raw")); err != nil || string(got) != string(disk) {
		t.Errorf("%d bytes with other data, %v", len(got), err)
	}
	for want, args := range map[string][]string{
		`expected "<out>"`: {"convert", "a"},
		`--compression must be one of "none","zlib","zstd" but got "xz"`:         {"convert", "a", "b.qcow2", "--compression=xz"},
		"--compression=zlib: a raw image is not compressed":                      {"convert", "a", "b.img", "--compression=zlib"},
		`--format: format "vmdk" is not one of raw, qcow2`:                       {"convert", "a", "b", "--format=vmdk"},
		"--firmware-dir has UEFI firmware, which --firmware=bios does not start": {"run", "a", "--firmware=bios", "--firmware-dir=" + dir},
	} {
		if r := run(t, args...); r != refusal(want) {
			t.Errorf("%q: %+v, want %s", args, r, want)
		}
	}
}
