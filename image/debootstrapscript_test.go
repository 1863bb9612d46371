package image

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/offers"
)

// kali is Debian's script of that name, from debootstrap 1.0.145.
const kali = `# shellcheck shell=sh
mirror_style release
download_style apt
finddebs_style from-indices
variants - buildd fakechroot minbase
keyring /usr/share/keyrings/kali-archive-keyring.gpg
default_mirror http://http.kali.org/kali

# include common settings
if [ -e "$DEBOOTSTRAP_DIR/scripts/debian-common" ]; then
 . "$DEBOOTSTRAP_DIR/scripts/debian-common"
elif [ -e /debootstrap/debian-common ]; then
 . /debootstrap/debian-common
elif [ -e "$DEBOOTSTRAP_DIR/debian-common" ]; then
 . "$DEBOOTSTRAP_DIR/debian-common"
else
 error 1 NOCOMMON "File not found: debian-common"
fi
`

const pgpBlock = `if [ -e /usr/share/keyrings/debian-archive-keyring.pgp ]; then
  # Starting with Debian 13 (trixie).
  keyring /usr/share/keyrings/debian-archive-keyring.pgp
else
  keyring /usr/share/keyrings/debian-archive-keyring.gpg
fi
`

var kaliSays = DebootstrapScript{
	Mirror: "http://http.kali.org/kali", Variants: []string{"-", "buildd", "fakechroot", "minbase"},
	Opts: DebootstrapOpts{Keyring: "/usr/share/keyrings/kali-archive-keyring.gpg"},
}

func TestParseDebootstrapScript(t *testing.T) {
	for script, want := range map[string]DebootstrapScript{
		"":                           {},
		"# nothing\n\n":              {},
		kali:                         kaliSays,
		pgpBlock + "VARIANT=minbase": {Opts: DebootstrapOpts{Variant: "minbase"}},
		"default_mirror 'a b'":       {Mirror: "a b"},
		"USE_COMPONENTS=\"main|contrib\"  # as kept\nADDITIONAL='vim less'\nEXCLUDE=nano\nVARIANT=minbase\nDEF_MIRROR=http://m/d\nMERGED_USR=no\n" +
			"KEYRING=/k,1\nEXTRA_SUITES=": {Mirror: "http://m/d", Opts: DebootstrapOpts{Components: []string{"main", "contrib"},
			Include: []string{"vim", "less"}, Exclude: []string{"nano"}, Variant: "minbase", SplitUsr: true, Keyring: "/k,1"}},
	} {
		got, err := ParseDebootstrapScript("x", []byte(script))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got)\n%s", script, err, diff)
		}
	}
}

func TestDebootstrapScriptsThatAreRefused(t *testing.T) {
	const why = " is neither a setting that vmbuild knows (default_mirror, keyring, variants, mirror_style, download_style, " +
		"finddebs_style, a variable of one of debootstrap's options) nor in Debian's own scripts, and scripts of debootstrap are not " +
		"run: use --customize or --setup-hook for what it does"
	for script, want := range map[string]string{
		"\nwork_out_debs () {\n}\n":            `own/sid:2: "work_out_debs () {"` + why,
		"required=\"$(get_debs Priority: x)\"": `own/sid:1: "required=\"$(get_debs Priority: x)\""` + why,
		"HOME=/x":                              `own/sid:1: "HOME="` + why,
		"MERGED_USR=perhaps":                   `own/sid:1: "MERGED_USR="` + why,
		"chroot x":                             `own/sid:1: "chroot x"` + why,
		"keyring 'x":                           `own/sid:1: "keyring 'x"` + why,
		"variants":                             "own/sid:1: variants has no argument",
		"mirror_style main\nfinddebs_style hardcoded": "own/sid:2: finddebs_style hardcoded is not one of from-indices",
		"VARIANT=tiny": "own/sid:1: variant=tiny: it is not one of minbase, buildd, fakechroot",
		strings.Replace(kali, "else\n", "else\n curl x\n", 1): `own/sid:10: "if [ -e \"$DEBOOTSTRAP_DIR/scripts/debian-common\" ]; then"` + why,
	} {
		if _, err := ParseDebootstrapScript("own/sid", []byte(script)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", script, err, want)
		}
	}
}

func TestReadDebootstrapScript(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("scripts/kali", kali)
	if err := os.Symlink("kali", filepath.Join(dir, "scripts/kali-dev")); err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{dir, filepath.Join(dir, "scripts")} {
		got, err := ReadDebootstrapScript(place, "kali-dev")
		if diff := cmp.Diff(kaliSays, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", place, err, diff)
		}
	}
	_, err := ReadDebootstrapScript(dir, "sid")
	if want := dir + ` has no script of suite "sid" (neither there nor in scripts below)`; err == nil || err.Error() != want {
		t.Errorf("no script: %v, want %s", err, want)
	}
	write("scripts/debian-common", "work_out_debs () { :; }\n")
	_, err = ReadDebootstrapScript(dir, "kali")
	if want := dir + "/scripts/debian-common is none of Debian's: vmbuild runs no scripts of debootstrap (use --customize or --setup-hook for what it does)"; err == nil || err.Error() != want {
		t.Errorf("another debian-common: %v, want %s", err, want)
	}
}

// TestReadDebianScripts reads what the package debootstrap has.
func TestReadDebianScripts(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "debootstrap")
	const dir = "/usr/share/debootstrap"
	for _, suite := range []string{"sid", "trixie", "jessie", "stable"} {
		got, err := ReadDebootstrapScript(dir, suite)
		if want := []string{"-", "buildd", "fakechroot", "minbase"}; err != nil || !cmp.Equal(got.Variants, want) {
			t.Errorf("%s: %+v, %v", suite, got, err)
		}
	}
}

func FuzzParseDebootstrapScript(f *testing.F) {
	for _, seed := range []string{kali, pgpBlock, "VARIANT=\"a b\"", "x='", "keyring \"$X\"", "=", "= ="} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseDebootstrapScript("x", data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "x:") {
				t.Errorf("no line is named: %v", err)
			}
			return
		}
		commented := append([]byte("# a comment\n"), data...)
		again, err := ParseDebootstrapScript("x", commented)
		if diff := cmp.Diff(s, again); diff != "" || err != nil {
			t.Errorf("a comment changes what it says: %v\n%s", err, diff)
		}
	})
}
