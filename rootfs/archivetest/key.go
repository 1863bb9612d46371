package archivetest

import (
	"bytes"
	"crypto"
	"fmt"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Key is an OpenPGP key that signs archives.
type Key struct {
	entity *openpgp.Entity
}

// keyTime is when all keys were made: long enough ago for every archive.
var keyTime = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// KeyOptions is what may be unusual about a key.
type KeyOptions struct {
	Lifetime time.Duration // from 2020-01-01 on; 0: for ever
	Subkey   bool          // it signs with a subkey
}

// NewKey makes an Ed25519 key of version 4, which gpgv of all releases in the table of suites can use.
func NewKey() (Key, error) { return NewKeyWith(KeyOptions{}) }

// NewKeyWith makes an unusual key.
func NewKeyWith(o KeyOptions) (Key, error) {
	config := signConfig(keyTime)
	config.Algorithm = packet.PubKeyAlgoEdDSA
	config.Curve = packet.Curve25519
	config.KeyLifetimeSecs = uint32(o.Lifetime / time.Second)
	entity, err := openpgp.NewEntity("archivetest", "", "archivetest@example.org", config)
	if err == nil && o.Subkey {
		err = entity.AddSigningSubkey(config)
	}
	if err != nil {
		return Key{}, fmt.Errorf("make key: %w", err)
	}
	return Key{entity}, nil
}

func signConfig(now time.Time) *packet.Config {
	return &packet.Config{DefaultHash: crypto.SHA256, Time: func() time.Time { return now }}
}

// ID is the key id as error messages write it: 16 upper-case hexadecimal digits.
func (k Key) ID() string { return k.entity.PrimaryKey.KeyIdString() }

// Fingerprint is that of the primary key: 40 upper-case hexadecimal digits.
func (k Key) Fingerprint() string { return fmt.Sprintf("%X", k.entity.PrimaryKey.Fingerprint) }

// SignerFingerprint is that of the key that signs: the primary key, or its subkey.
func (k Key) SignerFingerprint() string {
	return fmt.Sprintf("%X", k.signer().PublicKey.Fingerprint)
}

func (k Key) signer() *packet.PrivateKey {
	for _, sub := range k.entity.Subkeys {
		if sub.Sig.FlagSign {
			return sub.PrivateKey
		}
	}
	return k.entity.PrivateKey
}

// Public returns the binary certificate.
func (k Key) Public() []byte {
	var b bytes.Buffer
	if err := k.entity.Serialize(&b); err != nil {
		panic(err) // a bytes.Buffer takes everything, and the key was made here
	}
	return b.Bytes()
}

// Armoured returns the certificate as an .asc file.
func (k Key) Armoured() []byte {
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err == nil {
		_, err = w.Write(k.Public())
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // as in Public
	}
	b.WriteByte('\n')
	return b.Bytes()
}

func signClear(keys []Key, text []byte, now time.Time) ([]byte, error) {
	var private []*packet.PrivateKey
	for _, k := range keys {
		private = append(private, k.signer())
	}
	var b bytes.Buffer
	w, err := clearsign.EncodeMulti(&b, private, signConfig(now))
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("sign InRelease: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

func signDetached(keys []Key, text []byte, now time.Time) ([]byte, error) {
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.SignatureType, nil)
	for _, k := range keys {
		if err == nil {
			err = openpgp.DetachSign(w, k.entity, bytes.NewReader(text), signConfig(now))
		}
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("sign Release: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}
