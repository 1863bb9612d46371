package machine

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/offers"
)

// An image of another size is a card only below a layer, which has its bytes and then zeroes.
func TestCard(t *testing.T) {
	whole, odd := writeDisk(t, make([]byte, 1<<20)), writeDisk(t, bytes.Repeat([]byte{7}, 1<<20+512))
	layered := func(size byte) []byte { return change(cardLayer(odd, Raw, 1<<20), 29, size) }
	for _, test := range []struct {
		machine Machine
		want    string
		layer   []byte
	}{
		{Machine{Image: whole, Format: Raw}, "if=sd,format=raw,file=" + whole, nil},
		{Machine{Image: whole, Format: Raw, Snapshot: true}, "if=sd,format=raw,file=" + whole + ",snapshot=on", nil},
		{Machine{Image: odd, Format: Raw, Snapshot: true}, "if=sd,format=qcow2,file=DIR/card.qcow2", layered(0x20)},
	} {
		dir := t.TempDir()
		got, err := test.machine.card(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got = strings.ReplaceAll(got, dir, "DIR"); got != test.want {
			t.Errorf("%s, want %s", got, test.want)
		}
		layer, err := os.ReadFile(filepath.Join(dir, "card.qcow2"))
		if !bytes.Equal(layer, test.layer) || (err == nil) != (test.layer != nil) {
			t.Errorf("%s: another layer, %v", got, err)
		}
	}
}

func TestCardLayer(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "qemu-img")
	base := bytes.Repeat([]byte("card"), 100_000)
	for _, size := range []int{512 << 10, 2 << 30} {
		dir := t.TempDir()
		layer := filepath.Join(dir, "card.qcow2")
		if err := os.WriteFile(layer, cardLayer(writeDisk(t, base), Raw, int64(size)), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("qemu-img", "check", layer).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		raw := filepath.Join(dir, "card.img")
		if out, err := exec.Command("qemu-img", "convert", "-O", "raw", layer, raw).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		file, err := os.Open(raw)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil || info.Size() != int64(size) {
			t.Errorf("%v, %v, want %d bytes", info, err, size)
		}
		got := make([]byte, 512<<10)
		if _, err := file.Read(got); err != nil {
			t.Fatal(err)
		}
		if want := append(bytes.Clone(base), make([]byte, len(got)-len(base))...); !bytes.Equal(got, want) {
			t.Error(cmp.Diff(want, got))
		}
	}
}
