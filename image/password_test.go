package image

import (
	"strings"
	"testing"

	"vmbuild/rootfs/suite"
)

// The hashes are what libxcrypt makes: python3 -c 'import crypt; print(crypt.crypt("secret", "$6$abcdefghijklmnop"))'.
func TestCrypt(t *testing.T) {
	for _, c := range []struct {
		plain, salt string
		yescrypt    bool
		want        string
	}{
		{"Hello world!", "saltstring......", false, "$6$saltstring......$KpMASSg/pmYC1t7zD2JvaDqKNKoL0fMdZvP52yO1JuPzLKE12Q38O3KbMhSdLeFQZ19EBzS3t6mQkgkitLOsY1"},
		{"secret", "abcdefghijklmnop./012/", false, "$6$abcdefghijklmnop$J/AWykHqo2Tx5UtavGnFc3ytI33la50JpzLTarSWVhkIXK6wOjNwwZjsrIw2UgmrER2EKrSHCeQyAINEEXAk1/"},
		{"secret", "abcdefghijklmnop./012/", true, "$y$j9T$abcdefghijklmnop./012/$SS7XMJXdxUoKdSlHFFLRLB0q2a5hfz0/H3VhlREyqr1"},
	} {
		if got, err := crypt(c.plain, c.salt, c.yescrypt); err != nil || got != c.want {
			t.Errorf("%s, %s: %q, %v, want %q", c.plain, c.salt, got, err, c.want)
		}
	}
}

func TestPassword(t *testing.T) {
	for name, prefix := range map[string]string{"buster": "$6$", "bullseye": "$y$j9T$", "sid": "$y$j9T$"} {
		release, err := suite.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		one, err := password("ann", "secret", release, [32]byte{1})
		if err != nil || !strings.HasPrefix(one.Hash, prefix) || one.Locked {
			t.Errorf("%s: %+v, %v", name, one, err)
		}
		same, err := password("ann", "secret", release, [32]byte{1})
		other, err2 := password("bob", "secret", release, [32]byte{1})
		if err != nil || err2 != nil || same != one || other == one {
			t.Errorf("%s: the salt is not of account and seed: %+v, %+v, %+v", name, one, same, other)
		}
		if none, err := password("ann", "", release, [32]byte{1}); err != nil || none.Hash != "" {
			t.Errorf("%s: no password: %+v, %v", name, none, err)
		}
	}
}
