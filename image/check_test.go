package image

import (
	"testing"

	"vmbuild/partition"
)

// Room beside the products is asked for by filesystems that programs make: in a file of their own, or on a disk that is
// none of the products.
func TestScratchRoom(t *testing.T) {
	for _, test := range []struct {
		filesystem, format string
		want               int64
	}{
		{"ext4", "raw", 0}, {"ext4", "qcow2", 0}, {"ext3", "raw", 0}, {"ext3", "qcow2", systemRoom},
		{"xfs", "raw", systemRoom}, {"xfs", "qcow2", 2 * systemRoom}, {"", "qcow2", 0},
	} {
		p := &Plan{Products: []Product{{Format: test.format}}, Layout: &partition.Layout{Partitions: []partition.Partition{
			{Request: partition.Request{Filesystem: "vfat"}}, {Request: partition.Request{Filesystem: test.filesystem}},
		}}}
		if got := p.scratchRoom(); got != test.want {
			t.Errorf("%s as %s: %d bytes, want %d", test.filesystem, test.format, got, test.want)
		}
	}
	if got := (&Plan{}).scratchRoom(); got != 0 {
		t.Errorf("without a disk: %d bytes", got)
	}
}
