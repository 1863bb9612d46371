package session

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestProfile writes one at the start, one after each interval and one at the end, in the form of go tool pprof.
func TestProfile(t *testing.T) {
	dir := t.TempDir()
	p := Profile{Prefix: filepath.Join(dir, "x"), Every: 20 * time.Millisecond}
	stop, err := p.Start("outer")
	if err != nil {
		t.Fatal(err)
	}
	third := filepath.Join(dir, "x-outer-003.pprof")
	for range 500 {
		if _, err := os.Stat(third); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "x-outer-[0-9][0-9][0-9].pprof"))
	if err != nil || len(names) < 4 {
		t.Errorf("%q, %v", names, err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil || len(data) < 2 || data[0] != 0x1f || data[1] != 0x8b { // profiles are compressed by gzip
			t.Errorf("%s: %d bytes, %v", name, len(data), err)
		}
	}
}

func TestNoProfile(t *testing.T) {
	stop, err := Profile{}.Start("outer")
	if err != nil || stop() != nil {
		t.Error(err)
	}
	_, err = Profile{Prefix: "/nonexistent/x", Every: time.Second}.Start("outer")
	if want := "write memory profile: open /nonexistent/x-outer-001.pprof: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
