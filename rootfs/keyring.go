package rootfs

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"

	"vmbuild/rootfs/internal/archive"
	"vmbuild/rootfs/suite"
)

// DebianKeyring is where package debian-archive-keyring, which apt depends on, has it in every release of the table.
const DebianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// fingerprint is one of a key, as the field Signed-By of sources.list(5) can have it; "!" means that subkeys do not count.
var fingerprint = regexp.MustCompile(`^[0-9A-Fa-f]{40}!?$`)

// keyring is what an archive is believed by: what its own source names, else what the Spec does, else Debian's keys. A
// source that names fingerprints takes those keys of the latter two.
func (b *Builder) keyring(s Spec, src Source) (archive.Keyring, error) {
	var own []archive.Keyring
	var fingerprints []string
	for _, name := range src.Keyrings {
		if fingerprint.MatchString(name) {
			fingerprints = append(fingerprints, name)
			continue
		}
		k, err := loadKeyring(name)
		if err != nil {
			return archive.Keyring{}, err
		}
		own = append(own, k)
	}
	if len(own) == 0 {
		var err error
		if own, err = s.keyrings(); err != nil {
			return archive.Keyring{}, err
		}
	}
	all := archive.Union(own...)
	if len(fingerprints) > 0 {
		return all.Only(fingerprints...), nil
	}
	return all, nil
}

func (s Spec) keyrings() ([]archive.Keyring, error) {
	if len(s.Keyrings) == 0 {
		k, err := archive.ReadKeyring(suite.Keys(s.Suite))
		return []archive.Keyring{k}, err
	}
	var list []archive.Keyring
	for _, name := range s.Keyrings {
		k, err := loadKeyring(name)
		if err != nil {
			return nil, err
		}
		list = append(list, k)
	}
	return list, nil
}

// loadKeyring reads a keyring or a directory of them. The name may be an armoured key itself, or where Debian keeps the
// keys that are built in, if this host is no Debian.
func loadKeyring(name string) (archive.Keyring, error) {
	if strings.HasPrefix(name, "-----BEGIN PGP") {
		return archive.ReadKeyring([]byte(name))
	}
	_, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) && path.Dir(name) == path.Dir(DebianKeyring) {
		switch stem, _, _ := strings.Cut(path.Base(name), "."); stem {
		case "debian-archive-keyring":
			return archive.ReadKeyring(suite.Keyring())
		case "debian-archive-removed-keys":
			return archive.ReadKeyring(suite.RemovedKeyring())
		}
	}
	return archive.LoadKeyring(name)
}
