package machine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/bootloader"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/chroot"
)

// guest stands for QEMU and what runs in it: a function that reads keys and prints.
type guest func(ctx context.Context, c chroot.Command) error

// Programs, with a guest for every program.
func (g guest) Firmware(arch.Arch, Firmware) (FirmwareFiles, error) { return FirmwareFiles{}, nil }
func (g guest) Run(ctx context.Context, c chroot.Command) error     { return g(ctx, c) }
func (g guest) Enter(context.Context, ...chroot.Bind) (chroot.Runner, io.Closer, error) {
	return g, io.NopCloser(nil), nil
}

// prints is a guest that prints pieces and then waits for its end.
func prints(pieces ...string) guest {
	return func(ctx context.Context, c chroot.Command) error {
		for _, piece := range pieces {
			io.WriteString(c.Stdout, piece)
		}
		<-ctx.Done()
		return ctx.Err()
	}
}

// begin starts a guest on a disk with boot code. What it leaves behind fails the test.
func begin(t *testing.T, g guest, m Machine) *Process {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	if m.Image == "" {
		m.Image = writeDisk(t, echoDisk())
	}
	if m.Accel == "" {
		m.Accel = TCG
	}
	m.Arch, _ = arch.Lookup("amd64")
	p, err := m.Start(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		if left, err := filepath.Glob(filepath.Join(os.TempDir(), "*")); err != nil || left != nil {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
	return p
}

func writeDisk(t *testing.T, disk []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.img")
	if err := os.WriteFile(path, disk, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func soon(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func TestModels(t *testing.T) {
	for _, m := range models() {
		name := m.Arch.Name + m.board
		if m.Arch.Name == "" || m.program == "" || m.machine == "" || m.devices.network == nil || len(m.packages) == 0 || len(m.firmware) == 0 {
			t.Errorf("row %+v is incomplete", m)
		}
		if m.devices.card == (m.devices.disk != nil) {
			t.Errorf("%s: the disk is a card or a device", name)
		}
		for _, kind := range m.firmware {
			switch {
			case kind == UEFI && m.target == "":
				t.Errorf("%s: no descriptor is for it", name)
			case kind.inFiles() && m.files[kind] == nil:
				t.Errorf("%s: firmware %s has no names", name, kind)
			case len(m.firmware) > 1 && kind == m.firmware[0] && kind.mark().name == "":
				t.Errorf("%s: it is not known what firmware %s looks for", name, kind)
			}
		}
		if m.Arch.UEFI() && m.board == "" && !m.can(UEFI) {
			t.Errorf("%s: Debian starts it by UEFI, its machine does not", name)
		}
		if board, err := bootloader.LookupBoard(m.board); m.board != "" && (err != nil || board.Arch != m.Arch.Name) {
			t.Errorf("%s: board of %q, %v", name, board.Arch, err)
		}
		if packages := (Machine{Arch: m.Arch, Board: m.board}).Packages(); !slices.Equal(packages, m.packages) {
			t.Errorf("%s: %v", name, packages)
		}
	}
	if diff := cmp.Diff(arch.Names(), Architectures()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"orangepi-pc"}, Boards()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"bios", "uefi", "secure-boot", "kernel", "u-boot", "open-firmware", "boot-rom"}, Firmwares()); diff != "" {
		t.Error(diff)
	}
}

func TestArguments(t *testing.T) {
	image := writeDisk(t, echoDisk())
	dir := t.TempDir()
	var got []string
	ended := func(_ context.Context, c chroot.Command) error {
		got = c.Args
		return nil
	}
	for _, test := range []struct {
		name    string
		machine Machine
		files   FirmwareFiles
		want    string
	}{
		{
			"defaults", Machine{Image: image, Accel: TCG}, FirmwareFiles{},
			`qemu-system-x86_64 -nodefaults -no-user-config -display none
			-chardev stdio,id=console,signal=off -serial chardev:console -machine q35
			-accel tcg,thread=multi,tb-size=1024 -cpu max,-cx16 -m 1024 -smp 1
			-drive if=none,id=disk,format=raw,file=IMAGE -device virtio-blk-pci,drive=disk,bootindex=0
			-netdev user,id=net -device virtio-net-pci,netdev=net,romfile= -device virtio-rng-pci`,
		},
		{
			"everything",
			Machine{
				Image: image, Accel: KVM, Firmware: SecureBoot, MemoryMiB: 512, CPUs: 2, Snapshot: true, NoReboot: true,
				Forward: []Forward{{2222, 22}, {8080, 80}}, Dir: dir,
			},
			FirmwareFiles{"/ovmf/CODE,4M", "raw", image, "qcow2"},
			`qemu-system-x86_64 -nodefaults -no-user-config -display none
			-chardev stdio,id=console,signal=off -serial chardev:console -machine q35
			-accel kvm -cpu host,arch-capabilities=off
			-machine smm=on -global driver=cfi.pflash01,property=secure,value=on
			-drive if=pflash,unit=0,readonly=on,format=raw,file=/ovmf/CODE,,4M
			-drive if=pflash,unit=1,format=qcow2,file=DIR/test.img -m 512 -smp 2
			-drive if=none,id=disk,format=raw,file=IMAGE,snapshot=on -device virtio-blk-pci,drive=disk,bootindex=0
			-netdev user,id=net,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=tcp:127.0.0.1:8080-:80
			-device virtio-net-pci,netdev=net,romfile= -device virtio-rng-pci -no-reboot`,
		},
		{
			"firmware in one file", Machine{Image: image, Accel: TCG, Firmware: UEFI}, FirmwareFiles{Code: "/ovmf/OVMF,1.fd"},
			`qemu-system-x86_64 -nodefaults -no-user-config -display none
			-chardev stdio,id=console,signal=off -serial chardev:console -machine q35
			-accel tcg,thread=multi,tb-size=1024 -cpu max,-cx16 -bios /ovmf/OVMF,1.fd -m 1024 -smp 1
			-drive if=none,id=disk,format=raw,file=IMAGE -device virtio-blk-pci,drive=disk,bootindex=0
			-netdev user,id=net -device virtio-net-pci,netdev=net,romfile= -device virtio-rng-pci`,
		},
		{
			"disc", Machine{Image: image, Accel: TCG, Disc: true}, FirmwareFiles{},
			`qemu-system-x86_64 -nodefaults -no-user-config -display none
			-chardev stdio,id=console,signal=off -serial chardev:console -machine q35
			-accel tcg,thread=multi,tb-size=1024 -cpu max,-cx16 -m 1024 -smp 1
			-drive if=none,id=disk,format=raw,file=IMAGE,media=cdrom,readonly=on
			-device virtio-scsi-pci -device scsi-cd,drive=disk,bootindex=0
			-netdev user,id=net -device virtio-net-pci,netdev=net,romfile= -device virtio-rng-pci`,
		},
		{
			"OpenSBI and U-Boot", Machine{Image: image, Arch: row("riscv64"), Accel: TCG, Firmware: UBoot}, FirmwareFiles{Code: "/u-boot/uboot.elf"},
			`qemu-system-riscv64 -nodefaults -no-user-config -display none
			-chardev stdio,id=console,signal=off -serial chardev:console -machine virt
			-accel tcg,thread=multi,tb-size=1024 -cpu rv64 -kernel /u-boot/uboot.elf -m 1024 -smp 1
			-drive if=none,id=disk,format=raw,file=IMAGE -device virtio-blk-pci,drive=disk,bootindex=0
			-netdev user,id=net -device virtio-net-pci,netdev=net,romfile= -device virtio-rng-pci`,
		},
		{
			"Open Firmware", Machine{Image: image, Arch: row("ppc64el"), Accel: TCG, Firmware: OpenFirmware}, FirmwareFiles{},
			`qemu-system-ppc64 -nodefaults -no-user-config -display none
			-chardev stdio,id=console,signal=off -serial chardev:console
			-machine pseries,cap-htm=off,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken
			-accel tcg,thread=multi,tb-size=1024 -cpu POWER9 -m 1024 -smp 1
			-drive if=none,id=disk,format=raw,file=IMAGE -device virtio-blk-pci,drive=disk,bootindex=0
			-netdev user,id=net -device virtio-net-pci,netdev=net,romfile= -device virtio-rng-pci`,
		},
		{
			"board", Machine{Image: image, Board: "orangepi-pc", Accel: TCG, Snapshot: true, Forward: []Forward{{2222, 22}}}, FirmwareFiles{},
			`qemu-system-arm -nodefaults -no-user-config -display none
			-chardev stdio,id=console,signal=off -serial chardev:console -machine orangepi-pc
			-accel tcg,thread=multi,tb-size=1024 -m 1024 -smp 4
			-drive if=sd,format=raw,file=IMAGE,snapshot=on
			-netdev user,id=net,hostfwd=tcp:127.0.0.1:2222-:22 -net nic,netdev=net`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.machine.Arch.Name == "" && test.machine.Board == "" {
				test.machine.Arch = row("amd64")
			}
			p, err := test.machine.Start(t.Context(), withFirmware{guest(ended), test.files})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Wait(t.Context()); err != nil {
				t.Error(err)
			}
			want := strings.Fields(strings.NewReplacer("IMAGE", image, "DIR", dir).Replace(test.want))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

type withFirmware struct {
	guest
	files FirmwareFiles
}

func (w withFirmware) Firmware(arch.Arch, Firmware) (FirmwareFiles, error) { return w.files, nil }

func TestStartRefuses(t *testing.T) {
	image := writeDisk(t, echoDisk())
	empty, odd := writeDisk(t, make([]byte, 1<<20)), writeDisk(t, make([]byte, 1<<20+512))
	for _, test := range []struct {
		machine Machine
		want    string
	}{
		{Machine{Image: "/nowhere.img"}, `start image "/nowhere.img": open /nowhere.img: no such file or directory`},
		{Machine{Image: image, Arch: arch.Arch{Name: "pdp11"}}, `start image "` + image + `": no machine is known for architecture "pdp11", only for ` + strings.Join(arch.Names(), ", ")},
		{Machine{Image: image, Board: "pdp"}, `start image "` + image + `": QEMU has no machine that is a board "pdp", only orangepi-pc`},
		{Machine{Image: image, Board: "orangepi-pc", Arch: row("arm64")}, `start image "` + image + `": no machine of architecture "arm64" is known that is a board "orangepi-pc"`},
		{Machine{Image: image, Board: "orangepi-pc", Firmware: UEFI}, `start image "` + image + `": board "orangepi-pc" has no firmware "uefi"`},
		{Machine{Image: image, Board: "orangepi-pc", Disc: true}, `start image "` + image + `": the machine has no drive for discs`},
		{Machine{Image: odd, Board: "orangepi-pc"}, `start image "` + odd + `": an SD card has a power of two as its size, and this image has 1049088 bytes: ` +
			`make it 2097152 bytes large (truncate -s 2097152), or start it with a snapshot`},
		{Machine{Image: image, Arch: row("s390x")}, `start image "` + image + `": read its kernel: no partition of the ext family has /etc/fstab`},
		{Machine{Image: image, Format: "vmdk"}, `start image "` + image + `": format "vmdk" is none of raw, qcow2`},
		{Machine{Image: empty}, `start image "` + empty + `": it has neither boot code in its first sector nor an EFI system partition: nothing can start it`},
	} {
		_, err := test.machine.Start(t.Context(), prints())
		if err == nil || err.Error() != test.want {
			t.Errorf("%+v: %v, want %s", test.machine, err, test.want)
		}
	}
}

func TestExpect(t *testing.T) {
	p := begin(t, prints("Loading Li", "nux\r\n\x1b[0;1", "mlog", "in\x1b[m: ", "and more"), Machine{})
	for _, test := range []struct{ pattern, want string }{
		{`Linux\n`, "Loading Linux\n"},
		{`login:`, "login:"},
		{`more`, " and more"},
	} {
		got, err := p.Expect(soon(t, 10*time.Second), regexp.MustCompile(test.pattern))
		if got != test.want || err != nil {
			t.Errorf("Expect(%q) = %q, %v, want %q", test.pattern, got, err, test.want)
		}
	}
}

func TestExpectFails(t *testing.T) {
	for _, test := range []struct {
		name  string
		guest guest
		is    error
		want  string
	}{
		{
			"in time", prints("one\r\n\r\ntwo\r\n", "grub> "), context.DeadlineExceeded,
			"expect \"login:\" on the console: context deadline exceeded:\n    one\n    two\n    grub>",
		},
		{
			"when the guest powers off",
			func(_ context.Context, c chroot.Command) error {
				io.WriteString(c.Stdout, "reboot: Power down\n")
				return nil
			},
			ErrEnded, "expect \"login:\" on the console: the machine has ended:\n    reboot: Power down",
		},
		{
			"when QEMU fails",
			func(_ context.Context, c chroot.Command) error {
				io.WriteString(c.Stderr, "qemu: could not open disk\n")
				return errors.New("run qemu: exit status 1")
			},
			ErrEnded,
			"expect \"login:\" on the console: the machine has ended: run qemu: exit status 1:\n    qemu: could not open disk",
		},
		{
			"when KVM gives up",
			func(ctx context.Context, c chroot.Command) error {
				io.WriteString(c.Stderr, "KVM internal error. Suberror: 1\r\nextra data[0]")
				<-ctx.Done()
				return errors.New("signal: killed")
			},
			ErrKVM,
			"expect \"login:\" on the console: the machine has ended: KVM cannot run this guest: KVM internal error. Suberror: 1",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := begin(t, test.guest, Machine{})
			_, err := p.Expect(soon(t, 500*time.Millisecond), regexp.MustCompile("login:"))
			if !errors.Is(err, test.is) || err.Error() != test.want {
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
}

func TestWaitAndClose(t *testing.T) {
	echoes := func(ctx context.Context, c chroot.Command) error {
		keys := bufio.NewReader(c.Stdin)
		line, err := keys.ReadString('\n')
		fmt.Fprintf(c.Stdout, "you typed %s", line)
		return err
	}
	var log strings.Builder
	p := begin(t, echoes, Machine{Log: &log})
	if err := p.Wait(soon(t, 10*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait: %v", err)
	}
	if err := p.Send("poweroff\n"); err != nil {
		t.Error(err)
	}
	if err := p.Wait(t.Context()); err != nil {
		t.Errorf("Wait: %v", err)
	}
	if err := p.Send("more\n"); err == nil {
		t.Error("a machine that has ended takes keys")
	}
	if err := p.Close(); err != nil || log.String() != "you typed poweroff\n" {
		t.Errorf("Close: %v, log %q", err, log.String())
	}

	running := begin(t, prints("hello"), Machine{})
	if err := running.Close(); err != nil {
		t.Errorf("Close of a running machine: %v", err)
	}
}

func TestContextEndsMachine(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	amd64, _ := arch.Lookup("amd64")
	p, err := Machine{Image: writeDisk(t, echoDisk()), Arch: amd64, Accel: TCG}.Start(ctx, prints())
	if err != nil {
		t.Fatal(err)
	}
	interrupted := errors.New("interrupted")
	cancel(interrupted)
	if err := p.Wait(t.Context()); err != interrupted {
		t.Errorf("Wait: %v", err)
	}
}

func TestTurnsOff(t *testing.T) {
	got := map[string]bool{"this host's": Machine{}.TurnsOff()}
	for _, name := range Architectures() {
		a, err := arch.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		got[name] = Machine{Arch: a}.TurnsOff()
	}
	for _, name := range Boards() {
		got[name] = Machine{Board: name}.TurnsOff()
	}
	for name, turnsOff := range got {
		if turnsOff != (name != "armel" && name != "orangepi-pc") {
			t.Errorf("%s: %t", name, turnsOff)
		}
	}
}
