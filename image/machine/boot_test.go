package machine

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/offers"
)

// needBoot returns the architecture that is started, if the machine offers to start it.
func needBoot(t *testing.T, kind Firmware) arch.Arch {
	t.Helper()
	return needBootOf(t, Machine{Arch: row("amd64"), Firmware: kind}).Arch
}

func needBootOf(t *testing.T, m Machine) Machine {
	t.Helper()
	offers.Need(t, "boot")
	if err := (Host{}).Check(m); err != nil {
		t.Fatal(err)
	}
	return m
}

func startHost(t *testing.T, m Machine) *Process {
	t.Helper()
	p, err := m.Start(t.Context(), Host{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestBootBIOS(t *testing.T) {
	m := Machine{Arch: needBoot(t, BIOS), Image: writeDisk(t, echoDisk()), Accel: TCG}
	ctx := soon(t, 30*time.Second)
	p := startHost(t, m)
	expect := func(want string) {
		t.Helper()
		if got, err := p.Expect(ctx, regexp.MustCompile(regexp.QuoteMeta(want))); err != nil {
			t.Fatal(err)
		} else if !strings.HasSuffix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	send := func(keys string) {
		t.Helper()
		if err := p.Send(keys); err != nil {
			t.Fatal(err)
		}
	}
	expect("vmbuild test disk\nlogin: ")
	send("hello")
	expect("hello")
	send("r") // reboot
	expect("r")
	expect("vmbuild test disk\nlogin: ")
	send("q") // power off
	if err := p.Wait(ctx); err != nil {
		t.Error(err)
	}
}

func TestBootUEFI(t *testing.T) {
	for _, kind := range []Firmware{UEFI, SecureBoot} {
		t.Run(string(kind), func(t *testing.T) {
			m := Machine{Arch: needBoot(t, kind), Image: writeDisk(t, gpt(gptTypeESP)), Firmware: kind, Accel: TCG, Snapshot: true}
			p := startHost(t, m)
			// OVMF has found the disk, and nothing on it to start.
			if _, err := p.Expect(soon(t, time.Minute), regexp.MustCompile(`BdsDxe: failed to load Boot\d+ .*Misc Device`)); err != nil {
				t.Error(err)
			}
		})
	}
}

// Each firmware but UEFI, which takes long to find nothing, says who it is. QEMU takes all that its machine has.
func TestBootFirmware(t *testing.T) {
	for _, test := range []struct {
		arch string
		kind Firmware
		want string
	}{
		{"i386", BIOS, `vmbuild test disk\nlogin: `},
		{"arm64", UBoot, `U-Boot 20\d\d\.`},
		{"armhf", UBoot, `U-Boot 20\d\d\.`},
		{"riscv64", UBoot, `OpenSBI v(.|\n)*U-Boot 20\d\d\.`},
		{"ppc64el", OpenFirmware, `SLOF(.|\n)*FW Version =`},
	} {
		t.Run(test.arch, func(t *testing.T) {
			m := needBootOf(t, Machine{Arch: row(test.arch), Firmware: test.kind})
			m.Image, m.Accel, m.Snapshot = writeDisk(t, echoDisk()), TCG, true
			if _, err := startHost(t, m).Expect(soon(t, time.Minute), regexp.MustCompile(test.want)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBootWithAutoAccel(t *testing.T) {
	m := Machine{Arch: needBoot(t, BIOS), Image: writeDisk(t, echoDisk()), Snapshot: true, CacheDir: t.TempDir()}
	for _, limit := range []time.Duration{30 * time.Second, 15 * time.Second} { // with a trial, with its verdict
		begin := time.Now()
		p := startHost(t, m)
		if _, err := p.Expect(soon(t, limit), regexp.MustCompile("login: ")); err != nil {
			t.Error(err)
		}
		t.Logf("%s, as %s: login after %v", p.Accel, p.AccelReason, time.Since(begin).Round(time.Millisecond))
		p.Close()
	}
}

func TestBootOfBusyImageIsRefused(t *testing.T) {
	m := Machine{Arch: needBoot(t, BIOS), Image: writeDisk(t, echoDisk()), Accel: TCG}
	first := startHost(t, m)
	if _, err := first.Expect(soon(t, 30*time.Second), regexp.MustCompile("login: ")); err != nil {
		t.Fatal(err)
	}
	second, err := m.Start(t.Context(), Host{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = second.Expect(soon(t, 30*time.Second), regexp.MustCompile("login: "))
	if !errors.Is(err, ErrEnded) || !strings.Contains(err.Error(), `Failed to get "write" lock`) {
		t.Errorf("two machines wrote the same image: %v", err)
	}
	second.Close()
}
