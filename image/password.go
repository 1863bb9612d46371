package image

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"github.com/openwall/yescrypt-go"

	"vmbuild/rootfs/system"
)

// password hashes a plain password with yescrypt, the default of Debian since bullseye (crypt(5), cost j9T). The salt
// comes from the seed, so that equal plans stay equal.
func password(account, plain string, seed [32]byte) (system.Password, error) {
	if plain == "" {
		return system.Password{}, nil
	}
	mac := hmac.New(sha256.New, seed[:])
	mac.Write([]byte("salt of " + account))
	hash, err := yescrypt.Hash([]byte(plain), []byte("$y$j9T$"+crypt64(mac.Sum(nil)[:16])))
	if err != nil {
		return system.Password{}, fmt.Errorf("hash the password of %q: %w", account, err)
	}
	return system.Password{Hash: string(hash)}, nil
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
