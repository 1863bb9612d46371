package machine

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"vmbuild/partition/filesystem/extfs"
)

// system is what of an image is needed to start its kernel without a boot loader. Only filesystems of the ext family are
// read. As with a boot loader, a journal is not looked at: what was written just before a power cut may be missing.
type system struct {
	root    *extfs.Volume // has /etc/fstab
	device  string        // of the root filesystem, as fstab has it
	boot    *extfs.Volume // has the kernels
	dir     string        // where in it: /boot, or / if that is a filesystem of its own
	kernel  string        // name in dir
	initrd  string        // name in dir; empty: none
	version string        // of the kernel
}

// patience is what systemd gives a serial port, or another device, to appear. On a busy host, an emulated machine needs more
// than the 90 s that it has by default, and would then start no login.
const patience = "systemd.default_device_timeout_sec=600"

// kernelArguments copies the image's kernel and initrd into a directory and returns QEMU's options for them. The kernel
// is told its root filesystem, and its console by package arch's table.
func (m Machine) kernelArguments(model model, dir string) ([]string, error) {
	disk, err := openDisk(m.Image, m.Format)
	if err != nil {
		return nil, err
	}
	defer disk.Close()
	args, err := disk.kernelArguments(model, dir)
	if err != nil {
		return nil, fmt.Errorf("read its kernel: %w", err)
	}
	return args, nil
}

func (d *disk) kernelArguments(model model, dir string) ([]string, error) {
	s, err := d.system()
	if err != nil {
		return nil, err
	}
	cmdline := fmt.Sprintf("root=%s ro console=%s %s %s", s.device, model.Arch.Console, patience, model.append)
	args := []string{"-append", strings.TrimSpace(cmdline)}
	add := func(option string, volume *extfs.Volume, name string) error {
		target := filepath.Join(dir, path.Base(name))
		args = append(args, option, target)
		return extract(volume, name, target)
	}
	err = add("-kernel", s.boot, path.Join(s.dir, s.kernel))
	if err == nil && s.initrd != "" {
		err = add("-initrd", s.boot, path.Join(s.dir, s.initrd))
	}
	if err == nil && model.deviceTree != "" {
		err = add("-dtb", s.root, path.Join("/usr/lib", "linux-image-"+s.version, model.deviceTree))
	}
	return args, err
}

// extract copies a file out of a filesystem.
func extract(volume *extfs.Volume, name, target string) error {
	file, err := volume.Lookup(name)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteTo(out)
	return errors.Join(err, out.Close())
}

// system looks for the root filesystem and the kernel that is to be started: the one that Debian's links /vmlinuz or
// /vmlinux lead to, and without them the one of the highest version.
func (d *disk) system() (*system, error) {
	volumes, err := d.volumes()
	if err != nil {
		return nil, err
	}
	s, err := newSystem(volumes)
	if err != nil {
		return nil, err
	}
	for _, v := range volumes {
		s.boot, s.dir = v, "/"
		if v == s.root {
			s.dir = "/boot"
		}
		if found, err := s.choose(); found || err != nil {
			return s, err
		}
	}
	return nil, errors.New("no partition of the ext family has one")
}

// readOnly keeps an image from being changed.
type readOnly struct{ io.ReaderAt }

func (readOnly) WriteAt([]byte, int64) (int, error) { return 0, os.ErrPermission }

// volumes opens the filesystems of the ext family; the one with the lowest number comes first.
func (d *disk) volumes() ([]*extfs.Volume, error) {
	slots, err := d.slots()
	if err != nil {
		return nil, err
	}
	var volumes []*extfs.Volume
	for _, p := range slots {
		if v, err := extfs.Open(readOnly{d}, p.start); err == nil {
			volumes = append(volumes, v)
		}
	}
	return volumes, nil
}

func newSystem(volumes []*extfs.Volume) (*system, error) {
	const large = 1 << 20
	for _, v := range volumes {
		fstab, err := v.Lookup("/etc/fstab")
		if err != nil {
			continue
		}
		if fstab.Size() > large {
			return nil, fmt.Errorf("/etc/fstab has %d bytes", fstab.Size())
		}
		var text bytes.Buffer
		if _, err := fstab.WriteTo(&text); err != nil {
			return nil, err
		}
		device := rootDevice(text.String())
		if device == "" {
			return nil, errors.New("/etc/fstab has no root filesystem")
		}
		return &system{root: v, device: device}, nil
	}
	return nil, errors.New("no partition of the ext family has /etc/fstab")
}

// rootDevice returns the first field of fstab(5)'s line for /.
func rootDevice(fstab string) string {
	for line := range strings.Lines(fstab) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[1] == "/" && fields[0][0] != '#' {
			return fields[0]
		}
	}
	return ""
}

// choose looks for a kernel in the directory.
func (s *system) choose() (found bool, err error) {
	dir, err := s.boot.Lookup(s.dir)
	if err != nil {
		return false, nil // a partition without /boot
	}
	names, err := dir.Names()
	if err != nil {
		return false, err
	}
	s.kernel, s.initrd = pick(names, s.linked())
	s.version, found = versionOf(s.kernel)
	return found, nil
}

// pick returns a kernel and its initrd of the names in /boot: the kernel that is linked if it is there, or else the one
// of the highest version. Both may be empty.
func pick(names []string, linked string) (kernel, initrd string) {
	if !slices.Contains(names, linked) {
		linked = ""
	}
	var version string
	for _, name := range names {
		v, ok := versionOf(name)
		if ok && (name == linked || linked == "" && compareNaturally(v, version) > 0) {
			kernel, version = name, v
		}
	}
	if name := "initrd.img-" + version; kernel != "" && slices.Contains(names, name) {
		initrd = name
	}
	return kernel, initrd
}

// versionOf tells a kernel by its name, which Debian begins with vmlinux where it is not compressed.
func versionOf(name string) (version string, ok bool) {
	for _, prefix := range []string{"vmlinuz-", "vmlinux-"} {
		if version, ok := strings.CutPrefix(name, prefix); ok && version != "" {
			return version, true
		}
	}
	return "", false
}

// linked returns the name of the kernel that a link leads to: in /, or in the directory if kernel-img.conf(5) has
// link_in_boot. Empty: there is none.
func (s *system) linked() string {
	for _, place := range []struct {
		volume *extfs.Volume
		name   string
	}{
		{s.root, "/vmlinuz"}, {s.root, "/vmlinux"}, {s.boot, path.Join(s.dir, "vmlinuz")}, {s.boot, path.Join(s.dir, "vmlinux")},
	} {
		if file, err := place.volume.Lookup(place.name); err == nil {
			if target, err := file.Link(); err == nil {
				return path.Base(target)
			}
		}
	}
	return ""
}

// compareNaturally compares names by their runs of digits as numbers.
func compareNaturally(a, b string) int {
	for a != "" && b != "" {
		x, y := run(a), run(b)
		order := strings.Compare(x, y)
		if isDigit(rune(a[0])) && isDigit(rune(b[0])) {
			m, n := strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			order = cmp.Or(cmp.Compare(len(m), len(n)), strings.Compare(m, n))
		}
		if order != 0 {
			return order
		}
		a, b = a[len(x):], b[len(y):]
	}
	return cmp.Compare(len(a), len(b))
}

// run returns the digits, or what is none, that a text begins with.
func run(text string) string {
	digits := isDigit(rune(text[0]))
	if end := strings.IndexFunc(text, func(r rune) bool { return isDigit(r) != digits }); end > 0 {
		return text[:end]
	}
	return text
}

func isDigit(r rune) bool { return '0' <= r && r <= '9' }
