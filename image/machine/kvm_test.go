package machine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/chroot"
)

// racers is a guest that behaves as one of two, by the accelerator it is run with.
func racers(kvm, tcg guest) guest {
	return func(ctx context.Context, c chroot.Command) error {
		if slices.Contains(c.Args, "kvm") {
			return kvm(ctx, c)
		}
		return tcg(ctx, c)
	}
}

func TestRace(t *testing.T) {
	amd64, _ := arch.Lookup("amd64")
	m, err := lookup(amd64, "")
	if err != nil {
		t.Fatal(err)
	}
	after := func(delay time.Duration, g guest) guest {
		return func(ctx context.Context, c chroot.Command) error {
			time.Sleep(delay)
			return g(ctx, c)
		}
	}
	aborts := guest(func(_ context.Context, c chroot.Command) error {
		io.WriteString(c.Stderr, "error: failed to set MSR 0x10a to 0x69\n")
		return errors.New("signal: aborted")
	})
	stops := guest(func(ctx context.Context, c chroot.Command) error {
		io.WriteString(c.Stderr, "KVM internal error. Suberror: 1\n")
		<-ctx.Done()
		return ctx.Err()
	})
	for _, test := range []struct {
		name     string
		kvm, tcg guest
		accel    Accel
		reason   string
	}{
		{"KVM first", prints("ran\r\n"), after(time.Second/4, prints("ran\r\n")), KVM, "KVM was faster than TCG in a trial"},
		{"TCG first", prints("r"), prints("ran\r\n"), TCG, "KVM was slower than TCG in a trial"},
		{"only KVM", after(time.Second/4, prints("ran\r\n")), aborts, KVM, "KVM was faster than TCG in a trial"},
		{"KVM fails", stops, after(time.Second/4, prints("ran\r\n")), TCG, "KVM failed in a trial: KVM cannot run this guest: KVM internal error. Suberror: 1"},
		{"both fail", aborts, aborts, TCG, "KVM failed in a trial: signal: aborted: error: failed to set MSR 0x10a to 0x69"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			accel, reason := m.race(t.Context(), racers(test.kvm, test.tcg), dir)
			if accel != test.accel || reason != test.reason {
				t.Errorf("%s, %q, want %s, %q", accel, reason, test.accel, test.reason)
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestAccelWithoutTrial(t *testing.T) {
	never := guest(func(context.Context, chroot.Command) error {
		t.Error("a trial was made")
		return nil
	})
	for _, m := range models() {
		if accel, _ := m.accel(t.Context(), never, Machine{Accel: KVM}, ""); accel != KVM {
			t.Errorf("%s: asked for KVM, got %s", m.Arch.Name, accel)
		}
		if m.Arch.Go == runtime.GOARCH {
			continue
		}
		accel, reason := m.accel(t.Context(), never, Machine{Accel: AutoAccel}, "")
		if want := `the processor is not of architecture "` + m.Arch.Name + `"`; accel != TCG || reason != want {
			t.Errorf("%s: %s, %q, want %q", m.Arch.Name, accel, reason, want)
		}
	}
}

func TestVerdictIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	if v, ok := readVerdict(dir); ok {
		t.Errorf("verdict %+v from nowhere", v)
	}
	writeVerdict(dir, TCG, "KVM was slower")
	want := verdict{readBootID(), TCG, "KVM was slower"}
	if v, ok := readVerdict(dir); !ok || v != want {
		t.Errorf("%+v, %v, want %+v", v, ok, want)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	stale := []byte(`{"BootID":"another","Accel":"kvm","Reason":"x"}`)
	if err := os.WriteFile(filepath.Join(dir, "kvm.json"), stale, 0o644); err != nil {
		t.Fatal(err)
	}
	if v, ok := readVerdict(dir); ok {
		t.Errorf("verdict %+v of another start of the host", v)
	}
}

func TestFaultOfKVMIsRemembered(t *testing.T) {
	dir := t.TempDir()
	fails := func(ctx context.Context, c chroot.Command) error {
		io.WriteString(c.Stderr, "KVM internal error. Suberror: 1\n")
		<-ctx.Done()
		return ctx.Err()
	}
	p := begin(t, fails, Machine{Accel: KVM, CacheDir: dir})
	if err := p.Wait(t.Context()); !errors.Is(err, ErrKVM) {
		t.Errorf("Wait: %v", err)
	}
	if v, ok := readVerdict(dir); !ok || v.Accel != TCG || !strings.HasPrefix(v.Reason, ErrKVM.Error()) {
		t.Errorf("%+v, %v", v, ok)
	}
}

func TestProbe(t *testing.T) {
	disk := probeAMD64()
	if text := string(disk[0xaf : 0xaf+len(probeText)+1]); text != probeText+"\x00" {
		t.Errorf("text %q", text)
	}
	if signature := disk[510:512]; !bytes.Equal(signature, []byte{0x55, 0xaa}) {
		t.Errorf("signature %x", signature)
	}
}
