package control

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseIndex(t *testing.T) {
	const input = `Package: a
Source: src (1.0)
Version: 1.0-1
Installed-Size: 12
Architecture: amd64
Pre-Depends: dpkg (>= 1.17)
Depends: b,
 c
Recommends: d
Suggests: e
Enhances: f
Conflicts: g
Breaks: h
Replaces: i
Provides: j (= 1)
Description: short
 long
Multi-Arch: same
Essential: yes
Protected: yes
Section: admin
Priority: required
Task: standard
Filename: pool/main/a/a_1.0-1_amd64.deb
Size: 3456
SHA256: 0123

package: b
VERSION: 2
Architecture: all
Important: yes
Tag: x::y,
 x::z
`
	got, err := ParseIndex([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	want := []Package{
		{
			Name: "a", Version: "1.0-1", Architecture: "amd64", Source: "src (1.0)", Section: "admin",
			Priority: "required", MultiArch: "same", Essential: true, Protected: true, PreDepends: "dpkg (>= 1.17)",
			Depends: "b,\n c", Recommends: "d", Suggests: "e", Enhances: "f", Conflicts: "g", Breaks: "h", Replaces: "i",
			Provides: "j (= 1)", Task: "standard", Filename: "pool/main/a/a_1.0-1_amd64.deb", SHA256: "0123", Size: 3456,
			InstalledSize: 12,
		},
		{Name: "b", Version: "2", Architecture: "all", Protected: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseIndexErrors(t *testing.T) {
	for input, want := range map[string]string{
		"Package: a\nVersion: 1\n\n":               "parse package index: line 3: package a has no Architecture field",
		"Package: a\nArchitecture: all\n\n":        "parse package index: line 3: package a has no Version field",
		"Version: 1\nArchitecture: all\n":          "parse package index: last stanza: stanza without a Package field",
		"\n\n x\n":                                 "parse package index: line 3: continuation line without a field before it",
		"Package: a\nnonsense\n":                   `parse package index: line 2: "nonsense" is neither a field nor the continuation of one`,
		"Package: a\nSize: 1k\n":                   `parse package index: line 2: "1k" is not a size`,
		"<html><head><title>302 Found</title>\n":   `parse package index: line 1: "<html><head><title>302 Found</title>" is neither a field nor the continuation of one`,
		"Package: a\nSize: 99999999999999999999\n": `parse package index: line 2: "99999999999999999999" is not a size`,
		"Package: a\r\nInstalled-Size: -1\r\n\r\n": `parse package index: line 2: "-1" is not a size`,
		": x\n": `parse package index: line 1: ": x" is neither a field nor the continuation of one`,
	} {
		if _, err := ParseIndex([]byte(input)); err == nil || err.Error() != want {
			t.Errorf("ParseIndex(%q): %v, want %q", input, err, want)
		}
	}
}

func FuzzParseIndex(f *testing.F) {
	f.Add([]byte("Package: a\nVersion: 1\nArchitecture: all\nDepends: b,\n c\nSize: 1\n\nPackage: b\n"))
	f.Add([]byte("Package: a\r\n x\r\n\r\n: \n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		packages, err := ParseIndex(data)
		if err != nil {
			return
		}
		for _, p := range packages {
			if p.Name == "" || p.Version == "" || p.Architecture == "" || p.Size < 0 {
				t.Errorf("%+v", p)
			}
		}
	})
}

// BenchmarkParseIndex reads the index that VMBUILD_INDEX names; trixie's main for amd64 has 57 MB.
func BenchmarkParseIndex(b *testing.B) {
	data := benchmarkData(b)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseIndex(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRelations(b *testing.B) {
	packages, err := ParseIndex(benchmarkData(b))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		for i := range packages {
			for _, err := range Relations(packages[i].Depends) {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	}
}

func benchmarkData(b *testing.B) []byte {
	b.Helper()
	data, err := os.ReadFile(os.Getenv("VMBUILD_INDEX"))
	if err != nil {
		b.Skip("VMBUILD_INDEX names no Packages index: ", err)
	}
	return data
}
