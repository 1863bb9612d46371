package bootloader

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/partition"
)

func TestConfigureIEEE1275(t *testing.T) {
	b := row(t, "grub-ieee1275")
	const lib = "/usr/lib/grub/powerpc-ieee1275/"
	files := []string{lib + "normal.mod", lib + "fs.lst", lib + "kernel.img", lib + "prep-bootdev"}
	tg := newTarget(t, files...)
	l := layout(t, b, "ppc64el", partition.GPT, rootFS)
	a := architecture(t, "ppc64el")
	target := Target{Arch: a, Console: a.Console, Root: tg.root, Runner: tg, Layout: l, Serial: true}
	if err := b.Configure(context.Background(), target); err != nil {
		t.Fatal(err)
	}
	root := l.Partitions[1].UUID
	want := []string{
		"grub-mkimage -O powerpc-ieee1275 -d /usr/lib/grub/powerpc-ieee1275 -o /boot/grub/powerpc-ieee1275/core.elf " +
			"-c /boot/grub/powerpc-ieee1275/load.cfg -p /boot/grub --note part_gpt part_msdos ext2 search_fs_uuid",
		"update-grub " + root,
	}
	if diff := cmp.Diff(want, tg.commands); diff != "" {
		t.Error(diff)
	}
	added := map[string]string{
		"/boot/grub/fonts/unicode.pf2":           "/usr/share/grub/unicode.pf2",
		"/boot/grub/grub.cfg":                    "menu",
		"/boot/grub/grubenv":                     environmentBlock(),
		"/boot/grub/powerpc-ieee1275/core.elf":   "made of --note part_gpt part_msdos ext2 search_fs_uuid",
		"/boot/grub/powerpc-ieee1275/fs.lst":     lib + "fs.lst",
		"/boot/grub/powerpc-ieee1275/load.cfg":   "search.fs_uuid " + root + " root\nset prefix=($root)'/boot/grub'\n",
		"/boot/grub/powerpc-ieee1275/normal.mod": lib + "normal.mod",
		"/etc/default/grub.d/50-console.cfg":     "GRUB_CMDLINE_LINUX=\"console=tty0 console=hvc0\"\nGRUB_TERMINAL=console\n",
	}
	if diff := cmp.Diff(added, tg.added(t)); diff != "" {
		t.Error(diff)
	}
	err := b.Configure(context.Background(), Target{Arch: a, Root: t.TempDir(), Runner: tg, Layout: l})
	if got, want := fmt.Sprint(err), "configure boot loader grub-ieee1275: no file /"+lib[1:]+"*.mod is installed"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestEmbedIEEE1275(t *testing.T) {
	b := row(t, "grub-ieee1275")
	prep := layout(t, b, "ppc64el", partition.MSDOS, rootFS)
	none := layout(t, row(t, "none"), "ppc64el", partition.MSDOS, rootFS)
	program := "\x7fELF" + strings.Repeat("p", 1000)
	for _, test := range []struct {
		name, core string
		layout     *partition.Layout
		want       string
	}{
		{"core.elf", program, prep, "<nil>"},
		{"other", program, prep, "openat boot/grub/powerpc-ieee1275/core.elf: no such file or directory"},
		{"core.elf", "MZ", prep, "core.elf is not a program for Open Firmware"},
		{"core.elf", program, none, "the disk needs a PReP partition for it"},
		{"core.elf", "\x7fELF" + strings.Repeat("p", 8<<20), prep, "core.elf has 8388612 bytes, but the PReP partition only 8388608"},
	} {
		root := bootTree(t, powerPlatform, map[string]string{test.name: test.core})
		disk := memory(bytes.Repeat([]byte{0xdd}, 10<<20))
		err := b.(Embedder).Embed(context.Background(), Target{Root: root, Layout: test.layout}, disk)
		if got, want := fmt.Sprint(err), "write boot code of grub-ieee1275: "+test.want; got != want && got != test.want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		want := bytes.Repeat([]byte{0xdd}, len(disk))
		if test.want == "<nil>" {
			copy(want[1<<20:], program)
		}
		if !bytes.Equal(disk, want) {
			t.Errorf("%s: the disk has other bytes than the program's at 1 MiB", test.want)
		}
	}
}
