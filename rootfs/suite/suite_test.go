package suite

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
)

func TestLookup(t *testing.T) {
	for name, want := range map[string]string{
		"stable": "trixie", "oldstable": "bookworm", "oldoldstable": "bullseye", "testing": "forky", "unstable": "sid",
		"bullseye": "bullseye", "sid": "sid",
	} {
		s, err := Lookup(name)
		if err != nil || s.Codename != want {
			t.Errorf("Lookup(%q) = %q, %v; want %q", name, s.Codename, err, want)
		}
	}
	_, err := Lookup("trixy")
	if err == nil || !strings.Contains(err.Error(), `"trixy" is not a valid Debian or Ubuntu suite or codename`) {
		t.Errorf("Lookup(trixy): %v", err)
	}
}

func TestNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, n := range Names() {
		if seen[n] {
			t.Errorf("%q stands in the table twice", n)
		}
		seen[n] = true
	}
	if !seen[Default] {
		t.Errorf("the default release %q is not in the table", Default)
	}
}

// The documentation of Keyring names what is in the file: neither may change without the other.
func TestKeyringIsTheDocumentedOne(t *testing.T) {
	source, err := os.ReadFile("suite.go")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(Keyring())
	if !bytes.Contains(source, []byte(hex.EncodeToString(sum[:]))) {
		t.Errorf("suite.go does not name the keyring's SHA256 %x", sum)
	}
	keys, err := openpgp.ReadKeyRing(bytes.NewReader(Keyring()))
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != strings.Count(string(source), "Key (1") {
		t.Errorf("the keyring has %d keys, its documentation another number", len(keys))
	}
	for _, k := range keys {
		if fp := strings.ToUpper(hex.EncodeToString(k.PrimaryKey.Fingerprint)); !bytes.Contains(source, []byte(fp)) {
			t.Errorf("suite.go does not name key %s", fp)
		}
	}
}

func TestRemovedKeyringIsTheDocumentedOne(t *testing.T) {
	source, err := os.ReadFile("publication.go")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(RemovedKeyring())
	if !bytes.Contains(source, []byte(hex.EncodeToString(sum[:]))) {
		t.Errorf("publication.go does not name the keyring's SHA256 %x", sum)
	}
	keys, err := openpgp.ReadKeyRing(bytes.NewReader(RemovedKeyring()))
	if err != nil {
		t.Fatal(err)
	}
	var names strings.Builder
	for _, k := range keys {
		for name := range k.Identities {
			names.WriteString(name + "\n")
		}
	}
	for _, release := range []string{"7.0/wheezy", "8/jessie", "9/stretch", "10/buster"} {
		if !strings.Contains(names.String(), "Debian Archive Automatic Signing Key ("+release+")") {
			t.Errorf("there is no key of %s in\n%s", release, names.String())
		}
	}
}
