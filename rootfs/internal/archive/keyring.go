package archive

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// Keyring is a set of OpenPGP keys. The zero value has none and believes nobody.
type Keyring struct {
	keys openpgp.EntityList
	mu   *sync.Mutex // OpenPGP's entities note in themselves what they have found out about their validity
}

// ReadKeyring reads OpenPGP certificates one after another, binary (.pgp, .gpg) or armoured (.asc, where several armours
// may follow each other).
func ReadKeyring(data []byte) (Keyring, error) {
	k := Keyring{mu: &sync.Mutex{}}
	var err error
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN PGP")) {
		k.keys, err = readArmoured(data)
	} else {
		k.keys, err = openpgp.ReadKeyRing(bytes.NewReader(data))
	}
	if err == nil && len(k.keys) == 0 {
		err = errors.New("no key in it")
	}
	if err != nil {
		return Keyring{}, fmt.Errorf("read keyring: %w", err)
	}
	return k, nil
}

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
// over MD5, SHA1 and RIPEMD-160 are not good. The error completes "InRelease of … ".
//
// OpenPGP calls a signature from the future expired. Here it is no younger than now: a clock that is slow by seconds
// does no harm, and one that is slow by years is told about in better words, by the check of the Release file's date.
func (k Keyring) verify(s signed, now time.Time) error {
	made := signatures(s.signature)
	for _, m := range made {
		if m.CreationTime.After(now) {
			now = m.CreationTime
		}
	}
	if k.mu != nil {
		k.mu.Lock()
		defer k.mu.Unlock()
	}
	config := &packet.Config{Time: func() time.Time { return now }}
	_, _, err := openpgp.VerifyDetachedSignature(k.keys, bytes.NewReader(s.hashed), bytes.NewReader(s.signature), config)
	if err == nil {
		return nil
	}
	var signers []string
	for _, m := range made {
		signers = append(signers, fmt.Sprintf("%016X", *m.IssuerKeyId))
	}
	switch {
	case len(signers) == 0:
		return errors.New("is not signed")
	case errors.Is(err, pgperrors.ErrUnknownIssuer) && len(signers) == 1:
		return fmt.Errorf("is signed by key %s, which is not in the keyring", signers[0])
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		return fmt.Errorf("is signed by keys %s, none of which is in the keyring", strings.Join(signers, ", "))
	}
	return fmt.Errorf("is signed by key %s, but not rightly: %w", strings.Join(signers, ", "), err)
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
