package cli

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"vmbuild/image"
)

// keyOwner is the USER of [USER:]FILE. A file whose name would begin so is written with its directory: ./keys:old.pub.
var keyOwner = regexp.MustCompile(`^([a-z][-a-z0-9_]*):`)

// sshKeys reads the values of --ssh-key: [USER:]FILE, or the text of keys in place of the file.
func sshKeys(values []string) ([]image.SSHKey, error) {
	var all []image.SSHKey
	for _, value := range values {
		user := ""
		if m := keyOwner.FindStringSubmatch(value); m != nil {
			user, value = m[1], value[len(m[0]):]
		}
		keys, err := readKeys(user, value)
		if err != nil {
			return nil, err
		}
		all = append(all, keys...)
	}
	return all, nil
}

// readKeys takes a value as the text of keys, or else for the name of a file. No error shows a text: it may be a private key.
func readKeys(user, value string) ([]image.SSHKey, error) {
	keys, err := image.ParseSSHKeys(user, []byte(value))
	if err == nil || strings.Contains(value, " ") && !isThere(value) {
		return keys, err
	}
	text, err := os.ReadFile(value)
	if err != nil {
		return nil, err
	}
	if keys, err = image.ParseSSHKeys(user, text); err != nil {
		return nil, fmt.Errorf("%s: %w", value, err)
	}
	return keys, nil
}

func isThere(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
