package resolve

import (
	"os"
	"testing"

	"vmbuild/rootfs/internal/control"
)

// index reads the Packages index that VMBUILD_INDEX names.
func index(b *testing.B) []control.Package {
	data, err := os.ReadFile(os.Getenv("VMBUILD_INDEX"))
	if err != nil {
		b.Skip("VMBUILD_INDEX names no Packages index: ", err)
	}
	packages, err := control.ParseIndex(data)
	if err != nil {
		b.Fatal(err)
	}
	return packages
}

func BenchmarkNewUniverse(b *testing.B) {
	packages := index(b)
	b.ReportAllocs()
	for b.Loop() {
		NewUniverse("amd64", []Archive{{Packages: packages}})
	}
}

func BenchmarkSetRanks(b *testing.B) {
	packages := index(b)
	u := NewUniverse("amd64", []Archive{{Packages: packages}})
	b.ReportAllocs()
	for b.Loop() {
		u.setRanks()
	}
}

func BenchmarkResolve(b *testing.B) {
	u := NewUniverse("amd64", []Archive{{Packages: index(b)}})
	for name, r := range map[string]Request{
		"important":        {Essential: true, Priorities: []string{"required", "important"}},
		"gnome":            {Packages: []string{"gnome"}},
		"gnome-recommends": {Packages: []string{"gnome"}, Recommends: true},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := u.Resolve(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
