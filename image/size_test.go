package image

import "testing"

func TestParseSize(t *testing.T) {
	for in, want := range map[string]Size{
		"1G": gib, "1g": gib, "1GiB": gib, "1GB": 1e9, "1.5G": gib + gib/2, "512M": 512 * mib, "4096": 4096, "8K": 8192,
		"2T": 2048 * gib, " 1 G ": gib, "0": 0, "100MB": 1e8, "10B": 10,
	} {
		got, err := ParseSize(in)
		if err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"":          `size "" is not a number with an optional unit (K, M, G, T: powers of 1024; KB, MB, GB, TB: powers of 1000)`,
		"-1G":       `size "-1G" is not a number with an optional unit (K, M, G, T: powers of 1024; KB, MB, GB, TB: powers of 1000)`,
		"1e3G":      `size "1e3G" is not a number with an optional unit (K, M, G, T: powers of 1024; KB, MB, GB, TB: powers of 1000)`,
		"nanG":      `size "nanG" is not a number with an optional unit (K, M, G, T: powers of 1024; KB, MB, GB, TB: powers of 1000)`,
		"99999999T": `size "99999999T" is larger than any disk`,
	} {
		if _, err := ParseSize(in); err == nil || err.Error() != want {
			t.Errorf("ParseSize(%q): %v, want %s", in, err, want)
		}
	}
}

func TestSizeString(t *testing.T) {
	for in, want := range map[Size]string{0: "0", 1: "1", 1024: "1K", gib: "1G", gib + mib: "1025M", 1e9: "1000000000"} {
		if got := in.String(); got != want {
			t.Errorf("Size(%d) = %q, want %q", int64(in), got, want)
		}
		if back, err := ParseSize(in.String()); err != nil || back != in {
			t.Errorf("ParseSize(%q) = %d, %v", in.String(), back, err)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"1G", "1.5GiB", "x", "9223372036854775807"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseSize(s)
		if err == nil && n < 0 {
			t.Errorf("ParseSize(%q) = %d", s, n)
		}
	})
}
