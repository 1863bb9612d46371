package rootfs

import (
	"bytes"
	"debug/elf"
	"os"
	"testing"
)

// TestWriteModule writes this test itself: its code and constants are left out, the rest is as it was.
func TestWriteModule(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	module, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	holes := unread(module)
	if len(holes) == 0 {
		t.Fatal("nothing is left out")
	}
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := writeModule(dir, "self.ko.xz", module); err != nil {
		t.Fatal(err)
	}
	got, err := dir.ReadFile("self.ko.xz")
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range holes {
		if len(bytes.Trim(got[h.start:h.end], "\x00")) > 0 {
			t.Errorf("what is from %d to %d is written", h.start, h.end)
		}
		copy(got[h.start:h.end], module[h.start:h.end])
	}
	if !bytes.Equal(got, module) {
		t.Error("the rest is not as it was")
	}
}

// TestIsUnread: what depmod and dracut-install look at is written, and so is what is not known.
func TestIsUnread(t *testing.T) {
	for want, sections := range map[bool][]elf.SectionHeader{
		false: {
			{Name: ".modinfo", Type: elf.SHT_PROGBITS, Flags: elf.SHF_ALLOC}, {Name: "__versions", Type: elf.SHT_PROGBITS, Flags: elf.SHF_ALLOC},
			{Name: "__ksymtab_strings", Type: elf.SHT_PROGBITS, Flags: elf.SHF_ALLOC}, {Name: "__kcrctab", Type: elf.SHT_PROGBITS, Flags: elf.SHF_ALLOC},
			{Name: ".symtab", Type: elf.SHT_SYMTAB}, {Name: ".strtab", Type: elf.SHT_STRTAB}, {Name: ".shstrtab", Type: elf.SHT_STRTAB},
			{Name: ".gnu.linkonce.this_module", Type: elf.SHT_PROGBITS, Flags: elf.SHF_ALLOC | elf.SHF_WRITE},
			{Name: ".new", Type: elf.SHT_PROGBITS}, {Name: ".bss", Type: elf.SHT_NOBITS, Flags: elf.SHF_ALLOC | elf.SHF_WRITE},
			{Name: "", Type: elf.SHT_NULL},
		},
		true: {
			{Name: ".init.text", Type: elf.SHT_PROGBITS, Flags: elf.SHF_ALLOC | elf.SHF_EXECINSTR}, {Name: ".rela.text", Type: elf.SHT_RELA},
			{Name: ".BTF", Type: elf.SHT_PROGBITS}, {Name: ".rodata.str1.8", Type: elf.SHT_PROGBITS, Flags: elf.SHF_ALLOC},
		},
	} {
		for _, header := range sections {
			if got := isUnread(&elf.Section{SectionHeader: header}); got != want {
				t.Errorf("section %q is left out: %t", header.Name, got)
			}
		}
	}
}
