package control

import "strings"

// CompareVersions returns -1, 0 or +1 as Debian version a is older than, as old as or newer than b: epoch, then
// upstream version, then revision (Debian policy 5.6.12, deb-version(7)). It never fails: text that is not a version
// is compared by the same rules.
func CompareVersions(a, b string) int {
	if a == b {
		return 0
	}
	epochA, upstreamA, revisionA := splitVersion(a)
	epochB, upstreamB, revisionB := splitVersion(b)
	if c := compareParts(epochA, epochB); c != 0 {
		return c
	}
	if c := compareParts(upstreamA, upstreamB); c != 0 {
		return c
	}
	return compareParts(revisionA, revisionB)
}

// splitVersion cuts [epoch:]upstream[-revision]. A missing epoch or revision is empty, which compares like 0.
func splitVersion(v string) (epoch, upstream, revision string) {
	if e, rest, found := strings.Cut(v, ":"); found {
		epoch, v = e, rest
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return epoch, v[:i], v[i+1:]
	}
	return epoch, v, ""
}

// compareParts walks both texts as alternating runs of non-digits, compared by weight, and of digits, compared as
// numbers of any length.
func compareParts(a, b string) int {
	for a != "" || b != "" {
		for startsWithText(a) || startsWithText(b) {
			if c := weight(a) - weight(b); c != 0 {
				return sign(c)
			}
			a, b = a[1:], b[1:] // equal weights: neither is at its end
		}
		var numberA, numberB string
		numberA, a = cutNumber(a)
		numberB, b = cutNumber(b)
		if c := len(numberA) - len(numberB); c != 0 {
			return sign(c)
		}
		if c := strings.Compare(numberA, numberB); c != 0 {
			return c
		}
	}
	return 0
}

func startsWithText(s string) bool { return s != "" && !isDigit(s[0]) }

// weight orders the first byte of s: a tilde before the end, the end before letters, letters before all else.
func weight(s string) int {
	switch {
	case s == "" || isDigit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case 'a' <= s[0]|0x20 && s[0]|0x20 <= 'z':
		return int(s[0])
	}
	return int(s[0]) + 256
}

// cutNumber cuts the leading digits, without their leading zeros, from s.
func cutNumber(s string) (number, rest string) {
	end := 0
	for end < len(s) && isDigit(s[end]) {
		end++
	}
	return strings.TrimLeft(s[:end], "0"), s[end:]
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func sign(c int) int {
	if c < 0 {
		return -1
	}
	return 1
}
