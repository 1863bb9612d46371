package image

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs"
	"vmbuild/rootfs/offers"
	"vmbuild/rootfs/suite"
)

func TestParseDebootstrapOpts(t *testing.T) {
	for text, want := range map[string]DebootstrapOpts{
		"": {},
		"variant=minbase no-check-gpg components=main,contrib": {Variant: "minbase", NoCheck: true, Components: []string{"main", "contrib"}},
		"  --variant=-\t--include=a1,g++ --exclude=vi\n":       {Include: []string{"a1", "g++"}, Exclude: []string{"vi"}},
		"arch=arm64 variant=buildd variant=fakechroot":         {Arch: "arm64"},
		"keyring=/k=1.gpg merged-usr verbose":                  {Keyring: "/k=1.gpg", MergedUsr: true, Verbose: true},
		"no-merged-usr extra-suites=sid inrelease-path=../x":   {SplitUsr: true, ExtraSuites: []string{"sid"}, InRelease: "../x"},
		"ca-certificate=a certificate=b private-key=c no-check-certificate no-check-sig": {NoCheck: true,
			TLS: rootfs.TLS{CA: "a", Certificate: "b", Key: "c", NoCheck: true}},
		"no-resolve-deps extractor=ar": {Notes: []string{"no-resolve-deps has no meaning here: dependencies are always installed",
			"extractor has no meaning here: vmbuild unpacks packages itself"}},
	} {
		got, err := ParseDebootstrapOpts(text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got)\n%s", text, err, diff)
		}
	}
}

func TestDebootstrapOptsThatAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"variant":                           "variant requires a value: write variant=NAME",
		"--include=":                        "include requires a value: write include=A,B",
		"variant=tiny":                      "variant=tiny: it is not one of minbase, buildd, fakechroot",
		"include=vim,,less":                 `include=vim,,less: "" is not a name`,
		"exclude=Vim":                       `exclude=Vim: "Vim" is not a name`,
		"components=-x":                     `components=-x: "-x" is not a name`,
		"arch=/x":                           "arch=/x: it is not a name",
		"no-check-gpg=1":                    `no-check-gpg takes no value: it is "1"`,
		"merged-usr --no-merged-usr":        "merged-usr and no-merged-usr exclude each other",
		"no-check-gpg force-check-gpg":      "no-check-gpg and force-check-gpg exclude each other",
		"private-key=k":                     "private-key is of a certificate, which is not given: add certificate=FILE",
		"foreign":                           "foreign cannot be had in the build of an image: an image is complete when it is written; --arch=ARCH makes it for another architecture",
		"make-tarball=x":                    "make-tarball cannot be had in the build of an image: it makes no image; vmbuild debootstrap has it",
		"variant=minbase no-chek-gpg extra": `"no-chek-gpg" is not an option of debootstrap's (arch, ca-certificate, cache-dir, certificate, components, debian-installer, download-only, exclude, extra-suites, extractor, force-check-gpg, force-check-sig, foreign, help, include, inrelease-path, keep-debootstrap-dir, keyring, log-extra-deps, make-tarball, merged-usr, no-check-certificate, no-check-gpg, no-check-sig, no-merged-usr, no-resolve-deps, print-debs, private-key, resolve-deps, second-stage, second-stage-target, unpack-tarball, variant, verbose, version)`,
	} {
		got, err := ParseDebootstrapOpts(text)
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
		if diff := cmp.Diff(DebootstrapOpts{}, got); diff != "" {
			t.Errorf("%q is refused and says something: %s", text, diff)
		}
	}
}

// TestDebootstrapOptionsAreComplete asks debootstrap itself what its options are.
func TestDebootstrapOptionsAreComplete(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "debootstrap")
	out, err := exec.Command("debootstrap", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\s*--([a-z-]+)`).FindAllStringSubmatch(string(out), -1) {
		if _, ok := debootstrapOptions[m[1]]; !ok {
			t.Errorf("debootstrap has --%s", m[1])
		}
	}
}

func TestDebootstrapOptsOver(t *testing.T) {
	mine := DebootstrapOpts{Variant: "minbase", Include: []string{"vim"}, SplitUsr: true, Notes: []string{"b"}}
	below := DebootstrapOpts{Variant: "buildd", Keyring: "/k", Include: []string{"less"}, Exclude: []string{"nano"}, MergedUsr: true,
		NoCheck: true, Notes: []string{"a"}}
	want := DebootstrapOpts{Variant: "minbase", Keyring: "/k", Include: []string{"vim"}, Exclude: []string{"nano"}, SplitUsr: true,
		NoCheck: true, Notes: []string{"a", "b"}}
	if diff := cmp.Diff(want, mine.Over(below)); diff != "" {
		t.Error(diff)
	}
}

func TestUsrOfReleases(t *testing.T) {
	for _, c := range []struct {
		opts    DebootstrapOpts
		release string
		want    string
	}{
		{DebootstrapOpts{}, "sid", ""},
		{DebootstrapOpts{MergedUsr: true}, "bullseye", ""},
		{DebootstrapOpts{SplitUsr: true}, "bullseye", ""},
		{DebootstrapOpts{SplitUsr: true}, "stretch", ""},
		{DebootstrapOpts{SplitUsr: true}, "bookworm", "no-merged-usr: the packages of bookworm need /bin, /lib and /sbin to be links into /usr"},
		{DebootstrapOpts{MergedUsr: true}, "buster", "merged-usr: vmbuild leaves /bin, /lib and /sbin of buster as its packages have them; " +
			"package usrmerge of stretch and buster makes them links into /usr"},
	} {
		release, err := suite.Lookup(c.release)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := c.opts.checkUsr(release); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%+v, %s: %q, want %q", c.opts, c.release, got, c.want)
		}
	}
}

func FuzzParseDebootstrapOpts(f *testing.F) {
	for _, seed := range []string{"variant=minbase no-check-gpg", "--components=main,contrib --include=a1,b2", "foreign", "=", "--=x", "include=,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, err := ParseDebootstrapOpts(text)
		if err != nil {
			return
		}
		for _, name := range append(o.Include, o.Exclude...) {
			if name == "" || strings.ContainsAny(name, " ,/=\n") {
				t.Errorf("%q asks for package %q", text, name)
			}
		}
		again, err := ParseDebootstrapOpts(text + " " + text)
		again.Notes = o.Notes // twice
		if diff := cmp.Diff(o, again); diff != "" || err != nil {
			t.Errorf("%q said twice is something else: %v\n%s", text, err, diff)
		}
	})
}
