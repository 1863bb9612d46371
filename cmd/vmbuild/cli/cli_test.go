package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/hooks"
	"vmbuild/image"
	"vmbuild/image/machine"
	"vmbuild/rootfs"
)

// result is what a user sees of a run.
type result struct {
	Status   int
	Out, Err string
}

// run runs a command line, without the name of the program, in an environment that says nothing to vmbuild.
func run(t *testing.T, args ...string) result {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	return runOn(t, Streams{etc: "/nonexistent"}, append([]string{"vmbuild"}, args...)...)
}

// runOn runs a command line on a host that the streams describe.
func runOn(t *testing.T, host Streams, args ...string) result {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var stderr bytes.Buffer
	host.Out, host.Err = out, &stderr
	status := Main(t.Context(), args, host)
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return result{status, string(text), stderr.String()}
}

// refusal is the result of a wrong command line.
func refusal(message string) result { return refusalOf("", message) }

// refusalOf is the same of a command that is like another program.
func refusalOf(command, message string) result {
	if command != "" {
		command += " "
	}
	return result{statusUsage, "", "vmbuild: " + message + "\nvmbuild: vmbuild " + command + "--help lists all options\n"}
}

var space = regexp.MustCompile(`\s+`)

// optionNames returns the options of a command's struct with their help, as kong names them: of the field EspSize,
// esp-size.
func optionNames(command reflect.Type) map[string]string {
	options := map[string]string{}
	for i := range command.NumField() {
		f := command.Field(i)
		if f.Anonymous {
			for name, text := range optionNames(f.Type) {
				options[name] = text
			}
			continue
		}
		_, positional := f.Tag.Lookup("arg")
		_, hidden := f.Tag.Lookup("hidden")
		if positional || hidden {
			continue
		}
		name := strings.ToLower(regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(f.Name, "$1-$2"))
		if own, ok := f.Tag.Lookup("name"); ok {
			name = own
		}
		if _, negatable := f.Tag.Lookup("negatable"); negatable {
			name = "[no-]" + name
		}
		options["--"+name] = f.Tag.Get("help")
	}
	return options
}

// TestHelp has every option of a command in its help, and those of build in that of the program.
func TestHelp(t *testing.T) {
	build, machine := reflect.TypeFor[buildCmd](), reflect.TypeFor[runCmd]()
	for _, c := range []struct {
		args    []string
		command reflect.Type
		also    []string
	}{
		{[]string{"--help"}, build, []string{"build Build a disk image", "run Start a disk image in QEMU", "--version Print the version"}},
		{[]string{"-h"}, build, nil},
		{[]string{"build", "--help"}, build, nil},
		{[]string{"run", "--help"}, machine, []string{"Usage: vmbuild run <image> [flags]", "<image> Disk image, raw or qcow2."}},
	} {
		r := run(t, c.args...)
		if r.Status != 0 || r.Err != "" {
			t.Errorf("%v: status %d, standard error %q", c.args, r.Status, r.Err)
		}
		got := space.ReplaceAllString(r.Out, " ")
		for _, words := range c.also {
			if !strings.Contains(got, words) {
				t.Errorf("%v: %q is missing in\n%s", c.args, words, r.Out)
			}
		}
		for option, text := range optionNames(c.command) {
			text, _, _ = strings.Cut(strings.TrimSuffix(text, "."), "${") // what depends on tables is left out
			line := regexp.MustCompile(regexp.QuoteMeta(option) + `(=\S+)? ` + regexp.QuoteMeta(text))
			if text == "" || !line.MatchString(got) {
				t.Errorf("%v: there is no %s with help %q", c.args, option, text)
			}
		}
		if strings.Contains(got, "${") {
			t.Errorf("%v: a variable has no value in\n%s", c.args, r.Out)
		}
	}
}

func TestVersion(t *testing.T) {
	if diff := cmp.Diff(result{Out: version() + "\n"}, run(t, "--version")); diff != "" {
		t.Error(diff)
	}
	if !regexp.MustCompile(`^vmbuild .*go1\.\d+`).MatchString(version()) {
		t.Errorf("version %q", version())
	}
}

func TestWrongCommandLines(t *testing.T) {
	const ports = " is not two ports, HOST:MACHINE"
	machines := fmt.Sprintf("%q", "auto")
	for _, name := range machine.Architectures() {
		machines += fmt.Sprintf(",%q", name)
	}
	for line, want := range map[string]string{
		"--frobnicate":                        "unknown flag --frobnicate",
		"--image":                             "--image requires an argument",
		"--image=a --size":                    "--size requires an argument",
		"--package":                           "--package requires an argument",
		"--image --grub":                      "--image requires an argument",
		"--size -v":                           "--size requires an argument",
		"run --forward":                       "--forward requires an argument",
		"run --timeout":                       "--timeout requires an argument",
		"--image=a b":                         "unexpected argument b",
		"--part-type=bsd":                     `--part-type must be one of "auto","msdos","gpt" but got "bsd"`,
		"--swap=many":                         `--swap: size "many" is not a number with an optional unit (K, M, G, T: powers of 1024; KB, MB, GB, TB: powers of 1000)`,
		"--image=a --dry-run=yaml":            `--dry-run: "yaml" is not a form of the plan (text, json)`,
		"--image=a --dry-run json":            "unexpected argument json",
		"--image=a --log=/nonexistent/x/log":  "--log: open /nonexistent/x/log: no such file or directory",
		"--image=a --use-uefi --dry-run=json": "--use-uefi: UEFI images are started by Grub: add --grub",
		"--image=a --hostname=- --swap=1M --dry-run": "--swap=1M: a swap partition has at least 256M\n" +
			"vmbuild: --hostname=- is not a host name (letters, digits and hyphens)",
		"run":                            `expected "<image>"`,
		"run --expect=( x.img":           "--expect: error parsing regexp: missing closing ): `(`",
		"run --firmware=coreboot x.img":  `--firmware must be one of "auto","bios","uefi","secure-boot","kernel","u-boot","open-firmware","boot-rom" but got "coreboot"`,
		"run --board=pdp11 x.img":        "--board=pdp11: QEMU has machines that are boards orangepi-pc",
		"run --arch=pdp11 x.img":         "--arch must be one of " + machines + ` but got "pdp11"`,
		"run --forward=x x.img":          "--forward=x" + ports,
		"run --forward=2222 x.img":       "--forward=2222" + ports,
		"run --forward=2222: x.img":      "--forward=2222:" + ports,
		"run --forward=2222:22:22 x.img": "--forward=2222:22:22" + ports,
		"run --forward=2222:22x x.img":   "--forward=2222:22x" + ports,
		"run --forward=65536:22 x.img":   "--forward=65536:22" + ports,
		"run --forward=0:22 x.img":       "--forward=0:22" + ports,
		"run --forward=-1:22 x.img":      "--forward=-1:22" + ports,
	} {
		t.Run(line, func(t *testing.T) {
			got := run(t, strings.Fields(line)...)
			got.Err = strings.Replace(got.Err, "vmbuild: note: no boot loader was named: installing grub (--grub)\n", "", 1)
			if diff := cmp.Diff(refusal(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseForward(t *testing.T) {
	got, err := parseForward([]string{"2222:22", "65535:1"})
	if diff := cmp.Diff([]machine.Forward{{Host: 2222, Guest: 22}, {Host: 65535, Guest: 1}}, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

// testKey is the key in testdata/key.pub.
const testKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL+6b3tFTaBINPYEkK/lBW94Upl/WQKFj5XOtgTCyd3m ann@m.example"

// given are the options of a command line that has only --image=test.img --grub.
func given(change func(*image.Options)) image.Options {
	o := image.Options{Image: "test.img", Size: 1 << 30, Distribution: "stable", Arch: "amd64",
		RootType: "ext4", BootType: "ext2", Hostname: "debian", Grub: true}
	change(&o)
	return o
}

// options is one option of the command line and what it means. Whatever an option changes, it changes the seed too, so
// that equal plans come from equal options.
var options = []struct {
	args   string
	change func(*image.Options)
}{
	{"", func(*image.Options) {}},
	{"build", func(*image.Options) {}},
	{"--size=4GB", func(o *image.Options) { o.Size = 4e9 }},
	{"--distribution=bookworm", func(o *image.Options) { o.Distribution = "bookworm" }},
	{"--arch=i386 --distribution=bookworm", func(o *image.Options) { o.Arch, o.Distribution = "i386", "bookworm" }},
	{"--part-type=gpt --bootflag=legacy_boot", func(o *image.Options) { o.PartType, o.BootFlag = "gpt", "legacy_boot" }},
	{"--roottype=ext3", func(o *image.Options) { o.RootType = "ext3" }},
	{"--bootsize=200M --boottype=ext4 --bootoffset=8M", func(o *image.Options) {
		o.BootSize, o.BootType, o.BootOffset = 200<<20, "ext4", 8<<20
	}},
	{"--swap=256M", func(o *image.Options) { o.Swap = 256 << 20 }},
	{"--use-uefi --esp-size=64M", func(o *image.Options) { o.UseUEFI, o.ESPSize = true, 64<<20 }},
	{"--use-uefi --no-use-uefi", func(*image.Options) {}},
	{"--no-serial-console", func(o *image.Options) { o.NoSerialConsole = true }},
	{"--mirror=http://m.example/debian --security-mirror=none", func(o *image.Options) {
		o.Mirror, o.Security = "http://m.example/debian", "none"
	}},
	{"--no-updates", func(o *image.Options) { o.NoUpdates = true }},
	{"--package=less --package=a,b", func(o *image.Options) { o.Packages = []string{"less", "a,b"} }},
	{"--kernel-package=linux-image-cloud-amd64", func(o *image.Options) { o.KernelPackage = "linux-image-cloud-amd64" }},
	{"--no-kernel", func(o *image.Options) { o.NoKernel = true }},
	{"--keyring=/keys/mine.gpg", func(o *image.Options) { o.Keyring = "/keys/mine.gpg" }},
	{"--no-check-valid-until", func(o *image.Options) { o.NoCheckValidUntil = true }},
	{"--offline", func(o *image.Options) { o.Offline = true }},
	{"--hostname=cherry", func(o *image.Options) { o.Hostname = "cherry" }},
	{"--root-password=secret", func(o *image.Options) { o.RootPassword = "secret" }},
	{"--lock-root-password", func(o *image.Options) { o.LockRootPassword = true }},
	{"--user=ann/pa,ss/word --user=bob --sudo", func(o *image.Options) {
		o.Users, o.Sudo = []string{"ann/pa,ss/word", "bob"}, true
	}},
	{"--customize=./a --customize=/b,c", func(o *image.Options) { o.Customize = []string{"./a", "/b,c"} }},
	{"--seed=x", func(o *image.Options) { o.Seed = "x" }},
	{"--tarball=a.tar", func(o *image.Options) { o.Image, o.Tarball = "", "a.tar" }},
	{"--squash=dir --no-extlinux", func(o *image.Options) { o.Image, o.Squash, o.NoExtlinux = "", "dir", true }},
	{"--directory=dir", func(o *image.Options) { o.Image, o.Directory = "", "dir" }},
	{"--output-image=a.qcow2 --output-image=b,c.tar", func(o *image.Options) { o.OutputImages = []string{"a.qcow2", "b,c.tar"} }},
	{"--format=raw,qcow2 --qcow2-compression=zstd", func(o *image.Options) {
		o.Formats, o.Qcow2Compression = []string{"raw", "qcow2"}, "zstd"
	}},
	{"--convert-qcow2 --pkglist --no-sparse --owner=ann", func(o *image.Options) {
		o.ConvertQcow2, o.PkgList, o.NoSparse, o.Owner = true, true, true, "ann"
	}},
	{"--configure-apt --apt-mirror=http://m.example/debian", func(o *image.Options) {
		o.ConfigureApt, o.AptMirror = true, "http://m.example/debian"
	}},
	{"--custom-package=testdata/empty.deb", func(o *image.Options) {
		path, _ := filepath.Abs("testdata/empty.deb")
		o.CustomDebs = []string{path}
	}},
	{"--debootstrapopts=variant=minbase --debootstrapopts=include=less", func(o *image.Options) {
		o.DebootstrapOpts = "variant=minbase include=less"
	}},
	{"--debootstrap-scripts=testdata/scripts", func(o *image.Options) {
		o.Script, _ = image.ReadDebootstrapScript("testdata/scripts", "stable")
	}},
	{"--no-acpid --foreign=/usr/bin/qemu-arm-static", func(o *image.Options) {
		o.NoACPID, o.Emulator = true, "/usr/bin/qemu-arm-static"
	}},
	{"--extlinux --no-mbr", func(o *image.Options) { o.Extlinux, o.NoMBR = true, true }},
	{"--hybrid", func(o *image.Options) { o.Hybrid = true }},
	{"--use-uefi --efi-vendor", func(o *image.Options) { o.UseUEFI, o.EFIVendor = true, true }},
	{"--append=quiet", func(o *image.Options) { o.Append = "quiet" }},
	{"--uki", func(o *image.Options) { o.Grub, o.UKI = false, true }},
	{"--bootloader=u-boot --arch=armhf", func(o *image.Options) { o.Grub, o.Bootloader, o.Arch = false, "u-boot", "armhf" }},
	{"--board=cubietruck --arch=auto", func(o *image.Options) { o.Grub, o.Board, o.Arch = false, "cubietruck", "" }},
	{"--no-systemd-networkd --enable-dhcp", func(o *image.Options) { o.NoNetworkd, o.EnableDHCP = true, true }},
	{"--grow --cloud-init --user=ann --ssh-key=testdata/key.pub --ssh-key=ann:testdata/key.pub", func(o *image.Options) {
		o.Grow, o.CloudInit, o.Users = true, true, []string{"ann"}
		o.SSHKeys = []image.SSHKey{{Line: testKey}, {User: "ann", Line: testKey}}
	}},
	{"--grow --no-grow --cloud-init --no-cloud-init", func(*image.Options) {}},
	{"--cloud-init=testdata/seed", func(o *image.Options) {
		o.CloudInit = true
		o.CloudInitSeed, _ = filepath.Abs("testdata/seed")
	}},
	{"--no-update-initramfs --serial-console-command=/sbin/agetty,-a,ttyS0", func(o *image.Options) {
		o.NoUpdateInitramfs, o.SerialCommand = true, "/sbin/agetty,-a,ttyS0"
	}},
	{"--customize-hook=true --setup-hook=a,b --essential-hook=e --extract-hook=x --scriptlets=testdata/hooks", func(o *image.Options) {
		o.Hooks, _ = hooks.FromScriptlets("testdata/hooks")
		o.Hooks = append(o.Hooks, hooks.Hook{Stage: hooks.Setup, Command: "a,b"}, hooks.Hook{Stage: hooks.Extract, Command: "x"},
			hooks.Hook{Stage: hooks.Essential, Command: "e"}, hooks.Hook{Stage: hooks.Customize, Command: "true"})
	}},
}

func TestDryRun(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "")
	for _, c := range options {
		t.Run(c.args, func(t *testing.T) {
			o := given(c.change)
			plan, err := image.NewPlan(o)
			if err != nil {
				t.Fatal(err)
			}
			args := strings.Fields(c.args)
			if o.Grub {
				args = append(args, "--grub")
			}
			if o.Image != "" {
				args = append(args, "--image="+o.Image)
			}
			if !strings.Contains(c.args, "--arch") {
				args = append(args, "--arch=amd64")
			}
			for _, form := range []string{"--dry-run", "--dry-run=text"} {
				if diff := cmp.Diff(result{Out: plan.Text()}, run(t, append(args, form)...)); diff != "" {
					t.Errorf("%s:\n%s", form, diff)
				}
			}
			data, err := json.MarshalIndent(plan.Redacted(), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got := run(t, append(args, "--dry-run=json")...)
			if diff := cmp.Diff(result{Out: string(data) + "\n"}, got); diff != "" {
				t.Errorf("json:\n%s", diff)
			}
			for _, secret := range []string{"secret", "pa,ss", "$y$"} {
				if strings.Contains(got.Out, secret) {
					t.Errorf("the plan shows %q", secret)
				}
			}
		})
	}
}

// TestEveryOption is a field of image.Options that some row of the table changes.
func TestEveryOption(t *testing.T) {
	untouched := reflect.ValueOf(given(func(*image.Options) {}))
	for i := range untouched.NumField() {
		name := untouched.Type().Field(i).Name
		changed := name == "Image" || name == "Grub" || name == "Epoch" // in all rows; SOURCE_DATE_EPOCH
		for _, c := range options {
			value := reflect.ValueOf(given(c.change)).Field(i)
			changed = changed || !reflect.DeepEqual(value.Interface(), untouched.Field(i).Interface())
		}
		if !changed {
			t.Errorf("no option changes %s", name)
		}
	}
}

func TestNotes(t *testing.T) {
	got := run(t, "--image=test.img", "--arch=amd64", "--roottype=xfs", "--dry-run")
	want := "vmbuild: note: extlinux: xfs is not yet supported as filesystem of / or /boot: use ext2, ext3 or ext4, or grub; " +
		"the boot loader is grub\n"
	if got.Err != want || got.Status != 0 {
		t.Errorf("%+v, want %q", got, want)
	}
}

func TestSourceDateEpoch(t *testing.T) {
	for text, want := range map[string]time.Time{"": {}, "0": time.Unix(0, 0).UTC(), "1700000000": time.Unix(1700000000, 0).UTC()} {
		t.Setenv("SOURCE_DATE_EPOCH", text)
		got := run(t, "--image=test.img", "--grub", "--arch=amd64", "--dry-run=json")
		var plan image.Plan
		if err := json.Unmarshal([]byte(got.Out), &plan); err != nil || plan.Epoch != want || plan.Rootfs.Epoch != want {
			t.Errorf("%q: %v, epochs %s and %s, want %s", text, err, plan.Epoch, plan.Rootfs.Epoch, want)
		}
	}
	for _, text := range []string{"yesterday", "-1", "1.5", " 1", "99999999999999999999"} {
		t.Setenv("SOURCE_DATE_EPOCH", text)
		want := refusal(fmt.Sprintf("SOURCE_DATE_EPOCH=%q is not a number of seconds since 1970", text))
		if diff := cmp.Diff(want, run(t, "--image=test.img", "--grub", "--dry-run")); diff != "" {
			t.Errorf("%q:\n%s", text, diff)
		}
	}
}

// TestMissing are things that this host lacks: all are told, and nobody is asked for a package before.
func TestMissing(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s was asked for", r.URL)
	}))
	defer server.Close()
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	image, cache := filepath.Join(dir, "test.img"), filepath.Join(dir, "cache")
	got := run(t, "--image="+image, "--grub", "--mirror="+server.URL, "--security-mirror=none", "--cache-dir="+cache,
		"--customize="+dir+"/none", "--customize="+plain, "--keyring="+dir+"/none.gpg")
	if got.Status != statusHost || got.Out != "" {
		t.Errorf("%+v", got)
	}
	for _, line := range []string{
		"vmbuild: --customize=" + dir + "/none: find customize hook: stat " + dir + "/none: no such file or directory\n",
		"vmbuild: --customize=" + plain + ": find customize hook: " + plain + " is not executable (chmod +x " + plain + ")\n",
		"vmbuild: --keyring: open " + dir + "/none.gpg: no such file or directory\n",
	} {
		if !strings.Contains(got.Err, line) {
			t.Errorf("%q does not say %q", got.Err, line)
		}
	}
	for _, path := range []string{image, cache} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s was made: %v", path, err)
		}
	}
	got = run(t, "--image="+dir+"/no/test.img", "--grub", "--cache-dir="+cache)
	want := "vmbuild: --image=" + dir + "/no/test.img: " + dir + "/no is not a directory: make it first\n"
	if got.Status != statusHost || !strings.Contains(got.Err, want) {
		t.Errorf("%+v, want %q", got, want)
	}
}

func TestRunWithoutImage(t *testing.T) {
	name := filepath.Join(t.TempDir(), "none.img")
	want := result{statusFailed, "", "vmbuild: look at image \"" + name + "\": open " + name + ": no such file or directory\n"}
	if diff := cmp.Diff(want, run(t, "run", "--expect=login:", name)); diff != "" {
		t.Error(diff)
	}
	want.Err = "vmbuild: " + machine.Keys + "\n" + want.Err
	if diff := cmp.Diff(want, run(t, "run", name)); diff != "" {
		t.Error(diff)
	}
}

func TestDirectories(t *testing.T) {
	for _, name := range []string{"TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME", "HOME"} {
		t.Setenv(name, "")
	}
	for _, c := range []struct{ name, value, cache, temp string }{
		{"", "", "/tmp/vmbuild-cache", "/tmp"},
		{"TMP", "/t3", "/t3/vmbuild-cache", "/t3"},
		{"TEMP", "/t2", "/t2/vmbuild-cache", "/t2"},
		{"TMPDIR", "/t1", "/t1/vmbuild-cache", "/t1"},
		{"HOME", "/home/ann", "/home/ann/.cache/vmbuild", "/t1"},
		{"XDG_CACHE_HOME", "/c", "/c/vmbuild", "/t1"},
	} {
		if c.name != "" {
			t.Setenv(c.name, c.value)
		}
		var e environment
		if e.cacheDir() != c.cache || e.tempDir() != c.temp {
			t.Errorf("with %s=%s: %s and %s, want %s and %s", c.name, c.value, e.cacheDir(), e.tempDir(), c.cache, c.temp)
		}
	}
	if got := (environment{CacheDir: "/own"}).cacheDir(); got != "/own" {
		t.Errorf("--cache-dir=/own is %s", got)
	}
}

func TestRunLine(t *testing.T) {
	other := "arm64"
	if hostArch() == other {
		other = "amd64"
	}
	for want, p := range map[string]image.Plan{
		"run 'a b.img'":                      {Rootfs: rootfs.Spec{Arch: hostArch()}},
		"run --arch=" + other + " 'a b.img'": {Rootfs: rootfs.Spec{Arch: other}},
		"run --board=orangepi-pc 'a b.img'":  {Board: "orangepi-pc", Rootfs: rootfs.Spec{Arch: "armhf"}},
		"":                                   {Board: "beaglebone-black", Rootfs: rootfs.Spec{Arch: "armhf"}},
	} {
		if got := runLine(&p, "a b.img"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestStartsByKernel(t *testing.T) {
	for name, c := range map[string]struct {
		spec rootfs.Spec
		want bool
	}{
		"s390x":                  {rootfs.Spec{Arch: "s390x", Include: []string{"linux-image-s390x"}}, true},
		"without kernel":         {rootfs.Spec{Arch: "s390x", Include: []string{"vim"}}, false},
		"has firmware that does": {rootfs.Spec{Arch: "amd64", Include: []string{"linux-image-amd64"}}, false},
	} {
		if got := startsByKernel(&image.Plan{Rootfs: c.spec}); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
