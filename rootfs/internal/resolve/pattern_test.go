package resolve

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParsePattern(t *testing.T) {
	for _, test := range []struct{ text, want, err string }{
		{text: "?true", want: "?true"},
		{text: " ~T ", want: "?true"},
		{text: "?and()", want: "?and()"},
		{text: "?name(foo)", want: `?name("foo")`},
		{text: `?name ( "a, (b)" )`, want: `?name("a, (b)")`},
		{text: "?name(^foo bar$)", want: `?name("^foo bar$")`},
		{text: "?or(~nfoo,?essential,)", want: `?or(?name("foo"),?essential)`},
		{text: "~nfoo", want: `?name("foo")`},
		{text: "~n^foo$", want: `?name("^foo$")`},
		{text: "~nfoo~E", want: `?and(?name("foo"),?essential)`},
		{text: "~nfoo ~E !~i", want: `?and(?name("foo"),?essential,?not(?installed))`},
		{text: "~nfoo|~nbar ~E", want: `?or(?name("foo"),?and(?name("bar"),?essential))`},
		{text: "(~ramd64|~ri386)~nfoo", want: `?and(?or(?architecture("amd64"),?architecture("i386")),?name("foo"))`},
		{text: "!(~E|~T)", want: `?not(?or(?essential,?true))`},
		{text: `~s"contrib/misc"`, want: `?section("contrib/misc")`},
		{text: "~D~nfoo", want: `?depends(?name("foo"))`},
		{text: "~DPre-Depends:~nfoo", want: `?pre-depends(?name("foo"))`},
		{text: "~RRecommends:(~nfoo)", want: `?reverse-recommends(?name("foo"))`},
		{
			text: "?narrow(?or(?archive(^trixie$),?codename(^trixie$)),?architecture(amd64),?and(?priority(required),?not(?essential)))",
			want: `?narrow(?or(?archive("^trixie$"),?codename("^trixie$")),?architecture("amd64"),` +
				`?and(?priority("required"),?not(?essential)))`,
		},

		{text: "", err: `parse pattern "": a pattern is missing before ""`},
		{text: "foo", err: `parse pattern "foo": a pattern is missing before "foo"`},
		{text: "?", err: `parse pattern "?": a name is missing after the question mark`},
		{text: "~", err: `parse pattern "~": "~" is no short pattern`},
		{text: "~Z", err: `parse pattern "~Z": "~Z" is no short pattern`},
		{text: "~n", err: `parse pattern "~n": an argument is missing before ""`},
		{text: "!", err: `parse pattern "!": a pattern is missing before ""`},
		{text: "~T|", err: `parse pattern "~T|": a pattern is missing before ""`},
		{text: "(~T", err: `parse pattern "(~T": a closing parenthesis is missing before ""`},
		{text: "~T)", err: `parse pattern "~T)": ")" follows a complete pattern`},
		{text: "~T foo", err: `parse pattern "~T foo": "foo" follows a complete pattern`},
		{text: "?name(foo", err: `parse pattern "?name(foo": a comma or a closing parenthesis is missing before ""`},
		{text: "?name(,)", err: `parse pattern "?name(,)": an argument is missing before ",)"`},
		{text: `?name("foo)`, err: `parse pattern "?name(\"foo)": a quoted word has no end`},
		{text: strings.Repeat("(", 200), err: `parse pattern "` + strings.Repeat("(", 200) + `": it is nested too deeply`},
	} {
		n, err := parsePattern(test.text)
		got, message := "", ""
		if err != nil {
			message = err.Error()
		} else {
			got = n.String()
		}
		if diff := cmp.Diff([]string{test.want, test.err}, []string{got, message}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.text, diff)
		}
	}
}

func FuzzParsePattern(f *testing.F) {
	for _, seed := range []string{"?and(~nfoo|!~E,?version(1),)", "(~T)~F", `~s"a b"`, "~DPre-Depends:~nfoo", "?", "~", "!("} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parsePattern(text)
		if err != nil || strings.Contains(text, `"`) {
			return
		}
		again, err := parsePattern(n.String())
		if err != nil {
			t.Fatalf("%q became %q: %v", text, n, err)
		}
		if diff := cmp.Diff(n, again, cmp.AllowUnexported(node{})); diff != "" {
			t.Errorf("%q became %q (-first +again):\n%s", text, n, diff)
		}
	})
}
