package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

// model returns what kong knows of the command line.
func model(t *testing.T) *kong.Node {
	t.Helper()
	parser, err := newParser(&commands{}, Streams{}, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	return parser.Model.Node
}

// TestArguments reads options as Perl's Getopt::Long does for mmdebstrap, and as debootstrap and multistrap do.
func TestArguments(t *testing.T) {
	app := model(t)
	for line, want := range map[string]string{
		"vmbuild --image=a --grub":                "--image=a --grub",
		"vmbuild build -v":                        "build -v",
		"vmbuild run x.img":                       "run x.img",
		"vmbuild":                                 "",
		"vmbuild bootstrap":                       "bootstrap --",
		"mmdebstrap":                              "bootstrap --",
		"/usr/bin/mmdebstrap trixie -":            "bootstrap -- trixie -",
		"vmbuild bootstrap --VARIANT apt trixie":  "bootstrap --variant=apt -- trixie",
		"vmbuild bootstrap a --sim b --inc c d":   "bootstrap --simulate --include=c -- a b d",
		"vmbuild bootstrap --dry-run":             "bootstrap --dry-run --",
		"vmbuild bootstrap --dry":                 "bootstrap --dry-run --",
		"vmbuild bootstrap --sil":                 "bootstrap --silent --",
		"vmbuild bootstrap --hook-dir=x":          "bootstrap --hook-directory=x --",
		"vmbuild bootstrap -vDqs":                 "bootstrap --verbose --debug --quiet --quiet --",
		"vmbuild bootstrap --s --V --d --h":       "bootstrap --quiet --verbose --debug --help --",
		"vmbuild bootstrap --include --variant":   "bootstrap --include=--variant --",
		"vmbuild bootstrap --include -- x":        "bootstrap --include=-- -- x",
		"vmbuild bootstrap a -- --include -v":     "bootstrap -- a --include -v",
		"vmbuild bootstrap --aptopt=a=b=c":        "bootstrap --aptopt=a=b=c --",
		"vmbuild bootstrap --ex=x --re":           "bootstrap --extract-hook=x --resolve-deps --",
		"vmbuild bootstrap --no":                  "bootstrap --no-merged-usr --",
		"vmbuild bootstrap --no-check-signatures": "bootstrap --no-check-signatures --",
		"vmbuild bootstrap --exclude a":           "bootstrap --exclude=a --",
		"debootstrap --arch amd64 sid d":          "debootstrap --arch=amd64 -- sid d",
		"vmbuild debootstrap --no-merged-usr a b": "debootstrap --no-merged-usr -- a b",
		"multistrap -f a.conf -d /x --no-auth":    "multistrap --file=a.conf --dir=/x --no-auth --",
		"vmbuild multistrap -fa.conf -?":          "multistrap --file=a.conf --help --",
	} {
		got, err := arguments(app, strings.Fields(line))
		if diff := cmp.Diff(strings.Fields(want), got); err != nil || diff != "" && len(got) > 0 {
			t.Errorf("%s: %v\n%s", line, err, diff)
		}
	}
	got, err := arguments(app, []string{"mmdebstrap", "--include", "", "", "t"})
	if want := []string{"bootstrap", "--include=", "--", "", "t"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	for line, want := range map[string]string{
		"mmdebstrap --frob":                "unknown flag --frob",
		"mmdebstrap -x":                    "unknown flag -x",
		"mmdebstrap -vx":                   "unknown flag -x",
		"mmdebstrap -include=a":            "unknown flag -i",
		"mmdebstrap --si":                  "--si is ambiguous (--silent, --simulate)",
		"mmdebstrap --simulate=1":          "--simulate does not take an argument",
		"mmdebstrap --include":             "--include requires an argument",
		"mmdebstrap --inc= x":              "--include requires an argument",
		"mmdebstrap --exclud=a":            "unknown flag --exclud",
		"mmdebstrap --no-check":            "unknown flag --no-check",
		"mmdebstrap --=a":                  "unknown flag --",
		"debootstrap --Arch=amd64 a b":     "unknown flag --Arch",
		"debootstrap --inc=a b c":          "unknown flag --inc",
		"vmbuild debootstrap --variant":    "--variant requires an argument",
		"multistrap -f":                    "-f requires an argument",
		"multistrap --dry-run=yes -f file": "--dry-run does not take an argument",
	} {
		got, err := arguments(app, strings.Fields(line))
		if err == nil || err.Error() != want {
			t.Errorf("%s: %q, %v, want %q", line, got, err, want)
		}
	}
}

// TestAbbreviations are all abbreviations that mmdebstrap 1.6 takes for one option, as Getopt::Long found them in
// mmdebstrap's own list: vmbuild's further options take none of them away.
func TestAbbreviations(t *testing.T) {
	app := model(t)
	i := slices.IndexFunc(app.Children, func(n *kong.Node) bool { return n.Tag.Get("like") == "mmdebstrap" })
	r := rewriter{options: optionsOf(app.Children[i]), manners: programs["mmdebstrap"]}
	for _, name := range mmdebstrapOptions {
		for n := 1; n <= len(name); n++ {
			abbreviation := name[:n]
			var matches []string
			for _, other := range mmdebstrapOptions {
				if strings.HasPrefix(other, abbreviation) {
					matches = append(matches, other)
				}
			}
			if slices.Contains(matches, abbreviation) || slices.Contains([]string{"h", "s", "q", "v", "d"}, abbreviation) {
				continue // a name of its own
			}
			o, err := r.find(abbreviation)
			if unique := len(matches) == 1; unique != (err == nil) || unique && o.spelling != name {
				t.Errorf("--%s: %s, %v, want one of %q", abbreviation, o.spelling, err, matches)
			}
		}
		if o, err := r.find(strings.ToUpper(name)); err != nil || o.spelling != name {
			t.Errorf("--%s: %s, %v", strings.ToUpper(name), o.spelling, err)
		}
	}
}

// mmdebstrapOptions are the names in the call of GetOptions in mmdebstrap 1.6.
var mmdebstrapOptions = []string{
	"help", "man", "version", "components", "variant", "include", "architectures", "mode", "dpkgopt", "aptopt", "keyring",
	"silent", "quiet", "verbose", "debug", "format", "logfile", "resolve-deps", "merged-usr", "no-merged-usr",
	"force-check-gpg", "setup-hook", "extract-hook", "chrooted-extract-hook", "essential-hook", "chrooted-essential-hook",
	"customize-hook", "chrooted-customize-hook", "hook-directory", "simulate", "dry-run", "skip",
}
