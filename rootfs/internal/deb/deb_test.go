package deb

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"vmbuild/rootfs/offers"
)

// arFile writes members as ar(5): pairs of name and content.
func arFile(members ...string) []byte {
	var b bytes.Buffer
	b.WriteString(arMagic)
	for i := 0; i < len(members); i += 2 {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", members[i], 0, 0, 0, 0o100644, len(members[i+1]))
		b.WriteString(members[i+1])
		if len(members[i+1])%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// tarFile writes regular files: pairs of name and content.
func tarFile(t testing.TB, files ...string) string {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		h := &tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1])), Typeflag: tar.TypeReg}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, files[i+1])
	}
	w.Close()
	return b.String()
}

func gz(t testing.TB, s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, s)
	w.Close()
	return b.String()
}

func zst(t testing.TB, s string) string {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(w.EncodeAll([]byte(s), nil))
}

func TestOpen(t *testing.T) {
	control := tarFile(t, "./control", "Package: a\n", "./postinst", "#!/bin/sh\n", "md5sums", "")
	data := tarFile(t, "./usr/bin/a", "hello")
	for _, test := range []struct {
		name string
		file []byte
		want string
	}{
		{"none", arFile("debian-binary", "2.0\n", "control.tar", control, "data.tar", data), "ok"},
		{"gzip", arFile("debian-binary", "2.0\n", "control.tar.gz", gz(t, control), "data.tar.gz", gz(t, data)), "ok"},
		{"zstd", arFile("debian-binary", "2.0\n", "control.tar.zst", zst(t, control), "data.tar.zst", zst(t, data)), "ok"},
		{"slash, underscore, trailing", arFile("debian-binary/", "2.1\n", "_x", "y", "control.tar/", control, "data.tar", data, "z", "z"), "ok"},
		{"order", arFile("debian-binary", "2.0\n", "data.tar", data, "control.tar", control),
			"open package: not debian-binary, control.tar, data.tar in this order"},
		{"version", arFile("debian-binary", "3.0\n", "control.tar", control, "data.tar", data),
			`open package: package format "3.0\n", not 2.0`},
		{"no control", arFile("debian-binary", "2.0\n", "control.tar", tarFile(t, "x", "y"), "data.tar", data),
			"open package: control.tar: no file control"},
		{"truncated", arFile("debian-binary", "2.0\n", "control.tar", control, "data.tar", data)[:3000],
			`open package: member "control.tar": unexpected EOF`},
		{"empty", nil, "open package: not an ar archive, or a damaged one"},
		{"text", []byte("<html>404</html>"), "open package: not an ar archive, or a damaged one"},
		{"size", []byte(strings.Replace(string(arFile("debian-binary", "2.0\n")), "4         `", "-4        `", 1)),
			"open package: not an ar archive, or a damaged one"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := Open(bytes.NewReader(test.file), int64(len(test.file)))
			if err != nil {
				if err.Error() != test.want {
					t.Errorf("error %q, want %q", err, test.want)
				}
				return
			}
			if test.want != "ok" {
				t.Fatalf("no error, want %q", test.want)
			}
			want := map[string]Member{
				"control":  {[]byte("Package: a\n"), 0o644},
				"postinst": {[]byte("#!/bin/sh\n"), 0o644},
				"md5sums":  {[]byte{}, 0o644},
			}
			if diff := cmp.Diff(want, p.Control); diff != "" {
				t.Error(diff)
			}
			stream, err := p.Data()
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			got, err := io.ReadAll(stream)
			if err != nil || string(got) != data {
				t.Errorf("data.tar of %d bytes, error %v; want %d bytes", len(got), err, len(data))
			}
		})
	}
}

// xzFile compresses data with the program xz, which is needed for test inputs only.
func xzFile(t testing.TB, data []byte, args ...string) []byte {
	t.Helper()
	offers.Need(t, "build")
	offers.Programs(t, "xz")
	c := exec.Command("xz", append([]string{"-c"}, args...)...)
	c.Stdin = bytes.NewReader(data)
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sample is text that compresses, of n bytes.
func sample(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "line %d of %x\n", i, i*i*7919)
	}
	return b.Bytes()[:n]
}

func decompress(file []byte) ([]byte, error) {
	r, err := Decompress("Packages.xz", bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestXZBlocks(t *testing.T) {
	data := sample(300_000)
	blocks := xzFile(t, data, "--block-size=40000")
	one := xzFile(t, data)
	for _, test := range []struct {
		name string
		file []byte
		want []byte
	}{
		{"blocks", blocks, data},
		{"one block", one, data},
		{"no check", xzFile(t, data, "--block-size=40000", "--check=none"), data},
		{"sha256", xzFile(t, data, "--block-size=40000", "--check=sha256"), data},
		{"padding", append(bytes.Clone(blocks), make([]byte, 8)...), data},
		{"two streams", append(bytes.Clone(blocks), one...), append(bytes.Clone(data), data...)},
		{"empty", xzFile(t, nil), []byte{}},
	} {
		got, err := decompress(test.file)
		if err != nil || !bytes.Equal(got, test.want) {
			t.Errorf("%s: %d bytes, error %v; want %d bytes", test.name, len(got), err, len(test.want))
		}
	}
}

// TestXZDamage flips each of many bytes and cuts the file at many places: no wrong byte may come out without an error.
func TestXZDamage(t *testing.T) {
	data := sample(100_000)
	file := xzFile(t, data, "--block-size=20000")
	for i := 0; i < len(file); i += 1 + len(file)/150 {
		damaged := bytes.Clone(file)
		damaged[i] ^= 0x55
		if got, err := decompress(damaged); err == nil {
			t.Errorf("byte %d flipped: no error, %d bytes", i, len(got))
		}
		if got, err := decompress(file[:i]); err == nil {
			t.Errorf("cut at %d: no error, %d bytes", i, len(got))
		}
	}
}

// TestDecodeXZ decodes files at once, into the memory of the one before.
func TestDecodeXZ(t *testing.T) {
	data := sample(300_000)
	one := xzFile(t, data)
	var buf []byte
	for name, file := range map[string][]byte{
		"one block": one, "blocks": xzFile(t, data, "--block-size=40000"), "a filter": xzFile(t, data, "--x86", "--lzma2"),
	} {
		got, err := DecodeXZ(file, buf)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if size, err := SizeXZ(bytes.NewReader(file), int64(len(file))); size != int64(len(data)) || err != nil {
			t.Errorf("%s: size %d, %v", name, size, err)
		}
		buf = got
	}
	for name, file := range map[string][]byte{"cut": one[:len(one)-20], "another file": []byte("\x7fELF and so on"), "empty": nil} {
		if got, err := DecodeXZ(file, buf); err == nil {
			t.Errorf("%s: %d bytes", name, len(got))
		}
		if size, err := SizeXZ(bytes.NewReader(file), int64(len(file))); err == nil {
			t.Errorf("%s: size %d", name, size)
		}
	}
}

func TestXZCloseEarly(t *testing.T) {
	file := xzFile(t, sample(400_000), "--block-size=20000")
	r, err := Decompress("x.xz", bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Fatal(err)
	}
}

func FuzzOpen(f *testing.F) {
	control := tarFile(f, "./control", "Package: a\n")
	f.Add(arFile("debian-binary", "2.0\n", "control.tar", control, "data.tar", control))
	f.Add(arFile("debian-binary", "2.0\n", "control.tar.gz", gz(f, control), "data.tar.zst", zst(f, control)))
	f.Fuzz(func(t *testing.T, file []byte) {
		p, err := Open(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			return
		}
		if stream, err := p.Data(); err == nil {
			io.Copy(io.Discard, io.LimitReader(stream, 1<<20))
			stream.Close()
		}
	})
}

func FuzzXZIndex(f *testing.F) {
	f.Add(xzFile(f, sample(100_000), "--block-size=20000"))
	f.Add(xzFile(f, nil))
	f.Fuzz(func(t *testing.T, file []byte) {
		index, err := readXZIndex(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			return
		}
		for _, b := range index.blocks {
			if b.offset < xzHeaderSize || b.unpadded < 1 || b.offset+b.unpadded > int64(len(file)) {
				t.Errorf("block %+v outside of a file of %d bytes", b, len(file))
			}
		}
	})
}
