package image

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes. Written with K, M, G or T it counts as qemu-img does, in powers of 1024, and so does KiB,
// MiB, …; KB, MB, GB and TB are powers of 1000. A number alone is bytes.
type Size int64

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

var units = []struct {
	suffix string
	factor float64
}{
	{"KIB", 1 << 10}, {"MIB", 1 << 20}, {"GIB", 1 << 30}, {"TIB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"T", 1 << 40},
	{"B", 1}, {"", 1},
}

// ParseSize reads a size such as 1G, 1.5G, 512M, 4GB or 1073741824.
func ParseSize(s string) (Size, error) {
	upper := strings.ToUpper(strings.TrimSpace(s))
	for _, u := range units {
		digits, ok := strings.CutSuffix(upper, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		if err != nil || strings.ContainsAny(digits, "EXPN+-_") {
			break
		}
		if bytes := n * u.factor; bytes <= math.MaxInt64/2 {
			return Size(bytes), nil
		}
		return 0, fmt.Errorf("size %q is larger than any disk", s)
	}
	return 0, fmt.Errorf("size %q is not a number with an optional unit (K, M, G, T: powers of 1024; "+
		"KB, MB, GB, TB: powers of 1000)", s)
}

// UnmarshalText lets command lines and configuration files hold sizes.
func (s *Size) UnmarshalText(text []byte) error {
	n, err := ParseSize(string(text))
	*s = n
	return err
}

// String writes the size with the largest unit of 1024 that leaves no fraction.
func (s Size) String() string {
	for _, u := range []struct {
		factor Size
		suffix string
	}{{gib, "G"}, {mib, "M"}, {kib, "K"}} {
		if s != 0 && s%u.factor == 0 {
			return strconv.FormatInt(int64(s/u.factor), 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10)
}
