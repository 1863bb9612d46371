package filesystem

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"vmbuild/rootfs/offers"
)

const testUUID = "c915787b-8445-84f0-9eec-070fcf265f23"

// The bytes are those of mkswap -U ... -L swap -p 4096 on a file of 1 MiB, but for its uninitialised padding.
func TestSwapHeader(t *testing.T) {
	f := image(t, "swap", Job{Offset: 1 << 20, Size: 1 << 20, UUID: testUUID, Label: "swap"})
	got := make([]byte, 4096)
	if _, err := f.ReadAt(got, 1<<20); err != nil {
		t.Fatal(err)
	}
	fields, err := hex.DecodeString("01000000" + "ff000000" + "00000000" + strings.ReplaceAll(testUUID, "-", "") + "73776170")
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 4096)
	copy(want[1024:], fields)
	copy(want[4086:], "SWAPSPACE2")
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", hex.Dump(got), hex.Dump(want))
	}
}

func TestSwapErrors(t *testing.T) {
	row, err := Lookup("swap")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		job  Job
		want string
	}{
		{Job{Size: 36864, UUID: testUUID}, "make swap filesystem: 36864 bytes are fewer than 10 pages of 4096"},
		{Job{Size: 1 << 20, UUID: "CAFE-0123"}, `make swap filesystem: "CAFE-0123" is not a UUID`},
		{Job{Size: 1 << 20, UUID: testUUID, Label: "seventeen letters"}, `make swap filesystem: label "seventeen letters" is longer than 16 bytes`},
	} {
		if got := fmt.Sprint(row.Make(context.Background(), test.job)); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

func TestSwapForeign(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "blkid", "swaplabel")
	for _, page := range []int64{4096, 65536} {
		f := image(t, "swap", Job{Offset: 1 << 20, Size: 4 << 20, UUID: testUUID, Label: "spare", PageSize: page})
		area := filepath.Join(t.TempDir(), "area")
		run(t, "dd", "status=none", "bs=1M", "skip=1", "count=4", "if="+f.Name(), "of="+area)
		if got, want := run(t, "swaplabel", area), "LABEL: spare\nUUID:  "+testUUID+"\n"; got != want {
			t.Errorf("swaplabel: %s", got)
		}
		if got := run(t, "blkid", "-p", "-o", "value", "-s", "TYPE", "-s", "VERSION", area); got != "1\nswap\n" {
			t.Errorf("blkid: %q", got)
		}
	}
}
