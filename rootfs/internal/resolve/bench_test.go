package resolve

import (
	"os"
	"syscall"
	"testing"
	"time"

	"vmbuild/rootfs/internal/control"
)

// readIndex reads the Packages index that VMBUILD_INDEX names.
func readIndex(b *testing.B) []byte {
	data, err := os.ReadFile(os.Getenv("VMBUILD_INDEX"))
	if err != nil {
		b.Skip("VMBUILD_INDEX names no Packages index: ", err)
	}
	return data
}

func parseIndex(b *testing.B) []control.Package {
	packages, err := control.ParseIndex(readIndex(b))
	if err != nil {
		b.Fatal(err)
	}
	return packages
}

// measure runs f and reports, beside the time that passed, the processor's: on a busy machine it is the one to look at.
func measure(b *testing.B, f func() error) {
	b.ReportAllocs()
	start := processorTime(b)
	for b.Loop() {
		if err := f(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(processorTime(b)-start)/float64(b.N)/float64(time.Millisecond), "cpu-ms/op")
}

func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkLoad is what stands before the first Resolve: for Debian's main it has a budget of 100 ms.
func BenchmarkLoad(b *testing.B) {
	data := readIndex(b)
	measure(b, func() error {
		packages, err := control.ParseIndex(data)
		NewUniverse("amd64", []Archive{{Packages: packages}})
		return err
	})
}

func BenchmarkNewUniverse(b *testing.B) {
	packages := parseIndex(b)
	measure(b, func() error {
		NewUniverse("amd64", []Archive{{Packages: packages}})
		return nil
	})
}

func BenchmarkSetRanks(b *testing.B) {
	u := NewUniverse("amd64", []Archive{{Packages: parseIndex(b)}})
	measure(b, func() error {
		u.setRanks()
		return nil
	})
}

// BenchmarkResolve has a budget of 50 ms for each.
func BenchmarkResolve(b *testing.B) {
	u := NewUniverse("amd64", []Archive{{Packages: parseIndex(b), Codename: "trixie"}})
	narrow := "?narrow(?or(?archive(^trixie$),?codename(^trixie$)),?architecture(amd64),"
	for _, test := range []struct {
		name    string
		request Request
	}{
		{"important", Request{Essential: true, Priorities: []string{"required", "important"}}},
		{"patterns", Request{Packages: []string{narrow + "?essential)", narrow + "?or(~prequired,~pimportant))"}}},
		{"regexp", Request{Packages: []string{"^linux-image-amd64$"}}},
		{"gnome", Request{Packages: []string{"gnome"}}},
		{"gnome-recommends", Request{Packages: []string{"gnome"}, Recommends: true}},
	} {
		b.Run(test.name, func(b *testing.B) {
			measure(b, func() error {
				_, err := u.Resolve(test.request)
				return err
			})
		})
	}
}
