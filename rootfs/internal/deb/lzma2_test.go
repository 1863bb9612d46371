package deb

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/mikelolasagasti/xz"
)

// byStream decodes a file with the stream decoder, the judge of decodeLZMA2.
func byStream(file []byte) ([]byte, error) {
	r, err := xz.NewReader(bytes.NewReader(file), maxDictionary)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// mixture is data with literals, short and long matches, repeated and far ones, and parts that do not compress.
func mixture(n int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	var data []byte
	for len(data) < n {
		switch random.IntN(4) {
		case 0:
			for range random.IntN(5000) {
				data = append(data, byte(random.Uint32()))
			}
		case 1:
			data = append(data, sample(random.IntN(5000))...)
		case 2:
			data = append(data, bytes.Repeat([]byte{byte(random.Uint32())}, random.IntN(3000))...)
		case 3:
			start := random.IntN(len(data) + 1)
			data = append(data, data[start:min(len(data), start+random.IntN(8000))]...)
		}
	}
	return data[:n]
}

// TestLZMA2 decodes what xz writes with all kinds of settings.
func TestLZMA2(t *testing.T) {
	data := mixture(600_000)
	for _, options := range [][]string{
		{"-0"}, {"-6"}, {"-9e"}, {"--lzma2=lc=0,lp=0,pb=0"}, {"--lzma2=lc=4,lp=0,pb=4"}, {"--lzma2=lc=0,lp=4,pb=2"},
		{"--lzma2=lc=1,lp=3,pb=1"}, {"--lzma2=dict=4KiB"}, {"--lzma2=dict=128MiB"}, {"--lzma2=nice=273,mf=bt2"},
		{"--lzma2=mode=fast,mf=hc3"}, {"--block-size=100000", "--check=crc32"}, {"--check=none"}, {"--check=sha256"},
		{"--x86", "--lzma2"}, {"--delta=dist=4", "--lzma2"}, {"-T2", "--block-size=300000"},
	} {
		file := xzFile(t, data, options...)
		got, err := decompress(file)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%v: %d bytes, error %v; want %d bytes", options, len(got), err, len(data))
		}
	}
}

// TestLZMA2Damage flips bytes of the compressed data itself, which no checksum of the container covers: the decoder
// must not panic, and must accept and refuse what the stream decoder does.
func TestLZMA2Damage(t *testing.T) {
	data := mixture(10_000)
	file := xzFile(t, data, "--check=none")
	random := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		damaged := bytes.Clone(file)
		for range 1 + random.IntN(3) {
			damaged[24+random.IntN(len(file)-60)] ^= byte(1 << random.IntN(8))
		}
		compare(t, damaged)
	}
}

// compare decodes the only block of a file by both decoders.
func compare(t *testing.T, file []byte) {
	index, err := readXZIndex(bytes.NewReader(file), int64(len(file)))
	if err != nil || len(index.blocks) != 1 || index.flags[1] != 0 || index.largest() > 1<<20 {
		return
	}
	b := index.blocks[0]
	raw := append(bytes.Clone(file[b.offset:b.offset+b.unpadded]), make([]byte, maxSymbol)...)
	h, err := parseBlockHeader(raw[:b.unpadded])
	if err != nil || int64(h.size) > b.unpadded {
		return
	}
	got := make([]byte, b.uncompressed)
	n, err := decodeLZMA2(got, raw[h.size:], int(b.unpadded)-h.size, h.dictionary)
	if err == nil && n != int(b.unpadded)-h.size {
		err = errBlock
	}
	want, wantErr := byStream(file)
	if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
		t.Errorf("error %v, the stream decoder's %v; same bytes: %v", err, wantErr, bytes.Equal(got, want))
	}
}

func FuzzLZMA2(f *testing.F) {
	for _, options := range []string{"-0", "--lzma2=lc=0,lp=2", "--lzma2=pb=0,lc=4"} {
		f.Add(xzFile(f, mixture(3000), "--check=none", options))
	}
	f.Fuzz(func(t *testing.T, file []byte) { compare(t, file) })
}

func BenchmarkLZMA2(b *testing.B) {
	data := mixture(8 << 20)
	file := xzFile(b, data)
	for _, decoder := range []struct {
		name   string
		decode func([]byte) ([]byte, error)
	}{{"block", decompress}, {"stream", byStream}} {
		b.Run(decoder.name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := decoder.decode(file); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
