package machine

// How to add one: a row here, with the machine and CPU that Debian's kernel of that architecture was seen to boot on;
// then VMBUILD_TEST=boot go test ./image/machine and the architecture's image of TestBoot in cmd/vmbuild. Packages have
// the names of Debian 13, of which QEMU is fetched where the host has none; those of QEMU are in other releases, too.
func models() []model {
	return []model{
		{
			Arch:     row("amd64"),
			program:  "qemu-system-x86_64",
			packages: []string{"qemu-system-x86", "seabios", "ovmf"},
			machine:  "q35",
			target:   "x86_64/pc-q35-7.2",
			// Hosts exist whose KVM offers MSR 0x10a and then refuses to set it: QEMU aborts.
			kvmCPU: "host,arch-capabilities=off",
			// QEMU 7.2 leaves garbage in EFLAGS after a cmpxchg16b, which the kernel's allocator uses where it can: without
			// this, 3 of 6 boots of trixie ended in an oops.
			tcgCPU:   "max,-cx16",
			devices:  pci(),
			firmware: []Firmware{BIOS, UEFI, SecureBoot, Kernel},
			// The variables may be written only from system management mode, or the guest could turn Secure Boot off.
			needs: map[Firmware][]string{
				SecureBoot: {"-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"},
			},
			// By bios.bin went OVMF.fd for QEMU's option -L, which vmdebootstrap's wrapper used.
			files: map[Firmware][]FirmwareFiles{
				UEFI: {
					chips("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"), chips("OVMF_CODE.fd", "OVMF_VARS.fd"),
					{Code: "OVMF.fd"}, {Code: "bios.bin"},
				},
				SecureBoot: {
					chips("OVMF_CODE_4M.ms.fd", "OVMF_VARS_4M.ms.fd"), chips("OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd"),
					chips("OVMF_CODE.ms.fd", "OVMF_VARS.ms.fd"), chips("OVMF_CODE.secboot.fd", "OVMF_VARS.ms.fd"),
				},
			},
			probe: probeAMD64(),
		},
		{
			Arch:     row("arm64"),
			program:  "qemu-system-aarch64",
			packages: []string{"qemu-system-arm", "qemu-efi-aarch64", "u-boot-qemu"},
			machine:  "virt,gic-version=max",
			target:   "aarch64/virt-7.2",
			kvmCPU:   "host",
			tcgCPU:   "cortex-a72",
			devices:  pci(),
			firmware: []Firmware{UEFI, SecureBoot, UBoot, Kernel},
			files: map[Firmware][]FirmwareFiles{
				UEFI:       {chips("AAVMF_CODE.fd", "AAVMF_VARS.fd"), {Code: "QEMU_EFI.fd"}},
				SecureBoot: {chips("AAVMF_CODE.ms.fd", "AAVMF_VARS.ms.fd")},
				UBoot:      {{Code: "u-boot.bin"}},
			},
			places: map[Firmware]FirmwareFiles{UBoot: {Code: "/usr/lib/u-boot/qemu_arm64/u-boot.bin"}},
		},
		{
			Arch:     row("armel"),
			program:  "qemu-system-arm",
			packages: []string{"qemu-system-arm"},
			// The only kernel that Debian 13 has for it is that of the Raspberry Pi, of which this is the Zero.
			machine:    "raspi0",
			devices:    devices{card: true, network: []string{"-device", "usb-net,netdev=net"}},
			memoryMiB:  512,
			cpus:       1,
			firmware:   []Firmware{Kernel},
			deviceTree: "bcm2835-rpi-zero.dtb",
			// The driver reads a register that QEMU's machine does not have, and the kernel ends in an oops.
			append: "initcall_blacklist=bcm2835_power_driver_init",
		},
		{
			Arch:     row("armhf"),
			program:  "qemu-system-arm",
			packages: []string{"qemu-system-arm", "qemu-efi-arm", "u-boot-qemu"},
			// A kernel without LPAE does not reach a PCI bus above 4 GiB.
			machine:  "virt,highmem=off",
			target:   "arm/virt-7.2",
			tcgCPU:   "cortex-a15",
			devices:  pci(),
			firmware: []Firmware{UEFI, UBoot, Kernel},
			files: map[Firmware][]FirmwareFiles{
				UEFI:  {chips("AAVMF32_CODE.fd", "AAVMF32_VARS.fd")},
				UBoot: {{Code: "u-boot.bin"}},
			},
			places: map[Firmware]FirmwareFiles{UBoot: {Code: "/usr/lib/u-boot/qemu_arm/u-boot.bin"}},
		},
		{
			Arch:     row("i386"),
			program:  "qemu-system-i386",
			packages: []string{"qemu-system-x86", "seabios", "ovmf-ia32"},
			machine:  "q35",
			target:   "i386/pc-q35-7.2",
			kvmCPU:   "host",
			tcgCPU:   "max",
			devices:  pci(),
			firmware: []Firmware{BIOS, UEFI, Kernel},
			files: map[Firmware][]FirmwareFiles{
				UEFI: {chips("OVMF32_CODE_4M.fd", "OVMF32_VARS_4M.fd"), chips("OVMF32_CODE_4M.secboot.fd", "OVMF32_VARS_4M.fd")},
			},
			// Debian 12 has this one only, and says of it that it does Secure Boot. Without keys it starts everything.
			places: map[Firmware]FirmwareFiles{
				UEFI: chips("/usr/share/OVMF/OVMF32_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF32_VARS_4M.fd"),
			},
		},
		{
			Arch:     row("riscv64"),
			program:  "qemu-system-riscv64",
			packages: []string{"qemu-system-riscv64", "qemu-efi-riscv64", "u-boot-qemu"},
			machine:  "virt",
			target:   "riscv64/virt",
			tcgCPU:   "rv64",
			devices:  pci(),
			firmware: []Firmware{UEFI, UBoot, Kernel},
			files: map[Firmware][]FirmwareFiles{
				UEFI:  {chips("RISCV_VIRT_CODE.fd", "RISCV_VIRT_VARS.fd")},
				UBoot: {{Code: "uboot.elf"}},
			},
			places: map[Firmware]FirmwareFiles{UBoot: {Code: "/usr/lib/u-boot/qemu-riscv64_smode/uboot.elf"}},
			// What QEMU takes for the BIOS is OpenSBI; it starts U-Boot as it would a kernel.
			oneFile: "-kernel",
		},
		{
			Arch:     row("ppc64el"),
			program:  "qemu-system-ppc64",
			packages: []string{"qemu-system-ppc", "qemu-system-data"},
			// TCG has neither transactional memory nor the workarounds that the others stand for.
			machine:  "pseries,cap-htm=off,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken",
			tcgCPU:   "POWER9",
			devices:  pci(),
			firmware: []Firmware{OpenFirmware, Kernel},
		},
		{
			Arch:     row("s390x"),
			program:  "qemu-system-s390x",
			packages: []string{"qemu-system-s390x"},
			machine:  "s390-ccw-virtio",
			tcgCPU:   "max",
			devices:  ccw(),
			firmware: []Firmware{Kernel},
		},
		{
			Arch:     row("mips64el"),
			program:  "qemu-system-mips64el",
			packages: []string{"qemu-system-mips"},
			machine:  "malta",
			tcgCPU:   "5KEc",
			devices:  pci(),
			firmware: []Firmware{Kernel},
		},
		{
			Arch:     row("loong64"),
			program:  "qemu-system-loongarch64",
			packages: []string{"qemu-system-loongarch64", "qemu-efi-loongarch64"},
			machine:  "virt",
			target:   "loongarch64/virt",
			tcgCPU:   "la464",
			devices:  pci(),
			firmware: []Firmware{UEFI, Kernel},
			files: map[Firmware][]FirmwareFiles{
				UEFI: {chips("QEMU_EFI.fd", "QEMU_VARS.fd")},
			},
		},
		{
			Arch:      row("armhf"),
			board:     "orangepi-pc",
			program:   "qemu-system-arm",
			packages:  []string{"qemu-system-arm"},
			machine:   "orangepi-pc",
			devices:   onBoard(),
			memoryMiB: 1024,
			cpus:      4,
			firmware:  []Firmware{BootROM},
		},
	}
}
