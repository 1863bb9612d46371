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

// TestArguments reads options as Perl's Getopt::Long does for mmdebstrap, as debootstrap and multistrap do, and as Python's
// optparse does for vmdebootstrap.
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
		"vmbuild build --im=a":                    "build --im=a",
		"vmbuild run a.img b c":                   "run a.img b c",
		"qemu-wrapper":                            "run --",
		"qemu-wrapper a.img":                      "run -- a.img",
		"qemu-wrapper a.img amd64":                "run --arch=amd64 -- a.img",
		"qemu-wrapper a.img arm64 /fw --cpus 2":   "run --cpus=2 --arch=arm64 --firmware-dir=/fw -- a.img",
		"qemu-wrapper a.img amd64 /fw more":       "run --arch=amd64 --firmware-dir=/fw -- a.img more",
		"vmdebootstrap":                           "build --",
		"vmdebootstrap --im a --gru --no-verb":    "build --image=a --grub --no-verbose --",
		"vmdebootstrap --dist sid --customi=x":    "build --distribution=sid --customize=x --",
		"vmdebootstrap --image --grub":            "build --image=--grub --",
		"vmdebootstrap --mirror= x --size=1G -v":  "build --mirror= --size=1G --verbose -- x",
		"vmdebootstrap run --no-no-kern --no-k":   "build --no-no-kernel --no-kernel -- run",
		"vmdebootstrap --dry-run=json --dump-con": "build --dry-run=json --dump-config --",
		"vmdebootstrap --output x --no-def":       "build --output=x --no-default-configs --",
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
	got, err = arguments(app, []string{"qemu-wrapper", "a.img", "amd64", ""})
	if want := []string{"run", "--arch=amd64", "--", "a.img"}; err != nil || !slices.Equal(got, want) {
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
		"vmdebootstrap --size":             "--size requires an argument",
		"vmdebootstrap --siz":              "--size requires an argument",
		"vmdebootstrap --grub=yes":         "--grub does not take an argument",
		"vmdebootstrap --no-extlinux=1":    "--no-extlinux does not take an argument",
		"vmdebootstrap --Image=a":          "unknown flag --Image",
		"vmdebootstrap --seee=a":           "unknown flag --seee",
		"vmdebootstrap --see=a":            "unknown flag --see",
		"vmdebootstrap --roo=a":            "--roo is ambiguous (--root-password, --roottype)",
	} {
		got, err := arguments(app, strings.Fields(line))
		if err == nil || err.Error() != want {
			t.Errorf("%s: %q, %v, want %q", line, got, err, want)
		}
	}
}

// TestAbbreviations are all abbreviations that mmdebstrap 1.6 and vmdebootstrap 1.11 take for one option, as Getopt::Long and
// optparse find them in those programs' own lists: vmbuild's further options take none of them away.
func TestAbbreviations(t *testing.T) {
	app := model(t)
	for program, names := range map[string][]string{"mmdebstrap": mmdebstrapOptions, "vmdebootstrap": vmdebootstrapOptions()} {
		i := slices.IndexFunc(app.Children, func(n *kong.Node) bool { return n.Tag.Get("like") == program })
		r := rewriter{options: optionsOf(allFlags(app.Children[i])), manners: programs[program]}
		for _, name := range names {
			checkAbbreviations(t, r, name, names)
			if o, err := r.find(strings.ToUpper(name)); (err == nil) != r.anyCase || err == nil && o.spelling != name {
				t.Errorf("%s --%s: %s, %v", program, strings.ToUpper(name), o.spelling, err)
			}
		}
	}
}

// checkAbbreviations finds an option by all that is short for it alone.
func checkAbbreviations(t *testing.T, r rewriter, name string, names []string) {
	t.Helper()
	for n := 1; n <= len(name); n++ {
		abbreviation := name[:n]
		var matches []string
		for _, other := range names {
			if strings.HasPrefix(other, abbreviation) {
				matches = append(matches, other)
			}
		}
		if abbreviation != name && slices.Contains(matches, abbreviation) ||
			slices.ContainsFunc(r.options, func(o option) bool { return n == 1 && o.spelling == abbreviation }) {
			continue // a name of its own
		}
		o, err := r.find(abbreviation)
		if unique := len(matches) == 1 || abbreviation == name; unique != (err == nil) || unique && o.spelling != name {
			t.Errorf("--%s: %s, %v, want one of %q", abbreviation, o.spelling, err, matches)
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

// vmdebootstrapOptions are the options of vmdebootstrap and of cliapp below it, with what they make of switches.
func vmdebootstrapOptions() []string {
	names := strings.Fields(`
		output log log-level log-max log-keep log-mode dump-memory-profile memory-dump-interval
		dump-setting-names dump-config no-default-configs config list-config-files generate-manpage help-all help version
		image size bootsize boottype bootflag bootoffset esp-size part-type roottype swap foreign debootstrapopts
		debootstrap-scripts tarball apt-mirror mirror arch distribution package custom-package kernel-package root-password
		customize hostname user serial-console-command owner squash`)
	for _, name := range strings.Fields(`verbose use-uefi extlinux no-kernel enable-dhcp lock-root-password serial-console sudo
		configure-apt mbr grub sparse pkglist no-acpid dry-run systemd-networkd update-initramfs convert-qcow2`) {
		names = append(names, name, "no-"+name)
	}
	return names
}
