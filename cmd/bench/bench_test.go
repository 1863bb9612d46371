package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/cmd/bench/measure"
	"vmbuild/cmd/bench/report"
	"vmbuild/rootfs/mirror"
	"vmbuild/rootfs/offers"
)

func TestMain(m *testing.M) {
	if err := measure.Adopt(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// pretender is a program in vmbuild's place. Of builds with a log, the first to come unpacks packages.
const pretender = `#!/bin/sh -e
while [ $# -gt 0 ]; do
	case "$1" in
	--dry-run=json) echo '{"rootfs":{"variant":"important","include":["grub-pc","zstd"]}}'; exit ;;
	--unshare-helper) shift; exec "$@" ;;
	--cache-dir) cache=$2; shift ;;
	--image) image=$2; shift ;;
	--log) log=$2; shift ;;
	prune) rmdir "${cache:=$5}/layer" 2>/dev/null || : ;;
	esac
	shift
done
if [ "$image" ]; then mkdir -p "$cache"; : >"$image"; fi
if [ "$log" ] && mkdir "$cache/layer" 2>/dev/null; then echo '{"msg":"stage","stage":"unpack"}' >"$log"; fi
test -z "$log" || echo '{"msg":"end"}' >>"$log"
`

// newTestBench is a bench with a pretender for vmbuild, and mirrors that nothing comes from.
func newTestBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(dir, dir+"/link"); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "vmbuild")
	if err := os.WriteFile(program, []byte(pretender), 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := newBench(t.Context(), paths{vmbuild: program, work: dir + "/link", archive: dir + "/archive", out: dir + "/out"},
		mirror.Mirrors{Main: "http://127.0.0.1:9/debian"}, "trixie")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(b.dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the bench leaves %s: %v", b.dir, err)
		}
	})
	if real, err := filepath.EvalSymlinks(dir); err != nil || filepath.Dir(b.dir) != real {
		t.Errorf("the bench works in %s, which has links in it: %v", b.dir, err)
	}
	b.runs = 2
	return b
}

// example is a comparison whose sides say in a file that they were there.
func example(journal string) comparison {
	note := func(who string) string {
		return fmt.Sprintf("echo %s $N $(ls \"$OUT\" | wc -l) $(ls \"$TEMP\") >>%s\n", who, journal)
	}
	return comparison{
		name: "x", task: "to do x", target: 3,
		ours:   way{tool: ours, before: note("before"), script: note("ours")},
		theirs: way{tool: "theirs", name: "theirs + more", script: note("theirs") + `: >"$OUT/file"`},
	}
}

// TestCompareTakesTurns: pairs, in new directories each time, after both were warm.
func TestCompareTakesTurns(t *testing.T) {
	b := newTestBench(t)
	b.warm = true
	journal := filepath.Join(t.TempDir(), "journal")
	row, err := b.compare(t.Context(), example(journal))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	pair := "before %[1]d 0 out\nours %[1]d 0 out\ntheirs %[1]d 0 out\n"
	want := fmt.Sprintf(pair, 0) + fmt.Sprintf(pair, 0) + fmt.Sprintf(pair, 1)
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	for _, side := range []*report.Side{&row.Ours, &row.Theirs} {
		if len(side.Runs) != 2 || side.Runs[0].Seconds <= 0 {
			t.Errorf("%s: %+v, want two runs", side.Tool, side.Runs)
		}
		side.Runs = nil
	}
	c := example(journal)
	wanted := report.Row{Name: "x", Task: "to do x", Date: row.Date, Target: 3, Ours: report.Side{Tool: "vmbuild", Command: c.ours.script},
		Theirs: report.Side{Tool: "theirs + more", Command: c.theirs.script}}
	if diff := cmp.Diff(wanted, row); diff != "" {
		t.Errorf("row (-want +got):\n%s", diff)
	}
}

// TestScriptsSee the variables that they are promised.
func TestScriptsSee(t *testing.T) {
	b := newTestBench(t)
	seen := filepath.Join(t.TempDir(), "seen")
	script := `test "$CACHE" != "$TEMP"; test -x "$VMBUILD"; test -r "$RECIPES/vmdb2.yaml"
		test -x "$RECIPES/standin/kpartx"; test -w "$TEMP"
		echo "$MIRROR $http_proxy $SUITE $VARIANT $PACKAGES $N" >>` + seen
	b.runs = 1
	for _, network := range []bool{false, true} {
		c := comparison{name: "x", network: network, ours: way{tool: ours, script: script}, theirs: way{tool: "theirs", script: ":"}}
		if _, err := b.compare(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	line := "%[1]s/debian %[1]s trixie important grub-pc,zstd 0\n"
	local := fmt.Sprintf(line, b.local.URL)
	if diff := cmp.Diff(local+local+fmt.Sprintf(line, b.remote.URL), string(text)); diff != "" { // the first warms up
		t.Errorf("variables (-want +got):\n%s", diff)
	}
}

func TestFailures(t *testing.T) {
	b := newTestBench(t)
	fails := way{tool: "t", script: "echo no >&2; exit 7"}
	works := way{tool: "t", script: ":"}
	_, err := b.compare(t.Context(), comparison{name: "x", ours: fails, theirs: works})
	if want := "t: run sh -ec echo no >&2; exit 7: exit status 7\nno"; err == nil || err.Error() != want {
		t.Errorf("ours: %v, want %s", err, want)
	}
	if errors.As(err, new(theirError)) {
		t.Error("our failure is taken for theirs")
	}
	var r report.Report
	if err := b.addComparison(t.Context(), comparison{name: "y", ours: works, theirs: fails}, &r); err != nil {
		t.Errorf("theirs: %v", err)
	}
	want := report.Report{Omitted: []report.Absent{{Name: "y, t", Reason: "it failed here; its log says why"}}}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if text, err := os.ReadFile(b.out + "/logs/y-t.log"); string(text) != "no\n" || err != nil {
		t.Errorf("its log has %q, %v", text, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	ends := comparison{name: "z", ours: works, theirs: way{tool: "t", script: "sleep 100"}}
	if err := b.addComparison(ctx, ends, &r); !errors.Is(err, context.DeadlineExceeded) || len(r.Omitted) != 1 {
		t.Errorf("interrupted: %v; %+v", err, r.Omitted)
	}
}

// TestReport: what is done is in the files; the tools' versions, too.
func TestReport(t *testing.T) {
	b := newTestBench(t)
	r := report.Report{Machine: report.Machine{Versions: map[string]string{}}}
	c := choice{together: true, comparisons: []comparison{{name: "x", task: "to do x",
		ours: way{tool: ours, script: ":"}, theirs: way{tool: "no-such-tool", script: ":"}}}}
	if err := c.do(t.Context(), b, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != 1 || len(r.Notes) != 1 || !strings.HasSuffix(r.Notes[0], " Packages were unpacked in 1 of the 10 builds.") {
		t.Errorf("%+v", r)
	}
	if diff := cmp.Diff(map[string]string{"no-such-tool": "of unknown version"}, r.Machine.Versions); diff != "" {
		t.Error(diff)
	}
	var names []string
	for _, f := range []string{"bench.md", "bench.json", "comparison.svg", "growth.svg"} {
		if _, err := os.Stat(filepath.Join(b.out, f)); err == nil {
			names = append(names, f)
		}
	}
	if diff := cmp.Diff([]string{"bench.md", "bench.json", "comparison.svg"}, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// TestKeep adds to what was compared before: in the order of the table, and what is done again only once.
func TestKeep(t *testing.T) {
	row := func(name, task string) report.Row { return report.Row{Name: name, Task: task} }
	earlier := report.Report{
		Machine: report.Machine{Versions: map[string]string{ours: "1", "debos": "2"}},
		Rows:    []report.Row{row("tree", "before"), row("image-debos", "before"), row("qcow2", "before")},
		Growth:  []report.Point{{Of: "before"}}, Notes: []string{"before"},
		Omitted: []report.Absent{{Name: "image, mmdebstrap", Reason: "before"}},
	}
	c := choice{growth: true, comparisons: []comparison{{name: "qcow2"}, {name: "image"}}}
	r := report.Report{
		Machine: report.Machine{Versions: map[string]string{ours: "3"}},
		Omitted: []report.Absent{{Name: "image-debos, debos", Reason: "now"}, {Name: "image-mkosi, mkosi", Reason: "now"}},
	}
	c.keep(earlier, &r)
	putRow(&r, row("qcow2", "now"))
	putRow(&r, row("image", "now"))
	want := report.Report{
		Machine: report.Machine{Versions: map[string]string{ours: "3", "debos": "2"}},
		Rows:    []report.Row{row("tree", "before"), row("image", "now"), row("image-debos", "before"), row("qcow2", "now")},
		Notes:   []string{"before"},
		Omitted: []report.Absent{{Name: "image-mkosi, mkosi", Reason: "now"}},
	}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReadReport(t *testing.T) {
	dir := t.TempDir()
	if r, err := readReport(dir); err != nil || len(r.Rows) > 0 {
		t.Errorf("nothing was compared before: %v, %v", r, err)
	}
	want := report.Report{Machine: report.Machine{Versions: map[string]string{}}, Rows: []report.Row{{Name: "tree"}}}
	if err := writeFiles(want, dir); err != nil {
		t.Fatal(err)
	}
	if r, err := readReport(dir); err != nil || len(r.Rows) != 1 || r.Rows[0].Name != "tree" {
		t.Errorf("got %v, %v", r, err)
	}
	file := filepath.Join(dir, "bench.json")
	if err := os.WriteFile(file, []byte("[]"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readReport(dir); err == nil || !strings.HasPrefix(err.Error(), file+": read report: ") {
		t.Errorf("a file that is no report: %v", err)
	}
}

func TestGrow(t *testing.T) {
	b := newTestBench(t)
	s := size{of: "two packages", script: `mkdir -p "$OUT/tree/var/lib/dpkg" && cp "$TEMP/../status" "$OUT/tree/var/lib/dpkg"
		tar -C "$OUT/tree" -cf "$OUT/tree.tar" .`}
	if err := os.WriteFile(b.dir+"/status", []byte(status), 0o644); err != nil {
		t.Fatal(err)
	}
	point, err := b.grow(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if len(point.Runs) != 2 {
		t.Errorf("%d runs, want 2", len(point.Runs))
	}
	point.Runs = nil
	want := report.Point{Side: report.Side{Tool: "vmbuild", Command: s.script, Packages: 2}, Of: "two packages"}
	if diff := cmp.Diff(want, point); diff != "" {
		t.Errorf("point (-want +got):\n%s", diff)
	}
}

// TestScriptsAreShell: a shell reads all scripts of the tables without running them.
func TestScriptsAreShell(t *testing.T) {
	scripts := map[string]string{}
	for _, c := range comparisons() {
		for _, w := range []way{c.ours, c.theirs} {
			scripts[c.name+", "+w.label()] = w.script
			scripts[c.name+", "+w.label()+", before"] = w.before
		}
	}
	for _, s := range sizes() {
		scripts[s.of] = s.script
	}
	standin, err := recipes.ReadFile("recipes/standin/kpartx")
	if err != nil {
		t.Fatal(err)
	}
	scripts["kpartx"] = string(standin)
	for name, script := range scripts {
		if out, err := exec.Command("sh", "-nec", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// TestTablesFit: each comparison is with a tool of the table, and has a name of its own that --rows can choose.
func TestTablesFit(t *testing.T) {
	known := map[string]bool{}
	for _, tool := range tools() {
		known[tool.name] = true
	}
	names := map[string]bool{growthRow: true, togetherRow: true}
	for _, c := range comparisons() {
		if !known[c.theirs.tool] || c.ours.tool != ours {
			t.Errorf("%s compares %q with %q", c.name, c.ours.tool, c.theirs.tool)
		}
		if names[c.name] || strings.ContainsAny(c.name, "/ ") {
			t.Errorf("the name %q is taken, or no name of a directory", c.name)
		}
		names[c.name] = true
	}
}

func TestChoose(t *testing.T) {
	t.Setenv("PATH", "/nonexistent")
	c, err := options{Rows: "^(qcow2|tree)$", Tools: []string{"qemu-img"}}.choose()
	if err != nil {
		t.Fatal(err)
	}
	want := []report.Absent{{Name: "qcow2, qemu-img convert -c", Reason: "qemu-img is not installed; apt-get install qemu-utils"}}
	if diff := cmp.Diff(want, c.omitted); diff != "" || c.growth || c.together || c.comparisons != nil {
		t.Errorf("%+v\n%s", c, diff)
	}
	bin := t.TempDir()
	if err := os.WriteFile(bin+"/qemu-img", []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	if c, err = (options{Rows: "qcow2|growth"}).choose(); err != nil {
		t.Fatal(err)
	}
	if c, err := (options{Tools: []string{"qemu-img"}}).choose(); err != nil || c.growth || c.together || len(c.comparisons) != 1 {
		t.Errorf("with one tool: %+v, %v", c, err)
	}
	var list bytes.Buffer
	if err := c.list(&list); err != nil {
		t.Fatal(err)
	}
	wanted := "qcow2                  raw image to qcow2, compressed by zlib: qemu-img convert -c\n" +
		"growth                 time and memory by the number of packages\n"
	if diff := cmp.Diff(wanted, list.String()); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	for _, o := range []struct {
		options
		want string
	}{
		{options{Rows: "("}, "--rows: error parsing regexp: missing closing ): `(`"},
		{options{Tools: []string{"mmdebstap"}}, `--tools: there is no tool "mmdebstap" in the table`},
	} {
		if _, err := o.choose(); err == nil || err.Error() != o.want {
			t.Errorf("error %v, want %s", err, o.want)
		}
	}
}

func TestNeeds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "filesystems")
	if err := os.WriteFile(file, []byte("nodev\tproc\n\text4\n  7 loop\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir()) // no modprobe
	for word, want := range map[string]bool{"ext4": true, "proc": true, "loop": true, "nodev": false, "vfat": false} {
		if got := kernelHas(file, word, "m")(); got != want {
			t.Errorf("%q: %v, want %v", word, got, want)
		}
	}
	if udev.met() {
		t.Error("udevd answers without udevadm")
	}
	bin := t.TempDir()
	if err := os.WriteFile(bin+"/modprobe", []byte("#!/bin/sh\ntest \"$*\" = '--dry-run --quiet vfat'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	if !kernelHas(file, "vfat", "vfat")() || kernelHas(file, "xfs", "xfs")() {
		t.Error("modules that can be loaded are not seen")
	}
	err := tool{programs: []string{"/bin/sh"}, root: true}.missing(false)
	if want := "it needs root"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	err = tool{programs: []string{"/bin/sh"}, needs: []need{{"there is no x", kernelHas(file, "x", "x")}}}.missing(false)
	if want := "there is no x"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// status is dpkg's with two packages that are installed.
const status = "Package: a\nStatus: install ok installed\n\nPackage: b\nStatus: deinstall ok config-files\n\n" +
	"Package: c\nStatus: install ok installed\nDescription: " + "x\n"

func TestCountPackages(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		files []string
		want  string
	}{
		"ours.tar":   {[]string{"./etc/passwd", "./var/lib/dpkg/status"}, "2"},
		"theirs.tar": {[]string{"var/lib/dpkg/status"}, "2"},
		"empty.tar":  {nil, "count packages in %s: it has no var/lib/dpkg/status"},
	} {
		path := filepath.Join(dir, name)
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		for _, f := range c.files {
			if err := w.WriteHeader(&tar.Header{Name: f, Size: int64(len(status)), Mode: 0o644}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write([]byte(status)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(w.Close(), os.WriteFile(path, archive.Bytes(), 0o644)); err != nil {
			t.Fatal(err)
		}
		n, err := countPackages(path)
		got, want := fmt.Sprint(n), c.want
		if err != nil {
			got, want = err.Error(), fmt.Sprintf(want, path)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// TestCountPackagesOnDisk: with a partition and without.
func TestCountPackagesOnDisk(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "mke2fs", "sfdisk")
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/tree/var/lib/dpkg", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/tree/"+statusFile, []byte(status), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, script := range map[string]string{
		"disk": `truncate -s 10M disk && mke2fs -q -t ext4 -d tree disk`,
		"partition": `truncate -s 20M partition && echo start=2048 | sfdisk -q partition &&
			mke2fs -q -t ext4 -d tree -E offset=1048576 partition 10M`,
	} {
		cmd := exec.Command("sh", "-ec", script)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if n, err := countPackages(filepath.Join(dir, name)); n != 2 || err != nil {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	if err := os.WriteFile(dir+"/nothing", make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := countPackages(dir + "/nothing")
	want := fmt.Sprintf("count packages in %s/nothing: no ext filesystem of it has var/lib/dpkg/status", dir)
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestDescribeMachine(t *testing.T) {
	m := describeMachine(t.TempDir())
	if m.Kernel == "" || m.Cores < 1 || m.Memory < 1<<20 || m.Disk == "" || m.Load == "" || m.User == "" || m.Date == "" {
		t.Errorf("%+v", m)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("A=1\nmodel name\t: x y\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := field(file, "model name", ":"); got != "x y" {
		t.Errorf("%q", got)
	}
	if got := field(file, "B", "="); got != "" {
		t.Errorf("%q", got)
	}
}
