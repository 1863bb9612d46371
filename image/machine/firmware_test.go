package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vmbuild/rootfs/arch"
)

// flash writes a descriptor as the distributions do.
func flash(architecture, machines, features, code, variables string) string {
	return fmt.Sprintf(`{"description": "x", "interface-types": ["uefi"],
		"mapping": {"device": "flash", "executable": {"filename": %q, "format": "raw"},
			"nvram-template": {"filename": %q, "format": "qcow2"}},
		"targets": [{"architecture": %q, "machines": [%s]}], "features": [%s], "tags": []}`,
		code, variables, architecture, machines, features)
}

func TestFindFirmware(t *testing.T) {
	const descriptors = "/usr/share/qemu/firmware/"
	files := map[string]string{
		"/fw/ENROLLED.fd": "", "/fw/SECURE.fd": "", "/fw/PLAIN.fd": "", "/fw/AARCH64.fd": "", "/fw/VARS.fd": "", "/fw/KEYS.fd": "",
		descriptors + "10-broken.json":    `{"mapping": 1`,
		descriptors + "11-stateless.json": `{"interface-types": ["uefi"], "mapping": {"device": "flash", "mode": "stateless", "executable": {"filename": "/fw/PLAIN.fd"}}, "targets": [{"architecture": "x86_64", "machines": ["*"]}]}`,
		descriptors + "12-memory.json":    `{"interface-types": ["uefi"], "mapping": {"device": "memory", "filename": "/fw/PLAIN.fd"}, "targets": [{"architecture": "x86_64", "machines": ["*"]}]}`,
		descriptors + "13-gone.json":      flash("x86_64", `"pc-q35-*"`, ``, "/fw/GONE.fd", "/fw/VARS.fd"),
		descriptors + "14-microvm.json":   flash("x86_64", `"microvm"`, ``, "/fw/PLAIN.fd", "/fw/VARS.fd"),
		descriptors + "40-enrolled.json":  flash("x86_64", `"pc-q35-*"`, `"requires-smm", "secure-boot", "enrolled-keys"`, "/fw/ENROLLED.fd", "/fw/KEYS.fd"),
		descriptors + "50-secure.json":    flash("x86_64", `"pc-q35-*"`, `"requires-smm", "secure-boot"`, "/fw/SECURE.fd", "/fw/VARS.fd"),
		descriptors + "60-plain.json":     flash("x86_64", `"pc-i440fx-*", "pc-q35-*"`, `"acpi-s3"`, "/fw/PLAIN.fd", "/fw/VARS.fd"),
		descriptors + "60-arm.json":       flash("aarch64", `"virt-*"`, ``, "/fw/AARCH64.fd", "/fw/VARS.fd"),
		descriptors + "60-riscv.json":     flash("riscv64", `"virt*"`, ``, "/fw/RISCV.fd", "/fw/VARS.fd"),
		descriptors + "50-i386.json":      flash("i386", `"pc-q35-*"`, `"requires-smm", "secure-boot"`, "/fw/SECURE.fd", "/fw/VARS.fd"),

		"/fw/RISCV.fd": "",
		"/usr/share/OVMF/OVMF32_CODE_4M.secboot.fd": "", "/usr/share/OVMF/OVMF32_VARS_4M.fd": "",
		"/usr/lib/u-boot/qemu_arm/u-boot.bin": "", "/usr/lib/u-boot/qemu-riscv64_smode/uboot.elf": "",
	}
	root := t.TempDir()
	for name, content := range files {
		name = filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		arch            string
		kind            Firmware
		code, variables string
		err             string
	}{
		{"amd64", BIOS, "", "", ""},
		{"amd64", UEFI, "/fw/PLAIN.fd", "/fw/VARS.fd", ""},
		{"amd64", SecureBoot, "/fw/ENROLLED.fd", "/fw/KEYS.fd", ""},
		{"arm64", UEFI, "/fw/AARCH64.fd", "/fw/VARS.fd", ""},
		{"arm64", SecureBoot, "", "", `firmware "secure-boot" for architecture "arm64" is missing: Debian has it in the packages qemu-system-arm, qemu-efi-aarch64, u-boot-qemu`},
		{"arm64", BIOS, "", "", `machines of architecture "arm64" have no firmware "bios"`},
		{"s390x", UEFI, "", "", `machines of architecture "s390x" have no firmware "uefi"`},
		{"s390x", Kernel, "", "", ""},
		{"ppc64el", OpenFirmware, "", "", ""},
		{"riscv64", UEFI, "/fw/RISCV.fd", "/fw/VARS.fd", ""},
		{"riscv64", UBoot, "/usr/lib/u-boot/qemu-riscv64_smode/uboot.elf", "", ""},
		{"armhf", UBoot, "/usr/lib/u-boot/qemu_arm/u-boot.bin", "", ""},
		{"armhf", UEFI, "", "", `firmware "uefi" for architecture "armhf" is missing: Debian has it in the packages qemu-system-arm, qemu-efi-arm, u-boot-qemu`},
		{"arm64", UBoot, "", "", `firmware "u-boot" for architecture "arm64" is missing: Debian has it in the packages qemu-system-arm, qemu-efi-aarch64, u-boot-qemu`},
		{"i386", UEFI, "/usr/share/OVMF/OVMF32_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF32_VARS_4M.fd", ""},
	} {
		a, _ := arch.Lookup(test.arch)
		want := FirmwareFiles{}
		switch {
		case strings.HasPrefix(test.code, "/fw/"):
			want = FirmwareFiles{root + test.code, "raw", root + test.variables, "qcow2"}
		case test.variables != "":
			want = chips(root+test.code, root+test.variables)
		case test.code != "":
			want = FirmwareFiles{Code: root + test.code}
		}
		got, err := Tree{Dir: root}.Firmware(a, test.kind)
		if got != want || (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
			t.Errorf("%s %s: %+v, %v, want %+v, %s", test.arch, test.kind, got, err, want, test.err)
		}
	}
}

// In a directory, firmware is found by its names: two files before one, and the larger flash first.
func TestFirmwareDir(t *testing.T) {
	const noUEFI = `directory "DIR" has no firmware "uefi" for architecture "amd64": neither OVMF_CODE_4M.fd with OVMF_VARS_4M.fd, ` +
		`nor OVMF_CODE.fd with OVMF_VARS.fd, nor OVMF.fd, nor bios.bin`
	for _, test := range []struct {
		arch  string
		kind  Firmware // as asked for
		files string
		want  string // kind and files, or the error
	}{
		{"amd64", "", "OVMF.fd", "uefi OVMF.fd -"},
		{"amd64", AutoFirmware, "bios.bin", "uefi bios.bin -"},
		{"amd64", UEFI, "OVMF.fd OVMF_CODE.fd OVMF_VARS.fd", "uefi OVMF_CODE.fd OVMF_VARS.fd"},
		{"amd64", UEFI, "OVMF_CODE.fd OVMF_VARS.fd OVMF_CODE_4M.fd OVMF_VARS_4M.fd", "uefi OVMF_CODE_4M.fd OVMF_VARS_4M.fd"},
		{"amd64", UEFI, "OVMF_CODE_4M.fd OVMF.fd", "uefi OVMF.fd -"},
		{"amd64", SecureBoot, "OVMF_CODE_4M.ms.fd OVMF_VARS_4M.ms.fd", "secure-boot OVMF_CODE_4M.ms.fd OVMF_VARS_4M.ms.fd"},
		{"arm64", UEFI, "QEMU_EFI.fd", "uefi QEMU_EFI.fd -"},
		{"armhf", "", "AAVMF32_CODE.fd AAVMF32_VARS.fd", "uefi AAVMF32_CODE.fd AAVMF32_VARS.fd"},
		{"armhf", UBoot, "u-boot.bin", "u-boot u-boot.bin -"},
		{"riscv64", UBoot, "uboot.elf", "u-boot uboot.elf -"},
		{"i386", "", "OVMF32_CODE_4M.secboot.fd OVMF32_VARS_4M.fd", "uefi OVMF32_CODE_4M.secboot.fd OVMF32_VARS_4M.fd"},
		{"arm64", UEFI, "AAVMF_CODE.fd AAVMF_VARS.fd QEMU_EFI.fd", "uefi AAVMF_CODE.fd AAVMF_VARS.fd"},

		{"amd64", "", "", noUEFI},
		{"amd64", "", "QEMU_EFI.fd AAVMF_CODE.fd AAVMF_VARS.fd", noUEFI},
		{"amd64", BIOS, "bios.bin", `firmware "bios" for architecture "amd64" does not come from a directory`},
		{"s390x", "", "s390-ccw.img", `firmware "uefi" for architecture "s390x" does not come from a directory`},
		{"arm64", SecureBoot, "QEMU_EFI.fd", `directory "DIR" has no firmware "secure-boot" for architecture "arm64": neither AAVMF_CODE.ms.fd with AAVMF_VARS.ms.fd`},
	} {
		dir := t.TempDir()
		for _, name := range strings.Fields(test.files) {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		a, _ := arch.Lookup(test.arch)
		m, err := Machine{Image: writeDisk(t, echoDisk()), Arch: a, Firmware: test.kind, FirmwareDir: dir}.complete()
		var files FirmwareFiles
		if err == nil {
			files, err = m.firmwareFiles(modelOf(t, a), Tree{})
		}
		got := fmt.Sprintf("%s %s %s", m.Firmware, filepath.Base(files.Code), filepath.Base(orDash(files.Variables)))
		if err != nil {
			got = strings.ReplaceAll(err.Error(), dir, "DIR")
		}
		if got != test.want {
			t.Errorf("%s %q %s: %s, want %s", test.arch, test.kind, test.files, got, test.want)
		}
	}
	m := Machine{Image: writeDisk(t, echoDisk()), FirmwareDir: "/dev/null"}
	if _, err := m.complete(); err == nil || err.Error() != `firmware directory "/dev/null" is no directory` {
		t.Error(err)
	}
}

func modelOf(t *testing.T, a arch.Arch) model {
	t.Helper()
	m, err := lookup(a, "")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
