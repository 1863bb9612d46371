package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/offers"
)

func TestPick(t *testing.T) {
	for _, test := range []struct{ names, linked, kernel, initrd string }{
		{"config-6.1.0-9-amd64 initrd.img-6.1.0-9-amd64 vmlinuz-6.1.0-9-amd64", "", "vmlinuz-6.1.0-9-amd64", "initrd.img-6.1.0-9-amd64"},
		{"initrd.img-6.1.0-9 vmlinuz-6.1.0-10 vmlinuz-6.1.0-9", "", "vmlinuz-6.1.0-10", ""},
		{"initrd.img-6.1.0-9 vmlinuz-6.1.0-10 vmlinuz-6.1.0-9", "vmlinuz-6.1.0-9", "vmlinuz-6.1.0-9", "initrd.img-6.1.0-9"},
		{"vmlinuz-6.1.0-8 vmlinuz-6.1.0-9", "vmlinuz-6.1.0-8", "vmlinuz-6.1.0-8", ""},
		{"vmlinuz-6.1.0-9 vmlinuz-6.1.0-10 vmlinuz-6.1.0-8", "vmlinuz-6.1.0-7", "vmlinuz-6.1.0-10", ""},
		{"initrd.img-6.12 vmlinux-6.12 vmlinuz", "vmlinux-6.12", "vmlinux-6.12", "initrd.img-6.12"},
		{"initrd.img- vmlinuz vmlinuz- grub", "", "", ""},
	} {
		if kernel, initrd := pick(strings.Fields(test.names), test.linked); kernel != test.kernel || initrd != test.initrd {
			t.Errorf("%s, %s: %q, %q, want %q, %q", test.names, test.linked, kernel, initrd, test.kernel, test.initrd)
		}
	}
}

func TestCompareNaturally(t *testing.T) {
	sorted := []string{"", "5.10.0-28-amd64", "6.1.0-9-amd64", "6.1.0-09-rt", "6.1.0-10-amd64", "6.1.0-10-rt-amd64", "6.12", "6.12.1", "6.12x", "10", "x"}
	shuffled := slices.Clone(sorted)
	slices.Reverse(shuffled)
	slices.SortFunc(shuffled, compareNaturally)
	if diff := cmp.Diff(sorted, shuffled); diff != "" {
		t.Error(diff)
	}
}

func TestRootDevice(t *testing.T) {
	for fstab, want := range map[string]string{
		"# <file system> <mount point>\nUUID=1-2 / ext4 errors=remount-ro 0 1\n": "UUID=1-2",
		"proc /proc proc\n\n\tLABEL=root\t/\text4":                               "LABEL=root",
		"#UUID=1-2 / ext4\n": "",
		"# / ext4\n":         "",
		"UUID=1-2\n":         "",
		"":                   "",
	} {
		if got := rootDevice(fstab); got != want {
			t.Errorf("%q: %q, want %q", fstab, got, want)
		}
	}
}

func FuzzRootDevice(f *testing.F) {
	for _, seed := range []string{"UUID=1-2 / ext4 errors=remount-ro 0 1\n", "# x / y", "\t\n /"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, fstab string) {
		if got := rootDevice(fstab); strings.ContainsAny(got, " \t\n") || got != "" && !strings.Contains(fstab, got) {
			t.Errorf("%q: %q", fstab, got)
		}
	})
}

// layout is a disk with filesystems made by mke2fs, each of a map of paths to contents, one that begins with "-> " being
// a link. The first one is at 1 MiB, each has 4 MiB.
func layout(t *testing.T, filesystems ...map[string]string) string {
	t.Helper()
	disk := make([]byte, 1<<20+len(filesystems)<<22)
	path := writeDisk(t, disk)
	for i, files := range filesystems {
		dir := t.TempDir()
		for name, content := range files {
			name = filepath.Join(dir, name)
			err := os.MkdirAll(filepath.Dir(name), 0o755)
			if target, ok := strings.CutPrefix(content, "-> "); ok {
				err = errors.Join(err, os.Symlink(target, name))
			} else {
				err = errors.Join(err, os.WriteFile(name, []byte(content), 0o644))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		start := 1<<20 + i<<22
		command := exec.Command("mke2fs", "-q", "-F", "-t", []string{"ext4", "ext2"}[i%2], "-E", fmt.Sprintf("offset=%d", start), "-d", dir, path, "4096k")
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
	}
	disk, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range filesystems {
		entry := disk[mbrTable+16*i:]
		entry[4] = 0x83
		entry[8], entry[9], entry[10] = 0, byte(8+32*i), byte((8+32*i)>>8) // sectors
	}
	return writeDisk(t, disk)
}

// The kernel is found and given to QEMU with its initrd, its device tree and the root filesystem of fstab.
func TestKernelArguments(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "mke2fs")
	large := strings.Repeat("kernel of more than one block;", 10_000)
	for _, test := range []struct {
		name, arch  string
		filesystems []map[string]string
		want        string
		files       map[string]string
	}{
		{
			"link", "s390x",
			[]map[string]string{{
				"etc/fstab": "UUID=11-22 / ext4 defaults 0 1\n", "vmlinuz": "-> boot/vmlinuz-6.9", "boot/vmlinuz-6.9": large,
				"boot/vmlinuz-6.10": "other", "boot/initrd.img-6.9": "initrd", "boot/initrd.img-6.10": "other",
			}},
			"-append root=UUID=11-22 ro console=ttysclp0 systemd.default_device_timeout_sec=600 -kernel DIR/vmlinuz-6.9 -initrd DIR/initrd.img-6.9",
			map[string]string{"vmlinuz-6.9": large, "initrd.img-6.9": "initrd"},
		},
		{
			"highest version", "mips64el",
			[]map[string]string{{"etc/fstab": "/dev/vda1 / ext4\n", "boot/vmlinux-6.9-5kc-malta": "old", "boot/vmlinux-6.10-5kc-malta": "new"}},
			"-append root=/dev/vda1 ro console=ttyS0 systemd.default_device_timeout_sec=600 -kernel DIR/vmlinux-6.10-5kc-malta",
			map[string]string{"vmlinux-6.10-5kc-malta": "new"},
		},
		{
			"/boot of its own, before and after root", "s390x",
			[]map[string]string{
				{"vmlinuz-6.9": "kernel", "vmlinuz-6.10": "new"},
				{"etc/fstab": "UUID=11-22 / ext4 defaults 0 1\n", "boot/empty": "", "vmlinuz": "-> boot/vmlinuz-6.9"},
			},
			"-append root=UUID=11-22 ro console=ttysclp0 systemd.default_device_timeout_sec=600 -kernel DIR/vmlinuz-6.9",
			map[string]string{"vmlinuz-6.9": "kernel"},
		},
		{
			"link in /boot, and a device tree", "armel",
			[]map[string]string{
				{"etc/fstab": "UUID=11-22 / ext4\n", "usr/lib/linux-image-6.9-rpi/bcm2835-rpi-zero.dtb": "tree"},
				{"vmlinuz-6.9-rpi": "kernel", "vmlinuz-6.10-rpi": "other", "vmlinuz": "-> vmlinuz-6.9-rpi", "initrd.img-6.9-rpi": "initrd"},
			},
			"-append root=UUID=11-22 ro console=ttyAMA0 systemd.default_device_timeout_sec=600 initcall_blacklist=bcm2835_power_driver_init -kernel DIR/vmlinuz-6.9-rpi -initrd DIR/initrd.img-6.9-rpi -dtb DIR/bcm2835-rpi-zero.dtb",
			map[string]string{"vmlinuz-6.9-rpi": "kernel", "initrd.img-6.9-rpi": "initrd", "bcm2835-rpi-zero.dtb": "tree"},
		},
		{
			"no device tree", "armel",
			[]map[string]string{{"etc/fstab": "UUID=11-22 / ext4\n", "boot/vmlinuz-6.9-rpi": "kernel"}},
			`read its kernel: look up /usr/lib/linux-image-6.9-rpi/bcm2835-rpi-zero.dtb: there is no "usr"`, nil,
		},
		{
			"no kernel", "s390x", []map[string]string{{"etc/fstab": "UUID=11-22 / ext4\n", "boot/grub": ""}},
			"read its kernel: no partition of the ext family has one", nil,
		},
		{
			"no root", "s390x", []map[string]string{{"etc/fstab": "UUID=11-22 /boot ext4\n", "boot/vmlinuz-6.9": ""}},
			"read its kernel: /etc/fstab has no root filesystem", nil,
		},
		{
			"endless fstab", "s390x", []map[string]string{{"etc/fstab": strings.Repeat("#", 1<<20+1)}},
			"read its kernel: /etc/fstab has 1048577 bytes", nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			args, err := Machine{Image: layout(t, test.filesystems...)}.kernelArguments(modelOf(t, row(test.arch)), dir)
			got := strings.ReplaceAll(strings.Join(args, " "), dir, "DIR")
			if err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("%s\nwant %s", got, test.want)
			}
			if test.files == nil {
				return
			}
			files := map[string]string{}
			for _, name := range names(t, dir) {
				content, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				files[name] = string(content)
			}
			if diff := cmp.Diff(test.files, files); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	names, err := fs.Glob(os.DirFS(dir), "*")
	if err != nil {
		t.Fatal(err)
	}
	return names
}
