package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"vmbuild/bootloader"
	"vmbuild/cmd/vmbuild/cli"
	"vmbuild/examples"
	"vmbuild/rootfs/mirror"
	"vmbuild/rootfs/offers"
)

// exampleFiles are the files of examples/ but for its Go, by their paths below it.
func exampleFiles(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	dir := os.DirFS(filepath.Join(root, "examples"))
	err := fs.WalkDir(dir, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(name) == ".go" {
			return err
		}
		text, err := fs.ReadFile(dir, name)
		files[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// commentOf returns the comment that a file begins with, without its marks.
func commentOf(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#!") {
			continue
		}
		words, comment := strings.CutPrefix(line, "#")
		if !comment {
			break
		}
		b.WriteString(words)
	}
	return b.String()
}

var customised = regexp.MustCompile(`customize(?:=| = |:\n +- )([a-z0-9-]+\.sh)`)

// TestExamplesAreWhole: each example says what it is; what begins as a script is one, and can be run; and scripts that others
// name are in the program.
func TestExamplesAreWhole(t *testing.T) {
	files := exampleFiles(t)
	for name, text := range files {
		path := filepath.Join(root, "examples", name)
		comment := commentOf(text)
		if strings.Count(comment, "\n") < 1 || !strings.Contains(name, "/") && !strings.Contains(comment, "\n\t") {
			t.Errorf("%s does not begin with a comment on what it is for and how it is called:\n%s", name, comment)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		script := strings.HasPrefix(text, "#!")
		if executable := info.Mode()&0o111 != 0; executable != script {
			t.Errorf("%s: it is %v that it is executable, and %v that it begins with #!", name, executable, script)
		}
		if script {
			mustPrint(t, "", "sh", "-n", path)
		}
		for _, named := range customised.FindAllStringSubmatch(text, -1) {
			if inside, found := examples.Script(named[1]); !found || string(inside) != files[named[1]] {
				t.Errorf("%s has --customize=%s, which is not in the program", name, named[1])
			}
		}
	}
	for _, name := range examples.Names() {
		if !strings.Contains(commentOf(files[name]), "--customize="+name) {
			t.Errorf("%s can be named by --customize and does not say so", name)
		}
	}
}

// dryRun returns what vmbuild prints for a command line.
func dryRun(t *testing.T, args ...string) string {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var messages bytes.Buffer
	args = append([]string{"vmbuild", "--no-default-configs", "--dry-run"}, args...)
	if status := cli.Main(t.Context(), args, cli.Streams{Out: out, Err: &messages}); status != 0 {
		t.Fatalf("%s: exit status %d\n%s", strings.Join(args, " "), status, &messages)
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestExampleCommands plans what the comments say is to be called.
func TestExampleCommands(t *testing.T) {
	files, planned := exampleFiles(t), 0
	t.Chdir(root) // the examples are called there
	for name, text := range files {
		for line := range strings.Lines(commentOf(text)) {
			command, found := strings.CutPrefix(line, "\tvmbuild --")
			if !found {
				continue
			}
			planned++
			t.Run(name, func(t *testing.T) { dryRun(t, strings.Fields("--"+command)...) })
		}
	}
	if planned < 5 {
		t.Errorf("only %d examples have commands", planned)
	}
}

// TestExampleConfigurations: the same build in both forms of configuration files.
func TestExampleConfigurations(t *testing.T) {
	t.Chdir(root)
	plan := func(file string) string {
		return dryRun(t, "--config="+filepath.Join("examples", file), "--image=server.img")
	}
	got := plan("vmbuild.yaml")
	if diff := cmp.Diff(plan("vmdebootstrap.conf"), got); diff != "" {
		t.Error(diff)
	}
	for _, want := range []string{" 2G, gpt, ", "host name server\n", " sudo openssh-server unattended-upgrades\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in the plan:\n%s", want, got)
		}
	}
}

// lavaJob is what LAVA's schema of jobs demands, as far as this one uses it.
type lavaJob struct {
	JobName    string `yaml:"job_name"`
	DeviceType string `yaml:"device_type"`
	Visibility string
	Priority   string
	Context    struct{ Arch string }
	Timeouts   map[string]map[string]int
	Actions    []struct {
		Deploy *struct {
			Timeout map[string]int
			To      string
			Images  map[string]struct {
				ImageArg string `yaml:"image_arg"`
				URL      string
			}
		}
		Boot *struct {
			Timeout       map[string]int
			Method, Media string
			Prompts       []string
			AutoLogin     map[string]string `yaml:"auto_login"`
		}
		Test *struct {
			Timeout     map[string]int
			Definitions []struct {
				From, Name, Path string
				Repository       struct {
					Metadata map[string]string
					Run      struct{ Steps []string }
				}
			}
		}
	}
}

// TestExampleJob reads the job for LAVA: nothing in it is unknown, and it waits for the image that its comment makes.
func TestExampleJob(t *testing.T) {
	text := exampleFiles(t)["lava-job.yaml"]
	decoder := yaml.NewDecoder(strings.NewReader(text))
	decoder.KnownFields(true)
	var job lavaJob
	if err := decoder.Decode(&job); err != nil {
		t.Fatal(err)
	}
	if job.JobName == "" || job.DeviceType != "qemu" || job.Visibility != "public" || job.Context.Arch != "amd64" {
		t.Errorf("this is no job for QEMU: %+v", job)
	}
	for _, of := range []string{"job", "action", "connection"} {
		if job.Timeouts[of]["minutes"] == 0 {
			t.Errorf("there is no timeout for %s", of)
		}
	}
	if len(job.Actions) != 3 || job.Actions[0].Deploy == nil || job.Actions[1].Boot == nil || job.Actions[2].Test == nil {
		t.Fatalf("it is not deploy, boot, test: %+v", job.Actions)
	}
	image := job.Actions[0].Deploy.Images["rootfs"]
	path, local := strings.CutPrefix(image.URL, "file://")
	if !local || !strings.Contains(text, "--image="+path+" ") || !strings.Contains(image.ImageArg, "format=raw,") ||
		!strings.HasSuffix(image.ImageArg, "file={rootfs}") {
		t.Errorf("the image is %+v", image)
	}
	boot := job.Actions[1].Boot
	_, name, _ := strings.Cut(text, "--hostname=")
	name, _, _ = strings.Cut(name, " ")
	want := map[string]string{"login_prompt": name + " login:", "username": "root"}
	if diff := cmp.Diff(want, boot.AutoLogin); diff != "" || boot.Method != "qemu" || boot.Media != job.Actions[0].Deploy.To {
		t.Errorf("%+v\n%s", boot, diff)
	}
	if diff := cmp.Diff([]string{"root@" + name + ":"}, boot.Prompts); diff != "" {
		t.Error(diff)
	}
	for _, definition := range job.Actions[2].Test.Definitions {
		if len(definition.Repository.Run.Steps) == 0 || definition.From != "inline" || definition.Path == "" ||
			definition.Repository.Metadata["format"] != "Lava-Test Test Definition 1.0" {
			t.Errorf("this is no definition of a test: %+v", definition)
		}
	}
}

// example returns the command that runs a script of examples/ in dir, with a program in place of vmbuild.
func example(t *testing.T, vmbuild, dir, name string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(root, "examples", name))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "VMBUILD="+vmbuild, "TMPDIR="+dir)
	return cmd
}

// runExample runs a script of examples/, which has to succeed, and returns what it printed.
func (p program) runExample(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	vmbuild := filepath.Join(t.TempDir(), "vmbuild")
	text := fmt.Sprintf("#!/bin/sh\nexec %s \"$@\" --cache-dir=%s\n", p.path, p.cache)
	if err := os.WriteFile(vmbuild, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := example(t, vmbuild, dir, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	t.Logf("%s %s\n%s", name, strings.Join(args, " "), out)
	return string(out)
}

// TestExamples runs the examples of systems for PCs and of root filesystems.
func TestExamples(t *testing.T) {
	p := needProgram(t, "net", "build")
	offers.Programs(t, "sfdisk", "fsck.fat", "unsquashfs")
	for name, test := range map[string]func(t *testing.T, p program, dir string){
		"uefi-amd64": testUEFIExample,
		"live":       testLiveExample,
		"mmdebstrap": testMmdebstrapExample,
		"multistrap": testMultistrapExample,
		"scriptlets": testScriptletsExample,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, p, p.workDir(t))
		})
	}
}

func testUEFIExample(t *testing.T, p program, dir string) {
	p.runExample(t, dir, "uefi-amd64.sh", "pc.img")
	table := tableOf(t, filepath.Join(dir, "pc.img")).PartitionTable
	var types []string
	for _, part := range table.Partitions {
		types = append(types, part.Type)
	}
	want := []string{"C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"} // ESP and amd64's root
	if diff := cmp.Diff(want, types); diff != "" || table.Label != "gpt" {
		t.Errorf("%+v\n%s", table, diff)
	}
}

func testLiveExample(t *testing.T, p program, dir string) {
	p.runExample(t, dir, "live.sh", "live.iso", "--kernel-package=linux-image-cloud-amd64",
		"--debootstrapopts=variant=minbase", "--package=adduser")
	checkLiveImage(t, "amd64", filepath.Join(dir, "live.iso"))
	onlyIn(t, dir, "live.iso")
}

func testMmdebstrapExample(t *testing.T, p program, dir string) {
	for _, example := range []string{"minimal", "foreign", "files"} {
		p.runExample(t, dir, "mmdebstrap.sh", example, example+".tar")
	}
	p.runExample(t, dir, "mmdebstrap.sh", "squashfs", "squashfs")
	if contents(t, filepath.Join(dir, "minimal.tar"))["usr/bin/apt"] == "" {
		t.Error("minimal: there is no apt")
	}
	busybox, err := elf.NewFile(strings.NewReader(contents(t, filepath.Join(dir, "foreign.tar"))["usr/bin/busybox"]))
	if err != nil || busybox.Machine != elf.EM_AARCH64 {
		t.Errorf("foreign: busybox is %+v: %v", busybox, err)
	}
	files := contents(t, filepath.Join(dir, "files.tar"))
	status, err := os.ReadFile(filepath.Join(dir, "files.tar.status"))
	if err != nil || len(status) == 0 || string(status) != files["var/lib/dpkg/status"] {
		t.Errorf("files: the status file brought out has %d bytes: %v", len(status), err)
	}
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil || files["etc/hosts"] != string(hosts) {
		t.Errorf("files: %v; /etc/hosts is\n%s", err, files["etc/hosts"])
	}
	if files["etc/made-by"] != exampleFiles(t)["mmdebstrap.sh"] {
		t.Errorf("files: /etc/made-by is\n%s", files["etc/made-by"])
	}
	listing := output(t, "unsquashfs", "-l", filepath.Join(dir, "squashfs"))
	if !strings.Contains(listing, "/usr/bin/busybox\n") || strings.Contains(listing, "/usr/share/doc") {
		t.Errorf("squashfs:\n%s", listing)
	}
}

func testMultistrapExample(t *testing.T, p program, dir string) {
	mirrors, err := mirror.OfHost(os.DirFS("/etc/apt"))
	if err != nil {
		t.Fatal(err)
	}
	text := exampleFiles(t)["multistrap.conf"]
	for public, here := range map[string]string{mirror.Default: mirrors.Main, mirror.DefaultSecurity: mirrors.Security} {
		if !strings.Contains(text, "source="+public+"\n") {
			t.Errorf("there is no source %s", public)
		}
		text = strings.ReplaceAll(text, "source="+public+"\n", "source="+here+"\n")
	}
	if err := os.WriteFile(filepath.Join(dir, "multistrap.conf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p.mustBuild(t, dir, "multistrap", "-f", "multistrap.conf", "-a", "amd64", "-d", "tree")
	status, err := os.ReadFile(filepath.Join(dir, "tree/var/lib/dpkg/status"))
	for _, name := range []string{"apt", "less", "ca-certificates"} {
		if !strings.Contains("\n"+string(status), "\nPackage: "+name+"\nStatus: install ok installed\n") {
			t.Errorf("%s is not installed: %v", name, err)
		}
	}
	sources, err := filepath.Glob(filepath.Join(dir, "tree/etc/apt/sources.list.d/multistrap-*.list"))
	if err != nil || len(sources) != 3 {
		t.Errorf("the sources of the system are %v: %v", sources, err)
	}
	output(t, p.path, "--unshare-helper", "rm", "-r", filepath.Join(dir, "tree"))
}

// testScriptletsExample builds a system that the scriptlets set up; they say when they run.
func testScriptletsExample(t *testing.T, p program, dir string) {
	scriptlets, err := filepath.Abs(filepath.Join(root, "examples", "scriptlets"))
	if err != nil {
		t.Fatal(err)
	}
	printed, status := p.run(t, dir, "--tarball=x.tar", "--no-kernel", "--verbose", "--scriptlets="+scriptlets)
	if status != 0 {
		t.Fatalf("exit status %d\n%s", status, printed)
	}
	want := []string{"scriptlet packages", "scriptlet admins", "scriptlet login", "scriptlet issue"}
	if diff := cmp.Diff(want, regexp.MustCompile(`scriptlet \w+`).FindAllString(printed, -1)); diff != "" {
		t.Errorf("%s\n%s", diff, printed)
	}
	files := contents(t, filepath.Join(dir, "x.tar"))
	if got := files["etc/issue"]; !strings.Contains(got, "SSH: members of admins only") {
		t.Errorf("/etc/issue is\n%s", got)
	}
}

// tableOf has sfdisk read a partition table.
func tableOf(t *testing.T, disk string) partitionTable {
	t.Helper()
	output(t, "sfdisk", "--verify", disk)
	var table partitionTable
	if err := json.Unmarshal([]byte(output(t, "sfdisk", "--json", disk)), &table); err != nil {
		t.Fatal(err)
	}
	return table
}

// onlyIn checks what is in a directory.
func onlyIn(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("in %s: %s", dir, diff)
	}
}

// boards are those of the examples, and one for each further way in which a board finds U-Boot.
var boards = []struct {
	name, script string   // without a script, vmbuild is called
	partitions   []string // type, "active", first sector
}{
	{"beaglebone-black", "beaglebone-black.sh", []string{"c active 2048", "83 active 133120"}},
	{"cubietruck", "cubietruck.sh", []string{"83 active 8192"}},
	{"wandboard", "wandboard.sh", []string{"83 active 8192"}},
	{"beaglebone-black-raw", "", []string{"83 active 8192"}},
	{"rock64", "", []string{"B921B045-1DF0-41C3-AF44-4C6F280D3FAE active 32768"}},
	{"hifive-unmatched", "", []string{
		"5B193300-FC78-40CD-8002-E86C45580B47 8192", "72EC70A6-CF74-40E6-BD49-4BDA08E8F224 active 10240",
	}},
}

// headers are what a board's ROM, or the part of U-Boot before it, looks at in a file.
var headers = map[string]func(data []byte) error{
	"MLO": isMLO, "u-boot.img": isUBoot, "u-boot.itb": isUBoot, "u-boot-sunxi-with-spl.bin": isEGON, "SPL": isIVT,
	"idbloader.img": isIDBlock, "u-boot-spl.bin": isRISCV,
}

// isMLO checks what the boot ROM of an AM335x looks at (SPRUH73, "Image Format"): a table of contents whose only
// entry is CHSETTINGS, and from byte 512 on the size of the program and the address it is loaded to.
func isMLO(data []byte) error {
	at := func(offset int) uint32 { return binary.LittleEndian.Uint32(data[offset:]) }
	contents := at(0) == 0x40 && at(4) == 0x0c && string(data[0x14:0x1e]) == "CHSETTINGS" && at(0x40) == 0xc0c0c0c1
	if size := int(at(0x200)); !contents || size != len(data)-0x200 || at(0x204) != 0x402f0400 {
		return fmt.Errorf("this is no MLO of %d bytes: % x … % x", len(data), data[:0x44], data[0x200:0x208])
	}
	return nil
}

// isEGON checks what the boot ROM of Allwinner's chips looks at: the magic, and the sum of all words up to the given length,
// in which a constant stands for the sum itself.
func isEGON(data []byte) error {
	const stands = 0x5f0a6c39
	at := func(offset uint32) uint32 { return binary.LittleEndian.Uint32(data[offset:]) }
	sum := uint32(stands) - at(0x0c)
	for offset := uint32(0); offset < at(0x10); offset += 4 {
		sum += at(offset)
	}
	if string(data[4:12]) != "eGON.BT0" || at(0x10) < 0x1000 || sum != at(0x0c) {
		return fmt.Errorf("this is no SPL with the sum %#x: % x", sum, data[:0x20])
	}
	return nil
}

// isIVT checks what the boot ROM of an i.MX6 looks at: the header of an image vector table (tag, length of 32 bytes, version
// 4.x), and the table's own address in it, to which SPL is loaded.
func isIVT(data []byte) error {
	at := func(offset int) uint32 { return binary.LittleEndian.Uint32(data[offset:]) }
	if data[0] != 0xd1 || binary.BigEndian.Uint16(data[1:]) != 32 || data[3]>>4 != 4 || at(0x14)-at(0x20) != 0x400 {
		return fmt.Errorf("this is no image vector table: % x", data[:0x28])
	}
	return nil
}

// isIDBlock checks what the boot ROM of Rockchip's chips looks at: the magic 0x0ff0aa55, scrambled by RC4 with a key that all
// have (U-Boot's tools/rkcommon.c).
func isIDBlock(data []byte) error {
	if magic := binary.BigEndian.Uint32(data); magic != 0x3b8cdcfc {
		return fmt.Errorf("this is no ID block: % x", data[:8])
	}
	return nil
}

// isRISCV checks that a program begins as U-Boot's start.S for the RISC-V does in machine mode: csrr a0, mhartid.
func isRISCV(data []byte) error {
	if first := binary.LittleEndian.Uint32(data); first != 0xf1402573 {
		return fmt.Errorf("this is no SPL: % x", data[:8])
	}
	return nil
}

// isUBoot checks what SPL looks at: a FIT (a device tree) or an image in U-Boot's older form.
func isUBoot(data []byte) error {
	if magic := binary.BigEndian.Uint32(data); magic != 0xd00dfeed && magic != 0x27051956 {
		return fmt.Errorf("this is no image for U-Boot: % x", data[:8])
	}
	return nil
}

// quickly are options of a smaller system, with an initramfs for no board: the emulated programs of a whole one take minutes.
var quickly = []string{
	"--debootstrapopts=variant=minbase", "--security-mirror=none",
	`--customize-hook=echo MODULES=list >"$1/etc/initramfs-tools/conf.d/modules"`,
}

// TestBoards makes images for boards, the first always, all with the word matrix. Everything that starts them is in its place;
// that they do start, only a board can tell.
func TestBoards(t *testing.T) {
	p := needProgram(t, "net", "build")
	offers.Programs(t, "sfdisk", "e2fsck", "debugfs", "fsck.fat", "mtype")
	for i, b := range boards {
		if i > 0 && !offers.Has("matrix") {
			break
		}
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			row, err := bootloader.LookupBoard(b.name)
			if err != nil {
				t.Fatal(err)
			}
			dir := p.workDir(t)
			if b.script == "" {
				p.mustBuild(t, dir, append([]string{"build", "--image=board.img", "--size=2G", "--board=" + b.name}, quickly...)...)
			} else {
				p.runExample(t, dir, b.script, append([]string{"board.img"}, quickly...)...)
			}
			onlyIn(t, dir, "board.img")
			checkBoard(t, filepath.Join(dir, "board.img"), row, b.partitions)
		})
	}
}

// checkBoard looks at all that a board reads before Linux runs.
func checkBoard(t *testing.T, disk string, b bootloader.Board, want []string) {
	t.Helper()
	table := tableOf(t, disk).PartitionTable
	var got []string
	starts := map[string]int64{}
	for i, part := range table.Partitions {
		words := []string{part.Type}
		if part.Bootable || strings.Contains(part.Attrs, "LegacyBIOSBootable") {
			words = append(words, "active")
		}
		got = append(got, strings.Join(append(words, fmt.Sprint(part.Start)), " "))
		if i < len(b.Partitions) {
			starts[b.Partitions[i].Name] = part.Start * 512
		} else {
			starts["root"] = part.Start * 512
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	system := ext4{fmt.Sprintf("%s?offset=%d", disk, starts["root"])}
	mustPrint(t, "", "e2fsck", "-fn", system.file)
	for _, part := range b.Parts {
		want := system.ask(t, "cat /usr/lib/u-boot/"+part.File)
		data := bytesAt(t, disk, starts[part.In]+part.Offset, len(want))
		if at, found := starts["firmware"]; found {
			data = output(t, "mtype", "-i", fmt.Sprintf("%s@@%d", disk, at), "::/"+filepath.Base(part.File))
		}
		if want == "" || data != want {
			t.Errorf("%s is not in its place, %+v", part.File, part)
		} else if err := headers[filepath.Base(part.File)]([]byte(data)); err != nil {
			t.Errorf("%s: %v", part.File, err)
		}
	}
	if at, found := starts["firmware"]; found {
		checkFirmware(t, disk, at, table.Partitions[0].Size)
	}
	checkMenu(t, system, b)
}

// checkFirmware looks at what the boot ROM of an AM335x does (SPRUH73, 26.1.7.5.7): the FAT is of the kind that the partition's
// type says and of its size, and MLO is in the root directory, the first file there.
func checkFirmware(t *testing.T, disk string, at, sectors int64) {
	t.Helper()
	boot := bytesAt(t, disk, at, 512)
	got := fmt.Sprintf("%q, %d bytes in a sector, %d sectors, ends with % x", boot[0x52:0x5a],
		binary.LittleEndian.Uint16([]byte(boot[0x0b:])), binary.LittleEndian.Uint32([]byte(boot[0x20:])), boot[0x1fe:])
	if want := fmt.Sprintf("%q, 512 bytes in a sector, %d sectors, ends with 55 aa", "FAT32   ", sectors); got != want {
		t.Errorf("the FAT is\n%s, not\n%s", got, want)
	}
	volume := filepath.Join(t.TempDir(), "fat")
	if err := os.WriteFile(volume, []byte(bytesAt(t, disk, at, int(sectors)*512)), 0o600); err != nil {
		t.Fatal(err)
	}
	mustPrint(t, "", "fsck.fat", "-n", volume)
	if files := output(t, "mdir", "-b", "-i", volume); files != "::/MLO\n::/u-boot.img\n" {
		t.Errorf("the FAT has the files\n%s", files)
	}
}

// bytesAt reads a piece of a file.
func bytesAt(t *testing.T, name string, at int64, size int) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, size)
	if _, err := f.ReadAt(data, at); err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// checkMenu looks at what U-Boot reads: kernel, initramfs and device tree are there, and the root filesystem is this one.
func checkMenu(t *testing.T, system ext4, b bootloader.Board) {
	t.Helper()
	menu := map[string]string{}
	for line := range strings.Lines(system.ask(t, "cat /boot/extlinux/extlinux.conf")) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if _, earlier := menu[key]; !earlier {
			menu[key] = value
		}
	}
	for _, c := range []struct {
		path  string
		least int
	}{{menu["linux"], 1 << 20}, {menu["initrd"], 1 << 20}, {menu["fdtdir"] + b.Tree, 1 << 10}} {
		if size := system.size(t, c.path); size < c.least {
			t.Errorf("%q has %d bytes; the menu is %q", c.path, size, menu)
		}
	}
	id := regexp.MustCompile(`(?m)^Filesystem UUID: +(\S+)$`).FindStringSubmatch(system.ask(t, "show_super_stats -h"))
	if id == nil {
		t.Fatal("the filesystem has no UUID")
	}
	speed := 115200
	if b.Speed != 0 {
		speed = b.Speed
	}
	want := fmt.Sprintf("root=UUID=%s ro console=tty0 console=%s,%dn8", id[1], b.Console, speed)
	if menu["append"] != want {
		t.Errorf("the kernel is told %q, not %q", menu["append"], want)
	}
	if tab := system.ask(t, "cat /etc/fstab"); !strings.Contains(tab, "UUID="+id[1]+" / ") {
		t.Errorf("fstab has another root filesystem than %s:\n%s", id[1], tab)
	}
}

// ext4 is a filesystem that debugfs reads.
type ext4 struct{ file string }

func (e ext4) ask(t *testing.T, request string) string {
	t.Helper()
	var stdout bytes.Buffer
	cmd := exec.Command("debugfs", "-R", request, e.file)
	cmd.Stdout = &stdout
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return stdout.String()
}

// size is that of a file, -1 if there is none.
func (e ext4) size(t *testing.T, path string) int {
	t.Helper()
	found := regexp.MustCompile(`Size: (\d+)`).FindStringSubmatch(e.ask(t, fmt.Sprintf("stat %q", path)))
	if found == nil {
		return -1
	}
	size, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return size
}
