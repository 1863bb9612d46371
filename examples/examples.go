// Package examples has scripts that customise an image, ready for use: vmbuild build --customize=NAME finds them in the
// program itself where the working directory has no file of the name. The other examples beside them are called as they
// are, or are files for an option of vmbuild, and not part of the program. What an example is for, how it is called and
// what comes out is said in its first lines.
//
// To add a script that customises, put it here as NAME.sh and name it below. Such scripts get what hooks get (package
// hooks); tests run all examples (cmd/vmbuild).
package examples

import (
	"embed"
	"io/fs"
)

//go:embed customise-sshd.sh qemu-efi-bochs-drm.sh
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
