package rootfs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/chroot"
)

// theirScripts are those of initramfs-tools 0.148, as far as they are edited.
var theirScripts = map[string]string{
	"run/": "",
	"usr/sbin/mkinitramfs": "#!/bin/sh\n. /usr/share/initramfs-tools/scripts/functions\n. /usr/share/initramfs-tools/hook-functions\n" +
		"zstd)\tcompress=\"zstd -q ${compresslevel}\"\n" +
		"apply_add_modules || exit $?\nrun_scripts /usr/share/initramfs-tools/hooks\napply_add_modules || exit $?\n" +
		"depmod -a -b \"${DESTDIR}\" \"${version}\"\n",
	"usr/share/initramfs-tools/hook-functions": "_call_dracut_install()\n{\n" +
		"\t/usr/lib/dracut/dracut-install -D \"$DESTDIR\" --kerneldir \"/lib/modules/${version?}\" \\\n\t\t-o -m \"$@\"\n}\n",
}

func TestPlaceGatherer(t *testing.T) {
	ours := map[string]string{
		"mkinitramfs": "#!/bin/sh\n. /usr/share/initramfs-tools/scripts/functions\n. /run/vmbuild/hook-functions\n" +
			"zstd)\tcompress=\"zstd -q ${compresslevel} -T0\"\n" +
			"apply_add_modules && /run/vmbuild/dracut-install -D \"${DESTDIR}\" || exit $?\nrun_scripts /usr/share/initramfs-tools/hooks\n" +
			"apply_add_modules || exit $?\n/run/vmbuild/depmod -a -b \"${DESTDIR}\" \"${version}\"\n",
		"hook-functions": "_call_dracut_install()\n{\n" +
			"\t/run/vmbuild/dracut-install -D \"$DESTDIR\" --kerneldir \"/lib/modules/${version?}\" \\\n\t\t-o -m \"$@\"\n}\n",
		"dracut-install": fmt.Sprintf(gatherScript, "/usr/lib/dracut/dracut-install", 5),
		"depmod":         listingScript,
	}
	oldZstd := maps.Clone(ours)
	oldZstd["mkinitramfs"] = strings.Replace(ours["mkinitramfs"], " -T0", " --", 1)
	for name, c := range map[string]struct {
		processors int
		edit       func(files map[string]string)
		want       map[string]string
	}{
		"known scripts": {4, func(map[string]string) {}, ours},
		"another zstd": {4, func(f map[string]string) {
			f["usr/sbin/mkinitramfs"] = strings.Replace(f["usr/sbin/mkinitramfs"], "level}", "level} --", 1)
		}, oldZstd},
		"one processor": {1, func(map[string]string) {}, nil},
		"no run":        {4, func(f map[string]string) { delete(f, "run/") }, nil},
		"no generator":  {4, func(f map[string]string) { delete(f, "usr/sbin/mkinitramfs") }, nil},
		"no functions":  {4, func(f map[string]string) { delete(f, "usr/share/initramfs-tools/hook-functions") }, nil},
		"out of the tree": {4, func(f map[string]string) {
			delete(f, "usr/sbin/mkinitramfs")
			f["usr/sbin/mkinitramfs -> /etc/passwd"] = ""
		}, nil},
		"another call": {4, func(f map[string]string) {
			f["usr/share/initramfs-tools/hook-functions"] += "\t/usr/lib/dracut/dracut-install -D x\n"
		}, nil},
		"another order": {4, func(f map[string]string) {
			f["usr/sbin/mkinitramfs"] = strings.Replace(f["usr/sbin/mkinitramfs"], "\nrun_scripts", "\n\nrun_scripts", 1)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{}
			for name, text := range theirScripts {
				files[name] = text
			}
			c.edit(files)
			p := &sideBySide{programs: programs{root: planted(t, files)}}
			before := listing(t, p.root)
			if err := p.place(t.Context(), c.processors); err != nil {
				t.Fatal(err)
			}
			var got map[string]string
			for _, name := range []string{"mkinitramfs", "hook-functions", "dracut-install", "depmod"} {
				if text, err := os.ReadFile(filepath.Join(p.root, programsDir, name)); err == nil {
					if got == nil {
						got = map[string]string{}
					}
					got[name] = string(text)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("our scripts (-want +got):\n%s", diff)
			}
			if err := p.remove(); err != nil {
				t.Error(err)
			}
			wantTree(t, p.root, before)
		})
	}
}

// TestMakeInitramfsSideBySide: it is ours that update-initramfs finds, and not there any more when that is done.
func TestMakeInitramfsSideBySide(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	files := map[string]string{"etc/kernel/postinst.d/initramfs-tools": "", "boot/vmlinuz-6.12": ""}
	maps.Copy(files, theirScripts)
	s := newStack(t, "a", changes{files: files})
	want := listing(t, s.Dir)
	want["/boot/initrd.img-6.12"] = file(0o644, "made by initramfs-tools")
	g := &generator{root: s.Dir}
	if err := newBuilder(t).MakeInitramfs(t.Context(), s, g); err != nil {
		t.Fatal(err)
	}
	if len(g.log) != 1 || !strings.HasPrefix(g.log[0], "PATH=/run/vmbuild:") || !strings.HasSuffix(g.log[0], " update-initramfs -c -k 6.12") {
		t.Errorf("what is run: %q", g.log)
	}
	wantTree(t, s.Dir, want)
}

// installer is a dracut-install that notes how it was called and makes a file of each module. It finds two by their symbols, which
// takes a while and does not end well, and none of the name "bad".
const installer = `#!/bin/sh
to=$2
echo "$*" | sed "s:-D $2[^ ]*:-D DIR:" >>%s
mkdir -p "$to/lib/modules"
case " $* " in *" -s "*)
	sleep 0.2
	echo chosen >"$to/lib/modules/chosen"
	echo 1 >"$to/lib/modules/1"
	exit 3 ;;
esac
while [ "$1" != -m ]; do shift; done
shift
for module; do
	[ "$module" != bad ] || exit 4
	echo "$module" >"$to/lib/modules/$module"
done
`

// TestGatherScript calls ours as mkinitramfs does.
func TestGatherScript(t *testing.T) {
	const options = "-D DIR --kerneldir /lib/modules/6.12 -o -m"
	numbers := func(first, step, last int) string {
		var list string
		for n := first; n <= last; n += step {
			list += fmt.Sprintf(" %d", n)
		}
		return list
	}
	for name, c := range map[string]struct {
		calls   []string // what is behind the directory; empty: nothing is
		want    []string // calls of dracut-install, sorted
		modules string   // that are there in the end
		fails   bool
	}{
		"short list":           {[]string{"1 2"}, []string{options + " 1 2"}, " 1 2", false},
		"long list":            {[]string{numbers(1, 1, 17)}, []string{options + numbers(1, 2, 17), options + numbers(2, 2, 17)}, numbers(1, 1, 17), false},
		"by symbols":           {[]string{"-s sym =drivers", "2"}, []string{options + " -s sym =drivers", options + " 2"}, " 1 2 chosen", false},
		"by symbols only":      {[]string{"-s sym =drivers", ""}, []string{options + " -s sym =drivers"}, " 1 chosen", false},
		"found twice":          {[]string{"-s a =b", "-s c =d", "1"}, []string{options + " -s a =b", options + " -s c =d", options + " 1"}, " 1 chosen", false},
		"nothing":              {[]string{""}, nil, "", false},
		"bad":                  {[]string{"bad"}, []string{options + " bad"}, "", true},
		"bad in the other one": {[]string{numbers(1, 1, 15) + " bad"}, []string{options + numbers(1, 2, 15), options + numbers(2, 2, 15) + " bad"}, numbers(1, 1, 15), true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			log, to := filepath.Join(dir, "log"), filepath.Join(dir, "mkinitramfs_abc")
			plant(t, dir, map[string]string{"mkinitramfs_abc/usr/lib/": "", "mkinitramfs_abc/lib -> usr/lib": ""})
			ours, theirs := filepath.Join(dir, "ours"), filepath.Join(dir, "theirs")
			for path, text := range map[string]string{
				ours: fmt.Sprintf(gatherScript, theirs, 2), theirs: fmt.Sprintf(installer, log),
			} {
				if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			var err error
			for _, call := range c.calls {
				args := []string{"-D", to}
				if call != "" {
					args = append(args, strings.Fields("--kerneldir /lib/modules/6.12 -o -m "+call)...)
				}
				command := exec.Command(ours, args...)
				command.Stderr = os.Stderr
				err = command.Run()
			}
			if (err != nil) != c.fails {
				t.Errorf("the last call: %v", err)
			}
			text, _ := os.ReadFile(log)
			got := strings.Split(strings.TrimSpace(string(text)), "\n")
			slices.Sort(got)
			slices.Sort(c.want)
			if diff := cmp.Diff(strings.Join(c.want, "\n"), strings.Join(got, "\n")); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			want := map[string]string{"/": aDir, "/usr": aDir, "/usr/lib": aDir, "/lib": link("usr/lib")}
			for _, module := range strings.Fields(c.modules) {
				want["/usr/lib/modules"], want["/usr/lib/modules/"+module] = aDir, file(0o644, module+"\n")
			}
			if len(c.want) > 0 {
				want["/usr/lib/modules"] = aDir
			}
			wantTree(t, to, want)
			if left, err := filepath.Glob(to + ".*"); err != nil || len(left) > 0 {
				t.Errorf("left beside it: %v, %v", left, err)
			}
		})
	}
}

// copier is a dracut-install that copies modules as the real one does, after it has looked at them.
const copier = `#!/bin/sh
to=$2 kernel=$4
[ "$3" = --kerneldir ] || exit 9
shift 5
mkdir -p "$to/lib/modules/6.12"
for module; do
	cp --reflink=auto --sparse=auto --preserve=mode -fL "$kernel/$module" "$to/lib/modules/6.12/$module" || exit
done
cp --reflink=auto --sparse=auto --preserve=mode -fL %s "$to/lib/firmware" || exit
`

// TestGatherPlain has modules gathered of which there are decompressed ones.
func TestGatherPlain(t *testing.T) {
	for name, answer := range map[string]string{"filled": "done\n", "not filled": "no\n"} {
		t.Run(name, func(t *testing.T) {
			dir := planted(t, map[string]string{
				"run/plain/kernel/lib/modules/6.12/a.ko.xz": "decompressed", "theirs": "", "firmware": "firmware",
				"mkinitramfs_abc/usr/lib/": "", "mkinitramfs_abc/lib -> usr/lib": "", "run/empty/": "",
			})
			at := func(name string) string { return filepath.Join(dir, name) }
			for path, text := range map[string]string{
				at("run/ours"): fmt.Sprintf(gatherScript, at("theirs"), 2), at("theirs"): fmt.Sprintf(copier, at("firmware")),
				at("run/empty/cp"): strings.ReplaceAll(fmt.Sprintf(emptyScript, "/bin/sh"), "/"+programsDir, at("run")),
			} {
				err := os.WriteFile(path, []byte(text), 0o755)
				if err == nil {
					err = os.Chmod(path, 0o755)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			root, err := os.OpenRoot(at("run"))
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			p := &programs{dir: root}
			asked, err := p.openFIFO("asked")
			if err != nil {
				t.Fatal(err)
			}
			defer asked.Close()
			answers, err := p.openFIFO("answer")
			if err != nil {
				t.Fatal(err)
			}
			defer answers.Close()
			question := make(chan string)
			go func() {
				line, _ := bufio.NewReader(asked).ReadString('\n')
				content, _ := os.ReadFile(filepath.Join(strings.Fields(line)[1], "lib/modules/6.12/a.ko.xz"))
				fmt.Fprint(answers, answer)
				question <- fmt.Sprintf("%s: %q", line, content)
			}()
			err = exec.Command(at("run/ours"), "-D", at("mkinitramfs_abc"), "--kerneldir", "/lib/modules/6.12", "-m", "a.ko.xz").Run()
			if (err == nil) != (answer == "done\n") {
				t.Errorf("dracut-install: %v", err)
			}
			got := regexp.MustCompile(`abc\.\w{6} `).ReplaceAllString(<-question, "abc.PART ")
			if want := "fill " + at("mkinitramfs_abc.PART") + " 6.12\n: \"\""; got != want {
				t.Errorf("asked %q, want %q", got, want)
			}
			wantTree(t, at("mkinitramfs_abc"), map[string]string{
				"/": aDir, "/usr": aDir, "/usr/lib": aDir, "/lib": link("usr/lib"), "/usr/lib/modules": aDir, "/usr/lib/modules/6.12": aDir,
				"/usr/lib/modules/6.12/a.ko.xz": file(0o644, ""), "/usr/lib/firmware": file(0o644, "firmware"),
			})
		})
	}
}

// aShell is a system whose shell runs or does not.
type aShell struct{ err error }

func (a aShell) Run(context.Context, chroot.Command) error { return a.err }

// TestShell: a small shell is taken where there is one that runs.
func TestShell(t *testing.T) {
	small := map[string]string{"bin/sh": "", "usr/lib/klibc/bin/sh": ""}
	for name, c := range map[string]struct {
		files map[string]string
		runs  error
		want  string
	}{
		"none":     {map[string]string{"bin/sh": "", "usr/lib/klibc/bin/cat": ""}, nil, "/bin/sh"},
		"runs":     {small, nil, "/usr/lib/klibc/bin/sh"},
		"does not": {small, errors.New("invalid ELF image for this architecture"), "/bin/sh"},
	} {
		s := &sideBySide{programs: programs{root: planted(t, c.files), target: aShell{c.runs}}}
		if got := s.shell(t.Context()); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}
