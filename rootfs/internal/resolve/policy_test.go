package resolve

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParsePreferences(t *testing.T) {
	for _, test := range []struct {
		text string
		want []Preference
		err  string
	}{
		{text: "# nothing\n\n"},
		{
			text: "Package: *\nPin: release a=stable, c=main\nPin-Priority: 900\n\n" +
				"Explanation: why\nPackage: a  src:b:any\n /c/\nPin: Version 1.2*\nPin-Priority: -5\n\n" +
				"Package: without a pin\n\n" +
				"Package: *\nPin:\torigin \"\"\nPin-Priority: never\n\n" +
				"Package: *\nPin: origin ftp.debian.org\nPin-Priority: -32768\n",
			want: []Preference{
				{Kind: ReleasePin, Pin: "a=stable, c=main", Priority: 900},
				{Packages: []string{"a", "src:b:any", "/c/"}, Kind: VersionPin, Pin: "1.2*", Priority: -5},
				{Kind: OriginPin, Pin: `""`, Priority: NeverPriority},
				{Kind: OriginPin, Pin: "ftp.debian.org", Priority: NeverPriority + 1},
			},
		},
		{text: "Package a\n", err: `parse preferences: line 1: "Package a" is neither a field nor the continuation of one`},
		{text: "Pin: release *\nPin-Priority: 1\n", err: "parse preferences: record 1: it has no Package field"},
		{text: "Package: a\n\nPackage: *\nPin: version 1\nPin-Priority: 1\n",
			err: `parse preferences: record 2: a Pin of kind "version" is unknown for these packages`},
		{text: "Package: a\nPin: realease a=stable\nPin-Priority: 1\n",
			err: `parse preferences: record 1: a Pin of kind "realease" is unknown for these packages`},
		{text: "Package: a\nPin: release\nPin-Priority: 1\n",
			err: "parse preferences: record 1: a release is named by nothing"},
		{text: "Package: a\nPin: release x=stable\nPin-Priority: 1\n",
			err: `parse preferences: record 1: "x=stable" is not one of a=, n=, v=, c=, o=, l=, b=`},
		{text: "Package: a\nPin: release a=/(/\nPin-Priority: 1\n", err: `parse preferences: record 1: "(" is not a ` +
			"regular expression: error parsing regexp: missing closing ): `(?is)(`"},
		{text: "Package: a\nPin: release *\n",
			err: `parse preferences: record 1: the Pin-Priority "" is not a number from -32768 to 32767`},
		{text: "Package: a\nPin: release *\nPin-Priority: 0\n",
			err: "parse preferences: record 1: the Pin-Priority 0 has no meaning"},
		{text: "Package: a\nPin: release *\nPin-Priority: 40000\n",
			err: `parse preferences: record 1: the Pin-Priority "40000" is not a number from -32768 to 32767`},
		{text: "Package: a\nPin: release *\nPin-Priority: never\n",
			err: `parse preferences: record 1: the Pin-Priority "never" is for "Package: *" alone`},
	} {
		got, err := ParsePreferences([]byte(test.text))
		message := ""
		if err != nil {
			message = err.Error()
		}
		if message != test.err {
			t.Errorf("%q: error %q, want %q", test.text, message, test.err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.text, diff)
		}
	}
}

func FuzzParsePreferences(f *testing.F) {
	for _, seed := range []string{
		"Package: *\nPin: release a=stable, c=[a-m]*\nPin-Priority: 900\n",
		"Package: src:a*:any /b/\nPin: version 1.2*\nPin-Priority: -5\n",
		"Package: a[\nPin: origin \"\"\nPin-Priority: never\n", "Package: *\nPin: source-version \\\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := ParsePreferences(data)
		if err != nil {
			return
		}
		for _, p := range list {
			if _, err := p.compile(); err != nil {
				t.Errorf("%q: %v", data, err)
			}
			if p.Priority == 0 {
				t.Errorf("%q: a priority is 0", data)
			}
		}
	})
}

func TestPolicyErrors(t *testing.T) {
	for _, test := range []struct {
		policy Policy
		err    string
	}{
		{Policy{DefaultRelease: "bullseye"}, `default release "bullseye": no archive is of that release`},
		{Policy{DefaultRelease: "x=y"}, `default release "x=y": "x=y" is not one of a=, n=, v=, c=, o=, l=, b=`},
		{Policy{DefaultRelease: "a=bullseye"}, ""}, // apt takes it too
		{Policy{Preferences: []Preference{{Packages: []string{"/(/"}, Kind: ReleasePin, Pin: "*", Priority: 1}}},
			"apply preferences: \"(\" is not a regular expression: error parsing regexp: missing closing ): `(?is)(`"},
	} {
		_, err := NewPinnedUniverse("amd64", archives(t), test.policy)
		message := ""
		if err != nil {
			message = err.Error()
		}
		if message != test.err {
			t.Errorf("%+v: %q, want %q", test.policy, message, test.err)
		}
	}
}

// TestExplainPins covers what is said of packages that pins leave without a candidate.
func TestExplainPins(t *testing.T) {
	for _, test := range []struct{ preferences, request, err string }{
		{"Package: tool\nPin: version *\nPin-Priority: -1\n", "tool",
			`resolve packages: package "tool" cannot be installed: it is pinned below 0 in all archives that have it`},
		{"Package: libtool2\nPin: version *\nPin-Priority: -1\n", "tool=1",
			`resolve packages: package "tool" cannot be installed: tool depends on libtool2 (>= 2), ` +
				`which is pinned below 0 in all archives that have it`},
		{"Package: libtool2\nPin: release a=stable-backports\nPin-Priority: 990\n", "libtool2-dev",
			`resolve packages: package "libtool2-dev" cannot be installed: libtool2-dev depends on libtool2 (= 2.0-1), ` +
				`but libtool2 3.0~bpo is to be installed, not 2.0-1`},
	} {
		preferences, err := ParsePreferences([]byte(test.preferences))
		if err != nil {
			t.Fatal(err)
		}
		u, err := NewPinnedUniverse("amd64", archives(t), Policy{Preferences: preferences})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Resolve(Request{Packages: []string{test.request}}); err == nil || err.Error() != test.err {
			t.Errorf("%s: %v, want %s", test.request, err, test.err)
		}
	}
}

func TestGlob(t *testing.T) {
	for _, test := range []struct {
		glob, text string
		want       bool
	}{
		{"", "", true}, {"*", "", true}, {"a*", "ABC", true}, {"a?c", "abc", true}, {"a?c", "ac", false},
		{"*updates", "stable/updates", true}, {"[a-c]x", "bx", true}, {"[!a-c]x", "bx", false}, {"[^a-c]x", "bx", false},
		{"[]a]x", "]x", true}, {"[!]a]x", "bx", true}, {"[a", "[a", true}, {"[", "[", true}, {"[!", "[!", true},
		{`\*`, "*", true}, {`\*`, "a", false}, {`a\`, `a\`, true}, {"a.c", "abc", false}, {"a+", "a+", true}, {"b", "abc", false},
	} {
		re, err := newGlob(test.glob)
		if err != nil {
			t.Errorf("%q: %v", test.glob, err)
		} else if got := re.MatchString(test.text); got != test.want {
			t.Errorf("%q matches %q: %t", test.glob, test.text, got)
		}
	}
}
