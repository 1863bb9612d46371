package filesystem

import (
	"os"
	"path/filepath"
	"testing"

	"vmbuild/rootfs/tree"
)

// A package or a hook may leave a link where a filesystem is to be mounted; what it leads to is none of the image's.
func TestMountPointsAreNoLinks(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/etc", filepath.Join(dir, "boot")); err != nil {
		t.Fatal(err)
	}
	for _, j := range []Job{
		{Tree: &tree.Tree{Dir: dir}, Dir: "/boot/efi"},
		{Tree: &tree.Tree{Dir: dir}, Dir: "/", Exclude: []string{"/boot"}},
	} {
		fs, err := Lookup("ext4")
		if err != nil {
			t.Fatal(err)
		}
		want := "make ext4 filesystem for " + j.Dir + ": /boot is a link, and a filesystem cannot be mounted there"
		if err := fs.Make(t.Context(), j); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
