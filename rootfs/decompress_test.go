package rootfs

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

func TestDecompress(t *testing.T) {
	const text = "the same text"
	compressed := func(open func(io.Writer) (io.WriteCloser, error)) string {
		t.Helper()
		var b bytes.Buffer
		w, err := open(&b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	gz := compressed(func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil })
	for name, test := range map[string]struct{ content, want string }{
		"gzip": {gz, text},
		"zstd": {compressed(func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }), text},
		"xz":   {compressed(func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }), text},
		// printf 'the same text' | bzip2
		"bzip2":         {"\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\xd2\x14\x2a\x3d\x00\x00\x05\x11\x80\x40\x00\x22\x42\x0c\x40\x20\x00\x31\x0c\x08\x1a\x34\xc2\x10\xd3\x82\x40\x6d\xf1\x77\x24\x53\x85\x09\x0d\x21\x42\xa3\xd0", text},
		"plain":         {text, text},
		"one byte":      {"B", "B"},
		"empty":         {"", ""},
		"without sum":   {gz[:len(gz)-8], "unexpected EOF"},
		"magic alone":   {"\x1f\x8b", `decompress "tar.gz": unexpected EOF`},
		"another's sum": {gz[:len(gz)-8] + strings.Repeat("x", 8), "gzip: invalid checksum"},
	} {
		got := ""
		r, err := Decompress(strings.NewReader(test.content), int64(len(test.content)))
		if err == nil {
			var plain []byte
			plain, err = io.ReadAll(r)
			got = string(plain)
			r.Close()
		}
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
