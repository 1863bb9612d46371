package filesystem

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestShortNames(t *testing.T) {
	for _, test := range []struct{ names, want []string }{
		{[]string{"GRUB.CFG"}, []string{"GRUB    CFG"}},
		{[]string{"grub.cfg", "BOOTX64.EFI"}, []string{"GRUB    CFG+", "BOOTX64 EFI"}},
		{[]string{"TextFile1.txt", "TextFile2.txt", "textfile3.TXT"}, []string{"TEXTFI~1TXT+", "TEXTFI~2TXT+", "TEXTFI~3TXT+"}},
		{[]string{"a long name", "ALONGN~1"}, []string{"ALONGN~2   +", "ALONGN~1   "}},
		{[]string{".profile", "profile"}, []string{"PROFIL~1   +", "PROFILE    +"}},
		{[]string{"tar.tar.gz", "x.html"}, []string{"TARTAR~1GZ +", "X~1     HTM+"}},
		{[]string{"a+b", "ä", " " + "b"}, []string{"A_B~1      +", "_~1        +", "B~1        +"}},
		{[]string{"...x"}, []string{"X~1        +"}},
	} {
		var entries []*entry
		for _, name := range test.names {
			entries = append(entries, &entry{name: name})
		}
		if err := nameEntries(entries); err != nil {
			t.Errorf("%q: %v", test.names, err)
			continue
		}
		var got []string
		for _, e := range entries {
			long := map[bool]string{true: "+"}[e.long]
			got = append(got, string(e.short[:])+long)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%q: %s", test.names, diff)
		}
	}
}

func TestTailsGrow(t *testing.T) {
	var entries []*entry
	for i := range 1200 {
		entries = append(entries, &entry{name: fmt.Sprintf("long file name %d", i)})
	}
	if err := nameEntries(entries); err != nil {
		t.Fatal(err)
	}
	for i, want := range map[int]string{0: "LONGFI~1   ", 9: "LONGF~10   ", 99: "LONG~100   ", 999: "LON~1000   "} {
		if got := string(entries[i].short[:]); got != want {
			t.Errorf("number %d is %q, want %q", i, got, want)
		}
	}
}

func TestLongEntries(t *testing.T) {
	got := longEntries("The quick brown.fox", 7)
	// As in fatgen103's figure of "The quick brown.fox", but for the check sum.
	want := "\x42w\x00n\x00.\x00f\x00o\x00\x0f\x00\x07x\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\xff\xff\xff\xff" +
		"\x01T\x00h\x00e\x00 \x00q\x00\x0f\x00\x07u\x00i\x00c\x00k\x00 \x00b\x00\x00\x00r\x00o\x00"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

// Short names are in the characters of the specification, and no two in a directory are alike.
func FuzzNames(f *testing.F) {
	f.Add("a\nb\nA~1\nlong name.txt\nlong name.text")
	f.Add("LONGNA~1.TXT\nlong name.txt\nlong name.txu")
	f.Add("..x\n.x.\n...\n~1\n\U0001f427")
	f.Fuzz(func(t *testing.T, joined string) {
		names := strings.Split(joined, "\n")
		var entries []*entry
		for _, name := range names {
			if name == "" || name == "." || name == ".." {
				return
			}
			entries = append(entries, &entry{name: name})
		}
		if nameEntries(entries) != nil {
			return
		}
		var shorts []string
		for _, e := range entries {
			base := strings.TrimRight(string(e.short[:8]), " ")
			extension := strings.TrimRight(string(e.short[8:]), " ")
			odd := func(r rune) bool {
				return !(r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(shortSymbols, r))
			}
			if base == "" || strings.ContainsFunc(base+extension, odd) {
				t.Errorf("%q becomes %q", e.name, e.short)
			}
			shorts = append(shorts, string(e.short[:]))
		}
		slices.Sort(shorts)
		if len(slices.Compact(shorts)) != len(entries) {
			t.Errorf("%q become %q", names, shorts)
		}
	})
}
