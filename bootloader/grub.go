package bootloader

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"vmbuild/partition"
	"vmbuild/partition/filesystem"
	"vmbuild/rootfs/chroot"
)

// grub is what GRUB's platforms have in common.
type grub struct {
	Target
	platform string
	root     *os.Root
	boot     filesystem.Filesystem // that holds /boot/grub
	bootUUID string
	prefix   string // of /boot/grub within that filesystem
}

func openGRUB(t Target, platform string) (*grub, error) {
	p, prefix, ok := t.Layout.Holding("/boot/grub")
	if !ok {
		return nil, errors.New("the layout has no partition for /boot/grub")
	}
	boot, err := filesystem.Lookup(p.Filesystem)
	if err != nil {
		return nil, err
	}
	if boot.GRUBModule == "" {
		return nil, fmt.Errorf("GRUB cannot read %s, which holds /boot", boot.Name)
	}
	root, err := os.OpenRoot(t.Root)
	if err != nil {
		return nil, err
	}
	return &grub{Target: t, platform: platform, root: root, boot: boot, bootUUID: p.UUID, prefix: prefix}, nil
}

func (g *grub) Close() error { return g.root.Close() }

// dir is where the platform's files are for GRUB, as a path of the tree.
func (g *grub) dir() string { return "/boot/grub/" + g.platform }

// install copies what grub-install would: the platform's files of these patterns, and the font for menus.
func (g *grub) install(patterns ...string) error {
	if err := g.root.MkdirAll(inside(g.dir()), 0o755); err != nil {
		return err
	}
	from := inside("/usr/lib/grub/" + g.platform)
	for _, pattern := range patterns {
		files, err := fs.Glob(g.root.FS(), path.Join(from, pattern))
		if err != nil {
			return err
		}
		if len(files) == 0 {
			return fmt.Errorf("no file /%s/%s is installed", from, pattern)
		}
		for _, f := range files {
			if err := g.copy("/"+f, path.Join(g.dir(), path.Base(f))); err != nil {
				return err
			}
		}
	}
	if err := g.root.MkdirAll("boot/grub/fonts", 0o755); err != nil {
		return err
	}
	return g.copy("/usr/share/grub/unicode.pf2", "/boot/grub/fonts/unicode.pf2")
}

func (g *grub) copy(from, to string) error {
	content, err := g.root.ReadFile(inside(from))
	if err != nil {
		return err
	}
	return g.root.WriteFile(inside(to), content, 0o644)
}

// makeImage has the target's grub-mkimage link modules into an image in dir, with instructions to find /boot/grub by the
// UUID of its filesystem.
func (g *grub) makeImage(ctx context.Context, name string, modules ...string) error {
	load := path.Join(g.dir(), "load.cfg")
	if err := g.root.WriteFile(inside(load), []byte(g.search()), 0o644); err != nil {
		return err
	}
	args := []string{"grub-mkimage", "-O", g.platform, "-d", "/usr/lib/grub/" + g.platform,
		"-o", path.Join(g.dir(), name), "-c", load, "-p", g.prefix}
	return g.Runner.Run(ctx, chroot.Command{Args: append(args, modules...)})
}

// search gives commands of GRUB that set root and prefix.
func (g *grub) search() string {
	return fmt.Sprintf("search.fs_uuid %s root\nset prefix=($root)'%s'\n", g.bootUUID, g.prefix)
}

// configure writes the settings and has the target make its environment block and menu.
func (g *grub) configure(ctx context.Context, serial bool) error {
	if err := g.writeSettings(serial); err != nil {
		return err
	}
	if err := g.Runner.Run(ctx, chroot.Command{Args: []string{"grub-editenv", "/boot/grub/grubenv", "create"}}); err != nil {
		return err
	}
	return g.updateGRUB(ctx)
}

// writeSettings adds to /etc/default/grub, which ucf looks after, by a file beside it. serial says whether the platform's
// GRUB drives the port by itself; others have it through their firmware.
func (g *grub) writeSettings(serial bool) error {
	var b strings.Builder
	if args := g.kernelArguments(); args != "" {
		fmt.Fprintf(&b, "GRUB_CMDLINE_LINUX=%s\n", quote(args))
	}
	if g.Serial && serial {
		b.WriteString("GRUB_TERMINAL=\"console serial\"\nGRUB_SERIAL_COMMAND=\"serial --unit=0 --speed=115200\"\n")
	} else if g.Serial {
		b.WriteString("GRUB_TERMINAL=console\n")
	}
	if b.Len() == 0 {
		return nil
	}
	if err := g.root.MkdirAll("etc/default/grub.d", 0o755); err != nil {
		return err
	}
	return g.root.WriteFile("etc/default/grub.d/50-console.cfg", []byte(b.String()), 0o644)
}

// quote makes one word for sh(1).
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`").Replace(s) + `"`
}

// updateGRUB runs the target's update-grub, which makes grub.cfg. It asks grub-probe and grub-mkrelpath about devices and
// mounts that do not exist yet. Both are asked by names that GRUB's shell library takes from its environment, and
// grub-mkconfig takes the directory of that library from there, too (bullseye's 2.06 to sid's 2.14): so stand-ins that
// answer from the layout are used without touching the real ones.
func (g *grub) updateGRUB(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp(path.Join(g.Root, "tmp"), "grub-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	within := "/tmp/" + path.Base(dir)
	for name, content := range map[string]string{
		"grub-probe":        probeScript(g.Layout),
		"grub-mkrelpath":    relpathScript(g.Layout),
		"grub-mkconfig_lib": strings.ReplaceAll(libraryScript, "@dir@", within),
	} {
		if err := os.WriteFile(path.Join(dir, name), []byte(content), 0o755); err != nil {
			return err
		}
	}
	root, _, ok := g.Layout.Holding("/")
	if !ok {
		return errors.New("the layout has no root partition")
	}
	return g.Runner.Run(ctx, chroot.Command{
		Args: []string{"sh", "-ec", updateScript, "update-grub", root.UUID},
		Env:  []string{"pkgdatadir=" + within},
	})
}

// updateScript shows 10_linux the link by which it knows that root=UUID=… will work.
const updateScript = `mkdir -p /dev/disk/by-uuid
trap 'rm -f "/dev/disk/by-uuid/$1"; rmdir -p --ignore-fail-on-non-empty /dev/disk/by-uuid' EXIT
: > "/dev/disk/by-uuid/$1"
update-grub
`

// libraryScript is read by grub-mkconfig in place of the library; the scripts of /etc/grub.d read the real one.
const libraryScript = `. /usr/share/grub/grub-mkconfig_lib
grub_probe=@dir@/grub-probe
grub_mkrelpath=@dir@/grub-mkrelpath
pkgdatadir=/usr/share/grub
export grub_probe grub_mkrelpath pkgdatadir
`

// probeScript answers as grub-probe does on a machine whose first virtio disk has the layout.
func probeScript(l *partition.Layout) string {
	var paths, facts strings.Builder
	for _, p := range byDepth(l) {
		fs, err := filesystem.Lookup(p.Filesystem)
		if err != nil {
			continue
		}
		device := fmt.Sprintf("/dev/vda%d", p.Number)
		dir := strings.TrimSuffix(p.Mount, "/")
		fmt.Fprintf(&paths, "\t'%s' | '%s'/*) device=%s ;;\n", p.Mount, dir, device)
		fmt.Fprintf(&facts, "%s) fs=%s fs_uuid=%s partuuid=%s number=%d ;;\n",
			device, fs.GRUBModule, p.UUID, p.GUID, p.Number)
	}
	answers := strings.NewReplacer("@paths@\n", paths.String(), "@facts@\n", facts.String(), "@table@", l.Table)
	return answers.Replace(probeTemplate)
}

const probeTemplate = `#!/bin/sh
target=fs
device=
name=
while [ $# -gt 0 ]; do
	case $1 in
	--target=*) target=${1#--target=} ;;
	-t | --target) target=$2; shift ;;
	-d | --device) device=yes ;;
	-*) ;;
	*) name=$1 ;;
	esac
	shift
done
if [ "$device" ]; then
	device=$name
else
	case $(readlink -m -- "$name") in
@paths@
	esac
fi
case $device in
@facts@
*) exit 1 ;;
esac
case $target in
device) echo "$device" ;;
fs) echo "$fs" ;;
fs_uuid) echo "$fs_uuid" ;;
partuuid) echo "$partuuid" ;;
partmap) echo @table@ ;;
drive) echo "(hd0,@table@$number)" ;;
abstraction | compatibility_hint | hints_string | cryptodisk_uuid | fs_label) ;;
*) exit 1 ;;
esac
`

// relpathScript answers as grub-mkrelpath does where the layout is mounted: nothing for a mount point itself.
func relpathScript(l *partition.Layout) string {
	var b strings.Builder
	b.WriteString("#!/bin/sh\nname=$(readlink -m -- \"$1\")\ncase $name in\n")
	for _, p := range byDepth(l) {
		if p.Mount != "/" {
			fmt.Fprintf(&b, "'%s' | '%s'/*) name=${name#'%s'} ;;\n", p.Mount, p.Mount, p.Mount)
		}
	}
	b.WriteString("'/') name= ;;\nesac\necho \"$name\"\n")
	return b.String()
}

// byDepth returns the mounted partitions, the deepest first.
func byDepth(l *partition.Layout) []partition.Partition {
	var deepest []partition.Partition
	for _, m := range l.Mounts() {
		if p, _, ok := l.Holding(m.Dir); ok {
			deepest = append([]partition.Partition{p}, deepest...)
		}
	}
	return deepest
}

// inside gives the form in which os.Root takes a path of the tree.
func inside(name string) string { return strings.TrimPrefix(name, "/") }
