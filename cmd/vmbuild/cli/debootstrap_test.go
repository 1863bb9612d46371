package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/image/bootstrap"
	"vmbuild/rootfs"
)

// plainDebootstrap are the options of "debootstrap sid out".
func plainDebootstrap(change func(*bootstrap.Options)) bootstrap.Options {
	o := bootstrap.Options{Suite: "sid", Target: "out", Format: "directory", Architectures: []string{hostArch()},
		Verbosity: 1, Skip: []string{rootfs.SkipEmpty}}
	change(&o)
	return o
}

func TestDebootstrapOptions(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "")
	dir := t.TempDir()
	keys, tarball := write(t, dir, "keys.gpg", "", 0o644), write(t, dir, "debs.tgz", "", 0o644)
	mirrors := func(arguments ...string) (list []bootstrap.Mirror) {
		for _, a := range arguments {
			list = append(list, bootstrap.Mirror{Argument: strings.ReplaceAll(a, "|", " ")})
		}
		return list
	}
	for line, c := range map[string]struct {
		notes  string
		change func(*bootstrap.Options)
	}{
		"sid out":                          {"", func(*bootstrap.Options) {}},
		"sid out http://m.example/debian/": {"", func(o *bootstrap.Options) { o.Mirrors = mirrors("http://m.example/debian") }},
		"sid out file:/srv/debian":         {"", func(o *bootstrap.Options) { o.Mirrors = mirrors("file:///srv/debian") }},
		"sid out file:///srv/debian":       {"", func(o *bootstrap.Options) { o.Mirrors = mirrors("file:///srv/debian") }},
		"--include=a,b sid out https://m/d": {"", func(o *bootstrap.Options) {
			o.Include, o.Mirrors = []string{"a", "b", "ca-certificates"}, mirrors("https://m/d")
		}},
		"--components=a,b --extra-suites x,y sid out http://m": {"", func(o *bootstrap.Options) {
			o.Components, o.Mirrors = []string{"a", "b"}, mirrors("http://m", "deb|http://m|x|a|b", "deb|http://m|y|a|b")
		}},
		"--extra-suites=sid-x sid out": {"", func(o *bootstrap.Options) {
			o.Mirrors = mirrors("http://ftp.debian.org/debian", "deb|http://ftp.debian.org/debian|sid-x|main")
		}},
		"--arch armhf --variant=minbase sid out": {"", func(o *bootstrap.Options) { o.Architectures, o.Variant = []string{"armhf"}, "minbase" }},
		"--variant=- sid out":                    {"", func(o *bootstrap.Options) { o.Variant = "-" }},
		"--variant=fakechroot sid out":           {"--variant=fakechroot: no root is needed anyway", func(*bootstrap.Options) {}},
		"--include=a --include=b --exclude c,d sid out": {"", func(o *bootstrap.Options) {
			o.Include, o.Omit = []string{"b"}, []string{"c", "d"}
		}},
		"--no-merged-usr sid out":                            {"", func(o *bootstrap.Options) { o.NoMergedUsr = true }},
		"--no-merged-usr --merged-usr sid out":               {"", func(*bootstrap.Options) {}},
		"--keyring=" + keys + " sid out":                     {"", func(o *bootstrap.Options) { o.Keyrings = []string{keys} }},
		"--no-check-gpg sid out":                             {"", func(o *bootstrap.Options) { o.NoCheckSignatures = true }},
		"--no-check-sig sid out":                             {"", func(o *bootstrap.Options) { o.NoCheckSignatures = true }},
		"--force-check-sig --force-check-gpg sid out":        {"", func(*bootstrap.Options) {}},
		"--no-check-valid-until --offline sid out":           {"", func(o *bootstrap.Options) { o.NoCheckValidUntil, o.Offline = true, true }},
		"--foreign --verbose sid out":                        {"", func(o *bootstrap.Options) { o.Foreign, o.Verbosity = true, 2 }},
		"--print-debs sid out":                               {"", func(o *bootstrap.Options) { o.PrintPackages = true }},
		"--download-only sid out":                            {"", func(o *bootstrap.Options) { o.DownloadOnly = true }},
		"--make-tarball=x.tgz sid out":                       {"", func(o *bootstrap.Options) { o.MakeTarball = "x.tgz" }},
		"--unpack-tarball=" + tarball + " sid out":           {"", func(o *bootstrap.Options) { o.UnpackTarball = tarball }},
		"--foreign --unpack-tarball=" + tarball + " sid out": {"", func(o *bootstrap.Options) { o.UnpackTarball, o.Foreign = tarball, true }},
		"sid out http://m gutsy": {"script gutsy is not used: vmbuild knows suites by their archives",
			func(o *bootstrap.Options) { o.Mirrors = mirrors("http://m") }},
		"--certificate " + keys + " --private-key " + tarball + " --ca-certificate " + keys + " sid out": {"", func(o *bootstrap.Options) {
			o.TLS = rootfs.TLS{Certificate: keys, Key: tarball, CA: keys}
		}},
		"--no-check-certificate --inrelease-path=../x sid out": {"", func(o *bootstrap.Options) {
			o.TLS.NoCheck, o.InRelease = true, "../x"
		}},
		"--include=a bookworm out": {"", func(o *bootstrap.Options) {
			o.Suite, o.Include, o.Exclude = "bookworm", []string{"a", "usr-is-merged"}, []string{"usrmerge"}
		}},
		"--variant=buildd trixie out": {"", func(o *bootstrap.Options) { o.Suite, o.Variant = "trixie", "buildd" }},
		"--variant=buildd --include=a oldstable out": {"", func(o *bootstrap.Options) {
			o.Suite, o.Variant, o.NoMergedUsr = "oldstable", "required", true
			o.Include, o.Exclude = []string{"build-essential", "a", "usr-is-merged"}, []string{"usrmerge"}
		}},
		"--variant=buildd --merged-usr bullseye out": {"", func(o *bootstrap.Options) {
			o.Suite, o.Variant, o.Include = "bullseye", "required", []string{"build-essential"}
		}},
		"--no-resolve-deps --resolve-deps --extractor=ar sid out": {
			"--no-resolve-deps has no meaning here: dependencies are always installed\n" +
				"--extractor has no meaning here: vmbuild unpacks packages itself",
			func(*bootstrap.Options) {}},
	} {
		var notes string
		for n := range strings.Lines(c.notes) {
			notes += "vmbuild: note: " + strings.TrimSuffix(n, "\n") + "\n"
		}
		for _, program := range [][]string{{"vmbuild", "debootstrap"}, {"/usr/sbin/debootstrap"}} {
			got := ask(t, "", append(program, strings.Fields(line)...)...)
			if diff := cmp.Diff(asked{plainDebootstrap(c.change), notes}, got); diff != "" {
				t.Errorf("%s:\n%s", line, diff)
			}
		}
	}
}

func TestDebootstrapRefusals(t *testing.T) {
	const needed = "a suite and a target are needed"
	for line, want := range map[string]string{
		"":                                       needed,
		"sid":                                    needed,
		"sid out m":                              `mirror "m" is not a URL`,
		"a b http://c d e":                       "unexpected argument e",
		"--variant=essential sid out":            "--variant=essential is not one of minbase, buildd, fakechroot",
		"--keyring=/none sid out":                "--keyring: lstat /none: no such file or directory",
		"--unpack-tarball=/none.tgz sid out":     "--unpack-tarball: lstat /none.tgz: no such file or directory",
		"--certificate=/none sid out":            "--certificate: lstat /none: no such file or directory",
		"--private-key=/none sid out":            "--private-key is of a --certificate, which is not given",
		"--extractor=unzip sid out":              `--extractor must be one of "","dpkg-deb","ar" but got "unzip"`,
		"--no-check-gpg --force-check-gpg s t":   "--no-check-gpg and --force-check-gpg exclude each other",
		"--foreign --print-debs sid out":         "--foreign, --print-debs exclude each other",
		"--download-only --make-tarball=x s t":   "--download-only, --make-tarball exclude each other",
		"--second-stage-target=/x":               "--second-stage-target is for --second-stage",
		"--second-stage":                         "--second-stage: vmbuild needs no part in it: run chroot / /debootstrap/debootstrap --second-stage",
		"--second-stage --second-stage-target=t": "--second-stage: vmbuild needs no part in it: run chroot t /debootstrap/debootstrap --second-stage",
	} {
		r := runAs(t, "", nil, append([]string{"debootstrap"}, strings.Fields(line)...)...)
		if diff := cmp.Diff(refusalOf("debootstrap", want), r); diff != "" {
			t.Errorf("%s:\n%s", line, diff)
		}
	}
}
