package system

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Keys as ssh-keygen makes them.
const (
	annsKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL+6b3tFTaBINPYEkK/lBW94Upl/WQKFj5XOtgTCyd3m ann@m.example"
	bobsKey = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBOqvquchYZMaSsObz+QPVKFCPxi4gmgHiWsnwKcb3Cm87LTgGiAsn+LhPnsO2md5oQiZlCJTKsiyAZoHfQRo+pw= bob"
)

func TestParseKeys(t *testing.T) {
	const bad, private = "line %d is no public key of SSH, such as ssh-ed25519 AAAA… comment",
		"it is a private key, which stays with its owner: the public one is in the file whose name ends in .pub"
	kind, rest, _ := strings.Cut(annsKey, " ")
	for text, want := range map[string]struct {
		lines []string
		err   string
	}{
		annsKey: {lines: []string{annsKey}},
		"# ann\r\n\r\n" + annsKey + "\r\n\t" + bobsKey: {lines: []string{annsKey, bobsKey}},
		`command="a b",restrict ` + annsKey:            {lines: []string{`command="a b",restrict ` + annsKey}},
		"":                                             {err: "it has no public key of SSH"},
		"# nothing\n":                                  {err: "it has no public key of SSH"},
		annsKey + "\n\n" + kind:                        {err: fmt.Sprintf(bad, 3)},
		"ssh-rsa " + rest:                              {err: fmt.Sprintf(bad, 1)},
		annsKey + "\rroot":                             {err: fmt.Sprintf(bad, 1)},
		kind + " AAAA":                                 {err: fmt.Sprintf(bad, 1)},
		"-----BEGIN OPENSSH PRIVATE KEY-----\nb3B\n":              {err: private},
		annsKey + "\n-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0\n": {err: private},
	} {
		got, err := ParseKeys([]byte(text))
		if d := cmp.Diff(want.lines, got); d != "" || (err == nil) != (want.err == "") || err != nil && err.Error() != want.err {
			t.Errorf("%q: %v, want %q\n%s", text, err, want.err, d)
		}
	}
}

// FuzzParseKeys has every line that is taken be one, and be taken again.
func FuzzParseKeys(f *testing.F) {
	for _, seed := range []string{"", annsKey, "# x\n\n" + annsKey + "\n" + bobsKey, `from="*",restrict ` + annsKey, "ssh-rsa AAAA", "PRIVATE KEY"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		lines, err := ParseKeys(text)
		if err != nil {
			return
		}
		again, err := ParseKeys([]byte(strings.Join(lines, "\n")))
		if err != nil || !slices.Equal(lines, again) {
			t.Errorf("%q: read again: %q, %v", lines, again, err)
		}
	})
}

// passwd has the accounts of a test, whose files its own user must be able to own.
func passwd() string {
	return fmt.Sprintf("root:x:%d:%d:root:/root:/bin/sh\nann:x:%[1]d:%[2]d:,,,:/home/ann:/bin/bash\n", os.Getuid(), os.Getgid())
}

func TestAuthorize(t *testing.T) {
	root, dir := openRoot(t)
	put(t, dir, map[string]string{"etc/passwd": passwd(), "root/.ssh/authorized_keys": bobsKey, "home/ann/.profile": "x"})
	if err := os.Chmod(filepath.Join(dir, "root/.ssh"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := Config{Keys: []Key{{"root", annsKey}, {"ann", bobsKey}, {"ann", annsKey}, {"root", bobsKey}}}
	for range 2 { // authorized twice is authorized
		if err := Authorize(root, c); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{
		"etc/passwd": passwd(), "home/ann/.profile": "x",
		"root/.ssh/authorized_keys":     bobsKey + "\n" + annsKey + "\n",
		"home/ann/.ssh/authorized_keys": bobsKey + "\n" + annsKey + "\n",
	}
	if d := cmp.Diff(want, list(t, dir)); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	for _, home := range []string{"root", "home/ann"} {
		for name, mode := range map[string]os.FileMode{".ssh": 0o700 | os.ModeDir, ".ssh/authorized_keys": 0o600} {
			if info, err := os.Stat(filepath.Join(dir, home, name)); err != nil || info.Mode() != mode {
				t.Errorf("%s/%s: %v, %v, want %v", home, name, info.Mode(), err, mode)
			}
		}
	}
}

func TestAuthorizeGivesFilesToTheAccount(t *testing.T) {
	root, dir := openRoot(t)
	put(t, dir, map[string]string{"etc/passwd": "ann:x:1234:4321::/home/ann:\n"})
	err := Authorize(root, Config{Keys: []Key{{"ann", annsKey}}})
	if os.Getuid() != 0 {
		if want := `let "ann" log in by SSH key: chownat`; err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".ssh", ".ssh/authorized_keys"} {
		if got := owner(t, filepath.Join(dir, "home/ann", name)); got != "1234:4321" {
			t.Errorf("%s belongs to %s", name, got)
		}
	}
}

func TestParseAccount(t *testing.T) {
	const text = "root:x:0:0:root:/root:/bin/bash\nhalf:x:1\nann:x:1000:100:Ann,,,:/srv/../home/ann/:/bin/sh\n" +
		"none:x:1:::/:\nbig:x:4294967296:1::/x:\nlast:x:7:8::/home/last:"
	for name, want := range map[string]struct {
		account account
		err     string
	}{
		"root": {account{0, 0, "root"}, ""},
		"ann":  {account{1000, 100, "home/ann"}, ""},
		"last": {account{7, 8, "home/last"}, ""},
		"half": {err: "it has no line in /etc/passwd"},
		"bob":  {err: "it has no line in /etc/passwd"},
		"none": {err: `read its line in /etc/passwd: strconv.ParseUint: parsing "": invalid syntax`},
		"big":  {err: `read its line in /etc/passwd: strconv.ParseUint: parsing "4294967296": value out of range`},
	} {
		got, err := parseAccount(text, name)
		if got != want.account || (err == nil) != (want.err == "") || err != nil && err.Error() != want.err {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, want)
		}
	}
	if _, err := parseAccount("a:x:1:1::/:", "a"); err == nil || err.Error() != "it has no home directory" {
		t.Errorf("an account at /: %v", err)
	}
}

func FuzzParseAccount(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/bash\n", "root")
	f.Add("a:x:1:1::/../..:\n", "a")
	f.Add(":::::::", "")
	f.Fuzz(func(t *testing.T, text, name string) {
		a, err := parseAccount(text, name)
		if err == nil && (a.uid < 0 || a.gid < 0 || a.home == "" || strings.HasPrefix(a.home, "/") || strings.HasPrefix(a.home, "../")) {
			t.Errorf("%+v", a)
		}
	})
}
