package system

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Key is a public key that may log in by SSH.
type Key struct {
	User string // account
	Line string // of authorized_keys (sshd(8)): options if any, kind, key, comment
}

// ParseKeys reads the lines of a file with public keys, one of authorized_keys(5) or of those that ssh-keygen writes. It is
// an error if there is none, if a line is not a key, or if it is private; no error shows any of the text.
func ParseKeys(text []byte) ([]string, error) {
	if bytes.Contains(text, []byte("PRIVATE KEY")) {
		return nil, errors.New("it is a private key, which stays with its owner: the public one is in the file whose name ends in .pub")
	}
	var lines []string
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if !isKey(line) {
			return nil, fmt.Errorf("line %d is no public key of SSH, such as ssh-ed25519 AAAA… comment", number)
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		return nil, errors.New("it has no public key of SSH")
	}
	return lines, nil
}

func isKey(line string) bool {
	_, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	return err == nil && !strings.ContainsAny(line, "\r\x00")
}

// Fingerprint is what ssh-keygen -l says of the key; empty if it is none.
func (k Key) Fingerprint() string {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k.Line))
	if err != nil {
		return ""
	}
	return ssh.FingerprintSHA256(key)
}

// Authorize adds the keys of the config to ~/.ssh/authorized_keys of their accounts, which must be there: file and directory
// are the account's and nobody else's (sshd(8) refuses them otherwise, "StrictModes").
func Authorize(root *os.Root, c Config) error {
	for _, k := range c.Keys {
		if err := authorize(root, k); err != nil {
			return fmt.Errorf("let %q log in by SSH key: %w", k.User, err)
		}
	}
	return nil
}

func authorize(root *os.Root, k Key) error {
	a, err := findAccount(root, k.User)
	if err != nil {
		return err
	}
	dir := path.Join(a.home, ".ssh")
	name := path.Join(dir, "authorized_keys")
	text, err := content(root, name)
	if err != nil {
		return err
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if !strings.Contains("\n"+text, "\n"+k.Line+"\n") {
		text += k.Line + "\n"
	}
	if err := root.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := root.WriteFile(name, []byte(text), 0o600); err != nil {
		return err
	}
	return a.own(root, map[string]os.FileMode{dir: 0o700, name: 0o600})
}

// account is a line of passwd(5).
type account struct {
	uid, gid int
	home     string // below the root, without a slash before it
}

func findAccount(root *os.Root, name string) (account, error) {
	text, err := content(root, "etc/passwd")
	if err != nil {
		return account{}, err
	}
	return parseAccount(text, name)
}

// parseAccount finds an account in the text of passwd(5). It must have a home directory of its own, that is not /.
func parseAccount(text, name string) (account, error) {
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) != 7 || f[0] != name {
			continue
		}
		uid, uidErr := strconv.ParseUint(f[2], 10, 31)
		gid, gidErr := strconv.ParseUint(f[3], 10, 31)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return account{}, fmt.Errorf("read its line in /etc/passwd: %w", err)
		}
		home := strings.TrimPrefix(path.Clean("/"+f[5]), "/")
		if home == "" {
			return account{}, errors.New("it has no home directory")
		}
		return account{int(uid), int(gid), home}, nil
	}
	return account{}, errors.New("it has no line in /etc/passwd")
}

// own gives files to the account, with these modes, whatever they had.
func (a account) own(root *os.Root, files map[string]os.FileMode) error {
	for name, mode := range files {
		if err := root.Chmod(name, mode); err != nil {
			return err
		}
		if err := root.Chown(name, a.uid, a.gid); err != nil {
			return err
		}
	}
	return nil
}
