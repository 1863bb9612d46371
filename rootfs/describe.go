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
		return l.describe()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	versions, err := initramfsVersions(dir)
	if err != nil || len(versions) == 0 {
		return ""
	}
	return describeInitramfs(versions)
}

// describe says what the layer of a Lock is. Of an upper one it counts what is added.
func (l *Lock) describe() string {
	n, added := len(l.Packages), ""
	if l.Base != nil {
		n, added = n-len(l.Base.Packages), " more"
	}
	text := fmt.Sprintf("%s, %d%s packages", l.suiteAndArch(), n, added)
	if n == 1 {
		text = strings.TrimSuffix(text, "s")
	}
	if !l.Configure {
		text += ", not configured"
	}
	return text
}

func describeInitramfs(versions []string) string { return "initramfs " + strings.Join(versions, ", ") }

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
