package archive

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// Keyring is a set of OpenPGP keys. The zero value has none and believes nobody.
type Keyring struct {
	keys []*certificate

	// signers are the fingerprints of the keys that may sign; nil: all of them. See Only.
	signers map[string]bool
}

// certificate is a key with its subkeys. Several keyrings may have the same one.
type certificate struct {
	mu sync.Mutex // OpenPGP's entities note in themselves what they have found out about their validity
	*openpgp.Entity
}

// ReadKeyring reads OpenPGP certificates one after another, binary (.pgp, .gpg) or armoured (.asc, where several armours
// may follow each other).
func ReadKeyring(data []byte) (Keyring, error) {
	var keys openpgp.EntityList
	var err error
	switch {
	case bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN PGP")):
		keys, err = readArmoured(data)
	case len(data) > 12 && string(data[8:12]) == "KBXf":
		err = errors.New("it is a keybox of GnuPG; use what gpg --export makes of it")
	default:
		keys, err = openpgp.ReadKeyRing(bytes.NewReader(data))
	}
	if err == nil && len(keys) == 0 {
		err = errors.New("no key in it")
	}
	if err != nil {
		return Keyring{}, fmt.Errorf("read keyring: %w", err)
	}
	var k Keyring
	for _, e := range keys {
		k.keys = append(k.keys, &certificate{Entity: e})
	}
	return k, nil
}

// LoadKeyring reads files of certificates, and all files of directories of them whose names end as apt wants it: in
// .asc, .gpg or .pgp. An empty file of a directory has none, as GnuPG once made them.
func LoadKeyring(paths ...string) (Keyring, error) {
	var all []Keyring
	for _, p := range paths {
		k, err := loadKeyring(p)
		if err != nil {
			return Keyring{}, err
		}
		all = append(all, k)
	}
	return Union(all...), nil
}

func loadKeyring(name string) (Keyring, error) {
	info, err := os.Stat(name)
	if err != nil {
		return Keyring{}, fmt.Errorf("read keyring: %w", err)
	}
	if !info.IsDir() {
		return readKeyringFile(name)
	}
	var all []Keyring
	for _, part := range aptParts(os.DirFS(name), ".", ".asc", ".gpg", ".pgp") {
		file := filepath.Join(name, part)
		if info, err := os.Stat(file); err == nil && info.Size() == 0 {
			continue
		}
		k, err := readKeyringFile(file)
		if err != nil {
			return Keyring{}, err
		}
		all = append(all, k)
	}
	if len(all) == 0 {
		return Keyring{}, fmt.Errorf("read keyring: no .asc, .gpg or .pgp file with a key is in %s", name)
	}
	return Union(all...), nil
}

func readKeyringFile(name string) (Keyring, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return Keyring{}, fmt.Errorf("read keyring: %w", err)
	}
	k, err := ReadKeyring(data)
	if err != nil {
		return Keyring{}, fmt.Errorf("%w: %s", err, name)
	}
	return k, nil
}

// Union returns the keys of several keyrings, none of which is restricted by Only.
func Union(all ...Keyring) Keyring {
	var u Keyring
	for _, k := range all {
		u.keys = append(u.keys, k.keys...)
	}
	return u
}

// Only returns a keyring that believes fewer of the keys: those with a fingerprint in the list, as Signed-By of
// sources.list(5) may have it. A fingerprint of a primary key stands for its subkeys too, unless "!" follows it.
func (k Keyring) Only(fingerprints ...string) Keyring {
	k.signers = map[string]bool{}
	for _, f := range fingerprints {
		f, exact := strings.CutSuffix(strings.ToUpper(f), "!")
		k.signers[f] = true
		for _, e := range k.keys {
			if exact || f != fingerprint(e.PrimaryKey) {
				continue
			}
			for _, sub := range e.Subkeys {
				k.signers[fingerprint(sub.PublicKey)] = true
			}
		}
	}
	return k
}

// fingerprint is upper-case hexadecimal.
func fingerprint(key *packet.PublicKey) string { return fmt.Sprintf("%X", key.Fingerprint) }

func readArmoured(data []byte) (openpgp.EntityList, error) {
	var keys openpgp.EntityList
	r := bufio.NewReader(bytes.NewReader(data)) // armor.Decode goes on in it where the last armour ended
	for {
		block, err := armor.Decode(r)
		if err == io.EOF {
			return keys, nil
		}
		if err != nil {
			return nil, err
		}
		more, err := openpgp.ReadKeyRing(block.Body)
		if err != nil {
			return nil, err
		}
		keys = append(keys, more...)
	}
}

// The marker that a clearsigned file starts with (RFC 9580, section 7).
const clearsigned = "-----BEGIN PGP SIGNED MESSAGE-----"

// signed is a text and what was said about its origin.
type signed struct {
	text      []byte // as it is to be read
	hashed    []byte // as it was signed: line ends are CR LF
	signature []byte // OpenPGP signature packets, of one or several keys
}

// splitClearsigned takes a clearsigned file apart. The file must be nothing else: text before or after would be
// unsigned, and the next reader might take it for a part of the Release file. The error completes "InRelease of … ".
func splitClearsigned(data []byte) (signed, error) {
	if !bytes.HasPrefix(data, []byte(clearsigned)) {
		return signed{}, errors.New("does not start with a signed text")
	}
	block, rest := clearsign.Decode(data)
	if block == nil {
		return signed{}, errors.New("is not a well-formed signed text")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return signed{}, errors.New("goes on after its signature")
	}
	signature, err := io.ReadAll(block.ArmoredSignature.Body)
	if err != nil {
		return signed{}, fmt.Errorf("has an unreadable signature: %w", err)
	}
	return signed{block.Plaintext, block.Bytes, signature}, nil
}

// splitDetached puts a text and its armoured or binary signature together.
func splitDetached(text, signature []byte) (signed, error) {
	if !bytes.HasPrefix(signature, []byte("-----BEGIN")) {
		return signed{text, text, signature}, nil
	}
	block, err := armor.Decode(bytes.NewReader(signature))
	if err == nil {
		signature, err = io.ReadAll(block.Body)
	}
	if err != nil {
		return signed{}, fmt.Errorf("has an unreadable signature: %w", err)
	}
	return signed{text, text, signature}, nil
}

// verify returns nil if at least one signature is good and by a key of the keyring, which is apt's rule too. Signatures
// over MD5, SHA1 and RIPEMD-160 are not good, and neither are those of a key that has expired or was revoked by now, as
// gpgv has it; expired makes an exception for keys that were valid when they signed. The error completes
// "InRelease of … ".
//
// OpenPGP calls a signature from the future expired. Here it is no younger than now: a clock that is slow by seconds
// does no harm, and one that is slow by years is told about in better words, by the check of the Release file's date.
func (k Keyring) verify(s signed, now time.Time, expired bool) error {
	made := signatures(s.signature)
	var signers []string
	for _, m := range made {
		if m.CreationTime.After(now) {
			now = m.CreationTime
		}
		signers = append(signers, fmt.Sprintf("%016X", *m.IssuerKeyId))
	}
	if len(signers) == 0 {
		return errors.New("is not signed")
	}
	var wrong error
	for _, e := range k.keys {
		if !slices.ContainsFunc(made, func(m *packet.Signature) bool { return k.has(e, *m.IssuerKeyId) }) {
			continue
		}
		err := k.verifyBy(e, s, now, expired)
		if err == nil {
			return nil
		}
		wrong = err
	}
	switch {
	case wrong != nil:
		return fmt.Errorf("is signed by key %s, but not rightly: %w", strings.Join(signers, ", "), wrong)
	case len(signers) == 1:
		return fmt.Errorf("is signed by key %s, which is not in the keyring", signers[0])
	}
	return fmt.Errorf("is signed by keys %s, none of which is in the keyring", strings.Join(signers, ", "))
}

// has says if a key of e has that id and may sign.
func (k Keyring) has(e *certificate, id uint64) bool {
	for _, key := range (openpgp.EntityList{e.Entity}).KeysById(id) {
		if k.signers == nil || k.signers[fingerprint(key.PublicKey)] {
			return true
		}
	}
	return false
}

// verifyBy returns nil if one of the signatures is good and by a key of e. The keyring may have an older certificate of
// the same key, which is why each is tried by itself.
func (k Keyring) verifyBy(e *certificate, s signed, now time.Time, expired bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	config := &packet.Config{Time: func() time.Time { return now }}
	m, err := openpgp.VerifyDetachedSignatureReader(
		openpgp.EntityList{e.Entity}, bytes.NewReader(s.hashed), bytes.NewReader(s.signature), config)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, m.UnverifiedBody); err != nil {
		return err
	}
	var wrong error
	for _, c := range m.SignatureCandidates {
		if !k.has(e, c.IssuerKeyId) {
			continue
		}
		err := c.SignatureError
		if err == nil && !expired {
			err = stillValid(e.Entity, c.SignedBy.PublicKey, now, config)
		}
		if err == nil {
			return nil
		}
		wrong = err
	}
	return wrong
}

// stillValid returns an error if a key that was valid when it signed is not so now.
func stillValid(e *openpgp.Entity, key *packet.PublicKey, now time.Time, config *packet.Config) error {
	if _, err := e.VerifyPrimaryKey(now, config); err != nil {
		return err
	}
	for _, sub := range e.Subkeys {
		if sub.PublicKey == key {
			_, err := sub.Verify(now, config)
			return err
		}
	}
	return nil
}

// signatures returns the signatures that say whose they are.
func signatures(packets []byte) []*packet.Signature {
	var all []*packet.Signature
	for r := packet.NewReader(bytes.NewReader(packets)); ; {
		p, err := r.Next()
		if err != nil {
			return all
		}
		if s, ok := p.(*packet.Signature); ok && s.IssuerKeyId != nil {
			all = append(all, s)
		}
	}
}
