package image

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"github.com/GehirnInc/crypt/sha512_crypt"
	"github.com/openwall/yescrypt-go"

	"vmbuild/rootfs/suite"
	"vmbuild/rootfs/system"
)

// password hashes a plain password as the release's passwd does by default: with yescrypt (crypt(5), cost j9T), or with
// SHA-512 (5000 rounds) where the release has no yescrypt. The salt comes from the seed, so that equal plans stay equal.
func password(account, plain string, release suite.Suite, seed [32]byte) (system.Password, error) {
	if plain == "" {
		return system.Password{}, nil
	}
	mac := hmac.New(sha256.New, seed[:])
	mac.Write([]byte("salt of " + account))
	salt := crypt64(mac.Sum(nil)[:16])
	hash, err := crypt(plain, salt, release.Yescrypt())
	if err != nil {
		return system.Password{}, fmt.Errorf("hash the password of %q: %w", account, err)
	}
	return system.Password{Hash: hash}, nil
}

// crypt takes a salt of 22 digits, of which SHA-512 has 16.
func crypt(plain, salt string, useYescrypt bool) (string, error) {
	if !useYescrypt {
		return sha512_crypt.New().Generate([]byte(plain), []byte(sha512_crypt.MagicPrefix+salt[:sha512_crypt.SaltLenMax]))
	}
	hash, err := yescrypt.Hash([]byte(plain), []byte("$y$j9T$"+salt))
	return string(hash), err
}

const crypt64Digits = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// crypt64 writes bytes as crypt(5) does: groups of three bytes, little endian, six bits a digit, lowest first.
func crypt64(data []byte) string {
	var out []byte
	for len(data) > 0 {
		n := min(3, len(data))
		var v uint
		for i := range n {
			v |= uint(data[i]) << (8 * i)
		}
		for bits := 0; bits < 8*n; bits += 6 {
			out = append(out, crypt64Digits[v&63])
			v >>= 6
		}
		data = data[n:]
	}
	return string(out)
}
