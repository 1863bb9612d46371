package control

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRelations(t *testing.T) {
	for _, test := range []struct {
		field string
		want  []Group
		err   string
	}{
		{field: ""},
		{field: " , \n, "},
		{field: "a", want: []Group{{{Name: "a"}}}},
		{field: "a, b|c\n , d |\te,", want: []Group{{{Name: "a"}}, {{Name: "b"}, {Name: "c"}}, {{Name: "d"}, {Name: "e"}}}},
		{field: "libc6 (>= 2.36)", want: []Group{{{Name: "libc6", Op: LaterOrEqual, Version: "2.36"}}}},
		{field: "a(<<1:2~),b( = 3-1 )", want: []Group{
			{{Name: "a", Op: Earlier, Version: "1:2~"}},
			{{Name: "b", Op: Equal, Version: "3-1"}}}},
		{field: "a (< 1) | b (> 2) | c (3) | d (>> 4) | e (<= 5)", want: []Group{{
			{Name: "a", Op: EarlierOrEqual, Version: "1"},
			{Name: "b", Op: LaterOrEqual, Version: "2"},
			{Name: "c", Op: Equal, Version: "3"},
			{Name: "d", Op: Later, Version: "4"},
			{Name: "e", Op: EarlierOrEqual, Version: "5"}}}},
		{field: "python3:any (>= 3.2~), gcc:native, libc6:i386", want: []Group{
			{{Name: "python3", Arch: "any", Op: LaterOrEqual, Version: "3.2~"}},
			{{Name: "gcc", Arch: "native"}},
			{{Name: "libc6", Arch: "i386"}}}},
		{field: "a (= 1) [amd64 !i386] <!nocheck> <cross !stage1> | b [any-arm]", want: []Group{{
			{Name: "a", Op: Equal, Version: "1", Architectures: "amd64 !i386", Profiles: "<!nocheck> <cross !stage1>"},
			{Name: "b", Architectures: "any-arm"}}}},
		{field: "g++-12, libstdc++6, 0ad", want: []Group{{{Name: "g++-12"}}, {{Name: "libstdc++6"}}, {{Name: "0ad"}}}},
		{field: "a b", err: `parse relation field "a b": "b" follows "a" without a comma`},
		{field: "a (= 1", err: `parse relation field "a (= 1": "(= 1" has no closing ')'`},
		{field: "a ()", err: `parse relation field "a ()": a version restriction has no version`},
		{field: "a (=> 1)", err: `parse relation field "a (=> 1)": "=>" is not a relation between versions`},
		{field: "a, | b", err: `parse relation field "a, | b": a package name is missing before "| b"`},
		{field: "a |", err: `parse relation field "a |": no alternative follows the bar after "a"`},
		{field: "a | , b", err: `parse relation field "a | , b": no alternative follows the bar after "a"`},
		{field: ":any", err: `parse relation field ":any": ":any" is not a package name`},
		{field: "a)", err: `parse relation field "a)": ")" follows "a" without a comma`},
	} {
		got, err := ParseRelations(test.field)
		message := ""
		if err != nil {
			message = err.Error()
		}
		if message != test.err {
			t.Errorf("ParseRelations(%q): error %q, want %q", test.field, message, test.err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" && len(test.want)+len(got) > 0 {
			t.Errorf("ParseRelations(%q) (-want +got):\n%s", test.field, diff)
		}
	}
}

func TestMatches(t *testing.T) {
	for op, want := range map[Op][3]bool{
		Any:            {true, true, true},
		Earlier:        {true, false, false},
		EarlierOrEqual: {true, true, false},
		Equal:          {false, true, false},
		LaterOrEqual:   {false, true, true},
		Later:          {false, false, true},
		"?":            {false, false, false},
	} {
		got := [3]bool{op.Matches("1", "2"), op.Matches("2", "2"), op.Matches("3", "2")}
		if got != want {
			t.Errorf("%q: %v, want %v", op, got, want)
		}
	}
}

func TestApplies(t *testing.T) {
	for _, test := range []struct {
		field, arch string
		want        bool
	}{
		{"a", "amd64", true},
		{"a [amd64]", "amd64", true},
		{"a [amd64]", "i386", false},
		{"a [!amd64]", "amd64", false},
		{"a [!amd64 !arm64]", "i386", true},
		{"a [i386 amd64]", "amd64", true},
		{"a [linux-any]", "amd64", true},
		{"a [linux-any]", "hurd-i386", false},
		{"a [any-i386]", "hurd-i386", true},
		{"a [!any]", "amd64", false},
		{"a <!nocheck>", "amd64", true},
		{"a <nocheck>", "amd64", false},
		{"a <cross> <!nocheck !stage1>", "amd64", true},
		{"a <cross !nocheck>", "amd64", false},
		{"a [amd64] <cross>", "amd64", false},
	} {
		groups, err := ParseRelations(test.field)
		if err != nil {
			t.Fatal(err)
		}
		if got := groups[0][0].Applies(test.arch); got != test.want {
			t.Errorf("%s on %s: %t, want %t", test.field, test.arch, got, test.want)
		}
	}
}

func FuzzParseRelations(f *testing.F) {
	for _, seed := range []string{"a, b|c (>= 1:2-3)", "a:any [amd64 !i386] <x> <!y>", "a (", "|", "a | ,b", "a,,b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		groups, err := ParseRelations(field)
		if err != nil {
			return
		}
		for _, g := range groups {
			again, err := ParseRelations(g.String())
			if err != nil {
				t.Fatalf("%q became %q: %v", field, g, err)
			}
			for i := range g {
				g[i].Architectures, g[i].Profiles = "", ""
			}
			if diff := cmp.Diff([]Group{g}, again); diff != "" {
				t.Errorf("%q became %q (-first +again):\n%s", field, g, diff)
			}
		}
	})
}
