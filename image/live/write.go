package live

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"vmbuild/image"
	"vmbuild/image/live/medium"
	"vmbuild/image/output"
	"vmbuild/image/session"
	"vmbuild/partition/filesystem"
	"vmbuild/rootfs"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/span"
	"vmbuild/rootfs/tree"
)

// WriteOptions is a live directory and the image that is to be made of it.
type WriteOptions struct {
	Dir    string    `json:"dir"`
	Out    string    `json:"-"`
	Arch   string    `json:"arch"`             // Debian architecture
	Volume string    `json:"volume"`           // label of the volume; "": DefaultVolume
	Append string    `json:"append,omitempty"` // more arguments of the kernel
	Epoch  time.Time `json:"epoch,omitzero"`   // of all files in the image; zero: the newest of the directory
	Tools  Tools     `json:"tools"`
}

// DefaultVolume is the label of an image that has no other.
const DefaultVolume = "DEBIAN_LIVE"

// volumeForm is what fits into a primary volume descriptor (ECMA-119, 8.4.7: 32 characters) and needs no quoting in a path
// below /dev/disk/by-label; lower case, - and . are more than the standard allows and less than everybody reads.
var volumeForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,32}$`)

// Write makes the image. It appears when it is complete; after a failure an old one is untouched.
//
// Errors: an *image.RefusedError has all that is wrong with the options and the directory.
func Write(ctx context.Context, o WriteOptions, h session.Host) error {
	if err := o.check(); err != nil {
		return err
	}
	if err := checkHost(); err != nil {
		return err
	}
	out, err := output.Create(o.Out)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := h.Run(ctx, writeJob, o, out.File); err != nil {
		return err
	}
	_, committing := span.Start(ctx, span.Stage, "commit")
	defer committing.End()
	if err := out.Sync(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return out.Commit()
}

// contents are the files of a live directory that an image takes.
var contents = []string{medium.Kernel, medium.Initrd, medium.Squashfs}

// check completes the options and refuses what cannot become an image that starts.
func (o *WriteOptions) check() error {
	var problems []string
	add := func(err error) {
		if err != nil {
			problems = append(problems, err.Error())
		}
	}
	if o.Volume == "" {
		o.Volume = DefaultVolume
	}
	if !volumeForm.MatchString(o.Volume) {
		add(fmt.Errorf("--volume-id=%s: up to 32 letters, digits, '_', '-' and '.' are possible", o.Volume))
	}
	if err := medium.CheckAppend(o.Append); err != nil {
		add(fmt.Errorf("--append: %w", err))
	}
	k, err := lookup(o.Arch)
	if err != nil {
		add(fmt.Errorf("--arch: %w", err))
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return fmt.Errorf("find live directory: %w", err)
	}
	if err := o.checkDir(k); err != nil {
		add(fmt.Errorf("live directory %s: %w", o.Dir, err))
	}
	if len(problems) > 0 {
		return &image.RefusedError{Problems: problems}
	}
	return nil
}

// checkDir looks at what is in the directory: that it is complete, and that it will start as this image starts it.
func (o *WriteOptions) checkDir(k kind) error {
	var newest time.Time
	for _, name := range contents {
		info, err := os.Stat(filepath.Join(o.Dir, name))
		switch {
		case errors.Is(err, os.ErrNotExist):
			return fmt.Errorf("it has no %s: make it by vmbuild squash, or by --squash", name)
		case err != nil:
			return err
		case !info.Mode().IsRegular():
			return fmt.Errorf("%s is not a regular file", name)
		}
		newest = latest(newest, info.ModTime())
	}
	if o.Epoch.IsZero() {
		o.Epoch = newest
	}
	if year := o.Epoch.UTC().Year(); year < 1980 || year > 2107 { // what FAT can store; ISO 9660 more
		return fmt.Errorf("its newest file is of the year %d: SOURCE_DATE_EPOCH can name a time", year)
	}
	if err := o.checkKernel(k); err != nil {
		return err
	}
	initrd, err := os.Open(filepath.Join(o.Dir, medium.Initrd))
	if err != nil {
		return err
	}
	defer initrd.Close()
	info, err := initrd.Stat()
	if err != nil {
		return err
	}
	has, err := hasLiveBoot(initrd, info.Size())
	if err != nil {
		return fmt.Errorf("%s: %w", medium.Initrd, err)
	}
	if !has {
		return fmt.Errorf("%s cannot start a live system: install live-boot in the system (--package=live-boot)", medium.Initrd)
	}
	return nil
}

// checkKernel refuses a kernel of another architecture than one that can be. One without a PE header (UEFI could not start
// it) is let pass.
func (o *WriteOptions) checkKernel(k kind) error {
	f, err := os.Open(filepath.Join(o.Dir, medium.Kernel))
	if err != nil {
		return err
	}
	defer f.Close()
	machine, err := peMachine(f)
	if err != nil || machine == 0 || k.arch == "" || slices.Contains(k.machines, machine) {
		return err
	}
	return fmt.Errorf("%s is not a kernel for %s (its PE machine type is %#x): name the architecture by --arch",
		medium.Kernel, k.arch, machine)
}

// peMachine returns the machine type of a program for UEFI, 0 if it is none: at 60 the offset of "PE\0\0", which the
// type follows.
func peMachine(r io.ReaderAt) (uint16, error) {
	dos := make([]byte, 64)
	header := make([]byte, 6)
	_, err := r.ReadAt(dos, 0)
	if err == nil && string(dos[:2]) == "MZ" {
		_, err = r.ReadAt(header, int64(binary.LittleEndian.Uint32(dos[60:])))
	}
	if err != nil && err != io.EOF {
		return 0, err
	}
	if string(header[:4]) != "PE\x00\x00" {
		return 0, nil
	}
	return binary.LittleEndian.Uint16(header[4:]), nil
}

// writer is the inner half of Write.
type writer struct {
	WriteOptions
	*session.Session
	kind    kind
	arch    arch.Arch
	loaders *os.Root // packages with what the medium starts by
	stage   string   // directory of what is made for the image
	id      [sha256.Size]byte
}

func writeInside(ctx context.Context, s *session.Session, payload json.RawMessage, files []*os.File) error {
	w := &writer{Session: s, stage: filepath.Join(s.Work, "stage")}
	if err := json.Unmarshal(payload, &w.WriteOptions); err != nil {
		return fmt.Errorf("read the options: %w", err)
	}
	if err := w.write(ctx, files[0]); err != nil {
		return fmt.Errorf("make live image: %w", err)
	}
	return nil
}

func (w *writer) write(ctx context.Context, out *os.File) (err error) {
	if w.kind, err = lookup(w.Arch); err != nil {
		return err
	}
	of, from, err := w.kind.rows()
	if err != nil {
		return err
	}
	w.arch = of
	w.Roots.Offline = w.Tools.Offline
	programs, err := w.Roots.Tools(ctx, w.Tools.spec(), []string{"xorriso", "grub-common"})
	if err != nil {
		return err
	}
	loaders, err := w.Roots.ToolsOf(ctx, w.Tools.spec(), from, w.kind.packages)
	if err != nil {
		return err
	}
	if w.loaders, err = os.OpenRoot(loaders.Dir); err != nil {
		return err
	}
	defer w.loaders.Close()
	w.Event(rootfs.Event{Stage: "write"})
	ctx, writing := span.Start(ctx, span.Stage, "write")
	defer writing.End()
	if err := w.identify(ctx); err != nil {
		return err
	}
	if err := w.prepare(ctx); err != nil {
		return err
	}
	return w.run(ctx, programs, filepath.Join(loaders.Dir, modules), out)
}

// identify derives the image's identifiers from all that it is made of.
func (w *writer) identify(ctx context.Context) error {
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %q %q %d\n", w.Arch, w.Volume, w.Append, w.Epoch.Unix())
	for _, name := range contents {
		f, err := os.Open(filepath.Join(w.Dir, name))
		if err != nil {
			return err
		}
		n, err := io.Copy(sum, reader{ctx, f})
		f.Close()
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%s %d\n", name, n)
	}
	sum.Sum(w.id[:0])
	return nil
}

// reader reads until ctx ends.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// created is the time of the volume in the digits of ECMA-119 8.4.26.1. The hundredths, which no file has, tell volumes of
// the same second apart: GRUB and udev take this time for the volume's UUID.
func (w *writer) created() string {
	return w.Epoch.UTC().Format("20060102150405") + fmt.Sprintf("%02d", w.id[0]%100)
}

// uuid is the volume's as GRUB and udev write it: "2026-01-02-03-04-05-67".
func (w *writer) uuid() string {
	return w.Epoch.UTC().Format("2006-01-02-15-04-05") + fmt.Sprintf("-%02d", w.id[0]%100)
}

// diskGUID is of version 8 (RFC 9562, 5.8).
func (w *writer) diskGUID() string {
	id := slices.Clone(w.id[1:17])
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	text := hex.EncodeToString(id)
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

// prepare makes in the stage what comes into the image beside the directory's files: boot/grub as it will be there, the
// instructions load.cfg for GRUB's own image, and efi.img.
func (w *writer) prepare(ctx context.Context) error {
	menu := medium.GRUB{Arch: w.arch, Dir: "/live", Append: w.Append}.Text()
	if err := w.put("boot/grub/grub.cfg", menu); err != nil {
		return err
	}
	find := "search.fs_uuid " + w.uuid() + " root\nset prefix=($root)/boot/grub\n"
	if w.kind.bios {
		if err := w.put("load.cfg", find); err != nil {
			return err
		}
	}
	if !w.kind.uefi {
		return nil
	}
	if err := w.put(path.Join("esp", medium.Menu), find+"configfile $prefix/grub.cfg\n"); err != nil {
		return err
	}
	return w.makeESP(ctx)
}

func (w *writer) put(name, content string) error {
	name = filepath.Join(w.stage, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(content), 0o644)
}

// makeESP makes the EFI system partition, which UEFI starts discs from as well (UEFI 2.10, 13.3.2.1).
func (w *writer) makeESP(ctx context.Context) error {
	files, err := medium.Loaders(w.loaders.FS(), w.arch)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("packages %q have no boot loader for UEFI on %s", w.kind.packages, w.arch.Name)
	}
	var size int64
	for _, f := range files {
		content, err := w.loaders.ReadFile(f.From)
		if err != nil {
			return err
		}
		if err := w.put(path.Join("esp", f.To), string(content)); err != nil {
			return err
		}
		size += int64(len(content))
	}
	img, err := os.Create(filepath.Join(w.stage, "efi.img"))
	if err != nil {
		return err
	}
	defer img.Close()
	const unit = 1 << 20
	size = (size + size/64 + unit + unit - 1) / unit * unit // tables, directories, ends of clusters
	if err := img.Truncate(size); err != nil {
		return err
	}
	vfat, err := filesystem.Lookup("vfat")
	if err != nil {
		return err
	}
	return vfat.Make(ctx, filesystem.Job{
		Disk: img, Size: size, UUID: fmt.Sprintf("%04X-%04X", w.id[17:19], w.id[19:21]), Label: "EFI",
		Tree: &tree.Tree{Dir: filepath.Join(w.stage, "esp")}, Dir: "/", Epoch: w.Epoch,
	})
}

// Where the programs see what the image is made of.
const (
	stageDir   = "/stage"
	liveDir    = "/live"
	modulesDir = "/modules"
)

// modules is where GRUB's files for BIOS are in a package.
const modules = "usr/lib/grub/i386-pc"

// run has the programs make GRUB's image for BIOS and the medium.
func (w *writer) run(ctx context.Context, programs chroot.Toolbox, modulesFrom string, out *os.File) (err error) {
	binds := []chroot.Bind{{Source: w.stage, Target: stageDir}, {Source: w.Dir, Target: liveDir, ReadOnly: true}}
	if w.kind.bios {
		binds = append(binds, chroot.Bind{Source: modulesFrom, Target: modulesDir, ReadOnly: true})
	}
	runner, leave, err := programs.Enter(ctx, binds...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, leave.Close()) }()
	if w.kind.bios {
		if err := runner.Run(ctx, chroot.Command{Args: mkimage()}); err != nil {
			return err
		}
	}
	return runner.Run(ctx, chroot.Command{
		Args: w.xorriso(), Env: []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", w.Epoch.Unix())}, Stdout: out,
	})
}

// eltorito is GRUB for BIOS, as a path of the image.
const eltorito = "/boot/grub/eltorito.img"

// mkimage gives the command that links GRUB for BIOS: all that the menu needs is in it, so that no module is on the medium.
func mkimage() []string {
	return []string{
		"grub-mkimage", "-O", "i386-pc-eltorito", "-d", modulesDir, "-c", stageDir + "/load.cfg", "-p", "/boot/grub",
		"-o", stageDir + eltorito,
		"biosdisk", "iso9660", "part_gpt", "part_msdos", "search_fs_uuid", "search_label", "normal", "configfile", "test",
		"linux", "boot", "serial", "terminal", "echo", "ls", "cat", "reboot", "halt", "minicmd",
	}
}

// basicData is the GPT type EBD0A0A2-B9E5-4433-87C0-68B6B72699C7 and espType C12A7328-F81F-11D2-BA4B-00A0C93EC93B, as
// they are on disk: the first three groups are little endian (UEFI 2.10, 5.3.3).
const (
	basicData = "a2a0d0ebe5b9334487c068b6b72699c7"
	espType   = "28732ac11ff8d211ba4b00a0c93ec93b"
)

// xorriso gives the command that writes the medium to standard output, in the words of mkisofs; xorrisofs(1) has them all. It is what Debian's
// and Ubuntu's images for both kinds of firmware are made by: El Torito entries for BIOS and UEFI, GRUB's boot sector for
// disks, and a GPT with the ISO 9660 filesystem, from its 16th block on, as partition 1 and the EFI system partition,
// behind it, as partition 2.
func (w *writer) xorriso() []string {
	args := []string{
		"xorriso", "-as", "mkisofs", "-quiet", "-V", w.Volume,
		"-iso-level", "3", "-r", "-J", "-joliet-long", // files of 4 GiB and more, Unix names, names for Windows
		"--modification-date=" + w.created(), "--set_all_file_dates", w.created(),
		"--gpt_disk_guid", w.diskGUID(), "-partition_offset", "16",
	}
	if w.kind.bios {
		args = append(args, "--grub2-mbr", modulesDir+"/boot_hybrid.img", "--mbr-force-bootable")
	}
	if w.kind.uefi {
		args = append(args, "-append_partition", "2", espType, stageDir+"/efi.img", "-appended_part_as_gpt",
			"-iso_mbr_part_type", basicData)
	}
	args = append(args, "-c", "/boot/boot.cat")
	if w.kind.bios {
		args = append(args, "-b", eltorito, "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", "--grub2-boot-info")
	}
	if w.kind.bios && w.kind.uefi {
		args = append(args, "-eltorito-alt-boot")
	}
	if w.kind.uefi {
		args = append(args, "-e", "--interval:appended_partition_2:all::", "-no-emul-boot")
	}
	args = append(args, "-graft-points", "/boot/grub="+stageDir+"/boot/grub")
	if w.kind.uefi { // GRUB takes a disc that UEFI has started it from for the disc's own filesystem, and looks there
		args = append(args, "/EFI="+stageDir+"/esp/EFI")
	}
	for _, name := range contents {
		args = append(args, "/live/"+name+"="+liveDir+"/"+name)
	}
	return args
}
