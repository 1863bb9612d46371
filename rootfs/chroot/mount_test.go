package chroot

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const mountInfo = `22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
40 27 0:40 / /tmp/with\040blank\134and\011tab\012 ro - tmpfs tmpfs rw
x 27 0:40 / /bad
41
`

func TestParseMountInfo(t *testing.T) {
	want := []mountPoint{
		{22, "0:21", "/proc"}, {27, "254:0", "/"}, {36, "98:0", "/mnt2"}, {40, "0:40", "/tmp/with blank\\and\ttab\n"},
	}
	if diff := cmp.Diff(want, parseMountInfo([]byte(mountInfo)), cmp.AllowUnexported(mountPoint{})); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseMountInfo(f *testing.F) {
	f.Add([]byte(mountInfo))
	f.Add([]byte("1 2 3 4 \\"))
	f.Fuzz(func(t *testing.T, data []byte) { parseMountInfo(data) })
}

func TestBelow(t *testing.T) {
	tests := map[string]bool{"/a/b": true, "/a/b/c": true, "/a/bc": false, "/a": false, "/": false}
	got := make(map[string]bool)
	for path := range tests {
		got[path] = below("/a/b", path)
	}
	if diff := cmp.Diff(tests, got); diff != "" {
		t.Error(diff)
	}
}
