package live

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// archive makes a cpio archive of empty files, with one that is not.
func archive(names ...string) []byte {
	var b bytes.Buffer
	add := func(name, content string) {
		fmt.Fprintf(&b, "070701%048d%08x%032d%08x%08d%s\x00", 0, len(content), 0, len(name)+1, 0, name)
		b.Write(make([]byte, -b.Len()&3))
		b.WriteString(content)
		b.Write(make([]byte, -b.Len()&3))
	}
	add("init", "#!/bin/sh")
	for _, n := range names {
		add(n, "")
	}
	add(cpioTrailer, "")
	return b.Bytes()
}

func packed(t testing.TB, data []byte, open func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := open(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
	return packed(t, data, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil })
}

func zstandard(t testing.TB, data []byte) []byte {
	return packed(t, data, func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) })
}

func TestHasLiveBoot(t *testing.T) {
	microcode := append(archive("kernel/x86/microcode/GenuineIntel.bin"), make([]byte, 500)...)
	with, without := archive("scripts", "scripts/live"), archive("scripts", "scripts/local", "scripts/live-bottom")
	for name, test := range map[string]struct {
		initrd []byte
		want   string
	}{
		"plain":                       {with, "true"},
		"plain, without":              {without, "false"},
		"names with ./":               {archive("./scripts/live"), "true"},
		"zstd behind microcode":       {append(microcode[:len(microcode):len(microcode)], zstandard(t, with)...), "true"},
		"zstd, without":               {append(microcode[:len(microcode):len(microcode)], zstandard(t, without)...), "false"},
		"gzip":                        {gzipped(t, with), "true"},
		"two plain ones":              {append(without[:len(without):len(without)], with...), "true"},
		"compressed in an unread way": {[]byte("\x04\x22\x4d\x18 LZ4 this is"), "true"},
		"nothing":                     {nil, "false"},
		"cut off":                     {with[:150], "unexpected EOF"},
		"zstd cut off":                {zstandard(t, bytes.Repeat(without, 50))[:40], "unexpected EOF"},
		"damaged":                     {append(with[:128:128], strings.Repeat("x", 200)...), "damaged at byte 128 of a cpio archive"},
		"a name without length":       {[]byte("070701" + strings.Repeat("0", 104)), "damaged at byte 0 of a cpio archive"},
	} {
		has, err := hasLiveBoot(bytes.NewReader(test.initrd), int64(len(test.initrd)))
		got := fmt.Sprint(has)
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

func FuzzHasLiveBoot(f *testing.F) {
	with := archive("scripts/live")
	f.Add(with)
	f.Add(append(archive(), 0, 0, 0, 0))
	f.Add(gzipped(f, with))
	f.Add(zstandard(f, with))
	f.Add([]byte("070701" + strings.Repeat("f", 104)))
	f.Fuzz(func(_ *testing.T, initrd []byte) {
		hasLiveBoot(bytes.NewReader(initrd), int64(len(initrd)))
	})
}

func TestPEMachine(t *testing.T) {
	kernel := func(at byte, machine string) []byte {
		k := make([]byte, 256)
		copy(k, "MZ")
		k[60] = at
		copy(k[min(int(at), 248):], "PE\x00\x00"+machine)
		return k
	}
	for name, test := range map[string]struct {
		kernel []byte
		want   uint16
	}{
		"amd64":                {kernel(0x80, "\x64\x86"), 0x8664},
		"arm64":                {kernel(0x40, "\x64\xaa"), 0xaa64},
		"no kernel":            {[]byte(strings.Repeat("x", 100)), 0},
		"short":                {[]byte("MZ"), 0},
		"header after the end": {kernel(255, "")[:200], 0},
	} {
		if got, err := peMachine(bytes.NewReader(test.kernel)); got != test.want || err != nil {
			t.Errorf("%s: %#x, %v, want %#x", name, got, err, test.want)
		}
	}
}

func FuzzPEMachine(f *testing.F) {
	f.Add(append([]byte("MZ"), make([]byte, 80)...))
	f.Fuzz(func(_ *testing.T, kernel []byte) { peMachine(bytes.NewReader(kernel)) })
}
