package machine

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"

	"vmbuild/rootfs/chroot"
)

// ErrKVM is in the error of a machine whose guest this host's KVM could not run. With a Machine.CacheDir the next
// AutoAccel takes TCG.
var ErrKVM = errors.New("KVM cannot run this guest")

// /dev/kvm may be there and be of no use: on a host that is a virtual machine itself and has no virtualisation of its
// processor, KVM emulates firmware slower than TCG translates it and gives up in the kernel's decompressor, or hangs.
// So a small guest of our own is raced under both before the user's image runs under either: nothing of the image is
// touched, and an image that prints nothing is judged as well as any other. KVM is taken where it wins.
const (
	kvmDevice = "/dev/kvm"
	bootID    = "/proc/sys/kernel/random/boot_id"
	raceLimit = 10 * time.Second // TCG needs 0.7 s
)

// verdict is what is remembered until the host is started anew.
type verdict struct {
	BootID string
	Accel  Accel
	Reason string
}

// accel decides how the guest's instructions are run, and says why.
func (m model) accel(ctx context.Context, p Programs, machine Machine, dir string) (Accel, string) {
	switch {
	case machine.Accel != AutoAccel:
		return machine.Accel, "asked for"
	case m.Arch.Go != runtime.GOARCH:
		return TCG, fmt.Sprintf("the processor is not of architecture %q", m.Arch.Name)
	case m.probe == nil:
		return TCG, fmt.Sprintf("KVM is not tried for architecture %q", m.Arch.Name)
	}
	device, err := os.OpenFile(kvmDevice, os.O_RDWR, 0)
	if err != nil {
		return TCG, fmt.Sprintf("KVM cannot be used: %v", err)
	}
	device.Close()
	if v, ok := readVerdict(machine.CacheDir); ok {
		return v.Accel, v.Reason
	}
	accel, reason := m.race(ctx, p, dir)
	if ctx.Err() == nil {
		writeVerdict(machine.CacheDir, accel, reason)
	}
	return accel, reason
}

// race runs the probe under KVM and TCG at once and returns the first to come to its end.
func (m model) race(ctx context.Context, p Programs, dir string) (Accel, string) {
	disk := filepath.Join(dir, "kvm-probe.img")
	defer os.Remove(disk)
	if err := os.WriteFile(disk, m.probe, 0o600); err != nil {
		return TCG, fmt.Sprintf("KVM was not tried: %v", err)
	}
	type result struct {
		accel Accel
		err   error
	}
	results := make(chan result)
	var runners sync.WaitGroup
	defer runners.Wait()
	ctx, cancel := context.WithTimeout(ctx, raceLimit)
	defer cancel()
	for _, accel := range []Accel{KVM, TCG} {
		runners.Go(func() {
			err := m.runProbe(ctx, p, accel, dir, disk)
			select {
			case results <- result{accel, err}:
			case <-ctx.Done():
			}
		})
	}
	kvm := "KVM was slower than TCG in a trial"
	for range 2 {
		select {
		case r := <-results:
			switch {
			case r.err == nil && r.accel == KVM:
				return KVM, "KVM was faster than TCG in a trial"
			case r.err == nil:
				return TCG, kvm
			case r.accel == KVM:
				kvm = "KVM failed in a trial: " + strings.Join(strings.Fields(r.err.Error()), " ")
			}
		case <-ctx.Done():
			return TCG, fmt.Sprintf("KVM was tried: %v", ctx.Err())
		}
	}
	return TCG, kvm
}

// runProbe runs the probe to its end.
func (m model) runProbe(ctx context.Context, p Programs, accel Accel, dir, disk string) error {
	machine := Machine{Image: disk, Format: Raw, MemoryMiB: 64, CPUs: 1, Snapshot: true}
	drive, err := machine.medium(m, dir)
	if err != nil {
		return err
	}
	process, err := launch(ctx, p, start{
		program: m.program,
		args:    append(m.arguments(BIOS, FirmwareFiles{}, accel), machine.arguments(m.devices, drive)...),
		binds:   []chroot.Bind{same(dir, false)},
		dir:     dir,
		accel:   accel,
	})
	if err != nil {
		return err
	}
	defer process.Close()
	_, err = process.Expect(ctx, regexp.MustCompile(regexp.QuoteMeta(strings.TrimSpace(probeText))))
	if errors.Is(err, ErrEnded) {
		return cmp.Or(process.Wait(ctx), err)
	}
	return err
}

// readVerdict returns what was found out since the host was started, if it was and can be read.
func readVerdict(cacheDir string) (verdict, bool) {
	if cacheDir == "" {
		return verdict{}, false
	}
	var v verdict
	data, err := os.ReadFile(filepath.Join(cacheDir, "kvm.json"))
	if err != nil || json.Unmarshal(data, &v) != nil {
		return verdict{}, false
	}
	return v, v.BootID != "" && v.BootID == readBootID()
}

// writeVerdict remembers a verdict. That it could not is no error: the next machine tries again.
func writeVerdict(cacheDir string, accel Accel, reason string) {
	data, err := json.Marshal(verdict{readBootID(), accel, reason})
	if cacheDir == "" || err != nil || os.MkdirAll(cacheDir, 0o755) != nil {
		return
	}
	file, err := os.CreateTemp(cacheDir, "kvm-*.json")
	if err != nil {
		return
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), filepath.Join(cacheDir, "kvm.json"))
	}
	if err != nil {
		os.Remove(file.Name())
	}
}

func readBootID() string {
	id, _ := os.ReadFile(bootID)
	return string(bytes.TrimSpace(id))
}
