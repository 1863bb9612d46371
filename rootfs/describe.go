package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// Describe says for people what the layer in dir is: the base of an image, tools, or an initramfs. It is empty if that
// cannot be told.
func Describe(dir string) string {
	if l, err := readLock(filepath.Join(dir, layerLock)); err == nil {
		text := fmt.Sprintf("%s %s, %d packages", l.Suite, l.Arch, len(l.Packages))
		if len(l.Packages) == 1 {
			text = strings.TrimSuffix(text, "s")
		}
		if !l.Configure {
			text += ", not configured"
		}
		return text
	} else if !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	versions, err := initramfsVersions(dir)
	if err != nil || len(versions) == 0 {
		return ""
	}
	return "initramfs " + strings.Join(versions, ", ")
}

// initramfsVersions lists the kernels whose initramfs is in a layer.
func initramfsVersions(dir string) ([]string, error) {
	names, err := namesInside(dir, "boot")
	var versions []string
	for _, name := range names {
		if version, ok := strings.CutPrefix(name, "initrd.img-"); ok {
			versions = append(versions, version)
		}
	}
	return versions, err
}
