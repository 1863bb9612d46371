package machine

// probeText is what the probe prints when it has come to its end.
const probeText = "ran\r\n"

// probeAMD64 returns a disk whose boot sector does what a kernel does first and what a KVM without the processor's help
// fails at or is slow at: real mode (SeaBIOS, a timer tick), paging, long mode, x87 (a KVM that emulates knows no
// fwait), 8000 changes of the page tables, and 8 million square roots, which take TCG 0.6 s and a processor 0.06 s.
// Then it prints probeText on the first serial port. As GNU as sees it, loaded at 0x7c00 (Intel SDM volume 3A, 10.8.5
// for the way to long mode):
func probeAMD64() []byte {
	disk := make([]byte, 1<<20) // SeaBIOS starts no disk of one sector
	copy(disk, []byte{
		0x31, 0xc0, //                                  xor %ax,%ax
		0x8e, 0xd8, //                                  mov %ax,%ds
		0x8e, 0xc0, //                                  mov %ax,%es
		0x8e, 0xd0, //                                  mov %ax,%ss
		0xbc, 0x00, 0x7c, //                            mov $0x7c00,%sp
		0xfb,             //                                  sti
		0xf4,             //                                  hlt              (until the timer ticks)
		0xfa,             //                                  cli
		0xfc,             //                                  cld
		0xbf, 0x00, 0x10, //                            mov $0x1000,%di  (page tables)
		0xb9, 0x00, 0x18, //                            mov $0x1800,%cx
		0xf3, 0xab, //                                  rep stosw
		0xc7, 0x06, 0x00, 0x10, 0x03, 0x20, //          movw $0x2003,0x1000
		0xc7, 0x06, 0x00, 0x20, 0x03, 0x30, //          movw $0x3003,0x2000
		0xc7, 0x06, 0x00, 0x30, 0x83, 0x00, //          movw $0x83,0x3000  (2 MiB, identical)
		0x66, 0xb8, 0x20, 0x02, 0x00, 0x00, //          mov $0x220,%eax  (PAE, OSFXSR)
		0x0f, 0x22, 0xe0, //                            mov %eax,%cr4
		0x66, 0xb8, 0x00, 0x10, 0x00, 0x00, //          mov $0x1000,%eax
		0x0f, 0x22, 0xd8, //                            mov %eax,%cr3
		0x66, 0xb9, 0x80, 0x00, 0x00, 0xc0, //          mov $0xc0000080,%ecx  (EFER)
		0x0f, 0x32, //                                  rdmsr
		0x80, 0xcc, 0x01, //                            or $1,%ah        (LME)
		0x0f, 0x30, //                                  wrmsr
		0x66, 0x0f, 0x01, 0x16, 0xa9, 0x7c, //          lgdtl gdtr
		0x66, 0xb8, 0x33, 0x00, 0x00, 0x80, //          mov $0x80000033,%eax  (PG, NE, ET, MP, PE)
		0x0f, 0x22, 0xc0, //                            mov %eax,%cr0
		0xea, 0x5c, 0x7c, 0x08, 0x00, //                ljmp $8,$long
		0xdb, 0xe3, //                            long: fninit
		0x9b,             //                            fwait
		0x0f, 0x57, 0xc0, //                            xorps %xmm0,%xmm0
		0xbb, 0x40, 0x1f, 0x00, 0x00, //                mov $8000,%ebx
		0x0f, 0x20, 0xd8, //                         1: mov %cr3,%rax
		0x0f, 0x22, 0xd8, //                            mov %rax,%cr3
		0xb9, 0xe8, 0x03, 0x00, 0x00, //                mov $1000,%ecx
		0xd9, 0xeb, //                               2: fldpi
		0xd9, 0xfa, //                                  fsqrt
		0xdd, 0x1c, 0x25, 0x00, 0x50, 0x00, 0x00, //    fstpl 0x5000
		0xff, 0xc9, //                                  dec %ecx
		0x75, 0xf1, //                                  jnz 2b
		0xff, 0xcb, //                                  dec %ebx
		0x75, 0xe2, //                                  jnz 1b
		0x66, 0xba, 0xf8, 0x03, //                      mov $0x3f8,%dx
		0xbe, 0xaf, 0x7c, 0x00, 0x00, //                mov $text,%esi
		0xac,       //                               3: lodsb
		0x84, 0xc0, //                                  test %al,%al
		0x74, 0x03, //                                  jz 4f
		0xee,       //                                  out %al,(%dx)
		0xeb, 0xf8, //                                  jmp 3b
		0xf4,       //                               4: hlt
		0xeb, 0xfd, //                                  jmp 4b
		0, 0, 0, 0, 0, 0, 0, 0, //                 gdt: null descriptor
		0x00, 0x00, 0x00, 0x00, 0x00, 0x9a, 0x20, 0x00, // 64-bit code
		0x0f, 0x00, 0x99, 0x7c, 0x00, 0x00, //    gdtr: limit 15, gdt
		//                                        text: probeText, 0
	})
	copy(disk[0xaf:], probeText)
	copy(disk[510:], []byte{0x55, 0xaa})
	return disk
}
