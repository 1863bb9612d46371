package archive

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vmbuild/rootfs/archivetest"
	"vmbuild/rootfs/offers"
)

func newKey(t *testing.T, o archivetest.KeyOptions) archivetest.Key {
	t.Helper()
	k, err := archivetest.NewKeyWith(o)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestSigners: who may sign, by the fingerprints that Signed-By has.
func TestSigners(t *testing.T) {
	simple, split, stranger := newKey(t, archivetest.KeyOptions{}), newKey(t, archivetest.KeyOptions{Subkey: true}), newKey(t, archivetest.KeyOptions{})
	keys := slices.Concat(simple.Public(), split.Public(), stranger.Public())
	if split.Fingerprint() == split.SignerFingerprint() {
		t.Fatal("the key signs by itself")
	}
	for _, test := range []struct {
		name   string
		signer archivetest.Key
		only   []string
		good   bool
	}{
		{"primary key", simple, []string{simple.Fingerprint()}, true},
		{"in lower case", simple, []string{strings.ToLower(simple.Fingerprint())}, true},
		{"primary key exactly", simple, []string{simple.Fingerprint() + "!"}, true},
		{"one of several", simple, []string{stranger.Fingerprint(), simple.Fingerprint()}, true},
		{"another key", simple, []string{stranger.Fingerprint()}, false},
		{"none", simple, nil, false},
		{"key id", simple, []string{simple.ID()}, false},
		{"subkey of the primary key", split, []string{split.Fingerprint()}, true},
		{"primary key exactly, but a subkey signs", split, []string{split.Fingerprint() + "!"}, false},
		{"subkey", split, []string{split.SignerFingerprint()}, true},
		{"subkey exactly", split, []string{split.SignerFingerprint() + "!"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := sample()
			a.Keys = []archivetest.Key{test.signer}
			server := archivetest.Start(t, a)
			s := source(t, server)
			s.Keyring = keyring(t, keys)
			if _, err := client(t).Release(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			s.Keyring = s.Keyring.Only(test.only...)
			_, err := client(t).Release(t.Context(), s)
			if test.good {
				if err != nil {
					t.Error(err)
				}
				return
			}
			id := test.signer.SignerFingerprint()
			fails(t, server, err, "InRelease of URL trixie is signed by key "+id[len(id)-16:]+", which is not in the keyring")
		})
	}
}

// TestLoadKeyring: the union of files and directories, in the forms that apt takes.
func TestLoadKeyring(t *testing.T) {
	keys := make([]archivetest.Key, 5)
	for i := range keys {
		keys[i] = newKey(t, archivetest.KeyOptions{})
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{
		"one.gpg":           keys[0].Public(),
		"two.asc":           keys[1].Armoured(),
		"parts/three.pgp":   keys[2].Public(),
		"parts/twice.gpg":   slices.Concat(keys[2].Public(), keys[3].Public()),
		"parts/empty.gpg":   nil,
		"parts/backup.gpg~": []byte("junk"),
		"parts/sub.gpg/x":   []byte("junk"),
		"none/README":       []byte("junk"),
		"bad/junk.asc":      []byte("junk"),
		"box.gpg":           []byte("\x00\x00\x00\x20\x01\x01\x00\x02KBXf\x00\x00"),
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	all, err := LoadKeyring(dir+"/one.gpg", dir+"/two.asc", dir+"/parts")
	if err != nil {
		t.Fatal(err)
	}
	for i, key := range keys {
		a := sample()
		a.Keys = []archivetest.Key{key}
		server := archivetest.Start(t, a)
		s := source(t, server)
		s.Keyring = all
		if _, err := client(t).Release(t.Context(), s); (err == nil) != (i < 4) {
			t.Errorf("key %d: %v", i, err)
		}
	}
	for name, want := range map[string]string{
		"none":        "read keyring: no .asc, .gpg or .pgp file with a key is in DIR/none",
		"bad":         "read keyring: openpgp: invalid data: tag byte does not have MSB set: DIR/bad/junk.asc",
		"box.gpg":     "read keyring: it is a keybox of GnuPG; use what gpg --export makes of it: DIR/box.gpg",
		"missing.gpg": "read keyring: stat DIR/missing.gpg: no such file or directory",
	} {
		_, err := LoadKeyring(dir+"/one.gpg", filepath.Join(dir, name))
		if err == nil || strings.ReplaceAll(err.Error(), dir, "DIR") != want {
			t.Errorf("error is %v, not %s", err, want)
		}
	}
	if k, err := LoadKeyring(); err != nil || len(k.keys) != 0 {
		t.Errorf("no files have %d keys, %v", len(k.keys), err)
	}
}

// expiringArchives are signed before their keys' end, some of which have come since.
func expiringArchives(t *testing.T) map[string]archivetest.Archive {
	const year = 365 * 24 * time.Hour
	signed := time.Date(2022, 1, 1, 0, 0, 0, 0, time.UTC)
	old, young := archivetest.KeyOptions{Lifetime: 3 * year}, archivetest.KeyOptions{Lifetime: 50 * year}
	return map[string]archivetest.Archive{
		"expired":        {Date: signed, Keys: []archivetest.Key{newKey(t, old)}},
		"expired subkey": {Date: signed, Keys: []archivetest.Key{newKey(t, archivetest.KeyOptions{Lifetime: 3 * year, Subkey: true})}},
		"not expired":    {Date: signed, Keys: []archivetest.Key{newKey(t, young)}},
		"one of two":     {Date: signed, Keys: []archivetest.Key{newKey(t, old), newKey(t, young)}},
	}
}

// TestExpiredKey is not believed unless the caller asks for it: gpgv's EXPKEYSIG, which apt takes for a bad signature.
func TestExpiredKey(t *testing.T) {
	for name, a := range expiringArchives(t) {
		a.Packages = []archivetest.Package{{Name: "x"}}
		server := archivetest.Start(t, a)
		c, s := client(t), source(t, server)
		_, err := c.Release(t.Context(), s)
		if !strings.HasPrefix(name, "expired") {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		id := a.Keys[0].SignerFingerprint()
		fails(t, server, err, "InRelease of URL trixie is signed by key "+id[len(id)-16:]+", but not rightly: openpgp: key expired")
		s.IgnoreKeyExpiry = true
		if _, err := c.Release(t.Context(), s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestGpgv compares our opinion of signatures with that of the program that apt asks: GOODSIG is the word it waits for.
func TestGpgv(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "gpgv")
	archives := expiringArchives(t)
	changed := sample()
	changed.Label = "changed"
	archives["changed"], archives["good"], archives["by a subkey"] = changed, sample(), archivetest.Archive{
		Date: date, Keys: []archivetest.Key{newKey(t, archivetest.KeyOptions{Subkey: true})}}
	for name, a := range archives {
		site := newSite(t, a)
		if name == "changed" {
			site.Edit("dists/trixie/Release", archivetest.Flip(20))
		}
		dir := t.TempDir()
		if err := site.WriteTo(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/keyring", site.Keyring(), 0o644); err != nil {
			t.Fatal(err)
		}
		release := dir + "/dists/trixie/Release"
		out, _ := exec.Command("gpgv", "--status-fd", "1", "--keyring", dir+"/keyring", release+".gpg", release).Output()
		if len(out) == 0 {
			t.Fatalf("%s: gpgv says nothing", name)
		}
		text, signature := site.Files["dists/trixie/Release"], site.Files["dists/trixie/Release.gpg"]
		signed, err := splitDetached(text, signature)
		if err == nil {
			err = keyring(t, site.Keyring()).verify(signed, time.Now(), false)
		}
		if strings.Contains(string(out), "[GNUPG:] GOODSIG ") != (err == nil) {
			t.Errorf("%s: we say %v, gpgv says\n%s", name, err, out)
		}
	}
}

// TestSameKeyTwice: the certificate of a keyring that was not updated does not stand in the way of a newer one.
func TestSameKeyTwice(t *testing.T) {
	key := newKey(t, archivetest.KeyOptions{Subkey: true})
	a := sample()
	a.Keys = []archivetest.Key{key}
	server := archivetest.Start(t, a)
	whole := keyring(t, key.Public())
	withoutSubkey := keyring(t, key.Public())
	withoutSubkey.keys[0].Subkeys = nil
	s := source(t, server)
	for _, k := range []Keyring{Union(withoutSubkey, whole), Union(whole, withoutSubkey), Union(whole, whole)} {
		s.Keyring = k
		if _, err := client(t).Release(t.Context(), s); err != nil {
			t.Error(err)
		}
	}
}
