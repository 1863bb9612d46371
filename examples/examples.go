// Package examples has scripts that customise an image, ready for use: vmbuild build --customize=NAME finds them in the
// program itself where the working directory has no file of the name. What a script does, and how to call vmbuild with it,
// is said in its first lines.
//
// To add one, put it here as NAME.sh. Scripts get what hooks get (package hooks), and run in the tests.
package examples

import (
	"embed"
	"io/fs"
)

//go:embed customise-sshd.sh qemu-efi-bochs-drm.sh u-boot-menu.sh
var scripts embed.FS

// Script returns the text of an example.
func Script(name string) ([]byte, bool) {
	text, err := scripts.ReadFile(name)
	return text, err == nil
}

// Names returns the names of all examples, sorted.
func Names() []string {
	names, _ := fs.Glob(scripts, "*") // the pattern is right
	return names
}
