package archive

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

func TestParseRelease(t *testing.T) {
	r, err := parseRelease([]byte(`Origin: Debian
Label: Debian-Security
Suite: stable-security
Codename: trixie-security
Date: Wed, 18 Nov 2026 22:17:43 UTC
Valid-Until: Wed, 25 Nov 2026 22:17:43 UTC
Acquire-By-Hash: yes
Architectures: amd64 arm64
Components: updates/main updates/contrib
MD5Sum:
 d41d8cd98f00b204e9800998ecf8427e        0 contrib/Contents-amd64
SHA256:
 ` + zeros + `        7 main/binary-amd64/Packages
 ` + zeros + ` 23 main/binary-amd64/Packages.xz
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Release{
		Origin: "Debian", Label: "Debian-Security", Suite: "stable-security", Codename: "trixie-security",
		Date:          time.Date(2026, 11, 18, 22, 17, 43, 0, time.UTC),
		ValidUntil:    time.Date(2026, 11, 25, 22, 17, 43, 0, time.UTC),
		Architectures: []string{"amd64", "arm64"},
		Components:    []string{"updates/main", "updates/contrib"},
		AcquireByHash: true,
		Files: map[string]File{
			"main/binary-amd64/Packages":    {Path: "main/binary-amd64/Packages", Size: 7, SHA256: zeros},
			"main/binary-amd64/Packages.xz": {Path: "main/binary-amd64/Packages.xz", Size: 23, SHA256: zeros},
		},
	}
	if diff := cmp.Diff(want, *r, cmp.AllowUnexported(Release{}), cmp.Comparer(sameKeyring)); diff != "" {
		t.Errorf("release (-want +got):\n%s", diff)
	}
	r.Source = Source{Suite: "trixie-security", Components: []string{"main", "updates/contrib"}}
	if err := r.checkComponents(); err != nil {
		t.Error(err)
	}
}

func sameKeyring(a, b Keyring) bool { return len(a.keys) == len(b.keys) }

func TestParseReleaseErrors(t *testing.T) {
	const good = "Date: Wed, 18 Nov 2026 22:17:43 UTC\n"
	for text, want := range map[string]string{
		"":                             "cannot be read: parse control paragraph: there are 0 paragraphs instead of one",
		good + "\n" + good:             "cannot be read: parse control paragraph: there are 2 paragraphs instead of one",
		"Suite: x\n":                   `has no valid Date: "" is not a date in UTC`,
		"Date: 2026-11-18\n":           `has no valid Date: "2026-11-18" is not a date in UTC`,
		good + "Valid-Until: later":    `has no valid Valid-Until: "later" is not a date in UTC`,
		good:                           "has no SHA256 sums",
		good + "SHA256:\n x 1\n":       `has a SHA256 line of 2 words: "x 1"`,
		good + "SHA256:\n x 1 y\n":     `has a wrong SHA256 line: "x 1 y"`,
		good + sum(zeros, "-1", "y"):   `has a wrong SHA256 line: "` + zeros + ` -1 y"`,
		good + sum(zeros, "1", "../y"): `has a wrong SHA256 line: "` + zeros + ` 1 ../y"`,
		good + sum(zeros, "1", "/y"):   `has a wrong SHA256 line: "` + zeros + ` 1 /y"`,
	} {
		if _, err := parseRelease([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("error about %q is\n%v\nnot\n%s", text, err, want)
		}
	}
}

func sum(sum, size, name string) string { return fmt.Sprintf("SHA256:\n %s %s %s\n", sum, size, name) }

func TestParseDate(t *testing.T) {
	want := time.Date(2026, 9, 2, 7, 55, 41, 0, time.UTC)
	for _, text := range []string{
		"Wed, 02 Sep 2026 07:55:41 UTC", "Wed, 2 Sep 2026 07:55:41 UTC", "Wed,  2 Sep 2026 07:55:41 GMT",
		"Wed, 02 Sep 2026 07:55:41 +0000", "Wed, 02 Sep 2026 07:55:41 Z",
	} {
		if got, err := parseDate(text); err != nil || !got.Equal(want) {
			t.Errorf("%q is read as %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"Wed, 02 Sep 2026 07:55:41 CET", "Wed, 02 Sep 2026 07:55:41 +0200", "UTC", " UTC"} {
		if got, err := parseDate(text); err == nil {
			t.Errorf("%q is read as %s", text, got)
		}
	}
}

func TestIsSuite(t *testing.T) {
	for _, test := range []struct {
		asked, suite, codename string
		want                   bool
	}{
		{"trixie", "stable", "trixie", true},
		{"stable", "stable", "trixie", true},
		{"trixie-security", "stable-security", "trixie-security", true},
		{"buster/updates", "oldoldstable", "buster", true},
		{"trixie-updates", "stable", "trixie", false},
		{"trixie", "oldstable", "bookworm", false},
		{"jessie/snapshots/2018", "", "jessie", true},
		{"/jessie", "", "jessie", false},
		{"updates", "", "jessie", false},
		{"", "", "jessie", false},
		{"anything", "", "", true},
		{"anything/", "", "", true},
	} {
		r := Release{Source: Source{Suite: test.asked}, Suite: test.suite, Codename: test.codename}
		if got := r.isSuite(test.asked); got != test.want {
			t.Errorf("%q is taken for %q (%q): %t", test.asked, test.suite, test.codename, got)
		}
	}
}

func TestReadKeyring(t *testing.T) {
	for text, want := range map[string]string{
		"":     "read keyring: no key in it",
		"junk": "read keyring: openpgp: invalid data: tag byte does not have MSB set",
		"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nxx": "read keyring: unexpected EOF",
	} {
		if _, err := ReadKeyring([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("error about %q is\n%v\nnot\n%s", text, err, want)
		}
	}
}

func FuzzRelease(f *testing.F) {
	f.Add("Date: Wed, 18 Nov 2026 22:17:43 UTC\n" + sum(zeros, "1", "main/binary-amd64/Packages"))
	f.Add("Suite: x\nSHA256:\n 1 2 3\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRelease([]byte(text))
		if err != nil {
			return
		}
		r.bind(Source{URI: "http://x", Suite: "x"})
		for _, file := range r.Files {
			if !strings.HasPrefix(file.Path, "dists/x") || len(file.SHA256) != 64 || file.Size < 0 {
				t.Errorf("file %v", file)
			}
		}
	})
}

func FuzzInRelease(f *testing.F) {
	f.Add([]byte(clearsigned + "\nHash: SHA256\n\nOrigin: x\n-----BEGIN PGP SIGNATURE-----\n\nxx\n-----END PGP SIGNATURE-----\n"))
	f.Add([]byte("Origin: x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := splitClearsigned(data)
		if err != nil {
			return
		}
		if Keyring.verify(Keyring{}, s, date, false) == nil {
			t.Error("a keyring without keys believes it")
		}
	})
}
